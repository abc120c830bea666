"""Answers from outside, and who drives the run meanwhile."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.runtime.house import House

from autoglm.app.session import Session
from autoglm.base.instants import parse_instant
from autoglm.config.project import Project
from autoglm.runtime.owner import _start_time, this_process

ASKS = "tasks: [{name: ask, type: approval, message: Well}]\n"


def test_a_driver_that_lives_but_is_slow_keeps_its_run(tmp_path: Path) -> None:
    """Its lease has run out, as on a machine that is busy: an answer is a message to it all the same."""
    house = House(tmp_path)
    flow = house.write("flow.yaml", ASKS)
    parent = os.getppid()
    slow = this_process().replace(f"/{os.getpid()}/", f"/{parent}/").rpartition("/")[0] + f"/{_start_time(parent)}"

    async def main() -> None:
        with Session(Project.find(flow)) as session:
            asked = asyncio.Event()

            class Watcher:
                def on_events(self, events: object, at: float) -> None:
                    if "QuestionAsked" in str(events):
                        asked.set()
                        session.drain()

                def on_log(self, line: object) -> None: ...

            report = await session.run(session.load(flow), run_id="r", observers=[Watcher()])
            assert (report.status, asked.is_set()) == ("paused", True)
            store, now = session.store, session.now()
            held = store.acquire("r", slow, now - 60.0, 15.0)
            answering = asyncio.ensure_future(session.answer("r", "ask", approved=True, by="ann"))
            while not store.signals("r"):
                await asyncio.sleep(0)
                assert not answering.done()
            answering.cancel()
            assert store.get_run("r").owner == slow
            assert store.get_run("r").epoch == held.epoch
            [signal] = store.signals("r")
            assert (signal.kind, signal.data["task"], signal.data["approved"]) == ("answer", "ask", True)

    asyncio.run(main())


SECRETS = """
inputs: {pin: {type: string, secret: true}, word: {type: string, default: x}}
tasks:
  - {name: ask, type: approval, message: Well}
  - {name: go, type: wait, signal: go}
  - {name: use, script: "true", env: {A: "{{ secrets.PLAIN_NAME }}", B: "{{ inputs.pin }}"}, depends_on: [ask, go]}
"""


def test_secrets_in_answers_to_a_run_that_nobody_drives_are_masked_before_they_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    house.write("true", "")
    house.write(".env", "FILED=hidden-in-file\n")
    monkeypatch.setenv("PLAIN_NAME", "hidden-by-name")
    monkeypatch.setenv("SHOP_KEY", "hidden-key")
    monkeypatch.setenv("AUTOGLM_INPUT_PIN", "hidden-pin")
    flow = house.write("flow.yaml", SECRETS)
    said = "hidden-in-file hidden-by-name hidden-key hidden-pin plain"

    async def main() -> None:
        with Session(Project.find(flow)) as session:

            class Leaver:
                def on_events(self, events: object, at: float) -> None:
                    if "QuestionAsked(task='go'" in str(events):
                        session.drain()

                def on_log(self, line: object) -> None: ...

            await session.run(session.load(flow), {"pin": "hidden-pin"}, run_id="r", observers=[Leaver()])
            await session.answer("r", "ask", approved=True, by="ann", data={"a": said}, comment=said)
            await session.signal("r", "go", data=[said], by="ann")
            texts = [bytes(each.payload) for each in session.store.read("r")]
            assert not [text for text in texts if b"hidden" in text]
            assert sum(text.count(b"*** *** *** *** plain") for text in texts) >= 3

    asyncio.run(main())


def test_what_has_waited_for_too_long_is_not_offered_to_be_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from autoglm.cli.commands import explain, look

    text = "tasks: [{name: ask, type: approval, message: Well, deadline: 2099-01-01, on_deadline: skip}]"
    flow = House(tmp_path).write("flow.yaml", text)

    async def run(session: Session) -> None:
        class Leaver:
            def on_events(self, events: object, at: float) -> None:
                if "QuestionAsked" in str(events):
                    session.drain()

            def on_log(self, line: object) -> None: ...

        await session.run(session.load(flow), run_id="r", observers=[Leaver()])

    with Session(Project.find(flow)) as session:
        asyncio.run(run(session))
    with Session(Project.find(flow), clock=lambda: parse_instant("2099-01-02")) as session:
        row = session.store.get_run("r")
        look._show_run(session, row, [], as_json=False)
        shown = capsys.readouterr().out
        assert "until 2099-01-01T00:00:00Z, then: skip: its time is up\n  autoglm resume r" in shown
        explain._explain_run(session, row, session.open_run("r")[0], as_json=False)
        explain._explain_task(session, row, session.open_run("r")[0], "ask", as_json=False)
        explained = capsys.readouterr().out
        assert explained.count("whose time was up at") == 2
        assert "next:\n  autoglm resume r" in explained
        assert "approve" not in shown + explained

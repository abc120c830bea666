"""Answers from outside, and who drives the run meanwhile."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.runtime.house import House

from autoglm.app.session import Session
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

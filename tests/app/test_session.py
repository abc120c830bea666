"""Sessions: runs started, resumed, retried, cancelled and found; and secrets kept from end to end."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.house import House, Watcher

from autoglm.app.correcting import File
from autoglm.base.errors import StoreError, UsageError
from autoglm.cli.stored import run_facts
from autoglm.engine import messages as m
from autoglm.engine.codec import decode_record
from autoglm.stores.protocol import LeaseHeld, RunRow
from autoglm.tasks.protocol import TaskContext

TWO = "name: two\ntasks:\n  a: {handler: work}\n  b: {handler: work, depends_on: a}\n"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def database(house: House) -> str:
    return str(house.root / "runs.db")


# ------------------------------------------------------------------------------------------------- who drives a run


CHILD = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from tests.runtime.house import House

async def work():
    print("working", flush=True)
    await asyncio.Event().wait()

async def main():
    house = House(Path({root!r}))
    with house.session({database!r}, work=work) as session:
        await session.run(session.load({flow!r}), run_id="theirs")

asyncio.run(main())
"""


def driven_by_another(house: House, flow: Path) -> subprocess.Popen[str]:
    """Start a run in a process of its own, and return once it works."""
    tests = str(Path(__file__).parents[2])
    code = CHILD.format(tests=tests, root=str(house.root), database=database(house), flow=str(flow))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "working\n"
    return child


def test_a_run_of_another_process_is_left_alone_until_that_is_dead(house: House) -> None:
    flow = house.write("flow.yaml", TWO)
    child = driven_by_another(house, flow)
    try:
        with house.session(database(house), work=lambda: 1) as session:
            with pytest.raises(LeaseHeld) as caught:
                asyncio.run(session.resume("theirs"))
            assert caught.value.code == "run-locked"
            child.kill()
            child.wait()
            report = asyncio.run(session.resume("theirs"))  # at once: nobody waits for a lease to run out
            assert report.succeeded
            types = [type(e) for s in session.store.read("theirs") for e in decode_record(s.payload).events]
            assert types.count(m.RunRecovered) == 1
    finally:
        child.kill()
        child.communicate()


def test_cancel_reaches_the_process_that_drives_the_run(house: House) -> None:
    flow = house.write("flow.yaml", TWO)
    child = driven_by_another(house, flow)
    try:
        with house.session(database(house)) as session:
            assert asyncio.run(session.cancel("theirs")) == "cancelling"
            assert child.wait(30) == 0
            assert session.store.get_run("theirs").status == "cancelled"
            with pytest.raises(UsageError) as caught:
                asyncio.run(session.cancel("theirs"))
            assert caught.value.code == "run-ended"
    finally:
        child.kill()
        child.communicate()


def test_cancel_ends_a_run_that_nobody_drives(house: House) -> None:
    flow = house.write("flow.yaml", TWO)
    child = driven_by_another(house, flow)
    child.kill()
    child.communicate()
    with house.session(database(house)) as session:
        assert asyncio.run(session.cancel("theirs", "enough")) == "cancelled"
        assert session.store.get_run("theirs").counts == {"cancelled": 1}


def test_cancel_ends_a_run_whose_process_died_while_cancelling_it(house: House) -> None:
    async def main() -> None:
        async def stubborn() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                first.abort()
                await asyncio.sleep(0)

        flow = house.write("flow.yaml", "name: f\ntasks:\n  a: {handler: work}\n")
        watcher = Watcher()
        with house.session(database(house), work=stubborn) as first:

            def cancel() -> None:
                first.store.post_signal("half", "cancel", None, 0.0)

            watcher.when[m.AttemptStarted] = cancel
            report = await first.run(first.load(flow), run_id="half", observers=[watcher])
            assert report.status == "cancelling"
        with house.session(database(house), work=stubborn) as second:
            assert await asyncio.wait_for(second.cancel("half"), 10) == "cancelled"

    asyncio.run(main())


# ----------------------------------------------------------------------------------------- resume, retry, drain, abort


def test_resume_and_retry_say_which_of_them_is_meant(house: House) -> None:
    flow = house.write("flow.yaml", TWO)
    outcome = {"fails": True}

    def work() -> int:
        if outcome["fails"]:
            raise ValueError
        return 1

    with house.session(work=work) as session:
        run_id = asyncio.run(session.run(session.load(flow))).run_id
        with pytest.raises(UsageError, match="already ended: failed") as caught:
            asyncio.run(session.resume(run_id))
        assert "autoglm retry" in (caught.value.hint or "")
        outcome["fails"] = False
        report = asyncio.run(session.retry(run_id))
        assert report.succeeded
        assert report.tasks["a"].attempts == 2
        for call in (session.retry, session.resume, session.cancel):
            with pytest.raises(UsageError) as ended:
                asyncio.run(call(run_id))
            assert ended.value.code == "run-ended"


def test_a_run_that_has_not_ended_is_not_retried(house: House) -> None:
    flow = house.write("flow.yaml", TWO)

    def work(ctx: TaskContext) -> None:
        session.drain()

    with house.session(work=work) as session:
        report = asyncio.run(session.run(session.load(flow)))
        assert report.status == "paused"
        with pytest.raises(UsageError) as caught:
            asyncio.run(session.retry(report.run_id))
        assert caught.value.code == "run-not-ended"
        assert asyncio.run(session.resume(report.run_id)).status == "succeeded"


def test_a_drain_before_the_beginning_starts_nothing(house: House) -> None:
    flow = house.write("flow.yaml", TWO)
    with house.session(work=lambda: 1) as session:
        session.drain()
        report = asyncio.run(session.run(session.load(flow)))
        assert report.status == "paused"
        assert asyncio.run(session.resume(report.run_id)).succeeded, "it was for that run alone"


def test_an_aborted_run_goes_on_with_the_same_attempt_and_key(house: House) -> None:
    flow = house.write("flow.yaml", TWO)
    seen: list[tuple[str, int, str]] = []

    async def work(ctx: TaskContext) -> None:
        seen.append((ctx.task_id, ctx.attempt, ctx.idempotency_key))
        if len(seen) == 2:
            session.abort()
            await asyncio.Event().wait()

    with house.session(database(house), work=work) as session:
        run_id = asyncio.run(session.run(session.load(flow))).run_id
        assert session.store.get_run(run_id).owner is None
    with house.session(database(house), work=work) as session:
        assert asyncio.run(session.resume(run_id)).succeeded
    assert seen[1] == seen[2]
    assert [task for task, _, _ in seen] == ["a", "b", "b"]


def test_a_run_id_is_taken_once(house: House) -> None:
    flow = house.write("flow.yaml", TWO)
    with house.session(work=lambda: 1) as session:
        loaded = session.load(flow)
        asyncio.run(session.run(loaded, run_id="mine"))
        with pytest.raises(StoreError) as caught:
            asyncio.run(session.run(loaded, run_id="mine"))
        assert caught.value.code == "run-exists"


def test_a_run_goes_on_as_it_was_defined_when_that_is_asked_for(house: House) -> None:
    flow = house.write("flow.yaml", TWO)
    with house.session(database(house), work=lambda: session.drain()) as session:
        run_id = asyncio.run(session.run(session.load(flow))).run_id
    flow.write_text("name: other\ntasks: {}\n")
    with house.session(database(house), work=lambda: 1) as session:
        report = asyncio.run(session.resume(run_id, file=File.AS_RECORDED))
        assert (report.workflow, list(report.tasks)) == ("two", ["a", "b"])
        _, workflow, source = session.open_run(run_id)
        assert (workflow.name, source) == ("two", TWO)


# --------------------------------------------------------------------------------------------------------- find a run


def test_runs_are_found_by_their_beginning_and_as_the_last(house: House) -> None:
    with house.session() as session:
        with pytest.raises(UsageError, match="no run yet") as none:
            session.find_run("last")
        assert none.value.code == "run-not-found"
        for number, run_id in enumerate(["abc1", "abc2", "abc", "xyz"]):
            session.store.create_run(RunRow(run_id=run_id, workflow="w", created_at=float(number)))
        assert session.find_run("last") == "xyz"
        assert session.find_run("x") == "xyz"
        assert session.find_run("abc") == "abc", "a whole id is no beginning of others"
        with pytest.raises(UsageError, match="abc") as several:
            session.find_run("ab")
        assert several.value.code == "run-ambiguous"
        with pytest.raises(UsageError) as unknown:
            session.find_run("%")
        assert unknown.value.code == "run-not-found"


# ------------------------------------------------------------------------------------------------------------ services


def test_services_are_opened_once_a_run_and_closed_at_its_end(house: House) -> None:
    house.write(
        "tasks/work.py",
        """
        import autoglm
        from pathlib import Path

        LOG = Path(__file__).parent.parent / "log.txt"

        def note(text):
            with LOG.open("a") as file:
                file.write(text + "\\n")

        @autoglm.service
        def db():
            note("open")
            yield {"rows": 3}
            note("close")

        def work(db):
            note("work")
            return db["rows"]
        """,
    )
    report = asyncio.run(house.run("name: f\ntasks:\n  a: {handler: work, loop: [1, 2]}\n  b: {handler: work}\n"))
    assert report.tasks["a"].result == [3, 3]
    assert (house.root / "log.txt").read_text().split() == ["open", "work", "work", "work", "close"]


# ---------------------------------------------------------------------------------------------------------- file loops


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_loop_over_a_file_streams_it(house: House, kind: str) -> None:
    rows = range(1500)
    text = {"jsonl": "".join(f'{{"n": "{n}"}}\n' for n in rows), "csv": "n\n" + "".join(f"{n}\n" for n in rows)}
    house.write(f"rows.{kind}", text[kind])
    flow = f"""
        name: f
        tasks:
          a:
            handler: work
            loop: {{file: rows.{kind}}}
            when: item.n != '3'
            with: {{n: "{{{{ item.n }}}}"}}
    """
    watcher = Watcher()

    async def work(n: str) -> int:
        return int(n)

    async def main() -> Any:
        with house.session(work=work) as session:
            return await session.run(session.load(house.write("flow.yaml", flow)), observers=[watcher])

    report = asyncio.run(main())
    assert report.tasks["a"].result == [None if n == 3 else n for n in rows]
    windows = [len(event.items) for event in watcher.events if isinstance(event, m.ItemsRead)]
    assert sum(windows) == 1500
    assert max(windows) <= 512


def test_a_bad_row_fails_the_loop_with_its_line(house: House) -> None:
    house.write("rows.jsonl", "1\n2\nthree\n")
    report = asyncio.run(house.run("name: f\ntasks:\n  a: {handler: work, loop: {file: rows.jsonl}}\n", work=lambda: 1))
    assert report.tasks["a"].error is not None
    assert report.tasks["a"].error["code"] == "source-invalid"
    assert "rows.jsonl:3:" in report.tasks["a"].error["message"]


# -------------------------------------------------------------------------------------------------------------- secrets

TOKEN = "s3cr3t-t0ken-value"
KEY = "k3y/with+odd=chars"
SECRETS = """
name: f
inputs: {token: {type: string, secret: true}, plain: {type: string, default: seen}}
tasks:
  use:
    with:
      token: "{{ inputs.token }}"
      both: "Bearer {{ inputs.token ~ '-' ~ secrets.API_KEY | upper }}"
      listed: ["{{ secrets.API_KEY | replace('/', '_') }}", {"deep": "{{ inputs.token[:12] }}"}]
  echo: {with: {token: "{{ secrets.API_KEY }}"}, depends_on: use}
  fail: {with: {token: "{{ inputs.token }}"}, on_error: continue}
  number: {handler: echo, with: {token: "{{ secrets.API_KEY | int }}"}, on_error: continue}
  text: {handler: echo, with: {token: "{{ tasks.echo.result }}"}}
  loop: {handler: echo, loop: ["{{ inputs.token }}"], with: {token: "{{ item }}"}}
outputs: {leak: "{{ inputs.token }}", nested: ["{{ secrets.API_KEY | lower }}"]}
"""


def test_secrets_are_kept_from_end_to_end(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("API_KEY", raising=False)
    (house.root / ".env").write_text(f"API_KEY={KEY}\n")
    got: dict[str, Any] = {}

    def use(token: str, both: str, listed: list[Any], ctx: TaskContext) -> dict[str, Any]:
        got.update(token=token, both=both, listed=listed)
        ctx.logger.info("the token is %s", token)
        ctx.log("stdout", f"{both} {listed}")
        ctx.state["kept"] = [token]
        ctx.state[token] = 1
        return {"token": token, token: [both]}

    def echo(token: str) -> str:
        return f"<{token}>"

    def fail(token: str) -> None:
        raise ValueError(f"cannot use {token!r}", {"Authorization": token})

    watcher = Watcher()

    async def main() -> Any:
        with house.session(database(house), use=use, echo=echo, fail=fail) as session:
            flow = house.write("flow.yaml", SECRETS)
            report = await session.run(session.load(flow), {"token": TOKEN}, observers=[watcher])
            run, _, _ = session.open_run(report.run_id)
            logs = session.store.list_logs(report.run_id)
            return report, run, logs, session.store.list_tasks(report.run_id), session.store.list_runs()

    report, run, logs, rows, runs = asyncio.run(main())
    assert report.succeeded, report
    assert got["token"] == TOKEN, "the handler gets the real value"
    assert got["both"] == f"Bearer {(TOKEN + '-' + KEY).upper()}" or got["both"] == f"Bearer {TOKEN}-{KEY.upper()}"
    shown = "\n".join(map(repr, [report, run.snapshot(), logs, rows, runs, watcher.events, watcher.lines]))
    shown += json.dumps(report.as_dict()) + repr(capsys.readouterr())
    files = b"".join(path.read_bytes() for path in house.root.glob("runs.db*"))
    for secret in (TOKEN, KEY, TOKEN.upper(), KEY.upper(), KEY.replace("/", "_")):
        assert secret not in shown, secret
        assert secret.encode() not in files, secret
    assert report.outputs == {"leak": "***", "nested": ["***"]}
    assert report.tasks["echo"].result == "<***>"
    assert "***" in (report.tasks["fail"].error or {})["message"]
    assert len(logs) >= 2


def test_a_secret_input_is_given_again_to_resume(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = house.write(
        "flow.yaml",
        "name: f\ninputs: {token: {type: string, secret: true}}\n"
        "tasks:\n  a: {handler: work, with: {t: '{{ inputs.token }}'}}\n"
        "  b: {handler: work, with: {t: '{{ token }}'}, depends_on: a}\n",
    )
    got = []

    def work(t: str) -> None:
        got.append(t)
        if len(got) == 1:
            session.drain()

    with house.session(work=work) as session:
        run_id = asyncio.run(session.run(session.load(flow), {"token": TOKEN})).run_id
        with pytest.raises(UsageError) as caught:
            asyncio.run(session.resume(run_id))
        assert caught.value.code == "secret-input-missing"
        assert "AUTOGLM_INPUT_TOKEN" in (caught.value.hint or "")
        assert session.store.get_run(run_id).owner is None, "the lease is given back"
        monkeypatch.setitem(os.environ, "AUTOGLM_INPUT_TOKEN", TOKEN)
        assert asyncio.run(session.resume(run_id)).succeeded
    assert got == [TOKEN, TOKEN]


CALLED = """
name: called
inputs: {inner: {type: string, secret: true, default: inner-s3cr3t-default}}
tasks: {say: {handler: echo, with: {token: "{{ inputs.inner }}"}}}
outputs: {said: "{{ tasks.say.result }}"}
"""


def test_the_default_of_a_secret_input_is_kept_as_a_given_one_is(house: House) -> None:
    house.write("called.yaml", CALLED)
    flow = house.write(
        "flow.yaml",
        f"name: f\ninputs: {{token: {{type: string, secret: true, default: {TOKEN}}}, nothing: "
        "{type: [string, 'null'], secret: true, default: null}}\n"
        "tasks:\n  a: {handler: echo, with: {token: '{{ inputs.token }}'}, when: inputs.nothing is none}\n"
        "  b: {workflow: called.yaml, depends_on: a}\n"
        "outputs: {leak: '{{ inputs.token }}', inner: '{{ tasks.b.result }}'}\n",
    )
    got = []
    watcher = Watcher()

    def echo(token: str, ctx: TaskContext) -> str:
        got.append(token)
        ctx.log("stdout", token)
        return f"<{token}>"

    with house.session(database(house), echo=echo) as session:
        report = asyncio.run(session.run(session.load(flow), observers=[watcher]))
        run, _, _ = session.open_run(report.run_id)
        journal = b"".join(stored.payload for stored in session.store.read(report.run_id))
        facts, logs = run_facts(session.store, report.run_id), session.store.list_logs(report.run_id)
    assert got == [TOKEN, "inner-s3cr3t-default"], "the handlers get the real values"
    assert report.outputs == {"leak": "***", "inner": {"said": "<***>"}}
    assert facts["inputs"] == {"token": "***", "nothing": None}
    shown = repr([report, run.snapshot(), logs, watcher.events, watcher.lines, journal])
    assert TOKEN not in shown
    assert "inner-s3cr3t-default" not in shown


def test_a_secret_default_is_not_asked_for_on_resume_but_what_was_given_instead_is(house: House) -> None:
    flow = house.write(
        "flow.yaml",
        "name: f\ninputs: {token: {type: string, secret: true, default: the-default}}\n"
        "tasks:\n  a: {handler: work, with: {t: '{{ inputs.token }}'}}\n"
        "  b: {handler: work, with: {t: '{{ token }}'}, depends_on: a}\n",
    )
    got = []

    def work(t: str) -> None:
        got.append(t)
        if len(got) % 2:
            session.drain()

    with house.session(work=work) as session:
        run_id = asyncio.run(session.run(session.load(flow))).run_id
        assert asyncio.run(session.resume(run_id)).succeeded
        run_id = asyncio.run(session.run(session.load(flow), {"token": TOKEN})).run_id
        with pytest.raises(UsageError) as caught:
            asyncio.run(session.resume(run_id))
        assert caught.value.code == "secret-input-missing"
        assert asyncio.run(session.resume(run_id, {"token": TOKEN})).succeeded
    assert got == ["the-default", "the-default", TOKEN, TOKEN]


def test_a_changed_file_brings_its_own_secret_default(house: House) -> None:
    text = (
        "name: f\ninputs: {token: {type: string, secret: true, default: the-default}}\n"
        "tasks:\n  a: {handler: work, with: {t: '{{ inputs.token }}'}}\n"
        "  b: {handler: work, with: {t: '{{ token }}'}, depends_on: a}\n"
    )
    flow = house.write("flow.yaml", text)
    got = []

    def work(t: str) -> None:
        got.append(t)
        if len(got) == 1:
            session.drain()

    with house.session(work=work) as session:
        run_id = asyncio.run(session.run(session.load(flow))).run_id
        house.write("flow.yaml", text.replace("the-default", "another-default"))
        assert asyncio.run(session.resume(run_id, file=File.WITH_CHANGES)).succeeded
        created = session.open_run(run_id)[0].created
    assert got[-1] == "another-default"
    assert created is not None
    assert (created.inputs, created.secret_inputs, created.secret_defaults) == ({}, ("token",), ("token",))


def test_a_secret_that_is_not_there_fails_its_task_with_where_to_put_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    report = asyncio.run(
        house.run("name: f\ntasks:\n  a: {handler: w, with: {k: '{{ secrets.NO_SUCH_KEY }}'}}\n", w=lambda k: k)
    )
    assert report.tasks["a"].error is not None
    assert report.tasks["a"].error["code"] == "secret-missing"

"""Answers and signals on their way into a run: through the store to whoever drives it, or into the journal."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autoglm.base.errors import UsageError
from autoglm.engine import messages as m

from .house import House, Watcher

FLOW = """
name: flow
tasks:
  - name: ok
    type: approval
    message: "good?"
    who: [ann]
  - name: paid
    type: wait
    depends_on: ok
    signal: paid
  - name: last
    handler: last
    depends_on: paid
"""


async def last() -> str:
    return "done"


class Waiting(Watcher):
    """Tells when a task asks something."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, asyncio.Event] = {}

    def on_events(self, events: Any, at: float) -> None:
        super().on_events(events, at)
        for event in events:
            if isinstance(event, m.QuestionAsked):
                self.asked.setdefault(event.task, asyncio.Event()).set()

    async def wait_asked(self, task: str) -> None:
        await asyncio.wait_for(self.asked.setdefault(task, asyncio.Event()).wait(), 60)


def test_answers_reach_the_process_that_drives_the_run(house: House) -> None:
    async def main() -> None:
        store = str(house.root / "runs.db")
        watcher = Waiting()
        with house.session(store, last=last) as driver, house.session(store, last=last) as other:
            loaded = driver.load(house.write("flow.yaml", FLOW))
            run = asyncio.create_task(driver.run(loaded, run_id="r", observers=[watcher]))
            await watcher.wait_asked("ok")
            with pytest.raises(UsageError, match="bob may not answer"):
                await other.answer("r", "ok", approved=True, by="bob")
            told = await other.answer("r", "ok", approved=True, by="ann", comment="fine")
            assert (told.status, told.is_driven) == ("journaled", True)
            await watcher.wait_asked("paid")
            await other.signal("r", "paid", data={"sum": 7})
            report = await run
            assert report.status == "succeeded"
            assert report.tasks["ok"].result["comment"] == "fine"
            assert report.tasks["paid"].result == {"sum": 7}
            with pytest.raises(UsageError) as error:
                await other.answer("r", "ok", approved=True, by="ann")
            assert error.value.code == "run-ended"

    asyncio.run(main())


def test_a_driver_refuses_what_came_too_late_for_the_check(house: House) -> None:
    """Two people answer at once: both have looked, and found the question open."""

    async def main() -> None:
        store = str(house.root / "runs.db")
        watcher = Waiting()
        with house.session(store, last=last) as driver, house.session(store, last=last) as other:
            loaded = driver.load(house.write("flow.yaml", FLOW))
            run = asyncio.create_task(driver.run(loaded, run_id="r", observers=[watcher]))
            await watcher.wait_asked("ok")
            first, second = await asyncio.gather(
                other.answer("r", "ok", approved=True, by="ann", comment="one"),
                other.answer("r", "ok", approved=False, by="ann", comment="two"),
                return_exceptions=True,
            )
            codes = sorted("journaled" if not isinstance(each, UsageError) else each.code for each in (first, second))
            assert codes == ["already-answered", "journaled"]
            driver.abort()
            await run

    asyncio.run(main())


def test_an_answer_to_a_run_that_nobody_drives_is_journaled_and_starts_nothing(house: House) -> None:
    calls = []

    async def noted() -> str:
        calls.append(1)
        return "done"

    async def main() -> None:
        store = str(house.root / "runs.db")
        watcher = Waiting()
        watcher.when[m.QuestionAsked] = lambda: session.drain()
        with house.session(store, last=noted) as session:
            report = await session.run(session.load(house.write("flow.yaml", FLOW)), run_id="r", observers=[watcher])
            assert report.status == "paused"
            assert [each.as_dict() for each in report.questions] == [
                {"task": "ok", "kind": "approval", "message": "good?", "who": ["ann"]}
            ]
            told = await session.answer("r", "ok", approved=True, by="ann")
            assert (told.status, told.is_driven, told.run_status) == ("journaled", False, "paused")
            assert session.store.get_run("r").owner is None
            row = session.store.get_task("r", "ok")
            assert row is not None
            assert row.status == "succeeded"
            with pytest.raises(UsageError, match="has been answered already"):
                await session.answer("r", "ok", approved=True, by="ann")
            with pytest.raises(UsageError, match="nobody waits for the signal"):
                await session.signal("r", "paid")  # it begins to wait when the run goes on
            await session.resume("r", observers=[watcher])
            await session.signal("r", "paid", data=1)
            assert calls == []
            watcher.when.clear()
            report = await session.resume("r")
            assert (report.status, calls) == ("succeeded", [1])

    asyncio.run(main())

"""Task types that park: ``Park`` on its way into the journal and back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus
from autoglm.spec.model import Loop
from autoglm.tasks.protocol import Attempt, Park

from .house import Bench
from .scripted import bench


def parkings(made: Bench) -> list[m.ParkingBegan]:
    return [event for event in made.journal() if isinstance(event, m.ParkingBegan)]


def test_an_attempt_parks_and_is_called_again_with_its_memo(tmp_path: Path) -> None:
    seen = []

    async def poll(attempt: Attempt) -> Any:
        seen.append((attempt.context.attempt, attempt.memo))
        polled = 0 if attempt.memo is None else attempt.memo["polled"]
        attempt.usage = {"calls": 1}
        if polled < 2:
            raise Park(made.now + 60, "the batch is not done", {"polled": polled + 1})
        return polled

    def an_hour_later() -> None:
        made.now += 60

    made = bench(tmp_path, poll)
    made.watcher.when[m.ParkingBegan] = an_hour_later
    assert asyncio.run(made.start()) is RunStatus.SUCCEEDED
    assert seen == [(1, None), (1, {"polled": 1}), (1, {"polled": 2})]
    assert made.runner is not None
    assert made.runner.run.usage == {"calls": 3}
    assert made.runner.run.find("a").attempt == 1  # type: ignore[union-attr]


def test_what_is_parked_holds_no_slot_and_its_row_says_why(tmp_path: Path) -> None:
    order = []

    async def work(attempt: Attempt) -> Any:
        order.append(attempt.item)
        if attempt.item == 1 and attempt.memo is None:
            raise Park(made.now + 60, "come back later", True)
        if attempt.item == 2:
            rows.extend(row for row in made.store.list_tasks("r") if row.task == "a[0]")
        if attempt.item == 3:
            made.now += 60
        return attempt.item

    rows: list[Any] = []
    made = bench(tmp_path, work, pool=("one",), loop=Loop(over=[1, 2, 3]))
    assert asyncio.run(made.start()) is RunStatus.SUCCEEDED
    assert order == [1, 2, 3, 1]
    assert [(row.status, row.error) for row in rows] == [("paused", "come back later")]


def test_a_parked_run_is_drained_at_once_and_goes_on_elsewhere(tmp_path: Path) -> None:
    async def work(attempt: Attempt) -> Any:
        if attempt.memo is None:
            raise Park(made.now + 3600, "in an hour", {"job": 7})
        return attempt.memo["job"]

    made = bench(tmp_path, work)
    made.watcher.when[m.ParkingBegan] = lambda: made.runner.drain()  # type: ignore[union-attr]
    assert asyncio.run(made.start()) is RunStatus.PAUSED
    made.now += 3600
    assert asyncio.run(made.resume()) is RunStatus.SUCCEEDED
    assert made.runner is not None
    assert made.runner.run.result_of(made.runner.run.find("a")) == 7  # type: ignore[arg-type]


def test_a_memo_that_is_no_json_fails_the_attempt(tmp_path: Path) -> None:
    async def work(attempt: Attempt) -> Any:
        raise Park(None, "never", {1, 2})

    made = bench(tmp_path, work)
    assert asyncio.run(made.start()) is RunStatus.FAILED
    (event,) = (event for event in made.journal() if isinstance(event, m.AttemptFailed))
    assert event.failure.code == "not-json"
    assert event.failure.message.startswith("the memo it parked with is not JSON data: ")


def test_secrets_stay_out_of_the_memo_and_the_reason(tmp_path: Path) -> None:
    async def work(attempt: Attempt) -> Any:
        if attempt.memo is None:
            raise Park(made.now, "waits for hunter2-hunter2", {"key": "hunter2-hunter2"})
        return 1

    made = bench(tmp_path, work)
    made.redactor.add("hunter2-hunter2")
    asyncio.run(made.start())
    (event,) = parkings(made)
    assert "hunter2" not in event.reason
    assert b"hunter2" not in bytes(event.memo)


@pytest.mark.parametrize("until", [float("nan"), float("inf"), None])
def test_a_time_that_never_comes_is_none(until: float | None) -> None:
    assert Park(until, "never").until is None

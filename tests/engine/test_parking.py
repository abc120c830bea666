"""Attempts that give their slot back and go on later: what they hold, when they go on, what ends them."""

from __future__ import annotations

import pytest

from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus
from autoglm.spec.model import PoolSpec, Retry

from .conftest import Play
from .flows import each, group, result, running, status, statuses, task, told
from .world import World

STEADY = Retry(max_attempts=2, delay=1.0, jitter="none")


def memo(world: World, task_id: str) -> object:
    command = next(command for (name, _), command in world.running.items() if name == task_id)
    assert command is not None
    return command.memo


def test_a_parked_attempt_gives_its_slot_to_the_next(play: Play) -> None:
    world = play(task("a", pool=("one",)), task("b", pool=("one",)), pools={"one": PoolSpec(limit=1)})
    assert running(world) == ["a"]
    assert told(world.park("a", world.now + 10)) == ["ParkingBegan a", "AttemptStarted b"]
    assert statuses(world) == {"a": "paused", "b": "running"}
    assert told(world.pass_time(10.0)) == [], "it is due, and waits for the slot"
    assert told(world.succeed("b")) == ["AttemptSucceeded b", "ParkingEnded a"]
    assert running(world) == ["a"]


def test_it_goes_on_as_the_same_attempt_with_its_memo(play: Play) -> None:
    world = play(task("a", retry=STEADY))
    world.fail("a")
    world.pass_time(1.0)
    assert memo(world, "a") is None
    world.park("a", world.now + 10, b'{"job":7}')
    world.pass_time(10.0)
    assert list(world.running) == [("a", 2)]
    assert memo(world, "a") == {"job": 7}
    world.crash()
    assert memo(world, "a") == {"job": 7}, "what ran when the process was lost still knows it"
    world.succeed("a", b"5")
    assert result(world, "a") == 5


def test_the_next_attempt_starts_without_the_memo(play: Play) -> None:
    world = play(task("a", retry=STEADY))
    world.park("a", world.now + 10, b'{"job":7}')
    world.pass_time(10.0)
    world.fail("a")
    world.pass_time(1.0)
    assert list(world.running) == [("a", 2)]
    assert memo(world, "a") is None


def test_a_large_memo_is_a_blob(play: Play) -> None:
    world = play(task("a"))
    text = b'"' + b"x" * m.INLINE_LIMIT + b'"'
    (event,) = world.park("a", world.now + 10, text)
    assert isinstance(event, m.ParkingBegan)
    assert event.memo_blob is not None
    world.crash()
    world.pass_time(10.0)
    assert memo(world, "a") == "x" * m.INLINE_LIMIT


def test_the_time_it_was_parked_does_not_count_against_its_timeout(play: Play) -> None:
    world = play(task("a", timeout=5.0))
    world.pass_time(4.0)
    world.park("a", world.now + 100)
    assert told(world.pass_time(100.0)) == ["ParkingEnded a"]
    assert told(world.pass_time(0.9)) == []
    assert told(world.pass_time(0.1)) == ["AttemptStopping a"]
    world.stopped("a")
    assert status(world, "a") == "timeout"


def test_what_it_had_used_of_its_timeout_survives_a_crash_while_it_is_parked(play: Play) -> None:
    world = play(task("a", timeout=5.0))
    world.pass_time(4.0)
    world.park("a", world.now + 100)
    world.crash()
    world.pass_time(100.0)
    assert told(world.pass_time(1.0)) == ["AttemptStopping a"]
    world.stopped("a")


def test_a_group_s_timeout_counts_on_while_something_inside_is_parked(play: Play) -> None:
    world = play(group("g", task("a"), timeout=5.0))
    world.park("g.a", world.now + 100)
    assert told(world.pass_time(5.0)) == ["AttemptStopping g", "TaskCancelled g.a", "TaskFailed g", "RunFailed"]


def test_it_waits_for_ever_until_it_is_woken(play: Play) -> None:
    world = play(task("a"))
    world.park("a")
    assert world.run.next_due() is None
    world.crash()
    assert told(world.pass_time(1e6)) == []
    assert told(world.handle(m.Wake("a"))) == ["ParkingCut a", "ParkingEnded a"]
    assert told(world.handle(m.Wake("a"))) == [], "it runs"
    assert told(world.handle(m.Wake("nobody"))) == []


def test_woken_early_it_is_not_woken_again_when_it_would_have_been_due(play: Play) -> None:
    world = play(task("a"))
    world.park("a", world.now + 10)
    world.handle(m.Wake("a"))
    world.park("a", world.now + 100)
    assert told(world.pass_time(10.0)) == []
    assert told(world.pass_time(90.0)) == ["ParkingEnded a"]


def test_the_wake_outlives_the_process_when_there_is_no_slot(play: Play) -> None:
    world = play(task("a", pool=("one",)), task("b", pool=("one",)), pools={"one": PoolSpec(limit=1)})
    world.park("a")
    world.handle(m.Wake("a"))
    world.crash()
    assert told(world.succeed("b"))[-1] == "ParkingEnded a"


def test_a_loop_goes_on_with_others_while_items_are_parked(play: Play) -> None:
    world = play(task("a", loop=each(1, 2, 3, max_parallel=1)))
    assert told(world.park("a[0]", world.now + 10)) == ["ParkingBegan a[0]", "AttemptStarted a[1]"]
    assert told(world.pass_time(10.0)) == [], "its loop's limit holds for it too"
    assert told(world.succeed("a[1]", b"2")) == ["AttemptSucceeded a[1]", "ParkingEnded a[0]"]
    world.succeed("a[0]", b"1")
    world.succeed("a[2]", b"3")
    assert result(world, "a") == [1, 2, 3]


def test_parked_items_count_as_open(play: Play) -> None:
    world = play(task("a", loop=each(*range(1500))), max_parallel=None)
    for task_id in list(running(world)):
        world.park(task_id, world.now + 10)
    while running(world):
        for task_id in list(running(world)):
            world.park(task_id, world.now + 10)
    assert sum(world.started.values()) == 1024
    world.pass_time(10.0)
    assert len(running(world)) > 0
    world.handle(m.Cancel())
    for task_id in list(running(world)):
        world.stopped(task_id)


@pytest.mark.parametrize("fail_fast", [True, False])
def test_a_parked_item_ends_at_once_when_its_loop_is_stopped(play: Play, fail_fast: bool) -> None:
    world = play(task("a", loop=each(1, 2, fail_fast=True)))
    world.park("a[0]", world.now + 10)
    if fail_fast:
        assert told(world.fail("a[1]")) == [
            "AttemptFailed a[1]", "AttemptStopping a", "TaskCancelled a[0]", "TaskFailed a", "RunFailed"
        ]  # fmt: skip
    else:
        assert "TaskCancelled a[0]" in told(world.handle(m.Cancel()))
        world.stopped("a[1]")
        assert world.run.status is RunStatus.CANCELLED


def test_a_cancelled_run_does_not_wait_for_what_is_parked(play: Play) -> None:
    world = play(task("a"), task("b", "a"))
    world.park("a", world.now + 1000)
    assert told(world.handle(m.Cancel("enough"))) == ["RunCancelling", "TaskCancelled a", "RunCancelled"]
    assert told(world.pass_time(1000.0)) == []


def test_cancelled_while_due_and_waiting_for_a_slot(play: Play) -> None:
    world = play(task("a", pool=("one",)), task("b", pool=("one",)), pools={"one": PoolSpec(limit=1)})
    world.park("a", world.now)
    world.handle(m.Cancel())
    world.stopped("b")
    assert world.run.status is RunStatus.CANCELLED


def test_a_paused_run_wakes_nobody(play: Play) -> None:
    world = play(task("a"))
    world.handle(m.Pause())
    assert told(world.park("a", world.now + 10)) == ["ParkingBegan a"]
    assert told(world.pass_time(20.0)) == []
    assert told(world.handle(m.Resume())) == ["RunResumed", "ParkingEnded a"]


@pytest.mark.parametrize("reason", ["timeout", "cancel"])
def test_an_attempt_that_is_being_stopped_cannot_park_any_more(play: Play, reason: str) -> None:
    world = play(task("a", timeout=5.0))
    if reason == "timeout":
        world.pass_time(5.0)
        assert told(world.park("a", world.now + 10)) == ["AttemptFailed a", "RunFailed"]
        assert status(world, "a") == "timeout"
    else:
        world.handle(m.Cancel())
        assert told(world.park("a", world.now + 10)) == ["AttemptCancelled a", "RunCancelled"]


def test_what_it_used_before_it_parked_counts(play: Play) -> None:
    world = play(task("a"))
    world.park("a", world.now, calls=2)
    assert world.run.usage == {"calls": 2}


def test_a_parked_attempt_of_an_older_number_is_not_parked_again(play: Play) -> None:
    world = play(task("a"))
    assert told(world.handle(m.AttemptParked("a", 7, None, "late"))) == ["ResultDiscarded a"]
    assert status(world, "a") == "running"


def test_a_reopened_run_starts_the_task_anew(play: Play) -> None:
    world = play(task("a"))
    world.park("a", world.now + 10, b"1")
    world.handle(m.Cancel())
    world.handle(m.Reopen())
    assert list(world.running) == [("a", 2)]
    assert memo(world, "a") is None


def test_what_is_parked_aside_is_known_until_it_goes_on_or_ends(play: Play) -> None:
    world = play(task("a", loop=each(1, 2, 3)))
    world.park("a[0]", world.now + 5.0, aside=True)
    world.park("a[1]", world.now + 50.0, aside=True)
    world.park("a[2]", world.now + 50.0)
    world.crash()
    loop = world.run.find("a").loop
    assert loop is not None
    assert loop.aside == {0, 1}
    world.pass_time(10.0)
    assert not loop.aside & {0}
    world.handle(m.Cancel())
    assert not loop.aside

"""Deadlines: of an attempt, of a group; and what comes back too late."""

from __future__ import annotations

import pytest

from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus
from autoglm.spec.model import Retry

from .conftest import Play
from .flows import each, group, result, running, status, statuses, task, told

STEADY = Retry(max_attempts=2, delay=1.0, jitter="none")


def test_an_attempt_is_stopped_when_its_time_is_up_and_holds_its_slot_until_it_has(play: Play) -> None:
    world = play(task("a", timeout=5.0), task("b"), max_parallel=1)
    assert told(world.pass_time(4.9)) == []
    assert told(world.pass_time(0.1)) == ["AttemptStopping a"]
    assert running(world) == ["a"]
    assert told(world.stopped("a")) == ["AttemptFailed a", "AttemptStarted b"]
    instance = world.run.find("a")
    assert instance is not None
    assert instance.failure is not None
    assert instance.status == "timeout"
    assert instance.failure.code == "timeout"
    assert instance.failure.message == "it ran for longer than its timeout of 5.0s"


def test_what_cannot_be_stopped_is_abandoned(play: Play) -> None:
    world = play(task("a", timeout=5.0))
    world.pass_time(5.0)
    (event, _) = world.stopped("a", abandoned=True)
    assert isinstance(event, m.AttemptFailed)
    assert event.abandoned
    assert "abandoned" in event.failure.message
    assert "executor: process" in (event.failure.hint or "")


def test_the_late_result_of_abandoned_work_is_discarded(play: Play) -> None:
    world = play(task("a", timeout=5.0, retry=STEADY))
    world.pass_time(5.0)
    world.stopped("a", abandoned=True)
    world.pass_time(1.0)
    assert list(world.running) == [("a", 2)]
    (event,) = world.handle(m.AttemptReturned("a", 1, b'"late"'))
    assert isinstance(event, m.ResultDiscarded)
    assert (event.task, event.attempt) == ("a", 1)
    world.succeed("a", b'"second"')
    assert result(world, "a") == "second"
    assert world.handle(m.AttemptReturned("a", 1, b'"later"')) == [], "an ended run takes nothing in"


def test_what_comes_back_while_it_is_being_stopped_for_its_time_is_discarded(play: Play) -> None:
    world = play(task("a", timeout=5.0))
    world.pass_time(5.0)
    events = world.succeed("a", b"1")
    assert told(events) == ["ResultDiscarded a", "AttemptFailed a", "RunFailed"]
    assert status(world, "a") == "timeout"


def test_a_failure_of_what_is_being_stopped_for_its_time_is_a_timeout(play: Play) -> None:
    world = play(task("a", timeout=5.0))
    world.pass_time(5.0)
    world.fail("a")
    assert statuses(world) == {"a": "timeout"}


def test_a_timeout_is_retried_with_its_whole_time(play: Play) -> None:
    world = play(task("a", timeout=5.0, retry=STEADY))
    world.pass_time(5.0)
    world.stopped("a")
    assert status(world, "a") == "retrying"
    world.pass_time(1.0)
    world.pass_time(4.9)
    assert not world.stopping
    world.pass_time(0.1)
    assert world.stopping == {("a", 2)}
    world.stopped("a")
    assert statuses(world) == {"a": "terminated"}


def test_the_wait_for_a_retry_does_not_count(play: Play) -> None:
    world = play(task("a", timeout=5.0, retry=Retry(delay=10.0, jitter="none")))
    world.fail("a")
    world.pass_time(9.0)
    assert status(world, "a") == "retrying"


def test_each_item_has_its_own_time(play: Play) -> None:
    world = play(task("a", timeout=5.0, loop=each(1, 2, max_parallel=1)))
    world.pass_time(4.0)
    world.succeed("a[0]")
    world.pass_time(4.0)
    assert not world.stopping
    world.pass_time(1.0)
    assert world.stopping == {("a[1]", 1)}
    world.stopped("a[1]")
    assert statuses(world) == {"a": "failed"}


def test_a_group_s_time_stops_everything_inside(play: Play) -> None:
    world = play(group("g", task("a"), task("b", "a"), task("c", loop=each(1)), timeout=5.0), task("end", "g:failed"))
    world.pass_time(5.0)
    assert world.stopping == {("g.a", 1), ("g.c[0]", 1)}
    world.stopped("g.a")
    world.stopped("g.c[0]")
    assert statuses(world) == {"g": "timeout", "end": "running"}
    assert status(world, "g.a") == "cancelled"
    assert status(world, "g.b") == "pending"


def test_a_group_with_a_deadline_that_ends_in_time_is_not_touched_by_it(play: Play) -> None:
    world = play(group("g", task("a"), timeout=5.0), task("b", "g"))
    world.succeed("g.a")
    assert world.pass_time(100.0) == []
    world.succeed("b")
    assert world.run.status is RunStatus.SUCCEEDED


@pytest.mark.parametrize("stimulus", [m.AttemptReturned("a", 9), m.AttemptReturned("nobody", 1)])
def test_results_of_attempts_nobody_knows_are_discarded(play: Play, stimulus: m.Stimulus) -> None:
    world = play(task("a"))
    assert [type(event) for event in world.handle(stimulus)] == [m.ResultDiscarded]
    assert running(world) == ["a"]


def test_an_answer_to_a_stop_that_nobody_asked_for_is_ignored(play: Play) -> None:
    world = play(task("a"))
    assert world.handle(m.AttemptStopped("a", 1), m.AttemptStopped("a", 2), m.AttemptStopped("b", 1)) == []

"""Steps in the engine: what is recorded, for how long it is kept, and when it is told."""

from __future__ import annotations

from autoglm.engine import messages as m
from autoglm.engine import steps
from autoglm.spec.model import Retry

from .conftest import Play
from .flows import each, task, told
from .world import World


def text(world: World, key: str, task_id: str = "a") -> bytes | None:
    instance = world.run.find(task_id)
    assert instance is not None
    return steps.text(world.run, instance, key)


def test_a_step_is_recorded_and_then_told(play: Play) -> None:
    world = play(task("a"))
    decision = world.run.handle([m.StepDone("a", 1, "ask", b"[1]")], world.now)
    assert decision.events == [m.StepRecorded("a", 1, "ask", decision.events[0].value)]  # type: ignore[attr-defined]
    assert decision.commands == [m.GoOnAfterStep("a", 1, "ask", True)]
    assert text(world, "ask") == b"[1]"
    world.run = world.replayed()
    assert text(world, "ask") is None, "it was not committed"


def test_steps_survive_a_crash_parking_and_a_retry_and_go_with_the_task(play: Play) -> None:
    world = play(task("a", retry=Retry(delay=1.0, jitter="none")))
    world.step("a", "ask", b"null")
    world.crash()
    assert text(world, "ask") == b"null"
    world.park("a", world.now + 1)
    world.pass_time(1.0)
    world.fail("a")
    world.crash()
    world.pass_time(1.0)
    assert text(world, "ask") == b"null"
    world.fail("a", retryable=False)
    assert text(world, "ask") is None


def test_the_first_value_of_a_key_stays(play: Play) -> None:
    world = play(task("a"))
    world.step("a", "ask", b"1")
    decision = world.run.handle([m.StepDone("a", 1, "ask", b"2")], world.now)
    assert decision.events == []
    assert decision.commands == [m.GoOnAfterStep("a", 1, "ask", True)]
    assert text(world, "ask") == b"1"


def test_what_is_left_of_an_attempt_that_is_over_records_nothing(play: Play) -> None:
    world = play(task("a", timeout=5.0, retry=Retry(delay=1.0, jitter="none")))
    world.pass_time(5.0)
    world.stopped("a", abandoned=True)
    for attempt in (1, 2):
        decision = world.run.handle([m.StepDone("a", attempt, "ask", b"1")], world.now)
        assert decision.events == []
        assert decision.commands == [m.GoOnAfterStep("a", attempt, "ask", False)]
    world.pass_time(1.0)
    decision = world.run.handle([m.StepDone("a", 1, "ask", b"1")], world.now)
    assert decision.commands == [m.GoOnAfterStep("a", 1, "ask", False)]


def test_an_attempt_that_is_being_stopped_may_still_record(play: Play) -> None:
    world = play(task("a", timeout=5.0, retry=Retry(delay=1.0, jitter="none")))
    world.pass_time(5.0)
    assert told(world.step("a", "clean up")) == ["StepRecorded a"]
    world.stopped("a")
    world.pass_time(1.0)
    assert text(world, "clean up") == b"1"


def test_items_have_steps_of_their_own(play: Play) -> None:
    world = play(task("a", loop=each(1, 2)))
    world.step("a[0]", "ask", b"1")
    assert text(world, "ask", "a[0]") == b"1"
    assert text(world, "ask", "a[1]") is None


def test_a_large_value_is_a_blob(play: Play) -> None:
    world = play(task("a"))
    large = b'"' + b"x" * m.INLINE_LIMIT + b'"'
    (event,) = world.step("a", "ask", large)
    assert isinstance(event, m.StepRecorded)
    assert event.blob is not None
    world.crash()
    assert text(world, "ask") == large


def test_a_task_without_steps_holds_nothing(play: Play) -> None:
    world = play(task("a"))
    instance = world.run.find("a")
    assert instance is not None
    assert instance.held is None
    world.succeed("a")
    assert instance.held is None

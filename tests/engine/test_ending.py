"""What runs at the run's end: ``on_error`` and ``finally``."""

from __future__ import annotations

from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus

from .flows import arguments, each, running, status, task, told, workflow
from .world import World

SEEN = {"how": "{{ run.status }}", "error": "{{ error }}", "was": "{{ tasks.work.status }}"}


def ending(**fields: object) -> World:
    return World(
        workflow(
            task("work"),
            on_error=(task("tell", arguments=SEEN),),
            finally_=(task("tidy", arguments=SEEN), task("close", "tidy")),
            **fields,
        )
    )


def test_a_good_run_runs_finally_and_keeps_its_outputs() -> None:
    world = ending(outputs={"x": "{{ tasks.work.result }}"})
    world.succeed("work", b"5")
    assert arguments(world, "finally.tidy") == {"how": "succeeded", "error": None, "was": "succeeded"}
    world.crash()
    world.succeed("finally.tidy")
    world.succeed("finally.close")
    assert (world.run.status, world.run.outputs) == (RunStatus.SUCCEEDED, b'{"x":5}')
    world.check()


def test_a_failed_run_tells_first() -> None:
    world = ending()
    world.fail("work")
    error = {"code": "boom", "message": "it went wrong", "task": "work"}
    assert arguments(world, "on_error.tell") == {"how": "failed", "error": error, "was": "failed"}
    world.succeed("on_error.tell")
    assert running(world) == ["finally.tidy"]


def test_outputs_that_fail_count_as_a_failure() -> None:
    world = ending(outputs={"x": "{{ tasks.work.result.missing }}"})
    world.succeed("work")
    assert arguments(world, "on_error.tell")["error"]["code"] == "outputs-failed"


def test_finally_that_fails_fails_the_run() -> None:
    world = ending()
    world.succeed("work")
    world.fail("finally.tidy")
    assert world.run.failure is not None
    assert world.run.failure.code == "finally-failed"
    world.handle(m.Reopen())
    assert (running(world), status(world, "work")) == (["finally.tidy"], "succeeded")
    world.succeed("finally.tidy")
    world.succeed("finally.close")
    assert world.run.status is RunStatus.SUCCEEDED
    world.check()


def test_a_failed_run_keeps_its_failure_and_mentions_the_rest() -> None:
    world = ending()
    world.fail("work")
    world.fail("on_error.tell")
    world.fail("finally.tidy")
    assert world.run.failure is not None
    assert world.run.failure.code == "task-failed"
    assert world.run.failure.classes == ("task-failed", "on-error-failed", "finally-failed")
    assert "`work` failed: it went wrong; `on_error.tell` failed" in world.run.failure.message


def test_a_cancelled_run_tidies_up_and_a_second_cancel_stops_that() -> None:
    world = ending()
    world.handle(m.Cancel("enough"))
    world.stopped("work")
    assert arguments(world, "finally.tidy") == {"how": "cancelled", "error": None, "was": "cancelled"}
    world.handle(m.Cancel("now"))
    world.stopped("finally.tidy")
    assert (running(world), world.run.status) == ([], RunStatus.CANCELLED)
    world.check()


def test_a_cancel_that_was_asked_for_before_finally_began_does_not_stop_it() -> None:
    tidying = (task("tidy"), task("close", "tidy"))
    world = World(workflow(task("a", rollback=task("a")), task("slow", "a"), finally_=tidying))
    world.succeed("a")
    world.handle(m.Cancel("enough"))
    world.stopped("slow")
    asked_at = world.now
    world.pass_time(1.0)
    world.succeed("a~rollback")
    world.pass_time(0.5)
    assert world.handle(m.Cancel("now", asked_at)) == []
    world.succeed("finally.tidy")
    world.succeed("finally.close")
    assert (world.run.status, world.run.failure) == (RunStatus.CANCELLED, None)
    world.check()


def test_a_cancel_that_comes_when_finally_has_begun_is_still_a_cancel() -> None:
    world = ending()
    asked_at = world.now
    world.pass_time(1.0)
    world.succeed("work")
    assert told(world.handle(m.Cancel("enough", asked_at))) == ["RunCancelling"]
    world.crash()
    world.succeed("finally.tidy")
    world.succeed("finally.close")
    assert world.run.status is RunStatus.CANCELLED
    world.check()


def test_a_cancel_in_on_error_goes_on_to_finally() -> None:
    world = ending()
    world.fail("work")
    world.handle(m.Cancel("enough"))
    world.stopped("on_error.tell")
    assert running(world) == ["finally.tidy"]
    world.handle(m.Pause())
    world.succeed("finally.tidy")
    assert (running(world), world.run.status) == ([], RunStatus.PAUSED)
    world.handle(m.Resume())
    world.succeed("finally.close")
    assert world.run.status is RunStatus.CANCELLED
    assert world.run.failure is not None


def test_a_run_without_sections_ends_as_ever() -> None:
    world = World(workflow(task("work"), on_error=(task("tell"),)))
    world.succeed("work")
    assert world.run.status is RunStatus.SUCCEEDED
    assert not any(isinstance(event, m.RunEnding) for event in world.events)


def test_a_retry_leaves_nothing_to_be_seen_of_the_first_end() -> None:
    world = World(
        workflow(
            task("a", rollback=task("a")),
            task("b", "a", fallback=task("b")),
            on_error=(task("tell"), task("each", "tell", loop=each(1))),
            finally_=(task("tidy"),),
        )
    )
    world.succeed("a")
    for name in ("b", "b~fallback"):
        world.fail(name, retryable=False)
    for name in ("a~rollback", "on_error.tell", "on_error.each[0]", "finally.tidy"):
        world.succeed(name)
    assert {name for name, _ in world.rows.values()} > {"a~rollback", "b~fallback", "on_error.each[0]", "finally.tidy"}
    world.handle(m.Reopen())
    assert sorted(name for name, _ in world.rows.values()) == ["a", "b"]
    for name in ("a", "b", "finally.tidy"):
        world.succeed(name)
    assert sorted(name for name, _ in world.rows.values()) == ["a", "b", "finally.tidy"]
    assert world.run.status is RunStatus.SUCCEEDED
    world.check()


def test_attempts_are_counted_on_in_a_second_end() -> None:
    world = ending()
    for number in (1, 2):
        world.fail("work")
        assert [key for key in world.running if key[0] == "on_error.tell"] == [("on_error.tell", number)]
        world.succeed("on_error.tell")
        world.succeed("finally.tidy")
        world.succeed("finally.close")
        world.handle(m.Reopen())

"""Rolling back: what is undone, in which order, and what is made of it."""

from __future__ import annotations

from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus
from autoglm.spec.model import Degrade, OnError, Task

from .flows import arguments, each, group, result, running, status, task, workflow
from .world import World


def undone(name: str, after: str = "", **fields: object) -> Task:
    """Return a task with a rollback."""
    return task(name, after, rollback=task(name), **fields)


def fail_after(*tasks: Task, **fields: object) -> World:
    """Return a run whose task ``last`` is to fail once all others have ended."""
    return World(workflow(*tasks, task("last", " ".join(each.name for each in tasks)), **fields))


def test_a_chain_is_undone_backwards_one_by_one() -> None:
    world = fail_after(undone("a"), undone("b", "a"), undone("c", "b"))
    for name in "abc":
        world.succeed(name)
    world.fail("last")
    for name in "cba":
        assert running(world) == [f"{name}~rollback"]
        assert status(world, name) == "succeeded"
        world.succeed(f"{name}~rollback")
        assert status(world, name) == "rolled_back"
    assert world.run.status is RunStatus.FAILED
    world.check()


def test_what_ran_side_by_side_is_undone_side_by_side() -> None:
    world = fail_after(undone("a"), undone("b"), undone("c", "b"))
    for name in "bac":  # c began before a had completed, and after b
        world.succeed(name)
    world.fail("last")
    assert running(world) == ["c~rollback", "a~rollback"]
    world.succeed("a~rollback")
    assert running(world) == ["c~rollback"]
    world.succeed("c~rollback")
    assert running(world) == ["b~rollback"]


def test_only_what_truly_succeeded_is_undone() -> None:
    world = fail_after(
        undone("good"),
        undone("bad", on_error=OnError.CONTINUE),
        undone("spare", on_error=Degrade(degrade=1)),
        undone("left", when="{{ 1 > 2 }}"),
    )
    world.succeed("good")
    world.fail("bad")
    world.fail("spare")
    world.fail("last")
    assert running(world) == ["good~rollback"]


def test_a_rollback_sees_what_the_task_saw_and_what_it_gave() -> None:
    body = task(
        "free", arguments={"got": "{{ result }}", "raw": "{{ output }}", "item": "{{ seat }}", "on": "{{ day }}"}
    )
    world = fail_after(
        task("seats", loop=each("A", "B", as_="seat", collect="{{ index }}"), result="{{ output.n }}", rollback=body),
        vars={"day": "Monday"},
    )
    world.succeed("seats[0]", b'{"n": 1}')
    world.succeed("seats[1]", b'{"n": 2}')
    assert result(world, "seats") == [0, 1]
    world.fail("last")
    assert arguments(world, "seats[0]~rollback") == {"got": 1, "raw": {"n": 1}, "item": "A", "on": "Monday"}
    world.crash()
    assert arguments(world, "seats[1]~rollback") == {"got": 2, "raw": {"n": 2}, "item": "B", "on": "Monday"}


def test_a_group_undoes_what_is_in_it_before_it_fails_and_the_run_goes_on() -> None:
    world = World(workflow(group("g", undone("a"), task("b", "a"), on_error=OnError.CONTINUE), task("after", "g")))
    world.succeed("g.a")
    world.fail("g.b")
    assert status(world, "g") == "running"
    world.crash()
    assert running(world) == ["g.a~rollback"]
    world.succeed("g.a~rollback")
    assert (status(world, "g"), running(world)) == ("failed", ["after"])
    world.succeed("after")
    assert world.run.status is RunStatus.SUCCEEDED
    world.check()


def test_a_group_whose_time_is_up_rolls_back_and_is_not_timed_again() -> None:
    world = World(workflow(group("g", undone("a"), task("b", "a"), timeout=5.0, on_error=OnError.CONTINUE)))
    world.succeed("g.a")
    world.pass_time(5.0)
    world.stopped("g.b")
    world.pass_time(60.0)
    assert running(world) == ["g.a~rollback"]
    world.succeed("g.a~rollback")
    assert status(world, "g") == "timeout"


def test_a_cancel_undoes_everything_in_one_order_and_does_not_stop_that() -> None:
    world = World(workflow(group("g", undone("a"), task("b", "a")), undone("early"), undone("late", "early")))
    world.succeed("early")
    world.succeed("g.a")
    world.succeed("late")
    world.handle(m.Cancel("enough"))
    world.stopped("g.b")
    assert running(world) == ["late~rollback", "g.a~rollback"]  # they ran side by side
    world.handle(m.Cancel("now"))
    world.succeed("late~rollback")
    world.succeed("g.a~rollback")
    world.succeed("early~rollback")
    assert world.run.status is RunStatus.CANCELLED
    world.check()


def test_a_pause_holds_rollbacks_back() -> None:
    world = fail_after(undone("a"), undone("b", "a"))
    world.succeed("a")
    world.succeed("b")
    world.fail("last")
    world.handle(m.Pause())
    world.succeed("b~rollback")
    assert running(world) == []
    world.crash()
    world.handle(m.Resume())
    world.succeed("a~rollback")
    assert world.run.status is RunStatus.FAILED


def test_a_rollback_that_fails_is_retried_then_told_and_the_others_still_run() -> None:
    world = fail_after(undone("a"), undone("b", "a"))
    world.succeed("a")
    world.succeed("b")
    world.fail("last")
    for _ in range(3):
        world.fail("b~rollback")
        world.pass_time(60.0)
    world.succeed("a~rollback")
    failure = world.run.failure
    assert failure is not None
    assert failure.code == "rollback-failed"
    assert failure.details == {"not_rolled_back": ["b"]}
    assert "`last` failed" in failure.message
    assert (status(world, "a"), status(world, "b")) == ("rolled_back", "succeeded")
    world.check()


def test_a_run_that_could_not_undo_something_does_not_succeed_and_keeps_its_work() -> None:
    world = World(
        workflow(
            group("g", undone("a"), task("b", "a"), on_error=OnError.CONTINUE), undone("work"), finally_=(task("z"),)
        )
    )
    world.succeed("work")
    world.succeed("g.a")
    world.fail("g.b")
    world.fail("g.a~rollback", retryable=False)
    assert running(world) == ["finally.z"]
    world.succeed("finally.z")
    assert world.run.failure is not None
    assert world.run.failure.code == "rollback-failed"
    assert status(world, "work") == "succeeded"


def test_after_a_retry_what_was_undone_is_done_again_as_something_new() -> None:
    world = fail_after(undone("a"), task("b", "a"))
    world.succeed("a")
    world.succeed("b")
    world.fail("last")
    world.succeed("a~rollback")
    world.handle(m.Reopen())
    again = world.run.instance("a")
    assert (running(world), again.attempt, again.lives) == (["a"], 2, 1)
    world.succeed("a")
    world.succeed("b")
    world.fail("last")
    assert world.run.instance("a~rollback").lives == 1
    assert list(world.running) == [("a~rollback", 2)]
    world.succeed("a~rollback")
    world.check()


def test_a_group_with_a_rollback_of_its_own_is_undone_before_its_parts() -> None:
    world = fail_after(group("g", undone("a"), rollback=task("whole")))
    world.succeed("g.a")
    world.fail("last")
    assert running(world) == ["g~rollback"]
    world.succeed("g~rollback")
    assert running(world) == ["g.a~rollback"]
    world.succeed("g.a~rollback")
    assert status(world, "g") == "rolled_back"


def test_what_could_not_be_undone_in_a_group_that_stays_is_tried_again_after_a_retry() -> None:
    inner = group("g", task("a", rollback=task("a")), task("b", "a"), on_error=Degrade(degrade=0))
    world = World(workflow(inner, task("c", "g")))
    world.succeed("g.a")
    world.fail("g.b")
    world.fail("g.a~rollback", retryable=False)
    world.fail("c")
    assert world.run.status is RunStatus.FAILED
    world.handle(m.Reopen())
    world.fail("c")
    assert running(world) == ["g.a~rollback"]
    world.succeed("g.a~rollback")
    assert world.run.failure is not None
    assert world.run.failure.code == "task-failed"

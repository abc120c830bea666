"""What stands in for a task that failed for good: work of its own, another task, the task with another model."""

from __future__ import annotations

from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus
from autoglm.spec.model import Loop, OnError, Retry, StandIn, Task

from .flows import approval, arguments, each, group, result, running, status, statuses, task, told, workflow
from .world import World


def spared(name: str, after: str = "", **fields: object) -> Task:
    """Return a task that has something that stands in for it."""
    body = task(name, arguments={"why": "{{ error.code }}"})
    return task(name, after, **{"fallback": body, **fields})


def test_the_stand_in_runs_once_the_task_has_failed_for_good_and_its_result_is_the_task_s() -> None:
    retry = Retry(max_attempts=2, delay=1.0, jitter="none")
    world = World(workflow(spared("a", retry=retry), task("b", "a", arguments={"got": "{{ tasks.a.result }}"})))
    world.fail("a")
    world.pass_time(1.0)
    world.fail("a", "bang")
    assert running(world) == ["a~fallback"]
    assert status(world, "a") == "running"
    assert arguments(world, "a~fallback") == {"why": "bang"}
    world.crash()
    assert running(world) == ["a~fallback"]
    world.check()
    world.succeed("a~fallback", b'"spare"')
    assert arguments(world, "b") == {"got": "spare"}
    found = world.run.find("a")
    assert found is not None
    assert found.failure is not None
    assert (found.failure.code, status(world, "a")) == ("bang", "succeeded")
    world.succeed("b")
    assert world.run.status is RunStatus.SUCCEEDED
    world.check()
    world.check_history()


def test_when_it_fails_too_the_task_fails_as_it_would_have_and_says_so() -> None:
    retry = Retry(max_attempts=2, delay=1.0, jitter="none")
    again = task("a", retry=retry)
    world = World(workflow(spared("a", retry=retry, fallback=again), task("b", "a")))
    for _ in range(2):
        world.fail("a")
        world.pass_time(1.0)
    world.fail("a~fallback", "bang")
    world.pass_time(1.0)
    world.fail("a~fallback", "bang")
    assert statuses(world) == {"a": "terminated", "b": "skipped"}
    found = world.run.find("a")
    assert found is not None
    assert found.failure is not None
    assert found.failure.code == "boom"
    assert found.failure.message == "it went wrong; what should stand in for it failed too: it went wrong"
    assert world.run.status is RunStatus.FAILED
    world.check()
    world.handle(m.Reopen())
    assert running(world) == ["a"]
    world.fail("a", retryable=False)
    world.succeed("a~fallback")
    assert status(world, "a") == "succeeded"
    world.check()


def test_each_item_of_a_loop_has_its_own_and_the_loop_goes_on_meanwhile() -> None:
    loop = each("x", "y", max_parallel=1)
    body = task("a", arguments={"it": "{{ item }}", "why": "{{ error.message }}"})
    world = World(workflow(spared("a", loop=loop, fallback=body)))
    world.fail("a[0]")
    assert running(world) == ["a[1]", "a[0]~fallback"]
    assert arguments(world, "a[0]~fallback") == {"it": "x", "why": "it went wrong"}
    world.succeed("a[1]", b"1")
    world.succeed("a[0]~fallback", b"2")
    assert result(world, "a") == [2, 1]
    world.check()


def test_a_loop_as_a_whole_has_none() -> None:
    world = World(workflow(spared("a", loop=Loop(over="{{ 1 }}"))))
    assert status(world, "a") == "failed"


def test_a_group_that_failed_is_replaced_as_one() -> None:
    inside = group("g", task("x"), task("y", "x"), fallback=task("g"))
    world = World(workflow(inside, task("z", "g")))
    world.fail("g.x")
    assert running(world) == ["g~fallback"]
    world.check()
    world.succeed("g~fallback", b"7")
    assert result(world, "g") == 7
    assert running(world) == ["z"]
    world.check()


def test_what_could_not_begin_has_one_too() -> None:
    world = World(workflow(spared("a", arguments={"x": "{{ nobody }}"}, fallback=task("a"))))
    assert running(world) == ["a~fallback"]
    world.check()


def test_cancelled_while_it_waits_or_runs_it_takes_its_task_along() -> None:
    for limit in (None, 1):
        world = World(workflow(spared("a", fallback=task("a")), task("b"), max_parallel=limit))
        if limit is None:
            world.fail("a")
        else:
            world.handle(m.Pause())
            world.fail("a")
            world.handle(m.Resume())
        world.handle(m.Cancel("enough"))
        for key in list(world.running):
            world.stopped(key[0])
        assert status(world, "a") == "cancelled"
        assert world.run.status is RunStatus.CANCELLED
        world.check()


def test_fail_fast_stops_it() -> None:
    world = World(workflow(spared("a", loop=each(1, 2, fail_fast=True), fallback=task("a"))))
    world.fail("a[0]")
    world.fail("a[1]")
    world.fail("a[0]~fallback")
    assert world.stopping == {("a[1]~fallback", 1)}
    world.stopped("a[1]~fallback")
    assert status(world, "a") == "failed"
    world.check()
    world.check_history()


def test_a_task_that_only_stands_in_is_skipped_and_runs_in_the_other_s_name() -> None:
    spare = task("spare", arguments={"got": "{{ tasks.first.result }}", "why": "{{ error.code }}"})
    main = task("main", "first", on_error=StandIn(task="spare"))
    world = World(workflow(group("g", task("first"), main, spare)))
    assert status(world, "g.spare") == "skipped"
    assert "TaskSkipped g.spare" in told(world.events)
    world.succeed("g.first", b"3")
    world.fail("g.main")
    assert arguments(world, "g.main~fallback") == {"got": 3, "why": "boom"}
    world.succeed("g.main~fallback", b"4")
    assert result(world, "g") == 4
    world.check()


def test_another_model_is_the_task_itself_with_attempts_of_its_own() -> None:
    retry = Retry(max_attempts=2, delay=1.0, jitter="none")
    ask = Task(
        name="ask", type="llm_generate", options={"model": "big", "prompt": "?"}, retry=retry,
        on_error=StandIn(model="small"),
    )  # fmt: skip
    world = World(workflow(ask))
    for _ in range(2):
        world.fail("ask")
        world.pass_time(1.0)
    command = world.running["ask~fallback", 1]
    assert command is not None
    assert command.options == {"model": "small", "prompt": "?"}
    world.fail("ask~fallback")
    world.pass_time(1.0)
    world.succeed("ask~fallback", b'"yes"')
    assert result(world, "ask") == "yes"
    world.check()


def test_what_was_degraded_is_not_rolled_back() -> None:
    world = World(workflow(spared("a", rollback=task("a"), fallback=task("a")), task("b", "a", on_error=OnError.FAIL)))
    world.fail("a")
    world.succeed("a~fallback")
    world.fail("b")
    assert world.run.status is RunStatus.FAILED
    assert not running(world)
    world.check()


def test_a_stand_in_that_parks_and_steps_keeps_what_it_did() -> None:
    world = World(workflow(spared("a", fallback=task("a", timeout=5.0))))
    world.step("a", "one")
    world.fail("a")
    world.step("a~fallback", "one")
    world.park("a~fallback", world.now + 2)
    world.check()
    world.crash()
    world.pass_time(2)
    world.check()
    world.succeed("a~fallback")
    assert status(world, "a") == "succeeded"
    world.check()


def test_a_person_may_stand_in() -> None:
    world = World(workflow(spared("a", fallback=approval("a")), task("b", "a")))
    world.fail("a")
    world.check()
    assert world.run.only_waits
    world.crash()
    world.check()
    world.answer("a~fallback")
    assert running(world) == ["b"]
    world.check()

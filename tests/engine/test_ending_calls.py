"""What runs at the end of a called workflow: its ``on_error`` and ``finally``."""

from __future__ import annotations

from typing import Any

from autoglm.engine import adopting
from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus
from autoglm.spec.model import InputSpec, Loop, OnError, Task, Workflow

from .flows import arguments, each, result, running, status, task, told, workflow
from .world import World

SEEN = {"how": "{{ run.status }}", "of": "{{ run.workflow }}", "error": "{{ error }}", "was": "{{ tasks.a.status }}"}


def callee(*tasks: Task, **fields: Any) -> Workflow:
    fields.setdefault("on_error", (task("tell", arguments=SEEN),))
    fields.setdefault("finally_", (task("tidy", arguments=SEEN),))
    inputs = {"n": InputSpec(type="integer")}
    return Workflow(name="callee", tasks=tasks or (task("a"),), inputs=inputs, **fields)


def call(name: str = "go", after: str = "", **fields: Any) -> Task:
    options = {"workflow": "./c.yaml"}
    return task(name, after, type="workflow", executor=None, options=options, arguments={"n": 1}, **fields)


def calling(*tasks: Task, inner: Workflow | None = None, **fields: Any) -> World:
    return World(workflow(*(tasks or (call(), task("b", "go"))), callees={"c.yaml": inner or callee()}, **fields))


def test_a_good_call_runs_finally_before_it_ends() -> None:
    world = calling(inner=callee(outputs={"x": "{{ tasks.a.result }}"}))
    world.succeed("go.a", b"5")
    assert running(world) == ["go.finally.tidy"]
    assert arguments(world, "go.finally.tidy") == {
        "how": "succeeded", "of": "callee", "error": None, "was": "succeeded",
    }  # fmt: skip
    assert status(world, "go") == "running"
    world.crash()
    world.succeed("go.finally.tidy")
    assert (result(world, "go"), running(world)) == ({"x": 5}, ["b"])
    world.check()


def test_a_failed_call_tells_first() -> None:
    world = calling(call(on_error=OnError.CONTINUE), task("b", "go"))
    world.fail("go.a")
    error = {"code": "boom", "message": "it went wrong", "task": "a"}
    assert arguments(world, "go.on_error.tell") == {"how": "failed", "of": "callee", "error": error, "was": "failed"}
    world.succeed("go.on_error.tell")
    world.succeed("go.finally.tidy")
    assert (status(world, "go"), running(world)) == ("failed", ["b"])
    world.check()


def test_rollbacks_come_first() -> None:
    inner = callee(task("a", rollback=task("a")), task("c", "a"))
    world = calling(inner=inner)
    world.succeed("go.a")
    world.fail("go.c")
    assert running(world) == ["go.a~rollback"]
    world.crash()
    world.succeed("go.a~rollback")
    assert running(world) == ["go.on_error.tell"]
    world.check()


def test_outputs_that_fail_are_a_failure_that_it_tells_of() -> None:
    world = calling(inner=callee(outputs={"x": "{{ tasks.a.result.missing }}"}))
    world.succeed("go.a")
    assert arguments(world, "go.on_error.tell")["error"]["code"] == "unknown-field"


def test_finally_that_fails_fails_the_call_and_undoes_it() -> None:
    world = calling(inner=callee(task("a", rollback=task("a"))))
    world.succeed("go.a")
    world.fail("go.finally.tidy")
    assert running(world) == ["go.a~rollback"]
    world.succeed("go.a~rollback")
    failure = world.run.root.instances[0].failure  # type: ignore[union-attr]
    assert failure is not None
    assert (failure.code, failure.message) == ("finally-failed", "`finally.tidy` failed: it went wrong")
    assert world.run.status is RunStatus.FAILED
    world.check()


def test_its_time_does_not_cut_its_end_short() -> None:
    world = calling(call(timeout=5.0))
    world.pass_time(6)
    world.stopped("go.a")
    assert arguments(world, "go.on_error.tell")["error"]["code"] == "timeout"
    world.succeed("go.on_error.tell")
    world.pass_time(60)
    assert running(world) == ["go.finally.tidy"]
    world.succeed("go.finally.tidy")
    assert status(world, "go") == "timeout"
    world.check()


def test_a_cancelled_call_undoes_what_it_did_and_tidies_up() -> None:
    world = calling(task("first"), call(), inner=callee(task("a", rollback=task("a")), task("c", "a")))
    world.succeed("go.a")
    world.handle(m.Cancel("enough"))
    world.stopped("first")
    world.stopped("go.c")
    assert running(world) == ["go.a~rollback"]
    world.succeed("go.a~rollback")
    assert arguments(world, "go.finally.tidy")["how"] == "cancelled"
    world.crash()
    world.succeed("go.finally.tidy")
    assert (status(world, "go"), world.run.status) == ("cancelled", RunStatus.CANCELLED)
    world.check()


def test_cancelled_at_its_end_it_ends_and_a_second_cancel_stops_that() -> None:
    world = calling()
    world.fail("go.a")
    world.handle(m.Cancel("enough"))
    assert (running(world), world.stopping) == (["go.on_error.tell"], set())
    world.succeed("go.on_error.tell")
    world.handle(m.Cancel("now"))
    world.crash()
    world.stopped("go.finally.tidy")
    assert (status(world, "go"), world.run.status) == ("failed", RunStatus.CANCELLED)
    world.check()


def test_a_cancel_that_was_asked_for_before_a_section_began_does_not_stop_it() -> None:
    world = calling(call(), inner=callee(task("a", rollback=task("a")), task("c", "a")))
    world.succeed("go.a")
    world.handle(m.Cancel("enough"))
    world.stopped("go.c")
    asked_at = world.now
    world.pass_time(1.0)
    world.succeed("go.a~rollback")
    assert world.handle(m.Cancel("now", asked_at)) == []
    assert (running(world), world.stopping) == (["go.finally.tidy"], set())


def test_each_item_of_a_loop_has_its_own_end_and_leaves_memory() -> None:
    world = calling(call(loop=each(1, 2)))
    world.succeed("go[0].a")
    world.succeed("go[1].a")
    world.succeed("go[1].finally.tidy")
    assert running(world) == ["go[0].finally.tidy"]
    world.succeed("go[0].finally.tidy")
    assert world.run.status is RunStatus.SUCCEEDED
    assert not [prefix for prefix in world.run._scopes if prefix]
    world.check()


def test_fail_fast_lets_the_others_come_to_their_end() -> None:
    world = calling(call(loop=Loop(over=[1, 2, 3], fail_fast=True)))
    world.succeed("go[2].a")
    world.fail("go[0].a")
    world.succeed("go[0].on_error.tell")
    world.succeed("go[0].finally.tidy")
    world.stopped("go[1].a")
    assert running(world) == ["go[2].finally.tidy", "go[1].finally.tidy"]
    world.succeed("go[1].finally.tidy")
    world.succeed("go[2].finally.tidy")
    assert status(world, "go") == "failed"
    world.check()


def test_a_retry_runs_both_anew_and_leaves_no_old_rows() -> None:
    world = calling()
    world.fail("go.a")
    world.succeed("go.on_error.tell")
    world.succeed("go.finally.tidy")
    assert world.run.status is RunStatus.FAILED
    world.handle(m.Reopen())
    assert sorted(name for name, _ in world.rows.values()) == ["b", "go", "go.a"]
    world.succeed("go.a")
    world.succeed("go.finally.tidy")
    world.succeed("b")
    shown = dict(world.rows.values())
    assert shown == {"go": "succeeded", "go.a": "succeeded", "go.finally.tidy": "succeeded", "b": "succeeded"}
    world.check()


def test_sections_that_are_not_due_are_not_heard_of() -> None:
    world = calling(inner=callee(finally_=(), outputs={"x": 1}))
    events = world.succeed("go.a")
    assert told(events) == ["AttemptSucceeded go.a", "TaskSucceeded go", "AttemptStarted b"]


def test_a_call_at_the_end_of_a_run_has_an_end_too() -> None:
    world = calling(task("b"), finally_=(call("last"),))
    world.succeed("b")
    world.succeed("finally.last.a")
    assert arguments(world, "finally.last.finally.tidy")["how"] == "succeeded"
    world.succeed("finally.last.finally.tidy")
    assert world.run.status is RunStatus.SUCCEEDED
    world.check()


def test_what_is_within_a_section_goes_on_in_a_cancelled_run() -> None:
    inside = task("pack", type="group", executor=None, tasks=(task("x"), task("y", "x")))
    world = calling(inner=callee(finally_=(inside, task("each", "pack", loop=each(1)))))
    world.handle(m.Cancel("enough"))
    world.stopped("go.a")
    for name in ("go.finally.pack.x", "go.finally.pack.y", "go.finally.each[0]"):
        world.succeed(name)
    assert world.run.status is RunStatus.CANCELLED
    world.check()


def test_a_changed_file_has_to_wait_for_the_end_of_a_call() -> None:
    world = calling()
    world.succeed("go.a")
    assert not adopting.can_adopt(world.run)
    world.succeed("go.finally.tidy")
    assert adopting.can_adopt(world.run)
    world.adopt(workflow(call(), task("b", "go", priority=3), task("new"), callees={"c.yaml": callee()}))
    assert running(world) == ["b", "new"]
    world.check()

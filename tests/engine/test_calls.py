"""Calls of other workflows: what they see, what they give, how deep they go, and what stays after a crash."""

from __future__ import annotations

from typing import Any

from autoglm.base.redaction import Secret
from autoglm.engine import messages as m
from autoglm.engine.machine import Run
from autoglm.engine.states import RunStatus
from autoglm.graph.compile import compile_graph
from autoglm.spec.model import InputSpec, Loop, OnError, PoolSpec, Retry, Task, Workflow

from .conftest import Play
from .flows import arguments, each, group, result, running, status, statuses, task
from .world import CATALOG, World

SEEN = {"n": "{{ inputs.n }}", "v": "{{ vars }}", "of": "{{ run.workflow }}"}


def callee(*tasks: Task, **fields: Any) -> Workflow:
    fields.setdefault("inputs", {"n": InputSpec(type="integer")})
    return Workflow(name="callee", tasks=tasks, **fields)


def call(name: str, after: str = "", file: str = "./c.yaml", n: Any = 1, **fields: Any) -> Task:
    options = {"workflow": file, **fields.pop("options", {})}
    return task(name, after, type="workflow", executor=None, options=options, arguments={"n": n}, **fields)


def code(world: World, name: str) -> str:
    found = world.run.find(name)
    assert found is not None
    assert found.failure is not None
    return found.failure.code


def test_a_call_sees_its_own_inputs_and_variables_only(play: Play) -> None:
    inner = callee(task("a", arguments=SEEN), vars={"own": 1})
    world = play(call("go", n="{{ inputs.m + 1 }}"), inputs={"m": 4}, vars={"outer": 2}, callees={"c.yaml": inner})
    assert arguments(world, "go.a") == {"n": 5, "v": {"own": 1}, "of": "callee"}


def test_nothing_around_a_call_is_seen_within(play: Play) -> None:
    inner = callee(
        task("loop", arguments={"x": "{{ item | default('none') }}"}),
        task("tasks", arguments={"x": "{{ tasks.around.result | default('none') }}"}),
        task("input", arguments={"x": "{{ inputs.m | default('none') }}"}),
    )
    world = play(task("around"), call("go", "around", n=1, loop=each("p")), inputs={"m": 4}, callees={"c.yaml": inner})
    world.succeed("around")
    assert arguments(world, "go[0].loop") == {"x": "none"}
    assert arguments(world, "go[0].input") == {"x": "none"}
    assert code(world, "go[0].tasks") == "unknown-field"


def test_its_outputs_are_the_result(play: Play) -> None:
    inner = callee(task("a"), outputs={"double": "{{ tasks.a.result * 2 }}", "n": "{{ inputs.n }}"})
    after = task("b", "go", arguments={"x": "{{ tasks.go.result.double }}"})
    world = play(call("go", result="{{ output }}"), after, callees={"c.yaml": inner})
    world.succeed("go.a", b"21")
    assert result(world, "go") == {"double": 42, "n": 1}
    assert arguments(world, "b") == {"x": 42}


def test_without_outputs_the_result_is_as_a_group_s(play: Play) -> None:
    world = play(call("go"), callees={"c.yaml": callee(task("a"), task("b", "a"))})
    world.succeed("go.a")
    world.succeed("go.b", b'"last"')
    assert result(world, "go") == "last"


def test_outputs_that_cannot_be_computed_fail_the_call(play: Play) -> None:
    world = play(call("go"), callees={"c.yaml": callee(task("a"), outputs={"x": "{{ tasks.a.result.missing }}"})})
    world.succeed("go.a", b"{}")
    assert code(world, "go") == "unknown-field"


def test_a_failed_task_fails_the_call(play: Play) -> None:
    world = play(call("go", on_error=OnError.CONTINUE), task("b", "go"), callees={"c.yaml": callee(task("a"))})
    world.fail("go.a")
    assert code(world, "go") == "group-failed"
    assert statuses(world) == {"go": "failed", "b": "running"}


def test_inputs_are_held_to_their_declarations_when_the_call_begins(play: Play) -> None:
    world = play(call("go", n="{{ inputs.text }}"), inputs={"text": "many"}, callees={"c.yaml": callee(task("a"))})
    assert code(world, "go") == "bad-inputs"
    found = world.run.find("go")
    assert found is not None
    assert found.failure is not None
    assert found.failure.message == 'callee cannot be called: `n` must be integer, and "many" is a string'


def test_defaults_fill_what_is_not_given(play: Play) -> None:
    inputs = {"n": InputSpec(type="integer"), "k": InputSpec(default=7, required=False)}
    world = play(call("go"), callees={"c.yaml": callee(task("a", arguments={"k": "{{ k }}"}), inputs=inputs)})
    assert arguments(world, "go.a") == {"k": 7}


def test_calls_repeat_in_loops(play: Play) -> None:
    inner = callee(task("a", arguments={"n": "{{ n }}"}), outputs={"n": "{{ tasks.a.result }}"})
    until = Loop(until="result.n > 1", max_iterations=5)
    world = play(
        call("each", n="{{ item }}", loop=each(5, 6)),
        call("go", n="{{ index }}", loop=until),
        callees={"c.yaml": inner},
    )
    assert [arguments(world, f"each[{n}].a") for n in (0, 1)] == [{"n": 5}, {"n": 6}]
    for index in (0, 1):
        world.succeed(f"each[{index}].a", str(index).encode())
        assert arguments(world, f"go[{index}].a") == {"n": index}
        world.succeed(f"go[{index}].a", str(index + 1).encode())
    assert result(world, "each") == [{"n": 0}, {"n": 1}]
    assert result(world, "go") == {"n": 2}


def down(limit: int | None = None) -> Workflow:
    options = {} if limit is None else {"max_depth": limit}
    again = call("again", file="c.yaml", n="{{ n - 1 }}", when="n > 0", options=options)
    return callee(task("a", arguments={"n": "{{ n }}"}), again)


def test_a_workflow_may_call_itself(play: Play) -> None:
    world = play(call("go", n=2), callees={"c.yaml": down()})
    assert running(world) == ["go.a", "go.again.a", "go.again.again.a"]
    assert arguments(world, "go.again.again.a") == {"n": 0}
    assert status(world, "go.again.again.again") == "skipped"
    assert len(world.graph.nodes) == 3, "it is compiled once"


def test_calls_lie_in_one_another_only_so_deep(play: Play) -> None:
    world = play(call("go", n=5), callees={"c.yaml": down(3)})
    assert code(world, "go.again.again.again") == "call-too-deep"
    world = play(call("go", n=50), callees={"c.yaml": down()})
    assert code(world, "go" + ".again" * 16) == "call-too-deep"


def test_callees_call_relative_to_their_own_file(play: Play) -> None:
    outer = callee(call("next", file="./d.yaml", n="{{ n + 1 }}"))
    world = play(
        call("go", file="sub/c.yaml"),
        callees={"sub/c.yaml": outer, "sub/d.yaml": callee(task("a", arguments={"n": "{{ n }}"}))},
    )
    assert arguments(world, "go.next.a") == {"n": 2}


def test_pools_are_each_file_s_own(play: Play) -> None:
    inner = callee(task("a", pool=("p",)), task("b", pool=("p",)), pools={"p": PoolSpec(limit=1)})
    world = play(task("x", pool=("p",)), call("go"), pools={"p": PoolSpec(limit=1)}, callees={"c.yaml": inner})
    assert running(world) == ["x", "go.a"]
    assert [pool.name for pool in world.graph.pools] == ["p", "executor:inline", "c.yaml:p"]


def test_the_run_s_limit_holds_within_calls(play: Play) -> None:
    world = play(call("go"), max_parallel=1, callees={"c.yaml": callee(task("a"), task("b"))})
    assert running(world) == ["go.a"]


def test_a_crash_within_a_call_loses_nothing(play: Play) -> None:
    inner = callee(task("a"), task("b", "a", arguments={"n": "{{ n }}", "x": "{{ result }}"}))
    world = play(task("first"), call("go", "first", n="{{ tasks.first.result }}"), callees={"c.yaml": inner})
    world.succeed("first", b"9")
    world.crash()
    world.succeed("go.a", b"3")
    world.crash()
    assert arguments(world, "go.b") == {"n": 9, "x": 3}


def test_a_retried_run_goes_on_within_the_call(play: Play) -> None:
    world = play(call("go", loop=each(1, 2)), callees={"c.yaml": callee(task("a"), task("b", "a"))})
    for name in ("go[0].a", "go[1].a", "go[1].b"):
        world.succeed(name)
    world.fail("go[0].b")
    world.handle(m.Reopen())
    assert running(world) == ["go[0].b"]
    world.succeed("go[0].b")
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_cancelled_run_stops_what_runs_within_calls(play: Play) -> None:
    world = play(group("g", call("go")), callees={"c.yaml": callee(task("a", retry=Retry()))})
    world.handle(m.Cancel())
    world.stopped("g.go.a")
    assert world.run.status is RunStatus.CANCELLED


def test_secrets_pass_into_calls_as_secrets() -> None:
    inputs = {"n": InputSpec(), "given": InputSpec(required=False), "own": InputSpec(secret=True)}
    inner = callee(task("a", arguments={"x": "{{ n }}", "y": "{{ own }}"}), inputs=inputs)
    arguments = {"n": "Bearer {{ secrets.KEY }}", "own": "literal"}
    flow = Workflow(
        name="flow",
        tasks=(task("go", type="workflow", executor=None, options={"workflow": "c.yaml"}, arguments=arguments),),
        callees={"c.yaml": inner},
    )
    run = Run(compile_graph(flow, CATALOG), lambda blob: b"null", {"KEY": Secret("k1")})
    created = m.RunCreated("run-1", "flow", m.Blob("0" * 64, 1))
    commands = run.handle([m.Create(created, b"{}"), m.Begin()], 1.0).commands
    assert isinstance(commands[0], m.StartAttempt)
    assert commands[0].arguments == {"x": "Bearer k1", "y": "literal"}
    assert all(isinstance(value, Secret) for value in commands[0].arguments.values())
    assert run.reads_secrets()


# ------------------------------------------------------------------------------------------------------------ choices


def choice(name: str, choose: str, *tasks: Task, after: str = "", **fields: Any) -> Task:
    return group(name, *tasks, after=after, options={"choose": choose}, **fields)


def test_exactly_the_task_runs_that_is_chosen(play: Play) -> None:
    inner = [task("x", arguments={"i": "{{ item }}"}), task("y", arguments={"i": "{{ item.n }}"})]
    steps = Loop(over="{{ tasks.plan.result }}", as_="item")
    world = play(task("plan"), choice("step", "{{ item.kind }}", *inner, after="plan", loop=steps))
    world.succeed("plan", b'[{"kind": "y", "n": 1}, {"kind": "x"}, {"kind": "y", "n": 3}]')
    assert running(world) == ["step[0].y", "step[1].x", "step[2].y"]
    assert arguments(world, "step[2].y") == {"i": 3}
    for number, name in enumerate(running(world)):
        world.succeed(name, str(number).encode())
    assert result(world, "step") == [0, 1, 2]


def test_what_is_not_allowed_fails_with_what_is(play: Play) -> None:
    world = play(choice("a", "{{ inputs.kind }}", task("resize"), task("crop")), inputs={"kind": "resise"})
    failed = world.run.find("a")
    assert failed is not None
    assert failed.failure is not None
    assert failed.failure.code == "not-allowed"
    assert failed.failure.hint == "did you mean `resize`? allowed are: resize, crop"
    assert not failed.failure.retryable


def test_a_choice_may_be_skipped_fail_and_be_taken_up_again(play: Play) -> None:
    world = play(choice("a", "{{ inputs.k }}", task("x", when="false"), task("y")), inputs={"k": "x"})
    assert status(world, "a") == "succeeded"
    assert result(world, "a") is None
    world = play(choice("a", "{{ inputs.k }}", task("x"), task("y")), task("b", "a"), inputs={"k": "y"})
    world.fail("a.y")
    assert code(world, "a") == "group-failed"
    world.handle(m.Reopen())
    assert running(world) == ["a.y"]
    world.crash()
    world.succeed("a.y", b"2")
    assert running(world) == ["b"]
    assert result(world, "a") == 2


def test_what_is_chosen_waits_for_none_of_the_others_and_starts_none(play: Play) -> None:
    options = {"conditions": [{"rule": "true", "action": "b"}]}
    inner = [task("a", type="decision", executor=None, options=options), task("b"), task("c", "b")]
    for chosen, ran in (("a", []), ("b", ["x.b"]), ("c", ["x.c"])):
        world = play(choice("x", chosen, *inner))
        assert running(world) == ran
        for name in ran:
            world.succeed(name)
        assert world.run.status is RunStatus.SUCCEEDED

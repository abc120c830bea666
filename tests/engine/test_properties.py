"""What must hold for every graph, every fault and every order of events."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus
from autoglm.spec.model import (
    Degrade,
    Effects,
    InputSpec,
    Join,
    Loop,
    OnError,
    Outcome,
    PoolSpec,
    Retry,
    Schedule,
    StandIn,
    Task,
    Workflow,
)

from .world import Hurried, World

WAITING: list[dict[str, Any]] = [
    {"type": "approval", "options": {"message": "good?"}},
    {"type": "approval", "options": {"message": "good?", "deadline": 2.0, "on_deadline": "approve", "who": ["ann"]}},
    {"type": "approval", "options": {"message": "good?", "deadline": 2.0, "on_reject": "continue"}},
    {"type": "approval", "options": {"message": "good?", "deadline": "{{ 1 + 1 }}", "on_deadline": "skip"}},
    {"type": "approval", "options": {"message": "{{ nobody }}"}},
    {"type": "wait", "options": {"for": 1.5}},
    {"type": "wait", "options": {"until": "1970-01-01T00:17:00Z"}},
    {"type": "wait", "options": {"signal": "go"}},
    {"type": "wait", "options": {"signal": "stay", "deadline": 3.0}},
    {"type": "wait", "options": {"for": "{{ 'text' }}"}},
]
CONDITIONS = [None, None, None, True, "{{ 1 == 1 }}", "{{ 1 > 2 }}", "{{ nobody }}"]


@st.composite
def loops(draw: st.DrawFn) -> Loop:
    common: dict[str, Any] = {
        "max_parallel": draw(st.one_of(st.none(), st.integers(1, 3))),
        "fail_fast": draw(st.booleans()),
        "min_success": draw(st.sampled_from([1.0, 0.5, 0.0])),
        "collect": draw(st.sampled_from([None, None, "{{ [index, result] }}"])),
    }
    kind = draw(st.sampled_from(["list", "range", "matrix", "file", "broken", "until", "until"]))
    if kind == "until":
        return draw(repeats(common["collect"]))
    if kind == "matrix":
        return Loop(matrix={"a": [1, 2], "b": draw(st.sampled_from([[], [1], ["x", "y"]]))}, **common)
    if kind == "file":
        return Loop(file="rows.jsonl", **common)
    over = {"list": [1, "two", None], "range": "{{ range(4) }}", "broken": "{{ 'text' }}"}[kind]
    return Loop(over=draw(st.just(over)) if kind != "list" else over[: draw(st.integers(0, 3))], **common)


def rollbacks(name: str) -> st.SearchStrategy[Task | None]:
    seen = {"was": "{{ result }}", "of": f"{{{{ tasks.{name}.status }}}}"}
    plain = Task(name=name, type="function", executor="inline")
    careful = plain.model_copy(update={"retry": Retry(max_attempts=2, delay=1.0), "timeout": 2.0, "pool": ("narrow",)})
    return st.sampled_from([None, None, plain, careful, plain.model_copy(update={"arguments": seen})])


def fallbacks(name: str) -> st.SearchStrategy[Task | None]:
    """What may stand in for a task: mostly nothing."""
    seen = {"why": "{{ error.code }}", "of": f"{{{{ tasks.{name}.status }}}}"}
    plain = Task(name=name, type="function", executor="inline")
    careful = plain.model_copy(update={"retry": Retry(max_attempts=2, delay=1.0), "timeout": 2.0, "pool": ("narrow",)})
    broken = plain.model_copy(update={"arguments": {"x": "{{ nobody }}"}})
    return st.sampled_from([None, None, None, plain, careful, broken, plain.model_copy(update={"arguments": seen})])


@st.composite
def repeats(draw: st.DrawFn, collect: str | None) -> Loop:
    condition = draw(st.sampled_from(["result == 1", "result == previous", "result is none", "result.x", "index == 2"]))
    asked = {"until": condition} if draw(st.booleans()) else {"while": condition.replace("result", "previous")}
    return Loop(
        **asked,
        max_iterations=draw(st.integers(1, 4)),
        initial=draw(st.sampled_from([None, 1, "{{ 1 + 1 }}", "{{ nobody }}"])),
        delay=draw(st.sampled_from([None, 1.5])),
        on_limit=draw(st.sampled_from(["fail", "succeed"])),
        collect=collect,
    )


@st.composite
def task_lists(draw: st.DrawFn, depth: int = 2, undoable: bool = True) -> tuple[Task, ...]:
    tasks: list[Task] = []
    for number in range(draw(st.integers(1, 4))):
        name = f"t{number}"
        before = [task.name for task in tasks]
        upstream = draw(st.lists(st.sampled_from(before), unique=True, max_size=3)) if before else []
        outcomes = st.one_of(st.none(), st.none(), st.lists(st.sampled_from(list(Outcome)), min_size=1).map(tuple))
        fields: dict[str, Any] = {
            "name": name,
            "type": "function",
            "depends_on": {up: draw(outcomes) for up in upstream},
            "join": draw(st.sampled_from([Join.NONE_FAILED, Join.NONE_FAILED, *Join])),
            "when": draw(st.sampled_from(CONDITIONS)),
            "priority": draw(st.integers(0, 2)),
            "on_error": draw(st.sampled_from([OnError.FAIL, OnError.FAIL, OnError.CONTINUE, Degrade(degrade="spare")])),
        }
        if draw(st.booleans()) and before:
            fields["arguments"] = {"seen": f"{{{{ tasks.{draw(st.sampled_from(before))}.result }}}}"}
        if draw(st.integers(0, 3)) == 0:
            fields["loop"] = draw(loops())
            fields["when"] = draw(st.sampled_from([*CONDITIONS, "{{ index % 2 == 0 }}"]))
        if depth and draw(st.integers(0, 3)) == 0:
            fields |= draw(insides(depth - 1, undoable))
            fields["timeout"] = draw(st.sampled_from([None, 5.0]))
        else:
            fields["timeout"] = draw(st.sampled_from([None, None, 2.0]))
            fields["pool"] = draw(st.sampled_from([(), ("narrow",)]))
            fields["result"] = draw(st.sampled_from([None, None, "{{ output }}", "{{ output.x }}"]))
            fields["retry"] = draw(
                st.sampled_from(
                    [
                        None,
                        Retry(max_attempts=3, delay=1.0),
                        Retry(max_attempts=2, delay=0.5, jitter="none", on=("boom",)),
                        Retry(max_attempts=5, delay=2.0, max_elapsed=3.0),
                    ]
                )
            )
        fields["fallback"] = draw(fallbacks(name)) if fields["on_error"] is OnError.FAIL else None
        if undoable:
            fields["rollback"] = draw(rollbacks(name))
        if before and draw(st.integers(0, 5)) == 0:
            fields = draw(decisions(name, upstream))
        elif fields["type"] == "function" and draw(st.integers(0, 4)) == 0:
            fields |= {"timeout": None, "retry": None, "pool": (), **draw(st.sampled_from(WAITING))}
        elif fields["type"] == "function" and draw(st.integers(0, 4)) == 0:
            fields["effects"] = Effects.GUARDED
        tasks.append(Task(**fields))
    return draw(stood_in_by_name(tuple(tasks)))


@st.composite
def stood_in_by_name(draw: st.DrawFn, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """Return the same, now and then with a task that stands in for others, and with tasks that ask another model."""
    if draw(st.integers(0, 2)):
        return tasks
    spare = Task(
        name="spare",
        type="function",
        retry=draw(st.sampled_from([None, Retry(max_attempts=2, delay=1.0)])),
        pool=draw(st.sampled_from([(), ("narrow",)])),
        arguments=draw(st.sampled_from([{}, {"why": "{{ error.code }}"}, {"x": "{{ nobody }}"}])),
    )
    found = []
    for task in tasks:
        ways = [StandIn(task="spare")]
        if task.type == "function":
            ways.append(StandIn(model="other"))
        may = task.type != "decision" and task.on_error is OnError.FAIL and task.fallback is None
        found.append(task.model_copy(update={"on_error": draw(st.sampled_from(ways))}) if may else task)
    return (*found, spare)


@st.composite
def decisions(draw: st.DrawFn, name: str, upstream: list[str]) -> dict[str, Any]:
    """Return the fields of a decision between the tasks that may follow: rules, a trained model, a language model."""
    following = [f"t{number}" for number in range(int(name[1:]) + 1, 5)]
    rules = [
        {"rule": draw(st.sampled_from(["true", "1 > 2", "nobody", "result == 1"])), "action": action}
        for action in draw(st.lists(st.sampled_from([*following, "f"]), min_size=1, max_size=3))
    ]
    options: dict[str, Any] = {"conditions": rules, "mode": draw(st.sampled_from(["first", "all"]))}
    kind = draw(st.sampled_from(["rules", "model", "llm"]))
    if kind == "model":
        options |= {"model": "m.skops", "features": [1], "default": draw(st.sampled_from(following))}
    elif kind == "llm":
        options = {"llm": "m", "prompt": "?", "branches": draw(st.sampled_from([following, {"x": following[0]}]))}
        options |= draw(
            st.sampled_from([{}, {"min_confidence": 0.5, "fallback": following[-1]}, {"min_confidence": 0}])
        )
    return {"name": name, "type": "decision", "options": options, "depends_on": dict.fromkeys(upstream)}


@st.composite
def insides(draw: st.DrawFn, depth: int, undoable: bool = True) -> dict[str, Any]:
    """Return the fields of a task that has tasks inside: a group, or a call of one of two workflows."""
    kind = draw(st.sampled_from(["group", "call", "choice"]))
    if kind == "group":
        return {"type": "group", "tasks": draw(task_lists(depth, undoable))}
    if kind == "choice":
        tasks = draw(task_lists(depth, undoable))
        alone = [task.model_copy(update={"depends_on": {}, "arguments": {}}) for task in tasks]
        return {
            "type": "group",
            "tasks": tuple(alone),
            "options": {"choose": draw(st.sampled_from(["t0", "t1", "tx"]))},
        }
    given = draw(st.sampled_from([{"n": 1}, {"n": 1}, {"n": "{{ index }}"}, {"n": "text"}, {}]))
    return {"type": "workflow", "options": {"workflow": draw(st.sampled_from(CALLED))}, "arguments": given}


CALLED = ["./once.yaml", "./deeper.yaml"]


@st.composite
def callees(draw: st.DrawFn) -> dict[str, Workflow]:
    """Return two workflows that may be called; one calls itself a few times."""
    inputs = {"n": InputSpec(type="integer")}
    again = Task(
        name="again",
        type="workflow",
        when="n < 3",
        options={"workflow": "deeper.yaml", "max_depth": draw(st.integers(1, 5))},
        arguments={"n": "{{ n + 1 }}"},
    )
    outputs = draw(st.sampled_from([{}, {"seen": "{{ inputs.n }}"}, {"x": "{{ tasks.t0.result.x }}"}]))
    return {
        "once.yaml": Workflow(
            name="once",
            tasks=draw(task_lists(0)),
            inputs=inputs,
            outputs=outputs,
            on_error=draw(st.one_of(st.just(()), task_lists(0, undoable=False))),
            finally_=draw(st.one_of(st.just(()), task_lists(0, undoable=False))),
        ),
        "deeper.yaml": Workflow(name="deeper", tasks=(*draw(task_lists(0)), again), inputs=inputs),
    }


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    return Workflow(
        callees=draw(callees()),
        name="random",
        tasks=draw(task_lists()),
        pools={"narrow": PoolSpec(limit=draw(st.integers(1, 2)))},
        max_parallel=draw(st.one_of(st.none(), st.integers(1, 4))),
        schedule=draw(st.sampled_from(list(Schedule))),
        on_error=draw(st.one_of(st.just(()), task_lists(1, undoable=False))),
        finally_=draw(st.one_of(st.just(()), task_lists(1, undoable=False))),
    )


quick = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(workflows(), st.integers(0, 2**32))
def test_every_run_ends_and_replays_to_itself(workflow: Workflow, seed: int) -> None:
    world = World(workflow)
    world.settle(Random(seed))
    world.check_history()


@quick
@given(workflows(), st.integers(0, 2**32), st.booleans())
def test_a_run_that_is_decided_on_little_by_little_ends_too(workflow: Workflow, seed: int, is_cancelled: bool) -> None:
    random = Random(seed)
    world = Hurried(workflow)
    if is_cancelled:
        for _ in range(random.randrange(20)):
            if not world.run.is_final:
                world._something(random, 0.2, 0.05)
        world.handle(m.Cancel("enough"))
    world.settle(random, crashes=0.1)
    world.check_history()


@quick
@given(workflows(), st.integers(0, 2**32), st.integers(0, 30))
def test_a_cancelled_run_ends_cancelled(workflow: Workflow, seed: int, steps: int) -> None:
    random = Random(seed)
    world = World(workflow)
    for _ in range(steps):
        if not world.run.is_final:
            world._something(random, 0.2, 0.05)
    was_final = world.run.is_final
    world.handle(m.Cancel("enough"))
    world.settle(random)
    world.check_history()
    assert was_final or world.run.status is RunStatus.CANCELLED


@quick
@given(workflows(), st.integers(0, 2**32))
def test_a_paused_run_starts_nothing(workflow: Workflow, seed: int) -> None:
    random = Random(seed)
    world = World(workflow)
    for _ in range(5):
        if not world.run.is_final:
            world._something(random, 0.2, 0.0)
    if world.run.is_final:
        return
    world.handle(m.Pause("for a while"))
    assert (world.run.pause_reason, world.replayed().pause_reason) == ("for a while", "for a while")
    before = sum(world.started.values())
    while world.running:
        world.succeed(random.choice(sorted(world.running))[0])
        world.check()
    assert sum(world.started.values()) == before
    if not world.run.is_final:
        world.handle(m.Resume())
    world.settle(random)
    world.check_history()


@quick
@given(workflows(), st.integers(0, 2**32))
def test_a_retried_run_keeps_what_succeeded(workflow: Workflow, seed: int) -> None:
    random = Random(seed)
    world = World(workflow)
    world.settle(random, faults=0.4)
    for _ in range(3):
        if world.run.status is RunStatus.SUCCEEDED:
            break
        world.handle(m.Reopen())
        world.settle(random, faults=0.2)
    world.check()


@quick
@given(workflows(), st.integers(0, 2**32))
def test_without_crashes_nothing_starts_twice(workflow: Workflow, seed: int) -> None:
    world = World(workflow)
    world.settle(Random(seed), crashes=0.0)
    goes_on = Counter((event.task, event.attempt) for event in world.events if isinstance(event, m.ParkingEnded))
    assert all(count == 1 + goes_on[key] for key, count in world.started.items())

"""What counts as a change of a task: its definition, its code, what it reads; and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from autoglm.spec.changes import Change, Definition, Kind, compare, fingerprint, fingerprints, workflow_changes
from autoglm.spec.model import Loop, ModelSpec, Retry, StandIn, Task, Workflow

GROUP = Task(name="g", type="group", tasks=(Task(name="x", type="function"), Task(name="y", type="function")))


def flow(*tasks: Task, **fields: Any) -> Definition:
    return Definition(Workflow(name="flow", tasks=tasks, **fields))


def task(name: str = "a", **fields: Any) -> Task:
    return Task(name=name, type=fields.pop("type", "function"), **fields)


def changed(old: Definition, new: Definition) -> list[tuple[str, Kind, tuple[str, ...]]]:
    return [(each.path, each.kind, (*each.fields, *each.code, *each.values)) for each in compare(old, new)]


@pytest.mark.parametrize(
    ("fields", "kind", "names"),
    [
        ({"arguments": {"x": 1}}, Kind.CHANGED, ("with",)),
        ({"when": "1 > 2"}, Kind.CHANGED, ("when",)),
        ({"depends_on": {"b": None}}, Kind.CHANGED, ("depends_on",)),
        ({"options": {"handler": "other"}}, Kind.CHANGED, ("options",)),
        ({"timeout": 5.0}, Kind.TUNED, ("timeout",)),
        ({"retry": Retry()}, Kind.TUNED, ("retry",)),
        ({"priority": 2, "timeout": 3.0}, Kind.TUNED, ("priority", "timeout")),
    ],
)
def test_a_field_that_differs(fields: dict[str, Any], kind: Kind, names: tuple[str, ...]) -> None:
    old, new = flow(task(), task("b")), flow(task(**fields), task("b"))
    assert changed(old, new) == [("a", kind, names)]
    prints = fingerprints(old)["a"], fingerprints(new)["a"]
    assert (prints[0] == prints[1]) == (kind is Kind.TUNED), "a fingerprint tells what a comparison tells"


def test_description_labels_and_place_are_no_change() -> None:
    old = flow(task(), task("b"))
    assert compare(old, flow(task("b"), task(description="first", labels={"x": "y"}))) == []


def test_a_rollback_and_what_runs_at_the_end_may_stand_elsewhere_in_the_file() -> None:
    def at(line: int) -> Definition:
        undo = task("undo", source=("tasks", line, "rollback"), written={"handler": "undo"} if line else {})
        clean = task("clean", source=("finally", line), written={"handler": "clean"} if line else {})
        return flow(task(rollback=undo, source=("tasks", line)), **{"finally": (clean,), "on_error": (clean,)})

    assert compare(at(0), at(3)) == []
    assert workflow_changes(at(0).workflow, at(3).workflow) == []
    other = at(0).workflow.model_copy(update={"finally_": (task("sweep"),)})
    assert workflow_changes(at(0).workflow, other) == ["finally"]


def test_new_and_gone() -> None:
    assert changed(flow(task(), task("b")), flow(task("c"), task())) == [("c", Kind.NEW, ()), ("b", Kind.GONE, ())]


def test_inside_a_group_the_task_is_told_and_inside_a_loop_the_loop() -> None:
    edited = GROUP.model_copy(update={"tasks": (GROUP.tasks[0], task("y", arguments={"n": 1}))})
    assert changed(flow(GROUP), flow(edited)) == [("g.y", Kind.CHANGED, ("with",))]
    looped, edited_loop = (each.model_copy(update={"loop": Loop(over=[1])}) for each in (GROUP, edited))
    assert changed(flow(looped), flow(edited_loop)) == [("g", Kind.CHANGED, ("tasks",))]
    assert fingerprints(flow(GROUP)) != fingerprints(flow(edited)), "what is inside is part of it"


def test_what_only_goes_from_a_group_changes_the_group() -> None:
    fewer = GROUP.model_copy(update={"tasks": GROUP.tasks[:1]})
    assert changed(flow(GROUP), flow(fewer)) == [("g", Kind.CHANGED, ("tasks",))]


def test_how_a_loop_is_paced_is_no_change_of_its_result() -> None:
    old, new = (flow(task(loop=Loop(over=[1, 2], max_parallel=most))) for most in (1, 9))
    assert changed(old, new) == [("a", Kind.TUNED, ("loop",))]
    assert changed(old, flow(task(loop=Loop(over=[1])))) == [("a", Kind.CHANGED, ("loop",))]


def test_more_iterations_are_a_change_only_where_reaching_them_gives_a_result() -> None:
    for on_limit, kind in (("fail", Kind.TUNED), ("succeed", Kind.CHANGED)):
        old, new = (
            flow(task(loop=Loop(until="result > 3", max_iterations=most, on_limit=on_limit))) for most in (3, 9)
        )
        assert changed(old, new) == [("a", kind, ("loop",))]


def test_variables_concern_those_that_read_them() -> None:
    tasks = (
        task(arguments={"n": "{{ vars.one }}"}),
        task("b", when="two > 1"),
        task("c", arguments={"v": "{{ vars }}"}),
    )
    old, new = (flow(*tasks, vars={"one": 1, "two": two}) for two in (1, 2))
    assert changed(old, new) == [("b", Kind.CHANGED, ("vars.two",)), ("c", Kind.CHANGED, ("vars.two",))]
    assert workflow_changes(old.workflow, new.workflow) == ["vars"]


def test_models_concern_those_that_ask_them() -> None:
    ask = task("ask", type="llm_generate", options={"model": "m", "prompt": "x"})
    old, new = (flow(ask, task(), models={"m": ModelSpec(model=name)}) for name in ("one", "two"))
    assert changed(old, new) == [("ask", Kind.CHANGED, ("models.m",))]


def test_code_concerns_those_that_use_it_and_what_was_never_recorded_does_not() -> None:
    flows = flow(task(), task("b"))
    functions = {"a": "w.py: a", "b": "w.py: b"}
    old = Definition(flows.workflow, {"w.py: a": "1"}, functions)
    new = Definition(flows.workflow, {"w.py: a": "2", "w.py: b": "3"}, functions)
    assert compare(old, new) == [Change("a", Kind.CHANGED, (), ("w.py: a",))]
    first, second = (fingerprint(each, flows.workflow.tasks[0], "a") for each in (old, new))
    assert first != second


def test_a_called_file_that_differs_changes_the_call() -> None:
    call = task("call", type="workflow", options={"workflow": "./other.yaml"})
    callees = [Workflow(name="other", tasks=(task("x", arguments={"n": n}),)) for n in (1, 2)]
    old, new = (flow(call, callees={"other.yaml": callee}) for callee in callees)
    assert changed(old, new) == [("call", Kind.CHANGED, ("./other.yaml",))]


def test_what_stands_in_for_a_task_is_a_part_of_it() -> None:
    def at(x: int, **fields: Any) -> Definition:
        tasks = (task("a", on_error=StandIn(task="spare")), task("spare", arguments={"x": x}, **fields), task("b"))
        return flow(*tasks, task("g", type="group", tasks=tasks))

    own = [("a", Kind.CHANGED, ("on_error",)), ("spare", Kind.CHANGED, ("with",))]
    inner = [(f"g.{name}", kind, fields) for name, kind, fields in own]
    assert changed(at(1), at(2)) == own + inner
    was, now = fingerprints(at(1)), fingerprints(at(2))
    assert {name for name in was if was[name] != now[name]} == {"a", "spare", "g"}
    assert changed(at(1), at(1, timeout=3.0)) == [(f"{where}spare", Kind.TUNED, ("timeout",)) for where in ("", "g.")]

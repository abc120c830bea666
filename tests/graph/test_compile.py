"""From the checked model to nodes, scopes and edges."""

from __future__ import annotations

from typing import Any

import pytest

from autoglm.base.errors import EngineError
from autoglm.graph.compile import compile_graph
from autoglm.graph.model import Graph, Node, NodeKind
from autoglm.spec.catalog import Catalog, FunctionInfo, TaskTypeInfo
from autoglm.spec.model import Join, Loop, ModelSpec, OnError, Outcome, PoolSpec, Task, Workflow

CATALOG = Catalog(
    task_types={"script": TaskTypeInfo("script", executor="subprocess"), "group": TaskTypeInfo("group")},
    functions={
        "sync": FunctionInfo("sync", "tasks/a.py:1"),
        "async_one": FunctionInfo("async_one", "tasks/a.py:2", is_async=True),
    },
    models={"house": ModelSpec(max_parallel=3)},
    executor_limits={"thread": 7},
)


def task(name: str, *after: str, **fields: Any) -> Task:
    return Task(**{"name": name, "type": "function", "depends_on": dict.fromkeys(after), **fields})


def compiled(*tasks: Task, **fields: Any) -> Graph:
    return compile_graph(Workflow(name="flow", tasks=tasks, **fields), CATALOG)


def node(graph: Graph, path: str) -> Node:
    return next(node for node in graph.nodes if node.path == path)


def ups(graph: Graph, path: str) -> list[str]:
    """Return the names of a node's upstreams."""
    found = node(graph, path)
    scope = next(scope for scope in [graph.root, *(n.body for n in graph.nodes if n.body)] if found in scope.nodes)
    return [scope.nodes[edge.upstream].name for edge in found.edges]


def test_nodes_are_numbered_outer_ones_first() -> None:
    graph = compiled(task("a"), task("g", type="group", tasks=(task("x"), task("y", "x"))), task("b", "g"))
    assert [found.path for found in graph.walk()] == ["a", "g", "b", "g.x", "g.y"]
    assert [found.index for found in graph.nodes] == list(range(5))
    assert node(graph, "g").kind is NodeKind.GROUP
    body = node(graph, "g").body
    assert body is not None
    assert (body.unmet, body.sinks, dict(body.names)) == ((0, 1), (1,), {"x": 0, "y": 1})
    assert (graph.root.unmet, graph.root.sinks) == ((0, 0, 1), (0, 2))


def test_edges_and_successors() -> None:
    accepted = {"a": (Outcome.FAILED, Outcome.SKIPPED), "b": None}
    graph = compiled(task("a"), task("b"), task("c", depends_on=accepted, join="all_done"))
    first, second = node(graph, "c").edges
    assert first.accepts == {Outcome.FAILED, Outcome.SKIPPED}
    assert second.accepts is None
    assert node(graph, "a").successors == node(graph, "b").successors == (2,)
    assert node(graph, "c").join is Join.ALL_DONE


@pytest.mark.parametrize(
    "fields",
    [
        {"arguments": {"x": [{"y": "{{ tasks.a.result }}"}]}},
        {"options": {"prompt": "about {{ tasks.a.result.topic }}"}},
        {"env": {"X": "{{ tasks.a.result }}"}},
        {"when": "tasks.a.result > 3"},
        {"result": "{{ output + tasks.a.result }}"},
        {"loop": Loop(over="{{ tasks.a.result }}")},
        {"loop": Loop(file="{{ tasks.a.result }}.csv")},
        {"loop": Loop(matrix={"x": "{{ tasks.a.result }}"})},
        {"loop": Loop(over=[1], collect="[tasks.a.result, result]")},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_every_templated_field_makes_a_data_dependency(fields: dict[str, Any]) -> None:
    assert ups(compiled(task("b", **fields), task("a")), "b") == ["a"]


def test_a_dependency_that_is_both_is_one_edge() -> None:
    graph = compiled(task("a"), task("b", depends_on={"a": (Outcome.FAILED,)}, arguments={"x": "{{ tasks.a.error }}"}))
    (edge,) = node(graph, "b").edges
    assert edge.accepts == {Outcome.FAILED}


def test_a_task_that_reads_itself_does_not_depend_on_itself() -> None:
    assert ups(compiled(task("a", result="{{ tasks.a.status }}")), "a") == []


def test_a_name_is_looked_up_from_the_innermost_scope_outwards() -> None:
    inner = task("h", type="group", tasks=(task("x", arguments={"v": "{{ tasks.a.result }}"}),))
    graph = compiled(task("a"), task("g", type="group", tasks=(inner, task("b"))))
    assert ups(graph, "g") == ["a"], "the outermost group that it leaves waits for it"
    assert ups(graph, "g.h") == []
    hidden = compiled(task("a"), task("g", type="group", tasks=(inner, task("a"))))
    assert (ups(hidden, "g"), ups(hidden, "g.h")) == ([], ["a"])


def test_names_with_dashes_have_another_spelling() -> None:
    graph = compiled(task("fetch-page"), task("b", "fetch_page", arguments={"x": "{{ tasks.fetch_page.result }}"}))
    assert ups(graph, "b") == ["fetch-page"]
    both = compiled(task("a-b"), task("a_b"), task("c", "a_b"), task("d", "a-b"))
    assert (ups(both, "c"), ups(both, "d")) == (["a_b"], ["a-b"])


def test_a_decision_s_targets_are_branches_and_a_function_it_names_becomes_a_task() -> None:
    rules = {"conditions": [{"rule": "1 > 2", "action": "sync"}, {"rule": "true", "action": "b"}], "default": "c"}
    graph = compiled(task("d", type="decision", options=rules), task("b"), task("c", "b"))
    assert [found.name for found in graph.root.nodes] == ["d", "sync", "b", "c"]
    assert node(graph, "d").kind is NodeKind.DECISION
    assert [rule.action for rule in node(graph, "d").rules] == ["sync", "b", "c"]
    for name in ("sync", "b", "c"):
        assert [edge.is_branch for edge in node(graph, name).edges if edge.upstream == 0] == [True]
    assert node(graph, "sync").task.options == {"handler": "sync"}


@pytest.mark.parametrize(
    ("fields", "executor", "limit"),
    [
        ({"options": {"handler": "sync"}}, "thread", 7),
        ({"options": {"handler": "async-one"}}, "inline", 1000),
        ({"options": {"handler": "sync"}, "executor": "process"}, "process", 2),
        ({"type": "script"}, "subprocess", 4),
        ({"type": "unheard-of", "executor": "ray"}, "ray", 64),
    ],
)
def test_where_a_task_runs_and_how_many_may(fields: dict[str, Any], executor: str, limit: int) -> None:
    graph = compiled(task("a", **fields))
    found = node(graph, "a")
    assert found.executor == executor
    assert [(graph.pools[pool].name, graph.pools[pool].limit) for pool in found.pools] == [
        (f"executor:{executor}", limit)
    ]


def test_pools_are_listed_once_in_the_file_s_order_first() -> None:
    graph = compiled(
        task("a", pool=("y", "x"), options={"model": "house"}),
        task("b", pool=("x",), options={"model": "mine"}),
        task("c", options={"model": "unlimited"}),
        pools={"x": PoolSpec(limit=1), "y": PoolSpec(limit=2)},
        models={"mine": ModelSpec(max_parallel=5), "unlimited": ModelSpec()},
    )
    assert [pool.name for pool in graph.pools] == ["x", "y", "executor:thread", "model:house", "model:mine"]
    assert node(graph, "a").pools == (2, 1, 0, 3)
    assert node(graph, "b").pools == (2, 0, 4)
    assert node(graph, "c").pools == (2,)


def test_groups_and_decisions_hold_no_slot() -> None:
    graph = compiled(
        task("g", type="group", tasks=(task("x"),)),
        task("d", type="decision", options={"conditions": [], "default": "g"}),
    )
    assert node(graph, "g").pools == node(graph, "d").pools == ()


def test_the_rank_of_a_group_counts_what_is_inside() -> None:
    inside = (task("x"), task("y", "x"), task("z", "y"))
    graph = compiled(task("a"), task("g", "a", type="group", tasks=inside), task("b", "a"), task("end", "g", "b"))
    assert {found.path: found.rank for found in graph.root.nodes} == {"a": 6, "g": 5, "b": 2, "end": 1}


@pytest.mark.parametrize(
    ("condition", "each"),
    [("item > 3", True), ("row.x", True), ("index == 0", True), ("inputs.go", False), ("tasks.a.result", False)],
)
def test_a_condition_that_reads_the_item_is_asked_for_each(condition: str, each: bool) -> None:
    graph = compiled(task("a"), task("b", loop=Loop(over=[1], as_="row"), when=condition))
    assert node(graph, "b").when_each is each


def test_a_condition_of_a_task_without_a_loop_is_never_asked_for_each() -> None:
    assert node(compiled(task("b", when="inputs.item > 3")), "b").when_each is False


def test_on_error() -> None:
    graph = compiled(
        task("a", on_error=OnError.CONTINUE), task("b", on_error={"degrade": "{{ error.code }}"}), task("c")
    )
    assert [found.tolerated for found in graph.nodes] == [True, False, False]
    assert [found.degrade is not None for found in graph.nodes] == [False, True, False]


@pytest.mark.parametrize(
    ("tasks", "code"),
    [
        ((task("a", "gone"),), "unknown-task"),
        ((task("a", "b"), task("b", "a")), "cycle"),
        ((task("a", arguments={"x": "{{ tasks.b.result }}"}), task("b", "a")), "cycle"),
        ((task("g", type="group", tasks=(task("x", "y"), task("y", "x"))),), "cycle"),
    ],
)
def test_what_the_checks_refuse_is_a_bug_here(tasks: tuple[Task, ...], code: str) -> None:
    with pytest.raises(EngineError) as caught:
        compiled(*tasks)
    assert caught.value.code == code


def test_ten_thousand_tasks_in_one_scope() -> None:
    graph = compiled(task("t0"), *(task(f"t{n}", f"t{n - 1}") for n in range(1, 10_000)))
    assert node(graph, "t0").rank == 10_000

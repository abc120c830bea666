"""What a run of a file would do: the graph with what is inside its groups, loops and calls, in waves; nothing is run.

How often a task runs is told as far as it can be before: lists in the file, ranges, matrices and what follows from
given or default inputs are counted, files row by row, and conditions that read nothing else are asked. What hangs on a
result is unknown. Whoever can tell what a model
call costs multiplies :attr:`Planned.calls` of the tasks that ask a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from autoglm.app.chances import Chance, chances
from autoglm.app.foreknowledge import Known
from autoglm.app.loading import Loaded
from autoglm.base.errors import TaskError
from autoglm.base.order import levels
from autoglm.graph.model import Graph, LoopPlan, Node, ScopePlan
from autoglm.runtime.sources import open_source
from autoglm.spec.catalog import Catalog
from autoglm.spec.expressions import ExpressionError, Template, compile_template
from autoglm.spec.given import as_secret, default_of
from autoglm.spec.model import Workflow
from autoglm.spec.names import loop_names

MAX_ROWS: Final = 1_000_000
"""Rows of a file that are counted at most."""
_CHUNK: Final = 5000
_AT_END: Final = frozenset({"error", "run"})
"""What the names mean in a section at the end, only the run can tell."""


class Count(msgspec.Struct, frozen=True):
    """How often something happens; ``most`` is None when it is not known before."""

    least: int
    most: int | None

    def times(self, other: Count) -> Count:
        most = None if self.most is None or other.most is None else self.most * other.most
        return Count(self.least * other.least, most)

    def __str__(self) -> str:
        if self.most is None:
            return f"{self.least:,} or more" if self.least else "unknown"
        return f"{self.most:,}" if self.least == self.most else f"{self.least:,} to {self.most:,}"


ONCE: Final = Count(1, 1)
UNKNOWN: Final = Count(0, None)


class Planned(msgspec.Struct, frozen=True):
    """A task as a run would have it."""

    path: str
    """``outer.inner``; inside a call, below the task that calls."""
    type: str
    wave: int
    """Which wave of its scope it belongs to, from 1: all that it waits for is in earlier ones."""
    depth: int
    depends_on: list[str]
    executor: str
    pools: list[str]
    loop: bool
    items: Count
    """How many items its loop has; one without a loop."""
    runs: Count
    """How often it runs in a whole run, what is around it counted in."""
    calls: Count | None
    """How often it asks a model; more than ``runs`` where an attempt is repeated. None: it asks none."""
    model: str | None
    cached: bool
    """Its answers may come out of the cache."""
    when: str | None
    max_attempts: int
    timeout: float | None
    inside: int
    """How many tasks are directly inside it."""


class Plan(msgspec.Struct, frozen=True):
    """What a run of a file would do."""

    tasks: list[Planned]
    waves: list[list[str]]
    critical_path: list[str]
    """The longest chain of tasks, with what is inside of groups."""
    model_calls: Count
    limits: dict[str, int | None]


def plan_of(
    loaded: Loaded,
    catalog: Catalog,
    root: Any,
    inputs: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Plan:
    """Return the plan of a workflow.

    ``root`` is the project's folder and ``config`` its own values; ``inputs`` are those known so far.
    """
    planner = _Planner(loaded.graph, catalog, root, inputs or {}, config or {})
    tasks = list(planner.whole())
    waves: list[list[str]] = []
    for task in tasks:
        if task.depth == 0:
            waves.extend([] for _ in range(task.wave - len(waves)))
            waves[task.wave - 1].append(task.path)
    least, most = 0, 0
    known = True
    for task in tasks:
        if task.calls is not None:
            least += task.calls.least
            known = known and task.calls.most is not None
            most += task.calls.most or 0
    workflow, pools = loaded.workflow, loaded.graph.pools
    limits = {"max_parallel": workflow.max_parallel, **{pool.name: pool.limit for pool in pools}}
    path = list(_critical_path(loaded.graph, loaded.graph.root, "", frozenset()))
    return Plan(tasks, waves, path, Count(least, most if known else None), limits)


class _Planner:
    def __init__(
        self, graph: Graph, catalog: Catalog, root: Any, inputs: Mapping[str, Any], config: Mapping[str, Any]
    ) -> None:
        self.graph = graph
        self.catalog = catalog
        self.root = root
        self._config = config
        self._known = self._known_in(graph.workflow, inputs)

    def _known_in(self, workflow: Workflow, inputs: Mapping[str, Any]) -> Known:
        """Return what templates of a workflow can read before a run, with these inputs and the other ones' defaults."""
        declared = {} if workflow.inputs_inferred else workflow.inputs
        defaults = {name: default_of(spec) for name, spec in declared.items() if not spec.required}
        given = {
            name: as_secret(value) if name in declared and declared[name].secret else value
            for name, value in inputs.items()
        }
        return Known({**defaults, **given}, workflow.vars, self._config)

    def _known_inside(self, node: Node, known: Known) -> Known:
        """Return what is known before a run inside of a task; the files that it calls see what it gives them."""
        callee = self.graph.callees.get(node.callee or "")
        inner = known.without(loop_names(node.task))
        if callee is None:
            return inner
        given: dict[str, Any] = {}
        for name, value in node.task.arguments.items():
            with suppress(ExpressionError, KeyError, TypeError):
                given[name] = inner.value_of(compile_template(value))
        found = self._known_in(callee.workflow, given)
        return found.without_inputs(node.task.arguments.keys() - given.keys())

    def whole(self) -> Iterator[Planned]:
        """Yield the tasks of the file wave by wave, and then, in further waves, those that run at the run's end."""
        last = 0
        for task in self.scope(self.graph.root, "", 0, ONCE, frozenset(), self._known):
            last = max(last, task.wave if task.depth == 0 else 0)
            yield task
        for name, plan in self.graph.sections.items():
            before = last
            known = self._known.without(_AT_END)
            for task in self.scope(plan, f"{name}.", 0, _at_end(name, ONCE), frozenset(), known):
                later = task.wave + before if task.depth == 0 else task.wave
                last = max(last, later if task.depth == 0 else 0)
                yield msgspec.structs.replace(task, wave=later)

    def scope(
        self, plan: ScopePlan, prefix: str, depth: int, around: Count, called: frozenset[str], known: Known
    ) -> Iterator[Planned]:
        """Yield the tasks of a scope wave by wave, each followed by what is inside it."""
        waves = levels([[edge.upstream for edge in node.edges] for node in plan.nodes])
        likely = chances(plan, lambda node: known.holds(node.when))
        for node in sorted(plan.nodes, key=lambda each: (waves[each.local], each.local)):
            items = self._items(node.loop, known) if node.loop is not None else ONCE
            runs = _by_chance(around.times(items), likely[node.local], is_each=node.when_each)
            inner, key = self._inside(node, called)
            yield self._planned(plan, node, prefix, depth, waves[node.local] + 1, items, runs, inner)
            if inner is not None:
                below = called if key is None else called | {key}
                least = 0 if node.choose is not None else runs.least
                inside = Count(least, runs.most)
                within = self._known_inside(node, known)
                yield from self.scope(inner, f"{prefix}{node.name}.", depth + 1, inside, below, within)
                callee = self.graph.callees.get(node.callee or "")
                for name, section in callee.sections.items() if callee is not None else ():
                    where = f"{prefix}{node.name}.{name}."
                    at_end = _at_end(name, inside)
                    yield from self.scope(section, where, depth + 1, at_end, below, within.without(_AT_END))

    def _inside(self, node: Node, called: frozenset[str]) -> tuple[ScopePlan | None, str | None]:
        """Return what is inside a task; a file that calls itself is shown once."""
        if node.callee is None:
            return node.body, None
        callee = self.graph.callees.get(node.callee)
        return (None if callee is None or node.callee in called else callee.plan), node.callee

    def _planned(
        self,
        plan: ScopePlan,
        node: Node,
        prefix: str,
        depth: int,
        wave: int,
        items: Count,
        runs: Count,
        inner: ScopePlan | None,
    ) -> Planned:
        task = node.task
        info = self.catalog.task_types.get(task.type)
        attempts = node.retry.max_attempts if node.retry is not None else 1
        asks = info is not None and info.caches
        calls = Count(runs.least, None if runs.most is None else runs.most * attempts) if asks else None
        model = task.options.get("model")
        return Planned(
            path=f"{prefix}{node.name}",
            type=task.type,
            wave=wave,
            depth=depth,
            depends_on=sorted({plan.nodes[edge.upstream].name for edge in node.edges}),
            executor="" if inner is not None or node.callee is not None else node.executor,
            pools=[self.graph.pools[index].name for index in node.pools],
            loop=node.is_loop,
            items=items,
            runs=runs,
            calls=calls,
            model=model if asks and isinstance(model, str) else None,
            cached=asks and task.cache is not None,
            when=None if task.when is None else str(task.when),
            max_attempts=attempts,
            timeout=node.timeout,
            inside=0 if inner is None else len(inner.nodes),
        )

    # ------------------------------------------------------------------------------------------------------- counting

    def _items(self, loop: LoopPlan, known: Known) -> Count:
        if loop.repeat is not None:
            return Count(0 if loop.repeat.while_ is not None else 1, loop.repeat.max_iterations)
        if loop.file is not None:
            return self._rows(loop.file, known)
        if loop.matrix is not None:
            found = ONCE
            for axis in loop.matrix.values():
                found = found.times(_length(axis, known))
            return found
        return UNKNOWN if loop.over is None else _length(loop.over, known)

    def _rows(self, template: Template, known: Known) -> Count:
        """Count the rows of a file, a chunk at a time."""
        try:
            name = template.evaluate(known)
            source = open_source(str(name), self.root)
        except (ExpressionError, KeyError, TaskError):
            return UNKNOWN
        count, is_last = 0, False
        try:
            while not is_last and count < MAX_ROWS:
                rows, is_last = source.read(count, _CHUNK)
                count += len(rows)
        except TaskError:
            return Count(count, None)
        finally:
            source.close()
        return Count(count, count if is_last else None)


def _at_end(section: str, around: Count) -> Count:
    """Return how often a section runs, given how often what it belongs to does: ``on_error`` at most."""
    return around if section == "finally" else Count(0, around.most)


def _by_chance(runs: Count, chance: Chance, *, is_each: bool) -> Count:
    """Return how often a task runs that may be skipped, as a whole or (``is_each``) item by item."""
    if chance is Chance.NEVER:
        return Count(0, 0)
    return Count(0, runs.most) if chance is Chance.MAYBE or is_each else runs


def _length(template: Template, known: Known) -> Count:
    try:
        count = len(template.evaluate_items(known))
    except (ExpressionError, KeyError, TypeError):
        return UNKNOWN
    return Count(count, count)


def _critical_path(graph: Graph, plan: ScopePlan, prefix: str, called: frozenset[str]) -> Iterator[str]:
    """Yield the paths along the longest way through a scope, what is inside of groups and calls instead of them."""
    nodes = plan.nodes
    node = max((each for each in nodes if not each.edges), key=lambda each: (each.rank, -each.local), default=None)
    while node is not None:
        callee = graph.callees.get(node.callee or "")
        inner = callee.plan if callee is not None and callee.key not in called else node.body
        if inner is None:
            yield f"{prefix}{node.name}"
        else:
            below = called if callee is None else called | {callee.key}
            yield from _critical_path(graph, inner, f"{prefix}{node.name}.", below)
        node = max((nodes[local] for local in node.successors), key=lambda each: (each.rank, -each.local), default=None)

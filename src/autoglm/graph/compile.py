"""From a checked :class:`~autoglm.spec.model.Workflow` to a :class:`~autoglm.graph.model.Graph`.

What happens here, in this order, scope by scope:

1. A decision's action that names no task of its scope but a function becomes a task that calls it.
2. Every templated field is compiled; ``tasks.X`` in one of them is a data dependency on X. X is looked up from the
   innermost scope outwards; when it lies further out, the enclosing group depends on it there.
3. Control and data dependencies become edges; successors, ranks and unmet counts follow.
4. Limits (``pool``, the executor's, the model's) become indexes into one list of pools.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from autoglm.base.errors import EngineError
from autoglm.base.order import ranks, topological
from autoglm.graph.model import Callee, Decider, Edge, Graph, LoopPlan, Node, NodeKind, Pool, Repeat, Rule, ScopePlan
from autoglm.spec.calls import called, key_of
from autoglm.spec.catalog import Catalog
from autoglm.spec.code_names import note_names
from autoglm.spec.decisions import decision_actions, with_called_functions, worked_options
from autoglm.spec.document import gc_paused
from autoglm.spec.expressions import Template, compile_condition, compile_expression, compile_template, path_template
from autoglm.spec.model import Degrade, Loop, OnError, Retry, StandIn, Task, Workflow
from autoglm.spec.names import task_templates

_DEFAULT_LIMITS = {"inline": 1000, "thread": 64, "subprocess": 4, "process": 2}
_NOTHING = compile_template({})


def alias(name: str) -> str:
    """Return the name as a template may write it: ``fetch-page`` is ``tasks.fetch_page``."""
    return name.replace("-", "_").replace(" ", "_")


def compile_graph(workflow: Workflow, catalog: Catalog) -> Graph:
    """Compile ``workflow``, which :func:`autoglm.spec.validate.validate` found free of errors.

    Raises:
        EngineError: it was not: a name does not resolve or there is a cycle.
    """
    with gc_paused():
        shared = _Shared(calls_undoable=any(map(_has_rollback, workflow.callees.values())))
        compiler = _Compiler(workflow, catalog, shared, "")
        root, _ = compiler.scope(workflow.tasks, "")
        sections = {name: compiler.scope(tasks, f"{name}.")[0] for name, tasks in workflow.sections().items()}
        own = len(shared.nodes)
        callees: dict[str, Callee] = {}
        for key in shared.called:  # grows as callees are compiled, which call others
            callee = workflow.callees.get(key)
            if callee is None:
                raise EngineError(f"the workflow {key!r} is called and not at hand", code="unknown-task")
            inner = _Compiler(callee, catalog, shared, key)
            plan, _ = inner.scope(callee.tasks, f"{key}:")
            ends = {name: inner.scope(tasks, f"{key}:{name}.")[0] for name, tasks in callee.sections().items()}
            callees[key] = Callee(key, callee, plan, _outputs(callee), ends)
    pools = tuple(shared.pools.values())
    outputs = _outputs(workflow)
    for template in (outputs, *(callee.outputs for callee in callees.values())):
        if template is not None:
            shared.reads |= template.names
    nodes, reads = tuple(shared.nodes), frozenset(shared.reads)
    kinds: set[tuple[str, Decider | None]] = set()
    functions: set[str] = set()
    files: set[str] = set()
    for node in nodes:
        kinds.add((node.task.type, node.decider))
        note_names(node.task, functions, files)
    names = (frozenset(kinds), frozenset(functions), frozenset(files))
    return Graph(workflow, root, nodes, pools, outputs, callees, own, reads, *names, sections)


def _has_rollback(workflow: Workflow) -> bool:
    stack = list(workflow.tasks)
    while stack:
        task = stack.pop()
        if task.rollback is not None:
            return True
        stack += task.tasks
    return False


def _outputs(workflow: Workflow) -> Template | None:
    return compile_template(dict(workflow.outputs)) if workflow.outputs else None


@dataclass(slots=True)
class _Shared:
    """What all files of a graph have together."""

    nodes: list[Node] = field(default_factory=list)
    pools: dict[str, Pool] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    """Index of each pool."""
    reads: set[str] = field(default_factory=set)
    """Root names that templates read."""
    calls_undoable: bool = False
    """A file that is called has a rollback somewhere: any call may have something to undo."""
    called: list[str] = field(default_factory=list)
    """Keys of the files that are called, in the order in which calls were met."""


class _Compiler:
    """Compiles one file; ``key`` is its own, empty for the one that is run."""

    def __init__(self, workflow: Workflow, catalog: Catalog, shared: _Shared, key: str) -> None:
        self.workflow = workflow
        self.catalog = catalog
        self.key = key
        self.shared = shared
        self.nodes = shared.nodes
        self.pools = shared.pools
        for name, spec in workflow.pools.items():
            self._pool(self._own(name), spec.limit)

    def _own(self, name: str) -> str:
        """Return what a pool or model of this file is called among those of all files."""
        return f"{self.key}:{name}" if self.key else name

    # ---------------------------------------------------------------------------------------------------- scopes

    def scope(self, tasks: tuple[Task, ...], prefix: str, *, are_alone: bool = False) -> tuple[ScopePlan, set[str]]:
        """Return the plan, and the names its templates read that lie further out.

        ``are_alone``: only one of the tasks will run, so none waits for another.
        """
        tasks = tasks if are_alone else tuple(with_called_functions(tasks, self.catalog.functions))
        names: dict[str, int] = {}
        for local, task in enumerate(tasks):
            names.setdefault(alias(task.name), local)
        names.update((task.name, local) for local, task in enumerate(tasks))
        outer: set[str] = set()
        first = len(self.nodes)
        self.nodes.extend([None] * len(tasks))  # type: ignore[list-item]  # filled below, after the nodes inside
        instead = {task.name: body for task in tasks if (body := _stand_in(task, tasks, names)) is not None}
        parts = [self._part(task, prefix, names, outer, instead.get(task.name)) for task in tasks]
        spares = _spares(tasks, names)
        for local in spares:  # it is skipped, so what it reads is its task's to wait for
            parts[local].reads = set()
        chosen_by = _chosen_by(tasks, names)
        edges = [
            () if are_alone else self._edges(part, local, names, chosen_by.get(local, ()))
            for local, part in enumerate(parts)
        ]
        upstreams = [[edge.upstream for edge in node_edges] for node_edges in edges]
        if len(topological(upstreams)) != len(tasks):
            raise EngineError(f"the scope {prefix or 'root'!r} has a cycle", code="cycle")
        successors: list[list[int]] = [[] for _ in tasks]
        for local, ups in enumerate(upstreams):
            for up in ups:
                successors[up].append(local)
        node_ranks = ranks(upstreams, [part.weight for part in parts])
        nodes = tuple(
            part.node(first + local, local, edges[local], tuple(successors[local]), node_ranks[local])
            for local, part in enumerate(parts)
        )
        nodes = tuple(self._with_rollback(node) for node in nodes)
        nodes = tuple(self._with_fallback(node, instead.get(node.name), spares.get(node.local)) for node in nodes)
        self.nodes[first : first + len(nodes)] = nodes
        sinks = tuple(local for local, below in enumerate(successors) if not below and local not in spares)
        undoable = any(node.undoable for node in nodes)
        return ScopePlan(nodes, names, tuple(len(ups) for ups in upstreams), sinks, undoable), outer

    def _with_rollback(self, node: Node) -> Node:
        """Compile what undoes a task: work of its own that sees what the task saw."""
        task = node.task.rollback
        inside = node.callee is not None and self.shared.calls_undoable
        inside = inside or (node.body is not None and node.body.undoable)
        if task is None:
            return replace(node, undoable=True) if inside else node
        task = task.model_copy(update={"retry": task.retry or Retry(), "on_error": OnError.FAIL})
        return replace(node, rollback=self._beside(node, task, "rollback"), undoable=True)

    def _with_fallback(self, node: Node, task: Task | None, spare: str | None) -> Node:
        """Compile what stands in for a task: work of its own that sees what the task saw."""
        if task is None:
            return node if spare is None else replace(node, spare=spare)
        return replace(node, fallback=self._beside(node, task, "fallback"), spare=spare)

    def _beside(self, node: Node, task: Task, what: str) -> Node:
        """Return the node of work that stands beside another node, in its place among the others."""
        executor = self._executor(task)
        part = _Part(task, f"{node.path}~{what}", None, self._pools(task, executor), executor, self.key, None)
        work = part.node(len(self.nodes), node.local, node.edges, (), node.rank)
        self.nodes.append(work)
        return work

    def _edges(self, part: _Part, local: int, names: Mapping[str, int], decisions: Sequence[int]) -> tuple[Edge, ...]:
        edges: dict[int, Edge] = {}
        for name, accepted in part.task.depends_on.items():
            up = names.get(name, names.get(alias(name)))
            if up is None:
                raise EngineError(f"{part.task.name!r} depends on {name!r}, which does not exist", code="unknown-task")
            edges[up] = Edge(up, frozenset(accepted) if accepted is not None else None)
        for decision in decisions:
            edges[decision] = replace(edges.get(decision, Edge(decision)), is_branch=True)
        has_control = bool(edges)
        for name in sorted(part.reads):
            up = names[name]
            if up != local and up not in edges:
                edges[up] = Edge(up, is_data=has_control)
        return tuple(edges.values())

    # ---------------------------------------------------------------------------------------------------- a task

    def _part(
        self, task: Task, prefix: str, names: Mapping[str, int], outer: set[str], instead: Task | None = None
    ) -> _Part:
        path = f"{prefix}{task.name}"
        body, read = None, set[str]()
        if task.type == "group":
            body, read = self.scope(task.tasks, f"{path}.", are_alone=_is_choice(task))
        executor = self._executor(task)
        part = _Part(task, path, body, self._pools(task, executor), executor, self.key, self._callee(task))
        for template in part.templates():
            self.shared.reads |= template.names
            read |= _tasks_read(template)
        for beside in (task.rollback, instead):
            for _, template, _ in task_templates(beside) if beside is not None else ():
                self.shared.reads |= template.names
                read |= _tasks_read(template)
        part.reads = {name for name in read if name in names}
        outer |= read - part.reads
        return part

    def _executor(self, task: Task) -> str:
        if task.executor:
            return task.executor
        if task.type == "function":
            name = str(task.options.get("handler", task.name))
            info = self.catalog.functions.get(name) or self.catalog.functions.get(alias(name))
            return "inline" if info is not None and info.is_async else "thread"
        if task.type == "decision":  # a trained model computes; a language model is waited for
            return "thread" if _decider(task) is Decider.MODEL else "inline"
        info_type = self.catalog.task_types.get(task.type)
        return info_type.executor if info_type else "inline"

    def _callee(self, task: Task) -> str | None:
        written = called(task)
        if written is None:
            return None
        key = key_of(self.key, written)
        if key not in self.shared.called:
            self.shared.called.append(key)
        return key

    def _pools(self, task: Task, executor: str) -> tuple[int, ...]:
        if task.type in ("group", "workflow", "approval", "wait") or _decider(task) is Decider.RULES:
            return ()
        limit = self.catalog.executor_limits.get(executor, _DEFAULT_LIMITS.get(executor, 64))
        indexes = [self._pool(f"executor:{executor}", limit)]
        indexes += [self._pool(self._own(name), 0) for name in task.pool if name in self.workflow.pools]
        model = _model_name(task)
        if isinstance(model, str):
            spec = self.workflow.models.get(model) or self.catalog.models.get(model)
            if spec is not None and spec.max_parallel:
                name = self._own(model) if model in self.workflow.models else model
                indexes.append(self._pool(f"model:{name}", spec.max_parallel))
        return tuple(dict.fromkeys(indexes))

    def _pool(self, name: str, limit: int) -> int:
        """Return the index of a pool, made with this limit when it is not there yet."""
        if name not in self.pools:
            self.shared.numbers[name] = len(self.pools)
            self.pools[name] = Pool(name, limit)
        return self.shared.numbers[name]


def _stand_in(task: Task, tasks: tuple[Task, ...], names: Mapping[str, int]) -> Task | None:
    """Return the work that stands in for a task when it failed for good."""
    work = task.fallback
    if isinstance(task.on_error, StandIn):
        work = task
        if task.on_error.task is not None:
            work = tasks[names[task.on_error.task]]
        elif task.on_error.model is not None:
            work = task.model_copy(update={"options": {**task.options, "model": task.on_error.model}})
    if work is None:
        return None
    alone: dict[str, Any] = {"depends_on": {}, "when": None, "loop": None, "rollback": None, "fallback": None}
    return work.model_copy(update={**alone, "on_error": OnError.FAIL})


def _spares(tasks: tuple[Task, ...], names: Mapping[str, int]) -> dict[int, str]:
    """Return which tasks stand in for which, by their places."""
    named = ((each.on_error.task, each.name) for each in tasks if isinstance(each.on_error, StandIn))
    return {names[spare]: name for spare, name in named if spare is not None}


def _tasks_read(template: Template) -> set[str]:
    return {chain[1] for chain in template.paths if chain[0] == "tasks" and len(chain) > 1}


@dataclass(slots=True)
class _Part:
    """A node without its place in the scope: everything that the task alone tells."""

    task: Task
    path: str
    body: ScopePlan | None
    pools: tuple[int, ...]
    executor: str
    file: str
    callee: str | None
    reads: set[str] = field(default_factory=set)
    fields: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        task = self.task
        loop = _loop_plan(task.loop) if task.loop is not None else None
        when = compile_condition(task.when) if task.when is not None else None
        item_names = {loop.item_name, "item", "index"} if loop else set()
        rules = _rules(task)
        self.fields = {
            "when": when,
            "when_each": bool(loop and loop.repeat is None and when and item_names & when.names),
            "options": _NOTHING if not task.options or _is_choice(task) else compile_template(worked_options(task)),
            "arguments": compile_template(task.arguments) if task.arguments else _NOTHING,
            "env": compile_template(task.env) if task.env else _NOTHING,
            "result": compile_template(task.result) if task.result is not None else None,
            "degrade": compile_template(task.on_error.degrade) if isinstance(task.on_error, Degrade) else None,
            "tolerated": task.on_error == OnError.CONTINUE,
            "choose": compile_template(task.options["choose"]) if _is_choice(task) else None,
            "loop": loop,
            "rules": rules,
            "targets": _targets(task),
            "decider": _decider(task),
            "takes_all": task.options.get("mode") == "all",
        }

    @property
    def weight(self) -> int:
        return 1 if self.body is None else 1 + max((node.rank for node in self.body.nodes), default=0)

    def templates(self) -> Iterator[Template]:
        return _templates(**{k: self.fields[k] for k in _TEMPLATED})

    def node(self, index: int, local: int, edges: tuple[Edge, ...], successors: tuple[int, ...], rank: int) -> Node:
        kind = NodeKind.GROUP if self.body is not None else NodeKind.WORK
        if self.task.type == "workflow":
            kind = NodeKind.CALL
        if self.task.type in ("approval", "wait"):
            kind = NodeKind.WAIT
        if self.fields["decider"] is Decider.RULES:
            kind = NodeKind.DECISION
        task = self.task
        return Node(
            index=index,
            local=local,
            name=task.name,
            path=self.path,
            kind=kind,
            task=task,
            edges=edges,
            successors=successors,
            join=task.join,
            body=self.body,
            callee=self.callee,
            file=self.file,
            retry=task.retry,
            timeout=task.timeout,
            pools=self.pools,
            executor=self.executor,
            priority=task.priority,
            rank=rank,
            **self.fields,
        )


def _model_name(task: Task) -> Any:
    """Return the name of the language model that a task asks."""
    if task.type != "decision":
        return task.options.get("model")
    llm = task.options.get("llm")
    return llm.get("model") if isinstance(llm, dict) else llm


def _is_choice(task: Task) -> bool:
    return task.type == "group" and "choose" in task.options


_TEMPLATED = ("when", "choose", "options", "arguments", "env", "result", "degrade", "loop", "rules")


def _templates(*, loop: LoopPlan | None, rules: tuple[Rule, ...], **fields: Template | None) -> Iterator[Template]:
    for template in fields.values():
        if template is not None and not template.is_constant:
            yield template
    if loop is not None:
        yield from (t for t in (loop.over, loop.file, loop.collect) if t is not None)
        yield from (loop.matrix or {}).values()
        if loop.repeat is not None:
            repeat = loop.repeat
            yield from (t for t in (repeat.until, repeat.while_, repeat.initial) if t is not None)
    yield from (rule.when for rule in rules if rule.when is not None)


def _loop_plan(loop: Loop) -> LoopPlan:
    return LoopPlan(
        item_name=loop.as_,
        over=compile_template(loop.over) if loop.over is not None else None,
        file=compile_template(loop.file) if loop.file is not None else None,
        matrix={axis: compile_template(values) for axis, values in loop.matrix.items()} if loop.matrix else None,
        repeat=_repeat(loop),
        collect=compile_expression(loop.collect) if loop.collect is not None else None,
        max_parallel=loop.max_parallel,
        fail_fast=loop.fail_fast,
        min_success=loop.min_success,
    )


def _repeat(loop: Loop) -> Repeat | None:
    if loop.until is None and loop.while_ is None:
        return None
    return Repeat(
        until=compile_condition(loop.until) if loop.until is not None else None,
        while_=compile_condition(loop.while_) if loop.while_ is not None else None,
        max_iterations=loop.max_iterations or 1,
        initial=compile_template(loop.initial) if loop.initial is not None else None,
        delay=loop.delay or 0.0,
        may_reach_limit=loop.on_limit == "succeed",
    )


def _rules(task: Task) -> tuple[Rule, ...]:
    if task.type != "decision":
        return ()
    conditions = task.options.get("conditions") or []
    rules = [
        _rule(c["rule"], str(c["action"]))  # type: ignore[index,call-overload,arg-type]
        for c in conditions  # type: ignore[union-attr]
    ]
    default = task.options.get("default")
    if default is not None:
        rules.append(Rule(None, str(default), "default"))
    return tuple(rules)


@lru_cache(1024)
def _rule(written: str | bool, action: str) -> Rule:
    when = compile_condition(written)
    operands = []
    for chain in when.paths:
        template = path_template(chain)
        if template is not None:
            operands.append((".".join(chain), template))
    return Rule(when, action, str(written).lower() if isinstance(written, bool) else written, tuple(operands))


def _targets(task: Task) -> tuple[str, ...]:
    """Return the actions that a decision can take, each once."""
    return tuple(dict.fromkeys(action for action, _ in decision_actions(task))) if task.type == "decision" else ()


def _decider(task: Task) -> Decider | None:
    if task.type != "decision":
        return None
    return Decider.MODEL if "model" in task.options else Decider.LLM if "llm" in task.options else Decider.RULES


def _chosen_by(tasks: tuple[Task, ...], names: Mapping[str, int]) -> dict[int, list[int]]:
    """Return, for each task of a scope that is a branch, the decisions that can choose it."""
    found: dict[int, list[int]] = {}
    for local, task in enumerate(tasks):
        for action in _targets(task):
            if action in names:
                found.setdefault(names[action], []).append(local)
    return found

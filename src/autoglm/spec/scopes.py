"""The scopes of a workflow and what depends on what in them, before anything is known to be right.

A scope is the root or the body of a group. Names that do not resolve are kept aside for the checks to report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoglm.spec.decisions import decision_actions
from autoglm.spec.model import Outcome, Path, StandIn, Task, Workflow
from autoglm.spec.names import Fault, Reading, alias, loop_names, read_templates, repeats
from autoglm.spec.schemas import has_field


@dataclass(slots=True)
class Upstream:
    """An edge: why the task depends on that upstream."""

    path: Path
    """The field that says so."""
    accepts: frozenset[Outcome] | None = None
    is_data: bool = False
    is_branch: bool = False


@dataclass(slots=True)
class TaskInfo:
    """A task, its compiled templates, and its edges by index of the upstream in the scope."""

    task: Task
    index: int
    scope: ScopeInfo = field(repr=False)
    readings: list[Reading] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    upstreams: dict[int, Upstream] = field(default_factory=dict)
    outer_reads: dict[str, Path] = field(default_factory=dict)
    """Tasks read by templates, here or within this group, that lie outside of this scope, or nowhere."""
    unknown: dict[str, Path] = field(default_factory=dict)
    """Names in ``depends_on`` that the scope does not have."""
    targets: dict[str, tuple[Path, int | None]] = field(default_factory=dict)
    """A decision's actions: where the first stands, and which task it is."""
    body: ScopeInfo | None = None
    fails_over: list[TaskInfo] = field(default_factory=list)
    """The tasks that name this one as what stands in for them."""
    callee: Workflow | None = None
    """The workflow that the task calls, where that is known."""

    @property
    def names_around(self) -> frozenset[str]:
        """Return the names that what is around the task binds."""
        names = self.scope.loops
        for info in self.fails_over:
            names |= {"error", *loop_names(info.task)}
        return names

    @property
    def given(self) -> list[TaskInfo]:
        """Return the tasks whose results fill its parameters; what a decision chooses is given what that was given."""
        found: dict[int, TaskInfo] = {}
        passed = {self.index}
        stack = list(self.upstreams.items())
        while stack:
            index, edge = stack.pop()
            upstream = self.scope.tasks[index]
            if not edge.is_branch:
                found[index] = upstream
            elif index not in passed:
                passed.add(index)
                stack += upstream.upstreams.items()
        return list(found.values())

    @property
    def is_called_by_decision(self) -> bool:
        """Return whether no file has the task: it stands for a function that a decision names as an action."""
        return self.task.type == "function" and self.task.source in self.scope.deciding

    @property
    def single_upstream(self) -> TaskInfo | None:
        """The one task whose result's fields are names here."""
        if len(self.upstreams) != 1:
            return None
        return self.scope.tasks[next(iter(self.upstreams))]

    @property
    def joined(self) -> list[int]:
        """Return the upstreams that ``join`` is about: those that it depends on, else those that it reads."""
        control = [up for up, edge in self.upstreams.items() if edge.is_branch or not edge.is_data]
        return control or list(self.upstreams)

    def result_schema(self) -> Any:
        """Return the JSON Schema of ``tasks.NAME.result``; True when it may be anything."""
        task = self.task
        schema = _outputs_schema(self.callee) if self.callee is not None else task.output_schema
        if schema is None or task.result is not None or task.tasks:
            return True
        if task.loop is None:
            return schema
        if repeats(task):
            return True if task.loop.collect is not None else schema
        return True if task.loop.collect is not None else {"type": "array", "items": schema}

    def needs_input(self, name: str) -> bool | None:
        """Tell whether a free name must be an input (True), may be one (False), or is the upstream's field (None)."""
        upstream = self.single_upstream
        if upstream is None:
            return True
        schema = upstream.result_schema()
        known = has_field(schema, name)
        return False if known is None else None if known else True


@dataclass(slots=True)
class ScopeInfo:
    """The tasks of one scope."""

    owner: TaskInfo | None
    loops: frozenset[str]
    """Names that the loops around the scope bind; for what runs at the run's end, ``error``."""
    tasks: list[TaskInfo] = field(default_factory=list)
    names: Mapping[str, int] = field(default_factory=dict)
    deciding: set[Path] = field(default_factory=set)
    """Where the scope's decisions stand; the functions that they call stand there too."""
    section: str | None = None
    """``on_error`` or ``finally`` for the tasks that run at the run's end."""
    beyond: ScopeInfo | None = None
    """The scope around it whose tasks it may read: the owner's, or the root of what runs at the end."""

    def __post_init__(self) -> None:
        if self.owner is not None:
            self.beyond = self.owner.scope

    def find(self, name: str) -> TaskInfo | None:
        """Return the task that ``tasks.NAME`` means here: in this scope, else in the nearest around it."""
        scope: ScopeInfo | None = self
        while scope is not None:
            index = scope.names.get(name)
            if index is not None:
                return scope.tasks[index]
            scope = scope.beyond
        return None

    def visible(self) -> list[str]:
        """Return the names of every task that templates here may read."""
        scope: ScopeInfo | None = self
        found: list[str] = []
        while scope is not None:
            found += [info.task.name for info in scope.tasks]
            scope = scope.beyond
        return found


def read_scopes(workflow: Workflow, callees: Mapping[str, Workflow] | None = None) -> ScopeInfo:
    """Return the root scope of ``workflow`` with everything in it; ``callees`` are what it calls, by written path."""
    return _scope(workflow.tasks, None, frozenset(), callees or {})


def _outputs_schema(callee: Workflow) -> dict[str, Any] | None:
    """Return the schema of what a call gives: exactly the outputs that its workflow declares, where it does."""
    if not callee.outputs:
        return None
    return {"type": "object", "properties": {name: {} for name in callee.outputs}, "additionalProperties": False}


def all_scopes(workflow: Workflow, callees: Mapping[str, Workflow] | None = None) -> list[ScopeInfo]:
    """Return every scope of ``workflow``: the root and those within it first, then those that run at its end."""
    root = read_scopes(workflow, callees)
    found = list(walk_scopes(root))
    for name, tasks in workflow.sections().items():
        section = _scope(tasks, None, frozenset({"error"}), callees or {})
        section.section, section.beyond = name, root
        found += walk_scopes(section)
    return found


def take_apart(scopes: Iterable[ScopeInfo]) -> None:
    """Let the parts of scopes that are done with go of each other, so that they leave memory at once."""
    for scope in scopes:
        for info in scope.tasks:
            info.body = None
        scope.tasks.clear()


def walk_scopes(scope: ScopeInfo) -> Iterator[ScopeInfo]:
    """Yield ``scope`` and every scope within it, outermost first."""
    stack = [scope]
    while stack:
        at = stack.pop()
        yield at
        stack += [info.body for info in reversed(at.tasks) if info.body is not None]


def _scope(
    tasks: tuple[Task, ...], owner: TaskInfo | None, loops: frozenset[str], callees: Mapping[str, Workflow]
) -> ScopeInfo:
    names: dict[str, int] = {}
    for index, task in enumerate(tasks):
        names.setdefault(alias(task.name), index)
    for index, task in reversed(list(enumerate(tasks))):
        names[task.name] = index
    scope = ScopeInfo(owner, loops, [], names)
    for index, task in enumerate(tasks):
        info = TaskInfo(task, index, scope)
        if task.type == "workflow":
            info.callee = callees.get(str(task.options.get("workflow")))
        info.readings, info.faults = read_templates(task)
        scope.tasks.append(info)
        if task.tasks:
            info.body = _scope(task.tasks, info, loops | loop_names(task), callees)
    for info in scope.tasks:
        instead = stand_in_of(info)
        if instead is not None and instead is not info:
            instead.fails_over.append(info)
    for info in scope.tasks:
        _add_control(info)
        _add_data(info)
    for info in scope.tasks:
        if info.task.type == "decision":
            scope.deciding.add(info.task.source)
            _add_branches(info)
    return scope


def stand_in_of(info: TaskInfo) -> TaskInfo | None:
    """Return the task that ``on_error: {degrade: {task: NAME}}`` names, where it exists."""
    name = info.task.on_error.task if isinstance(info.task.on_error, StandIn) else None
    index = None if name is None else info.scope.names.get(name)
    return None if index is None else info.scope.tasks[index]


def _add_control(info: TaskInfo) -> None:
    names = info.scope.names
    for name, accepted in info.task.depends_on.items():
        index = names.get(name, names.get(alias(name)))
        if index is None:
            info.unknown[name] = ("depends_on", name)
        else:
            accepts = frozenset(accepted) if accepted is not None else None
            info.upstreams[index] = Upstream(("depends_on", name), accepts)


def _add_data(info: TaskInfo) -> None:
    reads: dict[str, Path] = {}
    for reading in info.readings:
        for chain in reading.template.paths:
            if chain[0] == "tasks" and len(chain) > 1:
                reads.setdefault(chain[1], reading.path)
    instead = stand_in_of(info)
    for reading in instead.readings if instead is not None else ():
        for chain in reading.template.paths:
            if chain[0] == "tasks" and len(chain) > 1:
                reads.setdefault(chain[1], ("on_error", "degrade", "task"))
    if info.body is not None:
        for number, child in enumerate(info.body.tasks):
            for name, path in child.outer_reads.items():
                reads.setdefault(name, ("tasks", number, *path))
    for name, path in reads.items():
        index = info.scope.names.get(name)
        if index is None:
            info.outer_reads[name] = path
        elif index != info.index:
            info.upstreams.setdefault(index, Upstream(path, is_data=True))


def _add_branches(info: TaskInfo) -> None:
    names = info.scope.names
    for action, path in decision_actions(info.task):
        index = names.get(action)
        info.targets.setdefault(action, (path, index))
        if index is not None and index != info.index:
            edge = info.scope.tasks[index].upstreams.setdefault(info.index, Upstream(path))
            edge.is_branch = True

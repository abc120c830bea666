"""What a name in a template means while a run lives. Nearest wins (FORMAT, "Expressions").

Order: the loops around the task, innermost first; its own ``with``; the fixed names (``inputs``, ``tasks`` …); the
run's inputs; its variables; the fields of its single upstream's result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from autoglm.engine.state import Frame, Instance, Scope
from autoglm.engine.states import TaskStatus
from autoglm.spec.names import alias

Decode = Callable[[Instance], Any]
_AT_END = frozenset({"error", "run"})
OF_RUN = frozenset({"inputs", "vars", "config", "env", "secrets"})
"""Names that mean the same everywhere in a run, outside of loops and of called files."""
_NO_ARGUMENTS: Mapping[str, Any] = MappingProxyType({})
_FIELDS = ("result", "output", "status", "error")


class TaskView(Mapping[str, Any]):
    """``tasks.NAME`` as templates see it: ``result``, ``output``, ``status``, ``error``."""

    __slots__ = ("_instance", "_world")

    def __init__(self, instance: Instance | None, world: World) -> None:
        self._instance = instance
        self._world = world

    def __getitem__(self, key: str) -> Any:
        instance = self._instance
        if key == "result":
            return None if instance is None else self._world.result(instance)
        if key == "output":
            return None if instance is None else self._world.output(instance)
        if key == "status":
            return str(TaskStatus.PENDING if instance is None else instance.status)
        if key == "error":
            if instance is None or instance.failure is None:
                return None
            return {"code": instance.failure.code, "message": instance.failure.message}
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)


class TasksView(Mapping[str, TaskView]):
    """``tasks`` as seen from a scope: its own tasks, then those of the scopes around it."""

    __slots__ = ("_scope", "_world")

    def __init__(self, scope: Scope, world: World) -> None:
        self._scope = scope
        self._world = world

    def __getitem__(self, key: str) -> TaskView:
        scope: Scope | None = self._scope
        while scope is not None:
            local = scope.plan.names.get(key)
            if local is not None:
                return TaskView(scope.instances[local], self._world)
            scope = scope.beyond
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._scope.plan.names)

    def __len__(self) -> int:
        return len(self._scope.plan.names)


class Upstream(Mapping[str, Any]):
    """The results that a task is given by name, decoded when asked for: those of its direct upstreams.

    What a decision chose is given what the decision was given; the decision itself it has only when asking by name. A
    rollback has what it undoes.
    """

    __slots__ = ("_instance", "_places", "_world")

    def __init__(self, instance: Instance, world: World) -> None:
        self._instance = instance
        self._world = world
        self._places: dict[str, int] | None = None

    def __getitem__(self, key: str) -> Any:
        undone = self._instance.undoes
        if undone is not None and undone.node.name == key:
            return self._world.result(undone)
        if self._places is None:
            self._places = self._find_places()
        upstream = self._instance.scope.instances[self._places[key]]
        return None if upstream is None else self._world.result(upstream)

    def __iter__(self) -> Iterator[str]:
        undone = self._instance.undoes
        if undone is not None:
            return iter((undone.node.name,))
        nodes = self._instance.scope.plan.nodes
        return (nodes[local].name for local in self._given())

    def __len__(self) -> int:
        return len(self._given()) if self._instance.undoes is None else 1

    def _find_places(self) -> dict[str, int]:
        """Return where the tasks stand that may be asked for, by their names and by how templates write them."""
        nodes, edges = self._instance.scope.plan.nodes, self._instance.node.edges
        found: dict[str, int] = {}
        for local in (*self._given(), *(edge.upstream for edge in edges if edge.is_branch)):
            name = nodes[local].name
            found.setdefault(name, local)
            found.setdefault(alias(name), local)
        return found

    def _given(self) -> Collection[int]:
        """Return the places of the tasks whose results it is given."""
        edges = self._instance.node.edges
        if not any(edge.is_branch for edge in edges):
            return [edge.upstream for edge in edges]
        found: dict[int, None] = {}
        stack = list(edges)
        while stack:
            edge = stack.pop()
            if edge.is_branch:
                stack += self._instance.scope.plan.nodes[edge.upstream].edges
            else:
                found[edge.upstream] = None
        return found


def _section(instance: Instance) -> Scope | None:
    """Return ``on_error`` or ``finally``, of its own workflow, when an instance belongs to one."""
    scope = instance.scope
    while scope.owner is not None and not scope.opens_frame:
        scope = scope.owner.scope
    return scope if scope.is_section else None


class World:
    """The values that every task of a run sees."""

    __slots__ = ("at_end", "enter", "items", "of_run", "output", "previous", "result", "values")

    def __init__(
        self,
        values: dict[str, Any],
        result: Decode,
        output: Decode,
        items: Callable[[Instance], Any],
        previous: Decode,
        enter: Callable[[Frame], dict[str, Any]],
        at_end: Callable[[Scope], Mapping[str, Any]] = lambda _: {},
    ) -> None:
        self.values = values
        """``inputs``, ``vars``, ``config``, ``env``, ``secrets``, ``run``."""
        self.of_run = values.__getitem__
        """A scope for templates that read nothing else: it costs a look-up instead of a :class:`Names`."""
        self.result = result
        self.output = output
        self.items = items
        """What a started loop goes over."""
        self.enter = enter
        """Gives the values that are seen within a call of another workflow, instead of :attr:`values`."""
        self.previous = previous
        """The result of the iteration before, in a loop that goes on until something is true."""
        self.at_end = at_end
        """``error`` and ``run`` as what runs in a section at the end, of the run or of a call, sees them."""


class Names:
    """The names one instance sees. Called with a name, gives its value or raises KeyError."""

    __slots__ = ("arguments", "instance", "own", "world")

    def __init__(self, world: World, instance: Instance, own: Mapping[str, Any] | None = None) -> None:
        self.world = world
        self.instance = instance
        self.own = own
        """``output`` and ``result`` of the task itself, in its own ``result:``."""
        self.arguments: Mapping[str, Any] = _NO_ARGUMENTS

    def __call__(self, name: str) -> Any:
        instance = self.instance
        is_task = instance.index is None and instance.undoes is None and instance.stands_for is None
        if instance.scope.in_loop or not is_task:
            for at in instance.near():
                if at.index is not None:
                    loop = at.node.loop
                    if loop is not None and name in (loop.item_name, "item"):
                        return self.item(at)
                    if name == "index":
                        return at.index
                    if name == "previous" and loop is not None and loop.repeat is not None:
                        return self.previous(at)
        if name in self.arguments:
            return self.arguments[name]
        if self.own is not None and name in self.own:
            return self.own[name]
        if name in _AT_END and (section := _section(instance)) is not None:
            return self.world.at_end(section)[name]
        frame = instance.scope.frame
        values = self.world.values if frame is None else self.world.enter(frame)
        if name in values:
            return values[name]
        if name == "tasks":
            return TasksView(instance.scope, self.world)
        for nearer in ("inputs", "vars"):
            if name in values[nearer]:
                return values[nearer][name]
        return self._of_upstream(name)

    def names(self) -> list[str]:
        """Return the names that are in scope here, for an error that lists them."""
        values = self._values()
        found = [*self.arguments, *(self.own or ()), *values["inputs"], *values["vars"], *values, "tasks"]
        for at in self.instance.near():
            if at.index is not None and at.node.loop is not None:
                found += [at.node.loop.item_name, "index"]
                found += ["previous"] if at.node.loop.repeat is not None else []
        return list(dict.fromkeys(found))

    def _values(self) -> dict[str, Any]:
        frame = self.instance.scope.frame
        return self.world.values if frame is None else self.world.enter(frame)

    def _of_upstream(self, name: str) -> Any:
        edges = self.instance.node.edges
        if len(edges) != 1:
            raise KeyError(name)
        upstream = self.instance.scope.instances[edges[0].upstream]
        if name in ("result", "output"):
            if upstream is None:
                return None
            return self.world.result(upstream) if name == "result" else self.world.output(upstream)
        result = self.world.result(upstream) if upstream is not None else None
        if isinstance(result, dict) and name in result:
            return result[name]
        raise KeyError(name)

    def item(self, at: Instance) -> Any:
        """Return the loop item that ``at`` is about."""
        owner = at.scope.instances[at.node.local]
        if owner is None or owner.loop is None or at.index is None:
            raise KeyError("item")
        if owner.loop.plan is not None:
            return at.index
        if owner.loop.source is not None:
            return owner.loop.window[at.index]
        return self.world.items(owner)[at.index]

    def previous(self, at: Instance) -> Any:
        """Return the result of the iteration before the one that ``at`` is."""
        if self.own is not None and "previous" in self.own:  # after an iteration, the newest result is its own
            return self.own["previous"]
        owner = at.scope.instances[at.node.local]
        return None if owner is None else self.world.previous(owner)

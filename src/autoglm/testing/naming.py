"""What tests call tasks: the static path, through groups, loops and called files alike.

``process.ship``; ``finally.tidy`` for a task that runs at the end; ``process.reserve~rollback`` for what undoes one,
``process.dispatch~fallback`` for what stands in for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from autoglm.base.diagnostics import did_you_mean
from autoglm.graph.model import Graph, Node, NodeKind, ScopePlan

INDEX: Final = re.compile(r"\[(\d+)\]")
"""Where the id of a task instance says which item of a loop it is, or lies in."""
_SHOWN = 12
_BESIDE: Mapping[str, Callable[[Node], Node | None]] = {
    "rollback": lambda node: node.rollback,
    "fallback": lambda node: node.fallback,
}


def static(task: str) -> str:
    """Return a task instance's static path: ``process[3].ship`` is of ``process.ship``."""
    return INDEX.sub("", task) if "[" in task else task


class TaskNames(Mapping[str, Node]):
    """The nodes of a graph by static path. Going over it follows calls once; looking up, as deep as is asked."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._chains: dict[str, tuple[Node, ...]] = {}

    def __getitem__(self, path: str) -> Node:
        return self.chain(path)[-1]

    def __iter__(self) -> Iterator[str]:
        yield from self._walk(self._graph.root, "", frozenset())
        for section, plan in self._graph.sections.items():
            yield from self._walk(plan, f"{section}.", frozenset())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def chain(self, path: str) -> tuple[Node, ...]:
        """Return the nodes from the root to the one at ``path``. Raises KeyError."""
        found = self._chains.get(path)
        if found is None:
            found = self._chains[path] = tuple(self._chain(path))
        return found

    def hint(self, path: str) -> str:
        """Return what to say to somebody who named a task that is not there."""
        close = did_you_mean(path, self)
        names = list(self)
        more = ", …" if len(names) > _SHOWN else ""
        return f"did you mean `{close}`?" if close else f"it has {', '.join(names[:_SHOWN])}{more}"

    def _chain(self, path: str) -> Iterator[Node]:
        of, _, beside = path.partition("~")
        plan: ScopePlan | None = self._graph.root
        sections: Mapping[str, ScopePlan] = self._graph.sections
        node: Node | None = None
        for name in of.split("."):
            if plan is not None and name in sections and name not in plan.names:
                plan, sections, node = sections[name], {}, None
                continue
            local = None if plan is None else plan.names.get(name)
            if plan is None or local is None or plan.nodes[local].name != name:
                raise KeyError(path)
            node = plan.nodes[local]
            yield node
            plan, sections = self._inside(node)
        if node is None:
            raise KeyError(path)
        if beside:
            found = _BESIDE[beside](node)
            if found is None:
                raise KeyError(path)
            yield found

    def _inside(self, node: Node) -> tuple[ScopePlan | None, Mapping[str, ScopePlan]]:
        """Return what is inside a task, and what runs at its end, for a call."""
        callee = self._graph.callees.get(node.callee or "")
        return (node.body, {}) if callee is None else (callee.plan, callee.sections)

    def _walk(self, plan: ScopePlan, prefix: str, called: frozenset[str]) -> Iterator[str]:
        for node in plan.nodes:
            path = f"{prefix}{node.name}"
            yield path
            for name, beside in _BESIDE.items():
                if beside(node) is not None:
                    yield f"{path}~{name}"
            inside, sections = self._inside(node)
            if inside is not None and (node.callee is None or node.callee not in called):
                below = called | ({node.callee} if node.callee else set())
                yield from self._walk(inside, f"{path}.", below)
                for name, section in sections.items():
                    yield from self._walk(section, f"{path}.{name}.", below)


def what_is(node: Node) -> str:
    """Return what a node is that does no work itself."""
    match node.kind:
        case NodeKind.DECISION:
            return "a decision"
        case NodeKind.CALL:
            return "a call of another workflow"
        case NodeKind.WAIT:
            return "a task that waits"
        case _:
            return "a group"

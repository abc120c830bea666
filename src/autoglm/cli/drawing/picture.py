"""What a drawing shows, taken from the compiled graph: boxes in scopes, and arrows within each scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoglm.graph.model import Graph, Node, ScopePlan


SECTION = "section"
"""The type of a box that is no task: ``on_error`` or ``finally``."""
_WHEN = {"on_error": "if the run has failed", "finally": "at the run's end"}


@dataclass(frozen=True, slots=True)
class Box:
    """One task. ``path`` is its static path (``outer.inner``); a group holds its own scope."""

    path: str
    name: str
    type: str
    is_loop: bool = False
    has_condition: bool = False
    inside: Scope | None = None


@dataclass(frozen=True, slots=True)
class Arrow:
    """From an upstream to what waits for it, both indexes into their scope's boxes."""

    source: int
    target: int
    label: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """The boxes that belong together: the whole workflow, or the inside of a group."""

    boxes: tuple[Box, ...] = ()
    arrows: tuple[Arrow, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """A workflow to draw; ``states`` overlays a run: static path to status."""

    title: str
    scope: Scope
    states: Mapping[str, str] = field(default_factory=dict)
    ends: Scope = field(default_factory=lambda: Scope())
    """What runs at the run's end, apart from the rest: a box each for ``on_error`` and ``finally``, in order."""


def picture_of(graph: Graph, states: Mapping[str, str] | None = None) -> Picture:
    """Return the picture of a compiled graph, optionally with the states of a run by static path."""
    boxes = tuple(
        Box(name, f"{name}: {_WHEN[name]}", SECTION, inside=_scope(plan)) for name, plan in graph.sections.items()
    )
    arrows = (Arrow(0, 1),) if len(boxes) == 2 else ()
    return Picture(graph.workflow.name, _scope(graph.root), states or {}, Scope(boxes, arrows))


def _scope(plan: ScopePlan) -> Scope:
    arrows = tuple(
        Arrow(edge.upstream, node.local, _label(node, position))
        for node in plan.nodes
        for position, edge in enumerate(node.edges)
    )
    return Scope(tuple(_box(node) for node in plan.nodes), arrows)


def _box(node: Node) -> Box:
    return Box(
        path=node.path,
        name=node.name,
        type=node.task.type,
        is_loop=node.is_loop,
        has_condition=node.when is not None,
        inside=_scope(node.body) if node.body is not None else None,
    )


def _label(node: Node, position: int) -> str:
    """Return the outcomes an edge asks for, where that is more than "it ran well"."""
    accepts = node.edges[position].accepts
    if accepts is None or {str(outcome) for outcome in accepts} == {"succeeded"}:
        return ""
    return ", ".join(sorted(str(outcome) for outcome in accepts))

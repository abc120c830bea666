"""Which ways through a workflow its tests have gone.

The *points*: each task runs; each ``when`` is true, and is false; each branch of a decision is chosen, and is not. A
point counts once it was met in any item of any case. Those of a called file count once, whoever calls it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from autoglm.graph.model import Graph, Node
from autoglm.testing.naming import static
from autoglm.testing.played import Played

RUNS, TRUE, FALSE = "runs", "`when` true", "`when` false"


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that can happen: to which task (its path in its own file, behind that of a called file), and what."""

    task: str
    what: str

    @property
    def is_branch(self) -> bool:
        return self.what != RUNS


@dataclass(slots=True)
class Coverage:
    """The points of one workflow, in file order, and those that were met."""

    workflow: str
    points: tuple[Point, ...]
    met: set[Point] = field(default_factory=set)

    @property
    def share(self) -> float:
        """How many of a hundred points were met."""
        return 100.0 * len(self.met) / len(self.points) if self.points else 100.0

    @property
    def missing(self) -> list[Point]:
        return [point for point in self.points if point not in self.met]

    def count(self, *, branches: bool) -> tuple[int, int]:
        """Return how many points were met, and how many there are, of tasks or of branches."""
        points = [point for point in self.points if point.is_branch is branches]
        return sum(point in self.met for point in points), len(points)


def coverage_of(workflow: str, graph: Graph, runs: Iterable[Played]) -> Coverage:
    """Return what ``runs`` of one workflow have met."""
    coverage = Coverage(workflow, tuple(point for node in graph.nodes for point in _points(node)))
    for played in runs:
        coverage.met |= met(played)
    return coverage


def met(played: Played) -> set[Point]:
    """Return the points that one run met."""
    names = played.names
    ran = [names[path] for path in played.ran]
    found = {Point(node.path, RUNS) for node in ran}
    found |= {Point(node.path, TRUE) for node in ran if node.when is not None}
    found |= {Point(names[static(task)].path, FALSE) for task in played.trace.untrue}
    for task, row in played.rows.items():
        node = names[row.node]
        if node.targets and row.status == "succeeded":
            chosen = played.branches(task)
            found |= {Point(node.path, _branch(action, action in chosen)) for action in node.targets}
    return found


def _points(node: Node) -> Iterator[Point]:
    yield Point(node.path, RUNS)
    if node.when is not None:
        yield Point(node.path, TRUE)
        yield Point(node.path, FALSE)
    for action in node.targets:
        yield Point(node.path, _branch(action, True))
        yield Point(node.path, _branch(action, False))


def _branch(action: str, is_chosen: bool) -> str:
    return f"→ {action}" if is_chosen else f"not → {action}"

"""Whether a task of a file will run, as far as that can be told before anything runs and if nothing fails.

It judges as :mod:`autoglm.engine.joins` does, of upstreams that will, may or will not run instead of such that ended.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from autoglm.base.order import levels
from autoglm.graph.model import Edge, Node, ScopePlan
from autoglm.spec.model import Join, Outcome


class Chance(Enum):
    """Whether something runs."""

    SURE = "sure"
    """It runs, if nothing fails."""
    MAYBE = "maybe"
    NEVER = "never"


Holds = Callable[[Node], bool | None]
"""Whether the ``when`` of a task holds; None when that is not known before."""
_BOTH = frozenset({Outcome.SUCCEEDED, Outcome.SKIPPED})


def chances(plan: ScopePlan, holds: Holds) -> list[Chance]:
    """Return the chance of each task of a scope, given that the scope is begun."""
    waves = levels([[edge.upstream for edge in node.edges] for node in plan.nodes])
    found = [Chance.MAYBE] * len(plan.nodes)
    for node in sorted(plan.nodes, key=lambda each: waves[each.local]):
        found[node.local] = _chance(node, found, holds)
    return found


def _chance(node: Node, known: list[Chance], holds: Holds) -> Chance:
    joined = _joined(node, known)
    if joined is Chance.NEVER:
        return joined
    condition = True if node.when is None else None if node.when_each else holds(node)
    if condition is False:
        return Chance.NEVER
    is_asked_later = condition is None and not node.when_each  # of items: the loop itself runs
    return Chance.MAYBE if is_asked_later or node.spare is not None else joined


def _joined(node: Node, known: list[Chance]) -> Chance:
    """Return the chance that the upstreams of a task let it run."""
    must = [_accepted(edge, known) for edge in node.edges if edge.accepts is not None]
    branches = [known[edge.upstream] for edge in node.edges if edge.accepts is None and edge.is_branch]
    if branches:
        must.append(_likeliest([Chance.NEVER if each is Chance.NEVER else Chance.MAYBE for each in branches]))
    if Chance.NEVER in must:
        return Chance.NEVER
    plain = [known[e.upstream] for e in node.edges if e.accepts is None and not e.is_branch and not e.is_data]
    read = [known[edge.upstream] for edge in node.edges if edge.is_data]
    by_join = _by_join(node.join, plain, read, is_met=bool(must))
    return Chance.MAYBE if by_join is Chance.SURE and Chance.MAYBE in must else by_join


def _accepted(edge: Edge, known: list[Chance]) -> Chance:
    """Return the chance that an upstream ends in one of the ways that an edge asks for."""
    accepts, upstream = edge.accepts or frozenset(), known[edge.upstream]
    if upstream is Chance.NEVER:
        return Chance.SURE if Outcome.SKIPPED in accepts else Chance.NEVER
    wanted = _BOTH if upstream is Chance.MAYBE else {Outcome.SUCCEEDED}
    return Chance.SURE if accepts >= wanted else Chance.MAYBE


def _by_join(join: Join, plain: list[Chance], read: list[Chance], *, is_met: bool) -> Chance:
    """Return the chance that a ``join`` holds; ``is_met``: what had to end in a certain way counts as well."""
    if join is Join.ALL_DONE or not (plain or is_met):
        return Chance.SURE
    if join is Join.ONE_FAILED:
        return Chance.MAYBE if is_met else _likeliest([Chance.MAYBE if c is Chance.SURE else c for c in plain])
    if join is Join.ALL_SUCCEEDED:
        return _unlikeliest([*plain, *read])
    return Chance.SURE if is_met else _likeliest(plain)


def _likeliest(chances: list[Chance]) -> Chance:
    return next((each for each in (Chance.SURE, Chance.MAYBE) if each in chances), Chance.NEVER)


def _unlikeliest(chances: list[Chance]) -> Chance:
    return next((each for each in (Chance.NEVER, Chance.MAYBE) if each in chances), Chance.SURE)

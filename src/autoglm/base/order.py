"""Order in a graph of numbered nodes: what comes before what, levels, and the longest path to an end."""

from __future__ import annotations

from collections.abc import Sequence


def topological(upstreams: Sequence[Sequence[int]]) -> list[int]:
    """Return the nodes so that each stands after its upstreams (Kahn's algorithm), file order where it is free.

    Nodes on a cycle, or downstream of one, are left out.
    """
    successors: list[list[int]] = [[] for _ in upstreams]
    unmet = [len(ups) for ups in upstreams]
    for node, ups in enumerate(upstreams):
        for up in ups:
            successors[up].append(node)
    order = [node for node, count in enumerate(unmet) if count == 0]
    for node in order:  # grows while we walk it
        for successor in successors[node]:
            unmet[successor] -= 1
            if unmet[successor] == 0:
                order.append(successor)
    return order


def levels(upstreams: Sequence[Sequence[int]]) -> list[int]:
    """Return each node's wave: 0 for those without upstreams, else one more than the deepest of them."""
    level = [0] * len(upstreams)
    for node in topological(upstreams):
        level[node] = max((level[up] + 1 for up in upstreams[node]), default=0)
    return level


def ranks(upstreams: Sequence[Sequence[int]], weights: Sequence[int]) -> list[int]:
    """Return each node's weight plus that of the heaviest path below it."""
    rank = list(weights)
    for node in reversed(topological(upstreams)):
        for up in upstreams[node]:
            rank[up] = max(rank[up], weights[up] + rank[node])
    return rank

"""Layered layout after Sugiyama: longest-path layers, barycentre ordering, then positions by isotonic regression.

Everything here works on numbers alone, is deterministic, and knows nothing of text or SVG.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

_SWEEPS = 6
_MAX_BENDS = 20_000
"""With more than this many bends long edges are drawn straight: nobody could follow them anyway."""


@dataclass(slots=True)
class Layers:
    """Vertices by layer, in drawing order. Vertices from ``real`` on are bends of long edges."""

    real: int
    rows: list[list[int]]
    routes: list[list[int]]
    """For each edge its vertices, from source over bends to target."""
    layer: list[int] = field(default_factory=list)

    def links(self) -> list[tuple[int, int]]:
        """Every step of every route, once."""
        steps = {(a, b): None for route in self.routes for a, b in itertools.pairwise(route)}
        return list(steps)


def layer_of_each(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the length of the longest path that leads to each vertex; the graph has no cycle."""
    waiting = [0] * count
    below: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        below[source].append(target)
        waiting[target] += 1
    layer = [0] * count
    ready = [vertex for vertex in range(count) if waiting[vertex] == 0]
    for vertex in ready:
        for target in below[vertex]:
            layer[target] = max(layer[target], layer[vertex] + 1)
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    return layer


def arrange(count: int, edges: Sequence[tuple[int, int]]) -> Layers:
    """Return the layers of a graph, ordered so that few edges cross."""
    layer = layer_of_each(count, edges)
    rows: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for vertex in range(count):
        rows[layer[vertex]].append(vertex)
    bends = sum(layer[target] - layer[source] - 1 for source, target in edges)
    routes = []
    for source, target in edges:
        route = [source]
        if bends <= _MAX_BENDS:
            for between in range(layer[source] + 1, layer[target]):
                bend = len(layer)
                layer.append(between)
                rows[between].append(bend)
                route.append(bend)
        route.append(target)
        routes.append(route)
    layers = Layers(count, rows, routes, layer)
    _order(layers)
    return layers


def _order(layers: Layers) -> None:
    above: list[list[int]] = [[] for _ in layers.layer]
    below: list[list[int]] = [[] for _ in layers.layer]
    for a, b in layers.links():
        below[a].append(b)
        above[b].append(a)
    position = [0.0] * len(layers.layer)

    def settle(row: list[int], neighbours: list[list[int]]) -> None:
        wish = {
            v: sum(position[n] for n in neighbours[v]) / len(neighbours[v]) if neighbours[v] else position[v]
            for v in row
        }
        row.sort(key=lambda v: (wish[v], position[v]))
        _number(row, position)

    for row in layers.rows:
        _number(row, position)
    best = [list(row) for row in layers.rows]
    fewest = _crossings(layers, below, position)
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        for row in layers.rows[1:] if sweep % 2 == 0 else layers.rows[-2::-1]:
            settle(row, above if sweep % 2 == 0 else below)
        crossings = _crossings(layers, below, position)
        if crossings < fewest:
            fewest, best = crossings, [list(row) for row in layers.rows]
    layers.rows = best


def _number(row: list[int], position: list[float]) -> None:
    for place, vertex in enumerate(row):
        position[vertex] = place


def _crossings(layers: Layers, below: list[list[int]], position: list[float]) -> int:
    """Count crossings between neighbouring layers: inversions, by a Fenwick tree."""
    total = 0
    for upper, lower in zip(layers.rows, layers.rows[1:], strict=False):
        tree = [0] * (len(lower) + 1)
        seen = 0
        for vertex in upper:
            targets = [int(position[t]) for t in below[vertex]]
            for target in targets:
                total += seen - _prefix(tree, target + 1)
            for target in targets:
                seen += 1
                spot = target + 1
                while spot < len(tree):
                    tree[spot] += 1
                    spot += spot & -spot
    return total


def _prefix(tree: list[int], spot: int) -> int:
    total = 0
    while spot > 0:
        total += tree[spot]
        spot -= spot & -spot
    return total


def place(layers: Layers, sizes: Sequence[float], gap: float, *, passes: int = 8) -> list[float]:
    """Return each vertex's centre along its layer, near its neighbours and never overlapping."""
    above: list[list[int]] = [[] for _ in layers.layer]
    below: list[list[int]] = [[] for _ in layers.layer]
    for a, b in layers.links():
        below[a].append(b)
        above[b].append(a)
    centre = [0.0] * len(layers.layer)
    for row in layers.rows:
        for vertex, spot in zip(row, spread([0.0] * len(row), [sizes[v] for v in row], gap), strict=True):
            centre[vertex] = spot
    for turn in range(passes):
        neighbours = above if turn % 2 == 0 else below
        rows = layers.rows if turn % 2 == 0 else layers.rows[::-1]
        for row in rows:
            wishes = [
                sum(centre[n] for n in neighbours[v]) / len(neighbours[v]) if neighbours[v] else centre[v] for v in row
            ]
            for vertex, spot in zip(row, spread(wishes, [sizes[v] for v in row], gap), strict=True):
                centre[vertex] = spot
    edge = min((centre[v] - sizes[v] / 2 for row in layers.rows for v in row), default=0.0)
    return [c - edge for c in centre]


def spread(wishes: Sequence[float], sizes: Sequence[float], gap: float) -> list[float]:
    """Return the centres closest to ``wishes`` (least squares) that keep their order and do not overlap.

    Subtracting the smallest possible distances leaves "must not decrease": pool-adjacent-violators solves it.
    """
    offsets = [0.0]
    for one, two in itertools.pairwise(sizes):
        offsets.append(offsets[-1] + (one + two) / 2 + gap)
    blocks: list[tuple[float, int]] = []
    for wish, offset in zip(wishes, offsets, strict=False):
        mean, count = wish - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, others = blocks.pop()
            mean, count = (mean * count + other * others) / (count + others), count + others
        blocks.append((mean, count))
    levels = [mean for mean, count in blocks for _ in range(count)]
    return [level + offset for level, offset in zip(levels, offsets, strict=False)]

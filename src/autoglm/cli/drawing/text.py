"""The graph as text: boxes and lines while it is small enough to read, a list by level when it is not."""

from __future__ import annotations

from dataclasses import dataclass

from autoglm.cli.drawing.layout import Layers, arrange, layer_of_each, place
from autoglm.cli.drawing.picture import SECTION, Box, Picture, Scope
from autoglm.cli.icons import icon_of
from autoglm.cli.measure import clip, width_of

MAX_BOXES = 40
_NORTH, _EAST, _SOUTH, _WEST = 1, 2, 4, 8
_LINES = dict(zip(range(16), " ╵╶└╷│┌├╴┘─┴┐┤┬┼", strict=True))
_ASCII = dict(zip(range(16), " |-+||++-+-++++", strict=False)) | {15: "+"}
_BOX = ("┌", "─", "┐", "│", "└", "┘", "▼")
_ASCII_BOX = ("+", "-", "+", "|", "+", "+", "v")
_MAX_NAME = 28


class _DoesNotFit(Exception):
    """Too wide, or its lines cannot be told apart."""


@dataclass(slots=True)
class _Style:
    lines: dict[int, str]
    box: tuple[str, ...]
    ascii: bool


def draw_text(picture: Picture, width: int = 100, *, ascii_only: bool = False) -> str:
    """Return the graph in at most ``width`` columns; each group's inside is drawn below, under its path."""
    style = _Style(_ASCII, _ASCII_BOX, True) if ascii_only else _Style(_LINES, _BOX, False)
    parts = [picture.title, "", *_scope(picture, picture.scope, width, style)]
    pending = [box for box in picture.scope.boxes if box.inside is not None] + list(picture.ends.boxes)
    while pending:
        box = pending.pop(0)
        inside = box.inside or Scope()
        head = box.name if box.type == SECTION else f"{box.path}{' (for each item)' if box.is_loop else ''}"
        parts += ["", f"{head}:", ""]
        parts += _scope(picture, inside, width, style)
        pending = [inner for inner in inside.boxes if inner.inside is not None] + pending
    return "\n".join(line.rstrip() for line in parts) + "\n"


def _scope(picture: Picture, scope: Scope, width: int, style: _Style) -> list[str]:
    if not scope.boxes:
        return ["(no tasks)"]
    if len(scope.boxes) <= MAX_BOXES:
        try:
            return _Drawing(picture, scope, style).lines(width)
        except _DoesNotFit:
            pass
    return _list(picture, scope, width, style)


def _label(picture: Picture, box: Box, style: _Style) -> str:
    marks = ""
    if box.is_loop:
        marks += " (loop)" if style.ascii else " ↻"
    if box.inside is not None:
        count = len(box.inside.boxes)
        marks += f" [{count} task{'s' if count != 1 else ''}]"
    status = picture.states.get(box.path)
    icon = f"{status if style.ascii else icon_of(status)} " if status else ""
    return f"{icon}{clip(box.name, _MAX_NAME)}{marks}"


def _list(picture: Picture, scope: Scope, width: int, style: _Style) -> list[str]:
    """Return one line a task, by level, each with what it waits for."""
    levels = layer_of_each(len(scope.boxes), [(a.source, a.target) for a in scope.arrows])
    waits: list[list[str]] = [[] for _ in scope.boxes]
    for arrow in scope.arrows:
        waits[arrow.target].append(scope.boxes[arrow.source].name)
    arrow_sign = "<-" if style.ascii else "←"
    by_level: list[list[int]] = [[] for _ in range(max(levels) + 1)]
    for number, level in enumerate(levels):
        by_level[level].append(number)
    lines = []
    for level, numbers in enumerate(by_level):
        lines.append(f"level {level + 1}: {len(numbers)} task{'s' if len(numbers) != 1 else ''}")
        for number in numbers:
            after = f" {arrow_sign} {', '.join(waits[number])}" if waits[number] else ""
            lines.append(clip(f"  {_label(picture, scope.boxes[number], style)}{after}", width))
    return lines


class _Drawing:
    """One scope on a canvas of characters: three rows a layer, and a channel of tracks between two layers.

    A vertical line that only passes a track is drawn over it; lines that meet belong together.
    """

    def __init__(self, picture: Picture, scope: Scope, style: _Style) -> None:
        self.style = style
        self.labels = [_label(picture, box, style) for box in scope.boxes]
        self.layers: Layers = arrange(len(scope.boxes), [(a.source, a.target) for a in scope.arrows])
        bends = len(self.layers.layer) - self.layers.real
        # Odd widths give every box a middle column, so that straight lines stay straight.
        self.labels = [label if width_of(label) % 2 else label + " " for label in self.labels]
        self.sizes = [width_of(label) + 4 for label in self.labels] + [1] * bends
        self.x = self._columns(place(self.layers, self.sizes, 2.0))

    def _columns(self, centres: list[float]) -> list[int]:
        """Round to whole columns without making anything overlap."""
        columns = [0] * len(centres)
        for row in self.layers.rows:
            edge = 0
            for vertex in row:
                left = max(edge, round(centres[vertex] - 0.5) - self.sizes[vertex] // 2)
                columns[vertex] = left + self.sizes[vertex] // 2
                edge = left + self.sizes[vertex] + 2
        return columns

    def lines(self, width: int) -> list[str]:
        if max(self.x[v] - self.sizes[v] // 2 + self.sizes[v] for row in self.layers.rows for v in row) > width:
            raise _DoesNotFit
        drawn: list[str] = []
        for number, row in enumerate(self.layers.rows):
            drawn += self._row(row, number)
            if number + 1 < len(self.layers.rows):
                drawn += self._channel(row)
        return drawn

    def _row(self, row: list[int], number: int) -> list[str]:
        corner, dash, corner2, side, corner3, corner4, _ = self.style.box
        has_below = {a for a, _ in self.layers.links()}
        top, middle, bottom = _Line(), _Line(), _Line()
        for vertex in sorted(row, key=lambda v: self.x[v]):
            x, size = self.x[vertex], self.sizes[vertex]
            if vertex >= self.layers.real:
                for line in (top, middle, bottom):
                    line.put(x, self.style.lines[_NORTH | _SOUTH])
                continue
            left = x - size // 2
            exit_sign = "+" if self.style.ascii else "┬"
            top.put(left, corner + dash * (size - 2) + corner2)
            middle.put(left, f"{side} {self.labels[vertex]} {side}")
            below = dash * (x - left - 1) + (exit_sign if vertex in has_below else dash) + dash * (left + size - x - 2)
            bottom.put(left, corner3 + below + corner4)
        return [str(top), str(middle), str(bottom)]

    def _channel(self, row: list[int]) -> list[str]:
        """Return the rows between a layer and the next: tracks, then arrow heads."""
        nets = self._nets(row)
        tracks = self._tracks(nets)
        height = max(tracks, default=-1) + 1
        span = max((x for net in nets for x in net.columns), default=0) + 1
        across = [[0] * span for _ in range(height)]
        down = [[0] * span for _ in range(height)]
        owner = [[-1] * span for _ in range(height)]
        for number, (net, track) in enumerate(zip(nets, tracks, strict=True)):
            low, high = min(net.columns), max(net.columns)
            for x in range(low, high + 1):
                owner[track][x] = number
                across[track][x] = (_WEST if x > low else 0) | (_EAST if x < high else 0)
            for x in net.sources:
                for r in range(track + 1):
                    down[r][x] |= _NORTH | (_SOUTH if r < track else 0)
            for x in net.targets:
                for r in range(track, height):
                    down[r][x] |= _SOUTH | (_NORTH if r > track else 0)
        drawn = []
        for r in range(height):
            line = _Line()
            for x in range(span):
                joins = owner[r][x] >= 0 and x in nets[owner[r][x]].columns
                mask = down[r][x] | (across[r][x] if joins or not down[r][x] else 0)
                if mask:
                    line.put(x, self.style.lines[mask])
            drawn.append(str(line))
        ends = _Line()
        below = {b for a, b in self.layers.links() if a in set(row)}
        for x, is_bend in sorted({(self.x[b], b >= self.layers.real) for b in below}):
            ends.put(x, self.style.lines[_NORTH | _SOUTH] if is_bend else self.style.box[6])
        return [*drawn, str(ends)]

    def _nets(self, row: list[int]) -> list[_Net]:
        """Return the connections below a layer; upstreams with the same targets share one."""
        targets: dict[int, set[int]] = {}
        above = set(row)
        for a, b in self.layers.links():
            if a in above:
                targets.setdefault(self.x[a], set()).add(self.x[b])
        shared: dict[frozenset[int], set[int]] = {}
        for source in sorted(targets):
            shared.setdefault(frozenset(targets[source]), set()).add(source)
        return [_Net(frozenset(sources), below) for below, sources in shared.items()]

    def _tracks(self, nets: list[_Net]) -> list[int]:
        """Return a track for each net, so that no two vertical lines of strangers share a column and a row.

        A net that leaves downwards where another one arrives must have turned aside above it.
        """
        first = [
            {
                m
                for m, other in enumerate(nets)
                if m != n and (other.sources - other.targets) & (net.targets - net.sources)
            }
            for n, net in enumerate(nets)
        ]
        tracks = [-1] * len(nets)
        busy: list[list[tuple[int, int]]] = []
        waiting = sorted(range(len(nets)), key=lambda n: min(nets[n].columns))
        while waiting:
            number = next((n for n in waiting if all(tracks[m] >= 0 for m in first[n])), None)
            if number is None:
                raise _DoesNotFit
            waiting.remove(number)
            low, high = min(nets[number].columns), max(nets[number].columns)
            track = max((tracks[m] + 1 for m in first[number]), default=0)
            while track < len(busy) and any(low <= b + 1 and a - 1 <= high for a, b in busy[track]):
                track += 1
            busy.extend([] for _ in range(track + 1 - len(busy)))
            busy[track].append((low, high))
            tracks[number] = track
        return tracks


@dataclass(frozen=True, slots=True)
class _Net:
    """Columns that are joined in one channel: of the upstreams above it, and of what waits for them below."""

    sources: frozenset[int]
    targets: frozenset[int]

    @property
    def columns(self) -> frozenset[int]:
        return self.sources | self.targets


class _Line:
    """A line of text that is written from left to right."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.end = 0

    def put(self, x: int, text: str) -> None:
        self.parts.append(" " * (x - self.end) + text)
        self.end = x + width_of(text)

    def __str__(self) -> str:
        return "".join(self.parts)

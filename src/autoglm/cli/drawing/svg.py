"""The graph as SVG: layers from left to right, groups as boxes around what is in them, light and dark."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from autoglm.cli.drawing.layout import Layers, arrange, place
from autoglm.cli.drawing.picture import Arrow, Box, Picture, Scope
from autoglm.cli.icons import icon_of
from autoglm.cli.measure import clip, width_of

_CHAR, _SMALL_CHAR, _LABEL_CHAR = 8.2, 6.6, 5.8
"""Width of a column of the name's, the type's and an arrow's font, in pixels: a little generous, as fonts differ."""
_HEIGHT, _PAD, _GAP, _COLUMN_GAP = 44.0, 14.0, 18.0, 56.0
_MARGIN, _HEAD, _GROUP_HEAD, _GROUP_PAD = 20.0, 40.0, 28.0, 16.0
_MAX_NAME = 32
_BEND = 6.0
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_STYLE = """
.bg { fill: #ffffff }
.title { font: 600 16px system-ui, sans-serif; fill: #1b1f24 }
.box { fill: #f6f8fa; stroke: #6e7781; stroke-width: 1.2 }
.group { fill: #f0f3f6; fill-opacity: .6; stroke: #8c959f; stroke-dasharray: 5 4 }
.name { font: 600 13px system-ui, sans-serif; fill: #1b1f24 }
.type { font: 11px system-ui, sans-serif; fill: #57606a }
.edge { fill: none; stroke: #6e7781; stroke-width: 1.4 }
.head { fill: #6e7781 }
.label { font: 10px system-ui, sans-serif; fill: #57606a }
.badge { fill: #ddf4ff; stroke: #0969da }
.badge-text { font: 600 10px system-ui, sans-serif; fill: #0550ae }
.succeeded { fill: #d9f2ea; stroke: #00734a }
.running { fill: #d6e8fa; stroke: #0060b0; stroke-width: 2.4 }
.retrying, .paused { fill: #fdf0cc; stroke: #8a6100; stroke-width: 2.4 }
.failed, .timeout, .terminated { fill: #fbdcd2; stroke: #b03a00; stroke-width: 2.4 }
.skipped, .cancelled { fill: #eeeeee; stroke: #888888; stroke-dasharray: 4 3 }
.rolled_back { fill: #efe3f5; stroke: #75408f }
@media (prefers-color-scheme: dark) {
  .bg { fill: #0d1117 }
  .title, .name { fill: #e6edf3 }
  .type, .label { fill: #9da7b3 }
  .box { fill: #161b22; stroke: #7d8590 }
  .group { fill: #161b22; stroke: #6e7681 }
  .edge { stroke: #8b949e }
  .head { fill: #8b949e }
  .badge { fill: #0c2d6b; stroke: #58a6ff }
  .badge-text { fill: #a5d0ff }
  .succeeded { fill: #0f3d2e; stroke: #3fc795 }
  .running { fill: #0b2f52; stroke: #58a6ff }
  .retrying, .paused { fill: #3f3000; stroke: #d9a520 }
  .failed, .timeout, .terminated { fill: #4c1d0a; stroke: #ff8a5c }
  .skipped, .cancelled { fill: #21262d; stroke: #8b949e }
  .rolled_back { fill: #332040; stroke: #c297db }
}
"""


@dataclass(slots=True)
class _Area:
    """A scope laid out from (0, 0): sizes of its boxes, where they are, and what is inside its groups."""

    scope: Scope
    width: float = 0.0
    height: float = 0.0
    left: list[float] = field(default_factory=list)
    top: list[float] = field(default_factory=list)
    sizes: list[tuple[float, float]] = field(default_factory=list)
    routes: list[list[tuple[float, float, float]]] = field(default_factory=list)
    """For each arrow its stops: (left, right, y); a stop of a bend spans its column."""
    inside: dict[int, _Area] = field(default_factory=dict)


def draw_svg(picture: Picture) -> str:
    """Return a standalone SVG document; the same picture always gives the same text."""
    areas = [_lay_out(picture.scope), *([_lay_out(picture.ends)] if picture.ends.boxes else [])]
    title = _clean(picture.title)
    width = max(*(area.width for area in areas), width_of(title) * 9.5) + 2 * _MARGIN
    height = sum(area.height + _MARGIN for area in areas) + _HEAD + _MARGIN
    size = f'width="{_n(width)}" height="{_n(height)}"'
    view = f'viewBox="0 0 {_n(width)} {_n(height)}" {size} role="img" aria-label={quoteattr(title)}'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {view}>',
        f"<style>{_STYLE}</style>",
        f'<rect class="bg" {size}/>',
        f'<text class="title" x="{_n(_MARGIN)}" y="{_n(_MARGIN + 16)}">{escape(title)}</text>',
    ]
    top = _MARGIN + _HEAD
    for area in areas:
        _draw(picture, area, _MARGIN, top, parts)
        top += area.height + _MARGIN
    return "\n".join([*parts, "</svg>"]) + "\n"


def _lay_out(scope: Scope) -> _Area:
    area = _Area(scope)
    for number, box in enumerate(scope.boxes):
        if box.inside is not None:
            inner = area.inside[number] = _lay_out(box.inside)
            width = max(inner.width + 2 * _GROUP_PAD, _label_width(box))
            area.sizes.append((width, inner.height + _GROUP_HEAD + _GROUP_PAD))
        else:
            area.sizes.append((_label_width(box), _HEIGHT))
    layers = arrange(len(scope.boxes), [(arrow.source, arrow.target) for arrow in scope.arrows])
    bends = len(layers.layer) - layers.real
    centres = place(layers, [height for _, height in area.sizes] + [_BEND] * bends, _GAP)
    columns = _columns(area, layers)
    for number, (width, height) in enumerate(area.sizes):
        left, right = columns[layers.layer[number]]
        area.left.append((left + right - width) / 2)
        area.top.append(centres[number] - height / 2)
    area.width = columns[-1][1] if columns else 120.0
    area.height = max((top + size[1] for top, size in zip(area.top, area.sizes, strict=True)), default=20.0)
    area.height = max([area.height, *(centres[v] + _BEND for v in range(layers.real, len(layers.layer)))])
    for route in layers.routes:
        area.routes.append([_stop(area, layers, columns, centres, vertex) for vertex in route])
    return area


def _columns(area: _Area, layers: Layers) -> list[tuple[float, float]]:
    """Return (left, right) of each layer."""
    columns: list[tuple[float, float]] = []
    longest = max((width_of(arrow.label) for arrow in area.scope.arrows), default=0)
    gap = max(_COLUMN_GAP, longest * _LABEL_CHAR + 30)
    left = 0.0
    for row in layers.rows:
        width = max((area.sizes[v][0] for v in row if v < layers.real), default=0.0)
        columns.append((left, left + width))
        left += width + gap
    return columns


def _stop(
    area: _Area, layers: Layers, columns: list[tuple[float, float]], centres: list[float], vertex: int
) -> tuple[float, float, float]:
    if vertex < layers.real:
        return area.left[vertex], area.left[vertex] + area.sizes[vertex][0], centres[vertex]
    left, right = columns[layers.layer[vertex]]
    return left, right, centres[vertex]


def _label_width(box: Box) -> float:
    name = width_of(clip(box.name, _MAX_NAME)) * _CHAR + (56 if box.is_loop else 0) + 18
    return round(max(name, width_of(box.type) * _SMALL_CHAR, 60) + 2 * _PAD)


def _draw(picture: Picture, area: _Area, x: float, y: float, parts: list[str]) -> None:
    for arrow, route in zip(area.scope.arrows, area.routes, strict=True):
        _draw_arrow(arrow, [(a + x, b + x, c + y) for a, b, c in route], parts)
    for number, box in enumerate(area.scope.boxes):
        left, top = x + area.left[number], y + area.top[number]
        width, height = area.sizes[number]
        _draw_box(picture, box, left, top, width, height, parts)
        inner = area.inside.get(number)
        if inner is not None:
            _draw(picture, inner, left + (width - inner.width) / 2, top + _GROUP_HEAD, parts)


def _draw_box(
    picture: Picture, box: Box, left: float, top: float, width: float, height: float, parts: list[str]
) -> None:
    status = picture.states.get(box.path, "")
    known = status if re.fullmatch(r"[a-z_]+", status) else ""
    kind = "group" if box.inside is not None else "box"
    name = _clean(box.name)
    told = f"{_clean(box.path)} ({_clean(box.type)}){f', {known}' if known else ''}"
    parts.append(f"<g><title>{escape(told)}</title>")
    radius = 10 if kind == "group" else 8
    parts.append(
        f'<rect class="{f"{kind} {known}".rstrip()}" x="{_n(left)}" y="{_n(top)}" width="{_n(width)}" '
        f'height="{_n(height)}" rx="{radius}"/>'
    )
    sign = f"{icon_of(known)} " if known else ""
    label = escape(sign + clip(name, _MAX_NAME))
    parts.append(f'<text class="name" x="{_n(left + _PAD)}" y="{_n(top + 19)}">{label}</text>')
    if kind == "box":
        detail = escape(_clean(box.type) + (" · when" if box.has_condition else ""))
        parts.append(f'<text class="type" x="{_n(left + _PAD)}" y="{_n(top + 35)}">{detail}</text>')
    if box.is_loop:
        at = left + width - 54
        parts.append(f'<rect class="badge" x="{_n(at)}" y="{_n(top + 7)}" width="46" height="16" rx="8"/>')
        middle = f'text-anchor="middle" x="{_n(at + 23)}" y="{_n(top + 18.5)}"'
        parts.append(f'<text class="badge-text" {middle}>↻ loop</text>')
    parts.append("</g>")


def _draw_arrow(arrow: Arrow, stops: list[tuple[float, float, float]], parts: list[str]) -> None:
    _, at, y = stops[0]
    commands = [f"M{_n(at)} {_n(y)}"]
    for place_, (left, right, stop_y) in enumerate(stops[1:], 1):
        is_last = place_ == len(stops) - 1
        reach = left - 7 if is_last else left
        middle = (at + reach) / 2
        commands.append(f"C{_n(middle)} {_n(y)} {_n(middle)} {_n(stop_y)} {_n(reach)} {_n(stop_y)}")
        if not is_last:
            commands.append(f"H{_n(right)}")
        at, y = right, stop_y
    tip, _, tip_y = stops[-1]
    parts.append(f'<path class="edge" d="{"".join(commands)}"/>')
    parts.append(f'<path class="head" d="M{_n(tip)} {_n(tip_y)}l-8 -4.5v9z"/>')
    if arrow.label:
        parts.append(
            f'<text class="label" text-anchor="end" x="{_n(tip - 11)}" y="{_n(tip_y - 5)}">'
            f"{escape(_clean(arrow.label))}</text>"
        )


def _clean(text: str) -> str:
    """Leave out what XML cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _n(number: float) -> str:
    return f"{number:.1f}".rstrip("0").rstrip(".")

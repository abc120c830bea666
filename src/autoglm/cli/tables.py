"""Tables: aligned columns, coloured by status on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from autoglm.cli.icons import style_of
from autoglm.cli.measure import clip, harmless, pad, width_of
from autoglm.cli.output import has_color, is_terminal, say, styled, terminal_width

_NARROWEST = 12


def say_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, status: int | None = None) -> None:
    """Write a table to standard output. ``status`` is the column whose words are states.

    On a terminal the last column is clipped to its width; in a pipe nothing is lost.
    """
    cells = [[harmless(cell) for cell in row] for row in rows]
    widths = [max([width_of(header[n]), *(width_of(row[n]) for row in cells)]) for n in range(len(header))]
    room = None
    if is_terminal(sys.stdout):
        taken = sum(widths[:-1]) + 2 * (len(widths) - 1)
        room = max(_NARROWEST, terminal_width() - taken)
    head = _line(header, widths, room)
    say(styled(head, "bold", sys.stdout))
    for row in cells:
        say(_line(row, widths, room, status if has_color(sys.stdout) else None))


def _line(cells: Sequence[str], widths: Sequence[int], room: int | None, status: int | None = None) -> str:
    parts = [pad(cell, width) for cell, width in zip(cells[:-1], widths[:-1], strict=True)]
    if status is not None and status < len(parts):
        parts[status] = styled(parts[status], style_of(cells[status]), sys.stdout)
    return "  ".join([*parts, cells[-1] if room is None else clip(cells[-1], room)]).rstrip()

"""Long documents in pieces that a model can read: cut where the text itself pauses. Pure."""

from __future__ import annotations

import re
from typing import Final

_PAUSES: Final = (
    re.compile(r"\n[ \t]*\n"),  # between paragraphs
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?])\s|(?<=[。！？])"),  # between sentences
    re.compile(r"\s"),
)


def cut(text: str, size: int, overlap: int = 0) -> list[str]:
    """Return ``text`` in pieces of at most ``size`` characters, each beginning ``overlap`` before the last one's end.

    A piece ends after a paragraph where one ends in its second half, else after a line, a sentence or a word there.
    Together the pieces hold every character.
    """
    assert 0 <= overlap < size
    pieces: list[str] = []
    start = 0
    while len(text) - start > size:
        end = _pause(text, start + max(size // 2, overlap + 1), start + size)
        pieces.append(text[start:end])
        start = max(end - overlap, start + 1)
    return [*pieces, text[start:]]


def _pause(text: str, low: int, high: int) -> int:
    """Return the last place between ``low`` and ``high`` where the text pauses, or ``high``."""
    for pattern in _PAUSES:
        ends = [found.end() for found in pattern.finditer(text, low, high)]
        if ends:
            return ends[-1]
    return high

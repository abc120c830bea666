"""Text for terminals: how wide it is, how to shorten it, and how to make foreign text harmless."""

from __future__ import annotations

import re
import unicodedata

from autoglm.base.durations import format_duration

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """Return ``text`` on one line without terminal escapes, control characters or direction marks."""
    if text.isascii() and text.isprintable():
        return text
    text = _ESCAPES.sub("", text).replace("\t", "    ").replace("\r\n", "\n")
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\n", " ⏎ "))


def width_of(text: str) -> int:
    """Return how many terminal columns ``text`` takes."""
    if text.isascii():
        return len(text)
    return sum(_char_width(c) for c in text)


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def duration_of(seconds: float) -> str:
    """Return how long something took: ``34ms``, then as durations are always written."""
    return f"{max(0.0, seconds) * 1000:.0f}ms" if seconds < 0.0995 else format_duration(seconds)


def clip(text: str, width: int) -> str:
    """Return ``text`` in at most ``width`` columns, its loss marked by ``…``."""
    if width_of(text) <= width:
        return text
    if width <= 0:
        return ""
    kept, used = [], 0
    for char in text:
        used += _char_width(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def pad(text: str, width: int) -> str:
    """Return ``text`` clipped or filled with spaces to exactly ``width`` columns."""
    text = clip(text, width)
    return text + " " * (width - width_of(text))

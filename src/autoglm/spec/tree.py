"""What both readers give back: plain data, what is wrong with the text, and where every value stands in it.

Spans are character offsets; :class:`Lines` turns them into lines and columns when somebody asks.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 100
"""Lists and mappings inside each other. What reads the data may recurse without fear."""
MAX_PROBLEMS = 100
"""A text with more problems than this is not a workflow file; reading stops."""
INTEGERS = range(-(2**63), 2**64)
"""What the journal can hold: 64 bits, signed or not."""

Span = tuple[int, int]


class Node:
    """A value's span, and the nodes inside it by index or by key (with the key's own span)."""

    __slots__ = ("children", "end", "start")

    def __init__(self, start: int, end: int, children: Any = None) -> None:
        self.start = start
        self.end = end
        self.children = children
        """A list of nodes, or a dict of key → (the key's span, node), or None."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A :class:`Diagnostic` that does not know its file yet."""

    code: str
    message: str
    span: Span
    hint: str | None = None


class BrokenText(Exception):
    """The text cannot be read further. Holds every problem found on the way."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[-1].message)
        self.problems = problems


class Unusual(Exception):
    """The fast reader met something that the careful one must look at."""


@dataclass(slots=True)
class Composition:
    """What a careful reader makes of a text."""

    data: Any
    root: Node
    problems: list[Problem] = field(default_factory=list)


class Lines:
    """Turns offsets into lines and columns, both from 1."""

    _BREAK = re.compile(r"\r\n|\r|\n")

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(match.end() for match in self._BREAK.finditer(text))]
        self._last = (0, "")

    def position(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def excerpt(self, line: int) -> str:
        """Return the text of a line without its break; empty when there is no such line."""
        if not 1 <= line <= len(self._starts):
            return ""
        if line != self._last[0]:  # a thousand errors on one line of 4 MB share its text
            end = self._starts[line] if line < len(self._starts) else len(self._text)
            excerpt = self._text[self._starts[line - 1] : end].rstrip("\r\n")
            self._last = (line, excerpt.encode(errors="replace").decode())
        return self._last[1]


class Problems:
    """Collects problems; gives up when there are too many or one ends the reading."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, code: str, message: str, span: Span, hint: str | None = None) -> None:
        self.found.append(Problem(code, message, span, hint))
        if len(self.found) >= MAX_PROBLEMS:
            raise BrokenText(self.found)

    def fatal(self, code: str, message: str, span: Span, hint: str | None = None) -> BrokenText:
        """Return the exception to raise: ``raise problems.fatal(…)``."""
        self.found.append(Problem(code, message, span, hint))
        return BrokenText(self.found)

    def drop(self, code: str, start: int) -> None:
        """Forget a problem that a better one replaces."""
        self.found[:] = [problem for problem in self.found if (problem.code, problem.span[0]) != (code, start)]

    def too_deep(self, offset: int) -> BrokenText:
        return self.fatal(
            "too-deep",
            f"lists and mappings are nested more than {MAX_DEPTH} deep here",
            (offset, offset + 1),
            "flatten the data, or move it to a file that a task reads",
        )

    def lone_surrogate(self, span: Span) -> None:
        self.add(
            "lone-surrogate",
            "this text holds half of a surrogate pair, which is no character",
            span,
            "write the character itself, or both halves: \\ud83d\\ude00",
        )

    def big_number(self, span: Span) -> None:
        self.add(
            "number-too-large",
            "this number is too large: integers may have 64 bits, other numbers about 308 digits",
            span,
            "put it in quotes to keep it as text",
        )

    def duplicate_key(self, key: str, span: Span, first: int, lines: Lines) -> None:
        line, _ = lines.position(first)
        self.add(
            "duplicate-key",
            f"`{shorten(key)}` is written twice in this mapping; the first is on line {line}",
            span,
            "keep one of them, or rename one",
        )


def shorten(text: str, limit: int = 60) -> str:
    """Return ``text`` on one line and no longer than ``limit``, for a message."""
    text = text if len(text) <= limit * 4 else text[: limit * 4]
    flat = " ".join(text.split()) or text
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"

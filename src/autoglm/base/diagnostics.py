"""What is wrong with a file: a code, a place, a sentence, a hint; and how to print it.

The text form follows what compilers have settled on::

    flow.yaml:14:16: error[unknown-task]: `report` depends on `sumarize`, which does not exist
       14 |   depends_on: [sumarize]
          |                ^^^^^^^^
    hint: did you mean `summarize` (line 6)?
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A span in a source text. Lines and columns count from 1; the end is exclusive; columns count characters."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that is wrong (or doubtful), where, and what to do about it.

    ``excerpt`` holds the source line of ``place.line``, so that a diagnostic can be printed without the file.
    """

    code: str
    message: str
    place: Place | None = None
    hint: str | None = None
    severity: Severity = Severity.ERROR
    excerpt: str | None = None

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR

    @property
    def sentence(self) -> str:
        """The message with its place, for where a code is told already: ``flow.yaml:2:1: it is written twice``."""
        return f"{self.place}: {self.message}" if self.place else self.message

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        return f"{where}{self.severity}[{self.code}]: {self.message}"


def sort_diagnostics(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Sort by place (those without one last), dropping exact repeats."""
    unique = dict.fromkeys(diagnostics)
    return sorted(unique, key=lambda d: (d.place is None, d.place or Place("", 0, 0, 0, 0), d.code, d.message))


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to ``name``, or None when nothing is close."""
    candidates: Sequence[str] = sorted(set(known))
    folded = {c.casefold(): c for c in candidates}
    if name.casefold() in folded:
        return folded[name.casefold()]
    close = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.7)
    return folded[close[0]] if close else None

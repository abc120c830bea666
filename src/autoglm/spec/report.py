"""Where the checks put what they find: diagnostics with places, when there is a document to point into."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from autoglm.base.diagnostics import Diagnostic, Severity, did_you_mean
from autoglm.spec.document import Document
from autoglm.spec.model import Path, Task
from autoglm.spec.places import field_path, field_place


class Report:
    """Collects what is wrong with a workflow."""

    def __init__(self, document: Document | None) -> None:
        self.document = document
        self.found: list[Diagnostic] = []

    def task(
        self,
        task: Task,
        path: Path,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        word: str | None = None,
        offset: tuple[int, int] | None = None,
        key: bool = False,
        warning: bool = False,
    ) -> None:
        """Report something about a field of ``task`` (the task itself for no path), or about its key.

        ``word``, or the ``offset`` (line, column) in the field's text, narrows it down.
        """
        severity = Severity.WARNING if warning else Severity.ERROR
        if self.document is None:
            self.found.append(Diagnostic(code, message, None, hint, severity))
            return
        if key:
            place = self.document.place(field_path(task, *path), key=True)
        else:
            place = field_place(self.document, task, *path)
        excerpt = self.document.excerpt(place.line)
        found = Diagnostic(code, message, place, hint, severity, excerpt)
        self.found.append(_narrowed(found, word) if offset is None else _at_offset(found, offset))

    def workflow(
        self,
        path: Path,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        word: str | None = None,
        warning: bool = False,
        key: bool = False,
    ) -> None:
        """Report something about a value of the workflow outside of its tasks."""
        severity = Severity.WARNING if warning else Severity.ERROR
        if self.document is None:
            self.found.append(Diagnostic(code, message, None, hint, severity))
            return
        found = self.document.diagnostic(code, message, path, key=key, hint=hint, severity=severity)
        self.found.append(_narrowed(found, word))

    def did_you_mean(self, name: str, tasks: Iterable[Task]) -> str | None:
        """Return a hint naming the task that was probably meant, and its line."""
        by_name = {task.name: task for task in tasks}
        close = did_you_mean(name, by_name)
        if close is None:
            return None
        if self.document is None:
            return f"did you mean `{close}`?"
        line = self.document.line_of(field_path(by_name[close], "name"))
        return f"did you mean `{close}` (line {line})?"


def _narrowed(diagnostic: Diagnostic, word: str | None) -> Diagnostic:
    """Point at ``word`` alone when it stands in the line that the diagnostic is about."""
    place = diagnostic.place
    if not word or place is None or diagnostic.excerpt is None:
        return diagnostic
    end = place.end_column - 1 if place.end_line == place.line else len(diagnostic.excerpt)
    match = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", diagnostic.excerpt[place.column - 1 : end])
    if match is None:
        return diagnostic
    start = place.column + match.start()
    narrow = replace(place, column=start, end_line=place.line, end_column=start + len(word))
    return replace(diagnostic, place=narrow)


def _at_offset(diagnostic: Diagnostic, offset: tuple[int, int]) -> Diagnostic:
    """Point at one character of a text that stands on one line; elsewhere its columns are not the file's."""
    place, excerpt = diagnostic.place, diagnostic.excerpt
    if place is None or excerpt is None or offset[0] != 0 or place.end_line != place.line:
        return diagnostic
    start = place.column + offset[1] + (excerpt[place.column - 1 : place.column] in ("'", '"'))
    if start >= place.end_column:
        start = max(place.column, place.end_column - 1)
    return replace(diagnostic, place=replace(place, column=start, end_column=start + 1))

"""Diagnostics for people (text with an excerpt and a caret), for programs (JSON) and for code hosts (SARIF 2.1.0)."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from typing import Any

from autoglm.base.diagnostics import Diagnostic, Place

WIDTH = 110
"""Columns of an excerpt; a longer line is cut around its caret."""
_TAB = 4
_WIDEST = 10
"""Columns of a character that is written as its escape, ``\\U0001239a``."""
_NUMBER = 5
_ELLIPSIS = "…"
_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_RESET = "\x1b[0m"
_STYLES = {"bold": "\x1b[1m", "error": "\x1b[1;31m", "warning": "\x1b[1;33m", "hint": "\x1b[36m", "gutter": "\x1b[2m"}


MOST_SHOWN = 100
"""Diagnostics that are printed for people."""


def render_text(diagnostics: Iterable[Diagnostic], *, color: bool = False) -> str:
    """Return the diagnostics one below the other, and a line that counts them; nothing for none.

    A file that is wrong throughout shows its first :data:`MOST_SHOWN`; the other forms hold all of them.
    """
    found = list(diagnostics)
    if not found:
        return ""
    blocks = [_block(diagnostic, color) for diagnostic in found[:MOST_SHOWN]]
    if len(found) > MOST_SHOWN:
        blocks.append(f"… and {len(found) - MOST_SHOWN:,} more like these; `--format json` gives all")
    return "\n\n".join([*blocks, summary(found)]) + "\n"


def render_one(diagnostic: Diagnostic, *, color: bool = False) -> str:
    """Return one diagnostic alone, without a newline at its end."""
    return _block(diagnostic, color)


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """Return ``3 errors, 1 warning``."""
    errors, warnings = _counts(diagnostics)
    parts = [_count(errors, "error")] if errors or not warnings else []
    parts += [_count(warnings, "warning")] if warnings else []
    return ", ".join(parts)


def render_json(diagnostics: Iterable[Diagnostic]) -> str:
    """Return ``{diagnostics: [{code, severity, message, hint, place, excerpt}], errors, warnings}``."""
    found = list(diagnostics)
    errors, warnings = _counts(found)
    document = {"diagnostics": [_as_data(item) for item in found], "errors": errors, "warnings": warnings}
    return _dump(document)


def render_sarif(diagnostics: Iterable[Diagnostic], *, version: str | None = None) -> str:
    """Return a SARIF 2.1.0 log with one run; ``version`` is that of the tool."""
    found = list(diagnostics)
    codes = list(dict.fromkeys(item.code for item in found))
    driver: dict[str, Any] = {"name": "autoglm", "rules": [{"id": code} for code in codes]}
    if version is not None:
        driver["version"] = version
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_sarif_result(item, codes.index(item.code)) for item in found],
    }
    return _dump({"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]})


def printable(text: str) -> str:
    """Return ``text`` with whatever could move a terminal's cursor, hide or reorder text made visible."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _is_harmless(character) else _escaped(character) for character in text)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) in ("Zs", "Co")


def _escaped(character: str) -> str:
    if character == "\n":
        return " "
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _block(diagnostic: Diagnostic, color: bool) -> str:
    def styled(text: str, style: str) -> str:
        return f"{_STYLES[style]}{text}{_RESET}" if color else text

    place = diagnostic.place
    severity = diagnostic.severity.value
    where = styled(printable(f"{place}: "), "bold") if place else ""
    head = f"{where}{styled(f'{severity}[{diagnostic.code}]', severity)}: {printable(diagnostic.message)}"
    lines = [head]
    if place and diagnostic.excerpt is not None:
        excerpt, (indent, marks) = _excerpt(diagnostic.excerpt, place)
        lines.append(f"{styled(f'{place.line:>{_NUMBER}} |', 'gutter')} {excerpt}".rstrip())
        lines.append(f"{styled(' ' * _NUMBER + ' |', 'gutter')} {' ' * indent}{styled(marks, severity)}")
    if diagnostic.hint:
        lines.append(f"{styled('hint', 'hint')}: {printable(diagnostic.hint)}")
    return "\n".join(lines)


def _excerpt(line: str, place: Place) -> tuple[str, tuple[int, str]]:
    """Return the line as shown, and the caret's indent and marks, in terminal columns."""
    start = min(max(place.column - 1, 0), len(line))
    end = place.end_column - 1 if place.end_line == place.line else len(line.rstrip())
    end = min(max(end, start), len(line))
    first, last = _window(line, start, end)
    before = _ELLIPSIS if first > 0 else ""
    cells = _cells(line[first:last], len(before))
    shown = before + "".join(text for text, _ in cells) + (_ELLIPSIS if last < len(line) else "")
    indent = len(before) + sum(width for _, width in cells[: start - first])
    marked = sum(width for _, width in cells[start - first : end - first])
    return shown, (indent, "^" * max(marked, 1))


def _window(line: str, start: int, end: int) -> tuple[int, int]:
    """Return which characters of a long line to show, so that the caret's beginning is among them."""
    if len(line) <= WIDTH // _WIDEST or sum(_width(character) for character in line[: WIDTH * 2]) <= WIDTH:
        return 0, len(line)
    room = WIDTH - 2
    first = 0 if start < WIDTH // 2 else start - WIDTH // 3
    if first > 0 and sum(_width(character) for character in line[first : first + WIDTH]) < room:
        first = _backwards(line, room)  # the line's end shows anyway: show as much as there is room for
    last = first
    while last < len(line) and room >= _width(line[last]):
        room -= _width(line[last])
        last += 1
    return (first, last) if last > start or end == start else (start, min(start + WIDTH // 2, len(line)))


def _backwards(line: str, room: int) -> int:
    """Return the first character of the longest end of ``line`` that fits into ``room``."""
    first = len(line)
    while first > 0 and room >= _width(line[first - 1]):
        first -= 1
        room -= _width(line[first])
    return first


def _cells(text: str, column: int) -> list[tuple[str, int]]:
    """Return what stands for each character, and how many columns it takes from ``column`` on."""
    cells: list[tuple[str, int]] = []
    for character in text:
        if character == "\t":
            width = _TAB - column % _TAB
            cells.append((" " * width, width))
        else:
            cells.append((character if _is_harmless(character) else _escaped(character), _width(character)))
        column += cells[-1][1]
    return cells


def _width(character: str) -> int:
    if character == "\t":
        return _TAB
    if not _is_harmless(character):
        return len(_escaped(character))
    if unicodedata.east_asian_width(character) in ("W", "F"):
        return 2
    return 0 if unicodedata.category(character) in ("Mn", "Me") else 1


def _counts(diagnostics: Iterable[Diagnostic]) -> tuple[int, int]:
    found = list(diagnostics)
    errors = sum(item.is_error for item in found)
    return errors, len(found) - errors


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _as_data(diagnostic: Diagnostic) -> dict[str, Any]:
    place = diagnostic.place
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
        "place": _place_data(place) if place else None,
        "excerpt": _clipped(diagnostic.excerpt) if place else None,
    }


def _place_data(place: Place) -> dict[str, Any]:
    return {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "end_line": place.end_line,
        "end_column": place.end_column,
    }


def _clipped(excerpt: str | None) -> str | None:
    """Return an excerpt short enough to repeat for each of a thousand errors on one line of megabytes."""
    return excerpt if excerpt is None or len(excerpt) <= 500 else None


def _sarif_result(diagnostic: Diagnostic, rule: int) -> dict[str, Any]:
    text = f"{diagnostic.message}\nhint: {diagnostic.hint}" if diagnostic.hint else diagnostic.message
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": diagnostic.severity.value,
        "message": {"text": text},
    }
    place = diagnostic.place
    if place:
        region: dict[str, Any] = {
            "startLine": place.line,
            "startColumn": place.column,
            "endLine": place.end_line,
            "endColumn": place.end_column,
        }
        snippet = _clipped(diagnostic.excerpt)
        if snippet:
            region["snippet"] = {"text": snippet}
        artifact = {"uri": _uri(place.file)}
        result["locations"] = [{"physicalLocation": {"artifactLocation": artifact, "region": region}}]
    return result


def _uri(file: str) -> str:
    from urllib.parse import quote

    return quote(file.replace("\\", "/").encode(errors="replace"), safe="/:~")


def _dump(document: dict[str, Any]) -> str:
    # A file name may hold bytes that are no text; they must not stop the report.
    return json.dumps(document, indent=2, ensure_ascii=False).encode(errors="replace").decode()

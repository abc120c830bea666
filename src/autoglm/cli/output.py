"""Where output goes and how it looks: what is a terminal, whether there is colour, how errors and JSON are written."""

from __future__ import annotations

import os
import shutil
import sys
from typing import IO, TYPE_CHECKING, Any, TextIO

from autoglm.base.errors import AutoglmError, SpecError

if TYPE_CHECKING:
    from pathlib import Path

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "cyan": "36",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
}


def is_terminal(stream: TextIO) -> bool:
    """Return whether a person sees this stream live; ``TERM=dumb`` cannot redraw."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def has_color(stream: TextIO) -> bool:
    """Return whether to colour: on terminals, unless ``NO_COLOR`` is set (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def styled(text: str, style: str, stream: TextIO) -> str:
    """Return ``text`` in a style such as ``bold red`` where the stream shows colour."""
    if not style or not has_color(stream):
        return text
    return f"\x1b[{';'.join(_CODES[word] for word in style.split())}m{text}\x1b[0m"


def terminal_width(default: int = 100) -> int:
    """Return the width of the terminal, ``default`` where there is none."""
    return shutil.get_terminal_size((default, 40)).columns


def terminal_size(stream: IO[str]) -> tuple[int, int]:
    """Return columns and rows of the terminal behind ``stream``."""
    try:
        width, height = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        width = height = 0
    return width or 80, height or 25


def say(text: str = "") -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{text}\n")


def warn(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{text}\n")


def say_json(document: Any) -> None:
    """Write one JSON document to standard output: readable, and plain ASCII where the stream is not Unicode."""
    import json

    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    say(json.dumps(document, ensure_ascii=not unicode, indent=2))


def show_error(error: AutoglmError) -> None:
    """Write an error of ours to standard error: every diagnostic of a file, or one sentence and its hint."""
    if isinstance(error, SpecError) and error.diagnostics:
        from autoglm.base.reports import render_text

        sys.stderr.write(render_text(error.diagnostics, color=has_color(sys.stderr)))
        return
    show_problem(error.code, error.message, error.hint)


def show_problem(code: str, message: str, hint: str | None = None) -> None:
    """Write ``error[code]: message`` and a hint to standard error."""
    warn(f"{styled(f'error[{code}]', 'bold red', sys.stderr)}: {_tame(message)}")
    if hint:
        warn(f"{styled('hint', 'cyan', sys.stderr)}: {_tame(hint)}")


def _tame(text: str) -> str:
    from autoglm.cli.measure import harmless

    return "\n".join(harmless(line) for line in text.split("\n"))


def write_file(path: Path, text: str) -> None:
    """Write a file that the caller asked for. Raises UsageError ``output-file``."""
    from autoglm.base.errors import UsageError

    try:
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "name a file in a folder that is there, on a disk with room"
        raise UsageError(f"{path} cannot be written: {reason}", code="output-file", hint=hint) from None

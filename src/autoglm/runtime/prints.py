"""What handlers print, as lines of the run's log.

Functions run inside this process and share its standard output, which the command needs for itself: a live view, or one
JSON document. While :func:`captured` is in force, what is printed in the context of an attempt goes to its log instead;
threads that an attempt's call runs on carry its context along.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

_CLIP = 8192


class Printed:
    """The lines that one attempt prints, handed to its log as they are complete."""

    __slots__ = ("_log", "_rest")

    def __init__(self, log: Callable[[str, str], None]) -> None:
        self._log = log
        self._rest = {"stdout": "", "stderr": ""}

    def feed(self, stream: str, text: str) -> None:
        *lines, rest = (self._rest[stream] + text).split("\n")
        self._rest[stream] = rest[-_CLIP:]
        for line in lines:
            self._log(stream, line[:_CLIP])

    def flush(self) -> None:
        """Hand over what did not end with a newline."""
        for stream, rest in self._rest.items():
            if rest:
                self._log(stream, rest)


current: ContextVar[Printed | None] = ContextVar("autoglm_printed", default=None)
_is_capturing = False


def is_capturing() -> bool:
    """Return whether attempts should say where their prints go."""
    return _is_capturing


class _Stream(io.TextIOBase):
    """Standard output or error: an attempt's text goes to its log, everybody else's where it always went."""

    def __init__(self, name: str, original: TextIO) -> None:
        self._name = name
        self._original = original

    def write(self, text: str) -> int:
        printed = current.get()
        if printed is None:
            return self._original.write(text)
        printed.feed(self._name, text)
        return len(text)

    def flush(self) -> None:
        if current.get() is None:
            self._original.flush()

    def isatty(self) -> bool:
        return current.get() is None and self._original.isatty()

    def fileno(self) -> int:
        return self._original.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._original.encoding


@contextmanager
def captured() -> Iterator[None]:
    """Send what attempts print to their logs, for as long as this lasts."""
    global _is_capturing  # standard output is the process's, and so is this
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Stream("stdout", out), _Stream("stderr", err)
    _is_capturing = True
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
        _is_capturing = False

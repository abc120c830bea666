"""What handlers print, as lines of the run's log.

Functions run inside this process and share its standard output, which the command needs for itself: a live view, or one
JSON document. While :func:`captured` is in force, what is printed in the context of an attempt goes to its log instead;
the threads that run attempts carry the context along, threads that handlers start do not.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

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
                self._rest[stream] = ""
                self._log(stream, rest)


current: ContextVar[Printed | None] = ContextVar("autoglm_printed", default=None)
_is_capturing = False


def is_capturing() -> bool:
    """Return whether attempts should say where their prints go."""
    return _is_capturing


class _Stream(io.TextIOBase):
    """Standard output or error: an attempt's text goes to its log, everybody else's to ``nobodys``."""

    def __init__(self, name: str, original: TextIO, nobodys: Printed) -> None:
        self._name = name
        self._original = original
        self._nobodys = nobodys
        self.buffer = _Bytes(self)

    def write(self, text: str) -> int:
        (current.get() or self._nobodys).feed(self._name, text)
        return len(text)

    def fileno(self) -> int:
        return ("stdout", "stderr").index(self._name) + 1

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._original.encoding


class _Bytes(io.RawIOBase):
    """The stream for those who write bytes."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def write(self, data: Any) -> int:
        text = bytes(data)
        self._stream.write(text.decode("utf-8", "replace"))
        return len(text)

    def writable(self) -> bool:
        return True


@contextmanager
def captured(nobodys: Printed) -> Iterator[None]:
    """Send what attempts print to their logs, for as long as this lasts, and what others print to ``nobodys``."""
    global _is_capturing  # standard output is the process's, and so is this
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Stream("stdout", out, nobodys), _Stream("stderr", err, nobodys)
    _is_capturing = True
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
        _is_capturing = False
        nobodys.flush()

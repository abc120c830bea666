"""Our own output while a run is driven: written by a thread of its own, so that a slow reader does not hold up the run.

A pipe that nobody empties and a terminal that was stopped with Ctrl-S make a write wait. On the event loop that would
be everybody: calls would run into their timeouts, and leases would be lost.
"""

from __future__ import annotations

import io
import os
import select
import threading
from typing import IO, TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MOST_WAITING = 4 * 1024 * 1024
"""Bytes that may wait to be read before what can be left out (lines about tasks, not results) is left out."""


class Outlet(io.RawIOBase):
    """Bytes on their way to a descriptor, which it owns. A write returns at once; :meth:`drain` waits.

    What the descriptor refuses (OSError) is raised by the next write or drain, and all that waits is dropped.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._changed = threading.Condition()
        self._waiting = bytearray()
        self._under_way = 0
        self._failed: OSError | None = None
        self._thread: threading.Thread | None = None
        self._is_over = False

    @property
    def backlog(self) -> int:
        """Bytes that nobody has read yet, as far as we can see."""
        return len(self._waiting) + self._under_way

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Take bytes to be written. Raises OSError when earlier ones could not be."""
        with self._changed:
            if self._failed is not None:
                raise self._failed
            size = len(self._waiting)
            self._waiting += memoryview(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="autoglm-output", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return len(self._waiting) - size

    def drain(self, seconds: float | None = None) -> None:
        """Wait until everything is written, or for so long. Raises OSError when it could not be."""
        with self._changed:
            self._changed.wait_for(lambda: not self.backlog, seconds)
            if self._failed is not None:
                raise self._failed

    def close(self) -> None:
        """Take no more; what waits is written still, if there is time. The descriptor is closed after it."""
        if self.closed:
            return
        super().close()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            if self._thread is None:
                os.close(self._fd)

    def _write_all(self) -> None:
        while (data := self._next()) is not None:
            failed = None
            try:
                self._write_now(memoryview(data))
            except OSError as error:
                failed = error
            with self._changed:
                self._under_way = 0
                if failed is not None:
                    self._failed = failed
                    self._waiting.clear()
                self._changed.notify_all()
        os.close(self._fd)

    def _next(self) -> bytes | None:
        """Wait for what is to be written next; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over)
            if not self._waiting:
                return None
            data = bytes(self._waiting)
            self._waiting.clear()
            self._under_way = len(data)
            return data

    def _write_now(self, data: memoryview) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # whoever started us shares a descriptor that does not wait
                select.select([], [self._fd], [])
                continue
            self._under_way = len(data)


def outlet(fd: int, like: TextIO, *, line_buffering: bool) -> TextIO:
    """Return a text stream that writes to ``fd`` through an outlet, in the encoding of ``like``."""
    binary = io.BufferedWriter(Outlet(fd))
    return io.TextIOWrapper(binary, encoding=like.encoding, errors=like.errors, line_buffering=line_buffering)


def backlog(stream: IO[str]) -> int:
    """Return how many bytes wait for whoever reads ``stream``; 0 for one that has no outlet."""
    found = _outlet_of(stream)
    return 0 if found is None else found.backlog


def drain(stream: IO[str], seconds: float | None = None) -> None:
    """Wait until everything has been written that was written to ``stream``. Raises OSError when it cannot be."""
    stream.flush()
    found = _outlet_of(stream)
    if found is not None:
        found.drain(seconds)


def _outlet_of(stream: IO[str]) -> Outlet | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, Outlet) else None

"""Our own output while a run is driven: written by a thread of its own, so that a slow reader does not hold up the run.

A pipe that nobody empties and a terminal that was stopped with Ctrl-S make a write wait. On the event loop that would
be everybody: calls would run into their timeouts, and leases would be lost.
"""

from __future__ import annotations

import io
import os
import select
import threading
from itertools import groupby
from typing import IO, TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MOST_WAITING = 4 * 1024 * 1024
"""Bytes that may wait to be read before what can be left out (lines about tasks, not results) is left out."""


class _Pen:
    """The thread that writes for an outlet, or for several that lead to one place, in the order of their writes."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.users = 0
        self.backlog = 0
        """Bytes that wait, or that a write under way has not got rid of."""
        self._waiting: list[tuple[Outlet, bytes]] = []
        self._thread: threading.Thread | None = None

    def put(self, outlet: Outlet, data: bytes) -> None:
        """Take bytes to be written; empty ones close the outlet's descriptor. The lock is held."""
        self._waiting.append((outlet, data))
        self.backlog += len(data)
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="autoglm-output", daemon=True)
            self._thread.start()
        self.changed.notify_all()

    def _write_all(self) -> None:
        while self.users:
            with self.changed:
                self.changed.wait_for(lambda: self._waiting)
                waiting, self._waiting = self._waiting, []
            for outlet, pieces in groupby(waiting, lambda each: each[0]):
                texts = [data for _, data in pieces]
                self._write(outlet, b"".join(texts), is_last=not texts[-1])

    def _write(self, outlet: Outlet, data: bytes, *, is_last: bool) -> None:
        failed = None
        try:
            if outlet.failed is None:
                _write_now(outlet.fileno(), memoryview(data))
        except OSError as error:
            failed = error
        if is_last:
            self.users -= 1
            os.close(outlet.fileno())
        with self.changed:
            outlet.failed = outlet.failed or failed
            self.backlog -= len(data)
            self.changed.notify_all()


class Outlet(io.RawIOBase):
    """Bytes on their way to a descriptor, which it owns. A write returns at once; :meth:`drain` waits.

    What the descriptor refuses (OSError) is raised by the next write or drain, and all that waits for it is dropped.
    ``beside`` is another outlet: where both lead to one place, what is written to them stays in order.
    """

    def __init__(self, fd: int, beside: Outlet | None = None) -> None:
        self.failed: OSError | None = None
        self._fd = fd
        is_shared = beside is not None and os.path.sameopenfile(fd, beside.fileno())
        self._pen: _Pen = beside._pen if beside is not None and is_shared else _Pen()
        self._pen.users += 1

    @property
    def backlog(self) -> int:
        """Bytes that nobody has read yet, as far as we can see."""
        return self._pen.backlog

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
        with self._pen.changed:
            if self.failed is not None:
                raise self.failed
            taken = bytes(data)
            if taken:
                self._pen.put(self, taken)
            return len(taken)

    def drain(self, seconds: float | None = None) -> None:
        """Wait until everything is written, or for so long. Raises OSError when it could not be."""
        with self._pen.changed:
            self._pen.changed.wait_for(lambda: not self.backlog, seconds)
            if self.failed is not None:
                raise self.failed

    def close(self) -> None:
        """Take no more; what waits is written still, if there is time, and the descriptor is closed after it."""
        if not self.closed:
            super().close()
            with self._pen.changed:
                self._pen.put(self, b"")


def _write_now(fd: int, data: memoryview) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # whoever started us shares a descriptor that does not wait
            select.select([], [fd], [])


def outlet(fd: int, like: TextIO, beside: TextIO | None = None, *, line_buffering: bool) -> TextIO:
    """Return a text stream that writes to ``fd`` through an outlet, in the encoding of ``like``.

    What is written to it and to ``beside`` stays in order where both lead to one place.
    """
    binary = io.BufferedWriter(Outlet(fd, None if beside is None else _outlet_of(beside)))
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

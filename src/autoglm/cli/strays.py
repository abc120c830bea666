"""What tasks write past everybody: kept off the screen, apart from our own output, and without secrets.

Functions run inside this process. What they print in their own context goes to their log (``autoglm.runtime.prints``).
But their threads print too, the programs that they call inherit our file descriptors, and exceptions that nobody
handles are printed by Python itself. While :func:`apart` is in force, all of this becomes lines that are shown one by
one, and the descriptors 1 and 2 belong to the tasks; our own output goes where they led before.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from autoglm.base.errors import AutoglmError
from autoglm.cli.outlet import MOST_WAITING, drain, outlet
from autoglm.executors.failures import describe
from autoglm.runtime.prints import Printed

_CHUNK = 65536

Show = Callable[[str, str], bool]
"""Shows a line: ``stdout`` or ``stderr``, and the text. Returns False where whoever reads is too slow for it."""


class Strays:
    """The lines, from whatever thread they come; they are shown by the event loop once there is one to show them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, str]] = []
        self._size = self._lost = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._show: Show | None = None
        self.scrub: Callable[[str], str] = str
        """Takes secrets out of a line."""
        self.printed = Printed(self.put)

    def put(self, stream: str, text: str, *, is_ours: bool = False) -> None:
        """Take a line; from any thread."""
        with self._lock:
            if self._size >= MOST_WAITING and not is_ours:
                self._lost += 1
                return
            self._size += len(text)
            self._waiting.append((stream, text))
            is_first = len(self._waiting) == 1
        if is_first and self._loop is not None:
            with suppress(RuntimeError):  # it is closed: the rest is shown at the end
                self._loop.call_soon_threadsafe(self.flush)

    def shown_by(self, show: Show) -> None:
        """Show lines by ``show`` from now on; in the event loop."""
        self._show = show
        asyncio.get_running_loop().set_exception_handler(self._left_behind)
        self._loop = asyncio.get_running_loop()
        self.flush()

    def flush(self) -> None:
        """Show what has come."""
        with self._lock:
            waiting, self._waiting, self._size = self._waiting, [], 0
            lost, self._lost = self._lost, 0
        if self._show is None:
            return
        for stream, text in waiting:
            lost += not self._show(stream, self.scrub(text))
        if lost and not self._show("stderr", f"… {lost:,} more lines that tasks wrote are not shown"):
            with self._lock:
                self._lost += lost

    # --------------------------------------------------------------------------------- exceptions that nobody handles

    def failed(self, what: str, error: BaseException | None) -> None:
        """Tell of an exception that nobody handles."""
        if error is not None and not isinstance(error, SystemExit | AutoglmError):
            self.put("stderr", f"{what} failed: {describe(error)}{_place(error)}", is_ours=True)

    def _left_behind(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failed("something that a task left running", context.get("exception"))


@contextmanager
def apart() -> Iterator[Strays]:
    """Keep what tasks write apart from our own output, for as long as this lasts."""
    strays = Strays()
    hooks = threading.excepthook, sys.unraisablehook
    threading.excepthook = lambda args: strays.failed("a thread that a task started", args.exc_value)
    sys.unraisablehook = lambda args: strays.failed("the end of an object of a task", args.exc_value)
    try:
        with _descriptors_apart(strays):
            yield strays
    finally:
        threading.excepthook, sys.unraisablehook = hooks


@contextmanager
def _descriptors_apart(strays: Strays) -> Iterator[None]:
    streams = sys.stdout, sys.stderr
    for stream in streams:
        stream.flush()
    kept = os.dup(1), os.dup(2)
    out = outlet(kept[0], sys.stdout, line_buffering=sys.stdout.isatty())
    sys.stdout, sys.stderr = out, outlet(kept[1], sys.stderr, beside=out, line_buffering=True)
    pump = _Pump(strays)
    try:
        yield
    finally:
        for stream in (*streams, sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # whoever read it has gone, or a task has closed it
                stream.flush()
        for number, fd in enumerate(kept, 1):
            os.dup2(fd, number)
        pump.stop()
        with suppress(OSError):
            strays.flush()
        ours = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = streams
        _close(ours)


def _close(streams: tuple[TextIO, TextIO]) -> None:
    """Close them once what they hold has been read, or cannot be. Raises OSError when it cannot."""
    failed: OSError | None = None
    for stream in streams:
        try:
            drain(stream)
        except OSError as error:
            failed = failed or error
        with suppress(OSError):  # it has been told of
            stream.close()
    if failed is not None:
        raise failed


class _Pump:
    """Puts pipes in the place of descriptors 1 and 2, and reads them on a thread of its own.

    The event loop cannot read them: a function that writes much while it holds the loop would wait for itself.
    """

    def __init__(self, strays: Strays) -> None:
        self._strays = strays
        self._ends: dict[int, str] = {}
        for number, name in ((1, "stdout"), (2, "stderr")):
            end, theirs = os.pipe()
            os.dup2(theirs, number)
            os.close(theirs)
            os.set_blocking(end, False)
            self._ends[end] = name
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._read, name="autoglm-strays", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take in what has been written, and no more."""
        os.close(self._waker)
        self._thread.join()
        for end in (*self._ends, self._wake):
            os.close(end)

    def _read(self) -> None:
        pieces = {name: _Pieces(name, self._strays.put) for name in self._ends.values()}
        is_over = False
        ends = set(self._ends)
        while not is_over:
            ready, _, _ = select.select([*ends, self._wake], [], [])
            is_over = self._wake in ready
            for end in ends if is_over else ends.intersection(ready):
                left = MOST_WAITING  # a writer that lives on must not keep us here
                while left > 0 and (data := _read_now(end)):
                    pieces[self._ends[end]].feed(data)
                    left = left - len(data) if is_over else 0
                if left > 0 and data == b"":
                    ends = ends - {end}
        for piece in pieces.values():
            piece.end()


class _Pieces:
    """Bytes as they come, made lines."""

    _LONGEST = 8192

    def __init__(self, name: str, put: Callable[[str, str], None]) -> None:
        self._name = name
        self._put = put
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._say(line)
        self._rest = rest[: self._LONGEST]

    def end(self) -> None:
        if self._rest:
            self._say(self._rest)

    def _say(self, line: bytes) -> None:
        self._put(self._name, line[: self._LONGEST].decode("utf-8", "replace").rstrip("\r"))


def _read_now(end: int) -> bytes | None:
    """Return what is there; nothing at the end of the pipe, None when there is nothing yet."""
    try:
        return os.read(end, _CHUNK)
    except BlockingIOError:
        return None


def _place(error: BaseException) -> str:
    """Return where it was raised, such as `` (clean.py:12)``."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno})"  # noqa: PTH119

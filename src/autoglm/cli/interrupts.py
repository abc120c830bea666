"""Ctrl-C: the first lets what runs finish, the second stops it, the third leaves at once. The run stays resumable."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol

_TERMINATIONS = (signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 1.0
"""Seconds after which an event loop that has not heard counts as deaf."""
_NOTED = 0.2
"""Seconds for the journal to note that the run was paused, before what runs is stopped."""
_HELD = b"\na function holds the event loop and does not let go; Ctrl-C leaves at once\n"


class Stoppable(Protocol):
    """What can be stopped gently or at once: a session."""

    def drain(self) -> None: ...

    def abort(self) -> None: ...


@contextmanager
def ended_by_termination() -> Iterator[None]:
    """Let TERM and HUP end the process at once with 130, where nothing that runs must be told before."""
    before = {number: signal.signal(number, lambda *_: os._exit(130)) for number in _TERMINATIONS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupts:
    """Turns signals into requests, while it is entered, inside the event loop."""

    def __init__(self, session: Stoppable, say: Callable[[str, float], None], restore: Callable[[], None]) -> None:
        self._session = session
        self._say = say
        self._restore = restore
        self._count = 0
        self._asked = self._heard = 0
        self._is_deaf = False
        self._stderr = sys.stderr.fileno()

    def __enter__(self) -> Interrupts:
        self._loop = asyncio.get_running_loop()
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_TERMINATIONS)}
        signal.signal(signal.SIGINT, self._pressed)
        for number in _TERMINATIONS:
            signal.signal(number, self._told)
        return self

    def __exit__(self, *_: object) -> None:
        self._heard = self._asked  # whatever was asked: it is over
        for number, handler in self._before.items():
            signal.signal(number, handler)

    # Signals come between any two instructions, also while an async function holds the loop and never gives it back.
    # So nothing is done here but to ask the loop, to say when it does not hear, and to leave when asked again then.

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 2 or self._is_deaf:
            self._leave()
        self._ask(self._drain if self._count == 1 else self._abort)

    def _told(self, number: int, frame: FrameType | None) -> None:
        """TERM and HUP come from a machine that will not wait long."""
        if self._is_deaf:
            self._leave()
        self._count = 2
        self._ask(self._terminate)

    @property
    def is_stopping(self) -> bool:
        """Return whether it was asked for that nothing is waited for."""
        return self._count > 1

    def _ask(self, request: Callable[[], None]) -> None:
        self._asked += 1
        self._loop.call_soon_threadsafe(self._hear, self._asked, request)
        timer = threading.Timer(_PATIENCE, self._doubt, (self._asked,))
        timer.daemon = True
        timer.start()

    def _doubt(self, asked: int) -> None:
        """Look whether the loop has heard; on a thread of its own, past the screen, which nobody draws any more."""
        if self._heard < asked:
            self._is_deaf = True
            with suppress(OSError):
                os.write(self._stderr, _HELD)

    def _hear(self, asked: int, request: Callable[[], None]) -> None:
        self._heard = asked
        self._is_deaf = False
        request()

    def _drain(self) -> None:
        self._say("finishing what runs; Ctrl-C again stops it now", time.time())
        self._session.drain()

    def _abort(self) -> None:
        self._say("stopping now; Ctrl-C again leaves at once", time.time())
        self._session.abort()

    def _terminate(self) -> None:
        self._say("stopping now", time.time())
        self._session.drain()
        self._loop.call_later(_NOTED, self._session.abort)

    def _leave(self) -> None:
        with suppress(OSError, RuntimeError):  # it came in the middle of a write: the screen stays as it is
            self._restore()
        os._exit(130)

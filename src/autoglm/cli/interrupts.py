"""Ctrl-C: the first lets what runs finish, the second stops it, the third leaves at once. The run stays resumable."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Protocol

_TERMINATIONS = (signal.SIGTERM, signal.SIGHUP)


class Stoppable(Protocol):
    """What can be stopped gently or at once: a session."""

    def drain(self) -> None: ...

    def abort(self) -> None: ...


class Interrupts:
    """Turns signals into requests, while it is entered, inside the event loop."""

    def __init__(self, session: Stoppable, say: Callable[[str, float], None], restore: Callable[[], None]) -> None:
        self._session = session
        self._say = say
        self._restore = restore
        self._count = 0
        self._asked = self._heard = False
        self._stderr = sys.stderr.fileno()

    def __enter__(self) -> Interrupts:
        self._loop = asyncio.get_running_loop()
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_TERMINATIONS)}
        signal.signal(signal.SIGINT, self._pressed)
        for number in _TERMINATIONS:
            signal.signal(number, self._told)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    # Signals come between any two instructions, also while an async function holds the loop and never gives it back.
    # So nothing is done here but to ask the loop, and to leave when that has been in vain.

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 2:
            self._leave()
        if self._asked and not self._heard:
            # No screen is drawn any more: past it, then.
            with suppress(OSError):
                os.write(
                    self._stderr,
                    b"\na function holds the event loop and does not let go; Ctrl-C again leaves at once\n",
                )
        self._ask(self._drain if self._count == 1 else self._abort)

    def _told(self, number: int, frame: FrameType | None) -> None:
        """TERM and HUP come from a machine that will not wait long."""
        if self._asked and not self._heard:
            self._leave()
        self._count = 2
        self._ask(self._abort)

    def _ask(self, request: Callable[[], None]) -> None:
        self._asked, self._heard = True, False
        self._loop.call_soon_threadsafe(request)

    def _drain(self) -> None:
        self._heard = True
        self._say("finishing what runs; Ctrl-C again stops it now", time.time())
        self._session.drain()

    def _abort(self) -> None:
        self._heard = True
        self._say("stopping now; Ctrl-C again leaves at once", time.time())
        self._session.abort()

    def _leave(self) -> None:
        self._restore()
        os._exit(130)

"""Ctrl-C: the first lets what runs finish, the second stops it, the third leaves at once. The run stays resumable."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Protocol


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

    @property
    def happened(self) -> bool:
        return self._count > 0

    def __enter__(self) -> Interrupts:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._pressed)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._told)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)

    def _pressed(self) -> None:
        self._count += 1
        if self._count == 1:
            self._say("finishing what runs; Ctrl-C again stops it now", time.time())
            self._session.drain()
        elif self._count == 2:
            self._say("stopping now; Ctrl-C again leaves at once", time.time())
            self._session.abort()
        else:
            self._restore()
            os._exit(130)

    def _told(self) -> None:
        """TERM and HUP come from a machine that will not wait long."""
        if self._count < 2:
            self._count = 1
            self._pressed()

"""A clock that is moved on when nothing is left to do before the next timer: an hour of backoff costs nothing.

Rules:

1. While only the engine works, and while work that is made up waits, time stands still.
2. While real work is under way (a function, a script), it passes as it does for everybody: a ``timeout`` means what it
   says.
3. When the runner waits, no work is under way and nothing is on its way to it, the clock jumps to the next alarm. Where
   there is none, nothing will ever happen by itself: ``on_stuck`` is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count
from time import monotonic

from autoglm.runtime.timers import Alarm

DEFAULT_START = 1_767_225_600.0
"""2026-01-01T00:00:00Z: what a test's clock shows at first, so that a run is the same every day."""


class _Alarm:
    __slots__ = ("call", "is_live")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.is_live = True

    def cancel(self) -> None:
        self.is_live = False


class VirtualClock:
    """The clock and the timers of one run. Called, gives seconds since the epoch; used on one event loop."""

    def __init__(self, start: float = DEFAULT_START) -> None:
        self.start = start
        self.on_stuck: Callable[[], None] = lambda: None
        self._now = start
        self._since: float | None = None
        """When real work began, by the machine's own clock; None while there is none."""
        self._real = 0
        self._busy = 0
        self._alarms: list[tuple[float, int, _Alarm]] = []
        self._numbers = count()
        self._is_still: Callable[[], bool] = lambda: False
        self._is_looking = False
        self._next: asyncio.TimerHandle | None = None

    def __call__(self) -> float:
        return self._now if self._since is None else self._now + (monotonic() - self._since)

    def call_at(self, due: float, call: Callable[[], None]) -> Alarm:
        """Call ``call`` when this clock shows ``due``."""
        alarm = _Alarm(call)
        heappush(self._alarms, (due, next(self._numbers), alarm))
        self._look()
        return alarm

    def rest(self, is_still: Callable[[], bool]) -> None:
        """Take note that the runner has nothing to do."""
        self._is_still = is_still
        self._look()

    async def sleep(self, seconds: float) -> None:
        """Wait within made-up work until ``seconds`` have passed here."""
        awake = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not awake.done():
                self._busy += 1
                awake.set_result(None)

        alarm = self.call_at(self() + seconds, wake)
        self._busy -= 1
        self._look()
        try:
            await awake
        except asyncio.CancelledError:
            if awake.cancelled():  # else it was woken, and counts as busy already
                alarm.cancel()
                self._busy += 1
            raise

    @contextmanager
    def working(self, *, real: bool) -> Iterator[None]:
        """Count what the block does as work under way; real work lets time pass."""
        self._busy += 1
        if real:
            self._count_real(1)
        try:
            yield
        finally:
            self._busy -= 1
            if real:
                self._count_real(-1)
            self._look()

    def _count_real(self, change: int) -> None:
        self._now = self()
        self._real += change
        self._since = monotonic() if self._real else None
        self._look()

    def _look(self) -> None:
        """Look, when everything that is ready to run has run, whether the clock may be moved on."""
        if not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_soon(self._move)

    def _move(self) -> None:
        self._is_looking = False
        if self._next is not None:
            self._next.cancel()
            self._next = None
        alarms = self._alarms
        while alarms and not alarms[0][2].is_live:
            heappop(alarms)
        if not self._busy and self._is_still():
            if not alarms:
                self.on_stuck()
                return
            self._now = max(self._now, alarms[0][0])
        now = self()
        while alarms and alarms[0][0] <= now:
            alarm = heappop(alarms)[2]
            if alarm.is_live:
                alarm.is_live = False
                alarm.call()
        if alarms and self._real:
            loop = asyncio.get_running_loop()
            self._next = loop.call_later(alarms[0][0] - now, self._look)

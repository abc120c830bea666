"""How the runner waits for a time to come: the one place where a run and the passing of time meet.

Deciding takes the time as a number. What is left is to be woken when a timer of the run is due, and that is this port.
Real time passes by itself; a test's clock is moved on when nothing is left to do before the next timer
(:class:`autoglm.testing.clock.VirtualClock`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Alarm(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Let it not come. Idempotent."""


class Timers(Protocol):
    """Sets alarms. Called on the loop's thread only."""

    def call_at(self, due: float, call: Callable[[], None]) -> Alarm:
        """Call ``call`` on this loop when the run's clock shows ``due`` (seconds since the epoch), or at once."""

    def rest(self, is_still: Callable[[], bool]) -> None:
        """Take note that the runner waits, and has nothing to do as long as ``is_still()``."""


class RealTimers:
    """Waits for as long as it takes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def call_at(self, due: float, call: Callable[[], None]) -> Alarm:
        """Let the loop call when the time has passed."""
        return asyncio.get_running_loop().call_later(max(0.0, due - self._clock()), call)

    def rest(self, is_still: Callable[[], bool]) -> None:
        """Time passes by itself."""

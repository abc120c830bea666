"""Python's garbage collector while a run is driven.

A run holds thousands of calls and answers for a moment, and lets go of them without the collector's help. By its usual
thresholds it would come all the time nevertheless, go through every class and schema of the process, and take longer
than the answers do.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_THRESHOLDS: Final = (100_000, 5, 5)
"""Five hundred model calls under way are fifty thousand objects, and not one of them is garbage."""
_lock = threading.Lock()
_users = 0
_before: tuple[int, int, int] = (0, 0, 0)


@contextmanager
def eased() -> Iterator[None]:
    """Let the collector come less often for as long as anybody is in here; then all is as it was.

    It is the process's: what other threads drop in circles is found later, too. Where it comes less often already, or
    not at all, it stays so.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _users, _before
    with _lock:
        _users += 1
        if _users == 1:
            _before = gc.get_threshold()
            if 0 < _before[0] < _THRESHOLDS[0]:
                gc.set_threshold(*_THRESHOLDS)


def _leave() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            gc.set_threshold(*_before)

"""Whoever watches a run live: the terminal's view, a test, a server. Told after the commit, never before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from autoglm.engine.messages import Event
from autoglm.stores.protocol import LogLine


class Observer(Protocol):
    """Watches one run. Called on the loop's thread; must not block and must not raise."""

    def on_events(self, events: Sequence[Event], at: float) -> None:
        """These events are now facts, all of the time ``at`` (seconds since the epoch)."""

    def on_log(self, line: LogLine) -> None:
        """A task wrote a line."""

"""The live screen: the view redrawn in place, a few times a second. Imported on terminals only, as it needs rich."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleDimensions
from rich.live import Live

from autoglm.cli.measure import harmless
from autoglm.cli.outlet import MOST_WAITING, backlog
from autoglm.cli.output import terminal_size
from autoglm.cli.screen import render
from autoglm.cli.view import RunView

if TYPE_CHECKING:
    from autoglm.engine.messages import Event
    from autoglm.stores.protocol import LogLine

_FASTEST = 0.1
_IDLE = 0.5
"""Seconds between redraws when nothing has happened: clocks and countdowns go on."""
_SHARE = 10
"""A redraw that takes long makes the next one come later: at most a tenth of the time goes into drawing."""
_FINAL_ROWS = 40


class _Console(Console):
    """A console that asks its own file for its size: standard output is the tasks' while a run is driven."""

    @property  # type: ignore[misc]  # it is never set
    def size(self) -> ConsoleDimensions:
        return ConsoleDimensions(*terminal_size(self.file))


class LiveScreen:
    """Watches a run and draws it. Starts with :meth:`start`, inside the event loop; ends with :meth:`stop`."""

    def __init__(self, view: RunView, *, verbose: bool = False) -> None:
        self.view = view
        self._verbose = verbose
        self._console = _Console(file=sys.stdout, highlight=False, soft_wrap=False)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,  # the run is kept apart from the screen: see strays.py
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._timer: asyncio.TimerHandle | None = None
        self._is_dirty = True
        self._drawn_at = 0.0

    def start(self) -> None:
        """Show the screen and keep it fresh."""
        self.view.hint = "Ctrl-C: stop after what runs"
        self._live.start()
        self._draw()

    def on_events(self, events: Sequence[Event], at: float) -> None:
        """Take in what happened; it is drawn with the next redraw."""
        self.view.on_events(events, at)
        self._is_dirty = True

    def on_log(self, line: LogLine) -> None:
        """Take in a task's line; ``--verbose`` also prints it above the screen."""
        self.view.on_log(line)
        self._is_dirty = True
        if self._verbose:
            self.print_above(f"{line.task} | {line.text}", style="dim")

    def print_above(self, text: str, style: str | None = None) -> bool:
        """Print a line above the screen, or return False when the terminal takes nothing (Ctrl-S)."""
        if backlog(self._console.file) > MOST_WAITING:
            return False
        self._console.print(harmless(text), markup=False, style=style)
        return True

    def say(self, text: str, at: float) -> None:
        """Show a line of our own in the footer."""
        self.view.note, self.view.hint = text, ""
        self._is_dirty = True

    def _draw(self) -> None:
        begun = time.monotonic()
        is_seen = not backlog(self._console.file)  # a terminal that still draws the last one needs no further one
        if is_seen and (self._is_dirty or begun - self._drawn_at >= _IDLE):
            self._is_dirty = False
            self._drawn_at = begun
            size = self._console.size
            self._live.update(render(self.view, time.time(), size.width - 1, size.height - 1), refresh=True)
        cost = time.monotonic() - begun
        self._timer = asyncio.get_running_loop().call_later(max(_FASTEST, cost * _SHARE), self._draw)

    def stop(self) -> None:
        """Take the live screen away and leave the final tree in its place. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._live.is_started:
            self._live.stop()
            self.view.note = self.view.hint = ""
            self._console.print(render(self.view, time.time(), self._console.size.width - 1, _FINAL_ROWS))

"""Drive a run in front of a person, a pipe or a program."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from autoglm.base.errors import AutoglmError, StoreError
from autoglm.cli.entry import FAILED, INTERRUPTED, SUCCEEDED
from autoglm.cli.interrupts import Interrupts, ended_by_termination
from autoglm.cli.measure import harmless
from autoglm.cli.outlet import MOST_WAITING, backlog, drain
from autoglm.cli.output import is_terminal, say_json, warn
from autoglm.cli.plain import PlainPrinter
from autoglm.cli.seed import seed
from autoglm.cli.strays import Show, Strays, apart
from autoglm.cli.summary import show_summary
from autoglm.cli.view import RunView
from autoglm.runtime.event_loop import broken_off, run_to_end
from autoglm.runtime.prints import captured

if TYPE_CHECKING:
    from autoglm.app.report import RunReport
    from autoglm.app.session import Session
    from autoglm.cli.live import LiveScreen
    from autoglm.engine import messages as m
    from autoglm.engine.machine import Run
    from autoglm.engine.redoing import Again
    from autoglm.runtime.observer import Observer
    from autoglm.stores.protocol import LogLine


_LAST_WORDS = 1.0
"""Seconds for what was said last to reach its reader, when the process is to end at once."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How much to say, and in which form."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    again: Sequence[Again] = ()
    """What will be done again, of a run that is reopened."""
    no_wait: bool = False
    """Leave when nothing goes on before somebody answers."""


class Leaver:
    """Lets a run be when nothing goes on before somebody answers: for ``--no-wait``."""

    def __init__(self, session: Session) -> None:
        self.run: Run | None = None
        self._session = session

    def on_events(self, events: Sequence[m.Event], at: float) -> None:
        if self.run is not None and self.run.status == "running" and self.run.only_waits:
            self._session.drain()

    def on_log(self, line: LogLine) -> None:
        """Lines say nothing about that."""


class Start(Protocol):
    """Starts or continues a run: a method of the session with everything but its watchers given."""

    def __call__(self, *, observers: Sequence[Observer], on_created: Callable[[Run], None]) -> Awaitable[RunReport]: ...


def drive(session: Session, start: Start, manner: Manner) -> int:
    """Drive a run to its end, or to where Ctrl-C leaves it; tell what happens; return the exit code."""
    gc.freeze()  # what has been loaded stays: only what the run makes is worth looking through
    gc.enable()
    with ended_by_termination(), apart() as strays:
        return run_to_end(lambda: _drive(session, start, manner, strays))


async def _drive(session: Session, start: Start, manner: Manner, strays: Strays) -> int:
    view = RunView("", "")
    view.again = manner.again
    printer = PlainPrinter(view, sys.stdout, verbose=manner.verbose, quiet=manner.quiet or manner.json)
    watcher: PlainPrinter | LiveScreen = printer
    begin: Callable[[], None] = sys.stdout.flush
    restore: Callable[[], None] = printer.stop
    if is_terminal(sys.stdout) and not manner.quiet and not manner.json:
        from autoglm.cli.live import LiveScreen

        watcher = screen = LiveScreen(view, verbose=manner.verbose)
        begin, restore = screen.start, screen.stop

    view.where = where_option(session)

    def created(run: Run) -> None:
        if manner.no_wait:
            leaver.run = run
        strays.scrub = lambda text: run.scrub(text)
        seed(view, run)
        begin()
        if watcher is printer:
            printer.tell_questions(time.time())

    leaver = Leaver(session)
    say = watcher.say
    if manner.quiet or manner.json:
        err = sys.stderr

        def say(text: str, at: float) -> None:
            err.write(f"{text}\n")

    strays.shown_by(_show_strays(watcher, manner))
    out = sys.stdout

    def leave() -> None:
        restore()
        drain(out, _LAST_WORDS)

    interrupts = Interrupts(session, say, leave)
    try:
        with captured(strays.printed), interrupts:
            report = await start(observers=[watcher, leaver], on_created=created)
    except (StoreError, OSError, asyncio.CancelledError) as error:
        restore()
        if view.run_id:
            warn(f"what run {view.run_id} has recorded stays; `autoglm resume {view.run_id}` continues it")
        raise _told(error) from None
    finally:
        restore()
    if manner.json:
        say_json(report.as_dict())
    else:
        show_summary(report, view, time.time(), quiet=manner.quiet, where=where_option(session))
    code = exit_code(report.status)
    if interrupts.is_stopping:
        _let_go(code)
    return code


def _let_go(code: int) -> None:
    """End the process at once when nobody reads what it says: whoever stopped it does not wait for a reader."""
    streams = sys.stdout, sys.stderr
    for stream in streams:
        with suppress(OSError):
            drain(stream, _LAST_WORDS)
    if any(map(backlog, streams)):
        os._exit(code)


def unwatched(start: Callable[[Callable[[Run], None]], Awaitable[str]]) -> str:
    """Drive a run, if it comes to that, and tell nothing of it; what its tasks print goes to its log all the same.

    ``start`` is given what wants to be called with the run before anything of it happens. What tasks write past their
    log goes to standard error.
    """

    async def to_end(strays: Strays) -> str:
        def created(run: Run) -> None:
            strays.scrub = lambda text: run.scrub(text)

        strays.shown_by(_on_stderr)
        with captured(strays.printed):
            return await start(created)

    with apart() as strays:
        return run_to_end(lambda: to_end(strays))


def _on_stderr(stream: str, text: str) -> bool:
    warn(harmless(text) if is_terminal(sys.stderr) else text)
    return True


def exit_code(status: str) -> int:
    """Return the exit code of a run's status."""
    if status == "succeeded":
        return SUCCEEDED
    return FAILED if status in ("failed", "cancelled") else INTERRUPTED


def where_option(session: Session) -> str:
    """Return the option that another command needs to find this project from here, or nothing."""
    import shlex
    from pathlib import Path

    from autoglm.config.project import Project

    try:
        here = Project.find(None, None).root
    except Exception:  # noqa: BLE001  # the present folder's settings may be wrong: not what this is about
        here = Path()
    return "" if here == session.project.root else f" --project {shlex.quote(str(session.project.root))}"


def _show_strays(watcher: PlainPrinter | LiveScreen, manner: Manner) -> Show:
    """Return what shows a line that came from a task past its log."""
    out, err = sys.stdout, sys.stderr

    def show(stream: str, text: str) -> bool:
        if not isinstance(watcher, PlainPrinter):
            return watcher.print_above(text)
        to = err if manner.json or stream == "stderr" else out
        if to is out and manner.quiet:
            return True
        if backlog(to) > MOST_WAITING:
            return False
        to.write(f"{harmless(text) if to is err and is_terminal(err) else text}\n")
        return True

    return show


def _told(error: BaseException) -> BaseException:
    """Return what to tell of what broke off a run."""
    if isinstance(error, asyncio.CancelledError):
        return broken_off("cancelled what drives the run")
    if isinstance(error, OSError) and not isinstance(error, AutoglmError | BrokenPipeError):
        reason = error.strerror or os.strerror(error.errno or 0)
        return broken_off(f"closed what it had not opened, or used everything up ({reason})")
    return error

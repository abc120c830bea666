"""Drive a run in front of a person, a pipe or a program."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from autoglm.base.errors import StoreError
from autoglm.cli.entry import FAILED, INTERRUPTED, SUCCEEDED
from autoglm.cli.interrupts import Interrupts
from autoglm.cli.output import is_terminal, only_ours, say_json, warn
from autoglm.cli.plain import PlainPrinter
from autoglm.cli.seed import seed
from autoglm.cli.summary import show_summary
from autoglm.cli.view import RunView
from autoglm.runtime.prints import captured

if TYPE_CHECKING:
    from autoglm.app.report import RunReport
    from autoglm.app.session import Session
    from autoglm.cli.live import LiveScreen
    from autoglm.engine.machine import Run
    from autoglm.runtime.observer import Observer


@dataclass(frozen=True, slots=True)
class Manner:
    """How much to say, and in which form."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False


class Start(Protocol):
    """Starts or continues a run: a method of the session with everything but its watchers given."""

    def __call__(self, *, observers: Sequence[Observer], on_created: Callable[[Run], None]) -> Awaitable[RunReport]: ...


def drive(session: Session, start: Start, manner: Manner) -> int:
    """Drive a run to its end, or to where Ctrl-C leaves it; tell what happens; return the exit code."""
    return asyncio.run(_drive(session, start, manner))


async def _drive(session: Session, start: Start, manner: Manner) -> int:
    view = RunView("", "")
    printer = PlainPrinter(view, sys.stdout, verbose=manner.verbose, quiet=manner.quiet or manner.json)
    watcher: PlainPrinter | LiveScreen = printer
    shield: AbstractContextManager[None] = only_ours() if manner.json else nullcontext()
    begin: Callable[[], None] = sys.stdout.flush
    restore: Callable[[], None] = sys.stdout.flush
    if is_terminal(sys.stdout) and not manner.quiet and not manner.json:
        from autoglm.cli.live import LiveScreen

        watcher = screen = LiveScreen(view, verbose=manner.verbose)
        begin, restore = screen.start, screen.stop
        shield = screen.shielded()

    def created(run: Run) -> None:
        seed(view, run)
        begin()

    say = watcher.say
    if manner.quiet or manner.json:
        say = _warn
    try:
        with shield, captured(), Interrupts(session, say, restore):
            report = await start(observers=[watcher], on_created=created)
    except StoreError:
        restore()
        if view.run_id:
            warn(f"what run {view.run_id} has recorded stays; `autoglm resume {view.run_id}` continues it")
        raise
    finally:
        restore()
    if manner.json:
        say_json(report.as_dict())
    else:
        show_summary(report, view, time.time(), quiet=manner.quiet, where=where_option(session))
    return exit_code(report.status)


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


def _warn(text: str, at: float) -> None:
    warn(text)

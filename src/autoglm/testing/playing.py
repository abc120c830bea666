"""Run one case: the real session, runner and engine, with a clock and stand-ins of the case."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from autoglm.app.loading import Loaded
from autoglm.app.report import RunReport
from autoglm.app.session import Session
from autoglm.base.errors import AutoglmError
from autoglm.config.project import Project
from autoglm.engine.machine import Run
from autoglm.runtime.stage import Stage
from autoglm.runtime.timers import RealTimers
from autoglm.testing.cases import Case, Clock
from autoglm.testing.checking import Mismatch, mismatches
from autoglm.testing.clock import DEFAULT_START, VirtualClock
from autoglm.testing.naming import static
from autoglm.testing.people import People
from autoglm.testing.played import Played, Trace
from autoglm.testing.stand_ins import StandIns

_GRACE = 5.0
"""Seconds that a case gets to stop in."""


@dataclass(slots=True)
class Result:
    """What came of a case: ``played`` is None when it did not even begin."""

    case: Case
    failures: list[Mismatch]
    played: Played | None
    seconds: float
    """Real seconds."""

    @property
    def passed(self) -> bool:
        return not self.failures


async def play(
    case: Case, loaded: Loaded, project: Project, handlers: Mapping[str, Callable[..., Any]] | None = None
) -> Result:
    """Run a case to its end and return what came of it, held against what it expects."""
    began = time.monotonic()
    try:
        played, broken = await perform(case, loaded, project, handlers)
    except AutoglmError as error:
        hint = (f"hint: {error.hint}",) if error.hint else ()
        failure = Mismatch(f"the run could not be made: {error.message}", case.path, hint)
        return Result(case, [failure], None, time.monotonic() - began)
    failures = broken or mismatches(case, played)
    return Result(case, failures, played, time.monotonic() - began)


async def perform(
    case: Case, loaded: Loaded, project: Project, handlers: Mapping[str, Callable[..., Any]] | None = None
) -> tuple[Played, list[Mismatch]]:
    """Run a case to its end; return the run, and why it did not come to one if it did not.

    Raises:
        AutoglmError: the run could not be made.
    """
    clock = None if case.clock is Clock.REAL else VirtualClock(DEFAULT_START if case.start is None else case.start)
    stand_ins = StandIns(case.mocks, clock)
    stage = Stage(
        timers=RealTimers(time.time) if clock is None else clock,
        cast=stand_ins.cast,
        refuses_models=not case.offline,
    )
    environ = {**case.environment, **case.secrets}
    session = Session(
        replace(project, environ=environ, reads_dotenv=False),
        store="memory",
        handlers=handlers,
        clock=time.time if clock is None else clock,
        stage=stage,
    )
    trace, people = Trace(), People(case, clock, session.post)
    made: list[Run] = []
    driving = asyncio.ensure_future(
        session.run(
            loaded,
            case.inputs,
            offline=case.offline,
            run_id=_run_id(case),
            observers=[trace, people],
            on_created=made.append,
        )
    )
    broken: list[Mismatch] = []

    def stuck() -> None:
        if not broken:
            broken.append(_stuck(made[0], case))
            session.abort()

    if clock is not None:
        clock.on_stuck = stuck
    report = await _within(driving, case, session, broken)
    if people.refused:  # whatever else came of it, came of that
        broken = [Mismatch(f"the answer does not count: {message}", path) for message, path in people.refused]
    return Played(loaded.graph, made[0], report, session, trace, stand_ins.calls), broken


def _stuck(run: Run, case: Case) -> Mismatch:
    """Say what a run waits for that will never happen."""
    asked = [(task, instance.held.question) for task, instance in run.questions.items() if instance.held is not None]
    signals = sorted({question.signal for _, question in asked if question is not None and question.signal})
    tasks = [task for task, question in asked if question is not None and not question.signal]
    waits = [f"an answer to `{task}`" for task in tasks[:3]] + [f"the signal `{name}`" for name in signals[:3]]
    hint = f"hint: add `answers: {{{static(tasks[0])}: approve}}`" if tasks else ""
    if signals and not tasks:
        hint = f"hint: add `signals: {{{signals[0]}: {{data: …}}}}`"
    told = ", and ".join(waits) or "what will never happen"
    return Mismatch(f"the run waits for {told}, and the case gives none", case.path, (hint,) if hint else ())


def _run_id(case: Case) -> str:
    """Return an id that is the same every day: what is drawn from it (jitter, idempotency keys) is so too."""
    return f"test-{sha256(case.name.encode()).hexdigest()[:12]}"


async def _within(
    driving: asyncio.Future[RunReport], case: Case, session: Session, broken: list[Mismatch]
) -> RunReport:
    """Await the run for as long as its case allows."""
    try:
        await asyncio.wait({driving}, timeout=case.timeout)
        if not driving.done():
            hint = "raise its `timeout`, or mock what takes so long"
            message = f"the case was not over after {case.timeout:g} seconds, and was stopped"
            broken.append(Mismatch(message, case.path, (f"hint: {hint}",)))
            session.abort()
            await asyncio.wait({driving}, timeout=_GRACE)
    finally:
        if not driving.done():
            driving.cancel()
            with suppress(asyncio.CancelledError):
                await driving
    return await driving

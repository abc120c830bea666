"""Commands that start, continue or stop a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from autoglm.cli import options

if TYPE_CHECKING:
    from autoglm.app.correcting import Correction, File
    from autoglm.app.report import RunReport
    from autoglm.app.session import Session
    from autoglm.cli.watch import Manner

Durability = Literal["full", "process"]
CassetteMode = Literal["record", "replay", "auto"]


def run(
    file: options.File,
    inputs: options.Inputs = None,
    inputs_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Inputs as YAML or JSON; `-` is standard input. -i goes first.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Rehearse: a stand-in answers for every model, and says so.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    durability: Annotated[
        Durability | None, typer.Option(help="What a recorded result survives: a power cut, or `kill -9`.")
    ] = None,
    run_id: Annotated[str | None, typer.Option(metavar="ID", help="The new run's id, instead of a made one.")] = None,
    max_parallel: options.MaxParallel = None,
    budget: options.Budget = None,
    cassette: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Record model calls in this file, or answer from it; or only the mode."),
    ] = None,
    cassette_mode: Annotated[CassetteMode | None, typer.Option(help="What is done with calls; default: auto.")] = None,
    environment: options.Environment = None,
    no_wait: options.NoWait = False,
    store: options.Store = None,
) -> int:
    """Run a workflow file to its end."""
    from autoglm.app.session import Session
    from autoglm.cli.given import read_inputs
    from autoglm.cli.output import warn
    from autoglm.cli.spending import open_cassette, read_budget
    from autoglm.cli.watch import Manner, drive
    from autoglm.spec.model import Durability as Kept

    check_run_id(run_id)
    limits, recorded = read_budget(budget), open_cassette(cassette, cassette_mode, file)
    kept = Kept(durability) if durability else None
    with Session.open(file, store=store, durability=kept, environment=environment) as session:
        loaded = session.load(file)
        if not quiet and not json:
            for doubt in (*session.warnings, *loaded.diagnostics):
                warn(str(doubt))
        values = read_inputs(loaded.workflow, inputs or [], inputs_file)
        start = partial(
            session.run,
            loaded,
            values,
            offline=offline,
            run_id=run_id,
            max_parallel=max_parallel,
            budget=limits,
            cassette=recorded,
        )
        return drive(session, start, Manner(json, quiet, verbose, no_wait=no_wait))


def check_run_id(run_id: str | None) -> None:
    """Refuse ids that could not be typed again. Raises UsageError ``run-id-invalid``."""
    import re

    from autoglm.base.errors import UsageError

    if run_id is not None and (run_id == "last" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", run_id)):
        hint = "use 1 to 100 letters, digits, dots, dashes and underscores, a letter or digit first; not `last`"
        raise UsageError(f"{run_id!r} cannot be a run's id", code="run-id-invalid", hint=hint)


def resume(
    run: options.RunId,
    with_changes: options.WithChanges = False,
    as_recorded: options.AsRecorded = False,
    plan: options.Plan = False,
    yes: options.Yes = False,
    inputs: options.SecretInputs = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    max_parallel: options.MaxParallel = None,
    budget: options.Budget = None,
    no_wait: options.NoWait = False,
    project: options.Project = None,
    store: options.Store = None,
) -> int:
    """Continue an interrupted run.

    Nothing that was recorded is done again, unless its definition has changed and that is asked for.
    """
    from autoglm.app.correcting import plan_resume
    from autoglm.cli.opening import open_session
    from autoglm.cli.spending import read_budget
    from autoglm.cli.watch import Manner

    limited = {"max_parallel": max_parallel, "budget": read_budget(budget)}
    with open_session(project, store) as session:
        correction = plan_resume(session, session.find_run(run), _file(with_changes, as_recorded))
        ask = Ask(plan, with_changes and not yes, show=plan or with_changes)
        manner = Manner(json, quiet, verbose, no_wait=no_wait)
        return _go_on(session, session.resume, correction, inputs, ask, manner, limited)


def retry(
    run: options.RunId,
    from_: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="TASK", help="Run this task again too, and what hangs on it; may be repeated."),
    ] = None,
    with_changes: options.WithChanges = False,
    as_recorded: options.AsRecorded = False,
    plan: options.Plan = False,
    yes: options.Yes = False,
    inputs: options.SecretInputs = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    max_parallel: options.MaxParallel = None,
    budget: options.Budget = None,
    no_wait: options.NoWait = False,
    project: options.Project = None,
    store: options.Store = None,
) -> int:
    """Run again what failed in a run.

    What was cancelled, and what hangs on either, runs again too; the rest keeps its results.
    """
    from autoglm.app.correcting import plan_retry
    from autoglm.cli.opening import open_session
    from autoglm.cli.spending import read_budget
    from autoglm.cli.watch import Manner

    limited = {"max_parallel": max_parallel, "budget": read_budget(budget)}

    with open_session(project, store) as session:
        correction = plan_retry(session, session.find_run(run), from_ or (), _file(with_changes, as_recorded))
        is_special = bool(from_) or with_changes
        ask = Ask(plan, is_special and not yes, show=plan or is_special)
        manner = Manner(json, quiet, verbose, no_wait=no_wait)
        return _go_on(session, session.retry, correction, inputs, ask, manner, limited)


class Ask(NamedTuple):
    """Whether to show what will run again, whether to ask then, and whether to leave it at that."""

    plan_only: bool
    ask: bool
    show: bool


def _go_on(
    session: Session,
    method: Callable[..., Awaitable[RunReport]],
    correction: Correction,
    inputs: list[str] | None,
    ask: Ask,
    manner: Manner,
    limited: Mapping[str, Any],
) -> int:
    from dataclasses import replace

    from autoglm.cli.correction import agree
    from autoglm.cli.watch import drive

    given = _given(correction, inputs or [])
    quiet = manner.quiet or not ask.show
    if not agree(correction, plan=ask.plan_only, ask=ask.ask, json=manner.json, quiet=quiet):
        return 0
    start = partial(method, correction.run_id, given, correction=correction, **limited)
    return drive(session, start, replace(manner, again=correction.again))


def _file(with_changes: bool, as_recorded: bool) -> File:
    from autoglm.app.correcting import File
    from autoglm.base.errors import UsageError

    if with_changes and as_recorded:
        hint = "`--with-changes` goes on by the file as it is now, `--as-recorded` by the file as it was"
        raise UsageError("--with-changes and --as-recorded exclude one another", code="usage", hint=hint)
    return File.WITH_CHANGES if with_changes else File.AS_RECORDED if as_recorded else File.REFUSE


def _given(correction: Correction, pairs: list[str]) -> dict[str, Any]:
    """Return the inputs given again: secret ones, and with a changed file those that it brings."""
    given: dict[str, Any] = dict(_secrets(pairs))
    if correction.change is None:
        return given
    from autoglm.cli.given import read_value

    declared = correction.change.loaded.workflow.inputs
    secret = {name for name, spec in declared.items() if spec.secret}
    return {name: text if name in secret else read_value(declared.get(name), text) for name, text in given.items()}


def _secrets(pairs: list[str]) -> dict[str, str]:
    """Return the secret inputs given again: text, whatever it looks like."""
    from autoglm.base.errors import UsageError

    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        # The pair itself may be the secret: it is not repeated.
        raise UsageError("an input is not written as name=value", code="bad-inputs", hint="write -i name=value")
    return dict(pair.split("=", 1) for pair in pairs)


def cancel(
    run: options.RunId,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    project: options.Project = None,
    store: options.Store = None,
) -> int:
    """Cancel a run."""
    from autoglm.cli.opening import open_session
    from autoglm.cli.output import say
    from autoglm.cli.watch import unwatched

    with open_session(project, store) as session:
        run_id = session.find_run(run)
        status = unwatched(lambda created: session.cancel(run_id, reason, on_created=created))
        told = (
            "has been asked to cancel; `autoglm show` tells when it has" if status == "cancelling" else f"is {status}"
        )
        say(f"run {run_id} {told}")
    return 0


def pause(run: options.RunId, project: options.Project = None, store: options.Store = None) -> int:
    """Pause a run that another process drives.

    It finishes what runs and starts nothing more.
    """
    import time

    from autoglm.base.errors import UsageError
    from autoglm.cli.opening import open_session
    from autoglm.cli.output import say

    with open_session(project, store) as session:
        run_id = session.find_run(run)
        row = session.store.get_run(run_id)
        if row.owner is None:
            hint = f"`autoglm resume {run_id}` continues it" if row.ended_at is None else None
            message = f"run {run_id} cannot be paused: nobody drives it (status {row.status})"
            raise UsageError(message, code="run-not-driven", hint=hint)
        session.store.post_signal(run_id, "pause", None, time.time())
        say(f"run {run_id} has been asked to pause; `autoglm resume {run_id}` continues it then")
    return 0

"""How a run ends, once its tasks have: rollbacks, then ``on_error``, then ``finally``, then the last event.

Rules:

1. What comes of the run is settled by its tasks. ``RunEnding`` says it, where anything is left to be done at the end; a
   run without that ends at once.
2. A run that failed or was cancelled is rolled back (``undoing.py``); one that failed runs ``on_error``; every run runs
   ``finally``. The tasks of the two are scopes of their own, whose ids begin ``on_error.`` and ``finally.``.
3. A run that would have succeeded fails when ``finally`` does. One that has failed keeps its failure, which then
   mentions what went wrong at its end. What should have been undone and was not always shows: ``rollback-failed``.
4. Cancelled at its end, a run stops the section that runs and goes on to the next; rollbacks go on. It ends cancelled.
   A cancel that was asked for before that section began, and comes only now, leaves ``finally`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autoglm.base.errors import Failure
from autoglm.engine import ending_calls, stopping
from autoglm.engine import messages as m
from autoglm.engine.state import Instance, Scope
from autoglm.engine.states import RunStatus, TaskStatus
from autoglm.engine.values import because, run_failed
from autoglm.graph.model import OUTSIDE
from autoglm.spec.expressions import ExpressionError

if TYPE_CHECKING:
    from autoglm.engine.machine import Run
    from autoglm.engine.run_state import RunState


class Ending:
    """A run whose tasks have ended: what comes of it, and where its end stands."""

    __slots__ = ("done", "failure", "keep", "section", "since", "status", "task")

    def __init__(self, event: m.RunEnding) -> None:
        self.status = RunStatus(event.status)
        """How the run is to end."""
        self.failure = event.failure
        self.task = event.task
        """The first task that failed."""
        self.keep = event.keep
        """There is nothing to roll back, or no reason to."""
        self.section: str | None = None
        """What runs now, or ran last."""
        self.since = 0.0
        """When that began."""
        self.done: list[str] = []
        """The sections that have begun."""

    def snapshot(self) -> Any:
        """Return it as plain data."""
        return str(self.status), self.failure, self.task, self.keep, self.section, self.since, self.done


def began(state: RunState, event: m.RunEnding, at: float) -> None:
    """Note that the run's tasks have ended."""
    state.ending = Ending(event)
    if event.status == RunStatus.SUCCEEDED:
        state.outputs = event.blob or bytes(event.outputs)
    state.ended(None)


def section_began(state: RunState, event: m.SectionStarted, at: float) -> None:
    """Open the scope of ``on_error`` or ``finally``; the same one again after a retry of the run."""
    ending, name = state.ending, event.section
    assert ending is not None
    ending.section, ending.since = name, at
    ending.done.append(name)
    scope = state.sections.get(name)
    if scope is None:
        scope = state.sections[name] = Scope(state.graph.sections[name], f"{name}.", None)
        scope.beyond = state.root
    state.open(scope, None)


# ----------------------------------------------------------------------------------------------- what is decided


def close(run: Run) -> None:
    """Go one step further with the end of the run, when what is under way is over."""
    ending = run.ending
    if run.is_final:
        return
    if ending is None:
        if run.root.is_done:
            _settle(run)
        return
    undoing = run.root.undoing
    if undoing is not None and not undoing.is_over:
        return
    if ending.section is not None and not run.sections[ending.section].is_done:
        return
    if undoing is None and ending.section is None and _must_roll_back(run, ending):
        run.emit(m.RollbackStarted())
        return
    for name in run.graph.sections:
        if name not in ending.done and _is_due(ending, name):
            run.emit(m.SectionStarted(name))
            return
    _finish(run, ending)


def _settle(run: Run) -> None:
    """Say what comes of the run, and whether anything is left to do."""
    if run.status is RunStatus.CANCELLING:
        event = m.RunEnding(RunStatus.CANCELLED)
    elif run.root.failed:
        event = m.RunEnding(RunStatus.FAILED, run_failed(run.root), run.root.failed[0])
    else:
        event = _outputs(run)
    ending = Ending(event)
    sections = [name for name in run.graph.sections if _is_due(ending, name)]
    if sections or _must_roll_back(run, ending):
        run.emit(event)
    else:
        _finish(run, ending, event)


def _outputs(run: Run) -> m.RunEnding:
    outputs = run.graph.outputs
    try:
        text = run.evaluate_text(outputs, Instance("", OUTSIDE, run.root)) if outputs is not None else b"{}"
    except ExpressionError as error:
        return m.RunEnding(RunStatus.FAILED, run.as_failure(error, code="outputs-failed"))
    if run.stuck:
        return m.RunEnding(RunStatus.FAILED, _stuck(run), keep=True)
    raw, blob = run.boxed(text)
    return m.RunEnding(RunStatus.SUCCEEDED, None, None, raw, blob)


def _must_roll_back(run: Run, ending: Ending) -> bool:
    if ending.keep or ending.status is RunStatus.SUCCEEDED:
        return False
    return any(instance.status is TaskStatus.SUCCEEDED for instance in run.root.done)


def _is_due(ending: Ending, section: str) -> bool:
    return section == "finally" or (section == "on_error" and ending.status is RunStatus.FAILED)


def _finish(run: Run, ending: Ending, event: m.RunEnding | None = None) -> None:
    """End the run."""
    failure = _with_troubles(run, ending)
    if ending.status is RunStatus.CANCELLED:
        run.emit(m.RunCancelled(failure))
    elif failure is not None:
        run.emit(m.RunFailed(failure))
    elif event is not None:
        run.emit(m.RunSucceeded(event.outputs, event.blob))
    else:
        run.emit(m.RunSucceeded())


def _with_troubles(run: Run, ending: Ending) -> Failure | None:
    """Return the run's failure with what else went wrong at its end; None when nothing did."""
    failure = ending.failure
    if run.stuck and not (failure is not None and failure.code == _STUCK):
        failure = _joined(failure, _stuck(run))
    return with_failed_sections(failure, ending.done, run.sections)


def with_failed_sections(failure: Failure | None, done: list[str], sections: Mapping[str, Scope]) -> Failure | None:
    """Return a failure that mentions those of the sections that have run; None when nothing failed."""
    for name in done:
        scope = sections[name]
        if scope.failed:
            first = scope.instances[scope.plan.names[scope.failed[0]]]
            code = f"{name.replace('_', '-')}-failed"
            failure = _joined(failure, Failure(code, because(name, scope.failed, first), (code,), retryable=False))
    return failure


_STUCK = "rollback-failed"


def _stuck(run: Run) -> Failure:
    """Return the failure of a run in which something could not be undone."""
    first, why = next(iter(run.stuck.items()))
    more = f" (and of {len(run.stuck) - 1} more)" if len(run.stuck) > 1 else ""
    message = f"the rollback of `{first}` failed{more}" + (f": {why.message}" if why is not None else "")
    hint = "what these tasks did is still in place: undo it by hand"
    details = {"not_rolled_back": list(run.stuck)[:100]}
    return Failure(_STUCK, message, (_STUCK,), retryable=False, hint=hint, details=details)


def _joined(first: Failure | None, then: Failure) -> Failure:
    """Return a failure that keeps what went wrong first, and mentions what did then; a lost rollback gives the code."""
    if first is None:
        return then
    code = then.code if then.code == _STUCK else first.code
    return Failure(
        code,
        f"{first.message}; {then.message}",
        (*first.classes, *then.classes),
        retryable=False,
        hint=then.hint or first.hint,
        details={**(first.details or {}), **(then.details or {})} or None,
    )


def cancel(run: Run, news: m.Cancel) -> None:
    """Cancel the run: its tasks, or the section that runs at its end."""
    ending = run.ending
    scope = run.root
    if run.is_final or run.status is RunStatus.PENDING:
        return
    if ending is not None and ending.section is not None:
        scope = run.sections[ending.section]
    spares = ending is not None and _is_spared(ending, news.asked_at)
    if run.status is RunStatus.CANCELLING and (ending is None or ending.section is None or scope.cancelled or spares):
        ending_calls.stop(run, news.asked_at)
        return
    run.emit(m.RunCancelling(news.reason, spares))
    if not spares and (ending is None or ending.section is not None):
        stopping.stop_scope(run, scope, "cancelled")


def _is_spared(ending: Ending, asked_at: float | None) -> bool:
    """Return whether ``finally`` runs, and a cancel was asked for before that: it was meant for what ran then."""
    return ending.section == "finally" and asked_at is not None and asked_at < ending.since


# ------------------------------------------------------------------------------------------- what templates see


def names(run: Run) -> Mapping[str, Any]:
    """Return ``error`` and ``run`` as the tasks of ``on_error`` and ``finally`` see them."""
    ending = run.ending
    if ending is None:
        return {"error": None, "run": run.world.values.get("run", {})}
    error = as_seen(ending.failure, ending.task, run.root)
    return {"error": error, "run": {**run.world.values["run"], "status": str(ending.status)}}


def as_seen(failure: Failure | None, task: str | None, scope: Scope) -> dict[str, Any] | None:
    """Return ``error``: the first task that failed, whose code and message say more than those of the whole."""
    if failure is None:
        return None
    local = scope.plan.names.get(task) if task is not None else None
    first = scope.instances[local] if local is not None else None
    said = failure if first is None or first.failure is None else first.failure
    return {"code": said.code, "message": said.message, "task": task}

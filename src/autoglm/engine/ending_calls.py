"""How a called workflow ends that has ``on_error`` or ``finally``: as a run does, inside of the task that calls it.

Rules:

1. What comes of the call is settled by its tasks, and ``CallEnding`` says it. Then come, in this order, rollbacks of
   what it did (when it failed or is cancelled), ``on_error`` (when it failed), ``finally``, and the end of the call.
2. A section is a scope of its own beside that of the call's tasks: its ids begin ``CALL.on_error.`` and
   ``CALL.finally.``. It sees what the call's ``outputs`` see, and ``error`` and ``run.status`` of the call.
3. The end of a call is not cut short by what is around it: not by its ``timeout``, nor when the run is cancelled or
   a loop fails fast. A second cancel stops the sections that run.
4. A call whose ``finally`` fails has failed, and is rolled back then: a group that fails leaves nothing behind.

A call that is cancelled undoes by itself what it did, before its ``finally``. That may come before the rollback of what
began later elsewhere, but nothing elsewhere can hang on the parts of a call that has not ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from autoglm.engine import ending, stopping, undoing
from autoglm.engine import messages as m
from autoglm.engine.state import Instance, Scope, Stored
from autoglm.engine.states import RunStatus, TaskStatus
from autoglm.engine.values import group_failed, timed_out
from autoglm.spec.expressions import ExpressionError

if TYPE_CHECKING:
    from autoglm.engine.machine import Run
    from autoglm.engine.run_state import RunState


class CallEnd:
    """A call whose tasks have ended: what comes of it, and where its end stands."""

    __slots__ = ("collected", "done", "failure", "result", "section", "sections", "since", "status", "task", "timeout")

    def __init__(self, event: m.CallEnding) -> None:
        self.status = RunStatus(event.status)
        """How the call is to end."""
        self.failure = event.failure
        self.timeout = event.timeout
        """Its time was up."""
        self.task = event.first
        """The first task of it that failed."""
        self.result: Stored | None = event.blob or (None if event.result is m.ABSENT else bytes(event.result))
        is_plain = event.collected_blob is None and event.collected is m.ABSENT
        self.collected: Stored | None = None if is_plain else event.collected_blob or bytes(event.collected)
        self.section: str | None = None
        """What runs now, or ran last."""
        self.since = 0.0
        """When that began."""
        self.done: list[str] = []
        """The sections that have begun."""
        self.sections: dict[str, Scope] = {}

    def snapshot(self) -> Any:
        """Return it as plain data."""
        return (
            str(self.status),
            self.failure,
            self.timeout,
            self.task,
            self.result,
            self.collected,
            self.since,
            self.done,
        )


# ------------------------------------------------------------------------------------------- what ``apply`` notes


def began(state: RunState, call: Instance, event: m.CallEnding, at: float) -> None:
    """Note that the tasks of a call have ended."""
    assert call.child is not None
    call.child.end = CallEnd(event)
    state.ends[call.id] = call
    state.ended(call)


def section_began(state: RunState, call: Instance, name: str, at: float) -> None:
    """Open the scope of ``on_error`` or ``finally`` of a call."""
    child = call.child
    assert child is not None
    assert child.frame is not None
    assert child.end is not None
    callee = child.frame.callee
    scope = Scope(callee.sections[name], f"{child.prefix}{name}.", call, callee)
    scope.frame, scope.beyond = child.frame, child
    child.end.section, child.end.since = name, at
    child.end.done.append(name)
    child.end.sections[name] = scope
    state.open(scope, None)


def give_result(call: Instance) -> None:
    """Let a call that has succeeded have the result that was settled before its end."""
    end = None if call.child is None else call.child.end
    if end is not None:
        call.result, call.collected = end.result, end.collected


# ----------------------------------------------------------------------------------------------- what is decided


def close(run: Run, call: Instance, scope: Scope, succeeded: Callable[[Run, Instance, Scope], m.TaskSucceeded]) -> bool:
    """Go one step further with the end of a call; False when nothing is done at its end but what groups do."""
    callee = scope.frame.callee if scope.opens_frame and scope.frame is not None else None
    if callee is None or not callee.sections:
        return False
    end = scope.end
    if end is None:
        event = _settled(run, call, scope, succeeded)
        if not any(_is_due(event.status, name) for name in callee.sections):
            return False
        run.emit(event)
        return True
    if scope.undoing is not None and not scope.undoing.is_over:
        return True
    if end.section is not None and not end.sections[end.section].is_done:
        return True
    if scope.undoing is None and end.section is None and _must_roll_back(scope, end):
        run.emit(m.RollbackStarted(call.id))
        return True
    for name in callee.sections:
        if name not in end.done and _is_due(end.status, name):
            run.emit(m.SectionStarted(name, call.id))
            return True
    _finish(run, call, scope, end)
    return True


def _settled(
    run: Run, call: Instance, scope: Scope, succeeded: Callable[[Run, Instance, Scope], m.TaskSucceeded]
) -> m.CallEnding:
    """Return what comes of a call."""
    if call.stopping == "timeout":
        return m.CallEnding(call.id, RunStatus.FAILED, timed_out(call), timeout=True)
    if call.stopping is not None or scope.cancelled:
        return m.CallEnding(call.id, RunStatus.CANCELLED)
    if scope.failed:
        return m.CallEnding(call.id, RunStatus.FAILED, group_failed(scope), scope.failed[0])
    try:
        event = succeeded(run, call, scope)
    except ExpressionError as error:
        return m.CallEnding(call.id, RunStatus.FAILED, run.as_failure(error))
    return m.CallEnding(
        call.id,
        RunStatus.SUCCEEDED,
        result=event.result,
        blob=event.blob,
        collected=event.collected,
        collected_blob=event.collected_blob,
    )


def _is_due(status: str, section: str) -> bool:
    return section == "finally" or status == RunStatus.FAILED


def _must_roll_back(scope: Scope, end: CallEnd) -> bool:
    if end.status is RunStatus.SUCCEEDED:
        return False
    return any(instance.status is TaskStatus.SUCCEEDED for instance in scope.done)


def _finish(run: Run, call: Instance, scope: Scope, end: CallEnd) -> None:
    """End a call."""
    if end.status is RunStatus.CANCELLED:
        run.emit(m.TaskCancelled(call.id))
        return
    failure = ending.with_failed_sections(end.failure, end.done, end.sections)
    if failure is None:
        run.emit(m.TaskSucceeded(call.id))
    elif end.status is RunStatus.FAILED or not undoing.must_wait(run, scope, failure):
        run.fail(call, failure, timeout=end.timeout)


def stop(run: Run, asked_at: float | None) -> None:
    """Stop the sections of calls that run, wherever they are, unless they began after this was asked for."""
    for call in list(run.ends.values()):
        end = None if call.child is None else call.child.end
        if end is None or (asked_at is not None and asked_at < end.since):
            continue
        scope = None if end.section is None else end.sections[end.section]
        if scope is not None and not scope.cancelled and not scope.is_done:
            run.emit(m.AttemptStopping(call.id, call.attempt, "cancelled"))
            stopping.stop_scope(run, scope, "cancelled")


# ------------------------------------------------------------------------------------------- what templates see


def names(run: Run, section: Scope) -> Mapping[str, Any]:
    """Return ``error`` and ``run`` as the tasks of a section see them."""
    call = section.owner
    if call is None:
        return ending.names(run)
    end = None if call.child is None else call.child.end
    about = {} if section.frame is None else run.world.enter(section.frame)["run"]
    if end is None or call.child is None:
        return {"error": None, "run": about}
    error = ending.as_seen(end.failure, end.task, call.child)
    return {"error": error, "run": {**about, "status": str(end.status)}}

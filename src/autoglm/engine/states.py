"""The states of runs and tasks, and the one table that says which step between them is allowed.

Rules:

1. A task's state changes only through :func:`step`, which refuses what the table does not list.
2. ``FAILED`` and ``TIMEOUT`` end a task that has no retry policy or whose failure its policy does not cover;
   ``TERMINATED`` ends one whose retries are used up, or whose run gave up while it waited for the next one.
3. A state in :data:`FINAL` is left only when the run is reopened (``autoglm retry``) or rolled back.
"""

from __future__ import annotations

from enum import StrEnum

from autoglm.base.errors import EngineError


class TaskStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    TERMINATED = "terminated"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled_back"


class Coarse(StrEnum):
    """The four-valued view that handlers and the API also give."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class RunStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_S = TaskStatus

TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    _S.PENDING: frozenset({_S.RUNNING, _S.FAILED, _S.SKIPPED, _S.CANCELLED, _S.PAUSED}),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.TIMEOUT, _S.CANCELLED, _S.PAUSED}),
    _S.RETRYING: frozenset({_S.RUNNING, _S.TERMINATED, _S.CANCELLED}),
    _S.PAUSED: frozenset({_S.RUNNING, _S.SUCCEEDED, _S.FAILED, _S.TIMEOUT, _S.SKIPPED, _S.CANCELLED}),
    _S.FAILED: frozenset({_S.RETRYING, _S.TERMINATED, _S.PENDING}),
    _S.TIMEOUT: frozenset({_S.RETRYING, _S.TERMINATED, _S.PENDING}),
    _S.TERMINATED: frozenset({_S.PENDING}),
    _S.SKIPPED: frozenset({_S.PENDING}),
    _S.CANCELLED: frozenset({_S.PENDING}),
    _S.SUCCEEDED: frozenset({_S.ROLLED_BACK, _S.PENDING}),
    _S.ROLLED_BACK: frozenset({_S.PENDING}),
}

FINAL = frozenset(
    {_S.SUCCEEDED, _S.FAILED, _S.TIMEOUT, _S.TERMINATED, _S.SKIPPED, _S.CANCELLED, _S.ROLLED_BACK},
)
FAILURES = frozenset({_S.FAILED, _S.TIMEOUT, _S.TERMINATED})
BAD_ENDS = FAILURES | {_S.CANCELLED}

COARSE: dict[TaskStatus, Coarse] = {
    _S.PENDING: Coarse.PENDING,
    _S.RUNNING: Coarse.RUNNING,
    _S.RETRYING: Coarse.RUNNING,
    _S.PAUSED: Coarse.RUNNING,
    _S.SUCCEEDED: Coarse.SUCCESS,
    _S.SKIPPED: Coarse.SUCCESS,
    _S.FAILED: Coarse.FAILED,
    _S.TIMEOUT: Coarse.FAILED,
    _S.TERMINATED: Coarse.FAILED,
    _S.CANCELLED: Coarse.FAILED,
    _S.ROLLED_BACK: Coarse.FAILED,
}

RUN_FINAL = frozenset({RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED})

RUN_TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.PENDING: frozenset({RunStatus.RUNNING}),
    RunStatus.RUNNING: frozenset(
        {RunStatus.PAUSED, RunStatus.CANCELLING, RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED},
    ),
    RunStatus.PAUSED: frozenset(
        {RunStatus.RUNNING, RunStatus.CANCELLING, RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED},
    ),
    RunStatus.CANCELLING: frozenset({RunStatus.CANCELLED, RunStatus.PAUSED}),
    RunStatus.SUCCEEDED: frozenset({RunStatus.RUNNING}),
    RunStatus.FAILED: frozenset({RunStatus.RUNNING}),
    RunStatus.CANCELLED: frozenset({RunStatus.RUNNING}),
}


def step(task: str, old: TaskStatus, new: TaskStatus) -> TaskStatus:
    """Return ``new``, or raise :class:`EngineError` when the table does not allow the step."""
    if new not in TRANSITIONS[old]:
        raise no_such_step(task, old, new)
    return new


def no_such_step(task: str, old: TaskStatus, new: TaskStatus) -> EngineError:
    """Return the error for a step that the table does not allow."""
    return EngineError(f"task {task!r} cannot go from {old} to {new}", code="invalid-transition")


def step_run(old: RunStatus, new: RunStatus) -> RunStatus:
    """Return ``new``, or raise :class:`EngineError` when the table does not allow the step."""
    if new not in RUN_TRANSITIONS[old]:
        raise EngineError(f"the run cannot go from {old} to {new}", code="invalid-transition")
    return new

"""What stands in for a task that failed for good: ``on_error: {degrade: …}`` with work instead of a value.

Rules:

1. The stand-in is an instance of its own, ``TASK~fallback``, with attempts, retries and slots like any task's work.
   Until it ends, the failed task stays RUNNING without an attempt or a slot: whatever waits for it waits on.
2. When it has succeeded, the task succeeds with its result: ``TaskDegraded``, which keeps the failure. When it has
   failed too, the task fails with its own failure, as it would have, and mentions the other. Cancelled, both are.
3. In a loop it stands in for an item; a loop as a whole has none. A task that is stopped, or lies in something that is
   given up, gets none either.
4. A task that is named as a stand-in never runs as itself: it is skipped when its scope begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from autoglm.base.errors import Failure
from autoglm.engine import forgetting, stopping, waiting
from autoglm.engine import messages as m
from autoglm.engine.messages import Blob
from autoglm.engine.state import UNREAD, Instance, StandIn
from autoglm.engine.states import TaskStatus

if TYPE_CHECKING:
    from autoglm.engine.machine import Run
    from autoglm.engine.run_state import RunState

SUFFIX: Final = "~fallback"
"""What the id of a stand-in ends with, after its task's; no name of a task has such a character."""


# ------------------------------------------------------------------------------------------- what ``apply`` notes


def began(state: RunState, task: Instance, event: m.StandInCalled, at: float) -> None:
    """Note that a task has failed for good and that what stands in for it is to run."""
    if task.status is not TaskStatus.RUNNING:
        state.begin(task, at)
    state.leave_slot(task)
    if task.held is not None:
        waiting.drop(state, task)
    task.due = task.deadline = task.held = task.stopping = None
    task.failure = event.failure
    state.add_usage_of(task, event.failure)
    node = task.node.fallback
    assert node is not None
    if task.stand_in is None:
        work = Instance(f"{task.id}{SUFFIX}", node, task.scope)
        work.stands_for = task
        task.stand_in = StandIn(work)
    standing = task.stand_in
    standing.work.lives = task.lives
    standing.final = TaskStatus(event.final)
    standing.is_open = True
    state.stand_ins[standing.work.id] = standing.work
    state.touched[task.number] = task
    state.free_loop(task)
    state.ready(standing.work)


def ended(state: RunState, work: Instance) -> None:
    """Note that a stand-in is over, well or not: its task may end."""
    state.stand_ins.pop(work.id, None)
    state.ended(work.stands_for)


def set_back(state: RunState, task: Instance) -> None:
    """Let a stand-in wait to be called again, as its task is done again."""
    work = None if task.stand_in is None else task.stand_in.work
    if work is None or work.status is TaskStatus.PENDING:
        return
    forgetting.unlist(state, work)
    work.attempts_before = work.attempt
    work.failure = work.result = work.output = work.reason = work.stopping = work.first_at = None
    work.started_at = work.ended_at = None
    work.value = UNREAD


def snapshot(task: Instance) -> Any:
    """Return how it stands with what stands in for a task, as plain data."""
    standing = task.stand_in
    return None if standing is None else (standing.is_open, str(standing.final))


# ----------------------------------------------------------------------------------------------- what is decided


def call(run: Run, task: Instance, failure: Failure, final: TaskStatus) -> bool:
    """Let a task's stand-in run, instead of its failing; False when there is none."""
    if task.node.fallback is None or (task.node.loop is not None and task.index is None):
        return False
    if task.stopping in ("cancelled", "fail_fast") or task.is_given_up:
        return False
    if task.index is not None and run.owner_of(task).stopping is not None:
        return False
    run.emit(m.StandInCalled(task.id, failure, str(final)))
    return True


def close(run: Run, task: Instance, standing: StandIn) -> None:
    """End a task by what came of its stand-in."""
    work = standing.work
    if not work.is_final or task.failure is None:
        return
    if work.status is TaskStatus.SUCCEEDED:
        result = work.result
        if isinstance(result, Blob):
            run.emit(m.TaskDegraded(task.id, task.failure, blob=result))
        else:
            run.emit(m.TaskDegraded(task.id, task.failure, msgspec.Raw(result or b"null")))
    elif work.status is TaskStatus.CANCELLED:
        run.emit(m.TaskCancelled(task.id))
    else:
        is_timeout = standing.final is TaskStatus.TIMEOUT
        final = str(standing.final) if standing.final is TaskStatus.TERMINATED else None
        run.emit(m.TaskFailed(task.id, _both(task.failure, work), is_timeout, final))
        stopping.fail_fast(run, task)


def seen(work: Instance) -> dict[str, Any]:
    """Return the names that templates of a stand-in see besides those that its task's see."""
    failure = None if work.stands_for is None else work.stands_for.failure
    return {"error": None if failure is None else {"code": failure.code, "message": failure.message}}


def _both(failure: Failure, work: Instance) -> Failure:
    """Return a task's own failure, which mentions that of what should have stood in for it."""
    then = work.failure.message if work.failure is not None else work.reason or f"it ended {work.status}"
    return msgspec.structs.replace(
        failure, message=f"{failure.message}; what should stand in for it failed too: {then}", retryable=False
    )

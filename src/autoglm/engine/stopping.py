"""Stopping what runs: an attempt, or everything inside a loop, a group or the run. Functions of the machine.

Told to stop, an attempt holds its slot until the runtime says that it has stopped; what only waits ends at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm.base.errors import Failure
from autoglm.engine import messages as m
from autoglm.engine.state import Instance, Scope
from autoglm.engine.states import FAILURES, TaskStatus

if TYPE_CHECKING:
    from autoglm.engine.machine import Run


def stop(run: Run, instance: Instance, reason: str, failure: Failure | None = None) -> None:
    """Stop an instance that has begun: its attempt, or everything inside it."""
    if instance.is_replaced and instance.stand_in is not None:
        stop(run, instance.stand_in.work, reason)
    elif instance.id in run.attempts:
        if instance.stopping is None:
            run.emit(m.AttemptStopping(instance.id, instance.attempt, reason))
            run.command(m.StopAttempt(instance.id, instance.attempt, reason))
    elif instance.stands_for is not None and instance.status is TaskStatus.PENDING:
        run.emit(m.TaskCancelled(instance.id))
    elif instance.status is TaskStatus.RETRYING:
        _give_up(run, instance, reason)
    elif instance.status is TaskStatus.PAUSED:
        run.emit(m.TaskCancelled(instance.id))
    elif instance.is_composite and instance.status is TaskStatus.RUNNING and not ends_by_itself(instance):
        if instance.stopping is None:
            run.emit(m.AttemptStopping(instance.id, instance.attempt, reason, failure))
        inner = "cancelled" if reason == "timeout" else reason
        if instance.loop is not None:
            for item in list(instance.loop.open.values()):
                stop(run, item, inner)
        if instance.child is not None:
            stop_scope(run, instance.child, inner)


def ends_by_itself(instance: Instance) -> bool:
    """Return whether a group has failed and rolls back, or a call is at its end: it ends once that is over."""
    return instance.child is not None and (instance.child.undoing is not None or instance.child.end is not None)


def stop_scope(run: Run, scope: Scope, reason: str) -> None:
    """Stop everything in a scope that has begun."""
    for instance in scope.instances:
        if instance is not None and not instance.is_final:
            stop(run, instance, reason)


def _give_up(run: Run, instance: Instance, reason: str) -> None:
    """End a task that waits for its next attempt, which will not come."""
    failure = instance.failure
    if reason == "cancelled" or failure is None:
        run.emit(m.TaskCancelled(instance.id))
    else:
        run.emit(m.TaskTerminated(instance.id, reason))


def fail_fast(run: Run, item: Instance) -> None:
    """Stop the rest of a loop that asked for it when one of its items has failed."""
    plan = item.node.loop
    if item.index is None or plan is None or not plan.fail_fast or item.status not in FAILURES:
        return
    owner = run.owner_of(item)
    if owner.stopping is None:
        stop(run, owner, "fail_fast")

"""Parking: an attempt that gives its slot back and goes on later. Functions of the machine.

Rules:

1. A parked attempt holds nothing: no slot of a pool, no place in ``max_parallel``, no turn of its loop. It is PAUSED.
2. When it is due it waits for its turn like a retry, and goes on as the same attempt, which gets its memo back.
3. The time it was parked does not count against its ``timeout``; a group around it counts on.
4. To be stopped ends it at once: there is nothing that must be waited for.
5. An item that is parked *aside* is none of those of which a loop may have so many open: thousands may wait together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from autoglm.engine import messages as m
from autoglm.engine.state import WAKE, Held, Instance, stored_text
from autoglm.engine.states import TaskStatus
from autoglm.engine.values import timed_out
from autoglm.spec.expressions import ExpressionError

if TYPE_CHECKING:
    from autoglm.engine.machine import Run
    from autoglm.engine.run_state import RunState

# ------------------------------------------------------------------------------------------------------ part of apply


def began(state: RunState, instance: Instance, event: m.ParkingBegan, at: float) -> None:
    """Note that an attempt that ran is parked."""
    state.leave_slot(instance)
    if instance.held is None:
        instance.held = Held()
    held = instance.held
    held.memo = event.memo_blob or bytes(event.memo)
    if instance.deadline is not None and instance.node.timeout is not None:
        held.spent = max(0.0, instance.node.timeout - (instance.deadline - at))
    instance.deadline = None
    held.reason = event.reason
    state.move(instance, TaskStatus.PAUSED, at)
    instance.due = event.until
    if event.until is not None:
        state.set_timer(event.until, WAKE, instance)
    if event.usage:
        state.spent.add(instance.node.path, event.usage, ended=False)
    if event.aside and instance.index is not None and (loop := state.owner_of(instance).loop) is not None:
        loop.aside.add(instance.index)
    state.free_loop(instance)


def was_cut(state: RunState, instance: Instance, event: m.ParkingCut, at: float) -> None:
    """Note that a parked attempt is due now."""
    instance.due = at
    state.set_timer(at, WAKE, instance)


def ended(state: RunState, instance: Instance, event: m.ParkingEnded, at: float) -> None:
    """Note that a parked attempt runs again."""
    if instance.held is not None:
        instance.held.reason = ""
    if instance.index is not None and (loop := state.owner_of(instance).loop) is not None:
        loop.aside.discard(instance.index)
    state.take_slot(instance, at)


def forget(held: Held) -> None:
    """Drop what an attempt left for itself: the next one begins."""
    held.memo = None
    held.spent = 0.0


# ----------------------------------------------------------------------------------------------------------- decisions


def park(run: Run, instance: Instance | None, news: m.AttemptParked) -> None:
    """Park a running attempt, unless it is being stopped: then it has."""
    if instance is None:
        return
    if instance.stopping == "timeout":
        run.fail_attempt(instance, timed_out(instance, usage=news.usage), timeout=True)
    elif instance.stopping is not None:
        run.emit(m.AttemptCancelled(news.task, news.attempt, instance.stopping, usage=news.usage or None))
    else:
        raw, blob = run.boxed(news.memo)
        used = news.usage or None
        run.emit(m.ParkingBegan(news.task, news.attempt, news.until, news.reason, raw, blob, used, news.aside))


def cut(run: Run, instance: Instance | None) -> None:
    """Let a parked attempt go on now; one that is due already only waits for its turn."""
    if instance is None or instance.status is not TaskStatus.PAUSED or instance.id in run.questions:
        return
    if not is_due(instance, run.now):
        run.emit(m.ParkingCut(instance.id, instance.attempt))


def is_due(instance: Instance, now: float) -> bool:
    """Return whether an instance is parked and has been for long enough."""
    if instance.held is None or instance.held.question is not None:
        return False
    return instance.status is TaskStatus.PAUSED and instance.due is not None and instance.due <= now


def go_on(run: Run, instance: Instance) -> None:
    """Start a parked attempt again; it fails here when its inputs cannot be built any more."""
    try:
        command = run.start_command(instance)
    except ExpressionError as error:
        run.fail(instance, run.as_failure(error))
        return
    run.emit(m.ParkingEnded(instance.id, instance.attempt))
    run.command(command)


def memo(run: Run, instance: Instance) -> Any:
    """Return what the present attempt left for itself, None when it has not parked."""
    if instance.held is None or instance.held.memo is None:
        return None
    return msgspec.json.decode(stored_text(instance.held.memo, run.load))

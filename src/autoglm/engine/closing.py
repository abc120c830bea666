"""How loops' items and groups end, once their parts have. Functions of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from autoglm.engine import ending, ending_calls, loops, standing_in, undoing
from autoglm.engine import messages as m
from autoglm.engine.state import Instance, Scope, scope_text
from autoglm.engine.states import TaskStatus
from autoglm.engine.values import group_failed, timed_out
from autoglm.graph.model import OUTSIDE
from autoglm.spec.expressions import ExpressionError

if TYPE_CHECKING:
    from autoglm.engine.machine import Run


def close(run: Run, owner: Instance | None) -> None:
    """End a loop, a group or the run, whose parts have ended."""
    if owner is None:
        ending.close(run)
    elif owner.status is not TaskStatus.RUNNING:
        return
    elif owner.is_replaced and owner.stand_in is not None:
        standing_in.close(run, owner, owner.stand_in)
    elif owner.loop is not None:
        if owner.loop.is_done:
            loops.close(run, owner, owner.loop)
    elif owner.child is not None and owner.child.is_done:
        _close_group(run, owner, owner.child)


def _close_group(run: Run, instance: Instance, scope: Scope) -> None:
    if ending_calls.close(run, instance, scope, _success):
        return
    has_failed = instance.stopping is not None or scope.cancelled or scope.failed
    if (has_failed or scope.undoing is not None) and undoing.must_wait(run, scope):
        return
    if instance.stopping == "timeout":
        run.fail(instance, timed_out(instance), timeout=True)
    elif instance.stopping is not None or scope.cancelled:
        run.emit(m.TaskCancelled(instance.id))
    elif scope.failed:
        run.fail(instance, group_failed(scope))
    elif scope.undoing is not None and scope.undoing.failure is not None:
        run.fail(instance, scope.undoing.failure)
    else:
        _succeed_group(run, instance, scope)


def _succeed_group(run: Run, instance: Instance, scope: Scope) -> None:
    try:
        event = _success(run, instance, scope)
    except ExpressionError as error:
        failure = run.as_failure(error)
        if not undoing.must_wait(run, scope, failure):
            run.fail(instance, failure)
        return
    run.emit(event)


def _success(run: Run, instance: Instance, scope: Scope) -> m.TaskSucceeded:
    """Return how a group ends well: its ``result:`` sees its tasks, and ``output`` as what its last ones gave.

    Raises ExpressionError.
    """
    raw, blob = m.ABSENT, None
    outputs = scope.frame.callee.outputs if scope.opens_frame and scope.frame is not None else None
    if outputs is not None:
        text = run.evaluate_text(outputs, Instance(instance.id, OUTSIDE, scope))
        raw, blob = run.boxed(text)
    else:
        text = scope_text(scope, run.load)
    if instance.node.result is not None:
        value = msgspec.json.decode(text)
        inside = Instance(instance.id, OUTSIDE, scope)
        text = run.evaluate_text(instance.node.result, inside, {"output": value, "result": value})
        raw, blob = run.boxed(text)
    adds, added = collected(run, instance, text)
    return m.TaskSucceeded(instance.id, raw if blob is None else m.ABSENT, blob, adds, added)


def collected(run: Run, item: Instance, text: bytes) -> tuple[msgspec.Raw, m.Blob | None]:
    """Return what an item adds to its loop's list, when that is not its result."""
    plan = item.node.loop
    if plan is None or plan.collect is None or item.index is None:
        return m.ABSENT, None
    value = msgspec.json.decode(text)
    raw, blob = run.boxed(run.evaluate_text(plan.collect, item, {"output": value, "result": value}))
    return (raw if blob is None else m.ABSENT), blob

"""Loops that end when something is true: one iteration after the other, each with the result of the one before.

Whether another iteration follows is asked when one has ended, and needs no event: it follows from the same facts when
it is asked again after a crash. That the loop waits before its next iteration is an event, and a timer in the state.
What stays of a finished iteration is its result, until the next two have ended. Functions of the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from autoglm.engine import messages as m
from autoglm.engine.state import Instance, LoopState, Stored, stored_text
from autoglm.engine.values import iteration_failed, limit_reached
from autoglm.spec.expressions import ExpressionError, Template

if TYPE_CHECKING:
    from autoglm.engine.machine import Run


def close(run: Run, owner: Instance, loop: LoopState) -> None:
    """End the loop, or let it go on, when an iteration has ended or none has begun."""
    plan = loop.plan
    if plan is None or loop.goes_on or owner.due is not None:
        return
    if loop.kept:
        run.fail(owner, iteration_failed(loop))
        return
    try:
        is_over = _is_over(run, owner, loop)
    except ExpressionError as error:
        run.fail(owner, run.as_failure(error))
        return
    if is_over:
        _succeed(run, owner, loop)
    elif loop.next - loop.before >= plan.max_iterations:
        _end_at_limit(run, owner, loop)
    elif plan.delay and loop.next:
        run.emit(m.IterationDelayed(owner.id, run.now + plan.delay))
    else:
        go_on(run, owner)


def go_on(run: Run, owner: Instance) -> None:
    """Let the next iteration take its turn."""
    if owner.loop is not None:
        owner.loop.goes_on = True
        run.ready(owner)


def previous(run: Run, owner: Instance) -> Any:
    """Return the newest result of a loop, before its first iteration the ``initial`` one. Raises ExpressionError."""
    loop = owner.loop
    if loop is None or loop.plan is None:
        return None
    return _value(run, owner, loop, loop.last)


def _value(run: Run, owner: Instance, loop: LoopState, result: Stored | None) -> Any:
    if result is not None:
        return msgspec.json.decode(stored_text(result, run.load))
    initial = loop.plan.initial if loop.plan is not None else None
    return None if initial is None else run.evaluate(initial, owner)


def _is_over(run: Run, owner: Instance, loop: LoopState) -> bool:
    plan = loop.plan
    if plan is None:
        return True
    if plan.while_ is not None:
        return not _holds(run, plan.while_, Instance.of_item(owner, loop.next), {})
    if plan.until is None or not loop.next:
        return False
    result = _value(run, owner, loop, loop.last)
    own = {"result": result, "output": result, "previous": _value(run, owner, loop, loop.earlier)}
    return _holds(run, plan.until, Instance.of_item(owner, loop.next - 1), own)


def _holds(run: Run, condition: Template, at: Instance, own: dict[str, Any]) -> bool:
    return bool(run.evaluate(condition, at, own))


def _end_at_limit(run: Run, owner: Instance, loop: LoopState) -> None:
    plan = loop.plan
    if plan is None or plan.may_reach_limit:
        _succeed(run, owner, loop)
    else:
        run.fail(owner, limit_reached(owner.node, plan.max_iterations))


def _succeed(run: Run, owner: Instance, loop: LoopState) -> None:
    """End the loop well. Where no iteration has run, its result is what it was to begin with."""
    initial = loop.plan.initial if loop.plan is not None else None
    if loop.last is not None or owner.node.collects or initial is None:
        run.emit(m.TaskSucceeded(owner.id))
        return
    try:
        raw, blob = run.boxed(run.evaluate_text(initial, owner))
    except ExpressionError as error:
        run.fail(owner, run.as_failure(error))
        return
    run.emit(m.TaskSucceeded(owner.id, raw if blob is None else m.ABSENT, blob))


def reopened(owner: Instance, loop: LoopState) -> None:
    """Set a loop back, so that it goes on at the iteration that failed, or after the last one that it was allowed."""
    owner.due = None
    loop.goes_on = False
    loop.before = loop.next - len(loop.redo)

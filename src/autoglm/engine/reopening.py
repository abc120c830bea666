"""Setting back what failed, so that a run can go on where it went wrong. Part of ``RunState.apply``.

What succeeded keeps its result, inside a failed loop or group too; what hangs on a failed task is done again with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm.engine import repeats
from autoglm.engine.state import UNREAD, Instance, LoopState, Scope
from autoglm.engine.states import TaskStatus

if TYPE_CHECKING:
    from autoglm.engine.run_state import RunState


def reopen_scope(state: RunState, scope: Scope, at: float) -> None:
    """Set back what failed, was cancelled or never came to its turn, and everything that hangs on it."""
    scope.cancelled = False
    scope.failed = []
    again: set[int] = set()
    for local, instance in enumerate(scope.instances):
        if local not in again and (instance is None or not instance.is_final or instance.is_failure):
            again |= _below(scope, local)
    for local in again:
        instance = scope.instances[local]
        if instance is not None and instance.status is not TaskStatus.PENDING:
            _set_back(state, instance, at)
    for local, node in enumerate(scope.plan.nodes):
        met = (scope.instances[edge.upstream] for edge in node.edges)
        scope.unmet[local] = sum(1 for upstream in met if upstream is None or not upstream.is_final)
        instance = scope.instances[local]
        if local in again and scope.unmet[local] == 0 and (instance is None or instance.status is TaskStatus.PENDING):
            state.unblock(scope.instance(local))
    if scope.left == 0:  # all of it had succeeded when it was told to stop
        state.ended(scope.owner)


def _below(scope: Scope, local: int) -> set[int]:
    found = {local}
    stack = [local]
    while stack:
        for successor in scope.plan.nodes[stack.pop()].successors:
            if successor not in found:
                found.add(successor)
                stack.append(successor)
    return found


def _set_back(state: RunState, instance: Instance, at: float) -> None:
    """Make a final instance pending again; a loop or a group that failed keeps what succeeded inside it."""
    keep = instance.is_failure and instance.is_composite
    instance.scope.left += 1
    _move_back(state, instance, at)
    if not keep:
        if instance.child is not None:
            state.forget(instance.child)
        instance.loop = instance.child = None
        return
    state.begin(instance, at)
    if instance.child is not None:
        reopen_scope(state, instance.child, at)
        state.set_deadline(instance, at)
    if instance.loop is not None:
        _reopen_loop(state, instance, instance.loop, at)


def _move_back(state: RunState, instance: Instance, at: float) -> None:
    state.move(instance, TaskStatus.PENDING, at)
    instance.attempts_before = instance.attempt
    instance.result = instance.output = instance.collected = instance.failure = instance.reason = None
    instance.stopping = instance.first_at = instance.ended_at = None
    instance.upstream_failed = instance.queued = False
    instance.value = UNREAD


def _reopen_loop(state: RunState, owner: Instance, loop: LoopState, at: float) -> None:
    loop.cancelled = False
    loop.first_failure = None
    loop.redo = sorted(loop.kept, reverse=True)
    loop.retries.clear()
    loop.reading = False
    for item in loop.kept.values():
        if item.status is not TaskStatus.PENDING:  # else its turn has not come since it was last set back
            _move_back(state, item, at)
    if loop.plan is not None:
        repeats.reopened(owner, loop)
    if loop.is_done:
        state.ended(owner)
    elif loop.has_next or not loop.exhausted:
        state.ready(owner)

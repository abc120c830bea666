"""Setting back what is to be done again, so that a run can go on from there. Part of ``RunState.apply``.

What failed is set back, what was asked for, and what hangs on either; everything else keeps its result, inside a
failed loop or group too. A loop's item is a unit: nothing inside of one that succeeded is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from autoglm.engine import forgetting, repeats, standing_in, undoing
from autoglm.engine.state import UNREAD, Instance, LoopState, Scope
from autoglm.engine.states import TaskStatus
from autoglm.graph.model import ScopePlan

if TYPE_CHECKING:
    from autoglm.engine.run_state import RunState


class Choice:
    """What of a task was asked for: all of it, some of its items, or something inside of it (a group)."""

    __slots__ = ("inner", "items", "whole")

    def __init__(self) -> None:
        self.whole = False
        self.items: set[int] = set()
        self.inner: Chosen = {}


Chosen = dict[int, Choice]
"""What was asked for in a scope, by local index."""
NOTHING: Chosen = {}


def choose(plan: ScopePlan, tasks: Iterable[str]) -> Chosen:
    """Return what the ids and paths ``tasks`` mean, below the scope of ``plan``; what does not exist is left out.

    ``outer.inner`` is a task inside a group, ``clean[12]`` an item, ``each[3].inner`` the item it lies in. A path that
    leads into a loop means the whole loop.
    """
    chosen: Chosen = {}
    for task in tasks:
        _choose(plan, chosen, task.split("."))
    return chosen


def _choose(plan: ScopePlan, chosen: Chosen, parts: list[str]) -> None:
    name, _, number = parts[0].partition("[")
    local = plan.names.get(name)
    if local is None:
        return
    node = plan.nodes[local]
    choice = chosen.setdefault(local, Choice())
    if number:
        choice.items.add(int(number.rstrip("]")))
    elif len(parts) == 1 or node.loop is not None or node.body is None or node.choose is not None:
        choice.whole = True
    else:
        _choose(node.body, choice.inner, parts[1:])


def reopen_scope(state: RunState, scope: Scope, at: float, chosen: Chosen = NOTHING) -> None:
    """Set back what was chosen, what failed, was cancelled or never came to its turn, and what hangs on any of it."""
    scope.cancelled = False
    scope.failed = []
    scope.undoing = None
    forgetting.forget_end(state, scope)
    again = below(scope.plan, [*unfinished(scope), *chosen])
    for local in again:
        instance = scope.instances[local]
        if instance is not None and instance.status is not TaskStatus.PENDING:
            set_back(state, instance, at, chosen.get(local), is_below=_is_below(scope, local, again))
    scope.done = [instance for instance in scope.done if undoing.still_stands(instance)]
    unblock(state, scope, again)


def unfinished(scope: Scope) -> Iterable[int]:
    """Yield what failed in a scope, was cancelled or never came to its turn."""
    for local, instance in enumerate(scope.instances):
        if scope.chosen not in (None, local):
            continue
        if instance is None or not instance.is_final or must_go_again(instance):
            yield local


def below(plan: ScopePlan, locals_: Iterable[int]) -> set[int]:
    """Return the given tasks of a scope and everything that hangs on them."""
    found = set(locals_)
    stack = list(found)
    while stack:
        for successor in plan.nodes[stack.pop()].successors:
            if successor not in found:
                found.add(successor)
                stack.append(successor)
    return found


def _is_below(scope: Scope, local: int, again: set[int]) -> bool:
    return any(edge.upstream in again for edge in scope.plan.nodes[local].edges)


def unblock(state: RunState, scope: Scope, again: set[int]) -> None:
    """Count anew what the tasks of a scope wait for, and let those go on that wait for nothing."""
    scope.left = sum(
        1
        for local, instance in enumerate(scope.instances)
        if scope.chosen in (None, local) and (instance is None or not instance.is_final)
    )
    for local, node in enumerate(scope.plan.nodes):
        met = (scope.instances[edge.upstream] for edge in node.edges)
        scope.unmet[local] = sum(1 for upstream in met if upstream is None or not upstream.is_final)
        instance = scope.instances[local]
        if local in again and scope.unmet[local] == 0 and (instance is None or instance.status is TaskStatus.PENDING):
            state.unblock(scope.instance(local))
    if scope.left == 0:  # all of it had succeeded when it was told to stop
        state.ended(scope.owner)


def must_go_again(instance: Instance) -> bool:
    """Return whether what an instance did does not stand: it failed, was cancelled, or was undone."""
    return instance.is_failure or instance.status is TaskStatus.ROLLED_BACK


def clear_scope(state: RunState, scope: Scope) -> None:
    """Set back everything in a scope that is opened anew, if at all, whatever came of it."""
    scope.cancelled = False
    scope.failed, scope.done, scope.undoing = [], [], None
    for instance in scope.instances:
        if instance is not None and instance.status is not TaskStatus.PENDING:
            forgetting.unlist(state, instance)
            _wipe(state, instance)
            forgetting.forget_below(state, instance)
    scope.unmet = list(scope.plan.unmet)
    scope.left = len(scope.plan.nodes)
    scope.active = 0


def keeps_parts(instance: Instance, choice: Choice | None, *, is_below: bool) -> bool:
    """Return whether a loop or a group that is set back keeps what succeeded inside it."""
    if is_below or not instance.is_composite or (choice is not None and choice.whole):
        return False
    loop = instance.loop
    if loop is not None and loop.plan is not None and loop.undone:
        return False
    if choice is None:
        return must_go_again(instance)
    if loop is not None and (loop.source is not None or loop.plan is not None):  # their items do not stand alone
        return choice.items <= loop.kept.keys()
    return True


def set_back(state: RunState, instance: Instance, at: float, choice: Choice | None, *, is_below: bool) -> None:
    """Make a final instance pending again; a loop or a group may keep what succeeded inside it."""
    keep = keeps_parts(instance, choice, is_below=is_below)
    failed = instance.is_failure and instance.is_composite
    _move_back(state, instance, at)
    if not keep:
        if failed and instance.node.undoable:
            instance.lives += 1
        forgetting.forget_below(state, instance)
        return
    state.begin(instance, at)
    if instance.child is not None:
        state.remember(instance.child)
        reopen_scope(state, instance.child, at, choice.inner if choice is not None else NOTHING)
        state.set_deadline(instance, at)
    if instance.loop is not None:
        _reopen_loop(state, instance, instance.loop, at, choice.items if choice is not None else set())


def _move_back(state: RunState, instance: Instance, at: float) -> None:
    instance.lives += instance.status is TaskStatus.ROLLED_BACK
    state.move(instance, TaskStatus.PENDING, at)
    _wipe(state, instance)


def _wipe(state: RunState, instance: Instance) -> None:
    """Forget what came of an instance, and what was done in its stead or to undo it."""
    standing_in.set_back(state, instance)
    undoing.set_back(state, instance.undo)
    instance.attempts_before = instance.attempt
    instance.result = instance.output = instance.collected = instance.failure = instance.reason = None
    instance.stopping = instance.first_at = instance.started_at = instance.ended_at = None
    instance.upstream_failed = instance.queued = False
    instance.value = UNREAD


def _reopen_loop(state: RunState, owner: Instance, loop: LoopState, at: float, items: set[int]) -> None:
    loop.cancelled = False
    loop.first_failure = None
    asked = {index for index in items if index < loop.next}
    loop.redo = sorted(asked | loop.kept.keys(), reverse=True)
    loop.retries.clear()
    loop.reading = False
    for index in asked:
        kept = loop.kept.get(index)
        if kept is None:
            forgetting.forget_item(state, owner, loop, index)
        else:  # one that failed keeps only itself
            forgetting.forget_below(state, kept)
    for item in loop.kept.values():
        if item.status is not TaskStatus.PENDING:  # else its turn has not come since it was last set back
            _move_back(state, item, at)
    if loop.plan is not None:
        repeats.reopened(owner, loop)
    if loop.is_done:
        state.ended(owner)
    elif loop.has_next or not loop.exhausted:
        state.ready(owner)
        state.unfed.append(owner)

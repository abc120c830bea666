"""What lies inside a loop or a group that is done anew: it no longer counts, and its rows are dropped.

A finished item leaves memory with everything inside it. What was inside is remembered as a tally, one that neighbours
share, so that a loop of many groups can be forgotten without having kept them. Part of ``RunState.apply``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm.engine.state import Instance, LoopState, Scope
from autoglm.engine.states import TaskStatus, step

if TYPE_CHECKING:
    from autoglm.engine.run_state import RunState

Tally = dict[TaskStatus, int]


def forget_below(state: RunState, instance: Instance) -> None:
    """Take what lies below an instance out of the counts, and drop its rows."""
    if instance.child is None and instance.loop is None:
        return
    below: Tally = {}
    _count_below(instance, below)
    _take_out(state, below)
    state.dropped += [f"{instance.id}.", f"{instance.id}["]
    if instance.child is not None:
        state.forget(instance.child)
    instance.loop = instance.child = None


def forget_end(state: RunState, scope: Scope) -> None:
    """Do the same with what ran at the end of a call that goes on."""
    if scope.end is None:
        return
    for section in scope.end.sections.values():
        below: Tally = {}
        _count_in(section, below)
        _take_out(state, below)
        state.dropped.append(section.prefix)
    state.forget(scope)
    state.remember(scope)
    scope.end = None


def unlist(state: RunState, instance: Instance) -> None:
    """Make pending what is called anew, if at all: until then it has no row."""
    if instance.number:
        if not instance.is_beside:
            state.counts[instance.status] -= 1
        state.touched.pop(instance.number, None)
        state.dropped.append(instance.id)
    instance.number = 0
    instance.status = step(instance.id, instance.status, TaskStatus.PENDING)


def forget_item(state: RunState, owner: Instance, loop: LoopState, index: int) -> None:
    """Do the same with an item that succeeded or was skipped, and with the item itself."""
    succeeded = index < len(loop.results) and loop.results[index] is not None
    tally: Tally = {TaskStatus.SUCCEEDED if succeeded else TaskStatus.SKIPPED: 1}
    if succeeded:
        loop.results[index] = None
    else:
        loop.skips -= 1
    if index < len(loop.inside):
        _add(tally, loop.inside[index])
        loop.inside[index] = ()
    _take_out(state, tally)
    state.dropped.append(f"{owner.id}[{index}]")


def note_inside(loop: LoopState, item: Instance) -> None:
    """Remember how much was inside an item that leaves memory."""
    if item.child is None or item.index is None:
        return
    below: Tally = {}
    _count_below(item, below)
    tally = tuple(sorted(below.items()))
    inside = loop.inside
    if inside and inside[-1] == tally:
        tally = inside[-1]
    inside.extend(() for _ in range(item.index + 1 - len(inside)))
    inside[item.index] = tally


def _take_out(state: RunState, tally: Tally) -> None:
    for status, count in tally.items():
        state.counts[status] -= count


def _count_below(instance: Instance, tally: Tally) -> None:
    if instance.child is not None:
        _count_in(instance.child, tally)
    loop = instance.loop
    if loop is None:
        return
    for item in (*loop.open.values(), *loop.kept.values()):
        _count(item, tally)
    owed = sum(1 for index in loop.redo if index not in loop.kept)
    gone = loop.next - owed - len(loop.kept) - len(loop.open)
    _add(tally, ((TaskStatus.SUCCEEDED, gone - loop.skips), (TaskStatus.SKIPPED, loop.skips)))
    for inside in loop.inside:
        _add(tally, inside)


def _count_in(scope: Scope, tally: Tally) -> None:
    for inner in scope.instances:
        if inner is not None:
            _count(inner, tally)
    for section in scope.end.sections.values() if scope.end is not None else ():
        _count_in(section, tally)


def _count(instance: Instance, tally: Tally) -> None:
    if instance.number:
        _add(tally, ((instance.status, 1),))
    _count_below(instance, tally)


def _add(tally: Tally, counts: tuple[tuple[TaskStatus, int], ...]) -> None:
    for status, count in counts:
        if count:
            tally[status] = tally.get(status, 0) + count

"""Going on by a changed definition: what did not change keeps its results. Functions of the machine and its state.

1. What runs, and has changed, has gone, or hangs on either, is given up first (``give_up``): events that say so.
2. ``DefinitionChanged`` then puts the tasks of the new graph in the places of those of the old, by their names, and
   sets back what it lists, with all that hangs on it (``adopt``). Nothing else is touched: attempts that run go on.
3. A group that runs or has ended keeps what is unchanged inside it when only its inside is listed. A loop does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from autoglm.engine import forgetting, groups, parcels, undoing
from autoglm.engine import messages as m
from autoglm.engine.parcels import Done
from autoglm.engine.reopening import Chosen, below, choose, set_back, unblock
from autoglm.engine.state import Instance, Scope
from autoglm.engine.states import RunStatus, TaskStatus
from autoglm.graph.model import Graph, Node, ScopePlan

if TYPE_CHECKING:
    from autoglm.engine.machine import Run
    from autoglm.engine.run_state import RunState

REASON = "its definition changed"


def give_up(run: Run, graph: Graph, redo: Iterable[str]) -> None:
    """End whatever has begun and not ended, and will have changed or gone in ``graph``."""
    _give_up_in(run, run.root, graph.root, choose(graph.root, redo))


def _give_up_in(run: Run, scope: Scope, plan: ScopePlan, chosen: Chosen) -> None:
    names = {node.name: node for node in plan.nodes}
    again = below(plan, chosen)
    for instance in scope.instances:
        if instance is None or instance.is_final or instance.status is TaskStatus.PENDING:
            continue
        node = names.get(instance.node.name)
        if node is None:
            _end(run, instance)
        elif node.local in again:
            if instance.child is not None and node.body is not None and _is_inside(node, chosen, again):
                _give_up_in(run, instance.child, node.body, chosen[node.local].inner)
            else:
                _end(run, instance)


def _is_inside(node: Node, chosen: Chosen, again: set[int]) -> bool:
    """Return whether only something inside a group is to be done again, not the group from its beginning."""
    choice = chosen.get(node.local)
    if choice is None or choice.whole or choice.items:
        return False
    return not any(edge.upstream in again for edge in node.edges)


def _end(run: Run, instance: Instance) -> None:
    """Give up an instance that has begun, what is inside it or stands in for it first."""
    if instance.is_replaced and instance.stand_in is not None:
        _end(run, instance.stand_in.work)
    if instance.loop is not None:
        for item in list(instance.loop.open.values()):
            _end(run, item)
    if instance.child is not None:
        for inner in instance.child.instances:
            if inner is not None and not inner.is_final and inner.status is not TaskStatus.PENDING:
                _end(run, inner)
    if instance.id in run.attempts:
        run.emit(m.AttemptCancelled(instance.id, instance.attempt, REASON))
    else:
        run.emit(m.TaskCancelled(instance.id))


def adopt(state: RunState, event: m.DefinitionChanged, graph: Graph, at: float) -> None:
    """Take ``graph`` for the run's own, and set back what the event lists. Part of ``apply``."""
    if state.created is not None:
        state.created = msgspec.structs.replace(
            state.created,
            definition=event.definition,
            inputs=event.inputs,
            secret_inputs=event.secret_inputs,
            secret_defaults=event.secret_defaults,
            config=event.config,
            env=event.env,
        )
    state.spell_out()
    _rebind(state, graph, state.root, graph.root)
    for scope in state.sections.values():  # they run anew
        for instance in scope.instances:
            if instance is not None:
                _drop(state, instance)
    state.sections.clear()
    for scope in (*(scope for _, scope in undoing.scopes_within(state.root)), *state.left_over):
        scope.done = [instance for instance in scope.done if _rebind_done(state, graph, instance)]
    waiting = state.take_graph(graph)
    if state.is_final:  # it is reopened next, which does the rest
        return
    redone: set[int] = set()
    _redo(state, state.root, choose(graph.root, event.redo), at, redone)
    state.decide_of(is_there)
    for number, instance in list(state.touched.items()):  # given up just now, and dropped with what it lay in
        if not is_there(instance):
            del state.touched[number]
    for instance in waiting:
        is_called_off = instance.stands_for is not None and not instance.stands_for.is_replaced
        if id(instance) not in redone and is_there(instance) and not is_called_off:
            state.ready(instance)


def can_adopt(state: RunState) -> bool:
    """Return whether a run may go on by another definition: not while it, or a part of it, comes to its end."""
    if state.is_final:
        return True
    is_at_end = state.ending is not None or state.ends or state.undos
    return state.status is not RunStatus.CANCELLING and not is_at_end


def is_there(instance: Instance) -> bool:
    """Return whether an instance still has its place in the run, and whatever it lies in too."""
    for at in instance.path():
        held = at.scope.instances[at.node.local] if at.node.local < len(at.scope.instances) else None
        if at.index is not None:
            loop = None if held is None else held.loop
            held = None if loop is None else loop.open.get(at.index) or loop.kept.get(at.index)
        if held is not at or not at.scope.is_in_place:
            return False
    return True


def _rebind(state: RunState, graph: Graph, scope: Scope, plan: ScopePlan) -> None:
    """Put the tasks of ``plan`` in the places of those of the same names."""
    known = {instance.node.name: instance for instance in scope.instances if instance is not None}
    if scope.chosen is not None:
        scope.chosen = plan.names.get(scope.plan.nodes[scope.chosen].name)
    if scope.opens_frame and scope.frame is not None and scope.frame.callee.key in graph.callees:
        scope.frame.callee = graph.callees[scope.frame.callee.key]
        scope.frame.values = None
    _rebind_end(state, graph, scope)
    scope.plan = plan
    scope.instances = [known.pop(node.name, None) for node in plan.nodes]
    for gone in known.values():
        _drop(state, gone)
    for node, instance in zip(plan.nodes, scope.instances, strict=True):
        if instance is not None:
            _rebind_instance(state, graph, instance, node)
    ends = [instance is not None and instance.is_final for instance in scope.instances]
    scope.left = ends.count(False) if scope.chosen is None else int(not ends[scope.chosen])
    scope.unmet = [sum(1 for edge in node.edges if not ends[edge.upstream]) for node in plan.nodes]


def _rebind_end(state: RunState, graph: Graph, scope: Scope) -> None:
    """Do the same with what ran at the end of a call."""
    for name, section in scope.end.sections.items() if scope.end is not None and scope.frame is not None else ():
        plan = scope.frame.callee.sections.get(name)  # type: ignore[union-attr]
        if plan is not None:  # else the called file has changed, and the call is done again
            _rebind(state, graph, section, plan)


def _rebind_instance(state: RunState, graph: Graph, instance: Instance, node: Node) -> None:
    instance.node = node
    if instance.stand_in is not None and node.fallback is not None:
        instance.stand_in.work.node = node.fallback
    plan = groups.plan_of(graph, instance)
    if (instance.child is not None and plan is None) or (instance.loop is not None and node.loop is None):
        forgetting.forget_below(state, instance)  # it is another kind of task now, and is done again
    if instance.child is not None and plan is not None:
        _rebind(state, graph, instance.child, plan)
    loop = instance.loop
    if loop is not None and node.loop is not None:
        loop.plan = node.loop.repeat
        for item in (*loop.open.values(), *loop.kept.values()):
            _rebind_instance(state, graph, item, node)


def _rebind_done(state: RunState, graph: Graph, done: Done) -> bool:
    """Put the task of ``graph`` in place for what completed and may have left memory; False when nothing undoes it."""
    if isinstance(done, Instance):
        return _rebind_path(state, graph, done) and _has_undo(done)
    if done.parcel.item is not None:
        instance = parcels.found(done)
        return instance is not None and _rebind_path(state, graph, instance) and _has_undo(instance)
    owner = done.parcel.owner
    if not _rebind_path(state, graph, owner):
        return False
    node, plan = owner.node, groups.plan_of(graph, owner)
    for name in done.path.split("."):
        local = None if plan is None else plan.names.get(name)
        if plan is None or local is None:
            return False
        node = plan.nodes[local]
        callee = graph.callees.get(node.callee or "")
        plan = node.body if callee is None else callee.plan
    return node.rollback is not None


def _rebind_path(state: RunState, graph: Graph, instance: Instance) -> bool:
    """Put the tasks of ``graph`` in place for an instance and what it lies in; False when it is no more."""
    for at in reversed(list(instance.path())):
        local = at.scope.plan.names.get(at.node.name)
        if local is None:
            return False
        at.node = at.scope.plan.nodes[local]
        plan = groups.plan_of(graph, at)
        if at.child is not None and plan is not None and at.child.plan is not plan:
            _rebind(state, graph, at.child, plan)
    return True


def _has_undo(instance: Instance) -> bool:
    """Return whether something undoes an instance, and let what has begun to go by it."""
    rollback = instance.node.rollback
    if instance.undo is not None and rollback is not None:
        instance.undo.node = rollback
    return rollback is not None


def _drop(state: RunState, instance: Instance) -> None:
    """Forget a task that is no more."""
    forgetting.forget_below(state, instance)
    beside = [instance.undo, None if instance.stand_in is None else instance.stand_in.work]
    state.dropped += [each.id for each in beside if each is not None]
    if instance.number:
        state.counts[instance.status] -= 1
        state.dropped.append(instance.id)


def _redo(state: RunState, scope: Scope, chosen: Chosen, at: float, redone: set[int]) -> None:
    """Set back what was chosen in a scope and all that hangs on it; note it in ``redone``."""
    again = below(scope.plan, chosen)
    for local in again:
        instance = scope.instances[local]
        if instance is None:
            continue
        choice = chosen.get(local)
        redone.add(id(instance))
        if instance.is_final:
            is_below = any(edge.upstream in again for edge in scope.plan.nodes[local].edges)
            set_back(state, instance, at, choice, is_below=is_below)
        elif (
            instance.child is not None and choice is not None and not choice.whole
        ):  # it runs, and only something inside has changed
            _redo(state, instance.child, choice.inner, at, redone)
    scope.failed = [name for name in scope.failed if _has_failed(scope, name)]
    scope.done = [instance for instance in scope.done if undoing.still_stands(instance)]
    unblock(state, scope, again)


def _has_failed(scope: Scope, name: str) -> bool:
    local = scope.plan.names.get(name)
    instance = None if local is None else scope.instances[local]
    return instance is not None and instance.is_failure

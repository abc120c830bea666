"""Everything that counts as a run's state, as plain data: what replay must give again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autoglm.engine import standing_in, undoing
from autoglm.engine.run_state import RunState
from autoglm.engine.state import Held, Instance, LoopState, Scope
from autoglm.engine.states import TaskStatus


def snapshot(run: RunState) -> dict[str, Any]:
    """Return everything that counts as state, as plain data: two runs are equal when these are."""
    return {
        "status": str(run.status),
        "paused": run.pause_reason,
        "cancelled": run.cancel_reason,
        "definition": None if run.created is None else run.created.definition.digest,
        "outputs": run.outputs,
        "failure": run.failure,
        "spent": run.spent.snapshot(),
        "keyed": run.keyed,
        "counts": {str(status): count for status, count in run.counts.items() if count},
        "running": sorted(run.attempts),
        "pools": [sorted(holders) for holders in run.slots],
        "questions": sorted(run.questions),
        "signals": {name: sorted(waiting) for name, waiting in sorted(run.signals.items())},
        "tasks": dict(_describe(run.root)),
        "ending": None if run.ending is None else run.ending.snapshot(),
        "ends": dict(_ends(run)),
        "sections": {name: dict(_describe(scope)) for name, scope in run.sections.items()},
        "stand_ins": sorted(run.stand_ins),
        "undo": (run.completed, sorted(run.undos), run.stuck, dict(_remembered(run.root)), _standing(run)),
    }


def _describe(scope: Scope) -> Iterator[tuple[str, Any]]:
    for instance in scope.instances:
        if instance is not None and (instance.status is not TaskStatus.PENDING or instance.is_composite):
            yield from _describe_instance(instance)


def _describe_instance(instance: Instance) -> Iterator[tuple[str, Any]]:
    loop = instance.loop
    yield (
        instance.id,
        (
            str(instance.status), instance.number, instance.attempt, instance.stopping, instance.result,
            instance.output, instance.failure, instance.reason, instance.due, instance.started_at,
            instance.ended_at, instance.deadline, _held(instance.held), standing_in.snapshot(instance),
            None if instance.child is None else instance.child.chosen,
            instance.recovered, None if loop is None else _loop(loop),
        ),
    )  # fmt: skip
    if instance.stand_in is not None:
        yield from _describe_instance(instance.stand_in.work)
    if instance.undo is not None:
        yield from _describe_instance(instance.undo)
    if instance.child is not None:
        yield from _describe(instance.child)
        end = instance.child.end
        for section in end.sections.values() if end is not None else ():
            yield from _describe(section)
    if loop is not None:
        for item in [*loop.open.values(), *loop.kept.values()]:
            yield from _describe_instance(item)


def _ends(run: RunState) -> Iterator[tuple[str, Any]]:
    for task, call in sorted(run.ends.items()):
        if call.child is not None and call.child.end is not None:
            yield task, call.child.end.snapshot()


def _loop(loop: LoopState) -> tuple[Any, ...]:
    inside = [[(str(status), count) for status, count in each] for each in loop.inside]
    return (
        loop.next, loop.count, loop.exhausted, loop.last, loop.earlier, loop.before, loop.skips, inside,
        sorted(loop.aside), loop.results,
    )  # fmt: skip


def _held(held: Held | None) -> tuple[Any, ...] | None:
    return None if held is None else (held.reason, held.memo, held.spent, dict(held.steps), held.question)


def _remembered(root: Scope) -> Iterator[tuple[str, Any]]:
    """Yield what the scopes that are in memory remember of what can be undone."""
    return ((prefix, undoing.snapshot(scope)) for prefix, scope in undoing.scopes_within(root))


def _standing(run: RunState) -> list[Any]:
    """Return the ids and numbers of what is still to be undone, or would be if everything was given up."""
    scopes = {id(scope): scope for _, scope in undoing.scopes_within(run.root)}
    scopes |= {id(scope): scope for scope in run.left_over}
    return sorted((each.id, each.number) for scope in scopes.values() for each in undoing.remembered(scope))

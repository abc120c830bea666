"""Loops: what they go over, whose turn it is, how they end. Functions of the machine, kept apart for reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from autoglm.base.errors import Failure
from autoglm.engine import groups, parking, repeats, stopping
from autoglm.engine import messages as m
from autoglm.engine.state import Instance, Items, LoopState, Matrix
from autoglm.engine.states import TaskStatus
from autoglm.engine.values import loop_failed
from autoglm.graph.model import NodeKind
from autoglm.spec.expressions import ExpressionError
from autoglm.spec.faults import kind_of

if TYPE_CHECKING:
    from autoglm.engine.machine import Run

OPEN_ITEMS: Final = 1024
"""How many items may be open (running, or waiting for a retry) at once, unless ``max_parallel`` asks for more."""
OPEN_ASIDE: Final = 65_536
"""The same, those counted that are parked aside: what a provider takes as one batch, and some more."""
OPEN_GROUPS: Final = 64
"""The same for loops over a group that do not say ``max_parallel``."""
LOW, CHUNK = 256, 512
"""When fewer than ``LOW`` items of a source are at hand, ``CHUNK`` more are read."""


def start(run: Run, instance: Instance) -> None:
    """Begin a loop: find out what it goes over."""
    plan = instance.node.loop
    if plan is None:
        return
    try:
        if plan.repeat is not None:
            run.emit(m.LoopStarted(instance.id))
        elif plan.file is not None:
            source = run.evaluate(plan.file, instance)
            if not isinstance(source, str):
                message = f"`loop.file` must give the path of a file, and it gives {kind_of(source)}"
                raise ExpressionError(message, code="loop-not-a-list")
            run.emit(m.LoopStarted(instance.id, None, source))
        else:
            found = _items(run, instance)
            run.emit(m.LoopStarted(instance.id, len(found)))
            if instance.loop is not None:
                instance.loop.items = found
    except ExpressionError as error:
        run.fail(instance, run.as_failure(error))
        return
    pump(run, instance)


def items(run: Run, owner: Instance) -> Sequence[Any] | Items:
    """Return what a started loop goes over; after a replay it is worked out again from the same facts."""
    loop = owner.loop
    if loop is None:
        return ()
    if loop.items is None:
        loop.items = _items(run, owner)
    return loop.items


def _items(run: Run, instance: Instance) -> Sequence[Any] | Items:
    plan = instance.node.loop
    if plan is None:
        return ()
    if plan.matrix is not None:
        return Matrix({axis: _listed(run.evaluate_items(values, instance)) for axis, values in plan.matrix.items()})
    return _listed(run.evaluate_items(plan.over, instance)) if plan.over is not None else ()


def _listed(value: Any) -> Sequence[Any]:
    if isinstance(value, list | tuple | range):
        return value
    kind = {str: "a text", type(None): "nothing"}.get(type(value), kind_of(value))
    message = f"a loop goes over a list, and this is {kind}"
    hint = "write `| list`, or `| dictsort` for pairs" if isinstance(value, dict) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        hint = f"to count up to it write `range({value})`"
    raise ExpressionError(message, code="loop-not-a-list", hint=hint)


def may_start_item(owner: Instance) -> bool:
    """Return whether the loop has an item to start and its own limits allow it."""
    loop = owner.loop
    plan = owner.node.loop
    if loop is None or plan is None or not loop.has_next or owner.stopping is not None:
        return False
    if owner.node.kind is NodeKind.WAIT:  # what waits costs its state alone
        return True
    limit = plan.max_parallel
    if owner.node.opens_scope:
        return len(loop.open) < (limit or OPEN_GROUPS)
    if limit is not None and len(loop.running) >= limit:
        return False
    if loop.retries:
        return True
    counted = len(loop.open) - len(loop.aside)
    return counted < (OPEN_ITEMS if limit is None else max(OPEN_ITEMS, 2 * limit)) and len(loop.open) < OPEN_ASIDE


def start_item(run: Run, owner: Instance) -> None:
    """Start what is next in a loop: a retry that is due, or an item, which is skipped when its condition is false."""
    loop = owner.loop
    if loop is None:
        return
    if loop.retries:
        item = loop.retries.popleft()
        if item.status is TaskStatus.RETRYING:
            run.start_attempt(item)
        elif parking.is_due(item, run.now):
            parking.go_on(run, item)
        return
    index = loop.redo[-1] if loop.redo else loop.next
    item = (loop.kept.get(index) if loop.redo else None) or run.make_item(owner, index)
    if owner.node.when_each and not run.condition_holds(item):
        return
    if owner.node.opens_scope:
        groups.start(run, item)
    else:
        run.start_attempt(item)


def close(run: Run, owner: Instance, loop: LoopState) -> None:
    """End a loop whose items have ended."""
    plan = owner.node.loop
    if plan is None:
        return
    is_between = loop.plan is not None and loop.cancelled and not loop.kept  # stopped where none of it ran
    if owner.stopping == "cancelled" or (loop.cancelled and owner.stopping is None) or is_between:
        run.emit(m.TaskCancelled(owner.id))
        return
    if owner.stopping == "source_failed" and owner.failure is not None:
        run.fail(owner, owner.failure)
        return
    if loop.plan is not None:
        repeats.close(run, owner, loop)
        return
    total = loop.next if loop.size is None else loop.size
    share = 1.0 if total == 0 else (total - len(loop.kept)) / total
    if owner.stopping == "fail_fast" or share + 1e-9 < plan.min_success:
        run.fail(owner, loop_failed(loop, total, plan.min_success))
    else:
        run.emit(m.TaskSucceeded(owner.id))


# ------------------------------------------------------------------------------------------------------------ sources


def _read(owner: Instance, loop: LoopState) -> m.ReadItems | None:
    """Return the read that a loop over a source needs now, if any."""
    if loop.source is None or loop.exhausted or loop.cancelled or loop.count - loop.next >= LOW:
        return None
    return m.ReadItems(owner.id, owner.node.index, loop.source, loop.count, CHUNK)


def pump(run: Run, owner: Instance) -> None:
    """Ask for more items before they run out; one request at a time."""
    loop = owner.loop
    if loop is None or loop.reading or owner.status is not TaskStatus.RUNNING:
        return
    command = _read(owner, loop)
    if command is not None:
        loop.reading = True
        run.command(command)


def reads_owed(active: Sequence[Instance]) -> Iterator[m.ReadItems]:
    """Yield the reads that a recovered run owes, and note that they are under way."""
    for owner in active:
        if owner.loop is not None and owner.stopping is None:
            command = _read(owner, owner.loop)
            if command is not None:
                owner.loop.reading = True
                yield command


def items_arrived(run: Run, owner: Instance | None, news: m.ItemsArrived) -> None:
    """Take in what was read."""
    if owner is None or owner.loop is None or owner.loop.cancelled or news.first != owner.loop.count:
        return
    run.emit(m.ItemsRead(news.task, news.first, news.items, news.last))
    pump(run, owner)


def items_failed(run: Run, owner: Instance | None, failure: Failure) -> None:
    """End a loop whose source cannot be read; what runs of it is stopped first."""
    if owner is None or owner.loop is None or owner.stopping is not None:
        return
    if owner.loop.open:
        stopping.stop(run, owner, "source_failed", failure)
    else:
        run.fail(owner, failure)

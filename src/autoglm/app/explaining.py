"""Why a task of a run ran, was skipped, waits, is tried again or failed.

Told from a run replayed from its journal, which nobody need drive and which may be going on elsewhere: nothing is
written, and no lease is taken. What templates read is told without secrets.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from autoglm.app import decided
from autoglm.app.culprits import failed_part, is_tolerated
from autoglm.app.decided import Decided
from autoglm.app.operands import Operand, hide_secrets, operands, rule_operands
from autoglm.base.errors import Failure
from autoglm.engine import undoing
from autoglm.engine.joins import outcome
from autoglm.engine.machine import Run
from autoglm.engine.state import Instance, LoopState, Scope
from autoglm.engine.states import FAILURES, TaskStatus
from autoglm.graph.model import Node, NodeKind, ScopePlan

SHOWN = 5
_DEPTH = 50
_S = TaskStatus


class Link(msgspec.Struct, frozen=True):
    """A step towards the root cause: a task, how it stands, and why."""

    task: str
    status: str
    why: str
    tolerated: bool = False
    """It failed, and what it belongs to goes on all the same."""


class Wait(msgspec.Struct, frozen=True):
    """What a task waits for: ``upstream``, ``pool``, ``run``, ``time`` or ``parked``."""

    what: str
    name: str = ""
    limit: int | None = None
    holders: list[str] = []
    """Who has the slots; the first few."""
    due: float | None = None
    reason: str = ""


class Items(msgspec.Struct, frozen=True):
    """How the items of a loop stand; ``total`` is None while nobody knows."""

    total: int | None
    ended: int
    open: int
    failed: int
    skipped: int
    first_failed: list[Link]


class TaskStory(msgspec.Struct, frozen=True):
    """Why a task stands as it does."""

    task: str
    status: str
    attempts: int
    summary: str
    condition: str | None = None
    operands: list[Operand] = []
    upstreams: list[Link] = []
    causes: list[Link] = []
    """From what caused it directly to the root cause."""
    waits: list[Wait] = []
    items: Items | None = None
    failure: dict[str, Any] | None = None
    next_attempt: float | None = None
    max_attempts: int = 1
    notes: list[str] = []
    """What else there is to say, each in a line of its own."""


def find_instance(run: Run, task: str) -> Instance | None:
    """Return an instance that is in memory, finished or not; items that succeeded are not."""
    scope: Scope | None = run.root
    sections = run.sections
    found: Instance | None = None
    of, _, beside = task.partition("~")
    for part in of.split("."):
        name, bracket, number = part.partition("[")
        if scope is None:
            return None
        local = scope.plan.names.get(name)
        if local is None and name in sections:
            scope, found = sections[name], None
            continue
        if local is None:
            return None
        found = scope.instance(local) if not bracket else scope.instances[local]
        if bracket:
            loop = None if found is None else found.loop
            index = int(number[:-1]) if number[:-1].isdecimal() else -1
            found = None if loop is None else loop.open.get(index) or loop.kept.get(index)
        scope = None if found is None else found.child
        sections = {} if scope is None or scope.end is None else scope.end.sections
    if beside and found is not None:
        stand_in = None if found.stand_in is None else found.stand_in.work
        return found.undo if f"~{beside}" == undoing.SUFFIX else stand_in
    return found


def find_node(run: Run, task: str) -> Node | None:
    """Return what stands in the file for a task instance, in memory or not."""
    plan: ScopePlan | None = run.graph.root
    sections = run.graph.sections
    node: Node | None = None
    of, _, beside = task.partition("~")
    for part in of.split("."):
        name = part.partition("[")[0]
        local = None if plan is None else plan.names.get(name)
        if plan is None or (local is None and name not in sections):
            return None
        if local is None:
            plan, sections = sections[name], {}
            continue
        node = plan.nodes[local]
        callee = None if node.callee is None else run.graph.callees[node.callee]
        plan = node.body if callee is None else callee.plan
        sections = {} if callee is None else callee.sections
    if beside and node is not None:
        return node.rollback if f"~{beside}" == undoing.SUFFIX else node.fallback
    return node


# ----------------------------------------------------------------------------------------------------------------- task


def explain_task(run: Run, instance: Instance) -> TaskStory:
    """Return why a task instance stands as it does."""
    hide_secrets(run)
    node = instance.node
    failure = instance.failure
    causes = list(causes_of(run, instance))
    retry = node.retry
    found = _decided(run, instance)
    return TaskStory(
        task=instance.id,
        status=instance.status.value,
        attempts=instance.attempt,
        summary=_summary(run, instance, causes),
        condition=None if node.task.when is None else str(node.task.when),
        operands=_read(run, instance, found),
        upstreams=[link_to(run, up) for up in _upstreams(instance)],
        causes=causes,
        waits=list(waits_of(run, instance)),
        items=None if instance.loop is None else _items(run, instance.loop),
        failure=None if failure is None else _failure(failure),
        next_attempt=instance.due if instance.status is _S.RETRYING else None,
        max_attempts=retry.max_attempts if retry is not None else 1,
        notes=[] if found is None else decided.more_of(found, node),
    )


def _read(run: Run, instance: Instance, found: Decided | None) -> list[Operand]:
    """Return what its condition read, and what it was decided on."""
    asked = list(operands(run, instance, instance.node.when))
    if found is not None:
        return [*asked, *decided.operands_of(found)]
    return asked if asked or instance.node.when is not None else rule_operands(run, instance)


def _decided(run: Run, instance: Instance) -> Decided | None:
    """Return what a decision came to; None for one that has not been made, and for other tasks."""
    is_made = bool(instance.node.targets) and instance.status in (_S.SUCCEEDED, _S.ROLLED_BACK)
    return decided.read_decision(run.result_of(instance)) if is_made and instance.loop is None else None


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "code": failure.code,
        "message": failure.message,
        "classes": list(failure.classes),
        "retryable": failure.retryable,
        "hint": failure.hint,
    }


def _instead(instance: Instance) -> str:
    """Return what came, or comes, in the stead of a failed task's result."""
    if instance.stand_in is None:
        return "gave its `degrade` value instead"
    work = instance.stand_in.work
    if work.is_final:
        return f"`{work.id}` stood in for it"
    return f"`{work.id}`, which stands in for it, is {work.status}"


def _summary(run: Run, instance: Instance, causes: list[Link]) -> str:
    """Return one sentence that says why."""
    match instance.status:
        case _S.SKIPPED:
            goes_back = len(causes) > 1 or instance.upstream_failed
            return f"it was skipped: {_why_skipped(run, instance)}{_root(causes) if goes_back else ''}"
        case _S.FAILED | _S.TIMEOUT | _S.TERMINATED:
            return _how_it_failed(instance, causes)
        case _S.CANCELLED:
            return f"it was cancelled{': ' + instance.reason if instance.reason else ''}{_root(causes)}"
        case _S.SUCCEEDED | _S.ROLLED_BACK:
            return f"{_why_it_ran(run, instance)}{_undone(instance)}"
        case _S.RUNNING | _S.RETRYING | _S.PAUSED:
            return _what_goes_on(run, instance)
        case _S.PENDING:
            return _why_not_begun(instance, causes)


def _how_it_failed(instance: Instance, causes: list[Link]) -> str:
    failure = instance.failure
    why = f"{failure.code}: {failure.message}" if failure is not None else instance.reason or "it was given up"
    if is_tolerated(instance):
        why += "; that is tolerated, and what it belongs to goes on"
    if instance.status is _S.TERMINATED:
        return f"it was given up after {_times(instance.attempt)}: {why}"
    if instance.attempt == 0 and not instance.is_composite and instance.node.kind is not NodeKind.WAIT:
        return f"it failed before its first attempt: {why}"
    return f"it failed: {why}{_root(causes) if instance.is_composite else ''}"


def _why_it_ran(run: Run, instance: Instance) -> str:
    failure = instance.failure
    if failure is not None:
        return f"it failed ({failure.code}: {failure.message}) and {_instead(instance)}"
    if (found := _decided(run, instance)) is not None:
        return f"it decided: it {decided.in_words(found)}"
    return f"it ran because {_because_of_upstreams(run, instance)}"


def _what_goes_on(run: Run, instance: Instance) -> str:
    status, failure = instance.status, instance.failure
    if status is _S.RUNNING:
        if instance.is_replaced and failure is not None:
            return f"it failed ({failure.code}: {failure.message}) and {_instead(instance)}"
        return f"it runs, {_nth(instance)}, because {_because_of_upstreams(run, instance)}"
    if status is _S.RETRYING:
        why = "" if failure is None else f" after {failure.code}: {failure.message}"
        return f"it waits for attempt {instance.attempt + 1}{why}"
    reason = instance.held.reason if instance.held is not None else ""
    question = instance.held.question if instance.held is not None else None
    if question is not None:
        return f"it waits for {'an answer: ' if question.kind in ('approval', 'effects') else ''}{reason}"
    return f"it is parked{': ' + reason if reason else ''}"


def _why_not_begun(instance: Instance, causes: list[Link]) -> str:
    chosen, owner = instance.scope.chosen, instance.scope.owner
    if chosen is not None and chosen != instance.node.local and owner is not None:
        return f"it was not chosen: `{owner.id}` chose `{instance.scope.plan.nodes[chosen].name}`"
    return f"it has not begun{_root(causes)}"


_STANDS = {
    "pending": "has not begun",
    "succeeded": "succeeded",
    "failed": "failed",
    "timeout": "ran out of time",
    "terminated": "was given up",
    "skipped": "was skipped",
    "cancelled": "was cancelled",
    "rolled_back": "was rolled back",
}


def _stands(status: str) -> str:
    return _STANDS.get(status) or f"is {status}"


def _root(causes: list[Link]) -> str:
    """Return what it goes back to, and why that stands as it does, or at least how."""
    if not causes:
        return ""
    last = causes[-1]
    why = f": {last.why}" if last.why else f", which {_stands(last.status)}"
    return f"; it goes back to `{last.task}`{why}"


def _why_skipped(run: Run, instance: Instance) -> str:
    skipper = _skipper(instance)
    found = None if skipper is None else _decided(run, skipper)
    if skipper is not None and found is not None and instance.node.name not in found.branches:
        return f"`{skipper.node.name}` {decided.in_words(found)}"
    return instance.reason or "nothing asked for it"


def _undone(instance: Instance) -> str:
    """Return what became of undoing something that succeeded."""
    if instance.status is _S.ROLLED_BACK:
        return "; it succeeded and was rolled back"
    if instance.undo is not None and instance.undo.status in FAILURES:
        return "; its rollback failed, so what it did is still in place"
    return ""


def _times(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"


def _nth(instance: Instance) -> str:
    return f"attempt {instance.attempt}" if not instance.is_composite else "its parts do"


def _because_of_upstreams(run: Run, instance: Instance) -> str:
    if instance.index is not None:
        return f"it is item {instance.index} of `{instance.id.rpartition('[')[0]}`"
    if instance.is_beside:
        return f"`{instance.stem.id}` had {'to be undone' if instance.undoes is not None else 'failed'}"
    if instance.scope.chosen == instance.node.local and instance.scope.owner is not None:
        return f"`{instance.scope.owner.id}` chose it"
    ups = list(_asked_for(run, instance))
    if not ups and instance.scope.is_section:
        owner = instance.scope.owner
        whole = "the run" if owner is None else f"`{owner.id}`"
        return f"{whole} had {'failed' if instance.scope.prefix.endswith('on_error.') else 'come to its end'}"
    join = instance.node.join.value
    why = (
        "nothing comes before it" if not ups else ", ".join(ups[:SHOWN]) + (f" (join: {join})" if len(ups) > 1 else "")
    )
    if len(ups) > SHOWN:
        why += f" and {len(ups) - SHOWN} more"
    return why + (" and its `when` holds" if instance.node.when is not None else "")


def _asked_for(run: Run, instance: Instance) -> Iterator[str]:
    """Yield what each upstream has to do with its running; decisions that chose others have nothing."""
    for edge in instance.node.edges:
        up = instance.scope.instance(edge.upstream)
        found = _decided(run, up) if edge.is_branch else None
        if found is None:
            yield f"`{up.node.name}` {_ended(up)}"
        elif instance.node.name in found.branches:
            yield f"`{up.node.name}` chose it"


def _ended(upstream: Instance) -> str:
    if upstream.status is _S.ROLLED_BACK:
        return "succeeded (rolled back since)"
    return outcome(upstream).value if upstream.is_final else upstream.status.value


def _upstreams(instance: Instance) -> Iterator[Instance]:
    for edge in instance.node.edges:
        yield instance.scope.instance(edge.upstream)


def link_to(run: Run, instance: Instance) -> Link:
    why = instance.reason or ""
    if instance.status is _S.PAUSED and instance.held is not None:
        why = instance.held.reason
    elif (found := _decided(run, instance)) is not None:
        why = decided.in_words(found)
    if instance.failure is not None:
        why = f"{instance.failure.code}: {instance.failure.message}"
    return Link(instance.id, instance.status.value, why, instance.status in FAILURES and is_tolerated(instance))


def explain_absent(run: Run, task: str) -> TaskStory | None:
    """Return why something has not begun that is not in memory; None when it is over, or there is no such task."""
    if find_node(run, task) is None:
        return None
    inner = task
    while inner:
        outer = inner.rpartition("[" if inner.endswith("]") else ".")[0]
        owner = find_instance(run, outer) if outer else None
        if owner is not None:
            if inner.endswith("]") and not _is_to_come(owner, inner.rpartition("[")[2][:-1]):
                return None
            why = f"it has not begun: `{owner.id}` {_stands(owner.status)}"
            return TaskStory(task, _S.PENDING.value, 0, why, waits=list(waits_of(run, owner)))
        inner = outer
    section = task.partition(".")[0]
    if section in run.graph.sections and section not in run.sections:
        why = "has not failed" if section == "on_error" else "has not come to its end"
        return TaskStory(task, _S.PENDING.value, 0, f"it has not begun: the run {why}")
    return None


def _is_to_come(owner: Instance, number: str) -> bool:
    """Return whether a loop has such an item, as far as is known, and it has not begun."""
    plan, loop = owner.node.loop, owner.loop
    if plan is None or not number.isdecimal():
        return False
    if loop is not None:
        return int(number) in loop.redo or (int(number) >= loop.next and (loop.size is None or int(number) < loop.size))
    items = plan.over.source if plan.over is not None and plan.over.is_constant else None
    return not isinstance(items, list | tuple) or int(number) < len(items)


# --------------------------------------------------------------------------------------------------------------- causes


def causes_of(run: Run, instance: Instance) -> Iterator[Link]:
    """Yield what an instance owes its state to, nearest first, down to the root cause."""
    seen = {id(instance)}
    at = _cause(instance)
    while at is not None and id(at) not in seen and len(seen) < _DEPTH:
        seen.add(id(at))
        yield link_to(run, at)
        at = _cause(at)


def _cause(instance: Instance) -> Instance | None:
    status = instance.status
    if status in FAILURES or status is _S.CANCELLED:
        return failed_part(instance)
    if status is _S.SKIPPED:
        return _skipper(instance)
    if status is _S.PENDING:
        waiting = next((up for up in _upstreams(instance) if not up.is_final), None)
        owner = instance.scope.owner
        return waiting if waiting is not None or owner is None or owner.status is _S.RUNNING else owner
    return None


def _skipper(instance: Instance) -> Instance | None:
    """Return the upstream that made a task be skipped."""
    if instance.reason is not None and instance.reason.startswith("`when`"):
        return None
    ups = list(_upstreams(instance))
    if instance.upstream_failed:
        return next((up for up in ups if up.is_failure), None)
    named = next((up for up in ups if instance.reason and f"`{up.node.name}`" in instance.reason), None)
    return named or next((up for up in ups if up.status is _S.SKIPPED), None)


# ---------------------------------------------------------------------------------------------------------------- waits


def waits_of(run: Run, instance: Instance) -> Iterator[Wait]:
    """Yield what an instance that has not ended waits for."""
    status = instance.status
    if status is _S.RETRYING:
        yield Wait("time", due=instance.due, reason="its next attempt")
    elif status is _S.PAUSED:
        reason = instance.held.reason if instance.held is not None else ""
        yield Wait("parked", due=instance.due, reason=reason)
    if instance.loop is not None and status is _S.RUNNING and not run.is_final:
        yield from _waits_of_items(run, instance, instance.loop)
    if status not in (_S.PENDING, _S.RETRYING) or run.is_final:
        return
    waiting = [up for up in _upstreams(instance) if not up.is_final] if status is _S.PENDING else []
    for up in waiting[:SHOWN]:
        yield Wait("upstream", up.id, reason=up.status.value)
    if waiting:
        return
    if run.status.value == "paused":
        why = f": {run.pause_reason}" if run.pause_reason else ""
        yield Wait("run", reason=f"the run is paused{why}")
    yield from _waits_for_slots(run, instance.node)


def _waits_of_items(run: Run, instance: Instance, loop: LoopState) -> Iterator[Wait]:
    """Yield the slots that items of a loop wait for, or what is in the first of them."""
    if loop.has_next and not instance.node.opens_scope:
        yield from _waits_for_slots(run, instance.node)
    scopes = [item.child for item in islice(loop.open.values(), SHOWN) if item.child is not None]
    inside = (scope.instance(local) for scope in scopes for local in range(len(scope.plan.nodes)))
    found = (wait for each in inside if each.status is _S.PENDING for wait in waits_of(run, each))
    yield from {wait.name: wait for wait in found if wait.what == "pool"}.values()


def _waits_for_slots(run: Run, node: Node) -> Iterator[Wait]:
    for index in node.pools:
        pool, holders = run.graph.pools[index], run.slots[index]
        if len(holders) >= pool.limit:
            yield Wait("pool", pool.name, pool.limit, sorted(holders)[:SHOWN])
    if run.max_parallel is not None and len(run.attempts) >= run.max_parallel:
        yield Wait("pool", "max_parallel", run.max_parallel, sorted(run.attempts)[:SHOWN])


def _items(run: Run, loop: LoopState) -> Items:
    kept = list(islice(loop.kept.values(), SHOWN))
    failed = sum(1 for item in loop.kept.values() if item.is_failure)
    return Items(loop.size, loop.ended, len(loop.open), failed, loop.skips, [link_to(run, item) for item in kept])

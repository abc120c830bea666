"""Why a run stands as it does, and why a task ran, was skipped, waits, is tried again or failed.

Told from a run replayed from its journal, which nobody need drive and which may be going on elsewhere: nothing is
written, and no lease is taken. What templates read is told without secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec

from autoglm.base import jsonvalue
from autoglm.base.errors import Failure
from autoglm.base.redaction import MASK, redact
from autoglm.engine import undoing
from autoglm.engine.joins import outcome
from autoglm.engine.machine import Run
from autoglm.engine.names import Names
from autoglm.engine.state import Instance, LoopState, Scope
from autoglm.engine.states import FAILURES, TaskStatus
from autoglm.graph.model import NodeKind
from autoglm.spec.expressions import Template

_SHOWN = 5
_CLIP = 200
_DEPTH = 50
_S = TaskStatus


class Operand(msgspec.Struct, frozen=True):
    """A name that an expression reads, and what it gave, as JSON text (clipped)."""

    name: str
    value: str


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


class RunStory(msgspec.Struct, frozen=True):
    """Why a run stands as it does."""

    status: str
    counts: dict[str, int]
    summary: str
    first_failed: list[Link]
    """What failed by itself: what the run failed by, then first things first; what was tolerated comes last."""
    failed: int
    not_rolled_back: list[Link]
    """What should have been undone, and is still in place because its rollback failed; the first few."""
    not_undone: int
    hanging: list[str]
    """What did not run because of it, or waits for what has not ended; the first few."""
    hangs: int
    running: list[str]
    runs: int
    waits: list[tuple[str, Wait]]


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


# ----------------------------------------------------------------------------------------------------------------- task


def explain_task(run: Run, instance: Instance) -> TaskStory:
    """Return why a task instance stands as it does."""
    node = instance.node
    failure = instance.failure
    causes = list(causes_of(instance))
    retry = node.retry
    return TaskStory(
        task=instance.id,
        status=instance.status.value,
        attempts=instance.attempt,
        summary=_summary(run, instance, causes),
        condition=None if node.task.when is None else str(node.task.when),
        operands=list(operands(run, instance, node.when)) if node.when is not None else _rule_operands(run, instance),
        upstreams=[_link(up) for up in _upstreams(instance)],
        causes=causes,
        waits=list(waits_of(run, instance)),
        items=None if instance.loop is None else _items(instance.loop),
        failure=None if failure is None else _failure(failure),
        next_attempt=instance.due if instance.status is _S.RETRYING else None,
        max_attempts=retry.max_attempts if retry is not None else 1,
    )


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
    status, node, failure = instance.status, instance.node, instance.failure
    root = f"; it goes back to `{causes[-1].task}`: {causes[-1].why}" if causes else ""
    if status is _S.SKIPPED:
        return f"it was skipped: {instance.reason or 'nothing asked for it'}{root}"
    if status in FAILURES:
        why = f"{failure.code}: {failure.message}" if failure is not None else instance.reason or "it was given up"
        if status is _S.TERMINATED:
            return f"it was given up after {_times(instance.attempt)}: {why}"
        if instance.attempt == 0 and not instance.is_composite:
            return f"it failed before its first attempt: {why}"
        return f"it failed: {why}{root if instance.is_composite else ''}"
    if status is _S.CANCELLED:
        return f"it was cancelled{': ' + instance.reason if instance.reason else ''}{root}"
    if status in (_S.SUCCEEDED, _S.ROLLED_BACK):
        if failure is not None:
            return f"it failed ({failure.code}: {failure.message}) and {_instead(instance)}"
        if node.kind is NodeKind.DECISION:
            return f"it decided: {_clip(run.result_of(instance))}"
        return f"it ran because {_because_of_upstreams(instance)}{_undone(instance)}"
    if status is _S.RUNNING:
        if instance.is_replaced and failure is not None:
            return f"it failed ({failure.code}: {failure.message}) and {_instead(instance)}"
        return f"it runs, {_nth(instance)}, because {_because_of_upstreams(instance)}"
    if status is _S.RETRYING:
        why = "" if failure is None else f" after {failure.code}: {failure.message}"
        return f"it waits for attempt {instance.attempt + 1}{why}"
    if status is _S.PAUSED:
        reason = instance.held.reason if instance.held is not None else ""
        question = instance.held.question if instance.held is not None else None
        if question is not None:
            return f"it waits for {'an answer: ' if question.kind in ('approval', 'effects') else ''}{reason}"
        return f"it is parked{': ' + reason if reason else ''}"
    return f"it has not begun{root}"


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


def _because_of_upstreams(instance: Instance) -> str:
    if instance.index is not None:
        return f"it is item {instance.index} of `{instance.id.rpartition('[')[0]}`"
    if instance.is_beside:
        return f"`{instance.stem.id}` had {'to be undone' if instance.undoes is not None else 'failed'}"
    ups = [f"`{up.node.name}` {_ended(up)}" for up in _upstreams(instance)]
    if not ups and instance.scope.is_section:
        owner = instance.scope.owner
        whole = "the run" if owner is None else f"`{owner.id}`"
        return f"{whole} had {'failed' if instance.scope.prefix.endswith('on_error.') else 'come to its end'}"
    join = instance.node.join.value
    why = (
        "nothing comes before it" if not ups else ", ".join(ups[:_SHOWN]) + (f" (join: {join})" if len(ups) > 1 else "")
    )
    if len(ups) > _SHOWN:
        why += f" and {len(ups) - _SHOWN} more"
    return why + (" and its `when` holds" if instance.node.when is not None else "")


def _ended(upstream: Instance) -> str:
    if upstream.status is _S.ROLLED_BACK:
        return "succeeded (rolled back since)"
    return outcome(upstream).value if upstream.is_final else upstream.status.value


def _upstreams(instance: Instance) -> Iterator[Instance]:
    for edge in instance.node.edges:
        yield instance.scope.instance(edge.upstream)


def _link(instance: Instance) -> Link:
    why = instance.reason or ""
    if instance.failure is not None:
        why = f"{instance.failure.code}: {instance.failure.message}"
    return Link(instance.id, instance.status.value, why, instance.status in FAILURES and _is_tolerated(instance))


# --------------------------------------------------------------------------------------------------------------- causes


def causes_of(instance: Instance) -> Iterator[Link]:
    """Yield what an instance owes its state to, nearest first, down to the root cause."""
    seen = {id(instance)}
    at = _cause(instance)
    while at is not None and id(at) not in seen and len(seen) < _DEPTH:
        seen.add(id(at))
        yield _link(at)
        at = _cause(at)


def _cause(instance: Instance) -> Instance | None:
    status = instance.status
    if status in FAILURES or status is _S.CANCELLED:
        return _failed_part(instance)
    if status is _S.SKIPPED:
        return _skipper(instance)
    if status is _S.PENDING:
        waiting = next((up for up in _upstreams(instance) if not up.is_final), None)
        owner = instance.scope.owner
        return waiting if waiting is not None or owner is None or owner.status is _S.RUNNING else owner
    return None


def _failed_part(instance: Instance) -> Instance | None:
    if instance.loop is not None:
        kept = instance.loop.kept.values()
        return next((item for item in kept if item.id == instance.loop.first_failure), next(iter(kept), None))
    end = None if instance.child is None else instance.child.end
    scopes = [instance.child, *(end.sections.values() if end is not None else ())]
    return next((part for scope in scopes if scope is not None and (part := _first_failed(scope)) is not None), None)


def _first_failed(scope: Scope) -> Instance | None:
    """Return the task whose failure is that of its scope."""
    return scope.instances[scope.plan.names[scope.failed[0]]] if scope.failed else None


def _is_tolerated(instance: Instance) -> bool:
    """Return whether something failed, and what it lies in goes on or succeeded all the same."""
    for at in instance.path():
        around = [at] if at.index is None else [at, at.scope.instances[at.node.local]]
        for each in around:
            if each is not None and (each.node.tolerated or (each.is_final and not each.is_failure)):
                return True
    return False


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
    if status not in (_S.PENDING, _S.RETRYING) or run.is_final:
        return
    waiting = [up for up in _upstreams(instance) if not up.is_final] if status is _S.PENDING else []
    for up in waiting[:_SHOWN]:
        yield Wait("upstream", up.id, reason=up.status.value)
    if waiting:
        return
    if run.status.value == "paused":
        why = f": {run.pause_reason}" if run.pause_reason else ""
        yield Wait("run", reason=f"the run is paused{why}")
    for index in instance.node.pools:
        pool, holders = run.graph.pools[index], run.slots[index]
        if len(holders) >= pool.limit:
            yield Wait("pool", pool.name, pool.limit, sorted(holders)[:_SHOWN])
    if run.max_parallel is not None and len(run.attempts) >= run.max_parallel:
        yield Wait("pool", "max_parallel", run.max_parallel, sorted(run.attempts)[:_SHOWN])


# ------------------------------------------------------------------------------------------------------------- operands


def operands(run: Run, instance: Instance, template: Template | None) -> Iterator[Operand]:
    """Yield the names that an expression reads with their values, without secrets."""
    if template is None:
        return
    names = Names(run.world, instance)
    secret = set(run.created.secret_inputs) if run.created is not None else set()
    for chain in sorted(template.paths):
        if chain[0] == "secrets" or secret & set(chain[:2]):
            yield Operand(".".join(chain), MASK)
            continue
        try:
            value: Any = names(chain[0])
            for key in chain[1:]:
                value = value[key]
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what the expression met
            yield Operand(".".join(chain), f"({type(error).__name__}: {error})"[:_CLIP])
            continue
        yield Operand(".".join(chain), _clip(value))


def _rule_operands(run: Run, instance: Instance) -> list[Operand]:
    found: dict[str, Operand] = {}
    for rule in instance.node.rules:
        found |= {each.name: each for each in operands(run, instance, rule.when)}
    return list(found.values())


def _clip(value: Any) -> str:
    try:
        text = jsonvalue.encode(redact(value)).decode()
    except (jsonvalue.NotJson, TypeError, ValueError):
        return "(a task)" if hasattr(value, "keys") else repr(type(value).__name__)
    return text if len(text) <= _CLIP else f"{text[: _CLIP - 1]}…"


def _items(loop: LoopState) -> Items:
    kept = list(islice(loop.kept.values(), _SHOWN))
    failed = sum(1 for item in loop.kept.values() if item.is_failure)
    return Items(loop.size, loop.ended, len(loop.open), failed, loop.skips, [_link(item) for item in kept])


# ------------------------------------------------------------------------------------------------------------------ run


def explain_run(run: Run) -> RunStory:
    """Return why a run stands as it does: what failed first, what hangs on it, what runs and what waits for what."""
    scopes = [run.root, *run.sections.values()]
    every = [each for scope in scopes for each in _all(scope)]
    culprit = _culprit(run)
    failed = _in_order((each for each in every if _fails_alone(each)), culprit)
    hanging = [each for each in every if each.status is _S.SKIPPED and each.upstream_failed]
    waiting = [each for each in every if each.status in (_S.RETRYING, _S.PAUSED)]
    pending = [] if run.is_final else [each for scope in scopes for each in _pending(scope)]
    waits = [(each.id, wait) for each in [*waiting, *pending][: _SHOWN * 4] for wait in islice(waits_of(run, each), 1)]
    waits = [(task, wait) for task, wait in waits if wait.what != "upstream"][: _SHOWN * 2]
    hangs = [*hanging, *pending] if not run.is_final else hanging
    return RunStory(
        status=run.status.value,
        counts={status.value: count for status, count in run.counts.items() if count},
        summary=_run_summary(run, failed, culprit),
        first_failed=[_link(each) for each in failed[:_SHOWN]],
        failed=len(failed),
        not_rolled_back=[_stuck(task, failure) for task, failure in islice(run.stuck.items(), _SHOWN)],
        not_undone=len(run.stuck),
        hanging=[each.id for each in hangs[:_SHOWN]],
        hangs=len(hangs),
        running=sorted(run.attempts)[:_SHOWN],
        runs=len(run.attempts),
        waits=waits,
    )


def _culprit(run: Run) -> Instance | None:
    """Return what the run failed by, down to what failed by itself; None when that is no task."""
    found = _first_failed(run.root)
    if found is None and (run.ending is None or run.ending.failure is None):
        found = next((part for scope in run.sections.values() if (part := _first_failed(scope)) is not None), None)
    while found is not None and (part := _failed_part(found)) is not None:
        found = part
    return found


def _in_order(failed: Iterable[Instance], culprit: Instance | None) -> list[Instance]:
    """Return what failed: what the run failed by, the others as they did, last those that may fail."""
    return sorted(
        failed, key=lambda each: (each is not culprit, _is_tolerated(each), each.ended_at or 0.0, each.number)
    )


def _stuck(task: str, failure: Failure | None) -> Link:
    why = "its rollback did not succeed" if failure is None else f"{failure.code}: {failure.message}"
    return Link(task, _S.SUCCEEDED.value, why)


def _run_summary(run: Run, failed: list[Instance], culprit: Instance | None) -> str:
    return f"{_how_it_stands(run, failed, culprit)}{_left_in_place(run)}"


def _left_in_place(run: Run) -> str:
    if not run.stuck:
        return ""
    more = f" and {len(run.stuck) - 1} more" if len(run.stuck) > 1 else ""
    first = next(iter(run.stuck))
    stands = "are" if more else "is"
    return f"; `{first}`{more} could not be rolled back (rollback-failed) and {stands} still in place"


def _how_it_stands(run: Run, failed: list[Instance], culprit: Instance | None) -> str:
    if run.status.value == "failed":
        if culprit is not None:
            return f"it failed because `{culprit.id}` did: {_link(culprit).why}"
        return "it failed" if run.failure is None else f"it failed: {run.failure.code}: {run.failure.message}"
    if run.status.value == "succeeded":
        tolerated = f", though {len(failed)} that may fail did" if failed else ""
        return f"it succeeded{tolerated}"
    first = culprit or next((each for each in failed if not _is_tolerated(each)), None)
    if first is not None:
        return f"it is {run.status.value}, and `{first.id}` has failed: {_link(first).why}"
    if run.status.value == "paused" and run.pause_reason:
        return f"it is paused: {run.pause_reason}"
    return f"it is {run.status.value}"


def _all(scope: Scope) -> Iterator[Instance]:
    """Yield the instances of a scope and all below that are in memory."""
    for instance in scope.instances:
        if instance is None:
            continue
        yield instance
        if instance.child is not None:
            yield from _all_of(instance.child)
        if instance.loop is not None:
            for item in (*instance.loop.kept.values(), *instance.loop.open.values()):
                yield item
                if item.child is not None:
                    yield from _all_of(item.child)


def _all_of(scope: Scope) -> Iterator[Instance]:
    """Yield the same with what runs at the end of a call."""
    yield from _all(scope)
    for section in scope.end.sections.values() if scope.end is not None else ():
        yield from _all(section)


def _fails_alone(instance: Instance) -> bool:
    """Return whether something failed by itself, not because a part of it did."""
    return instance.status in FAILURES and _failed_part(instance) is None


def _pending(scope: Scope) -> Iterator[Instance]:
    for local in range(len(scope.plan.nodes)):
        instance = scope.instance(local)
        if instance.status is _S.PENDING and scope.chosen in (None, local):
            yield instance

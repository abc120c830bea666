"""Why a run as a whole stands as it does: what failed it, what hangs on that, what runs and what waits for what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from autoglm.app.culprits import failed_part, first_failed_of, is_tolerated
from autoglm.app.explaining import SHOWN, Link, Wait, link_to, waits_of
from autoglm.base.errors import Failure
from autoglm.engine.machine import Run
from autoglm.engine.state import Instance, Scope
from autoglm.engine.states import FAILURES, TaskStatus

_S = TaskStatus


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


def explain_run(run: Run) -> RunStory:
    """Return why a run stands as it does: what failed first, what hangs on it, what runs and what waits for what."""
    scopes = [run.root, *run.sections.values()]
    every = [each for scope in scopes for each in _all(scope)]
    culprit = _culprit(run)
    failed = _in_order((each for each in every if _fails_alone(each)), culprit)
    hanging = [each for each in every if each.status is _S.SKIPPED and each.upstream_failed]
    waiting = [each for each in every if each.status in (_S.RETRYING, _S.PAUSED)]
    pending = [] if run.is_final else [each for scope in scopes for each in _pending(scope)]
    starved = [] if run.is_final else [each for each in every if _is_starved(run, each)]
    waits = [
        (each.id, wait)
        for each in [*waiting, *starved, *pending][: SHOWN * 4]
        for wait in islice(waits_of(run, each), 1)
    ]
    waits = [(task, wait) for task, wait in waits if wait.what != "upstream"][: SHOWN * 2]
    hangs = [*hanging, *pending] if not run.is_final else hanging
    return RunStory(
        status=run.status.value,
        counts={status.value: count for status, count in run.counts.items() if count},
        summary=_run_summary(run, failed, culprit),
        first_failed=[link_to(run, each) for each in failed[:SHOWN]],
        failed=len(failed),
        not_rolled_back=[_stuck(task, failure) for task, failure in islice(run.stuck.items(), SHOWN)],
        not_undone=len(run.stuck),
        hanging=[each.id for each in hangs[:SHOWN]],
        hangs=len(hangs),
        running=sorted(run.attempts)[:SHOWN],
        runs=len(run.attempts),
        waits=waits,
    )


def _culprit(run: Run) -> Instance | None:
    """Return what the run failed by, down to what failed by itself; None when that is no task."""
    found = first_failed_of(run.root)
    if found is None and (run.ending is None or run.ending.failure is None):
        found = next((part for scope in run.sections.values() if (part := first_failed_of(scope)) is not None), None)
    while found is not None and (part := failed_part(found)) is not None:
        found = part
    return found


def _in_order(failed: Iterable[Instance], culprit: Instance | None) -> list[Instance]:
    """Return what failed: what the run failed by, the others as they did, last those that may fail."""
    return sorted(failed, key=lambda each: (each is not culprit, is_tolerated(each), each.ended_at or 0.0, each.number))


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
            return f"it failed because `{culprit.id}` did: {link_to(run, culprit).why}"
        return "it failed" if run.failure is None else f"it failed: {run.failure.code}: {run.failure.message}"
    if run.status.value == "succeeded":
        tolerated = f", though {len(failed)} that may fail did" if failed else ""
        return f"it succeeded{tolerated}"
    first = culprit or next((each for each in failed if not is_tolerated(each)), None)
    if first is not None:
        return f"it is {run.status.value}, and `{first.id}` has failed: {link_to(run, first).why}"
    if run.status.value == "paused" and run.pause_reason:
        return f"it is paused: {run.pause_reason}"
    if run.status.value in ("cancelling", "cancelled") and run.cancel_reason:
        return f"it is {run.status.value}: {run.cancel_reason}"
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
    return instance.status in FAILURES and failed_part(instance) is None


def _is_starved(run: Run, instance: Instance) -> bool:
    """Return whether a loop has begun, and none of it runs."""
    if instance.loop is None or instance.status is not _S.RUNNING:
        return False
    return not any(task.startswith(f"{instance.id}[") for task in run.attempts)


def _pending(scope: Scope) -> Iterator[Instance]:
    for local in range(len(scope.plan.nodes)):
        instance = scope.instance(local)
        if instance.status is _S.PENDING and scope.chosen in (None, local):
            yield instance

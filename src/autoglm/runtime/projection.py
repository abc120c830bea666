"""The rows that lists and pages show, derived from the instances that a decision touched."""

from __future__ import annotations

from typing import Any

import msgspec

from autoglm.engine import parcels
from autoglm.engine.machine import Run
from autoglm.engine.states import FINAL, TaskStatus
from autoglm.stores.protocol import RunUpdate, TaskRows

_CLIP = 500
_RECORDED = FINAL - {TaskStatus.ROLLED_BACK}
"""The record of its end tells what an instance gave, also when that has been undone since."""


def take_rows(run: Run, seq: int) -> list[TaskRows]:
    """Return the rows of the touched instances, and forget that they were touched. ``seq`` is the record's number."""
    touched = run.touched
    if not touched:
        return []
    run.touched = {}
    found: list[TaskRows] = []
    tasks: list[Any] = []
    last: tuple[Any, ...] = ()
    for instance in touched.values():
        status, failure = instance.status, instance.failure
        if status in _RECORDED:
            instance.record = seq
        error = code = None
        if failure is not None:
            error, code = failure.message[:_CLIP], failure.code
        elif instance.reason is not None:
            error = instance.reason[:_CLIP]
        if instance.held is not None and instance.held.reason:
            error = instance.held.reason[:_CLIP]
        shared = (status, instance.attempt, instance.started_at, instance.ended_at, error, code, instance.record)
        if shared != last:
            last, tasks = shared, []
            found.append(TaskRows(str(status), *shared[1:], tasks))
        node = instance.node.path if instance.scope.frame is None else _static_path(instance.id)
        tasks.append((instance.number, instance.id) if node == instance.id else (instance.number, instance.id, node))
    parcels.pack(run)
    return found


def take_dropped(run: Run) -> list[str]:
    """Return what the ids of tasks begin with whose rows no longer hold, and forget it."""
    dropped = run.dropped
    if dropped:
        run.dropped = []
    return dropped


def note_records(run: Run, seq: int) -> None:
    """Note of what a replayed record ended that this is the record, and forget that it was touched."""
    for instance in run.touched.values():
        if instance.status in _RECORDED:
            instance.record = seq
    run.touched.clear()
    parcels.pack(run)


def _static_path(task: str) -> str:
    """Return the path of an instance that lies in a call: its node is one for all calls of that file."""
    return ".".join(part.partition("[")[0] for part in task.split("."))


def run_update(run: Run, now: float) -> RunUpdate:
    """Return what the run's own row now says."""
    failure = run.failure
    return RunUpdate(
        status=str(run.status),
        updated_at=now,
        ended_at=run.ended_at,
        counts={str(status): count for status, count in run.counts.items() if count},
        error=None if failure is None else failure.message[:_CLIP],
        usage=msgspec.json.encode(run.spent.snapshot()) if run.spent.total else None,
    )

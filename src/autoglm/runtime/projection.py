"""The rows that lists and pages show, derived from the instances that a decision touched."""

from __future__ import annotations

import msgspec

from autoglm.engine import parcels
from autoglm.engine.machine import Run
from autoglm.engine.state import Instance
from autoglm.engine.states import FINAL, TaskStatus
from autoglm.stores.protocol import RunUpdate, TaskRow

_CLIP = 500
_RECORDED = FINAL - {TaskStatus.ROLLED_BACK}
"""The record of its end tells what an instance gave, also when that has been undone since."""


def take_rows(run: Run, seq: int) -> list[TaskRow]:
    """Return a row for each touched instance, and forget that they were touched. ``seq`` is the record's number."""
    touched = run.touched
    if not touched:
        return []
    run.touched = {}
    rows = [_row(instance, seq) for instance in touched.values()]
    parcels.pack(run)
    return rows


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


def _row(instance: Instance, seq: int) -> TaskRow:
    status, failure = instance.status, instance.failure
    if status in _RECORDED:
        instance.record = seq
    error: str | None = None
    held = instance.held
    if held is not None and held.reason:
        error = held.reason[:_CLIP]
    elif failure is not None:
        error = failure.message[:_CLIP]
    elif instance.reason is not None:
        error = instance.reason[:_CLIP]
    return TaskRow(
        instance.number,
        instance.id,
        instance.node.path if instance.scope.frame is None else _static_path(instance.id),
        str(status),
        instance.attempt,
        instance.started_at,
        instance.ended_at,
        error,
        None if failure is None else failure.code,
        instance.record,
    )


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

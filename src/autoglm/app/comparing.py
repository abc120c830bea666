"""Two runs side by side, read page by page: what was defined, given, done and spent, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from autoglm.base import jsonvalue
from autoglm.engine import messages as m
from autoglm.engine.codec import decode_record
from autoglm.runtime.recovery import decode_definition, read_current
from autoglm.spec.changes import Definition, Kind, compare, workflow_changes
from autoglm.spec.model import Workflow
from autoglm.stores.protocol import RunRow, Store, TaskRow

_PAGE = 500
_UNKNOWN = object()


class Side(msgspec.Struct, frozen=True):
    """How a task stood in one of the runs; ``result`` is left out where it is put together from parts."""

    status: str
    attempts: int
    seconds: float | None
    error: str | None
    result: Any = None


class TaskPair(msgspec.Struct, frozen=True):
    """A task of either run, or of both. ``results_equal`` is None where they were not compared."""

    task: str
    one: Side | None
    two: Side | None
    results_equal: bool | None = None

    @property
    def is_same(self) -> bool:
        """It ended alike, with the same result; how long it took does not count."""
        if self.one is None or self.two is None or self.results_equal is False:
            return False
        return (self.one.status, self.one.attempts, self.one.error) == (
            self.two.status,
            self.two.attempts,
            self.two.error,
        )


class Totals(msgspec.Struct, frozen=True):
    """What a run took and used."""

    run_id: str
    workflow: str
    status: str
    seconds: float
    counts: dict[str, int]
    usage: dict[str, Any]
    inputs: dict[str, Any]
    outputs: Any


class Comparison(msgspec.Struct, frozen=True):
    """Two runs; ``changes`` is how the second one's definition differs from the first one's."""

    one: Totals
    two: Totals
    changes: list[str]


def compare_runs(store: Store, one: str, two: str) -> Comparison:
    """Return what two runs took, used and gave."""
    flows = [_workflow(store, run_id) for run_id in (one, two)]
    found = compare(Definition(flows[0]), Definition(flows[1]))
    changes = [f"{each.path}: {each if each.kind in (Kind.CHANGED, Kind.TUNED) else each.kind.value}" for each in found]
    changes += [f"the workflow's `{name}`" for name in workflow_changes(flows[0], flows[1])]
    return Comparison(_totals(store, one), _totals(store, two), changes)


def compare_tasks(store: Store, one: str, two: str, *, items: bool = False) -> Iterator[TaskPair]:
    """Yield the tasks of both runs, in the order in which they began in the first; those of the second alone last.

    With ``items`` also the items of loops, and what is inside of them. Rows are read a page at a time, results a
    record at a time: two runs of 100,000 items are compared in little memory.
    """
    readers = (_Results(store, one), _Results(store, two))
    for row in _rows(store, one, items=items):
        yield _pair(row.task, row, store.get_task(two, row.task), readers)
    for row in _rows(store, two, items=items):
        if store.get_task(one, row.task) is None:
            yield _pair(row.task, None, row, readers)


def _rows(store: Store, run_id: str, *, items: bool) -> Iterator[TaskRow]:
    after = 0
    while page := store.list_tasks(run_id, after=after, limit=_PAGE):
        after = page[-1].number
        yield from (row for row in page if items or "[" not in row.task)


def _pair(task: str, one: TaskRow | None, two: TaskRow | None, readers: tuple[_Results, _Results]) -> TaskPair:
    results = [_UNKNOWN if row is None else reader.of(row) for row, reader in zip((one, two), readers, strict=True)]
    is_known = results[0] is not _UNKNOWN and results[1] is not _UNKNOWN
    return TaskPair(
        task, _side(one, results[0]), _side(two, results[1]), results[0] == results[1] if is_known else None
    )


def _side(row: TaskRow | None, result: Any) -> Side | None:
    if row is None:
        return None
    ended = row.started_at is not None and row.ended_at is not None
    seconds = max(0.0, row.ended_at - row.started_at) if ended else None  # type: ignore[operator]
    error = ": ".join(part for part in (row.error_code, row.error) if part) or None
    return Side(row.status, row.attempts, seconds, error, None if result is _UNKNOWN else result)


class _Results:
    """Reads results where the rows say they are; neighbours mostly share a record."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._events = lru_cache(4)(lambda seq: self._read(run_id, seq))

    def _read(self, run_id: str, seq: int) -> dict[str, m.Event]:
        events = decode_record(self._store.get_record(run_id, seq).payload).events
        ends = (m.AttemptSucceeded, m.TaskSucceeded, m.TaskDegraded)
        return {event.task: event for event in events if isinstance(event, ends)}

    def of(self, row: TaskRow) -> Any:
        """Return a task's result; ``_UNKNOWN`` where it has none, or it is put together from its parts."""
        event = self._events(row.record).get(row.task) if row.record and row.status == "succeeded" else None
        match event:
            case m.AttemptSucceeded() | m.TaskDegraded():
                return _value(self._store, event.result, event.blob)
            case m.TaskSucceeded() if event.blob is not None or event.result != m.ABSENT:
                return _value(self._store, event.result, event.blob)
        return _UNKNOWN


def _value(store: Store, raw: Any, blob: m.Blob | None) -> Any:
    return jsonvalue.decode(store.get_blob(blob.digest) if blob is not None else bytes(raw))


def _workflow(store: Store, run_id: str) -> Workflow:
    return decode_definition(store.get_blob(read_current(store, run_id).definition.digest))[0]


def _totals(store: Store, run_id: str) -> Totals:
    row = store.get_run(run_id)
    created = read_current(store, run_id)
    end = row.ended_at if row.ended_at is not None else row.updated_at
    return Totals(
        run_id=run_id,
        workflow=row.workflow,
        status=row.status,
        seconds=max(0.0, end - row.created_at),
        counts={status: count for status, count in row.counts.items() if count},
        usage=_usage(store, run_id),
        inputs={**created.inputs, **dict.fromkeys(created.secret_inputs, "***")},
        outputs=_outputs(store, row),
    )


def _outputs(store: Store, row: RunRow) -> Any:
    if row.status != "succeeded":
        return None
    for event in reversed(decode_record(store.get_record(row.run_id, row.last_seq).payload).events):
        if isinstance(event, m.RunSucceeded):
            return _value(store, event.outputs, event.blob)
    return None


def _usage(store: Store, run_id: str) -> dict[str, Any]:
    """Return what the attempts of a run used, those that failed included: summed record by record."""
    total: dict[str, Any] = {}
    for stored in store.read(run_id):
        if b'"usage"' not in stored.payload:
            continue
        for event in decode_record(stored.payload).events:
            used = getattr(event, "usage", None)
            if used is None and (failure := getattr(event, "failure", None)) is not None:
                used = (failure.details or {}).get("usage")
            for name, amount in used.items() if isinstance(used, dict) else ():
                if type(amount) in (int, float):
                    total[name] = total.get(name, 0) + amount
    return total

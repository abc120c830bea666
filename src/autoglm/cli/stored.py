"""What a run's journal says about the run and its tasks, read record by record, without driving anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm.base import jsonvalue
from autoglm.engine import messages as m
from autoglm.engine.codec import decode_record
from autoglm.engine.state import stored_text
from autoglm.runtime.recovery import read_created

if TYPE_CHECKING:
    from autoglm.app.session import Session
    from autoglm.base.errors import Failure
    from autoglm.stores.protocol import Store, TaskRow


@dataclass(frozen=True, slots=True)
class Found:
    """A task's result, or its failure."""

    value: Any = None
    failure: Failure | None = None
    is_kept: bool = True
    """False where it succeeded and what it gave went into others' results alone."""


def run_facts(store: Store, run_id: str) -> dict[str, Any]:
    """Return a run's inputs, outputs, whether it is a rehearsal, and why it was cancelled, where that was said.

    Secret inputs are named, never shown.
    """
    created = read_created(store, run_id)
    inputs = {**created.inputs, **dict.fromkeys(created.secret_inputs, "***")}
    outputs: Any = None
    row = store.get_run(run_id)
    if row.status == "succeeded":
        for event in reversed(decode_record(store.get_record(run_id, row.last_seq).payload).events):
            if isinstance(event, m.RunSucceeded):
                outputs = _value(store, event.outputs, event.blob)
                break
    reason = _cancel_reason(store, run_id) if row.status in ("cancelling", "cancelled") else ""
    why = {"cancelled": reason} if reason else {}
    return {"inputs": inputs, "outputs": outputs, "offline": created.offline, **why}


def _cancel_reason(store: Store, run_id: str) -> str:
    """Return why a run was cancelled, since it was last reopened."""
    reason = ""
    for stored in store.read(run_id):
        if b'"run_cancelling"' not in stored.payload and b'"run_reopened"' not in stored.payload:
            continue
        for event in decode_record(stored.payload).events:
            if isinstance(event, m.RunReopened):
                reason = ""
            elif isinstance(event, m.RunCancelling):
                reason = reason or event.reason
    return reason


def task_result(session: Session, run_id: str, row: TaskRow) -> Found:
    """Return what a task instance gave. A loop's or a group's is put together from its parts by a replay."""
    if not row.record:
        return Found()
    store = session.store
    for event in reversed(decode_record(store.get_record(run_id, row.record).payload).events):
        if getattr(event, "task", None) != row.task:
            continue
        match event:
            case m.AttemptSucceeded() | m.TaskDegraded():
                return Found(_value(store, event.result, event.blob))
            case m.TaskSucceeded() if event.blob is not None or (event.result is not m.ABSENT and bytes(event.result)):
                return Found(_value(store, event.result, event.blob))
            case m.TaskSucceeded():
                return _composed(session, run_id, row.task)
            case m.AttemptFailed() | m.TaskFailed():
                return Found(failure=event.failure)
            case _:
                continue
    return Found()


def _value(store: Store, raw: Any, blob: m.Blob | None) -> Any:
    return jsonvalue.decode(store.get_blob(blob.digest) if blob is not None else bytes(raw))


def _composed(session: Session, run_id: str, task: str) -> Found:
    run, _, _ = session.open_run(run_id)
    scope = run.root
    parts = task.split(".")
    for place, part in enumerate(parts):
        name, bracket, number = part.partition("[")
        local = scope.plan.names.get(name)
        instance = scope.instances[local] if local is not None else None
        if instance is None:
            break
        if place + 1 == len(parts):
            if bracket and instance.loop is not None:
                results = dict(enumerate(instance.loop.results))  # one that repeats keeps those that it collects
                kept = results.get(int(number[:-1]))
                return Found(is_kept=False) if kept is None else Found(jsonvalue.decode(stored_text(kept, run.load)))
            return Found(run.result_of(instance))
        if bracket or instance.child is None:  # the inside of a finished item is not kept
            break
        scope = instance.child
    return Found(is_kept=False)

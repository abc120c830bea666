"""Answers and signals from outside, on their way into a run: checked, then left for its driver or journaled here.

When a process drives the run, the answer is a message in the store: the driver journals it, and the journal tells when.
When nobody does, the lease is taken, the answer is journaled and the lease is given back: nothing is started here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm.app.secret_views import known_secrets
from autoglm.base import jsonvalue
from autoglm.base.errors import UsageError
from autoglm.engine import messages as m
from autoglm.engine import waiting
from autoglm.engine.codec import decode_record, encode_record
from autoglm.engine.machine import Run
from autoglm.engine.states import FINAL, RUN_FINAL, TaskStatus
from autoglm.runtime.answers import news_of
from autoglm.runtime.owner import is_alive, this_process
from autoglm.runtime.projection import run_update, take_rows
from autoglm.stores.protocol import Append, LeaseHeld

if TYPE_CHECKING:
    from autoglm.app.session import Session
    from autoglm.stores.protocol import Lease, RunRow

PATIENCE = 5.0
"""Seconds to wait for a driver to journal an answer."""
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class Told:
    """What became of an answer or a signal."""

    run_id: str
    status: str
    """``journaled``: it counts. ``left``: it waits for the process that drives the run."""
    is_driven: bool
    run_status: str


async def answer(session: Session, run_id: str, task: str, *, approved: bool, by: str, data: Any, comment: str) -> Told:
    """Answer what a task asks. Raises UsageError with why it does not count, or that the run has ended."""
    body = {"task": task, "approved": approved, "by": by, "data": _plain(data), "comment": comment}
    return await _tell(session, run_id, "answer", body)


async def signal(session: Session, run_id: str, name: str, *, data: Any, by: str) -> Told:
    """Let what waits for a signal go on. Raises UsageError: ``signal-not-awaited``, ``answer-late`` …"""
    return await _tell(session, run_id, "signal", {"name": name, "data": _plain(data), "by": by})


async def _tell(session: Session, run_id: str, kind: str, body: dict[str, Any]) -> Told:
    row = session.store.get_run(run_id)
    if row.status in RUN_FINAL:
        raise UsageError(f"run {run_id} has already ended: {row.status}", code="run-ended")
    run = session.open_run(run_id)[0]
    body = known_secrets(session.project, run).scrub_value(body)
    news = news_of(kind, body)
    _raise(_known_better(session, run_id, run, news, _refusal(run, news, session.now())))
    owner = session.store.get_run(run_id).owner
    if owner is not None and (owner == this_process() or is_alive(owner)):
        # Driven here, the lease would be given to us, too; from a driver that is slow, an answer may not take it.
        return await _leave(session, row, kind, body)
    try:
        lease, _ = session.acquire(run_id)
    except LeaseHeld:
        return await _leave(session, row, kind, body)
    try:
        return _journal(session, lease, news)
    finally:
        session.store.release(lease)


def _refusal(run: Run, news: m.Answer | m.SignalGiven, now: float) -> waiting.Refusal | None:
    if isinstance(news, m.Answer):
        return waiting.refusal(run, news, now)
    return waiting.signal_refusal(run, news.name, now)


def _known_better(
    session: Session, run_id: str, run: Run, news: m.Answer | m.SignalGiven, refused: waiting.Refusal | None
) -> waiting.Refusal | None:
    """Say of a task that has left memory what the journal knows: that it was answered."""
    if refused is None or refused.code != "not-asked" or not isinstance(news, m.Answer) or run.find(news.task):
        return refused
    row = session.store.get_task(run_id, news.task)
    if row is None or TaskStatus(row.status) not in FINAL:
        return refused
    mark = b'"question_answered"'
    for stored in session.store.read(run_id):
        events = decode_record(stored.payload).events if mark in stored.payload else ()
        if any(isinstance(event, m.QuestionAnswered) and event.task == news.task for event in events):
            return waiting.answered_before(news.task)
    return refused


def _journal(session: Session, lease: Lease, news: m.Answer | m.SignalGiven) -> Told:
    """Journal an answer to a run that nobody drives. What follows from it is decided by whoever goes on with it."""
    run, last, _ = session.replayed(lease.run_id)
    now = session.now()
    if run.is_final:
        raise UsageError(f"run {lease.run_id} has already ended: {run.status}", code="run-ended")
    _raise(_refusal(run, news, now))
    decision = run.note(news, now)
    append = Append(
        run_id=lease.run_id,
        epoch=lease.epoch,
        seq=last + 1,
        payload=encode_record(now, decision.events),
        update=run_update(run, now),
        tasks=take_rows(run, last + 1),
        blobs=decision.blobs,
    )
    for error in session.store.append([append]):
        if error is not None:
            raise error
    return Told(lease.run_id, "journaled", False, run.status.value)


async def _leave(session: Session, row: RunRow, kind: str, body: Any) -> Told:
    """Leave an answer for the process that drives the run, and wait a little for it to be journaled."""
    number = session.store.post_signal(row.run_id, kind, body, session.now())
    last = row.last_seq
    for _ in range(int(PATIENCE / _POLL)):
        for stored in session.store.read(row.run_id, after=last):
            last = stored.seq
            for event in decode_record(stored.payload).events:
                if isinstance(event, m.QuestionAnswered) and event.ref == number:
                    return Told(row.run_id, "journaled", True, session.store.get_run(row.run_id).status)
                if isinstance(event, m.AnswerRefused) and event.ref == number:
                    raise UsageError(event.message, code=event.code)
        await asyncio.sleep(_POLL)
    return Told(row.run_id, "left", True, row.status)


def _raise(refused: waiting.Refusal | None) -> None:
    if refused is not None:
        raise UsageError(refused.message, code=refused.code, hint=refused.hint)


def _plain(data: Any) -> Any:
    """Return JSON data. Raises UsageError ``bad-data``."""
    try:
        return jsonvalue.plain(data)
    except jsonvalue.NotJson as error:
        raise UsageError(f"the data is not JSON: {error}", code="bad-data", hint=error.hint) from None

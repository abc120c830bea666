"""What a run's journal tells of the attempts of one task, and of what it asked."""

from __future__ import annotations

from typing import Final

import msgspec

from autoglm.base.instants import format_instant
from autoglm.engine import messages as m
from autoglm.engine.waiting import in_words

_CLIP: Final = 200


class Tried(msgspec.Struct, frozen=True):
    """One attempt of a task: when, how it ended, and with what."""

    attempt: int
    started_at: float
    ended_at: float | None = None
    outcome: str = "running"
    code: str | None = None
    message: str | None = None
    classes: list[str] = []
    retry_at: float | None = None


def note_attempt(tried: dict[int, Tried], event: m.Event, at: float) -> None:
    """Take what an event of a task says about its attempts into ``tried``, by number."""
    replace = msgspec.structs.replace
    match event:
        case m.AttemptStarted():
            tried[event.attempt] = Tried(event.attempt, at)
        case m.AttemptSucceeded() if event.attempt in tried:
            tried[event.attempt] = replace(tried[event.attempt], ended_at=at, outcome="succeeded")
        case m.AttemptFailed() if event.attempt in tried:
            failure = event.failure
            tried[event.attempt] = replace(
                tried[event.attempt],
                ended_at=at,
                outcome="timeout" if event.timeout else "failed",
                code=failure.code,
                message=failure.message[:_CLIP],
                classes=list(failure.classes),
                retry_at=event.retry_at,
            )
        case m.AttemptCancelled() if event.attempt in tried:
            why = event.reason or None
            tried[event.attempt] = replace(tried[event.attempt], ended_at=at, outcome="cancelled", message=why)
        case m.StandInCalled() if tried:
            last, failure = max(tried), event.failure
            outcome = "timeout" if event.final == "timeout" else "failed"
            tried[last] = replace(
                tried[last], ended_at=at, outcome=outcome, code=failure.code, message=failure.message[:_CLIP],
                classes=list(failure.classes),
            )  # fmt: skip
        case m.TaskDegraded() if tried and tried[max(tried)].ended_at is None:
            last = max(tried)
            tried[last] = replace(
                tried[last], ended_at=at, outcome="degraded", code=event.failure.code, message=event.failure.message
            )


class Asked(msgspec.Struct, frozen=True):
    """What a task waited for, and how that came to its end; an end without an answer is its time."""

    question: m.Question
    answer: m.QuestionAnswered | None = None
    ended_at: float | None = None


def note_question(asked: Asked | None, event: m.Event, at: float) -> Asked | None:
    """Return what is asked after an event of a task: the newest question."""
    match event:
        case m.QuestionAsked():
            return Asked(event.question)
        case m.QuestionAnswered() if asked is not None:
            return Asked(asked.question, event, at)
        case m.TaskSucceeded() | m.TaskSkipped() | m.TaskFailed() if asked is not None and asked.ended_at is None:
            return Asked(asked.question, None, at)
    return asked


def answered_in_words(asked: Asked) -> str | None:
    """Return who answered, when and with what words, or that its time came; None while it is open."""
    question, answer = asked.question, asked.answer
    if asked.ended_at is None:
        return None
    at = format_instant(asked.ended_at)
    if answer is None:
        return _out_of_time(question, at)
    by = answer.by or "somebody"
    if question.kind == "signal":
        return f"{in_words(question)} came at {at}, sent by {by}"
    comment = f": {answer.comment}" if answer.comment else ""
    if question.kind == "approval":
        return f"{by} {'approved' if answer.approved else 'rejected'} it at {at}{comment}"
    what = "to run it again" if answer.again else f"that it {'succeeded' if answer.approved else 'failed'}"
    return f"{by} said {what}, at {at}{comment}"


def _out_of_time(question: m.Question, at: str) -> str | None:
    if question.deadline is None:
        return None
    if question.kind == "time":
        return f"its time came at {at}"
    what = f"{in_words(question)} did not come" if question.kind == "signal" else "nobody answered"
    return (
        f"{what} before its deadline, {format_instant(question.deadline)}: `on_deadline: {question.on_deadline}` held"
    )

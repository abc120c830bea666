"""What a run's journal tells of the attempts of one task."""

from __future__ import annotations

import msgspec

from autoglm.engine import messages as m

_CLIP = 200


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

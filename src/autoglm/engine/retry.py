"""When a failed attempt is repeated, and after how long.

Exponential backoff with full jitter, as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): a delay is
drawn evenly between zero and ``min(max_delay, delay · factor^(n-1))``. Chance is an argument, so that a replay draws
the same.
"""

from __future__ import annotations

from zlib import crc32

from autoglm.base.errors import Failure
from autoglm.spec.model import Retry


def chance(run_id: str, task: str, attempt: int) -> float:
    """Return an even draw from [0, 1) that depends on nothing but its arguments."""
    return crc32(f"{run_id}/{task}/{attempt}".encode()) / 2**32


def covers(policy: Retry, failure: Failure) -> bool:
    """Return whether the policy retries this kind of failure at all."""
    if not failure.retryable:
        return False
    return policy.on is None or any(name in policy.on for name in (failure.code, *failure.classes))


def delay(policy: Retry, made: int, draw: float, failure: Failure | None = None) -> float:
    """Return the seconds to wait after attempt number ``made`` failed.

    What the other side asked for (``retry_after`` in the failure's details) is waited for at least.
    """
    try:
        ceiling = min(policy.max_delay, policy.delay * policy.factor ** (made - 1))
    except OverflowError:
        ceiling = policy.max_delay
    wait = ceiling * draw if policy.jitter == "full" else ceiling
    asked = (failure.details or {}).get("retry_after") if failure is not None else None
    return max(wait, float(asked)) if isinstance(asked, int | float) else wait


def retry_at(policy: Retry, made: int, first_at: float, now: float, draw: float, failure: Failure) -> float | None:
    """Return when the next attempt is due, or None when there is none.

    ``made`` counts the attempts so far, ``first_at`` is when the first began.
    """
    if made >= policy.max_attempts or not covers(policy, failure):
        return None
    due = now + delay(policy, made, draw, failure)
    if policy.max_elapsed is not None and due - first_at > policy.max_elapsed:
        return None
    return due

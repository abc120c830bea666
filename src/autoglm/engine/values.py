"""Results on their way into an event, and the failures that the engine itself finds."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from autoglm.base.durations import format_duration
from autoglm.base.errors import Failure
from autoglm.engine.messages import INLINE_LIMIT, NULL, Blob
from autoglm.engine.state import Instance, LoopState, Scope
from autoglm.graph.model import Node


def boxed(text: bytes, blobs: dict[str, bytes]) -> tuple[msgspec.Raw, Blob | None]:
    """Return JSON text as an event holds it: inline, or as a blob whose text is put into ``blobs``."""
    if len(text) <= INLINE_LIMIT:
        return msgspec.Raw(text), None
    blob = Blob(sha256(text).hexdigest(), len(text))
    blobs[blob.digest] = text
    return NULL, blob


def timed_out(instance: Instance, *, abandoned: bool = False, usage: dict[str, Any] | None = None) -> Failure:
    """Return the failure of what ran for longer than its ``timeout``, and had used so much."""
    limit = instance.node.timeout or 0.0
    shown = f"{limit * 1000:g}ms" if limit < 1 else format_duration(limit)
    message = f"it ran for longer than its timeout of {shown}"
    hint = None
    if abandoned:
        message += " and could not be stopped: it is abandoned, and its result will be discarded"
        hint = "a thread cannot be stopped; `executor: process` makes the timeout hard"
    return Failure("timeout", message, ("timeout",), hint=hint, details={"usage": usage} if usage else None)


def group_failed(scope: Scope) -> Failure:
    """Return the failure of a group: its first failed task's, with the place."""
    first = scope.instances[scope.plan.names[scope.failed[0]]]
    return Failure("group-failed", _because(scope.failed, first), ("group-failed",), retryable=False)


def run_failed(scope: Scope) -> Failure:
    """Return the failure of a run: its first failed task's, with the place."""
    first = scope.instances[scope.plan.names[scope.failed[0]]]
    return Failure("task-failed", _because(scope.failed, first), ("task-failed",), retryable=False)


def because(section: str, failed: list[str], first: Instance | None) -> str:
    """Return why a section at the run's end failed."""
    return _because([f"{section}.{name}" for name in failed], first)


def _because(failed: list[str], first: Instance | None) -> str:
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    why = ""
    if first is not None and first.failure is not None:
        why = f": {first.failure.message}"
    return f"`{failed[0]}` failed{more}{why}"


def loop_failed(loop: LoopState, total: int, min_success: float) -> Failure:
    """Return the failure of a loop of which too many items failed."""
    bad = len(loop.kept)
    message = f"{bad} of {total} items failed"
    if min_success < 1:
        message += f", and {min_success:.0%} had to succeed"
    first = next((item for item in loop.kept.values() if item.id == loop.first_failure), None)
    if first is not None:
        why = first.failure.message if first.failure is not None else str(first.status)
        message += f"; first {first.id}: {why}"
    return Failure("loop-failed", message, ("loop-failed",), retryable=False)


def iteration_failed(loop: LoopState) -> Failure:
    """Return the failure of a loop that cannot go on, because an iteration failed."""
    index, item = next(iter(loop.kept.items()))
    why = item.failure.message if item.failure is not None else str(item.status)
    hint = "`autoglm retry` goes on with this iteration"
    return Failure("loop-failed", f"iteration {index} failed: {why}", ("loop-failed",), retryable=False, hint=hint)


def limit_reached(node: Node, limit: int) -> Failure:
    """Return the failure of a loop that did not come to its end in the iterations that it was allowed."""
    loop = node.task.loop
    condition = None if loop is None else loop.until if loop.until is not None else loop.while_
    stands = "is still false" if loop is not None and loop.until is not None else "is still true"
    message = f"after {limit} iterations (`max_iterations`), `{condition}` {stands}"
    hint = "`autoglm retry` allows it as many again; or raise `max_iterations`, or write `on_limit: succeed`"
    return Failure("loop-limit", message, ("loop-limit",), retryable=False, hint=hint)

"""What the author's code raised, as a :class:`TaskError` that can be journaled.

Nothing here trusts what it is given: an exception whose ``__str__`` raises, a ``TaskError`` with a set in its details,
a message of a gigabyte or with half a character all become plain, short text.
"""

from __future__ import annotations

import asyncio
import functools
import traceback
from pathlib import Path
from types import TracebackType

from autoglm.base.errors import TaskError
from autoglm.base.jsonvalue import NotJson, plain

MESSAGE_LIMIT = 2_000
TRACEBACK_LIMIT = 4_000
FRAMES = 8
"""Frames that a failure keeps: the innermost ones."""

_OURS = (f"{Path(__file__).parents[1]}/", "<frozen ")
_BORING = frozenset({"object", "BaseException", "Exception"})


def as_task_error(error: BaseException) -> TaskError:
    """Return ``error`` as a TaskError: ``handler-raised``, ``handler-exit``, ``handler-cancelled``, or what it is."""
    if isinstance(error, TaskError):
        return _cleaned(error)
    if isinstance(error, asyncio.CancelledError):
        return TaskError(
            "the function was cancelled, and not by the run",
            code="handler-cancelled",
            hint="it awaited something that was cancelled elsewhere, or raised CancelledError itself",
        )
    summary = describe(error)
    if not isinstance(error, Exception):
        return TaskError(
            f"the function tried to end the whole process ({summary})",
            code="handler-exit",
            hint="return a value, or raise an exception to fail the task",
            details=_details(error),
        )
    names = [kind.__name__ for kind in type(error).__mro__ if kind.__name__ not in _BORING]
    return TaskError(summary, code="handler-raised", classes=names, details=_details(error))


def describe(error: BaseException) -> str:
    """Return ``ValueError: text``, clipped, whatever the exception's own ``__str__`` does."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - it is the author's code, and may raise anything at all
        text = "(its message cannot be read: __str__ raises)"
    return clip(f"{name}: {text}" if text else name)


def clip(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return ``text`` as valid Unicode of at most ``limit`` characters, with ``…`` where it was cut."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text.encode("utf-8", "replace").decode()


def own_frames(trace: TracebackType | None) -> str:
    """Return the innermost frames of the author's code as text, without ours and those of installed packages."""
    frames = [(frame, line) for frame, line in traceback.walk_tb(trace) if not _file(frame).startswith(_OURS)]
    theirs = [(frame, line) for frame, line in frames if not _file(frame).startswith(_installed())]
    kept = (theirs or frames)[-FRAMES:]
    text = "".join(traceback.StackSummary.extract(iter(kept)).format()).rstrip()
    return clip(text, TRACEBACK_LIMIT)


@functools.cache
def _installed() -> tuple[str, ...]:
    """Return the folders of Python's own and of installed packages."""
    import sysconfig  # costs milliseconds, and only a failure needs it

    return tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def _file(frame: object) -> str:
    return str(frame.f_code.co_filename)  # type: ignore[attr-defined]


def _details(error: BaseException) -> dict[str, str] | None:
    try:
        text = own_frames(error.__traceback__)
    except Exception:  # noqa: BLE001 - source that cannot be read must not hide the failure itself
        return None
    return {"traceback": text} if text else None


def _cleaned(error: TaskError) -> TaskError:
    """Return a TaskError of the author's with every part made what it should be."""
    try:
        details = plain(error.details)
    except (NotJson, RecursionError, AttributeError):
        details = None
    hint = getattr(error, "hint", None)
    message = getattr(error, "message", None)
    return TaskError(
        clip(message) if isinstance(message, str) else describe(error),
        code=clip(str(error.code), 100),
        retryable=bool(getattr(error, "retryable", True)),
        classes=[clip(str(name), 100) for name in getattr(error, "classes", ())],
        hint=None if hint is None else clip(str(hint)),
        details=details if isinstance(details, dict) else None,
    ).with_traceback(error.__traceback__)

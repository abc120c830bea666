"""The roots of every error that a user may meet.

Each carries a stable ``code`` (documented in ``docs/errors.md``), one clear sentence and, where we can tell, a hint.
Across the engine's boundary a failure is data (:class:`Failure`), never an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from autoglm.base.diagnostics import Diagnostic


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an attempt or a task failed, as journaled.

    ``code`` is ours (``script-exit``, ``handler-raised``, ``timeout``); ``classes`` are what ``retry.on`` matches
    against, most specific first (``("http_429", "http_4xx")``). ``details`` is JSON data.
    """

    code: str
    message: str
    classes: tuple[str, ...] = ()
    retryable: bool = True
    hint: str | None = None
    details: dict[str, Any] | None = None


class AutoglmError(Exception):
    """What we raise on purpose. Printed as one sentence and a hint, never as a traceback."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class SpecError(AutoglmError):
    """The author's file is wrong. Holds every diagnostic found, sorted by place."""

    code = "spec"

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        first = self.diagnostics[0] if self.diagnostics else None
        count = len(self.diagnostics)
        rest = f" (and {count - 1} more)" if count > 1 else ""
        super().__init__(
            f"{first}{rest}" if first else "the workflow file is wrong", code=first.code if first else None
        )


class UsageError(AutoglmError):
    """The call is wrong: an option, an argument, an input, a run id that does not exist. Exit code 2."""

    code = "usage"


class TaskError(AutoglmError):
    """The work failed. A handler may raise it to say how: its code, and whether a retry may help.

    ``classes`` are names that ``retry.on`` can match, besides the code itself. ``retry_after`` is how many seconds the
    next attempt waits at least, whatever ``retry`` says.
    """

    code = "task-error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool = True,
        classes: Sequence[str] = (),
        hint: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retryable = retryable
        self.classes = tuple(classes)
        self.details = details if retry_after is None else {**(details or {}), "retry_after": retry_after}

    def failure(self) -> Failure:
        """Return this error as data."""
        return Failure(
            code=self.code,
            message=self.message,
            classes=(self.code, *self.classes),
            retryable=self.retryable,
            hint=self.hint,
            details=self.details,
        )


class StoreError(AutoglmError):
    """The place where journals live cannot do its work: full, read-only, damaged, or from a newer version."""

    code = "store"


class LeaseLost(StoreError):
    """Another process owns the run now: what this one still wanted to append was refused (fenced)."""

    code = "lease-lost"


class EngineError(AutoglmError):
    """Ours: this is a bug, please report it. Carries the whole story of what was being done."""

    code = "internal"

"""What is wrong with an expression, as one kind of error with a stable code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autoglm.base.diagnostics import did_you_mean
from autoglm.base.errors import AutoglmError

_SHOWN = 12


class ExpressionError(AutoglmError):
    """An expression cannot be read, or cannot be evaluated.

    ``code`` is ``template-syntax``, ``unknown-name``, ``unknown-field``, ``expression-failed`` or
    ``expression-too-large``. ``offset`` is (line, column) within the expression's text, both from 0, where known.
    """

    code = "expression-failed"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        offset: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.offset = offset


def unknown_name(name: str, known: Iterable[str] | None = None) -> ExpressionError:
    """Return the error for a root name that nothing binds; ``known`` are the names that are bound."""
    return ExpressionError(f"`{name}` is not known here", code="unknown-name", hint=suggest(name, known or ()))


def unknown_field(value: Any, key: object, where: str = "") -> ExpressionError:
    """Return the error for reading ``key`` of ``value``, which the expression calls ``where``."""
    subject = f"`{where}`" if where else "the value"
    if isinstance(value, Mapping):
        names = [name for name in _names(value) if isinstance(name, str)]
        message = f"{subject} has no field `{key}`"
        return ExpressionError(message, code="unknown-field", hint=suggest(str(key), names, what="it has"))
    if isinstance(value, list | tuple | range):
        size = len(value)
        if isinstance(key, int):
            message = f"{subject} has no entry {key}: it has {size} of them"
            return ExpressionError(message, code="unknown-field", hint="entries are numbered from 0")
        message = f"{subject} is a list and has no field `{key}`"
        return ExpressionError(message, code="unknown-field", hint="read an entry of it, such as [0], or loop over it")
    message = f"{subject} is {kind_of(value)} and has no field `{key}`"
    return ExpressionError(message, code="unknown-field")


def too_large(what: str) -> ExpressionError:
    """Return the error for an expression that would take too much time or memory."""
    return ExpressionError(
        f"the expression is too large: {what}", code="expression-too-large", hint="do this in a task of its own"
    )


def suggest(name: str, known: Iterable[str], what: str = "in scope") -> str | None:
    """Return a hint: the known name that was probably meant, and what else there is."""
    names = sorted(set(known))
    if not names:
        return None
    close = did_you_mean(name, names)
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"did you mean `{close}`?" if close else f"{what}: {shown}"


def kind_of(value: Any) -> str:
    """Return what ``value`` is, in the words of the file's author."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple | range):
        return "a list"
    return f"a {type(value).__name__}"


def _names(value: Mapping[Any, Any]) -> list[Any]:
    try:
        return list(value)
    except Exception:  # noqa: BLE001  # a mapping that cannot be listed only makes the hint poorer
        return []

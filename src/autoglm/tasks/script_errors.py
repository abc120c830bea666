"""How a script fails: by its exit code alone, or with what it says of the failure itself.

A script that ends with an exit code other than 0 may have written ``{"error": {…}}`` to ``$AUTOGLM_OUTPUT``, with the
fields of :class:`~autoglm.base.errors.TaskError`: ``message``, ``code``, ``classes``, ``retryable``, ``retry_after``
(seconds), ``hint``, ``details``; ``type`` is one more class, written first as that of an exception would be. Each may
be left out. ``{"error": "text"}`` is short for a message.
"""

from __future__ import annotations

import signal
from typing import Any, Final

from autoglm.base.errors import TaskError
from autoglm.base.jsonvalue import NotJson, decode
from autoglm.executors.failures import clip
from autoglm.executors.protocol import CommandResult

STDERR_LINES: Final = 5
_NAME_LIMIT: Final = 100
_TEXT: Final = (str, "a text")
_FIELDS: Final[dict[str, tuple[type | tuple[type, ...], str]]] = {
    "message": _TEXT,
    "code": _TEXT,
    "type": _TEXT,
    "hint": _TEXT,
    "classes": (list, "a list of names"),
    "retryable": (bool, "true or false"),
    "retry_after": ((int, float), "a number of seconds"),
    "details": (dict, "a mapping"),
}


def failure_of(result: CommandResult, script: str, answer: bytes) -> TaskError | None:
    """Return how a script failed, None when it ended well. ``answer`` is what it wrote to ``$AUTOGLM_OUTPUT``."""
    code = result.exit_code
    if code == 0:
        return None
    last = "\n".join(line for line in result.stderr_tail.splitlines() if line.strip()).splitlines()[-STDERR_LINES:]
    said = clip(": " + "\n".join(last)) if last else ""
    if code < 0:
        return _by_signal(-code, script, said)
    error = TaskError(
        f"{script} ended with exit code {code}{said}",
        code="script-exit",
        classes=[f"exit_{code}"],
        details={"exit_code": code},
    )
    return _with_own_words(error, answer)


def _by_signal(number: int, script: str, said: str) -> TaskError:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return TaskError(
        f"{script} was ended by {name}{said}",
        code="script-signal",
        classes=[name.lower()],
        hint="SIGKILL often means that memory ran out" if name == "SIGKILL" else None,
        details={"signal": number},
    )


def _with_own_words(error: TaskError, answer: bytes) -> TaskError:
    """Return a failure with what the script says of it."""
    told = _told(answer)
    if told is None:
        return error
    wrong = _what_is_wrong(told)
    if wrong is not None:
        error.hint = f"what it wrote to $AUTOGLM_OUTPUT as `error` is not taken: {wrong}"
        return error
    named = [told["type"]] if "type" in told else []
    return TaskError(
        clip(told.get("message") or error.message),
        code=clip(told.get("code") or error.code, _NAME_LIMIT),
        retryable=told.get("retryable", True),
        classes=[clip(name, _NAME_LIMIT) for name in (*named, *told.get("classes", ()), *error.classes)],
        hint=clip(told["hint"]) if "hint" in told else None,
        details={**told.get("details", {}), **(error.details or {})},
        retry_after=told.get("retry_after"),
    )


def _told(answer: bytes) -> Any:
    """Return what stands below ``error`` in an answer, None when there is no such thing."""
    try:
        value = decode(answer) if answer else None
    except NotJson:
        return None
    if not isinstance(value, dict) or "error" not in value:
        return None
    told = value["error"]
    return {"message": told} if isinstance(told, str) else told


def _what_is_wrong(told: Any) -> str | None:
    """Return what of an error is not as it should be."""
    if not isinstance(told, dict):
        return "it must be a text, or a mapping"
    for name, value in told.items():
        if name not in _FIELDS:
            return f"it has no field `{clip(name, _NAME_LIMIT)}`; its fields are {', '.join(_FIELDS)}"
        kind, wanted = _FIELDS[name]
        is_bool = isinstance(value, bool)
        if not isinstance(value, kind) or (is_bool and kind is not bool):
            return f"`{name}` must be {wanted}"
        if isinstance(value, list) and not all(isinstance(each, str) for each in value):
            return f"`{name}` must be {wanted}"
    return None

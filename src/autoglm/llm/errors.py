"""From what a model server did wrong to a coded failure that says what to do.

One table (:data:`_VERDICTS`) says for each :class:`Meaning` which code it gets, whether a retry may help, and which
classes ``retry.on`` can match it by. Statuses and codes in the body only lead to a meaning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from autoglm.base.errors import TaskError
from autoglm.base.redaction import Redactor, Secret
from autoglm.llm.models import Endpoint
from autoglm.llm.profiles import Meaning

CLIP = 400
"""Characters of somebody else's text that a message of ours quotes."""
LONGEST_WAIT = 86_400.0
"""Seconds: what a server asks for beyond that is taken for a mistake."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    code: str
    says: str
    retryable: bool
    status: int
    """The status it stands for, where the server's own one lies."""
    hint: str
    classes: tuple[str, ...] = ()


_VERDICTS: Mapping[Meaning, _Verdict] = {
    Meaning.RATE_LIMITED: _Verdict(
        "model-rate-limited",
        "has had too many calls",
        True,
        429,
        "lower `max_parallel` of the loop or the model, or let `retry` wait longer",
        ("rate_limited",),
    ),
    Meaning.OVERLOADED: _Verdict(
        "model-overloaded",
        "is overloaded",
        True,
        429,
        "let `retry` wait longer, or use another model",
        ("overloaded",),
    ),
    Meaning.NO_CREDIT: _Verdict(
        "model-no-credit",
        "refuses for want of credit",
        False,
        402,
        "top up the account or raise its limit; waiting does not help",
    ),
    Meaning.UNAUTHORIZED: _Verdict(
        "model-unauthorized",
        "refuses the key",
        False,
        401,
        "check the key and what it may use",
    ),
    Meaning.NOT_FOUND: _Verdict(
        "model-not-found",
        "does not know the model or the address",
        False,
        404,
        "check the model's name, and that the base address ends where `chat/completions` begins (often `/v1`)",
    ),
    Meaning.PROMPT_TOO_LONG: _Verdict(
        "prompt-too-long",
        "finds the prompt longer than the model's context",
        False,
        400,
        "shorten or split the prompt, or use a model with a longer context",
    ),
    Meaning.CONTENT_REFUSED: _Verdict(
        "answer-refused",
        "refuses the content",
        False,
        400,
        "reword the prompt, or use another model",
    ),
    Meaning.REJECTED: _Verdict(
        "model-request-rejected",
        "rejects the request",
        False,
        400,
        "check the task's parameters; the server's own words are in the message",
    ),
    Meaning.SERVER_ERROR: _Verdict(
        "model-server-error",
        "failed",
        True,
        500,
        "a retry often helps: give the task `retry: {max_attempts: 4, delay: 2s}`",
    ),
}

_RETRYABLE_4XX = frozenset({408, 409, 425})
"""Timeout, conflict, too early: the client's fault by number only."""


def refusal(
    endpoint: Endpoint,
    status: int,
    *,
    code: str | None = None,
    message: str = "",
    headers: Mapping[str, str] | None = None,
    now: float = 0.0,
) -> TaskError:
    """Return the failure for an answer that refuses: by the code in its body where we know it, else by its status.

    ``message`` is the server's own sentence; ``now`` (seconds since the epoch) serves Retry-After dates.
    """
    told = _told(endpoint, status, code or "", message)
    meaning = told or _meaning_of(status)
    verdict = _VERDICTS[meaning]
    number = f"HTTP {status}" + (f", code {code}" if code and code != str(status) else "")
    said = quoted(endpoint, message)
    details: dict[str, Any] = {"status": status}
    if code:
        details["provider_code"] = clipped(code, 80)
    if (wait := retry_after(headers or {}, now)) is not None:
        details["retry_after"] = wait
    hint = verdict.hint
    if meaning is Meaning.UNAUTHORIZED and endpoint.key_variables:
        hint = f"check the key in {' or '.join(endpoint.key_variables)} (or the model's `api_key`) and what it may use"
    return TaskError(
        f"{_server(endpoint)} {verdict.says} ({number}){said}",
        code=verdict.code,
        retryable=verdict.retryable or status in _RETRYABLE_4XX,
        classes=_classes(verdict, status, told),
        hint=hint,
        details=details,
    )


def _told(endpoint: Endpoint, status: int, code: str, message: str) -> Meaning | None:
    """Return what the body of an error means, where it tells more than the status."""
    profile = endpoint.profile
    if code in profile.error_codes or code in profile.broken_off:
        return profile.error_codes.get(code) or profile.broken_off[code]
    if status in (400, 413, 422):
        said = message.casefold()
        return next((meaning for phrase, meaning in profile.error_phrases if phrase.casefold() in said), None)
    return None


def _classes(verdict: _Verdict, status: int, told: Meaning | None) -> tuple[str, ...]:
    """Return what ``retry.on`` may call it: by the status the body's code stands for, then by the status it came with.

    The latter is left out where the code says that a retry is in vain: ``on: [http_429]`` must not match an account
    without credit.
    """
    statuses = [verdict.status] if told else []
    if status >= 400 and (verdict.retryable or not told):
        statuses.append(status)
    names = [name for each in statuses for name in (f"http_{each}", f"http_{each // 100}xx")]
    return tuple(dict.fromkeys((*names, *verdict.classes)))


def _meaning_of(status: int) -> Meaning:
    match status:
        case 401 | 403 | 407:
            return Meaning.UNAUTHORIZED
        case 402:
            return Meaning.NO_CREDIT
        case 404 | 405 | 410:
            return Meaning.NOT_FOUND
        case 413:
            return Meaning.PROMPT_TOO_LONG
        case 429:
            return Meaning.RATE_LIMITED
        case 503 | 529:
            return Meaning.OVERLOADED
        case _ if 400 <= status < 500:
            return Meaning.REJECTED
        case _:
            return Meaning.SERVER_ERROR


def withheld(endpoint: Endpoint, reason: str) -> TaskError:
    """Return the failure for an answer whose content the model, or a filter behind it, refused to give."""
    verdict = _VERDICTS[Meaning.CONTENT_REFUSED]
    return TaskError(
        f"{_server(endpoint)} withheld its answer{quoted(endpoint, reason)}",
        code=verdict.code,
        retryable=False,
        classes=("content_filter",),
        hint=verdict.hint,
    )


def redirected(endpoint: Endpoint, status: int, location: str) -> TaskError:
    """Return the failure for an address that points elsewhere: following it could carry the key to a stranger."""
    return TaskError(
        f"{_server(endpoint)} redirects calls elsewhere (HTTP {status}){quoted(endpoint, location)}",
        code="model-not-found",
        retryable=False,
        classes=(f"http_{status}",),
        hint="give the address it redirects to as the base address, if you trust it",
        details={"status": status},
    )


class Limit(StrEnum):
    """Which bound of a call was reached."""

    CONNECT = "connect"
    SILENCE = "silence"
    """A stream said nothing for too long, before its first token or between two."""
    TOTAL = "total"


_LATE: Mapping[Limit, tuple[str, str]] = {
    Limit.CONNECT: ("could not be reached", "check the address and the network"),
    Limit.SILENCE: ("stopped talking: there was no token", "give the model a longer `first_token_timeout`"),
    Limit.TOTAL: ("did not answer in full", "give the model a longer `timeout` under `models:`"),
}


def timed_out(endpoint: Endpoint, seconds: float, limit: Limit) -> TaskError:
    """Return the failure for a server that took too long: to connect, to say a word, or to answer."""
    what, hint = _LATE[limit]
    return TaskError(
        f"{_server(endpoint)} {what} within {seconds:g} s",
        code="model-timeout",
        classes=("timeout", "connection") if limit is Limit.CONNECT else ("timeout",),
        hint=hint,
        details={"limit": limit.value},
    )


def unreachable(endpoint: Endpoint, reason: str, *, retryable: bool = True, hint: str | None = None) -> TaskError:
    """Return the failure for a connection that could not be made, or broke."""
    return TaskError(
        f"{_server(endpoint)} cannot be talked to{quoted(endpoint, reason)}",
        code="model-connection",
        retryable=retryable,
        classes=("connection",),
        hint=hint or "check that the server runs, the base address, and the network",
    )


def bad_response(
    endpoint: Endpoint,
    reason: str,
    *,
    excerpt: bytes | str = "",
    retryable: bool = True,
    hint: str | None = None,
    cut: bool = False,
) -> TaskError:
    """Return the failure for an answer that is not what the protocol promises; ``cut`` off is a matter of the line."""
    if isinstance(excerpt, bytes):
        excerpt = excerpt[: CLIP * 4].decode(errors="replace")
    return TaskError(
        f"{_server(endpoint)} sent an answer that cannot be used: {reason}{quoted(endpoint, excerpt)}",
        code="bad-response",
        retryable=retryable,
        classes=("bad_response", "connection") if cut else ("bad_response",),
        hint=hint or "check that the base address is that of an OpenAI-compatible server",
    )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds a server asks us to wait, None when it does not say.

    Understands ``retry-after-ms``, and ``retry-after`` in seconds or as an HTTP date (RFC 9110, 10.2.3), which is
    read by the server's own clock where the answer carries its ``date``.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return min(milliseconds / 1000, LONGEST_WAIT)
    value = headers.get("retry-after")
    if (seconds := _number(value)) is not None:
        return min(seconds, LONGEST_WAIT)
    due = _date(value)
    if due is None:
        return None
    base = _date(headers.get("date"))
    return min(max(due - (now if base is None else base), 0.0), LONGEST_WAIT)


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\s*[0-9]{1,12}(\.[0-9]{0,9})?\s*", text) else None


def _date(text: str | None) -> float | None:
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
        # A date that claims no zone is in GMT: HTTP knows no other.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def clipped(text: str, limit: int = CLIP) -> str:
    """Return ``text`` on one line, printable, and no longer than ``limit`` characters."""
    head = text[: limit * 4]
    line = " ".join("".join(c if c.isprintable() else " " for c in head).split())
    return line if len(line) <= limit and len(head) == len(text) else f"{line[: limit - 1]}…"


def quoted(endpoint: Endpoint, text: str) -> str:
    """Return ``: text`` for the end of a sentence, clipped and without the endpoint's secrets; empty for no text."""
    if not text:
        return ""
    secrets = [value for value in endpoint.headers.values() if isinstance(value, Secret) or len(value) >= 12]
    if endpoint.api_key is not None:
        secrets.append(endpoint.api_key)
    return f": {clipped(Redactor(secrets).scrub(text[: CLIP * 40]))}"


def _server(endpoint: Endpoint) -> str:
    name = (
        f"{endpoint.name} ({endpoint.model})" if endpoint.name.rpartition("/")[2] != endpoint.model else endpoint.name
    )
    return f"the model {name} at {endpoint.address}"

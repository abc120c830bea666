"""A chat call in the OpenAI form: what is sent, and what is read from the answer.

Pure: bytes out, bytes in. :mod:`autoglm.llm.wire` carries them. Only the fields that are used are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from autoglm.base import jsonvalue
from autoglm.base.errors import TaskError
from autoglm.base.schemas import Schema
from autoglm.llm.errors import bad_response, refusal, withheld
from autoglm.llm.models import Endpoint

Message = Mapping[str, Any]
"""``{"role": …, "content": …}``; content is text or a list of parts."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is asked, in our names; the endpoint's profile puts it into the server's."""

    messages: Sequence[Message]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """``temperature``, ``max_tokens``, ``stop`` … and whatever else the server takes; over the model's own ones."""
    response_format: Mapping[str, Any] | None = None
    schema: Schema | None = None
    """What the answer must fit; not sent (``response_format`` and the messages say it), but a rehearsal keeps to it."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the server counted them; 0 where it did not say."""

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    reported: bool = True
    """False when the answer carried no usage."""


_UNREPORTED = Usage(reported=False)


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. ``raw`` is the whole body as it came."""

    text: str
    reasoning: str | None = None
    finish_reason: str | None = None
    usage: Usage = _UNREPORTED
    model: str | None = None
    id: str | None = None
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back over HTTP, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float = 0.0
    """Seconds since the epoch, for Retry-After dates."""


class _Error(msgspec.Struct):
    code: Any = None
    message: Any = None
    type: Any = None


class _ErrorBody(msgspec.Struct):
    """The forms in which servers say what is wrong: OpenAI's, Zhipu's two, FastAPI's, plain ones."""

    error: _Error | str | None = None
    code: Any = None
    message: Any = None
    msg: Any = None
    detail: Any = None


class _Message(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Any = None
    model: Any = None
    id: Any = None
    error: _Error | str | None = None
    code: Any = None
    """Zhipu reports some failures with status 200 and a body of ``code`` and ``msg``."""


_completion_decoder = msgspec.json.Decoder(_Completion)
_error_decoder = msgspec.json.Decoder(_ErrorBody)


def encode_request(endpoint: Endpoint, request: ChatRequest, note: Callable[[str], None] = lambda _: None) -> bytes:
    """Return the body of the call. ``note`` takes a line for every parameter that this kind of server does not know.

    Raises TaskError ``model-parameter-invalid`` for what the server is known to refuse, and for text that is not
    valid Unicode.
    """
    body: dict[str, Any] = {"model": endpoint.model, "messages": request.messages}
    if request.response_format is not None:
        body["response_format"] = request.response_format
    profile = endpoint.profile
    for name, value in {**endpoint.parameters, **request.parameters}.items():
        if value is None:
            continue
        if name in profile.drops:
            note(f"{endpoint.name} does not take `{name}`: left out")
            continue
        _check_parameter(endpoint, name, value)
        body[profile.renames.get(name, name)] = value
    try:
        return jsonvalue.encode(body)
    except jsonvalue.NotJson as error:
        raise TaskError(
            f"the request to {endpoint.name} cannot be written as JSON: {error}",
            code="model-parameter-invalid",
            retryable=False,
            hint=error.hint or "look at the prompt, the messages and the parameters",
        ) from None


def _check_parameter(endpoint: Endpoint, name: str, value: Any) -> None:
    profile = endpoint.profile
    problem = None
    if name in profile.ranges and isinstance(value, int | float):
        low, high = profile.ranges[name]
        if not low <= value <= high:
            problem = f"takes `{name}` from {low:g} to {high:g}, not {value!r}"
    elif name == "stop" and profile.max_stop is not None and isinstance(value, list) and len(value) > profile.max_stop:
        problem = f"takes at most {profile.max_stop} stop word, not {len(value)}"
    if problem:
        raise TaskError(
            f"the model {endpoint.name} {problem}",
            code="model-parameter-invalid",
            retryable=False,
            hint="change the parameter in the task or under `models:`",
        )


def read_completion(endpoint: Endpoint, answer: Answer) -> Completion:
    """Return what the server answered. Raises the TaskError of :mod:`autoglm.llm.errors` that fits what it did."""
    if not 200 <= answer.status < 300:
        raise _refused(endpoint, answer)
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise bad_response(endpoint, f"its content type is {kind}, not JSON", excerpt=answer.body)
    try:
        decoded = _completion_decoder.decode(answer.body)
    except msgspec.ValidationError as error:
        raise bad_response(endpoint, f"it lacks the form of a chat completion ({error})", excerpt=answer.body) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = "it is not valid UTF-8" if isinstance(error, UnicodeDecodeError) else f"it is not JSON ({error})"
        raise bad_response(endpoint, what, excerpt=answer.body) from None
    if not decoded.choices:
        if decoded.error is not None or decoded.code is not None:
            raise _refused(endpoint, answer)
        raise bad_response(endpoint, "it holds no choices", excerpt=answer.body)
    choice = decoded.choices[0]
    message = choice.message
    if message.refusal or choice.finish_reason in endpoint.profile.refusals:
        raise withheld(endpoint, message.refusal or choice.finish_reason or "")
    return Completion(
        text=_text(message.content),
        reasoning=message.reasoning_content or message.reasoning,
        finish_reason=choice.finish_reason,
        usage=_usage(decoded.usage),
        model=decoded.model if isinstance(decoded.model, str) else None,
        id=decoded.id if isinstance(decoded.id, str) else None,
        raw=answer.body,
    )


def _text(content: str | list[dict[str, Any]] | None) -> str:
    """Return the text of a message's content, which some servers send in parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return content or ""


def _usage(raw: Any) -> Usage:
    """Read usage leniently: a count that is missing or odd must not lose an answer that was paid for."""
    if not isinstance(raw, dict):
        return _UNREPORTED
    given = raw.get("prompt_tokens"), raw.get("completion_tokens")
    return Usage(
        input_tokens=_count(given[0]),
        output_tokens=_count(given[1]),
        reasoning_tokens=_count(_part(raw, "completion_tokens_details", "reasoning_tokens")),
        cached_tokens=_count(_part(raw, "prompt_tokens_details", "cached_tokens")),
        reported=any(isinstance(count, int) for count in given),
    )


def _part(raw: dict[str, Any], outer: str, inner: str) -> Any:
    details = raw.get(outer)
    return details.get(inner) if isinstance(details, dict) else None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else 0


def _refused(endpoint: Endpoint, answer: Answer) -> TaskError:
    code, message = _said(answer.body)
    status = answer.status
    if status < 400 and code and len(code) == 3 and code.isdecimal() and code[0] in "45":
        status = int(code)  # a gateway that puts the real status into the body of a 200
    if status < 400 and code not in endpoint.profile.error_codes:
        return bad_response(endpoint, f"it is an error under status {status}", excerpt=message or answer.body)
    return refusal(endpoint, status, code=code, message=message, headers=answer.headers, now=answer.received_at)


def _said(body: bytes) -> tuple[str | None, str]:
    """Return the code and the sentence in the body of an error; the body itself where it has neither."""
    fallback = body[:2000].decode(errors="replace")
    if fallback.lstrip()[:1] == "<":
        fallback = ""  # a page of HTML tells a reader less than the status does
    try:
        decoded = _error_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, fallback
    error = decoded.error
    if isinstance(error, _Error):
        code = error.code if error.code is not None else error.type
        message = error.message
    else:
        code = decoded.code
        message = error or decoded.message or decoded.msg or decoded.detail
    if message is not None and not isinstance(message, str):
        message = msgspec.json.encode(message).decode()
    return (None if code is None else str(code)), message or fallback

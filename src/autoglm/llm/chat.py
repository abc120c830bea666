"""A chat call in the OpenAI form: what is sent, and what is read from the answer.

Pure: bytes out, bytes in. :mod:`autoglm.llm.wire` carries them. Only the fields that are used are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from autoglm.base import jsonvalue
from autoglm.base.errors import TaskError
from autoglm.base.schemas import Schema
from autoglm.llm.errors import bad_response, refusal, withheld
from autoglm.llm.models import Endpoint
from autoglm.llm.profiles import Profile

Message = Mapping[str, Any]
"""``{"role": …, "content": …}``; content is text or a list of parts."""


class ChatRequest(msgspec.Struct, frozen=True):
    """What is asked, in our names; the endpoint's profile puts it into the server's."""

    messages: Sequence[Message]
    parameters: Mapping[str, Any] = {}
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


class ToolCall(msgspec.Struct, frozen=True):
    """A function that the model wants to be called."""

    id: str
    name: str
    arguments: str
    """JSON text, as the model wrote it: it may be anything."""


class Choice(msgspec.Struct, frozen=True):
    """One of the answers to a call."""

    text: str
    reasoning: str | None = None
    finish_reason: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()
    """A ``{token, logprob, top_logprobs}`` for each token, where they were asked for and the server gives them."""


class Completion(msgspec.Struct, frozen=True):
    """One answer. ``raw`` is the whole body as it came; of a stream, what it came to as one body."""

    text: str
    reasoning: str | None = None
    finish_reason: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()
    more: tuple[Choice, ...] = ()
    """The further answers of a call that asked for several (``n``)."""
    usage: Usage = _UNREPORTED
    model: str | None = None
    id: str | None = None
    raw: bytes = b""

    def body(self) -> bytes:
        """Return the answer as a body that :func:`read_completion` reads: ``raw``, or made from the fields."""
        return self.raw or _written(self)


class Answer(msgspec.Struct, frozen=True):
    """What came back over HTTP, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float = 0.0
    """Seconds since the epoch, for Retry-After dates."""


class WireError(msgspec.Struct):
    """What servers put under ``error``."""

    code: Any = None
    message: Any = None
    type: Any = None


class _ErrorBody(msgspec.Struct):
    """The forms in which servers say what is wrong: OpenAI's, Zhipu's two, FastAPI's, plain ones."""

    error: WireError | str | None = None
    code: Any = None
    message: Any = None
    msg: Any = None
    detail: Any = None


class Function(msgspec.Struct):
    """The function of a tool call, as it travels; in a stream, a piece of it."""

    name: str | None = None
    arguments: Any = None


class WireToolCall(msgspec.Struct):
    """A tool call as it travels; in a stream, a piece of it."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class WireMessage(msgspec.Struct):
    """A message as it travels; in a stream, a piece of it."""

    content: str | list[dict[str, Any]] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[WireToolCall] | None = None


class _Choice(msgspec.Struct):
    message: WireMessage
    finish_reason: str | None = None
    logprobs: Any = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Any = None
    model: Any = None
    id: Any = None
    error: WireError | str | None = None
    code: Any = None
    """Zhipu reports some failures with status 200 and a body of ``code`` and ``msg``."""


_completion_decoder = msgspec.json.Decoder(_Completion)
_error_decoder = msgspec.json.Decoder(_ErrorBody)


def encode_request(
    endpoint: Endpoint, request: ChatRequest, note: Callable[[str], None] = lambda _: None, *, stream: bool = False
) -> bytes:
    """Return the body of the call. ``note`` takes a line for every parameter that this kind of server does not know.

    Raises TaskError ``model-parameter-invalid`` for what the server is known to refuse, and for text that is not
    valid Unicode.
    """
    body: dict[str, Any] = {"model": endpoint.model, "messages": request.messages}
    if stream:
        body["stream"] = True
        if "stream_options" not in endpoint.profile.drops:
            body.setdefault("stream_options", {"include_usage": True})
    text = encode_body(endpoint, body, request.parameters, note)
    form = request.response_format
    if form is None or _FORM in request.parameters or _FORM in endpoint.parameters:
        return text
    return b'%s,"%s":%s}' % (text[:-1], _FORM.encode(), _form_text(form))


def _form_text(form: Mapping[str, Any]) -> bytes:
    """Return a form of answer as JSON text, written once: the calls of a loop all bring the same object."""
    known = _form_texts.get(id(form))
    if known is not None and known[0] is form:
        return known[1]
    text = jsonvalue.encode(form)
    if len(_form_texts) >= _MOST_FORMS:
        _form_texts.clear()
    _form_texts[id(form)] = (form, text)
    return text


_FORM: Final = "response_format"
_MOST_FORMS: Final = 256
_form_texts: dict[int, tuple[Mapping[str, Any], bytes]] = {}


def encode_body(
    endpoint: Endpoint, body: dict[str, Any], parameters: Mapping[str, Any], note: Callable[[str], None]
) -> bytes:
    """Return ``body`` with the model's parameters and the call's own ones, as the server takes them, as JSON."""
    profile = endpoint.profile
    for name, value in {**endpoint.parameters, **parameters}.items():
        if value is None:
            continue
        if name in profile.drops:
            note(f"{endpoint.name} does not take `{name}`: left out")
            continue
        if value not in profile.takes_only.get(name, (value,)):
            note(f"{endpoint.name} does not take {value!r} for `{name}`: left out")
            continue
        check_parameter(endpoint, name, value)
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


def check_parameter(endpoint: Endpoint, name: str, value: Any) -> None:
    """Raise TaskError ``model-parameter-invalid`` for a value that the server is known to refuse."""
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


T = TypeVar("T")


def decode_answer(endpoint: Endpoint, answer: Answer, decoder: msgspec.json.Decoder[T], what: str) -> T:
    """Return the body of an answer in the form of ``decoder``; ``what`` that is goes into the error.

    Raises the TaskError of :mod:`autoglm.llm.errors` that fits what the server did.
    """
    if not 200 <= answer.status < 300:
        raise refused(endpoint, answer)
    kind = media_type(answer.headers)
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise bad_response(endpoint, f"its content type is {kind}, not JSON", excerpt=answer.body)
    return decode_body(endpoint, answer.body, decoder, what)


def decode_body(endpoint: Endpoint, body: bytes, decoder: msgspec.json.Decoder[T], what: str) -> T:
    """Decode a body, or a piece of a stream. Raises TaskError ``bad-response``."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise bad_response(endpoint, f"it lacks the form of {what} ({error})", excerpt=body) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "it is not valid UTF-8" if isinstance(error, UnicodeDecodeError) else f"it is not JSON ({error})"
        raise bad_response(endpoint, reason, excerpt=body) from None


def media_type(headers: Mapping[str, str]) -> str:
    """Return the content type without its parameters, in lower case; empty where there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def read_completion(endpoint: Endpoint, answer: Answer) -> Completion:
    """Return what the server answered. Raises the TaskError of :mod:`autoglm.llm.errors` that fits what it did."""
    decoded = decode_answer(endpoint, answer, _completion_decoder, "a chat completion")
    if not decoded.choices:
        if decoded.error is not None or decoded.code is not None:
            raise refused(endpoint, answer)
        raise bad_response(endpoint, "it holds no choices", excerpt=answer.body)
    first, *others = [_choice(endpoint, each) for each in decoded.choices]
    return Completion(
        text=first.text,
        reasoning=first.reasoning,
        finish_reason=first.finish_reason,
        tool_calls=first.tool_calls,
        logprobs=first.logprobs,
        more=tuple(others),
        usage=read_usage(endpoint.profile, decoded.usage),
        model=decoded.model if isinstance(decoded.model, str) else None,
        id=decoded.id if isinstance(decoded.id, str) else None,
        raw=answer.body,
    )


def _choice(endpoint: Endpoint, choice: _Choice) -> Choice:
    message = choice.message
    if message.refusal or choice.finish_reason in endpoint.profile.refusals:
        raise withheld(endpoint, message.refusal or choice.finish_reason or "")
    if choice.finish_reason in endpoint.profile.broken_off:
        raise refusal(endpoint, 200, code=choice.finish_reason, message="it gave up in the middle of its answer")
    return Choice(
        message_text(message.content),
        next((text for name in endpoint.profile.reasoning_at if (text := getattr(message, name, None))), None),
        choice.finish_reason,
        tuple(_tool_call(call, at) for at, call in enumerate(message.tool_calls)) if message.tool_calls else (),
        read_logprobs(choice.logprobs),
    )


def _written(completion: Completion) -> bytes:
    first = Choice(
        completion.text, completion.reasoning, completion.finish_reason, completion.tool_calls, completion.logprobs
    )
    used = completion.usage
    usage = {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "completion_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
        "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
    }
    body = {
        "id": completion.id,
        "model": completion.model,
        "choices": [_written_choice(each) for each in (first, *completion.more)],
        "usage": usage if used.reported else None,
    }
    return msgspec.json.encode(body)


def _written_choice(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text}
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.tool_calls
        ]
    written: dict[str, Any] = {"message": message, "finish_reason": choice.finish_reason}
    return {**written, "logprobs": {"content": choice.logprobs}} if choice.logprobs else written


def _tool_call(call: WireToolCall, at: int) -> ToolCall:
    function = call.function or Function()
    arguments = function.arguments
    if arguments is None:
        arguments = ""
    elif not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()  # Ollama's own form sends the object itself
    return ToolCall(call.id or f"call_{at}", function.name or "", arguments)


def read_logprobs(raw: Any) -> tuple[dict[str, Any], ...]:
    """Read log-probabilities leniently: what is odd is left out."""
    content = raw.get("content") if isinstance(raw, dict) else None
    return tuple(each for each in content if isinstance(each, dict)) if isinstance(content, list) else ()


def message_text(content: str | list[dict[str, Any]] | None) -> str:
    """Return the text of a message's content, which some servers send in parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return content or ""


def read_usage(profile: Profile, raw: Any) -> Usage:
    """Read usage leniently: a count that is missing or odd must not lose an answer that was paid for."""
    if not isinstance(raw, dict):
        return _UNREPORTED
    prompt, completion = raw.get("prompt_tokens"), raw.get("completion_tokens")
    return Usage(
        input_tokens=_count(prompt),
        output_tokens=_count(completion),
        reasoning_tokens=_first_count(raw, profile.reasoning_tokens_at),
        cached_tokens=_first_count(raw, profile.cached_tokens_at),
        reported=isinstance(prompt, int) or isinstance(completion, int),
    )


def _first_count(raw: dict[str, Any], paths: Sequence[str]) -> int:
    """Return the count at the first of some ``/``-separated paths that leads to one."""
    for path in paths:
        key, _, rest = path.partition("/")
        value = raw.get(key)
        while rest and value is not None:
            key, _, rest = rest.partition("/")
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None and (count := _count(value)):
            return count
    return 0


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else 0


def refused(endpoint: Endpoint, answer: Answer) -> TaskError:
    """Return the failure for an answer that is a refusal, by its status or by its body."""
    code, message = _said(endpoint, answer.body)
    status = answer.status
    if status < 400 and code and len(code) == 3 and code.isdecimal() and code[0] in "45":
        status = int(code)  # a gateway that puts the real status into the body of a 200
    if status < 400 and code not in endpoint.profile.error_codes:
        return bad_response(endpoint, f"it is an error under status {status}", excerpt=message or answer.body)
    return refusal(endpoint, status, code=code, message=message, headers=answer.headers, now=answer.received_at)


def _said(endpoint: Endpoint, body: bytes) -> tuple[str | None, str]:
    """Return the code and the sentence in the body of an error; the body itself where it has neither.

    Where the profile knows the ``type`` of an error and not its code, the type is what counts.
    """
    fallback = body[:2000].decode(errors="replace")
    if fallback.lstrip()[:1] == "<":
        fallback = ""  # a page of HTML tells a reader less than the status does
    try:
        decoded = _error_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, fallback
    error = decoded.error
    if isinstance(error, WireError):
        code, kind, message = error.code, error.type, error.message
        known = endpoint.profile.error_codes
        if code is None or (str(code) not in known and isinstance(kind, str) and kind in known):
            code = kind
    else:
        code = decoded.code
        message = error or decoded.message or decoded.msg or decoded.detail
    if message is not None and not isinstance(message, str):
        message = msgspec.json.encode(message).decode()
    return (None if code is None else str(code)), message or fallback

"""A chat answer that comes in pieces: server-sent events, and what they add up to.

Pure: bytes in. Events are read as https://html.spec.whatwg.org/multipage/server-sent-events.html says, and leniently
where servers differ: a line of bare JSON counts as data, and so does what stands after the last line break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from autoglm.llm.chat import (
    Answer,
    Completion,
    WireError,
    WireMessage,
    WireToolCall,
    decode_body,
    message_text,
    read_completion,
    refused,
)
from autoglm.llm.errors import bad_response
from autoglm.llm.models import Endpoint

DONE = b"[DONE]"


class EventReader:
    """Cuts bytes into the data of events, wherever the network cut them."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        """The line that has not ended, in the pieces in which it came: joined once, however many there are."""
        self._data: list[bytes] = []
        self._is_first = True

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Take bytes and give the data of each event that they complete."""
        self._held.append(piece)
        if b"\n" not in piece and b"\r" not in piece and not self._is_first:
            return
        text = b"".join(self._held)
        if self._is_first and len(text) >= 3:
            text = text.removeprefix(b"\xef\xbb\xbf")
            self._is_first = False
        half = b""
        if b"\r" in text:
            if text.endswith(b"\r"):  # it may be the first half of a line break
                text, half = text[:-1], b"\r"
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._held = [rest + half]
        for line in lines:
            if (data := self._line(line)) is not None:
                yield data

    def end(self) -> Iterator[bytes]:
        """Give what stands after the last line break, for servers that forget it."""
        yield from self.feed(b"\n\n")

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            if self._data:
                data, self._data = b"\n".join(self._data), []
                return data
        elif line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line[:1] == b"{":
            self._data.append(line)
        return None


class _Delta(msgspec.Struct):
    delta: WireMessage | None = None
    message: WireMessage | None = None
    index: int = 0
    finish_reason: str | None = None
    logprobs: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Delta] | None = None
    usage: Any = None
    model: Any = None
    id: Any = None
    error: WireError | str | None = None
    code: Any = None


_decoder = msgspec.json.Decoder(_Chunk)


@dataclass(slots=True)
class _Growing:
    """One of the answers, as far as it has come."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    finish_reason: str | None = None


class StreamReader:
    """Adds up the pieces of one answer. ``on_text`` is told each piece of the first answer's text as it comes."""

    def __init__(self, endpoint: Endpoint, on_text: Callable[[str], None] = lambda _: None) -> None:
        self._endpoint = endpoint
        self._on_text = on_text
        self._choices: dict[int, _Growing] = {}
        self._usage: Any = None
        self._model: Any = None
        self._id: Any = None
        self.is_done = False
        """True once the server said so; what follows is not read."""

    def take(self, data: bytes) -> None:
        """Take the data of one event. Raises TaskError for one that cannot be read, or that says what went wrong."""
        if data.strip() == DONE:
            self.is_done = True
            return
        chunk = decode_body(self._endpoint, data, _decoder, "a piece of a chat completion")
        if not chunk.choices and (chunk.error is not None or chunk.code is not None):
            raise refused(self._endpoint, Answer(200, {}, data))
        self._usage = chunk.usage or self._usage
        self._model = self._model or chunk.model
        self._id = self._id or chunk.id
        for delta in chunk.choices or ():
            self._grow(delta)

    def completion(self) -> Completion:
        """Return the whole answer. Raises TaskError ``bad-response`` when the stream ended before it did."""
        if not self._choices:
            raise bad_response(self._endpoint, "its stream holds no answer")
        if not self.is_done and any(each.finish_reason is None for each in self._choices.values()):
            raise bad_response(self._endpoint, "its stream ends in the middle of the answer", cut=True)
        return read_completion(self._endpoint, Answer(200, {}, self._body()))

    def _grow(self, delta: _Delta) -> None:
        growing = self._choices.get(delta.index)
        if growing is None:
            growing = self._choices[delta.index] = _Growing()
        message = delta.delta or delta.message
        if delta.finish_reason is not None:
            growing.finish_reason = delta.finish_reason
        if isinstance(delta.logprobs, dict) and isinstance(content := delta.logprobs.get("content"), list):
            growing.logprobs += content
        if message is None:
            return
        if message.content and (text := message_text(message.content)):
            growing.text.append(text)
            if delta.index == 0:
                self._on_text(text)
        if thought := message.reasoning_content or message.reasoning:
            growing.reasoning.append(thought)
        if message.refusal:
            growing.refusal.append(message.refusal)
        for at, call in enumerate(message.tool_calls or ()):
            _grow_call(growing.calls, call, at)

    def _body(self) -> bytes:
        """Return what the pieces come to, in the form of an answer that came at once."""
        choices = [
            {
                "index": index,
                "message": {
                    "role": "assistant",
                    "content": "".join(growing.text),
                    **({"reasoning_content": "".join(growing.reasoning)} if growing.reasoning else {}),
                    **({"refusal": "".join(growing.refusal)} if growing.refusal else {}),
                    **({"tool_calls": [call for _, call in sorted(growing.calls.items())]} if growing.calls else {}),
                },
                "finish_reason": growing.finish_reason,
                **({"logprobs": {"content": growing.logprobs}} if growing.logprobs else {}),
            }
            for index, growing in sorted(self._choices.items())
        ]
        body = {"id": self._id, "model": self._model, "choices": choices, "usage": self._usage}
        return msgspec.json.encode(body)


def _grow_call(calls: dict[int, dict[str, Any]], piece: WireToolCall, at: int) -> None:
    """Add a piece of a tool call: the first brings id and name, the later ones more of its arguments."""
    call = calls.setdefault(
        at if piece.index is None else piece.index,
        {"id": None, "type": "function", "function": {"name": "", "arguments": ""}},
    )
    call["id"] = call["id"] or piece.id
    if piece.function is not None:
        function = call["function"]
        function["name"] = function["name"] or piece.function.name or ""
        arguments = piece.function.arguments
        if isinstance(arguments, str):
            function["arguments"] += arguments
        elif arguments is not None:
            function["arguments"] += msgspec.json.encode(arguments).decode()

"""Calls through the ``anthropic`` package (https://docs.anthropic.com/en/api/messages), imported by ``load_adapter``.

The messages protocol differs from the OpenAI form in where the system's words stand, in the blocks of a message and in
how tools are named: requests are put into its form here, and answers back into the OpenAI one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import anthropic
import msgspec

from autoglm.llm.adapters import Clients
from autoglm.llm.adapters.openai_sdk import failure
from autoglm.llm.chat import Answer, ChatRequest, Completion, encode_request, read_completion
from autoglm.llm.models import Endpoint
from autoglm.llm.transport import CONNECT_TIMEOUT, TOTAL_TIMEOUT
from autoglm.llm.wire import Note

_MAX_TOKENS: Final = 4096
"""The protocol wants a number; this one holds where nobody gives another."""
_FINISHED: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class AnthropicSdk:
    """Makes chat calls with ``anthropic.AsyncAnthropic``."""

    def __init__(self) -> None:
        self._clients = Clients(_make)

    async def chat(
        self,
        endpoint: Endpoint,
        request: ChatRequest,
        note: Note,
        *,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Return the answer to one call; with ``on_text`` it is streamed. Raises TaskError."""
        body = _request(json.loads(encode_request(endpoint, request, note)))
        known = {name: body.pop(name) for name in ("model", "messages", "max_tokens")}
        messages = self._clients.get(endpoint).messages
        try:
            if on_text is None:
                answer = (await messages.create(**known, extra_body=body)).model_dump()
            else:
                answer = await _streamed(await messages.create(**known, extra_body=body, stream=True), on_text)
        except anthropic.AnthropicError as error:
            raise failure(endpoint, error, anthropic) from None
        return read_completion(endpoint, Answer(200, {}, msgspec.json.encode(_answer(answer))))

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._clients.close()


def _make(endpoint: Endpoint) -> anthropic.AsyncAnthropic:
    total = endpoint.timeout or TOTAL_TIMEOUT
    return anthropic.AsyncAnthropic(
        api_key=str(endpoint.api_key) if endpoint.api_key else "none",
        base_url=endpoint.base_url.rstrip("/"),
        max_retries=0,  # ours are counted and journaled
        default_headers=dict(endpoint.headers),
        timeout=anthropic.Timeout(total, connect=endpoint.connect_timeout or CONNECT_TIMEOUT),
        http_client=anthropic.DefaultAsyncHttpxClient(proxy=endpoint.proxy) if endpoint.proxy else None,
    )


# ------------------------------------------------------------------------------------------------------- requests


def _request(body: dict[str, Any]) -> dict[str, Any]:
    """Return a request in the OpenAI form as one in the messages form."""
    system = "\n\n".join(
        str(each.get("content") or "") for each in body["messages"] if each["role"] in ("system", "developer")
    )
    turns: list[dict[str, Any]] = []
    for message in body.pop("messages"):
        if message["role"] in ("system", "developer"):
            continue
        role = "assistant" if message["role"] == "assistant" else "user"
        if turns and turns[-1]["role"] == role:  # turns alternate
            turns[-1]["content"] += _blocks(message)
        else:
            turns.append({"role": role, "content": _blocks(message)})
    stop = body.pop("stop", None)
    tools = body.pop("tools", None)
    body.pop("response_format", None)  # the schema stands in the prompt
    request = {"max_tokens": _MAX_TOKENS, **body, "messages": turns}
    if system:
        request["system"] = system
    if stop is not None:
        request["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if tools:
        request["tools"] = [_tool(each["function"]) for each in tools]
    return request


def _blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    if message["role"] == "tool":
        return [{"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": str(content or "")}]
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []
    blocks = [_block(part) for part in parts]
    for call in message.get("tool_calls") or ():
        function = call["function"]
        given = json.loads(function.get("arguments") or "{}")
        blocks.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": given})
    return blocks


def _block(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") != "image_url":
        return dict(part)
    url = part["image_url"]["url"]
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    head, _, content = url.partition(",")
    kind = head.removeprefix("data:").partition(";")[0]
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": content}}


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    return {"name": function["name"], "description": function.get("description") or "", "input_schema": schema}


# -------------------------------------------------------------------------------------------------------- answers


async def _streamed(events: Any, on_text: Callable[[str], None]) -> dict[str, Any]:
    """Add up the events of a stream to the message they are pieces of."""
    message: dict[str, Any] = {"content": []}
    async for event in events:
        match event.type:
            case "message_start":
                message = {**event.message.model_dump(), "content": []}
            case "content_block_start":
                message["content"].append({**event.content_block.model_dump(), "pieces": ""})
            case "content_block_delta":
                _grow(message["content"][-1], event.delta, on_text)
            case "message_delta":
                message["stop_reason"] = event.delta.stop_reason
                used = {name: each for name, each in event.usage.model_dump().items() if each is not None}
                message["usage"] = {**(message.get("usage") or {}), **used}
            case _:
                continue
    for block in message["content"]:
        if pieces := block.pop("pieces", ""):
            block["input"] = json.loads(pieces)
    return message


def _grow(block: dict[str, Any], delta: Any, on_text: Callable[[str], None]) -> None:
    if delta.type == "text_delta":
        block["text"] += delta.text
        on_text(delta.text)
    elif delta.type == "thinking_delta":
        block["thinking"] += delta.thinking
    elif delta.type == "input_json_delta":
        block["pieces"] += delta.partial_json


def _answer(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer of the messages protocol in the OpenAI form."""
    blocks = message.get("content") or []
    said: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(block["text"] for block in blocks if block["type"] == "text"),
    }
    if thought := "".join(block["thinking"] for block in blocks if block["type"] == "thinking"):
        said["reasoning_content"] = thought
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": json.dumps(block["input"])},
        }
        for block in blocks
        if block["type"] == "tool_use"
    ]
    if calls:
        said["tool_calls"] = calls
    reason = message.get("stop_reason")
    return {
        "id": message.get("id"),
        "model": message.get("model"),
        "choices": [{"index": 0, "message": said, "finish_reason": _FINISHED.get(reason or "", reason)}],
        "usage": _usage(message.get("usage")),
    }


def _usage(used: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return usage in the OpenAI form, where the prompt's tokens include those that came out of a cache."""
    if not used:
        return None
    cached = used.get("cache_read_input_tokens") or 0
    written = used.get("cache_creation_input_tokens") or 0
    return {
        "prompt_tokens": (used.get("input_tokens") or 0) + cached + written,
        "completion_tokens": used.get("output_tokens") or 0,
        "prompt_tokens_details": {"cached_tokens": cached},
    }

"""Calls through the ``openai`` package (https://github.com/openai/openai-python), imported by ``load_adapter``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import openai

from autoglm.base.errors import TaskError
from autoglm.llm.adapters import Clients
from autoglm.llm.chat import Answer, ChatRequest, Completion, encode_request, read_completion, refused
from autoglm.llm.errors import Limit, bad_response, timed_out, unreachable
from autoglm.llm.models import Endpoint
from autoglm.llm.streaming import StreamReader
from autoglm.llm.transport import CONNECT_TIMEOUT, TOTAL_TIMEOUT
from autoglm.llm.wire import Note


class OpenAiSdk:
    """Makes chat calls with ``openai.AsyncOpenAI``."""

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
        body = json.loads(encode_request(endpoint, request, note, stream=on_text is not None))
        known = {"model": body.pop("model"), "messages": body.pop("messages")}
        is_streamed = body.pop("stream", False)
        calls = self._clients.get(endpoint).chat.completions
        try:
            if is_streamed:
                reader = StreamReader(endpoint, on_text or (lambda _: None))
                async for chunk in await calls.create(**known, extra_body=body, stream=True):
                    reader.take(chunk.model_dump_json().encode())
                return reader.completion()
            raw = await calls.with_raw_response.create(**known, extra_body=body)
        except openai.OpenAIError as error:
            raise failure(endpoint, error, openai) from None
        return read_completion(endpoint, Answer(raw.status_code, raw.headers, raw.content, time.time()))

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._clients.close()


def _make(endpoint: Endpoint) -> openai.AsyncOpenAI:
    total = endpoint.timeout or TOTAL_TIMEOUT
    return openai.AsyncOpenAI(
        api_key=str(endpoint.api_key) if endpoint.api_key else "none",
        base_url=endpoint.base_url,
        max_retries=0,  # ours are counted and journaled
        default_headers=dict(endpoint.headers),
        timeout=openai.Timeout(total, connect=endpoint.connect_timeout or CONNECT_TIMEOUT),
        http_client=openai.DefaultAsyncHttpxClient(proxy=endpoint.proxy) if endpoint.proxy else None,
    )


def failure(endpoint: Endpoint, error: Exception, sdk: Any) -> TaskError:
    """Return the coded failure for an error of an SDK of this family: ``openai`` and ``anthropic`` have the same."""
    if isinstance(error, sdk.APIStatusError):
        response = error.response
        return refused(endpoint, Answer(response.status_code, response.headers, response.content, time.time()))
    if isinstance(error, sdk.APITimeoutError):
        return timed_out(endpoint, endpoint.timeout or TOTAL_TIMEOUT, Limit.TOTAL)
    if isinstance(error, sdk.APIConnectionError):
        return unreachable(endpoint, "the connection could not be made, or broke")
    return bad_response(endpoint, f"the library {sdk.__name__} cannot read it ({type(error).__name__})")

"""The adapters for providers' libraries, against servers on loopback: the answers and failures of our own client."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from autoglm.base.errors import TaskError
from autoglm.llm.adapters import load_adapter
from autoglm.llm.chat import ChatRequest
from autoglm.llm.models import resolve_model
from autoglm.llm.profiles import ANTHROPIC, OPENAI
from autoglm.spec.model import ModelSpec
from tests.llm.loopback import listening

from .peer import chunk, completion, events, http, script, serve, stream_head
from .test_wire import HELLO, KEY, endpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def called(name: str, url: str, request: ChatRequest = HELLO, on_text=None, **changes: Any):
    async def main():
        adapter = load_adapter(name)
        try:
            return await adapter.chat(endpoint(url, **changes), request, lambda _: None, on_text=on_text)
        finally:
            await adapter.close()

    return main()


class TestOpenAi:
    def test_a_call(self):
        async def main():
            async with serve() as peer:
                request = ChatRequest(HELLO.messages, {"max_tokens": 5, "top_k": 3}, {"type": "json_object"})
                got = await called("openai", peer.url, request, profile=OPENAI, headers={"X-Team": "a"})
                return got, peer

        got, peer = asyncio.run(main())
        assert (got.text, got.usage.input_tokens, got.model) == ("hello", 7, "served-model")
        assert json.loads(got.raw) == completion()
        assert peer.requests == [
            {
                "model": "m",
                "messages": list(HELLO.messages),
                "max_completion_tokens": 5,
                "top_k": 3,
                "response_format": {"type": "json_object"},
            }
        ]
        assert peer.headers[0]["authorization"] == f"Bearer {KEY}"
        assert peer.headers[0]["x-team"] == "a"

    def test_a_stream(self):
        async def main():
            told: list[str] = []
            usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}
            body = events(chunk("hel"), chunk("lo"), chunk(finish="stop"), usage, "[DONE]")
            async with script(stream_head(), body) as peer:
                return await called("openai", peer.url, on_text=told.append), told

        got, told = asyncio.run(main())
        assert (got.text, told, got.usage.output_tokens) == ("hello", ["hel", "lo"], 3)

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (http(429, {"error": {"message": "slow"}}, Retry_After="7"), "model-rate-limited"),
            (http(401, {"error": {"message": "no"}}), "model-unauthorized"),
            (http(500, b"oops", "text/plain"), "model-server-error"),
            (http(200, b"{nonsense"), "bad-response"),
            (http(200, b"<p>", "text/html"), "bad-response"),
            (b"", "model-connection"),
        ],
    )
    def test_failures_are_ours_and_nothing_is_repeated(self, answer, code):
        async def main():
            async with script(answer) as peer:
                with pytest.raises(TaskError) as caught:
                    await called("openai", peer.url, profile=OPENAI)
                return caught.value, peer.connections

        error, connections = asyncio.run(main())
        assert (error.code, connections) == (code, 1)
        if code == "model-rate-limited":
            assert error.details["retry_after"] == 7.0

    def test_a_timeout(self):
        async def main():
            never = asyncio.Event()
            async with script(never) as peer:
                with pytest.raises(TaskError) as caught:
                    await called("openai", peer.url, timeout=0.2)
                never.set()
                return caught.value

        assert asyncio.run(main()).code == "model-timeout"


ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "served-claude",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "hello"},
        {"type": "tool_use", "id": "t1", "name": "add", "input": {"x": 1}},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 1},
}


def _key(request: web.Request) -> str | None:
    """Return the key, in either of the headers that versions of the library send it in."""
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    return bearer or request.headers.get("x-api-key")


@asynccontextmanager
async def anthropic_server(answer: Any):
    """Run a server that speaks the messages protocol; yield its address and what it is sent."""
    sent: list[dict[str, Any]] = []

    async def messages(request: web.Request) -> web.StreamResponse:
        sent.append({**await request.json(), "key": _key(request)})
        if callable(answer):
            return await answer(request)
        return web.json_response(answer)

    async with listening(web.post("/v1/messages", messages)) as address:
        yield address, sent


async def streamed(request: web.Request) -> web.StreamResponse:
    pieces = [
        {
            "type": "message_start",
            "message": {**ANSWER, "content": [], "stop_reason": None, "usage": {"input_tokens": 3, "output_tokens": 0}},
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hel"}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "t1", "name": "add", "input": {}},
        },
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"x":'}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": " 1}"}},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 9},
        },
        {"type": "message_stop"},
    ]
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for piece in pieces:
        await response.write(f"event: {piece['type']}\ndata: {json.dumps(piece)}\n\n".encode())
    return response


class TestAnthropic:
    def test_a_call_goes_into_its_form_and_comes_back_in_ours(self):
        async def main():
            async with anthropic_server(ANSWER) as (url, sent):
                image = "data:image/png;base64,AAAA"
                request = ChatRequest(
                    [
                        {"role": "system", "content": "Be brief."},
                        {
                            "role": "user",
                            "content": [
                                {"type": "text", "text": "a"},
                                {"type": "image_url", "image_url": {"url": image}},
                            ],
                        },
                        {
                            "role": "assistant",
                            "content": "b",
                            "tool_calls": [{"id": "t0", "function": {"name": "add", "arguments": '{"x": 0}'}}],
                        },
                        {"role": "tool", "tool_call_id": "t0", "content": "0"},
                        {"role": "user", "content": "c"},
                    ],
                    {
                        "stop": "END",
                        "seed": 3,
                        "temperature": 0.5,
                        "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
                    },
                )
                return await called("anthropic", url, request, profile=ANTHROPIC), sent

        got, (sent,) = asyncio.run(main())
        assert (got.text, got.reasoning, got.finish_reason, got.id) == ("hello", "hm", "stop", "msg_1")
        assert (got.usage.input_tokens, got.usage.output_tokens, got.usage.cached_tokens) == (9, 4, 5)
        assert [(call.id, call.name, call.arguments) for call in got.tool_calls] == [("t1", "add", '{"x": 1}')]
        assert sent.pop("key") == KEY
        assert sent == {
            "model": "m",
            "max_tokens": 4096,
            "system": "Be brief.",
            "temperature": 0.5,
            "stop_sequences": ["END"],
            "tools": [{"name": "add", "description": "", "input_schema": {"type": "object"}}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "b"},
                        {"type": "tool_use", "id": "t0", "name": "add", "input": {"x": 0}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t0", "content": "0"},
                        {"type": "text", "text": "c"},
                    ],
                },
            ],
        }

    def test_a_stream(self):
        async def main():
            told: list[str] = []
            async with anthropic_server(streamed) as (url, sent):
                return await called("anthropic", url, on_text=told.append, profile=ANTHROPIC), told, sent

        got, told, (sent,) = asyncio.run(main())
        assert (got.text, told, got.finish_reason) == ("hello", ["hel", "lo"], "tool_calls")
        assert got.tool_calls[0].arguments == '{"x": 1}'
        assert (got.usage.input_tokens, got.usage.output_tokens, sent["stream"]) == (3, 9, True)

    @pytest.mark.parametrize(
        ("status", "error", "code"),
        [
            (429, {"type": "rate_limit_error", "message": "slow"}, "model-rate-limited"),
            (529, {"type": "overloaded_error", "message": "full"}, "model-overloaded"),
            (401, {"type": "authentication_error", "message": "no"}, "model-unauthorized"),
            (400, {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}, "prompt-too-long"),
            (400, {"type": "invalid_request_error", "message": "Your credit balance is too low"}, "model-no-credit"),
            (500, {"type": "api_error", "message": "oops"}, "model-server-error"),
        ],
    )
    def test_failures_are_ours_and_nothing_is_repeated(self, status, error, code):
        async def refuse(_request):
            return web.json_response({"type": "error", "error": error}, status=status)

        async def main():
            async with anthropic_server(refuse) as (url, sent):
                with pytest.raises(TaskError) as caught:
                    await called("anthropic", url, profile=ANTHROPIC)
                return caught.value, len(sent)

        failed, calls = asyncio.run(main())
        assert (failed.code, calls) == (code, 1)

    def test_a_refusal(self):
        async def main():
            async with anthropic_server({**ANSWER, "stop_reason": "refusal"}) as (url, _):
                with pytest.raises(TaskError) as caught:
                    await called("anthropic", url, profile=ANTHROPIC)
                return caught.value.code

        assert asyncio.run(main()) == "answer-refused"


class TestChoosing:
    def test_a_provider_that_needs_a_library_names_it(self):
        got = resolve_model("anthropic/claude-x", {}, {}, {"ANTHROPIC_API_KEY": "k" * 12})
        assert (got.adapter, got.base_url, got.profile) == ("anthropic", "https://api.anthropic.com/", ANTHROPIC)
        assert resolve_model("openai/gpt-x", {}, {}, {"OPENAI_API_KEY": "k" * 12}).adapter is None

    def test_a_library_brings_its_protocol(self):
        spec = ModelSpec(base_url="http://127.0.0.1:9", adapter="anthropic")
        assert resolve_model("m", {"m": spec}, {}, {}).profile is ANTHROPIC

    def test_a_library_that_is_not_there(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "anthropic", None)
        with pytest.raises(TaskError) as caught:
            load_adapter("anthropic")
        assert (caught.value.code, caught.value.retryable) == ("adapter-missing", False)
        assert "open-autoglm[anthropic]" in caught.value.hint

    def test_a_task_goes_through_it(self):
        from autoglm.tasks.llm_generate import LlmGenerateTask

        from ..tasks.attempts import attempt, run  # noqa: TID252

        async def main():
            async with anthropic_server({**ANSWER, "content": [{"type": "text", "text": '{"n": 4}'}]}) as (url, sent):
                models = {"mine": ModelSpec(base_url=url, adapter="anthropic")}
                schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
                work = attempt({"prompt": "hi"}, models=models, output_schema=schema)
                return await run(LlmGenerateTask, work), work.usage, sent

        result, usage, (sent,) = asyncio.run(main())
        assert (result, usage["calls"], usage["input_tokens"]) == ({"n": 4}, 1, 9)
        assert "JSON Schema" in sent["system"]

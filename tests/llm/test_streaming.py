"""Streamed answers: events wherever the network cuts them, what they add up to, and every way in which they break."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm.base.errors import TaskError
from autoglm.llm.profiles import COMPATIBLE, DEEPSEEK, LLAMACPP, OLLAMA, ZHIPU
from autoglm.llm.streaming import EventReader
from autoglm.llm.wire import Wire

from .peer import chunk, completion, events, http, script, serve, stream_head
from .test_wire import HELLO, endpoint

GOOD = (chunk("hel"), chunk("lo"), chunk(finish="stop"))
USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def streamed(*pieces, **changes):
    """Stream a call to a server that says ``pieces``; return the answer and what was told on the way."""

    async def main():
        told: list[str] = []
        wire = Wire()
        try:
            async with script(*pieces) as peer:
                answer = await wire.chat(endpoint(peer.url, **changes), HELLO, on_text=told.append)
        finally:
            await wire.close()
        return answer, told

    return asyncio.run(main())


def breaks(*pieces, **changes) -> TaskError:
    with pytest.raises(TaskError) as caught:
        streamed(*pieces, **changes)
    return caught.value


class TestEvents:
    TEXT = b'\xef\xbb\xbf: hi\r\ndata: one\r\n\r\nevent: x\ndata:two\ndata: three\nid: 4\n\n{"bare": 1}\n\r\rdata: last'

    def test_forms_that_servers_write(self):
        reader = EventReader()
        assert [*reader.feed(self.TEXT), *reader.end()] == [b"one", b"two\nthree", b'{"bare": 1}', b"last"]

    @given(st.lists(st.integers(0, len(TEXT)), max_size=30))
    def test_wherever_the_network_cuts(self, cuts):
        places = [0, *sorted(cuts), len(self.TEXT)]
        reader = EventReader()
        got = [data for start, end in itertools.pairwise(places) for data in reader.feed(self.TEXT[start:end])]
        assert [*got, *reader.end()] == [b"one", b"two\nthree", b'{"bare": 1}', b"last"]

    def test_an_event_without_data_is_none(self):
        reader = EventReader()
        assert [*reader.feed(b"event: ping\n\n: keep-alive\n\n\n\n"), *reader.end()] == []


class TestAnswers:
    def test_text_comes_piece_by_piece_and_adds_up(self):
        got, told = streamed(stream_head(), events(*GOOD, USAGE, "[DONE]"))
        assert told == ["hel", "lo"]
        assert (got.text, got.finish_reason, got.model, got.id) == ("hello", "stop", "served-model", "c1")
        assert (got.usage.input_tokens, got.usage.output_tokens) == (7, 3)
        assert json.loads(got.raw)["choices"][0]["message"]["content"] == "hello"

    def test_it_is_asked_for_with_usage_where_the_server_takes_that(self):
        sent = []
        for profile in (OLLAMA, ZHIPU):

            async def main(profile=profile):
                from .peer import serve

                async with serve() as peer:
                    wire = Wire()
                    await wire.chat(endpoint(peer.url, profile=profile), HELLO, on_text=lambda _: None)
                    await wire.close()
                    sent.append(peer.requests[0])

            asyncio.run(main())
        assert [(each["stream"], each.get("stream_options")) for each in sent] == [
            (True, {"include_usage": True}),
            (True, None),
        ]

    def test_a_server_that_does_not_stream_answers_at_once(self):
        got, told = streamed(http(200, completion()))
        assert (got.text, told) == ("hello", ["hello"])

    def test_usage_in_the_last_piece_or_none(self):
        last = chunk(finish="stop", usage={"prompt_tokens": 1, "completion_tokens": 2})
        assert streamed(stream_head(), events(chunk("a"), last, "[DONE]"))[0].usage.output_tokens == 2
        assert not streamed(stream_head(), events(*GOOD, "[DONE]"))[0].usage.reported

    def test_reasoning_is_kept_apart(self):
        thought = chunk()
        thought["choices"][0]["delta"] = {"reasoning_content": "hm"}
        got, told = streamed(stream_head(), events(thought, *GOOD, "[DONE]"))
        assert (got.reasoning, got.text, told) == ("hm", "hello", ["hel", "lo"])

    def test_tool_calls_grow_from_pieces(self):
        def piece(call, finish=None):
            return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": finish}]}

        got, _ = streamed(
            stream_head(),
            events(
                piece({"index": 0, "id": "a", "function": {"name": "add", "arguments": '{"x"'}}),
                piece({"index": 1, "id": "b", "function": {"name": "sub", "arguments": "{}"}}),
                piece({"index": 0, "function": {"arguments": ": 1}"}}, "tool_calls"),
                "[DONE]",
            ),
        )
        assert [(call.id, call.name, call.arguments) for call in got.tool_calls] == [
            ("a", "add", '{"x": 1}'),
            ("b", "sub", "{}"),
        ]

    def test_several_answers(self):
        pieces = [
            {"choices": [{"index": at, "delta": {"content": text}}]} for at, text in ((0, "a"), (1, "x"), (0, "b"))
        ]
        got, told = streamed(stream_head(), events(*pieces, "[DONE]"))
        assert (got.text, got.more[0].text, told) == ("ab", "x", ["a", "b"])

    def test_an_end_without_a_word_of_it_will_do_once_the_answer_is_whole(self):
        assert streamed(stream_head(), events(*GOOD))[0].text == "hello"

    def test_nothing_is_read_after_the_end(self):
        never = asyncio.Event()
        got, _ = streamed(stream_head(), events(*GOOD, "[DONE]"), never)
        assert got.text == "hello"

    @pytest.mark.parametrize("kind", ["text/event-stream; charset=utf-8", "application/x-ndjson", ""])
    def test_content_types_that_will_do(self, kind):
        text = b"".join(json.dumps(each).encode() + b"\n\n" for each in GOOD)
        assert streamed(stream_head(kind), text)[0].text == "hello"

    def test_a_slow_drip(self):
        whole = events(*GOOD, USAGE, "[DONE]")
        assert streamed(stream_head(), *(whole[at : at + 5] for at in range(0, len(whole), 5)))[0].text == "hello"


class TestBreaks:
    def test_a_cut_in_the_middle(self):
        error = breaks(stream_head(), events(*GOOD[:2]))
        assert (error.code, error.retryable) == ("bad-response", True)
        assert "connection" in error.classes
        assert "middle" in error.message

    def test_a_cut_of_a_chunked_stream(self):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = events(GOOD[0])
        error = breaks(head + f"{len(body):x}\r\n".encode() + body + b"\r\n")
        assert (error.code, error.retryable) == ("model-connection", True)

    @pytest.mark.parametrize("start", [(), (events(GOOD[0]),)])
    def test_silence_before_the_first_token_and_after_it(self, start):
        error = breaks(stream_head(), *start, asyncio.Event(), first_token_timeout=0.2)
        assert (error.code, error.retryable) == ("model-timeout", True)
        assert error.details["limit"] == "silence"
        assert "first_token_timeout" in error.hint

    def test_a_drip_that_goes_on_for_too_long(self):
        never = asyncio.Event()
        error = breaks(stream_head(), b": wait\n\n", never, timeout=0.3, first_token_timeout=60)
        assert error.code == "model-timeout"

    @pytest.mark.parametrize(
        ("data", "what"), [(b"data: {nonsense\n\n", "not JSON"), (b'data: {"id": "\xff"}\n\n', "UTF-8")]
    )
    def test_a_piece_that_cannot_be_read(self, data, what):
        error = breaks(stream_head(), events(GOOD[0]), data)
        assert (error.code, error.retryable) == ("bad-response", True)
        assert what in error.message

    def test_an_error_in_the_middle(self):
        error = breaks(stream_head(), events(GOOD[0], {"error": {"code": "1305", "message": "过载"}}), profile=ZHIPU)
        assert (error.code, error.retryable) == ("model-overloaded", True)

    def test_an_unknown_error_in_the_middle(self):
        assert breaks(stream_head(), events({"error": {"message": "boom"}})).code == "bad-response"

    def test_a_refusal_before_the_stream(self):
        error = breaks(http(429, {"error": {"message": "slow"}}, Retry_After="3"))
        assert (error.code, error.details["retry_after"]) == ("model-rate-limited", 3.0)

    def test_no_answer_at_all(self):
        assert breaks(stream_head(), events("[DONE]")).code == "bad-response"

    def test_more_than_anybody_wants(self):
        async def main():
            async with script(stream_head(), *[events(chunk("x" * 50_000))] * 40) as peer:
                wire = Wire(body_limit=1_000_000)
                with pytest.raises(TaskError) as caught:
                    await wire.chat(endpoint(peer.url), HELLO, on_text=lambda _: None)
                await wire.close()
                return caught.value

        error = asyncio.run(main())
        assert (error.code, error.retryable) == ("bad-response", False)

    def test_a_server_that_gives_up_says_so_in_its_finish_reason(self):
        error = breaks(
            http(
                200,
                completion(choices=[{"message": {"content": "half"}, "finish_reason": "insufficient_system_resource"}]),
            ),
            profile=DEEPSEEK,
        )
        assert (error.code, error.retryable) == ("model-overloaded", True)


def test_the_connection_of_a_stream_is_used_again_only_where_it_is_known_to_be_kept():
    async def said(profile) -> str | None:
        wire = Wire()
        try:
            async with serve() as peer:
                await wire.chat(endpoint(peer.url, profile=profile), HELLO, on_text=lambda _: None)
                return peer.headers[0].get("connection")
        finally:
            await wire.close()

    assert {p.name: asyncio.run(said(p)) for p in (COMPATIBLE, LLAMACPP, ZHIPU)} == {
        "compatible": "close",
        "llamacpp": "close",
        "zhipu": None,
    }

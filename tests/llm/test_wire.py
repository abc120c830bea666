"""The client against a real server, and against one that misbehaves byte for byte: each fault has its outcome."""

from __future__ import annotations

import asyncio
import gzip
import json
from email.utils import formatdate

import pytest

from autoglm.base.errors import TaskError
from autoglm.base.redaction import Secret
from autoglm.llm.chat import ChatRequest
from autoglm.llm.errors import retry_after
from autoglm.llm.models import Endpoint
from autoglm.llm.profiles import COMPATIBLE, OPENAI, ZHIPU
from autoglm.llm.transport import is_loopback
from autoglm.llm.wire import Wire
from tests.llm.loopback import listening

from .peer import completion, http, script, serve

HELLO = ChatRequest([{"role": "user", "content": "hello"}])
KEY = Secret("sk-very-secret-key-0123")


def endpoint(url: str, **changes) -> Endpoint:
    fields = {"name": "m", "model": "m", "base_url": f"{url}/", "profile": COMPATIBLE, "api_key": KEY, **changes}
    return Endpoint(**fields)


async def chat(url: str, request: ChatRequest = HELLO, *, wire: Wire | None = None, **changes):
    wire = wire or Wire()
    try:
        return await wire.chat(endpoint(url, **changes), request)
    finally:
        await wire.close()


def refused(*pieces, wire: Wire | None = None, **changes) -> TaskError:
    """Return how a call to a server that says ``pieces`` fails; exactly one connection is made."""

    async def main() -> TaskError:
        async with script(*pieces) as peer:
            with pytest.raises(TaskError) as caught:
                await chat(peer.url, wire=wire, **changes)
            assert peer.connections == 1
        return caught.value

    error = asyncio.run(main())
    text = repr(error.failure())
    assert KEY not in text
    assert "Traceback" not in text
    return error


def answered(*pieces, **changes):
    async def main():
        async with script(*pieces) as peer:
            return await chat(peer.url, **changes)

    return asyncio.run(main())


class TestGoodAnswers:
    def test_one_call(self):
        async def main():
            async with serve() as peer:
                return peer, await chat(peer.url, ChatRequest(HELLO.messages, {"temperature": 0.5, "stop": None}))

        peer, got = asyncio.run(main())
        assert peer.requests == [{"model": "m", "messages": list(HELLO.messages), "temperature": 0.5}]
        assert peer.headers[0]["authorization"] == f"Bearer {KEY}"
        assert (got.text, got.finish_reason, got.model, got.id) == ("hello", "stop", "served-model", "c1")
        assert (got.usage.input_tokens, got.usage.output_tokens, got.usage.reported) == (7, 3, True)
        assert json.loads(got.raw) == completion()

    def test_no_key_sends_no_authorization_and_own_headers_win(self):
        async def main():
            async with serve() as peer:
                wire = Wire()
                await wire.chat(endpoint(peer.url, api_key=None, headers={"X-Team": "a"}), HELLO)
                await wire.chat(endpoint(peer.url, headers={"Authorization": "Basic x"}), HELLO)
                await wire.close()
                return peer

        first, second = asyncio.run(main()).headers
        assert "authorization" not in first
        assert first["x-team"] == "a"
        assert second["authorization"] == "Basic x"

    def test_a_query_of_the_base_address_stays_last(self):
        async def main():
            async with serve() as peer:
                await chat(peer.url, base_url=f"{peer.url}/?api-version=3")
                return peer.paths

        assert asyncio.run(main()) == ["/v1/chat/completions?api-version=3"]

    def test_model_parameters_lie_under_the_requests(self):
        async def main():
            async with serve() as peer:
                request = ChatRequest(HELLO.messages, {"max_tokens": 5}, {"type": "json_object"})
                await chat(peer.url, request, profile=OPENAI, parameters={"max_tokens": 9, "seed": 3})
                return peer.requests[0]

        sent = asyncio.run(main())
        assert sent["max_completion_tokens"] == 5
        assert sent["seed"] == 3
        assert sent["response_format"] == {"type": "json_object"}
        assert "max_tokens" not in sent

    def test_what_a_server_does_not_know_is_left_out_and_said(self):
        async def main():
            async with serve() as peer:
                notes = []
                wire = Wire()
                parameters = {"presence_penalty": 1, "max_completion_tokens": 4, "tool_choice": "required"}
                request = ChatRequest(HELLO.messages, parameters)
                await wire.chat(endpoint(peer.url, profile=ZHIPU), request, notes.append)
                await wire.close()
                return peer.requests[0], notes

        sent, notes = asyncio.run(main())
        assert "presence_penalty" not in sent
        assert sent["max_tokens"] == 4
        assert "tool_choice" not in sent
        assert notes == [
            "m does not take `presence_penalty`: left out",
            "m does not take 'required' for `tool_choice`: left out",
        ]

    def test_many_at_once_share_one_session_without_a_cap(self):
        waiting = 0
        everyone = None

        async def main():
            nonlocal everyone
            everyone = asyncio.Event()
            from aiohttp import web

            async def chat_(request):
                nonlocal waiting
                waiting += 1
                if waiting == 150:
                    everyone.set()
                await everyone.wait()
                return web.json_response(completion())

            async with listening(web.post("/chat/completions", chat_)) as address:
                wire = Wire()
                answers = await asyncio.gather(*(wire.chat(endpoint(address), HELLO) for _ in range(150)))
                await wire.close()
            return answers

        assert len(asyncio.run(main())) == 150

    def test_one_wire_serves_loops_that_come_and_go(self):
        wire = Wire()

        async def leave_open():
            async with script(http(200, completion())) as peer:
                await wire.chat(endpoint(peer.url), HELLO)

        async def main():
            async with serve() as peer:
                await chat(peer.url, wire=wire)

        asyncio.run(leave_open())
        asyncio.run(main())
        asyncio.run(wire.close())

    @pytest.mark.parametrize(
        ("changes", "text", "reasoning"),
        [
            ({"message": {"content": "a", "reasoning_content": "b"}}, "a", "b"),
            ({"message": {"content": "a", "reasoning": "b"}}, "a", "b"),
            ({"message": {"content": [{"type": "text", "text": "x"}, {"type": "other"}]}}, "x", None),
            ({"message": {"content": None, "tool_calls": []}}, "", None),
            ({"message": {}, "finish_reason": None}, "", None),
        ],
    )
    def test_forms_of_a_message(self, changes, text, reasoning):
        got = answered(http(200, completion(choices=[changes])))
        assert (got.text, got.reasoning) == (text, reasoning)

    @pytest.mark.parametrize(
        "usage", [None, "x", {"prompt_tokens": None}, {"prompt_tokens": -1, "completion_tokens": True}, [], {}]
    )
    def test_missing_or_odd_usage_loses_no_answer(self, usage):
        got = answered(http(200, completion(usage=usage)))
        assert (got.text, got.usage.input_tokens, got.usage.output_tokens) == ("hello", 0, 0)

    def test_reasoning_and_cached_tokens(self):
        usage = {
            "prompt_tokens": 9,
            "completion_tokens": 8,
            "completion_tokens_details": {"reasoning_tokens": 6},
            "prompt_tokens_details": {"cached_tokens": 5},
        }
        got = answered(http(200, completion(usage=usage)))
        assert (got.usage.reasoning_tokens, got.usage.cached_tokens) == (6, 5)

    @pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/problem+json", ""])
    def test_content_types_that_will_do(self, kind):
        assert answered(http(200, completion(), kind)).text == "hello"

    def test_a_slow_drip_within_the_timeout(self):
        whole = http(200, completion())
        assert answered(*(whole[at : at + 7] for at in range(0, len(whole), 7))).text == "hello"

    def test_a_compressed_answer(self):
        body = gzip.compress(json.dumps(completion()).encode())
        assert answered(http(200, body, Content_Encoding="gzip")).text == "hello"

    def test_an_answer_of_several_megabytes(self):
        assert len(answered(http(200, completion("é" * 3_000_000))).text) == 3_000_000


class TestRateLimits:
    @pytest.mark.parametrize(
        ("headers", "wait"),
        [
            ({}, None),
            ({"Retry_After": "12"}, 12.0),
            ({"Retry_After": "1.5"}, 1.5),
            ({"retry_after_ms": "250", "Retry_After": "1"}, 0.25),
            (
                {"Retry_After": formatdate(1_700_000_030, usegmt=True), "Date": formatdate(1_700_000_000, usegmt=True)},
                30,
            ),
            ({"Retry_After": formatdate(1_600_000_000, usegmt=True)}, 0.0),
            ({"Retry_After": "99999999999"}, 86_400.0),
            ({"Retry_After": "soon"}, None),
            ({"Retry_After": "-5"}, None),
            ({"Retry_After": "nan"}, None),
            ({"Retry_After": "Mon, 99 Xyz 99999 00:00:00 GMT"}, None),
        ],
    )
    def test_429_with_each_form_of_retry_after(self, headers, wait):
        error = refused(http(429, {"error": {"message": "slow down"}}, **headers))
        assert error.code == "model-rate-limited"
        assert error.retryable
        assert {"http_429", "http_4xx", "rate_limited"} <= set(error.failure().classes)
        assert error.details.get("retry_after") == wait
        assert "slow down" in error.message

    def test_a_date_is_read_by_our_clock_when_the_server_does_not_tell_its_own(self):
        assert retry_after({"retry-after": formatdate(1_700_000_030, usegmt=True)}, now=1_700_000_000.0) == 30.0

    @pytest.mark.parametrize("status", [200, 400, 429, 500])
    @pytest.mark.parametrize(
        "body", [{"error": {"code": "1302", "message": "并发过高"}}, {"code": 1302, "msg": "并发过高"}]
    )
    def test_zhipus_rate_limit_whatever_the_status(self, status, body):
        error = refused(http(status, body), profile=ZHIPU)
        assert error.code == "model-rate-limited"
        assert "http_429" in error.classes
        assert error.retryable
        assert "并发过高" in error.message
        assert error.details["provider_code"] == "1302"

    @pytest.mark.parametrize("status", [200, 429, 503])
    def test_zhipus_overload_whatever_the_status(self, status):
        error = refused(http(status, {"error": {"code": 1305, "message": "过载"}}, Retry_After="60"), profile=ZHIPU)
        assert error.code == "model-overloaded"
        assert {"http_429", "overloaded"} <= set(error.classes)
        assert error.details["retry_after"] == 60.0

    @pytest.mark.parametrize(("profile", "code"), [(ZHIPU, "1113"), (OPENAI, "insufficient_quota")])
    def test_want_of_credit_is_no_rate_limit(self, profile, code):
        error = refused(http(429, {"error": {"code": code, "message": "top up"}}), profile=profile)
        assert (error.code, error.retryable) == ("model-no-credit", False)
        assert "http_429" not in error.classes

    def test_a_gateway_that_hides_the_status_in_the_body(self):
        error = refused(http(200, {"error": {"code": 429, "message": "limit"}}))
        assert (error.code, error.details["status"]) == ("model-rate-limited", 429)


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "code", "retryable", "classes"),
        [
            (400, "model-request-rejected", False, {"http_400", "http_4xx"}),
            (401, "model-unauthorized", False, {"http_401", "http_4xx"}),
            (402, "model-no-credit", False, {"http_402", "http_4xx"}),
            (403, "model-unauthorized", False, {"http_403", "http_4xx"}),
            (404, "model-not-found", False, {"http_404", "http_4xx"}),
            (408, "model-request-rejected", True, {"http_408", "http_4xx"}),
            (413, "prompt-too-long", False, {"http_413", "http_4xx"}),
            (422, "model-request-rejected", False, {"http_422", "http_4xx"}),
            (500, "model-server-error", True, {"http_500", "http_5xx"}),
            (502, "model-server-error", True, {"http_502", "http_5xx"}),
            (503, "model-overloaded", True, {"http_503", "http_5xx", "overloaded"}),
            (599, "model-server-error", True, {"http_599", "http_5xx"}),
        ],
    )
    def test_each_status(self, status, code, retryable, classes):
        error = refused(http(status, {"error": {"message": "as I say"}}))
        assert (error.code, error.retryable) == (code, retryable)
        assert classes == set(error.classes)
        assert error.message.endswith(": as I say")
        assert error.hint

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b'{"error": "model not pulled"}', "model not pulled"),
            (b'{"detail": [{"loc": ["body"], "msg": "no"}]}', '[{"loc":["body"],"msg":"no"}]'),
            (b'{"message": "no such path"}', "no such path"),
            (b"plain words", "plain words"),
            (b"<html><body>nginx</body></html>", None),
            (b"", None),
            (b'{"error": [1]}', '{"error": [1]}'),
            (b"\xff\xfe\x00 bad \x1b[31m bytes", "bad [31m bytes"),
            (b"[" * 50_000, "[[[["),
        ],
    )
    def test_what_a_server_says_is_found_in_every_form(self, body, said):
        error = refused(http(400, body))
        assert error.code == "model-request-rejected"
        assert (said in error.message) if said else error.message.endswith("(HTTP 400)")
        assert len(error.message) < 600
        assert error.message.isprintable()

    def test_a_long_message_is_clipped(self):
        assert len(refused(http(400, {"error": {"message": "long " * 10_000}})).message) < 600

    def test_a_server_that_repeats_the_key_is_not_repeated(self):
        error = refused(
            http(401, {"error": {"message": f"wrong key {KEY} or header abc-def-ghi-jkl"}}),
            headers={"X-Token": "abc-def-ghi-jkl"},
            key_variables=("OPENAI_API_KEY",),
        )
        assert "wrong key *** or header ***" in error.message
        assert "OPENAI_API_KEY" in error.hint

    @pytest.mark.parametrize(("profile", "code"), [(ZHIPU, "1211"), (OPENAI, "model_not_found")])
    def test_an_unknown_model(self, profile, code):
        error = refused(http(400, {"error": {"code": code, "message": "no such model"}}), profile=profile)
        assert (error.code, error.retryable) == ("model-not-found", False)

    def test_a_prompt_that_is_too_long(self):
        error = refused(http(400, {"error": {"code": "context_length_exceeded", "message": "8192"}}), profile=OPENAI)
        assert (error.code, error.retryable) == ("prompt-too-long", False)

    def test_a_redirect_is_not_followed(self):
        error = refused(http(302, b"", Location="https://elsewhere.example/v1"))
        assert (error.code, error.retryable) == ("model-not-found", False)
        assert "elsewhere.example" in error.message

    @pytest.mark.parametrize(
        ("profile", "choice"),
        [
            (COMPATIBLE, {"message": {"content": None, "refusal": "I will not"}, "finish_reason": "stop"}),
            (COMPATIBLE, {"message": {"content": ""}, "finish_reason": "content_filter"}),
            (ZHIPU, {"message": {"content": ""}, "finish_reason": "sensitive"}),
        ],
    )
    def test_a_withheld_answer(self, profile, choice):
        error = refused(http(200, completion(choices=[choice])), profile=profile)
        assert (error.code, error.retryable) == ("answer-refused", False)


class TestBrokenAnswers:
    @pytest.mark.parametrize(
        ("body", "why"),
        [
            (b"", "not JSON"),
            (b'{"choices": [', "not JSON"),
            (b"null", "form of a chat completion"),
            (b"[]", "form of a chat completion"),
            (b"{}", "no choices"),
            (b'{"choices": []}', "no choices"),
            (b'{"choices": [{}]}', "form of a chat completion"),
            (b'{"choices": [{"message": {"content": 5}}]}', "form of a chat completion"),
            (b'{"choices": [{"message": {"content": "\xff"}}]}', "not valid UTF-8"),
            (b'{"choices": [{"message": {"content": "\\ud800 x"}}]}', "not JSON"),
            (b'{"error": {"message": "odd"}}', "an error under status 200"),
            (b'{"error": "odd"}', "an error under status 200"),
            (b'{"other":' + b"[" * 100_000, "not JSON"),
        ],
    )
    def test_each_has_one_outcome(self, body, why):
        error = refused(http(200, body))
        assert (error.code, error.retryable) == ("bad-response", True)
        assert "bad_response" in error.classes
        assert why in error.message

    @pytest.mark.parametrize("kind", ["text/html", "text/event-stream", "text/plain; charset=utf-8"])
    def test_a_wrong_content_type(self, kind):
        error = refused(http(200, completion(), kind))
        assert error.code == "bad-response"
        assert kind.partition(";")[0] in error.message

    @pytest.mark.parametrize("length", [True, False])
    def test_a_body_beyond_the_limit(self, length):
        whole = http(200, completion("x" * 200_000))
        if not length:
            whole = whole.replace(b"Content-Length", b"X-Length")
        error = refused(whole, wire=Wire(body_limit=100_000))
        assert (error.code, error.retryable) == ("bad-response", False)
        assert "longer than 100,000 bytes" in error.message

    def test_a_compression_bomb_stops_at_the_limit(self):
        bomb = gzip.compress(b" " * 50_000_000)
        error = refused(http(200, bomb, Content_Encoding="gzip"), wire=Wire(body_limit=1_000_000))
        assert "longer than" in error.message

    @pytest.mark.parametrize("answer", [b"not http at all\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x16\x03\x01\x00"])
    def test_what_is_no_http(self, answer):
        assert refused(answer).code in ("bad-response", "model-connection")

    def test_broken_compression(self):
        error = refused(http(200, b"not gzip", Content_Encoding="gzip"))
        assert error.code in ("bad-response", "model-connection")
        assert error.retryable


class TestBrokenConnections:
    def test_cut_in_the_middle_of_the_answer(self):
        error = refused(http(200, completion())[:-20])
        assert (error.code, error.retryable) == ("model-connection", True)
        assert "connection" in error.classes
        assert "in the middle" in error.message

    def test_closed_without_an_answer(self):
        error = refused()
        assert (error.code, error.classes) == ("model-connection", ("connection",))

    @pytest.mark.parametrize("start", [b"", http(200, completion())[:-20]])
    def test_a_stall(self, start):
        async def main():
            never = asyncio.Event()
            async with script(start, never) as peer:
                with pytest.raises(TaskError) as caught:
                    await chat(peer.url, timeout=0.2)
                never.set()
            return caught.value

        error = asyncio.run(main())
        assert (error.code, error.retryable) == ("model-timeout", True)
        assert "timeout" in error.classes
        assert "within 0.2 s" in error.message

    def test_nobody_listens(self):
        async def main():
            async with script() as peer:
                url = peer.url
            with pytest.raises(TaskError) as caught:
                await chat(url)
            return caught.value

        error = asyncio.run(main())
        assert (error.code, error.retryable) == ("model-connection", True)
        assert "refused" in error.message.lower()

    def test_a_host_that_does_not_exist(self):
        with pytest.raises(TaskError) as caught:
            asyncio.run(chat("http://no-such-host.invalid/v1"))
        assert caught.value.code == "model-connection"

    def test_encryption_where_there_is_none(self):
        async def main():
            async with serve() as peer:
                with pytest.raises(TaskError) as caught:
                    await chat(peer.url.replace("http:", "https:"))
            return caught.value

        error = asyncio.run(main())
        assert (error.code, error.retryable) == ("model-connection", False)
        assert "http or https" in error.hint

    def test_a_cancelled_call_lets_go_of_its_connection(self):
        async def main():
            never = asyncio.Event()
            async with script(never) as peer:
                wire = Wire()
                call = asyncio.create_task(wire.chat(endpoint(peer.url), HELLO))
                await peer.asked.wait()
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                await wire.close()
                never.set()

        asyncio.run(main())


class TestRequestsThatCannotBeMade:
    @pytest.mark.parametrize("changes", [{"api_key": Secret("a\r\nX: y")}, {"headers": {"X": "a\nb"}}])
    def test_a_line_break_in_a_header(self, changes):
        async def main():
            async with serve() as peer:
                with pytest.raises(TaskError) as caught:
                    await chat(peer.url, **changes)
                assert peer.requests == []
            return caught.value

        error = asyncio.run(main())
        assert (error.code, error.retryable) == ("model-request-invalid", False)

    @pytest.mark.parametrize(
        ("parameters", "profile", "what"),
        [
            ({"temperature": 1.5}, ZHIPU, "from 0 to 1"),
            ({"stop": ["a", "b"]}, ZHIPU, "stop word"),
            ({"x": float("nan")}, COMPATIBLE, "JSON"),
            ({"x": {1: 2}}, COMPATIBLE, "JSON"),
        ],
    )
    def test_parameters_known_to_be_refused(self, parameters, profile, what):
        with pytest.raises(TaskError) as caught:
            asyncio.run(chat("http://127.0.0.1:9", ChatRequest(HELLO.messages, parameters), profile=profile))
        assert (caught.value.code, caught.value.retryable) == ("model-parameter-invalid", False)
        assert what in caught.value.message

    def test_a_lone_surrogate_in_the_prompt(self):
        with pytest.raises(TaskError) as caught:
            asyncio.run(chat("http://127.0.0.1:9", ChatRequest([{"role": "user", "content": "a\ud800"}])))
        assert caught.value.code == "model-parameter-invalid"

    def test_secret_text_in_a_prompt_is_sent_as_text(self):
        async def main():
            async with serve() as peer:
                await chat(peer.url, ChatRequest([{"role": "user", "content": Secret("hush")}]))
                return peer.requests[0]["messages"][0]["content"]

        assert asyncio.run(main()) == "hush"


class TestProxies:
    def test_a_proxy_of_the_environment_is_used_for_the_world_and_never_for_loopback(self, monkeypatch):
        async def main():
            async with script(http(200, completion("through the proxy"))) as proxy, serve() as peer:
                monkeypatch.setenv("http_proxy", proxy.url.replace("http://", "http://me:word@").removesuffix("/v1"))
                monkeypatch.delenv("no_proxy", raising=False)
                monkeypatch.delenv("NO_PROXY", raising=False)
                far = await chat("http://model.example/v1")
                near = await chat(peer.url)
                return far.text, near.text, proxy

        far, near, proxy = asyncio.run(main())
        assert (far, near) == ("through the proxy", "hello")
        assert proxy.paths == ["http://model.example/v1/chat/completions"]
        assert proxy.headers[0]["proxy-authorization"] == "Basic bWU6d29yZA=="

    def test_a_models_own_proxy_comes_before_the_environments(self, monkeypatch):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

        async def main():
            async with script(http(200, completion("through its own"))) as proxy:
                return (await chat("http://model.example/v1", proxy=proxy.url.removesuffix("/v1"))).text

        assert asyncio.run(main()) == "through its own"

    def test_no_proxy_is_honoured(self, monkeypatch):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", ".invalid")
        with pytest.raises(TaskError) as caught:
            asyncio.run(chat("http://model.invalid/v1"))
        assert "host name" in caught.value.message

    @pytest.mark.parametrize("proxy", ["http://me:pass-word@127.0.0.1:9", "socks5://me:pass-word@127.0.0.1:9", "::::"])
    def test_a_proxy_that_fails(self, monkeypatch, proxy):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(TaskError) as caught:
            asyncio.run(chat("http://model.example/v1"))
        assert caught.value.code in ("model-connection", "model-request-invalid")
        assert "pass-word" not in repr(caught.value.failure())

    @pytest.mark.parametrize(
        ("host", "is_ours"),
        [
            ("localhost", True),
            ("127.8.8.8", True),
            ("::1", True),
            ("a.localhost", True),
            ("10.0.0.1", False),
            ("x", False),
        ],
    )
    def test_what_is_loopback(self, host, is_ours):
        assert is_loopback(host) is is_ours

"""How each kind of server says what is wrong, and where it counts what a call used."""

from __future__ import annotations

import pytest

from autoglm.base.errors import TaskError
from autoglm.llm.chat import Answer, read_completion
from autoglm.llm.profiles import COMPATIBLE, DEEPSEEK, LLAMACPP, OLLAMA, OPENAI, QWEN, VLLM, ZHIPU

from .peer import completion
from .test_wire import endpoint


def read(profile, status, body):
    import json

    where = endpoint("http://x", profile=profile)
    return read_completion(where, Answer(status, {"content-type": "application/json"}, json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("profile", "status", "body", "code", "retryable"),
    [
        (
            OPENAI,
            429,
            {"error": {"type": "insufficient_quota", "code": "insufficient_quota"}},
            "model-no-credit",
            False,
        ),
        (OPENAI, 400, {"error": {"type": "x", "code": "context_length_exceeded"}}, "prompt-too-long", False),
        (OPENAI, 429, {"error": {"type": "tokens", "code": "rate_limit_exceeded"}}, "model-rate-limited", True),
        (ZHIPU, 429, {"error": {"code": "1113", "message": "欠费"}}, "model-no-credit", False),
        (ZHIPU, 429, {"error": {"code": "1305", "message": "过载"}}, "model-overloaded", True),
        (
            VLLM,
            400,
            {"error": {"message": "This model's maximum context length is 4096 tokens.", "code": 400}},
            "prompt-too-long",
            False,
        ),
        (VLLM, 404, {"error": {"message": "The model `x` does not exist.", "code": 404}}, "model-not-found", False),
        (OLLAMA, 404, {"error": {"message": 'model "x" not found, try pulling it first'}}, "model-not-found", False),
        (
            LLAMACPP,
            400,
            {"error": {"code": 400, "type": "exceed_context_size_error", "message": "too long"}},
            "prompt-too-long",
            False,
        ),
        (
            LLAMACPP,
            503,
            {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
            "model-overloaded",
            True,
        ),
        (
            DEEPSEEK,
            402,
            {"error": {"message": "Insufficient Balance", "type": "unknown_error"}},
            "model-no-credit",
            False,
        ),
        (DEEPSEEK, 422, {"error": {"message": "bad parameter"}}, "model-request-rejected", False),
        (QWEN, 400, {"error": {"code": "Arrearage", "message": "overdue"}}, "model-no-credit", False),
        (QWEN, 429, {"error": {"code": "Throttling.RateQuota"}}, "model-rate-limited", True),
        (QWEN, 400, {"code": "DataInspectionFailed", "message": "no"}, "answer-refused", False),
        (
            QWEN,
            400,
            {"error": {"code": "invalid_parameter_error", "message": "Range of input length should be [1, 30720]"}},
            "prompt-too-long",
            False,
        ),
        (COMPATIBLE, 500, {"detail": "oops"}, "model-server-error", True),
    ],
)
def test_how_errors_look(profile, status, body, code, retryable):
    with pytest.raises(TaskError) as caught:
        read(profile, status, body)
    assert (caught.value.code, caught.value.retryable) == (code, retryable)


def test_where_cached_tokens_are_counted():
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8}
    assert read(DEEPSEEK, 200, completion(usage=usage)).usage.cached_tokens == 8
    assert read(OPENAI, 200, completion(usage=usage)).usage.cached_tokens == 0


def test_where_reasoning_stands():
    choice = {"message": {"content": "a", "reasoning_content": "b", "reasoning": "c"}, "finish_reason": "stop"}
    assert read(COMPATIBLE, 200, completion(choices=[choice])).reasoning == "b"


@pytest.mark.parametrize(
    ("profile", "reason", "code"),
    [
        (ZHIPU, "sensitive", "answer-refused"),
        (ZHIPU, "network_error", "model-server-error"),
        (DEEPSEEK, "insufficient_system_resource", "model-overloaded"),
        (OPENAI, "content_filter", "answer-refused"),
    ],
)
def test_finish_reasons_that_are_failures(profile, reason, code):
    with pytest.raises(TaskError) as caught:
        read(profile, 200, completion(choices=[{"message": {"content": "half"}, "finish_reason": reason}]))
    assert caught.value.code == code

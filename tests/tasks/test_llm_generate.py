"""The ``llm_generate`` task type: what its check finds, what it sends, what it gives back and what it says it used."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from autoglm.base.errors import TaskError
from autoglm.base.redaction import Secret
from autoglm.executors.inline import InlineExecutor
from autoglm.spec.catalog import Catalog
from autoglm.spec.model import ModelSpec, Task
from autoglm.tasks.llm_generate import LlmGenerateTask
from autoglm.tasks.protocol import Attempt, TaskContext

from ..llm.peer import completion, http, script, serve  # noqa: TID252  # the peer serves both folders

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def attempt(options: dict[str, Any], lines: list[str] | None = None, **changes: Any) -> Attempt:
    executor = InlineExecutor()

    def log(stream: str, line: str) -> None:
        if lines is not None:
            lines.append(f"{stream}: {line}")

    fields = {
        "name": "ask",
        "options": options,
        "arguments": {},
        "env": {},
        "output_schema": None,
        "context": TaskContext(task_id="ask", run_id="r", attempt=1, input_data={}),
        "root": Path(),
        "execute": lambda work: executor.run(work, log),
        "log": log,
        "executor": "inline",
        "environment": {},
    }
    return Attempt(**{**fields, **changes})


async def run(work: Attempt) -> Any:
    task_type = LlmGenerateTask()
    try:
        return await task_type.run(work)
    finally:
        await task_type.close()


def ask(options: dict[str, Any], reply=None, spec: dict[str, Any] | None = None, **changes: Any):
    """Run one attempt against a real server; return its result, the attempt and what the server was sent."""

    async def main():
        async with serve(reply) as peer:
            models = {"mine": ModelSpec(base_url=peer.url, **(spec or {}))}
            work = attempt(options, models=models, **changes)
            return await run(work), work, peer

    return asyncio.run(main())


def fails(options: dict[str, Any], **changes: Any) -> TaskError:
    with pytest.raises(TaskError) as caught:
        asyncio.run(run(attempt(options, **changes)))
    return caught.value


class TestCalls:
    def test_a_prompt_becomes_text_and_usage(self):
        result, work, peer = ask(
            {"prompt": "hi", "system": "Be brief.", "temperature": "0.5", "max_tokens": 9, "parameters": {"top_k": 3}},
            spec={"model": "served", "api_key": Secret("key-key-key-key")},
        )
        assert result == "hello"
        assert work.usage == {"calls": 1, "model": "served", "input_tokens": 7, "output_tokens": 3}
        assert peer.requests == [
            {
                "model": "served",
                "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
                "temperature": 0.5,
                "max_tokens": 9,
                "top_k": 3,
            }
        ]
        assert peer.headers[0]["authorization"] == "Bearer key-key-key-key"

    def test_messages_come_before_the_prompt(self):
        options = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "prompt": "c"}
        sent = ask(options)[2].requests[0]["messages"]
        assert [message["content"] for message in sent] == ["a", "b", "c"]

    def test_a_prompt_that_is_data_is_sent_as_json(self):
        assert ask({"prompt": {"rows": [1, "é"]}})[2].requests[0]["messages"][0]["content"] == '{"rows":[1,"é"]}'

    def test_a_rendered_template_is_a_prompt(self):
        assert ask({"prompt_template": "about kites"})[2].requests[0]["messages"][0]["content"] == "about kites"

    def test_the_files_only_model_is_the_default_and_a_named_one_wins(self):
        other = ModelSpec(base_url="http://127.0.0.1:9")
        assert ask({"prompt": "hi"})[0] == "hello"
        error = fails({"prompt": "hi"}, models={"a": other, "b": other})
        assert (error.code, error.retryable) == ("model-key-missing", False)
        assert "AutoGLM-Chat" in error.message

    def test_a_projects_model(self):
        async def main():
            async with serve() as peer:
                models = {"ours": ModelSpec(base_url=peer.url)}
                return await run(attempt({"prompt": "hi", "model": "ours"}, project_models=models))

        assert asyncio.run(main()) == "hello"

    def test_a_built_in_model_is_found_through_the_environment(self):
        async def main():
            async with serve() as peer:
                environment = {"AUTOGLM_BASE_URL": peer.url, "ZHIPUAI_API_KEY": "zhipu-key-zhipu-key"}
                await run(attempt({"prompt": "hi", "model": "AutoGLM-Base"}, environment=environment))
                return peer

        peer = asyncio.run(main())
        assert peer.requests[0]["model"].startswith("glm-")
        assert peer.headers[0]["authorization"] == "Bearer zhipu-key-zhipu-key"

    def test_what_looks_like_a_template_in_an_answer_stays_text(self):
        text = "{{ secrets.KEY }} {% raw %}"
        assert ask({"prompt": "hi"}, lambda _: completion(text))[0] == text

    def test_an_answer_cut_off_is_told_in_the_log(self):
        lines: list[str] = []
        choice = {"message": {"content": "half a"}, "finish_reason": "length"}
        result = ask({"prompt": "hi"}, lambda _: completion(choices=[choice], usage=None), lines=lines)[0]
        assert result == "half a"
        assert any("max_tokens" in line for line in lines)
        assert any("did not say how many tokens" in line for line in lines)


class TestSchemas:
    def test_the_result_is_the_validated_value(self):
        result, work, peer = ask({"prompt": "hi"}, lambda _: completion('```json\n{"n": 4}\n```'), output_schema=SCHEMA)
        assert result == {"n": 4}
        assert peer.requests[0]["response_format"] == {"type": "json_object"}
        assert json.dumps(SCHEMA) in peer.requests[0]["messages"][0]["content"]
        assert work.usage["calls"] == 1

    def test_a_provider_with_schemas_gets_the_schema(self):
        sent = ask({"prompt": "hi"}, lambda _: completion('{"n": 4}'), {"provider": "vllm"}, output_schema=SCHEMA)[2]
        assert sent.requests[0]["response_format"]["json_schema"]["schema"] == SCHEMA

    def test_an_answer_that_ignores_it_fails_with_what_it_cost(self):
        with pytest.raises(TaskError) as caught:
            ask({"prompt": "hi"}, lambda _: completion('{"n": "four"}'), output_schema=SCHEMA)
        error = caught.value
        assert (error.code, error.retryable) == ("schema-mismatch", True)
        assert "`$.n`" in error.message
        assert error.details["usage"] == {"calls": 1, "model": "mine", "input_tokens": 7, "output_tokens": 3}

    def test_a_schema_that_is_none_costs_nothing(self):
        with pytest.raises(TaskError) as caught:
            ask({"prompt": "hi"}, output_schema={"type": "objekt"})
        assert caught.value.code == "output-schema-invalid"
        assert "usage" not in (caught.value.details or {})


class TestFailures:
    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({}, "prompt-missing"),
            ({"system": "x"}, "prompt-missing"),
            ({"messages": []}, "prompt-missing"),
            ({"messages": [{"role": "system", "content": "x"}]}, "prompt-missing"),
            ({"prompt": "  "}, "prompt-empty"),
            ({"prompt": ""}, "prompt-empty"),
            ({"prompt": "x", "temperature": "warm"}, "llm-option-invalid"),
            ({"prompt": "x", "max_tokens": 1.5}, "llm-option-invalid"),
            ({"prompt": "x", "colour": 1}, "llm-option-invalid"),
            ({"prompt": "x", "parameters": {"stream": True}}, "llm-option-invalid"),
            ({"messages": [{"role": "king", "content": "x"}]}, "llm-option-invalid"),
            ({"messages": ["x"]}, "llm-option-invalid"),
            ({"prompt": "x", "model": "nope"}, "unknown-model"),
            ({"prompt": "x", "model": "AutoGLM-Chat"}, "model-key-missing"),
        ],
    )
    def test_what_cannot_be_asked_is_not_retried(self, options, code):
        error = fails(options)
        assert (error.code, error.retryable) == (code, False)
        assert error.hint

    def test_an_answer_without_text(self):
        choice = {"message": {"content": "", "reasoning_content": "hm"}, "finish_reason": "length"}
        with pytest.raises(TaskError) as caught:
            ask({"prompt": "hi"}, lambda _: completion(choices=[choice]))
        assert (caught.value.code, caught.value.retryable) == ("answer-empty", True)
        assert "max_tokens" in caught.value.message
        assert caught.value.details["usage"]["output_tokens"] == 3

    def test_a_rate_limit_keeps_its_delay_and_counts_as_a_call(self):
        async def main():
            async with script(http(429, {"error": {"message": "slow"}}, Retry_After="7")) as peer:
                models = {"mine": ModelSpec(base_url=peer.url)}
                with pytest.raises(TaskError) as caught:
                    await run(attempt({"prompt": "hi"}, models=models))
                return caught.value

        error = asyncio.run(main())
        assert error.details["retry_after"] == 7.0
        assert error.details["usage"] == {"calls": 1, "model": "mine"}


class TestOffline:
    def test_text_says_so_loudly_and_needs_no_key(self):
        lines: list[str] = []
        work = attempt({"prompt": "five questions about kites", "model": "AutoGLM-Chat"}, lines, offline=True)
        text = asyncio.run(run(work))
        assert text.startswith("[offline rehearsal]\n1. ")
        assert work.usage == {"offline": True, "calls": 0, "model": "AutoGLM-Chat"}
        assert any("[offline rehearsal]" in line for line in lines)
        assert text == asyncio.run(run(attempt({"prompt": "five questions about kites"}, offline=True)))

    def test_a_schema_is_honoured(self):
        work = attempt({"prompt": "x"}, output_schema=SCHEMA, offline=True)
        assert isinstance(asyncio.run(run(work))["n"], int)
        assert work.usage["offline"] is True

    def test_a_model_that_does_not_exist_is_found_in_the_rehearsal(self):
        assert fails({"prompt": "x", "model": "AutoGLM-Chta"}, offline=True).code == "unknown-model"


def problems(options: dict[str, Any]) -> list[tuple[Any, str]]:
    catalog = Catalog(models={"declared": ModelSpec(base_url="http://x")})
    found = LlmGenerateTask().check(Task(name="ask", type="llm_generate", options=options), catalog)
    return [(each[0], each[1].code) if isinstance(each, tuple) else ((), each.code) for each in found]


class TestCheck:
    @pytest.mark.parametrize(
        "options",
        [
            {"prompt": "x"},
            {"prompt": "{{ a }}", "model": "{{ inputs.model }}"},
            {"prompt_template": "x", "model": "declared"},
            {"messages": [{"role": "user", "content": "{{ x }}"}], "model": "openai/gpt-x"},
            {"messages": "{{ inputs.messages }}", "model": "AutoGLM-Base"},
            {"messages": [{"role": "{{ role }}", "content": "x"}]},
        ],
    )
    def test_what_is_right(self, options):
        assert problems(options) == []

    @pytest.mark.parametrize(
        ("options", "found"),
        [
            ({}, [((), "prompt-missing")]),
            ({"system": "x", "model": "olama/qwen3"}, [(("model",), "unknown-model"), ((), "prompt-missing")]),
            ({"prompt": "a", "prompt_template": "b"}, [(("prompt_template",), "prompt-twice")]),
            ({"prompt": " "}, [(("prompt",), "prompt-empty")]),
            ({"prompt": None}, [(("prompt",), "prompt-empty")]),
            ({"messages": []}, [(("messages",), "prompt-empty")]),
            ({"messages": [{"content": "x"}]}, [(("messages", 0), "llm-option-invalid")]),
            ({"messages": [{"role": "user"}]}, [(("messages", 0), "llm-option-invalid")]),
            ({"messages": [7]}, [(("messages", 0), "llm-option-invalid")]),
            ({"prompt": "x", "parameters": {"stream": True}}, [(("parameters", "stream"), "llm-option-invalid")]),
        ],
    )
    def test_what_is_wrong(self, options, found):
        assert problems(options) == found

"""The ``llm_generate`` task type: what its check finds, what it sends, what it gives back and what it says it used."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from autoglm.base.errors import TaskError
from autoglm.base.redaction import Secret
from autoglm.executors.inline import InlineExecutor
from autoglm.spec.catalog import Catalog
from autoglm.spec.model import ModelSpec, Task
from autoglm.tasks.llm_generate import LlmGenerateTask
from autoglm.tasks.protocol import Attempt, TaskContext
from tests.llm.loopback import listening

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
            ask({"prompt": "hi", "corrections": 0}, lambda _: completion('{"n": "four"}'), output_schema=SCHEMA)
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


PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 16


class TestSeveral:
    def test_one_call_where_the_server_gives_several(self):
        choices = [{"message": {"content": text}, "finish_reason": "stop"} for text in "abc"]
        result, work, peer = ask({"prompt": "hi", "n": 3}, lambda _: completion(choices=choices))
        assert (result, work.usage["calls"]) == (["a", "b", "c"], 1)
        assert peer.requests[0]["n"] == 3

    def test_several_calls_where_it_gives_one(self):
        result, work, peer = ask({"prompt": "hi", "n": 3, "seed": 5}, None, {"provider": "ollama"})
        assert (result, work.usage["calls"]) == (["hello"] * 3, 3)
        assert sorted(each["seed"] for each in peer.requests) == [5, 6, 7]
        assert all("n" not in each for each in peer.requests)

    def test_values(self):
        result, work, _ = ask({"prompt": "hi", "n": 2}, lambda _: completion('{"n": 4}'), output_schema=SCHEMA)
        assert (result, work.usage["calls"]) == ([{"n": 4}, {"n": 4}], 2)

    def test_one_is_a_list_of_one(self):
        assert ask({"prompt": "hi", "n": 1})[0] == ["hello"]


class TestStreams:
    def test_the_answer_is_logged_line_by_line(self):
        lines: list[str] = []
        result = ask({"prompt": "hi", "stream": True}, lambda _: completion("one\ntwo"), lines=lines)[0]
        assert result == "one\ntwo"
        assert [line for line in lines if line.startswith("answer")] == ["answer: one", "answer: two"]

    def test_a_rehearsal_streams_too(self):
        lines: list[str] = []
        work = attempt({"prompt": "about kites", "stream": True}, lines, offline=True)
        text = asyncio.run(run(work))
        assert [line.removeprefix("answer: ") for line in lines if line.startswith("answer")] == text.split("\n")


class TestImages:
    def test_a_file_travels_with_the_prompt(self, tmp_path):
        (tmp_path / "cat.png").write_bytes(PNG)
        sent = ask({"prompt": "what is this?", "images": "cat.png"}, root=tmp_path)[2].requests[0]["messages"][0]
        assert sent["content"][0] == {"type": "text", "text": "what is this?"}
        assert sent["content"][1]["image_url"]["url"].startswith("data:image/png;base64,iVBORw0KGgo")

    @pytest.mark.parametrize(
        ("name", "content", "what"),
        [
            ("x.png", b"not an image", "no PNG"),
            ("x.png", b"", "empty"),
            ("x.png", PNG + b"0" * 20_000_000, "more than"),
            ("x.png", None, "No such file"),
        ],
    )
    def test_what_is_no_image_is_found_before_anybody_is_asked(self, tmp_path, name, content, what):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        error = fails({"prompt": "x", "images": [name], "model": "mine"}, root=tmp_path, models=NOBODY)
        assert (error.code, error.retryable) == ("image-invalid", False)
        assert what in error.message
        assert "usage" not in (error.details or {})

    def test_a_data_address(self):
        assert fails({"prompt": "x", "images": "data:image/png;base64,AAAA"}, models=NOBODY).code == "image-invalid"
        good = "data:image/gif;base64,R0lGODlhAAAA"
        assert (
            ask({"prompt": "x", "images": good})[2].requests[0]["messages"][0]["content"][1]["image_url"]["url"] == good
        )

    @pytest.mark.parametrize("provider", ["vllm", "ollama"])
    def test_web_addresses(self, provider):
        async def main():
            async with site() as url, serve() as peer:
                models = {"mine": ModelSpec(base_url=peer.url, provider=provider)}
                await run(attempt({"prompt": "x", "images": [f"{url}/cat.png"]}, models=models))
                errors = []
                for path in ("page", "nothing"):
                    with pytest.raises(TaskError) as caught:
                        await run(attempt({"prompt": "x", "images": f"{url}/{path}"}, models=models))
                    errors.append(caught.value.code)
                (sent,) = peer.requests
                return url, sent["messages"][0]["content"][1]["image_url"]["url"], errors

        url, sent, errors = asyncio.run(main())
        assert errors == ["image-invalid", "image-invalid"]
        assert sent == f"{url}/cat.png" if provider == "vllm" else sent.startswith("data:image/png")

    def test_a_missing_file_is_found_by_the_check(self):
        catalog = Catalog(files=frozenset({"there.png"}))
        options = {"prompt": "x", "images": ["there.png", "gone.png", "{{ item }}", "https://x/y.png"]}
        found = list(LlmGenerateTask().check(Task(name="ask", type="llm_generate", options=options), catalog))
        assert [(path, each.code) for path, each in found] == [(("images", 1), "missing-file")]


class TestRecords:
    def test_the_prompt_as_written_is_named_in_what_was_used(self):
        written = {"prompt_template": "about {{ x }}", "model": "mine"}
        names = [
            ask({"prompt_template": f"about {x}"}, written={**written, **more})[1].usage["prompt"]
            for x, more in (
                ("a", {}),
                ("b", {"model": "other"}),
                ("c", {"system": "s"}),
                ("d", {"prompt_file": "p.md"}),
            )
        ]
        assert names[0] == names[1] != names[2]
        assert names[3] == f"p.md@{names[0]}"


NOBODY = {"mine": ModelSpec(base_url="http://127.0.0.1:9")}


@asynccontextmanager
async def site():
    """Run a web site with a picture and a page."""

    async def cat(_request):
        return web.Response(body=PNG, content_type="image/png")

    async def page(_request):
        return web.Response(text="<p>", content_type="text/html")

    async with listening(web.get("/cat.png", cat), web.get("/page", page)) as address:
        yield address

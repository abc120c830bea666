"""The client, the ladder and the task types against a real model server: llama.cpp's, with a tiny model made for it.

Its weights are random, so what it says is noise; that it says it in the right form, streams it, counts it and keeps to
a schema is what is tested.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoglm.base.errors import TaskError
from autoglm.base.schemas import problems
from autoglm.cli.entry import enter
from autoglm.llm.chat import ChatRequest
from autoglm.llm.embeddings import EmbeddingRequest
from autoglm.llm.models import Endpoint, resolve_model
from autoglm.llm.wire import Wire
from autoglm.spec.model import ModelSpec
from autoglm.tasks.llm_classify import LlmClassifyTask
from autoglm.tasks.llm_embed import LlmEmbedTask
from autoglm.tasks.llm_extract import LlmExtractTask
from autoglm.tasks.llm_generate import LlmGenerateTask
from autoglm.tasks.llm_judge import LlmJudgeTask

from ..tasks.attempts import attempt, run  # noqa: TID252  # attempts outside of a run
from .model_server import ModelServer, model_server

HELLO = [{"role": "user", "content": "Say something."}]
STEADY = {"temperature": 0, "seed": 3, "max_tokens": 12}
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}, "ok": {"type": "boolean"}},
    "required": ["n", "ok"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """The server, started for the tests of this file."""
    with model_server(tmp_path_factory.mktemp("model")) as running:
        yield running


def where(url: str, **spec: Any) -> Endpoint:
    declared = ModelSpec(**{"base_url": url, "provider": "llamacpp", "model": "tiny", "timeout": 60, **spec})
    return resolve_model("tiny", {"tiny": declared}, {}, {})


async def with_wire(work) -> Any:
    wire = Wire()
    try:
        return await work(wire)
    finally:
        await wire.close()


def done(kind: type, options: dict[str, Any], url: str, lines: list[str] | None = None, **changes: Any) -> Any:
    """Run an attempt of a task type against the server; return its result and the attempt."""
    provider = changes.pop("provider", "llamacpp")
    models = {"tiny": ModelSpec(base_url=url, provider=provider, timeout=60)}
    work = attempt(options, lines, models=models, **changes)
    return asyncio.run(run(kind, work)), work


class TestWire:
    def test_chat(self, server):
        async def twice(wire):
            request = ChatRequest(HELLO, STEADY)
            return [await wire.chat(where(server.chat), request) for _ in range(2)]

        first, second = asyncio.run(with_wire(twice))
        assert first.text
        assert first.text == second.text
        assert first.finish_reason == "length"
        assert first.usage.reported
        assert (first.usage.output_tokens, first.usage.input_tokens > 5) == (12, True)
        assert second.usage.cached_tokens > 0
        assert json.loads(first.raw)["choices"][0]["message"]["content"] == first.text

    def test_a_stream_adds_up_to_the_same_answer_with_its_usage(self, server):
        told: list[str] = []

        async def both(wire):
            request = ChatRequest(HELLO, STEADY)
            streamed = await wire.chat(where(server.chat), request, on_text=told.append)
            return streamed, await wire.chat(where(server.chat), request)

        streamed, whole = asyncio.run(with_wire(both))
        assert "".join(told) == streamed.text == whole.text
        assert len(told) > 3
        assert streamed.usage.output_tokens == 12
        assert streamed.finish_reason == "length"

    def test_a_cancelled_stream_leaves_the_server_free(self, server):
        async def main(wire):
            begun = asyncio.Event()
            long = ChatRequest(HELLO, {"max_tokens": 3000, "ignore_eos": True})
            calls = [
                asyncio.create_task(wire.chat(where(server.chat), long, on_text=lambda _: begun.set()))
                for _ in range(2)
            ]
            await begun.wait()
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            return await wire.chat(where(server.chat), ChatRequest(HELLO, STEADY))

        assert asyncio.run(with_wire(main)).text

    @pytest.mark.parametrize("form", ["json_schema", "json_object"])
    def test_a_schema_is_kept_to_in_both_forms(self, server, form):
        wish = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
        if form == "json_object":
            wish = {"type": "json_object", "schema": SCHEMA}
        request = ChatRequest(HELLO, {"max_tokens": 200, "temperature": 1}, wish)
        answer = asyncio.run(with_wire(lambda wire: wire.chat(where(server.chat), request)))
        assert set(json.loads(answer.text)) == {"n", "ok"}

    def test_embeddings(self, server):
        request = EmbeddingRequest(["a red kite", "a tax return", "a red kite"])
        got = asyncio.run(with_wire(lambda wire: wire.embed(where(server.embeddings), request)))
        first, second, third = got.vectors
        assert len(first) == len(second) == 64
        assert first == pytest.approx(third, abs=1e-4)
        assert first != pytest.approx(second, abs=1e-4)
        assert got.usage.input_tokens > 0

    def test_log_probabilities(self, server):
        request = ChatRequest(HELLO, {**STEADY, "logprobs": True})
        answer = asyncio.run(with_wire(lambda wire: wire.chat(where(server.chat), request)))
        assert answer.logprobs  # it merges tokens that make one character
        assert all(each["logprob"] <= 0 for each in answer.logprobs)

    @pytest.mark.parametrize(
        ("request_", "code"),
        [
            (ChatRequest([{"role": "user", "content": "word " * 3000}], {"max_tokens": 4}), "prompt-too-long"),
            (ChatRequest(HELLO, {"temperature": "warm"}), "model-request-rejected"),
            (ChatRequest([{"role": "user", "content": 7}]), "model-request-rejected"),
        ],
    )
    def test_refusals(self, server, request_, code):
        with pytest.raises(TaskError) as caught:
            asyncio.run(with_wire(lambda wire: wire.chat(where(server.chat), request_)))
        assert caught.value.code in (code, "model-server-error"), caught.value.message

    def test_a_wrong_address(self, server):
        with pytest.raises(TaskError) as caught:
            asyncio.run(with_wire(lambda wire: wire.chat(where(f"{server.chat}/nowhere"), ChatRequest(HELLO))))
        assert caught.value.code == "model-not-found"


class TestTaskTypes:
    def test_generate_with_a_schema(self, server):
        lines: list[str] = []
        options = {"prompt": "Give a number.", "max_tokens": 200, "corrections": 0}
        result, work = done(LlmGenerateTask, options, server.chat, lines, output_schema=SCHEMA)
        assert set(result) == {"n", "ok"}
        assert work.usage["calls"] == 1

    def test_generate_where_the_schema_only_stands_in_the_prompt_climbs_to_its_end_and_fails(self, server):
        options = {"prompt": "x", "max_tokens": 8, "corrections": 1}
        with pytest.raises(TaskError) as caught:
            done(LlmGenerateTask, options, server.chat, provider="deepseek", output_schema=SCHEMA)
        calls = {"schema-mismatch": 2, "model-server-error": 1}  # the server fails over some noise of its own model
        assert caught.value.details["usage"]["calls"] >= calls[caught.value.code]

    def test_generate_several_and_stream(self, server):
        lines: list[str] = []
        options = {"prompt": "x", "n": 2, "stream": True, "max_tokens": 8, "temperature": 1, "seed": 1}
        result, work = done(LlmGenerateTask, options, server.chat, lines)
        assert (len(result), work.usage["calls"], work.usage["output_tokens"]) == (2, 2, 16)
        assert any(line.startswith("answer: ") for line in lines)

    def test_classify(self, server):
        options = {"text": "What a day!", "labels": ["praise", "complaint", "other"], "max_tokens": 100}
        result, _ = done(LlmClassifyTask, options, server.chat)
        assert result["label"] in options["labels"]
        assert 0 < result["confidence"] <= 1

    def test_extract_in_pieces(self, server):
        schema = {
            "type": "object",
            "properties": {"marks": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2}},
            "additionalProperties": False,
        }
        options = {"document": "one two three. " * 40, "chunk_size": 300, "chunk_overlap": 20, "max_tokens": 100}
        found, calls, said = {}, 2, ""
        try:
            found, work = done(LlmExtractTask, options, server.chat, output_schema=schema)
            calls = work.usage["calls"]
        except TaskError as error:  # two marks a piece may be more than two marks in all
            said = error.message
        assert said == "" or said.startswith("what was found in 3 pieces does not fit the output schema at `$.marks`")
        assert set(found.get("marks", [])) <= {"a", "b"}
        assert calls >= 2

    def test_judge(self, server):
        verdict = {"type": "object", "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 5}}}
        options = {"subject": "4", "rubric": "Is it the sum of two and two?", "max_tokens": 300}
        code, score = None, 3
        try:
            score = done(LlmJudgeTask, options, server.chat)[0]["score"]
        except TaskError as error:  # reasons of noise often come to no end
            code = error.code
        assert code in (None, "schema-mismatch", "model-server-error")
        assert not problems({"score": score}, verdict)

    def test_embed(self, server):
        vectors, work = done(
            LlmEmbedTask, {"texts": [f"text {at}" for at in range(5)], "batch_size": 2}, server.embeddings
        )
        assert [len(vector) for vector in vectors] == [64] * 5
        assert work.usage["calls"] == 3


def test_the_command(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    (tmp_path / "autoglm.yaml").write_text("durability: process\n")
    (tmp_path / "flow.yaml").write_text(
        f"""
        models: {{tiny: {{base_url: "{server.chat}", provider: llamacpp}}}}
        tasks:
          - name: numbers
            prompt_template: "Say a number, {{{{ item }}}}!"
            max_tokens: 200
            output_schema: {json.dumps(SCHEMA)}
            loop: [one, two, three]
        """
    )
    monkeypatch.chdir(tmp_path)
    assert enter(["run", "flow.yaml", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert [set(each) for each in report["tasks"]["numbers"]["result"]] == [{"n", "ok"}] * 3
    assert report["usage"]["calls"] == 3
    assert report["usage"]["output_tokens"] > 0

"""The ladder to an answer that fits: each rung, what it costs, and what the journal spares."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autoglm.base.errors import TaskError
from autoglm.spec.model import ModelSpec
from autoglm.tasks.ladder import together
from autoglm.tasks.llm_generate import LlmGenerateTask
from autoglm.tasks.protocol import Park
from tests.llm.loopback import listening

from ..llm.peer import completion, serve  # noqa: TID252  # the peer serves both folders
from .attempts import asked, attempt, run

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def answers(*texts: str | dict[str, Any]):
    """Return a reply that gives these answers in turn, and the last one from then on."""
    left = list(texts)

    def reply(_body: dict[str, Any]) -> dict[str, Any]:
        text = left.pop(0) if len(left) > 1 else left[0]
        return completion(text) if isinstance(text, str) else text

    return reply


def generate(reply, options: dict[str, Any] | None = None, **changes: Any):
    return asked(LlmGenerateTask, {"prompt": "hi", **(options or {})}, reply, output_schema=SCHEMA, **changes)


class TestRungs:
    def test_an_answer_that_fits_costs_one_call(self):
        result, work, peer = generate(answers('{"n": 4}'))
        assert result == {"n": 4}
        assert work.usage == {"calls": 1, "model": "mine", "input_tokens": 7, "output_tokens": 3}
        assert len(peer.requests) == 1

    def test_a_mended_answer_costs_no_further_call_and_is_logged(self):
        lines: list[str] = []
        result, work, _ = generate(answers("{'n': '4',}"), lines=lines)
        assert result == {"n": 4}
        assert (work.usage["calls"], work.usage["repairs"]) == (1, 1)
        assert any("mended" in line and "trailing comma" in line for line in lines)

    def test_what_does_not_fit_is_sent_back_with_what_is_wrong(self):
        lines: list[str] = []
        result, work, peer = generate(answers('{"n": "four"}', "no idea", '{"n": 4}'), lines=lines)
        assert result == {"n": 4}
        assert (work.usage["calls"], work.usage["corrections"]) == (3, 2)
        assert work.usage["input_tokens"] == 21
        said = peer.requests[1]["messages"]
        assert [message["role"] for message in said[-3:]] == ["user", "assistant", "user"]
        assert said[-2]["content"] == '{"n": "four"}'
        assert "`$.n`" in said[-1]["content"]
        assert "no JSON value" in peer.requests[2]["messages"][-1]["content"]
        assert len(peer.requests[2]["messages"]) == len(said)
        assert sum("sent back" in line and "10 tokens" in line for line in lines) == 2

    def test_corrections_come_to_an_end(self):
        with pytest.raises(TaskError) as caught:
            generate(answers("no"), {"corrections": 1})
        assert (caught.value.code, caught.value.retryable) == ("schema-mismatch", True)
        assert caught.value.details["usage"]["calls"] == 2

    def test_what_was_cut_off_is_asked_for_shorter(self):
        cut = completion(choices=[{"message": {"content": '{"n": 4, "more": [1'}, "finish_reason": "length"}])
        result, _, peer = generate(answers(cut, '{"n": 4}'))
        assert result == {"n": 4}
        assert "shorter" in peer.requests[1]["messages"][-1]["content"]

    def test_a_form_that_the_server_refuses_is_given_up_for_the_next_and_not_tried_again(self):
        async def main():
            from aiohttp import web

            asked_for: list[Any] = []

            async def chat(request):
                body = await request.json()
                asked_for.append((body.get("response_format") or {}).get("type"))
                if asked_for[-1] == "json_schema":
                    return web.json_response({"error": {"message": "unknown response_format"}}, status=400)
                return web.json_response(completion('{"n": 4}'))

            lines: list[str] = []
            task_type = LlmGenerateTask()
            async with listening(web.post("/v1/chat/completions", chat)) as address:
                models = {"mine": ModelSpec(base_url=f"{address}/v1", provider="vllm")}
                for _ in range(2):
                    work = attempt({"prompt": "hi"}, lines, models=models, output_schema=SCHEMA)
                    assert await task_type.run(work) == {"n": 4}
                await task_type.close()
            return asked_for, lines

        asked_for, lines = asyncio.run(main())
        assert asked_for == ["json_schema", "json_object", "json_object"]
        assert sum("does not take the form" in line for line in lines) == 1

    def test_what_the_lint_finds_is_said_once_a_run(self):
        schema = {**SCHEMA, "properties": {"n": {"type": "integer", "multipleOf": 2}}}
        lines: list[str] = []

        async def main():
            async with serve(answers('{"n": 4}')) as peer:
                models = {"mine": ModelSpec(base_url=peer.url, provider="vllm")}
                task_type = LlmGenerateTask()
                for _ in range(3):
                    await task_type.run(attempt({"prompt": "hi"}, lines, models=models, output_schema=schema))
                await task_type.close()
                return peer

        peer = asyncio.run(main())
        assert [each["response_format"]["type"] for each in peer.requests] == ["json_object"] * 3
        assert sum("`multipleOf`" in line for line in lines) == 1


class TestFallbacks:
    def ask(self, models: list[str], specs: dict[str, dict[str, Any]], reply, schema=SCHEMA):
        async def main():
            async with serve(reply) as peer:
                declared = {name: ModelSpec(**{"base_url": peer.url, **spec}) for name, spec in specs.items()}
                lines: list[str] = []
                work = attempt({"prompt": "hi", "model": models}, lines, models=declared, output_schema=schema)
                return await run(LlmGenerateTask, work), work, peer, lines

        return asyncio.run(main())

    def test_the_next_model_is_asked_when_one_never_fits(self):
        def reply(body):
            return completion('{"n": 4}' if body["model"] == "b" else "no")

        result, work, peer, lines = self.ask(["a", "b"], {"a": {}, "b": {}}, reply)
        assert result == {"n": 4}
        assert [each["model"] for each in peer.requests] == ["a", "a", "a", "b"]
        assert (work.usage["fallbacks"], work.usage["calls"], work.usage["model"]) == (1, 4, "b")
        assert any("falling back to the model b" in line for line in lines)

    def test_the_next_model_is_asked_when_one_cannot_be_called(self):
        specs = {"a": {"base_url": "http://127.0.0.1:9"}, "b": {}}
        result, _, _, _ = self.ask(["a", "b"], specs, lambda _: completion("text"), schema=None)
        assert result == "text"

    def test_the_last_ones_failure_is_the_tasks(self):
        with pytest.raises(TaskError) as caught:
            self.ask(["b", "a"], {"a": {"base_url": "http://127.0.0.1:9"}, "b": {}}, lambda _: completion("no"))
        assert caught.value.code == "model-connection"

    def test_what_no_other_model_can_mend_does_not_fall(self):
        with pytest.raises(TaskError) as caught:
            self.ask(["a", "b"], {"a": {}, "b": {}}, lambda _: completion("x"), schema={"type": "objekt"})
        assert caught.value.code == "output-schema-invalid"


class TestJournal:
    """Steps are recorded before they are read: what is there is not asked for again."""

    def test_the_answer_is_recorded_as_it_came(self):
        steps: dict[str, Any] = {}
        generate(answers('{"n": 4}'), steps=steps)
        assert list(steps) == ["answer/1/mine/json_object/0"]
        assert steps["answer/1/mine/json_object/0"] == completion('{"n": 4}')

    def test_an_attempt_that_goes_on_finds_its_answers_and_counts_them(self):
        steps: dict[str, Any] = {}
        _, first, _ = generate(answers("no", '{"n": 4}'), steps=steps)
        lines: list[str] = []
        result, again, peer = generate(answers("never asked"), steps=steps, lines=lines)
        assert (result, peer.requests) == ({"n": 4}, [])
        assert again.usage == first.usage
        assert any("in the journal" in line for line in lines)

    def test_a_later_attempt_takes_what_an_earlier_one_got_and_counts_nothing(self):
        steps: dict[str, Any] = {}
        generate(answers('{"n": 4}'), steps=steps)
        result, work, peer = generate(answers("never asked"), steps=steps, number=2)
        assert (result, peer.requests, work.usage) == ({"n": 4}, [], {})

    def test_a_later_attempt_asks_anew_where_the_earlier_one_got_nothing_that_fits(self):
        steps: dict[str, Any] = {}
        with pytest.raises(TaskError):
            generate(answers("no"), steps=steps)
        result, work, peer = generate(answers('{"n": 4}'), steps=steps, number=2)
        assert result == {"n": 4}
        assert (len(peer.requests), work.usage["calls"]) == (1, 1)

    def test_an_answer_in_a_later_form_or_of_a_later_model_is_found_too(self):
        steps = {"answer/1/b/json_object/0": completion('{"n": 4}')}
        models = {name: ModelSpec(base_url="http://127.0.0.1:9", provider="vllm") for name in "ab"}
        work = attempt(
            {"prompt": "hi", "model": ["a", "b"]}, number=2, steps=steps, models=models, output_schema=SCHEMA
        )
        assert asyncio.run(run(LlmGenerateTask, work)) == {"n": 4}
        assert work.usage == {}

    def test_a_lone_text_is_its_own_record(self):
        steps: dict[str, Any] = {}
        asked(LlmGenerateTask, {"prompt": "hi"}, answers("text"), steps=steps)
        assert steps == {}

    def test_what_failed_is_not_recorded(self):
        steps: dict[str, Any] = {}
        refused = {"error": {"message": "no"}, "code": "500"}
        with pytest.raises(TaskError):
            generate(answers(refused), steps=steps)
        assert steps == {}


class TestTogether:
    def test_what_is_under_way_ends_after_a_failure_and_nothing_new_begins(self):
        ended: list[int] = []

        async def main():
            begun, failed = asyncio.Barrier(3), asyncio.Event()

            async def work(at: int) -> int:
                await begun.wait()
                if at == 1:
                    failed.set()
                    raise TaskError("no")
                await failed.wait()
                ended.append(at)
                return at

            with pytest.raises(TaskError):
                await together([work(at) for at in range(6)], 3)

        asyncio.run(main())
        assert sorted(ended) == [0, 2]

    def test_a_failure_comes_before_a_wish_to_wait(self):
        async def main():
            begun = asyncio.Barrier(2)

            async def fails(error: Exception):
                await begun.wait()
                raise error

            with pytest.raises(TaskError):
                await together([fails(Park(None, "later")), fails(TaskError("no"))])
            with pytest.raises(Park):
                await together([fails(Park(None, "later")), begun.wait()])

        asyncio.run(main())

    def test_a_cancelled_one_stops_all(self):
        async def main():
            never = asyncio.Event()
            begun = asyncio.Event()

            async def waits():
                begun.set()
                await never.wait()

            stopped = [asyncio.create_task(together([waits() for _ in range(3)], 2))]
            await begun.wait()
            stopped[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopped[0]

        asyncio.run(main())

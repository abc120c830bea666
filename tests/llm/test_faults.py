"""Every fault in the table of docs/models.md is played by a server that misbehaves so, and has the stated outcome."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from autoglm.base.errors import TaskError
from autoglm.llm.chat import Completion
from autoglm.llm.profiles import OPENAI, ZHIPU
from autoglm.llm.wire import Wire
from autoglm.spec.model import ModelSpec
from autoglm.tasks.llm_generate import LlmGenerateTask

from ..tasks.attempts import attempt, run  # noqa: TID252  # attempts outside of a run
from .peer import chunk, completion, events, http, script, serve, stream_head
from .test_wire import HELLO, endpoint

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
SLOW = {"error": {"message": "slow down"}}
WHOLE = http(200, completion())
STREAM = events(chunk("hel"), chunk("lo"), chunk(finish="stop"), "[DONE]")
HUNDRED = [b"x" * 1_000_000] * 100


def told_date(seconds: int) -> dict[str, str]:
    now = 1_700_000_000
    return {"Retry_After": formatdate(now + seconds, usegmt=True), "Date": formatdate(now, usegmt=True)}


def stalling(*pieces: bytes) -> list[Any]:
    return [*pieces, asyncio.Event()]


def dripping(whole: bytes) -> list[bytes]:
    return [whole[at : at + 1] for at in range(len(whole))]


def says(*pieces: Any, streamed: bool = False, **changes: Any) -> Callable[[], Any]:
    """Return a call to a server that says ``pieces``, byte for byte."""

    async def play() -> Completion:
        wire = Wire()
        try:
            async with script(*pieces) as peer:
                on_text = (lambda _: None) if streamed else None
                return await wire.chat(endpoint(peer.url, **changes), HELLO, on_text=on_text)
        finally:
            await wire.close()

    return play


def answers(*texts: str, refuses_form: bool = False) -> Callable[[], Any]:
    """Return a task with a schema, whose server gives these answers in turn, the last one from then on."""

    async def play() -> tuple[Any, dict[str, Any]]:
        left = list(texts)

        def reply(body: dict[str, Any]) -> dict[str, Any]:
            if refuses_form and body.get("response_format", {}).get("type") == "json_schema":
                return {"error": {"code": 400, "message": "no such response_format"}}
            return completion(left.pop(0) if len(left) > 1 else left[0])

        async with serve(reply) as peer:
            models = {"mine": ModelSpec(base_url=peer.url, provider="vllm")}
            work = attempt({"prompt": "hi"}, models=models, output_schema=SCHEMA)
            return await run(LlmGenerateTask, work), work.usage

    return play


FAULTS: dict[str, Callable[[], Any]] = {
    "refuses with 429 and `retry-after: 7`": says(http(429, SLOW, Retry_After="7")),
    "refuses with 429 and `retry-after-ms: 250`": says(http(429, SLOW, retry_after_ms="250")),
    "refuses with 429 and a date 30 s from its own": says(http(429, SLOW, **told_date(30))),
    "refuses with 429 and says no time": says(http(429, SLOW)),
    "says rate limit (1302) under status 200": says(http(200, {"error": {"code": "1302"}}), profile=ZHIPU),
    "says overload (1305) under status 429": says(http(429, {"error": {"code": "1305"}}), profile=ZHIPU),
    "says no credit under status 429": says(http(429, {"error": {"code": "insufficient_quota"}}), profile=OPENAI),
    "fails with 500": says(http(500, b"oops", "text/plain")),
    "fails with 503": says(http(503, {})),
    "stalls before the first token of a stream": says(*stalling(stream_head()), streamed=True, first_token_timeout=0.2),
    "stalls in the middle of a stream": says(
        *stalling(stream_head(), events(chunk("a"))), streamed=True, first_token_timeout=0.2
    ),
    "stalls without an answer": says(*stalling(), timeout=0.2),
    "hangs up before it answers": says(b""),
    "cuts the connection in the middle of an answer": says(WHOLE[:-20]),
    "cuts the connection in the middle of a stream": says(stream_head(), events(chunk("a")), streamed=True),
    "ends a stream in the middle of an event": says(stream_head(), STREAM[:-60], streamed=True),
    "sends an error in the middle of a stream": says(
        stream_head(), events(chunk("a"), {"error": {"code": "1305"}}), streamed=True, profile=ZHIPU
    ),
    "sends malformed JSON": says(http(200, b'{"choices": [')),
    "sends invalid UTF-8": says(http(200, b'{"id": "\xff"}')),
    "sends a page of HTML with status 200": says(http(200, b"<html>", "text/html")),
    "sends 100 MB": says(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", *HUNDRED),
    "streams 100 MB": says(stream_head(), *HUNDRED, streamed=True),
    "redirects elsewhere": says(http(302, b"", location="http://elsewhere.example/v1")),
    "leaves usage out": says(http(200, completion(usage=None))),
    "sends its answer byte by byte, in time": says(*dripping(WHOLE)),
    "sends its answer byte by byte, for too long": says(*stalling(*dripping(WHOLE[:-1])), timeout=0.5),
    "answers a stream in one piece": says(WHOLE, streamed=True),
    "ignores the schema once": answers("no", '{"n": 4}'),
    "ignores the schema always": answers("no"),
    "refuses the form of structured output": answers('{"n": 4}', refuses_form=True),
}


def rows() -> dict[str, list[str]]:
    """Return the table's rows by what the server does."""
    lines = PAGE.read_text(encoding="utf-8").partition("### What a server does, and what comes of it\n")[2].splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("|---"))
    table: dict[str, list[str]] = {}
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        fault, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        table[fault] = cells
    return table


def test_the_table_and_the_faults_are_the_same_ones() -> None:
    assert list(rows()) == list(FAULTS)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_has_the_outcome_that_the_table_states(fault: str) -> None:
    outcome, again, waits, names = rows()[fault]
    if not outcome.startswith("`"):
        assert (again, waits, names) == ("", "", "")
        _check_answer(outcome, asyncio.run(FAULTS[fault]()))
        return
    with pytest.raises(TaskError) as caught:
        asyncio.run(FAULTS[fault]())
    error = caught.value
    assert f"`{error.code}`" == outcome, error.message
    assert ("yes" if error.retryable else "no") == again
    assert _seconds(waits) == (error.details or {}).get("retry_after")
    failure = error.failure()
    assert set(re.findall(r"`(\w+)`", names)) <= set(failure.classes)
    assert error.hint
    assert "\n" not in error.message
    assert len(error.message) < 1500


def _check_answer(outcome: str, found: Any) -> None:
    match outcome:
        case "the answer":
            assert found.text == "hello"
            assert found.usage.input_tokens == 7
        case "the answer, and 0 tokens":
            assert (found.text, found.usage.input_tokens, found.usage.reported) == ("hello", 0, False)
        case "the answer, after it was sent back":
            assert found[0] == {"n": 4}
            assert (found[1]["calls"], found[1]["corrections"]) == (2, 1)
        case "the answer, in the next form":
            assert found[0] == {"n": 4}
            assert found[1]["calls"] == 2
        case _:
            raise AssertionError(f"the table states an outcome that nobody checks: {outcome}")


def _seconds(text: str) -> float | None:
    return float(text.removesuffix(" s")) if text else None

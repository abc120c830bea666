"""What model servers answer that is no answer, and what is wrong with how a task asks them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.errors.scene import Scene
from tests.llm.peer import chunk, completion, events, http, script, serve, stream_head

REFUSALS: dict[str, tuple[bytes, str]] = {
    "401": (http(401, {"error": {"message": "Incorrect API key provided"}}), "model-unauthorized"),
    "402": (http(402, {"error": {"message": "balance is 0"}}), "model-no-credit"),
    "404": (http(404, {"error": {"message": "The model does not exist"}}), "model-not-found"),
    "413": (http(413, {"error": {"message": "9000 tokens, and 8192 are allowed"}}), "prompt-too-long"),
    "422": (http(422, {"error": {"message": "`top_q` is unknown"}}), "model-request-rejected"),
    "429": (http(429, {"error": {"message": "slow down"}}, retry_after="2"), "model-rate-limited"),
    "500": (http(500, b"<html>oops</html>", "text/html"), "model-server-error"),
    "503": (http(503), "model-overloaded"),
    "redirect": (http(302, location="https://elsewhere.example/v1"), "model-not-found"),
    "content filter": (
        http(200, completion(choices=[{"index": 0, "message": {"content": None}, "finish_reason": "content_filter"}])),
        "answer-refused",
    ),
    "no text": (http(200, completion("")), "answer-empty"),
    "cut off": (
        http(200, completion(choices=[{"index": 0, "message": {"content": ""}, "finish_reason": "length"}])),
        "answer-empty",
    ),
    "no json": (http(200, b"hello", "text/plain"), "bad-response"),
    "no choices": (http(200, {"id": "1", "choices": []}), "bad-response"),
    "no utf-8": (http(200, b'{"choices": [{"message": {"content": "\xff"}}]}'), "bad-response"),
    "half a json": (http(200, b'{"choices": ['), "bad-response"),
    "another form": (http(200, {"choices": [{"message": 5}]}), "bad-response"),
    "an error that is none": (http(200, {"error": {"message": "try something else"}}), "bad-response"),
    "no http": (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "bad-response"),
    "hangs up": (b"", "model-connection"),
}


def asked(scene: Scene, *pieces: bytes | asyncio.Event, fields: str = "", **model: Any) -> None:
    """Ask a model that answers with ``pieces``."""
    with scene.serving(script(*pieces)) as peer:
        # Without patience, a refusal is the attempt's failure: else it is waited out for minutes.
        hasty = {"limits": {"patience": 0}, **model}
        models = {"mine": {"base_url": peer.url, "model": "m-1", "api_key": "{{ secrets.KEY }}", **hasty}}
        scene.patch.setenv("KEY", "a-key-that-nobody-may-see")
        assert scene.run_task(f"prompt: hello, model: mine{fields}", models=models) == 1


@pytest.mark.parametrize("case", REFUSALS)
def test_an_answer_that_is_none(scene: Scene, case: str) -> None:
    answer, code = REFUSALS[case]
    asked(scene, answer)
    scene.shows(code)


def test_a_server_that_takes_its_time(scene: Scene) -> None:
    asked(scene, asyncio.Event(), timeout="200ms")
    scene.shows("model-timeout")


def test_answers_that_do_not_fit(scene: Scene) -> None:
    fields = ", output_schema: {type: object, properties: {age: {type: integer}}, required: [age]}"
    asked(scene, http(200, completion('{"age": "ten"}')), fields=fields)
    asked(scene, http(200, completion("I would say ten.")), fields=fields)
    scene.shows("schema-mismatch")


VECTORS = {
    "too few": [{"index": 0, "embedding": [1.0]}],
    "of two lengths": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}],
    "no numbers": [{"index": 0, "embedding": "no base64!"}, {"index": 1, "embedding": [1.0]}],
}


def test_vectors_that_are_none(scene: Scene) -> None:
    for data in VECTORS.values():
        with scene.serving(script(http(200, {"data": data}))) as peer:
            models = {"mine": {"base_url": peer.url, "limits": {"patience": 0}}}
            scene.run_task("type: llm_embed, model: mine, texts: [one, two], retries: 0", models=models)
    scene.shows("bad-response")


def test_streams_that_break_off(scene: Scene) -> None:
    for pieces in (events("[DONE]"), events(chunk("hel")), events('{"choices": 5}')):
        with scene.serving(script(stream_head() + pieces)) as peer:
            models = {"mine": {"base_url": peer.url, "limits": {"patience": 0}, "parameters": {"stream": True}}}
            scene.run_task("prompt: hello, model: mine, stream: true, retries: 0", models=models)
    scene.shows("bad-response")


def test_what_is_found_in_pieces_and_does_not_fit_together(scene: Scene) -> None:
    schema = {"type": "object", "properties": {"ship": {"type": "array", "items": {"type": "string"}, "maxItems": 1}}}
    task = {"name": "a", "type": "llm_extract", "document": "The Fram sailed. " * 30, "output_schema": schema}
    cut = {"model": "mine", "chunk_size": 300, "chunk_overlap": 0, "retries": 0}
    names = iter(["Fram", "Gjøa"])
    with scene.serving(serve(lambda _: completion(json.dumps({"ship": [next(names)]})))) as peer:
        scene.run(json.dumps({"models": {"mine": {"base_url": peer.url}}, "tasks": [task | cut]}))
    scene.shows("schema-mismatch")


def test_requests_that_cannot_be_sent(scene: Scene) -> None:
    asked(scene, headers={"X-Team": "a\nb"})
    scene.shows("model-request-invalid")


MODELS = {
    "here": {"base_url": "http://127.0.0.1:1/v1", "api_key": "{{ secrets.KEY }}"},
    "mistyped": {"base_url": "127.0.0.1/v1"},
    "one": {"model": "two"},
    "two": {"model": "one"},
    "nowhere": {"parameters": {"seed": 1}},
    "stranger": {"provider": "opnai"},
}


def test_models_that_cannot_be_found(scene: Scene) -> None:
    for model in ("AutoGLM-Chat", "openai/gpt-5", *MODELS):
        scene.run_task(f"prompt: hello, model: {model}", models=MODELS)
    scene.run_task("prompt: hello, model: \"{{ 'noone' }}\"")
    scene.run_task("prompt: hello, model: \"{{ 'noone' }}\"", "--offline")
    for name in ("noone", "openai/gpt-5"):  # which nobody knows before
        scene.write("tasks/work.py", "def told(what):\n    return what\n")
        names = f"{{name: b, handler: told, with: {{what: {name}}}}}"
        scene.run(f"tasks:\n  - {{name: a, prompt: hello, model: '{{{{ tasks.b.result }}}}'}}\n  - {names}\n")
    scene.shows(
        *("model-key-missing", "model-address-invalid", "model-declared-in-circle", "unknown-model"), "secret-missing"
    )


def test_what_a_task_asks(scene: Scene) -> None:
    for fields in (
        "prompt: \"{{ '' }}\"",
        'type: llm_generate, messages: "{{ [] }}"',
        "type: llm_generate, messages: \"{{ [{'role': 'boss'}] }}\"",
        "prompt: hello, temperature: \"{{ 'warm' }}\"",
        "prompt: hello, model: zhipu/glm-4.7, temperature: 3",
        "prompt: hello, model: zhipu/glm-4.7, stop: [a, b]",
    ):
        scene.patch.setenv("ZAI_API_KEY", "a-key")
        scene.run_task(fields)
    scene.write("tasks/work.py", "def told(what):\n    return what\n")
    for given, asks in {
        "[]": "type: llm_generate, messages: '{{ tasks.b.result }}'",
        "[{role: boss}]": "type: llm_generate, messages: '{{ tasks.b.result }}'",
        "''": "prompt: '{{ tasks.b.result }}'",
        "[a, '']": "type: llm_classify, text: x, labels: '{{ tasks.b.result }}'",
    }.items():
        gives = f"{{name: b, handler: told, with: {{what: {given}}}}}"
        scene.run(f"tasks:\n  - {{name: a, {asks}}}\n  - {gives}\n")
    scene.shows("prompt-empty", "prompt-missing", "llm-option-invalid", "model-parameter-invalid")


def test_schemas_of_answers(scene: Scene) -> None:
    for schema in ('{$ref: "#/$defs/gone"}', "{type: string, pattern: '^(?=a)b$'}", "{type: string, pattern: '('}"):
        scene.run_task(f"prompt: hello, output_schema: {schema}", "--offline")
    scene.shows("output-schema-invalid", "offline-unsupported-schema")

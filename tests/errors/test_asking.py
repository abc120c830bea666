"""What is found wrong with tasks that ask a model, before anything is paid for."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.errors.scene import Scene

NOBODY = {"nobody": {"base_url": "http://127.0.0.1:9/v1", "context_tokens": 1000}}


def test_a_set_of_labels_that_leaves_no_choice(scene: Scene) -> None:
    scene.run_task("type: llm_classify, text: x, labels: [good]")
    scene.run_task("type: llm_classify, text: x, labels: [good, Good]")
    scene.run_task("type: llm_classify, text: x, labels: [good, ' ']")
    scene.run_task(f"type: llm_classify, text: x, labels: [{', '.join(f'l{number}' for number in range(600))}]")
    scene.shows("label-set-invalid")


def test_a_schema_that_nothing_can_fit(scene: Scene) -> None:
    schema = "{type: object, required: [n], properties: {n: {type: integer, minimum: 5, maximum: 1}}}"
    scene.run_task(f"prompt: How many?, output_schema: {schema}")
    closed = "{type: object, required: [n], properties: {}, additionalProperties: false}"
    scene.run_task(f"type: llm_extract, document: x, output_schema: {closed}")
    scene.shows("schema-impossible")


def test_images_that_are_none(scene: Scene) -> None:
    scene.write("notes.png", "not a picture")
    scene.run_task("prompt: What is this?, images: pictures/cat.png")
    scene.run_task("prompt: What is this?, images: [notes.png]", models=NOBODY)
    scene.shows("missing-file", "image-invalid")


@asynccontextmanager
async def pictures() -> AsyncIterator[str]:
    """Serve what is no picture, under addresses that say what it is."""

    async def answer(request: web.Request) -> web.Response:
        match request.path:
            case "/page.png":
                return web.Response(text="<html>", content_type="text/html")
            case "/large.png":
                return web.Response(headers={"Content-Length": "30000000"}, content_type="image/png")
        return web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{name}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def test_images_that_turn_out_to_be_none(scene: Scene) -> None:
    scene.write("tasks/told.py", "def told(what): return what\n")
    with open(scene.root / "large.png", "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + bytes(20))
        file.truncate(21_000_000)
    scene.run_task("prompt: What is this?, images: [large.png]", models=NOBODY)
    scene.run_task("prompt: What is this?, images: ['data:image/png;base64,aGVsbG8=']", models=NOBODY)
    with scene.serving(pictures()) as address:
        names = "large.png", "gone\0.png", *(f"{address}/{name}.png" for name in ("gone", "page", "large"))
        for name in names:
            told = f"{{name: told, with: {{what: {json.dumps(name)}}}}}"
            asks = "{name: a, prompt: What is this?, images: ['{{ tasks.told.result }}'], retries: 0}"
            scene.run(f"models: {json.dumps(NOBODY)}\ntasks:\n  - {told}\n  - {asks}\n")
    scene.shows("image-invalid")


def test_a_prompts_file_that_cannot_be_used(scene: Scene) -> None:
    scene.run_task("prompt_file: prompts/none.md")
    scene.write("prompts/half.md", "---\nmodel: ollama/qwen3\nWhat now?\n")
    scene.run_task("prompt: prompts/half.md")
    scene.write("prompts/typo.md", "---\ntemprature: 1\n---\nWhat now?\n")
    scene.run_task("prompt: prompts/typo.md")
    scene.write("prompts/list.md", "---\n- model\n---\nWhat now?\n")
    scene.run_task("prompt: prompts/list.md")
    scene.write("prompts/empty.md", "---\nmodel: ollama/qwen3\n---\n")
    scene.run_task("prompt: prompts/empty.md")
    scene.run_task("prompt_file: 'prompts/{{ run.id }}.md'")
    scene.write("prompts/arm.md", "---\noutput_schema: {type: object}\n---\nWhat now?\n")
    scene.run_task("prompt: hello, model: {split: {one: {prompt_file: prompts/arm.md}, two: {prompt: hi}}}")
    scene.shows("prompt-file", "prompt-empty")


def test_options_that_do_not_go_together(scene: Scene) -> None:
    scene.run_task("type: llm_judge, subject: x, rubric: Is it good?, scale: [5, 1]")
    scene.run_task("type: llm_judge, subject: x, rubric: Is it good?, pass_at: 7")
    scene.run_task("type: llm_extract, document: x")
    scene.run_task("type: llm_embed, texts: [a, '']")
    scene.shows("llm-option-invalid", "missing-option", "prompt-empty")


def test_what_is_empty_or_not_an_option_of_theirs(scene: Scene) -> None:
    scene.write(
        "flow.yaml",
        """
        models: {m: ollama/qwen3}
        tasks:
          - {name: a, type: llm_classify, text: " ", labels: [good, bad], output_schema: {type: string}}
          - {name: b, type: llm_extract, document: "", output_schema: {}, chunk_size: 500, chunk_overlap: 300}
          - {name: c, type: llm_judge, subject: x, rubric: {}, output_schema: {type: string}}
          - {name: d, type: llm_generate, messages: []}
          - {name: e, type: llm_generate, messages: [{role: system, content: "{{ run.id }}"}, {role: user}]}
          - {name: f, prompt: hello, model: {split: {one: {prompt_file: a.md, model: 7}, two: {weight: 0}}}}
          - {name: g, prompt: hello, model: {split: {one: {weight: 0}, two: {weight: 0}}}}
          - {name: h, prompt: hello, model: {split: {one: {}, two: {}}, canary: {arm: two, min_calls: 0}}}
        """,
    )
    scene.autoglm("validate", "flow.yaml")
    scene.shows("prompt-empty", "llm-option-invalid", "model-split-invalid")


def test_what_only_the_run_shows_to_be_empty(scene: Scene) -> None:
    scene.write("tasks/work.py", "def told(what): return what\n")
    scene.patch.setenv("KEY", "a-key-of-some-length")
    (scene.root / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    given = "{{ tasks.told.result }}"
    for what, fields in (
        ("''", f"type: llm_extract, document: '{given}', output_schema: {{type: object}}"),
        ("100", f"type: llm_extract, document: x, chunk_size: '{given}', output_schema: {{type: object}}"),
        ("''", f"type: llm_embed, model: m, texts: [a, '{given}']"),
        ("''", f"type: llm_judge, subject: x, rubric: '{given}'"),
        ("7", f"type: llm_judge, subject: x, rubric: Is it good?, pass_at: '{given}'"),
        ("[]", f"prompt: hello, model: '{given}'"),
        ("{split: 5}", f"prompt: hello, model: '{given}'"),
        ("warm", f"prompt: hello, temperature: '{given}'"),
        ("hello", f"type: llm_generate, messages: [{{role: assistant, content: '{given}'}}], images: [a.png]"),
        ("''", f"prompt: hello, execution: batch, batch: {{poll: '{given}'}}"),
        ("{pol: 1m}", f"prompt: hello, execution: batch, batch: '{given}'"),
        ("x", r"""prompt: hello, model: m, parameters: {user: '{{ tasks.told.result ~ "\ud800" }}'}"""),
    ):
        tasks = f"  - {{name: told, with: {{what: {what}}}}}\n  - {{name: a, {fields}}}\n"
        models = "{m: {base_url: 'http://127.0.0.1:9/v1', provider: openai, api_key: '{{ secrets.KEY }}'}}"
        scene.run(f"models: {models}\ntasks:\n{tasks}")
    scene.shows("prompt-empty", "llm-option-invalid")


def test_a_prompt_that_cannot_fit_the_models_context(scene: Scene) -> None:
    scene.run_task("prompt: \"{{ 'word ' * 3000 }}\"", models=NOBODY)
    scene.shows("prompt-too-long")


def test_a_library_that_is_not_installed(scene: Scene) -> None:
    scene.patch.setitem(sys.modules, "anthropic", None)
    scene.patch.setenv("ANTHROPIC_API_KEY", "a-key-of-some-length")
    scene.run_task("prompt: Hello, model: anthropic/claude-opus")
    scene.shows("adapter-missing")

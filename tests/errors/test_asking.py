"""What is found wrong with tasks that ask a model, before anything is paid for."""

from __future__ import annotations

import sys

from tests.errors.scene import Scene

NOBODY = {"nobody": {"base_url": "http://127.0.0.1:9/v1", "context_tokens": 1000}}


def test_a_set_of_labels_that_leaves_no_choice(scene: Scene) -> None:
    scene.run_task("type: llm_classify, text: x, labels: [good]")
    scene.run_task("type: llm_classify, text: x, labels: [good, Good]")
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


def test_a_prompts_file_that_cannot_be_used(scene: Scene) -> None:
    scene.run_task("prompt_file: prompts/none.md")
    scene.write("prompts/half.md", "---\nmodel: ollama/qwen3\nWhat now?\n")
    scene.run_task("prompt: prompts/half.md")
    scene.write("prompts/typo.md", "---\ntemprature: 1\n---\nWhat now?\n")
    scene.run_task("prompt: prompts/typo.md")
    scene.shows("prompt-file")


def test_options_that_do_not_go_together(scene: Scene) -> None:
    scene.run_task("type: llm_judge, subject: x, rubric: Is it good?, scale: [5, 1]")
    scene.run_task("type: llm_extract, document: x")
    scene.run_task("type: llm_embed, texts: [a, '']")
    scene.shows("llm-option-invalid", "missing-option", "prompt-empty")


def test_a_prompt_that_cannot_fit_the_models_context(scene: Scene) -> None:
    scene.run_task("prompt: \"{{ 'word ' * 3000 }}\"", models=NOBODY)
    scene.shows("prompt-too-long")


def test_a_library_that_is_not_installed(scene: Scene) -> None:
    scene.patch.setitem(sys.modules, "anthropic", None)
    scene.patch.setenv("ANTHROPIC_API_KEY", "a-key-of-some-length")
    scene.run_task("prompt: Hello, model: anthropic/claude-opus")
    scene.shows("adapter-missing")

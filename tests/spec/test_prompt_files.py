"""Prompts in files of their own: what becomes of them in the workflow, and what may be wrong with them."""

from __future__ import annotations

import pytest

from autoglm.app.catalog import build_catalog
from autoglm.app.loading import diagnose
from autoglm.config.project import Project

FILE = """---
description: asks about a topic
model: ollama/qwen3
temperature: 0.2
system: Be brief.
output_schema: {type: object, properties: {n: {type: integer}}}
---
How many {{ topic }} are there?
"""


@pytest.fixture
def load(tmp_path):
    (tmp_path / "autoglm.yaml").write_text("{}")
    (tmp_path / "prompts").mkdir()

    def load(task: str, **files: str):
        for name, text in files.items():
            (tmp_path / "prompts" / f"{name}.md").write_text(text)
        project = Project(tmp_path)
        catalog, _ = build_catalog(project)
        workflow, found = diagnose(f"tasks:\n  - {{name: a, {task}}}\n", "flow.yaml", catalog, project.root)
        return workflow, found

    return load


@pytest.mark.parametrize("task", ["prompt_file: prompts/ask.md", "prompt: prompts/ask.md"])
def test_a_file_stands_for_the_fields_it_holds(load, task):
    workflow, found = load(task, ask=FILE)
    assert found == []
    (task,) = workflow.tasks
    assert task.type == "llm_generate"
    assert task.options == {
        "prompt_file": "prompts/ask.md",
        "prompt_template": "How many {{ topic }} are there?",
        "model": "ollama/qwen3",
        "temperature": 0.2,
        "system": "Be brief.",
    }
    assert task.output_schema == {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert list(workflow.inputs) == ["topic"]


def test_the_tasks_own_words_come_first(load):
    workflow, found = load("prompt_file: prompts/ask.md, temperature: 1, with: {topic: cats}", ask=FILE)
    assert found == []
    assert workflow.tasks[0].options["temperature"] == 1
    assert workflow.tasks[0].arguments == {"topic": "cats"}
    assert workflow.inputs == {}


def test_a_file_without_front_matter_is_all_prompt(load):
    workflow, found = load("prompt_file: prompts/ask.md", ask="Say --- hi.\n")
    assert found == []
    assert workflow.tasks[0].options["prompt_template"] == "Say --- hi."


def test_templates_in_it_are_checked_like_those_in_the_file(load):
    _, found = load("prompt_file: prompts/ask.md", ask="about {{ tasks.nobody.output }}")
    assert [each.code for each in found] == ["unknown-task"]
    assert (found[0].place.line, found[0].place.file) == (2, "flow.yaml")


@pytest.mark.parametrize(
    ("task", "text", "code", "what"),
    [
        ("prompt_file: prompts/none.md", FILE, "prompt-file", "cannot be read"),
        ("prompt_file: '{{ x }}.md'", FILE, "prompt-file", "known before anything runs"),
        ("prompt_file: prompts/ask.md, prompt: hi", FILE, "prompt-twice", "keep one"),
        ("prompt_file: prompts/ask.md", "---\nmodel: x\n---\n", "prompt-empty", "holds no prompt"),
        ("prompt_file: prompts/ask.md", "---\nmodel: x\nhi", "prompt-file", "second"),
        ("prompt_file: prompts/ask.md", "---\n- x\n---\nhi", "prompt-file", "no mapping"),
        ("prompt_file: prompts/ask.md", "---\ntemprature: 1\n---\nhi", "prompt-file", "temprature"),
        ("prompt_file: prompts/ask.md", "---\noutput_schema: 1\n---\nhi", "prompt-file", "must be a mapping"),
        ("prompt_file: prompts/ask.md", "---\nmodel: [\n---\nhi", "syntax", ""),
    ],
)
def test_what_is_wrong_with_it(load, task, text, code, what):
    _, found = load(task, ask=text)
    assert code in [each.code for each in found], found
    assert any(what in each.message for each in found)


def test_a_mistake_in_the_front_matter_is_found_where_it_stands(load):
    _, found = load("prompt_file: prompts/ask.md", ask="---\nmodel: x\nmodel: y\n---\nhi")
    assert (found[0].place.file, found[0].place.line) == ("prompts/ask.md", 3)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from autoglm.spec.catalog import Catalog
from autoglm.spec.document import read_document
from autoglm.spec.parse import parse_workflow
from autoglm.spec.schema import workflow_schema
from tests.spec import test_parse_spellings as spellings
from tests.spec.catalogs import CATALOG

SCHEMA = workflow_schema(CATALOG)
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)

FULL = """
version: 1.0
x-anything: {goes: here}
inputs: {topic: string, n: {type: integer, default: 3, minimum: 1}, e: {type: [string, "null"], enum: [a]}}
vars: {files: [a.yaml], x: 1}
models: {small: openai/gpt-x, big: {base_url: http://x, api_key: "{{ secrets.K }}", timeout: 30s}}
pools: {db: 4, net: {limit: 2}}
defaults: {retry: {delay: 2s}, timeout: 1h30m, env: {A: 1}}
max_parallel: 8
schedule: priority
durability: full
outputs: {all: "{{ tasks.a.result }}"}
tasks:
  - name: a
    script: a.py
    args: "{{ inputs.topic }}"
    retries: 3
    timeout: PT30S
    env: {A: 1, B: x}
    on_error: {degrade: []}
    depends_on: {b: [succeeded, skipped], c: failed}
    rollback: {handler: undo}
  - {name: b, prompt: hi, temperature: "{{ 1 / 2 }}", loop: {over: "{{ x }}", as: user, min_success: 95%}}
  - {name: c, clean: {text: a, limit: 1}, loop: [1, 2], when: false, join: all_done}
  - {name: d, handler: fetch, url: x, loop: {until: result.done, max_iterations: 9}, retry: {on: timeout, delay: 1s}}
  - {name: e, tasks: {inner: {script: x.py}, other: }, loop: {matrix: {a: [1], b: "{{ y }}"}}, timeout: 90}
  - {name: f, conditions: [{rule: x > 1, action: a}], default: b, mode: first}
"""


def errors(data: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(data)]


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator.check_schema(workflow_schema(Catalog()))


@pytest.mark.parametrize(
    "text",
    [
        FULL,
        spellings.LIST,
        spellings.MAPPING,
        spellings.PLAYBOOK,
        "task_graph: {a: {script: x}, b: }",
        "decision_node: a\nconditions: [{rule: x, action: y}]",
    ],
)
def test_good_files_pass_both_schema_and_parser(text: str) -> None:
    document = read_document(text, "flow.yaml")
    assert errors(document.data) == []
    _, diagnostics = parse_workflow(document, CATALOG, read_file=lambda name: "{}")
    assert diagnostics == []


@pytest.mark.parametrize(
    "text",
    [
        "tasks: []",
        "tasks: 5",
        "{}",
        "[]",
        "nmae: x\ntasks: {a: {script: x}}",
        "steps: [{name: a}]",
        "tasks: [{script: x}]",
        "tasks: [{name: a, script: x, wehn: 3}]",
        "tasks: [{name: a, type: script, script: x, prompt: y}]",
        "tasks: [{name: a, type: script}]",
        "tasks: [{name: a, type: scirpt}]",
        "tasks: [{name: a, handler: fetch, params: {x: 1}}]",
        "tasks: [{name: a, script: x, timeout: soon}]",
        "tasks: [{name: a, script: x, timeout: PT}]",
        "tasks: [{name: a, script: x, retry: 3}]",
        "tasks: [{name: a, script: x, retry: {tries: 3}}]",
        "tasks: [{name: a, script: x, join: none}]",
        "tasks: [{name: a, script: x, output_format: xml}]",
        "tasks: [{name: a, script: x, args: 5}]",
        "tasks: [{name: a, script: x, depends_on: {b: [success]}}]",
        "tasks: [{name: a, script: x, loop: users}]",
        "tasks: [{name: a, script: x, loop: {over: [1], until: x, max_iterations: 3}}]",
        "tasks: [{name: a, script: x, loop: {until: x}}]",
        "tasks: [{name: a, script: x, on_error: ignore}]",
        "tasks: [{name: a, conditions: [{rule: x}]}]",
        "tasks: {a: run.py}",
        "inputs: {a: int}\ntasks: {a: {script: x}}",
        "models: {a: {api_key: sk-1}}\ntasks: {a: {script: x}}",
        "pools: {a: 0}\ntasks: {a: {script: x}}",
        "schedule: random\ntasks: {a: {script: x}}",
        "tasks: {a: {tasks: {b: {script: x, timeout: soon}}}}",
    ],
)
def test_bad_files_are_refused(text: str) -> None:
    assert errors(read_document(text, "flow.yaml").data)


def test_every_case_of_the_messages_that_the_schema_can_tell_is_refused() -> None:
    cases = Path(__file__).parent / "cases"
    for name in ("inputs", "loops", "fields", "decisions", "resources", "header"):
        for source in (cases / f"{name}.yaml").read_text().split("=====\n"):
            assert errors(read_document(source, "flow.yaml").data), source


def test_descriptions_for_editors() -> None:
    task = SCHEMA["definitions"]["task"]["properties"]
    undescribed = [
        name
        for name in ("name", "type", "depends_on", "when", "loop", "retry", "timeout")
        if not task[name].get("description")
    ]
    assert undescribed == []


def test_no_enum_lists_a_value_twice() -> None:
    """Editors' validators refuse such a schema whole; to JSON, 1 and 1.0 are the same number."""

    def enums(schema: object) -> Iterator[list[object]]:
        if isinstance(schema, dict):
            if isinstance(schema.get("enum"), list):
                yield schema["enum"]
            for value in schema.values():
                yield from enums(value)
        elif isinstance(schema, list):
            for value in schema:
                yield from enums(value)

    for values in enums(workflow_schema(CATALOG)):
        assert len({(isinstance(value, bool), value) for value in values}) == len(values)

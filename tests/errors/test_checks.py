"""What `validate` finds beyond the form of a file: names, references, types, conditions."""

from __future__ import annotations

import autoglm
from autoglm.base.errors import SpecError
from autoglm.spec.model import ModelSpec, Task, Workflow
from autoglm.spec.validate import validate
from tests.errors.scene import Scene
from tests.spec.catalogs import CATALOG

TASKS = """
def clean(text, limit): return text
def pair(left, right): return left
def done(): return 1
"""


def checked(scene: Scene, flow: str) -> None:
    scene.write("tasks/some.py", TASKS)
    scene.write("scripts/fetch.sh", "#!/bin/sh\n")
    scene.write("flow.yaml", flow)
    scene.autoglm("validate", "flow.yaml")


def test_upstreams(scene: Scene) -> None:
    checked(
        scene,
        """
        tasks:
          - {name: fetch, script: scripts/fetch.sh}
          - {name: again, handler: done, depends_on: again}
          - {name: reads, handler: clean, depends_on: [fetch, four], with: {text: "{{ result }}", limit: 1}}
          - {name: one, handler: done, depends_on: three}
          - {name: two, handler: done, depends_on: one}
          - {name: three, handler: done, depends_on: two}
          - {name: four, handler: clean, with: {text: "{{ tasks[vars.x].result }}", limit: 1}}
          - {name: five, handler: clean, with: {text: "{{ previous }}", limit: "{{ inputs.limit }}"}}
        vars: {x: fetch}
        inputs: {limit: {type: integer}}
        """,
    )
    scene.shows("self-dependency", "ambiguous-result", "cycle", "dynamic-task-reference", "previous-outside-until")


def test_doubts(scene: Scene) -> None:
    checked(
        scene,
        """
        inputs:
          topic: {type: string}
          token: {type: string, secret: true, default: hush-hush}
        tasks:
          - {name: off, handler: done, when: "1 > 2"}
          - {name: never, handler: done, depends_on: off}
          - {name: rows, handler: done, loop: {file: data/rows.csv}}
          - {name: bare, handler: done, env: {A: "{{ inputs.token }}"}}
        """,
    )
    scene.shows(
        "literal-secret",
        "unused-input",
        "constant-condition",
        "unreachable-task",
        "missing-file",
        "env-without-process",
    )


def test_types_and_options(scene: Scene) -> None:
    checked(
        scene,
        """
        models: {mine: {provider: openai}}
        tasks:
          - {name: a, type: lm_generate}
          - {name: b, handler: done, executor: thred}
          - {name: c, script: scripts/fetch.sh, executor: thread}
          - {name: d, handler: done, pool: slow}
          - {name: e, model: mien, prompt: hello}
          - {name: f, model: opnai/gpt, prompt: hello}
          - {name: g, handler: dune}
          - {name: h, handler: clean, with: {txt: 1, limit: 2}}
          - {name: i, handler: pair}
          - {name: j, type: script}
          - {name: l, prompt: hello, temperature: -1}
          - {name: m, script: scripts/fetch.sh, output_format: "{{ 'json' }}"}
          - {name: n, script: scripts/fech.sh}
          - {name: o, prompt: hello, output_schema: {type: strin}}
          - name: p
            retry: {max_attempts: 3}
            tasks: [{name: inner, handler: done}]
          - {name: q, handler: done, resources: {gpu: 1}}
        """,
    )
    scene.shows(
        *("unknown-type", "unknown-executor", "wrong-executor", "unknown-pool", "unknown-model", "unknown-function"),
        *("unknown-parameter", "missing-parameter", "missing-option", "invalid-option"),
        *("template-not-allowed", "missing-script", "invalid-schema", "retry-on-group", "not-available"),
    )


def test_functions_that_decisions_call(scene: Scene) -> None:
    checked(
        scene,
        """
        tasks:
          - {name: a, conditions: [{rule: run.id > "", action: pair}, {rule: run.id < "", action: done}]}
          - {name: b, depends_on: a, conditions: [{rule: run.id > "", action: done}]}
        """,
    )
    scene.shows("missing-parameter", "duplicate-name")


def test_prompts(scene: Scene) -> None:
    checked(
        scene,
        """
        tasks:
          - {name: a, type: llm_generate}
          - {name: b, prompt: " "}
          - {name: c, prompt: hello, prompt_template: hello}
          - {name: d, type: llm_generate, messages: [{role: boss, content: hello}]}
          - {name: e, prompt: hello, parameters: {stream: true}}
        """,
    )
    scene.shows("prompt-missing", "prompt-empty", "prompt-twice", "llm-option-invalid")


def test_templates(scene: Scene) -> None:
    checked(
        scene,
        """
        inputs: {topic: {type: string}}
        tasks:
          - {name: a, prompt: "{{ topic + }} and {{ topic | uper }}"}
          - {name: b, prompt: "{{ topik }}"}
          - {name: c, prompt: "{{ tasks.b.reslt }} about {{ topic }}"}
          - {name: d, prompt: "{{ 1 / 0 }}"}
          - {name: e, prompt: "{{ 'x' * 10 ** 10 }}"}
        """,
    )
    scene.shows("template-syntax", "unknown-name", "unknown-field")


def test_names_that_nothing_has(scene: Scene) -> None:
    scene.write("autoglm.yaml", "env: [HOME]\n")
    checked(
        scene,
        """
        inputs: {topic: {type: string}}
        tasks:
          - {name: a, prompt: "{{ inputs.topik }} {{ topic }}"}
          - {name: b, prompt: "{{ tasks.b.result }}"}
          - {name: c, prompt: "{{ tasks.a.error.reason }}"}
          - {name: d, prompt: "{{ env.HOEM }}"}
          - {name: f, handler: done, loop: {file: scripts}}
          - {name: g, tasks: [{name: inner, handler: done, depends_on: a}]}
          - {name: h, conditions: [{rule: "run.id != ''", action: h}], default: a}
          - {name: i, conditions: [{rule: "1 > 2", action: a}], default: b}
          - {name: j, handler: done, loop: {until: "1 > 2", max_iterations: 3}}
          - {name: k, handler: done, loop: {until: "1 < 2", max_iterations: 3}}
          - {name: l, handler: done, loop: {while: "1 > 2", max_iterations: 3}}
          - {name: m, handler: done, loop: {while: "1 < 2", max_iterations: 3}}
          - {name: n, handler: done, when: "1 < 2"}
          - {name: o, handler: done, output_schema: {type: object, properties: {}, additionalProperties: false}}
          - {name: p, prompt: "{{ tasks.o.result.size }}"}
          - {name: q, handler: done, when: "1 > 2"}
          - {name: r, handler: done, when: "1 > 2"}
          - {name: s, handler: done, depends_on: [q, r], join: one_succeeded}
        """,
    )
    scene.shows("unknown-name", "self-dependency", "unknown-field", "missing-file", "unknown-task")


def test_a_workflow_made_in_python(scene: Scene) -> None:
    task = Task(name="a", type="script", options={"script": "a.sh", "shell": "bash"})
    workflow = Workflow(name="made", models={"mine": ModelSpec(api_key="sk-0123456789")}, tasks=(task,))
    with scene.refuses("validate(workflow, catalog)"):
        raise SpecError(validate(workflow, CATALOG))
    with scene.refuses("a workflow is made of what is no data"):
        autoglm.Workflow.from_data({"name": "made", "tasks": [{"name": "a", "script": b"a.sh"}]})
    scene.shows("literal-secret", "unknown-option", "not-json")

"""Errors of what directs a run: loops that go on, sub-workflows, decisions, choices."""

from __future__ import annotations

import sys

import pytest

from tests.errors.scene import Scene

NUMBERS = """
def count(index=0):
    return {"n": index}
"""


def test_a_loop_that_does_not_come_to_its_end(scene: Scene) -> None:
    scene.write("tasks/numbers.py", NUMBERS)
    scene.run_task("handler: count, loop: {until: result.n > 5, max_iterations: 3}")
    scene.run_task("handler: count, loop: {while: index < 9, max_iterations: 3}")
    scene.shows("loop-limit")


CALLEE = """
inputs: {n: {type: integer, description: how many}, word: {enum: [a, b], default: a}}
tasks:
  - {name: count, with: {index: "{{ n }}"}, when: word == 'a'}
outputs: {seen: "{{ tasks.count.result.n }}"}
"""


def test_an_iteration_that_fails(scene: Scene) -> None:
    scene.write("tasks/numbers.py", "def halve(index=0):\n    return 8 // (2 - index)\n")
    scene.run_task("handler: halve, loop: {until: result > 9, max_iterations: 9}, retries: 0")
    scene.autoglm("show", "r1", "a")
    scene.shows("loop-failed")


def test_a_call_that_does_not_fit_what_is_called(scene: Scene) -> None:
    scene.write("tasks/numbers.py", NUMBERS)
    scene.write("sub/callee.yaml", CALLEE)
    scene.run("""
        tasks:
          - {name: a, workflow: sub/calle.yaml}
          - {name: b, workflow: sub/callee.yaml, with: {m: 1}}
          - {name: c, workflow: sub/callee.yaml, with: {n: many, word: c}}
          - {name: d, workflow: sub/callee.yaml, with: {n: 1}, retries: 2}
          - {name: count, with: {index: "{{ tasks.d.result.sen }}"}}
    """)
    scene.shows("missing-workflow", "unknown-input", "missing-input", "wrong-input", "unknown-field", "retry-on-group")


def test_mistakes_in_a_file_that_is_called(scene: Scene) -> None:
    scene.write("sub/callee.yaml", "tasks:\n  - {name: b, handler: nobody, depends_on: c}\n")
    scene.run("tasks:\n  - {name: a, workflow: sub/callee.yaml}\n")
    scene.shows("unknown-task", "unknown-function")


def test_calls_in_a_circle_that_nothing_ends(scene: Scene) -> None:
    scene.write("sub/callee.yaml", "tasks:\n  - {name: back, workflow: ../flow.yaml}\n")
    scene.run("tasks:\n  - {name: a, workflow: sub/callee.yaml}\n")
    scene.shows("endless-calls")


def test_calls_that_go_too_deep(scene: Scene) -> None:
    scene.run("tasks:\n  - {name: again, workflow: flow.yaml, when: run.id != '', max_depth: 2, with: {}}\n")
    scene.shows("call-too-deep")


def test_inputs_that_a_call_turns_out_to_give_wrongly(scene: Scene) -> None:
    scene.write("tasks/numbers.py", NUMBERS)
    scene.write("callee.yaml", CALLEE)
    scene.run("""
        tasks:
          - name: count
          - {name: a, workflow: callee.yaml, with: {n: "{{ tasks.count.result }}"}}
    """)
    scene.shows("bad-inputs")


def test_choices_that_are_wrong(scene: Scene) -> None:
    scene.write("tasks/numbers.py", NUMBERS)
    scene.run("""
        tasks:
          - {name: a, choose: "{{ run.id }}"}
          - {name: b, allow: {count: {}}}
          - {name: c, choose: coun, allow: {count: {}, other: {handler: count, depends_on: count}}}
          - {name: d, choose: [count], allow: {count: {}}}
          - {name: e, choose: "{{ run.id }}", allow: []}
    """)
    scene.run("""
        tasks:
          - name: a
            choose: "{{ run.id }}"
            allow:
              one: {conditions: [{rule: run.id != 'x', action: two}]}
              two: {handler: count}
              three: {handler: count, with: {index: "{{ tasks.two.result }}"}}
    """)
    scene.run(
        "tasks: [{name: a, choose: '{{ run.workflow }}', allow: {flo: {handler: count}, other: {handler: count}}}]"
    )
    scene.shows("choice-incomplete", "choice-dependency", "not-allowed")


def test_decisions_that_are_wrong(scene: Scene) -> None:
    scene.write("tasks/numbers.py", NUMBERS)
    scene.write("risk.pkl", "x")
    scene.run("""
        tasks:
          - {name: a, conditions: [{rule: run.id != '', action: conut}], default: end}
          - {name: b, conditions: [{rule: run.id != '', action: end}, {rule: true, action: end}], default: end}
          - {name: c, model: risk.pkl, features: [1], conditions: [{rule: prediction, action: end}]}
          - {name: d, model: risk.h5, features: [1], conditions: [{rule: prediction, action: end}]}
          - {name: e, conditions: [{rule: prediction > 1, action: end}], branches: [end, f]}
          - {name: f, llm: AutoGLM-Chat, prompt: which?, branches: [end, ende]}
          - {name: end, handler: count}
    """)
    scene.shows("unknown-task", "two-defaults", "model-file-pickle", "model-file-unsupported", "decision-option")


def test_a_trained_model_that_cannot_be_used(scene: Scene) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    io = pytest.importorskip("skops.io")
    scene.write("tasks/numbers.py", NUMBERS)
    decide = "features: [1, 2], conditions: [{rule: prediction > 1, action: count}]"
    scene.run_task(f"model: gone.skops, {decide}")
    scene.write("broken.skops", "no zip")
    scene.run_task(f"model: broken.skops, {decide}")
    model = linear.LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])
    io.dump(model, scene.root / "narrow.skops")
    scene.run_task(f"model: narrow.skops, {decide}")
    model.extra = Foreign()
    io.dump(model, scene.root / "foreign.skops")
    scene.run_task(f"model: foreign.skops, {decide}")
    scene.patch.setitem(sys.modules, "onnxruntime", None)
    scene.write("m.onnx", "")
    scene.run_task(f"model: m.onnx, {decide}")
    scene.shows(
        "model-file-missing",
        "model-file-unreadable",
        "features-invalid",
        "model-file-untrusted",
        "model-file-needs-extra",
    )


def test_a_trained_model_that_is_given_nothing(scene: Scene) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    io = pytest.importorskip("skops.io")
    scene.write("tasks/numbers.py", "def none():\n    return []\n")
    io.dump(linear.LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0]), scene.root / "m.skops")
    scene.run("""
        tasks:
          - {name: none}
          - {name: a, model: m.skops, features: "{{ tasks.none.result }}", conditions: [{rule: prediction, action: b}]}
          - {name: b, handler: none}
    """)
    scene.shows("features-invalid")


def test_environments_that_are_not_there(scene: Scene) -> None:
    scene.write("tasks/numbers.py", NUMBERS)
    scene.run(
        """
        vars: {environments: {dev: {x: 1}, prod: vars.prod.yaml}}
        tasks: [{name: count}]
    """,
        "--environment",
        "prd",
    )
    scene.autoglm("run", "flow.yaml", "-q", "--environment", "prod")
    scene.run("""
        vars: {environments: [dev]}
        tasks: [{name: count}]
    """)
    scene.run("tasks: [{name: count}]\n", "--environment", "prod")
    scene.shows("unknown-environment", "vars-file")


class Foreign:
    """A type that skops does not know."""


def test_a_language_model_that_is_not_sure(scene: Scene) -> None:
    scene.write("tasks/numbers.py", NUMBERS)
    fields = "llm: AutoGLM-Chat, prompt: which?, min_confidence: 1, branches: {one: count, two: count}"
    scene.run(f"tasks: [{{name: a, {fields}}}]\n", "--offline")
    scene.shows("decision-unsure")


def test_names_that_only_a_loop_binds_in_a_file_without_inputs(scene: Scene) -> None:
    scene.write("tasks/numbers.py", NUMBERS)
    scene.write(
        "flow.yaml",
        """
        tasks:
          - {name: a, handler: count, with: {index: "{{ previous }}"}}
          - {name: b, handler: count, with: {index: "{{ item }}"}}
          - {name: c, handler: count, with: {index: "{{ index + 1 }}"}}
          - {name: d, handler: count, with: {index: "{{ error.message }}"}}
        """,
    )
    scene.autoglm("run", "flow.yaml", "-i", "previous=1")
    scene.shows("previous-outside-until", "unknown-name")

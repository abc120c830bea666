"""Errors of correcting a run."""

from __future__ import annotations

import autoglm
from tests.errors.scene import Scene

FLOW = """
name: flow
tasks:
  - name: clean
    handler: clean
    loop: {file: rows.jsonl}
  - name: report
    handler: report
    depends_on: clean
"""


def prepared(at: Scene) -> None:
    at.write("tasks/work.py", "def clean(item):\n    return item\n\n\ndef report():\n    return 1\n")
    at.write("rows.jsonl", "1\n2\n")
    at.write("flow.yaml", FLOW)
    at.autoglm("run", "flow.yaml", "--run-id", "r", quietly=True)


def test_retry_from_a_task_that_is_not_there(scene: Scene) -> None:
    prepared(scene)
    scene.autoglm("retry", "r", "--from", "cleen")
    scene.autoglm("retry", "r", "--from", "clean[7]")
    scene.autoglm("retry", "r", "--from", "report.inner")
    scene.write("flow.yaml", FLOW.partition("  - name: report")[0])
    scene.autoglm("retry", "r", "--with-changes", "--from", "report")
    scene.shows("task-not-found")


def test_retry_from_a_row_that_is_not_kept(scene: Scene) -> None:
    prepared(scene)
    scene.autoglm("retry", "r", "--from", "clean[1]")
    scene.write("flow.yaml", "tasks: [{name: report, loop: {until: index == 1, max_iterations: 3}}]\n")
    scene.autoglm("run", "flow.yaml", "--run-id", "until", quietly=True)
    scene.autoglm("retry", "until", "--from", "report[0]")
    scene.shows("item-not-kept")


def test_retry_of_a_run_that_succeeded(scene: Scene) -> None:
    prepared(scene)
    scene.autoglm("retry", "r")
    scene.shows("run-ended")


def test_a_changed_file_that_has_not_changed_or_is_gone(scene: Scene) -> None:
    prepared(scene)
    scene.autoglm("retry", "r", "--with-changes")
    (scene.root / "flow.yaml").unlink()
    scene.autoglm("retry", "r", "--with-changes")
    made = autoglm.Workflow.from_data({"tasks": [{"name": "report"}]}, {"report": lambda: 1})
    made.configure(store="made.db", run_id="made").run()
    scene.autoglm("retry", "made", "--with-changes", "--store", "made.db")
    scene.shows("run-ended", "file-not-found")


def test_a_changed_file_at_the_end_of_a_run(scene: Scene) -> None:
    flow = "tasks: [{name: one, handler: one}]\nfinally: [{name: last, handler: leaves}]\n"
    scene.write("tasks/work.py", "import os\n\ndef one(): return 1\ndef leaves(): os._exit(9)\n")
    scene.write("flow.yaml", flow)
    scene.autoglm_apart("run", "flow.yaml", "-q", "--run-id", "r")
    scene.write("flow.yaml", flow.replace("name: last", "name: last, timeout: 1m"))
    scene.autoglm("resume", "r", "--with-changes")
    scene.shows("workflow-changed")


def test_retry_when_the_file_has_changed(scene: Scene) -> None:
    prepared(scene)
    scene.write("flow.yaml", FLOW.replace("depends_on: clean", "when: true") + "  - {name: more, handler: report}\n")
    scene.autoglm("retry", "r", "--from", "report")
    scene.write("flow.yaml", FLOW.replace("depends_on: clean", "depends_on: cleen"))
    scene.autoglm("retry", "r", "--from", "report")
    scene.autoglm("retry", "r", "--with-changes", "--as-recorded")
    scene.shows("workflow-changed")


def test_a_file_of_variables_that_has_changed(scene: Scene) -> None:
    prepared(scene)
    scene.write("limits.yaml", "limit: 3\n")
    scene.write("flow.yaml", "vars: limits.yaml\n" + FLOW.replace("depends_on: clean", 'when: "{{ limit > 5 }}"'))
    scene.autoglm("run", "flow.yaml", "--run-id", "s", quietly=True)
    scene.write("limits.yaml", "limit: 7\n")
    scene.autoglm("retry", "s", "--from", "report")
    scene.write("limits.yaml", "- 7\n")
    scene.autoglm("retry", "s", "--from", "report")
    scene.shows("workflow-changed")

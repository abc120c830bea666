"""Workflows that call other files: read together, checked against each other, recorded whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from autoglm.app.session import Session
from autoglm.base.diagnostics import Diagnostic
from autoglm.base.errors import SpecError

CALLEE = """
name: callee
inputs: {n: {type: integer}, word: {default: a, enum: [a, b]}}
tasks: [{name: use, handler: echo, with: {x: "{{ n }}"}, labels: {word: x}, when: word != ''}]
outputs: {seen: "{{ tasks.use.result }}"}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "autoglm.yaml").write_text("durability: process\n")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "echo.py").write_text("def echo(x=None):\n    return x\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "callee.yaml").write_text(CALLEE)
    return tmp_path


def found(project: Path, tasks: str, more: str = "") -> list[Diagnostic]:
    file = project / "flow.yaml"
    file.write_text(f"{more}\ntasks:\n{tasks}")
    with Session.open(file) as session:
        try:
            return session.load(file).diagnostics
        except SpecError as error:
            return list(error.diagnostics)


def codes(diagnostics: list[Diagnostic]) -> list[str]:
    return [each.code for each in diagnostics]


def test_a_call_that_fits_has_nothing_to_say(project: Path) -> None:
    assert found(project, '  - {name: a, workflow: sub/callee.yaml, with: {n: "{{ 1 + 1 }}", word: b}}') == []


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ("workflow: sub/callee.yaml, with: {n: 1, nn: 2}", "unknown-input"),
        ("workflow: sub/callee.yaml", "missing-input"),
        ("workflow: sub/callee.yaml, with: {n: many}", "wrong-input"),
        ("workflow: sub/callee.yaml, with: {n: 1, word: c}", "wrong-input"),
        ("workflow: sub/calle.yaml, with: {n: 1}", "missing-workflow"),
        ("workflow: sub, with: {n: 1}", "missing-workflow"),
        ("workflow: '{{ x }}'", "template-not-allowed"),
        ("workflow: sub/callee.yaml, with: {n: 1}, retries: 2", "retry-on-group"),
        ("workflow: sub/callee.yaml, with: {n: 1}, max_depth: 0", "invalid-option"),
    ],
)
def test_what_is_given_is_held_against_what_is_declared(project: Path, task: str, code: str) -> None:
    assert codes(found(project, f"  - {{name: a, {task}}}")) == [code]


def test_outputs_that_are_read_must_be_declared(project: Path) -> None:
    flow = (
        '  - {name: a, workflow: sub/callee.yaml, with: {n: 1}}\n  - {name: echo, with: {x: "{{ tasks.a.result.%s }}"}}'
    )
    assert found(project, flow % "seen") == []
    wrong = found(project, flow % "sen")
    assert codes(wrong) == ["unknown-field"]
    assert wrong[0].hint == "did you mean `seen`?"


def test_mistakes_in_a_called_file_are_placed_there(project: Path) -> None:
    (project / "sub" / "callee.yaml").write_text("tasks:\n  - {name: b, handler: echo, depends_on: nobody}\n")
    wrong = found(project, "  - {name: a, workflow: sub/callee.yaml}")
    assert codes(wrong) == ["unknown-task"]
    assert str(wrong[0].place) == f"{project}/sub/callee.yaml:2:42"


def test_a_called_file_that_is_no_yaml_is_told_of(project: Path) -> None:
    (project / "sub" / "callee.yaml").write_text("tasks: [\n")
    wrong = found(project, "  - {name: a, workflow: sub/callee.yaml}")
    assert [each.code for each in wrong if each.is_error] == ["syntax"]


CIRCLE = "tasks:\n  - {name: back, workflow: ../flow.yaml%s}\n"


@pytest.mark.parametrize(
    ("field", "is_endless"),
    [
        ("", True),
        (", loop: {until: 'true', max_iterations: 3}", True),
        (", loop: [1]", True),
        (", when: run.id == 'x'", False),
        (", loop: '{{ [] }}'", False),
    ],
)
def test_a_circle_of_calls_must_be_able_to_end(project: Path, field: str, is_endless: bool) -> None:
    (project / "sub" / "callee.yaml").write_text(CIRCLE % field)
    wrong = [each for each in found(project, "  - {name: a, workflow: sub/callee.yaml}") if each.is_error]
    assert ("endless-calls" in codes(wrong)) is is_endless
    if is_endless:
        assert "flow.yaml → " in wrong[0].message


def test_a_call_behind_a_decision_or_a_condition_ends(project: Path) -> None:
    (project / "sub" / "callee.yaml").write_text(
        "inputs: {n: integer}\ntasks:\n"
        "  - {name: d, conditions: [{rule: n > 0, action: again}], default: echo}\n"
        '  - {name: again, workflow: ./callee.yaml, with: {n: "{{ n - 1 }}"}}\n'
    )
    assert found(project, "  - {name: a, workflow: sub/callee.yaml, with: {n: 3}}") == []


def test_a_resume_needs_none_of_the_files(project: Path) -> None:
    file = project / "flow.yaml"
    file.write_text(
        "tasks:\n  - {name: a, workflow: sub/callee.yaml, with: {n: 4}}\noutputs: {x: '{{ tasks.a.result.seen }}'}"
    )
    with Session.open(file) as session:
        loaded = session.load(file)
        assert list(loaded.sources) == ["sub/callee.yaml"]
        done = asyncio.run(session.run(loaded))
        file.unlink()
        (project / "sub" / "callee.yaml").unlink()
        run, workflow, _ = session.open_run(done.run_id)
        assert workflow.callees["sub/callee.yaml"].name == "callee"
        call = run.find("a")
        assert call is not None
        assert call.child is not None
        assert call.child.plan.names == {"use": 0}
    assert done.outputs == {"x": 4}


def test_calls_at_the_end_are_read_and_checked_too(project: Path) -> None:
    tasks = "  - {name: echo, with: {x: 1}}"
    assert codes(found(project, tasks, "finally: [{name: f, workflow: sub/callee.yaml, with: {n: 1}}]")) == []
    assert codes(found(project, tasks, "finally: [{name: f, workflow: sub/callee.yaml}]")) == ["missing-input"]
    assert codes(found(project, tasks, "on_error: [{name: f, workflow: sub/no.yaml}]")) == ["missing-workflow"]


def test_a_file_that_calls_itself_at_its_end_never_ends(project: Path) -> None:
    (project / "sub" / "callee.yaml").write_text(
        "tasks: [{name: echo, with: {x: 1}}]\nfinally: [{name: again, workflow: ./callee.yaml}]\n"
    )
    assert codes(found(project, "  - {name: a, workflow: sub/callee.yaml}")) == ["endless-calls"]


def test_the_end_of_a_call_goes_on_where_it_was(project: Path) -> None:
    (project / "sub" / "callee.yaml").write_text(
        "inputs: {n: integer}\n"
        "tasks: [{name: echo, with: {x: '{{ n }}'}}]\n"
        "finally: [{name: one, handler: echo, with: {x: '{{ run.status }}'}},\n"
        "          {name: two, handler: echo, depends_on: one, with: {x: '{{ tasks.echo.result }}'}}]\n"
    )
    file = project / "flow.yaml"
    file.write_text("tasks:\n  - {name: each, loop: [7, 8], workflow: sub/callee.yaml, with: {n: '{{ item }}'}}\n")

    class Leaver:
        def __init__(self, session: Session) -> None:
            self.session = session

        def on_events(self, events: object, at: float) -> None:
            if "task='each[0].finally.one'" in str(events):
                self.session.drain()

        def on_log(self, line: object) -> None: ...

    with Session.open(file) as session:
        left = asyncio.run(session.run(session.load(file), run_id="r", observers=[Leaver(session)]))
        assert left.status != "succeeded"
    with Session.open(file) as session:
        done = asyncio.run(session.resume("r"))
        rows = {row.task: row.status for row in session.store.list_tasks("r", limit=100)}
    assert done.status == "succeeded"
    ends = [f"each[{n}].finally.{name}" for n in (0, 1) for name in ("one", "two")]
    assert {name: rows[name] for name in ends} == dict.fromkeys(ends, "succeeded")

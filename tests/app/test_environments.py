"""Variables by environment: which one holds, and that a resumed run keeps it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from autoglm.app.session import Session
from autoglm.base.errors import SpecError, UsageError

FLOW = """
vars:
  environments: {dev: {x: dev}, prod: [prod.yaml, {z: inline}]}
  x: inline
  y: inline
tasks: [{name: echo, with: {x: "{{ vars.x }} {{ run.environment }}"}}]
outputs: {x: "{{ tasks.echo.result }}"}
"""


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    (tmp_path / "autoglm.yaml").write_text("durability: process\n")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "echo.py").write_text("def echo(x):\n    return x\n")
    (tmp_path / "prod.yaml").write_text("x: prod\nnew: 1\n")
    file = tmp_path / "flow.yaml"
    file.write_text(FLOW)
    return file


def variables(flow: Path, environment: str | None = None) -> dict[str, object]:
    with Session.open(flow, environment=environment) as session:
        return session.load(flow).workflow.vars


def test_an_environment_wins_over_files_and_inline_variables(flow: Path) -> None:
    assert variables(flow) == {"x": "inline", "y": "inline"}
    assert variables(flow, "dev") == {"x": "dev", "y": "inline"}
    assert variables(flow, "prod") == {"x": "prod", "y": "inline", "new": 1, "z": "inline"}


def test_the_call_wins_over_the_variable_and_that_over_the_setting(flow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (flow.parent / "autoglm.yaml").write_text("environment: dev\n")
    assert variables(flow)["x"] == "dev"
    monkeypatch.setenv("AUTOGLM_ENVIRONMENT", "prod")
    assert variables(flow)["x"] == "prod"
    assert variables(flow, "dev")["x"] == "dev"


def test_an_unknown_environment_is_an_error(flow: Path) -> None:
    with pytest.raises(SpecError) as caught:
        variables(flow, "prd")
    assert [each.code for each in caught.value.diagnostics] == ["unknown-environment"]
    assert caught.value.diagnostics[0].hint == "did you mean `prod`?"


def test_a_file_without_environments_is_the_same_in_all_unless_one_is_asked_for(
    flow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.write_text("vars: {x: 1}\ntasks: [{name: echo, with: {x: 1}}]\n")
    monkeypatch.setenv("AUTOGLM_ENVIRONMENT", "prod")
    assert variables(flow) == {"x": 1}
    with pytest.raises(UsageError) as caught:
        variables(flow, "prod")
    assert caught.value.code == "unknown-environment"


def test_vars_as_a_list_may_hold_environments_too(flow: Path) -> None:
    flow.write_text("vars: [prod.yaml, {environments: {dev: {x: 5}}}, {x: 2}]\ntasks: [{name: echo, with: {x: 1}}]\n")
    assert variables(flow) == {"x": 2, "new": 1}
    assert variables(flow, "dev") == {"x": 5, "new": 1}


def test_a_run_is_gone_on_with_in_its_own_environment(flow: Path) -> None:
    with Session.open(flow, environment="prod") as session:
        done = asyncio.run(session.run(session.load(flow)))
    assert done.outputs == {"x": "prod prod"}
    (flow.parent / "prod.yaml").unlink()
    with Session.open(flow) as session:
        run, workflow, _ = session.open_run(done.run_id)
    assert run.created is not None
    assert run.created.environment == "prod"
    assert workflow.vars["x"] == "prod"


def test_called_workflows_have_variables_of_the_same_environment(flow: Path) -> None:
    (flow.parent / "inner.yaml").write_text(FLOW)
    flow.write_text("vars: {environments: {dev: {}}}\ntasks: [{name: a, workflow: inner.yaml}]\n")
    with Session.open(flow, environment="dev") as session:
        assert session.load(flow).workflow.callees["inner.yaml"].vars["x"] == "dev"

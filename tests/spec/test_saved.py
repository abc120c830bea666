"""A workflow's text for the journal: as pydantic would write it, and read again as the same workflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autoglm.app.session import Session
from autoglm.spec.model import Workflow
from autoglm.spec.saved import workflow_text

ROOT = Path(__file__).parents[2]
FILES = sorted(ROOT.glob("examples/*/config/workflow.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_workflow_is_saved_as_pydantic_would(file: Path) -> None:
    with Session.open(file) as session:
        workflow = session.load(file).workflow
    text = workflow_text(workflow)
    assert json.loads(text) == json.loads(workflow.model_dump_json(by_alias=True, exclude_defaults=True))
    assert workflow_text(Workflow.model_validate_json(text)) == text


def test_what_is_no_part_of_a_workflow_is_not_saved() -> None:
    with pytest.raises(TypeError, match="Path does not belong"):
        workflow_text(Workflow.model_construct(name="w", outputs={"x": Path()}))


def test_what_is_told_is_saved_though_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "autoglm.yaml").touch()
    (tmp_path / "tasks" / "work.py").write_text("def work(): ...\n")
    file = tmp_path / "flow.yaml"
    file.write_text(
        "name: w\ntasks:\n  - {name: a, handler: work, when: false, result: '', output_schema: {}, env: {}}\n"
    )
    with Session.open(file) as session:
        (task,) = session.load(file).workflow.tasks
        text = workflow_text(session.load(file).workflow)
    assert (task.when, task.result, task.output_schema, task.env) == (False, "", {}, {})
    (read,) = Workflow.model_validate_json(text).tasks
    assert read.model_dump(exclude={"source", "written"}) == task.model_dump(exclude={"source", "written"})

"""No field of a task is silently passed over, whatever the task's type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoglm.app.catalog import build_catalog
from autoglm.base.diagnostics import Diagnostic
from autoglm.config.project import Project
from autoglm.spec.catalog import FunctionInfo
from autoglm.spec.model import Budget, CacheSpec, Degrade, Effects, InputSpec, Join, Loop, Retry, Task, Workflow
from autoglm.spec.validate import validate

FUNCTION = FunctionInfo("clean", "tasks/clean.py:1", ("x",), (), False)
CATALOG, _ = build_catalog(Project(Path(__file__).parent), extra_functions={"clean": FUNCTION})
WORK = Task(name="work", type="script", options={"script": "echo"})
KINDS: dict[str, dict[str, Any]] = {
    "script": {"type": "script", "options": {"script": "echo"}},
    "function": {"type": "function", "options": {"handler": "clean"}},
    "llm": {"type": "llm_generate", "options": {"prompt": "?", "model": "a/b"}},
    "group": {"type": "group", "tasks": (WORK,)},
    "workflow": {"type": "workflow", "options": {"workflow": "other.yaml"}},
    "approval": {"type": "approval", "options": {"message": "good?"}},
    "wait": {"type": "wait", "options": {"for": 1}},
    "rules": {"type": "decision", "options": {"conditions": [{"rule": "true", "action": "z"}]}},
    "decision": {"type": "decision", "options": {"llm": "a/b", "prompt": "?", "branches": ["y", "z"]}},
}
SAMPLES: dict[str, Any] = {
    "description": "it is there",
    "depends_on": {"a": None},
    "when": "inputs.x > 1",
    "join": Join.ALL_DONE,
    "arguments": {"x": 1},
    "result": "{{ output }}",
    "output_schema": {"type": "object"},
    "loop": Loop(over=[1]),
    "retry": Retry(max_attempts=2),
    "timeout": 3.0,
    "cache": CacheSpec(),
    "budget": Budget(calls=3),
    "effects": Effects.GUARDED,
    "priority": 4,
    "resources": {"cpu": 1},
    "pool": ("p",),
    "executor": "inline",
    "env": {"X": "1"},
    "on_error": Degrade(degrade=1),
    "fallback": WORK,
    "rollback": WORK,
    "labels": {"team": "x"},
}
ALL = {"description", "depends_on", "when", "join", "labels", "fallback", "rollback"}
"""What the engine does for a task of any type, or what is only told."""
COMMON = ALL | {"loop", "result", "on_error"}
WORKED = COMMON | {"arguments", "output_schema", "retry", "timeout", "effects", "priority", "pool", "executor"}
CARRIED_OUT: dict[str, set[str]] = {
    "script": WORKED - {"executor"} | {"env"},  # it runs in one executor only
    "function": WORKED | {"env"},  # with `executor: process`; a warning says so
    "llm": WORKED | {"cache", "budget"},
    "group": COMMON | {"timeout", "budget"},
    "workflow": COMMON | {"timeout", "arguments"},
    "approval": COMMON,
    "wait": COMMON,
    "rules": ALL,
    "decision": ALL | {"arguments", "retry", "timeout", "priority", "pool", "executor"},
}
NOT_FIELDS = {"name", "type", "options", "tasks", "source", "written"}


def found(**fields: Any) -> list[Diagnostic]:
    a = Task(name="a", type="script", options={"script": "echo"})
    y, z = (Task(name=name, type="script", options={"script": "echo"}) for name in "yz")
    flow = Workflow(
        name="flow",
        tasks=(a, Task(name="it", **fields), y, z),
        inputs={"x": InputSpec(type="integer")},
        pools={"p": {"limit": 1}},
    )
    callee = Workflow(name="other", tasks=(WORK,), inputs={"x": InputSpec(type="integer", required=False)})
    return validate(flow, CATALOG, None, {"other.yaml": callee})


def test_every_field_has_a_sample() -> None:
    assert SAMPLES.keys() | NOT_FIELDS == Task.model_fields.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_tried_is_right_without_the_field(kind: str) -> None:
    assert [each.code for each in found(**KINDS[kind]) if each.is_error] == []


@pytest.mark.parametrize("field", SAMPLES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_field_is_carried_out_or_reported(kind: str, field: str) -> None:
    codes = {each.code for each in found(**KINDS[kind] | {field: SAMPLES[field]})} - {
        each.code for each in found(**KINDS[kind])
    }
    assert bool(codes) is (field not in CARRIED_OUT[kind]), codes

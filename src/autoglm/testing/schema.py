"""The JSON Schema of test files, for editors (draft-07, as that of workflow files)."""

from __future__ import annotations

from typing import Any

from autoglm.engine.states import TaskStatus
from autoglm.spec.schema import DURATION
from autoglm.testing.cases import Clock, Per
from autoglm.testing.expectations import RUN_STATUSES

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_TEXTS: Schema = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_SCALARS: Schema = {"type": ["object", "null"], "additionalProperties": {"type": ["string", "number", "boolean"]}}
_EXTRA: Schema = {"^x-": {}}
_COUNT: Schema = {"type": "integer", "minimum": 0}


def case_schema() -> Schema:
    """Return the JSON Schema of a ``.test.yaml`` file."""
    own = {"name": _said(_TEXT, "What holds."), "description": {}, **_shared(), "expect": _ref("expect")}
    case = _closed(own, patternProperties=_EXTRA)
    listed = {"type": "array", "minItems": 1, "items": {**case, "required": ["name"]}}
    named = {"type": "object", "minProperties": 1, "additionalProperties": {"anyOf": [case, {"type": "null"}]}}
    file = _closed(
        {
            "workflow": _said(_TEXT, "The workflow file, relative to the project."),
            "description": {},
            **_shared(),
            "cases": _said({"anyOf": [listed, named]}, "What must hold, each a run of its own."),
        },
        patternProperties=_EXTRA,
    )
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Open-AutoGLM test",
        "description": "Cases of a workflow: what stands in for its tasks, and what it must come to.",
        **file,
        "required": ["workflow", "cases"],
        "definitions": {
            "duration": DURATION,
            "mock": _mock(),
            "outcome": _closed(_outcome(), minProperties=1),
            "expect": _expect(),
            "task": _task(),
        },
    }


def _shared() -> dict[str, Schema]:
    return {
        "inputs": _said({"type": ["object", "null"]}, "The run's inputs."),
        "mocks": _said(
            {"type": ["object", "null"], "additionalProperties": _ref("mock")},
            "What stands in for the work of tasks, by task: `fetch`, `process.ship`.",
        ),
        "answers": _said(
            {"type": ["object", "null"], "additionalProperties": _answer()},
            "What people answer, by the task that asks.",
        ),
        "signals": _said(
            {"type": ["object", "null"], "additionalProperties": _signal()},
            "Signals that come when they are waited for, by name.",
        ),
        "environment": _said(_SCALARS, "The variables that templates may read. No other is set."),
        "secrets": _said(_SCALARS, "What templates read as `secrets.NAME`."),
        "offline": _said({"type": "boolean"}, "The stand-in answers for models that have no mock."),
        "clock": _said({"enum": [each.value for each in Clock]}, "`virtual` (the default): waiting costs no time."),
        "start": _said(_TEXT, "What the virtual clock shows at first, such as `2026-03-01T09:00:00Z`."),
        "timeout": _said(_ref("duration"), "Real time after which a case is given up."),
    }


def _answer() -> Schema:
    word: Schema = {"enum": ["approve", "reject"]}
    more = {"data": {}, "comment": {"type": "string"}, "by": {"type": "string"}, "after": _ref("duration")}
    return {"anyOf": [word, _closed({"answer": word, **more}, required=["answer"])]}


def _signal() -> Schema:
    signal = _closed({"data": {}, "by": {"type": "string"}, "after": _ref("duration")})
    return {"anyOf": [signal, {"type": "null"}]}


def _outcome() -> dict[str, Schema]:
    error = _closed(
        {
            "code": _TEXT,
            "message": {"type": "string"},
            "class": _said(_TEXTS, "Names that `retry.on` matches besides the code."),
            "retryable": {"type": "boolean"},
            "hint": {"type": "string"},
            "details": {"type": "object"},
        },
        minProperties=1,
    )
    return {
        "value": _said({}, "What the work gives; templates see `arguments`, `inputs`, `attempt`, `item`, `index`."),
        "error": _said({"anyOf": [_TEXT, error]}, "It fails: a code, or more."),
        "delay": _said(_ref("duration"), "How long it takes, by the case's clock."),
    }


def _mock() -> Schema:
    sequence = {"type": "array", "minItems": 1, "items": _ref("outcome")}
    return _closed(
        {
            **_outcome(),
            "sequence": _said(sequence, "Outcomes one after the other; then `value` or `error`."),
            "per": _said({"enum": [each.value for each in Per]}, "What the sequence is counted by."),
        },
        minProperties=1,
    )


def _expect() -> Schema:
    stages = {"anyOf": [_TEXT, {"type": "array", "items": _TEXTS}]}
    expect = _closed(
        {
            "status": _said({"enum": list(RUN_STATUSES)}, "How the run ends; default: `succeeded`."),
            "error": _said(_TEXT, "The code that some task, or the run, failed with."),
            "path": _said(stages, "Every task that ran, in order; a list within the list is in any order."),
            "order": _said(stages, "Some tasks, in order."),
            "skipped": _said({"anyOf": [_TEXTS, {"type": "null"}]}, "Every task that was skipped."),
            "tasks": {"type": ["object", "null"], "additionalProperties": _ref("task")},
            "outputs": _said({}, "The run's outputs, exactly."),
            "outputs_include": _said({}, "Some fields of the run's outputs."),
            "check": _said(_TEXTS, "Expressions over `outputs`, `inputs`, `tasks`, `run` that must be true."),
        }
    )
    return {"anyOf": [expect, {"type": "null"}]}


def _task() -> Schema:
    status = {"enum": [each.value for each in TaskStatus]}
    fields = _closed(
        {
            "status": status,
            "attempts": _COUNT,
            "calls": _said(_COUNT, "How often its work was begun, over all items and attempts."),
            "result": {},
            "result_includes": {},
            "error": _TEXT,
            "reason": _said(_TEXT, "A part of why it was skipped."),
            "branches": _said({"anyOf": [_TEXTS, {"type": "null"}]}, "What a decision chose."),
        },
        minProperties=1,
    )
    return {"anyOf": [status, fields]}


def _closed(properties: dict[str, Schema], **keywords: Any) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False, **keywords}


def _said(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _ref(name: str) -> Schema:
    return {"allOf": [{"$ref": f"#/definitions/{name}"}]}

"""Inputs held against what a workflow declares: everything that is wrong, at once."""

from __future__ import annotations

from typing import Any

import pytest

from autoglm.app.inputs import check_inputs
from autoglm.base.errors import UsageError
from autoglm.base.redaction import Secret
from autoglm.spec.model import InputSpec, Workflow


def declared(**inputs: dict[str, Any]) -> Workflow:
    specs = {name: InputSpec(**{"required": "default" not in spec, **spec}) for name, spec in inputs.items()}
    return Workflow(name="flow", inputs=specs)


def refused(workflow: Workflow, given: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as caught:
        check_inputs(workflow, given)
    assert caught.value.code == "bad-inputs"
    return caught.value.message


def test_defaults_are_filled_in() -> None:
    workflow = declared(a={"type": "integer", "default": 3}, b={"type": "string"}, c={"default": None})
    assert check_inputs(workflow, {"b": "x"}) == ({"b": "x", "a": 3, "c": None}, {})
    assert check_inputs(workflow, {"b": "", "a": 0})[0]["a"] == 0


def test_everything_wrong_is_said_at_once() -> None:
    workflow = declared(
        topic={"type": "string", "description": "what to write about"},
        count={"type": "integer"},
        mode={"enum": ("fast", "slow")},
        size={"type": "number", "schema": {"minimum": 1}},
    )
    said = refused(workflow, {"topics": "x", "count": "3", "mode": "medium", "size": 0})
    assert said.splitlines()[0] == "5 inputs are wrong:"
    assert "`topics` is no input of flow (did you mean `topic`?)" in said
    assert '`count` must be integer, and "3" is a string' in said
    assert '`mode` must be one of "fast", "slow", not "medium"' in said
    assert "`size` does not fit its schema" in said
    assert "`topic` is missing (what to write about); give it with -i topic=…" in said


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["", "x"], [1, None, True]),
        ("integer", [0, -1, 2.0, 2**63 - 1], [True, 1.5, "1"]),
        ("number", [0, 1.5], [True, "1"]),
        ("boolean", [True, False], [0, 1, "true"]),
        ("array", [[], [1], (1, 2)], [{}, "x"]),
        ("object", [{}, {"a": 1}], [[], None]),
        ("null", [None], [0, ""]),
        ("any", [None, 1, "x", [], {}, True], []),
        (("string", "null"), ["x", None], [1]),
    ],
)
def test_types(kind: Any, good: list[Any], bad: list[Any]) -> None:
    workflow = declared(x={"type": kind})
    for value in good:
        check_inputs(workflow, {"x": value})
    for value in bad:
        assert "`x` must be" in refused(workflow, {"x": value})


@pytest.mark.parametrize("value", [float("nan"), {1: 2}, object(), b"x", "\ud800", 2**70, [{1}]])
def test_what_is_not_json_is_no_input(value: Any) -> None:
    for workflow in (declared(x={}), Workflow(name="f", inputs_inferred=True)):
        assert "`x`" in refused(workflow, {"x": value})


def test_secrets_are_kept_apart_and_never_shown() -> None:
    workflow = declared(
        token={"type": "string", "secret": True}, parts={"secret": True}, pin={"secret": True, "enum": ("1111", "2222")}
    )
    values, secrets = check_inputs(workflow, {"token": "hunter2", "parts": ["a", 1], "pin": "1111"})
    assert values == {}
    assert secrets == {"token": "hunter2", "parts": '["a",1]', "pin": "1111"}
    assert all(type(secret) is Secret for secret in secrets.values())
    said = refused(workflow, {"token": 77777, "parts": "x", "pin": "3333"})
    assert "77777" not in said
    assert not any(pin in said for pin in ("1111", "2222", "3333"))


def test_inferred_inputs_are_required_and_an_unread_extra_is_refused_unless_nothing_is_read() -> None:
    inferred = Workflow(name="f", inputs={"topic": InputSpec()}, inputs_inferred=True)
    assert check_inputs(inferred, {"topic": [1]}) == ({"topic": [1]}, {})
    assert "`topic` is missing" in refused(inferred, {})
    assert "`topik` is no input" in refused(inferred, {"topic": 1, "topik": 1})
    assert check_inputs(Workflow(name="f", inputs_inferred=True), {"extra": 1}) == ({"extra": 1}, {})
    assert "declared: none" in refused(Workflow(name="f"), {"extra": 1})


def test_what_is_kept_is_a_copy_of_plain_data() -> None:
    given = {"x": [1, (2, 3)]}
    values, _ = check_inputs(declared(x={}), given)
    assert values == {"x": [1, [2, 3]]}

"""Values given for declared inputs: whether each fits its declaration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoglm.base import jsonvalue
from autoglm.base.diagnostics import did_you_mean
from autoglm.base.redaction import Secret, contains_secret, redact
from autoglm.spec.model import InputSpec, Workflow


def input_fault(name: str, spec: InputSpec, value: Any) -> str | None:
    """Return what is wrong with a JSON value given for an input, None when it fits."""
    is_secret = spec.secret or contains_secret(value)
    shown = "the secret value" if is_secret else jsonvalue.encode(value).decode()[:80]
    kinds = (spec.type,) if isinstance(spec.type, str) else spec.type
    if "any" not in kinds and not any(jsonvalue.is_of_type(value, kind) for kind in kinds):
        return f"`{name}` must be {' or '.join(kinds)}, and {shown} is {kind_of(value)}"
    if spec.enum is not None and value not in spec.enum:
        choices = ", ".join("…" if spec.secret else jsonvalue.encode(choice).decode() for choice in spec.enum)
        return f"`{name}` must be one of {choices}, not {shown}"
    if spec.json_schema:
        from autoglm.base.schemas import problems

        wrong = problems(value, spec.json_schema, limit=1)
        if wrong:
            return f"`{name}` does not fit its schema" + ("" if is_secret else f": {wrong[0][1]}")
    return None


def kind_of(value: Any) -> str:
    """Return what a JSON value is, in JSON Schema's words."""
    if isinstance(value, bool):
        return "a boolean"
    names = {int: "an integer", float: "a number", dict: "an object", type(None): "null"}
    return "a string" if isinstance(value, str) else names.get(type(value), "an array")


def as_secret(value: Any) -> Secret:
    """Return the value of a secret input as marked text; what is no text, as JSON text."""
    return Secret(value if isinstance(value, str) else jsonvalue.encode(redact(value)).decode())


def default_of(spec: InputSpec) -> Any:
    """Return an input's default: of a secret input, a secret as one that is given would be; null hides nothing."""
    return as_secret(spec.default) if spec.secret and spec.default is not None else spec.default


def bind_inputs(workflow: Workflow, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the inputs of a called workflow, defaults filled in, and what is wrong with what was given.

    What is given for a ``secret`` input is a secret from then on, and so is its default; a secret that is given for
    another stays one.
    """
    faults: list[str] = []
    inputs: dict[str, Any] = {}
    for name, value in given.items():
        spec = workflow.inputs.get(name)
        fault = unknown_input(workflow, name) if spec is None else input_fault(name, spec, value)
        if fault is not None:
            faults.append(fault)
        elif spec is not None and spec.secret and not contains_secret(value):
            inputs[name] = as_secret(value)
        else:
            inputs[name] = value
    for name, spec in workflow.inputs.items():
        if name in given:
            continue
        if spec.required:
            faults.append(f"`{name}` is missing")
        elif not workflow.inputs_inferred:
            inputs[name] = default_of(spec)
    return inputs, faults


def unknown_input(workflow: Workflow, name: str) -> str:
    """Return the sentence about an input that a workflow does not have."""
    close = did_you_mean(name, workflow.inputs)
    known = f"did you mean `{close}`?" if close else f"declared: {', '.join(workflow.inputs) or 'none'}"
    return f"`{name}` is no input of {workflow.name} ({known})"

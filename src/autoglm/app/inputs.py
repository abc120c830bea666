"""A run's inputs held against what the workflow declares: every problem at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoglm.base import jsonvalue
from autoglm.base.errors import UsageError
from autoglm.base.redaction import Secret
from autoglm.spec.given import as_secret, default_of, input_fault, unknown_input
from autoglm.spec.model import InputSpec, Workflow


def check_inputs(workflow: Workflow, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Secret]]:
    """Return (inputs for the journal, secret inputs), defaults filled in on both sides.

    Raises:
        UsageError: ``bad-inputs``: unknown, missing or ill-typed inputs, all of them.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    secrets: dict[str, Secret] = {}
    for name, value in given.items():
        spec = workflow.inputs.get(name)
        if spec is None and not _takes_any(workflow):
            problems.append(unknown_input(workflow, name))
            continue
        problem = _problem(name, spec, value) if spec is not None else _not_json(name, value)
        if problem is not None:
            problems.append(problem)
        elif spec is not None and spec.secret:
            secrets[name] = as_secret(value)
        else:
            values[name] = jsonvalue.plain(value)
    for name, spec in workflow.inputs.items():
        if name in given:
            continue
        if spec.required:
            what = f" ({spec.description})" if spec.description else ""
            problems.append(f"`{name}` is missing{what}; give it with -i {name}=…")
        elif not workflow.inputs_inferred:
            default = default_of(spec)
            (secrets if isinstance(default, Secret) else values)[name] = default
    if problems:
        count = len(problems)
        head = "an input is wrong" if count == 1 else f"{count} inputs are wrong"
        raise UsageError(f"{head}:\n" + "\n".join(f"  - {problem}" for problem in problems), code="bad-inputs")
    return values, secrets


def _takes_any(workflow: Workflow) -> bool:
    """A file that declares no inputs takes what its templates may read; an unread extra harms nobody."""
    return workflow.inputs_inferred and not workflow.inputs


def _not_json(name: str, value: Any) -> str | None:
    try:
        jsonvalue.encode(value)
    except jsonvalue.NotJson as error:
        return f"`{name}`: {error}"
    return None


def _problem(name: str, spec: InputSpec, value: Any) -> str | None:
    not_json = _not_json(name, value)
    return not_json if not_json is not None else input_fault(name, spec, value)

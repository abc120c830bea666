"""A run's inputs held against what the workflow declares: every problem at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoglm.base import jsonvalue
from autoglm.base.errors import UsageError
from autoglm.base.redaction import Secret
from autoglm.spec.given import as_secret, default_of, input_fault, unknown_input
from autoglm.spec.model import Workflow


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
        problem = _problem_of(workflow, name, value)
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
    _refuse(problems)
    return values, secrets


def check_given(workflow: Workflow, given: Mapping[str, Any]) -> None:
    """Check the inputs that are given, of which some may still be missing.

    Raises:
        UsageError: ``bad-inputs``: unknown or ill-typed inputs, all of them.
    """
    found = [_problem_of(workflow, name, value) for name, value in given.items()]
    _refuse([problem for problem in found if problem is not None])


def _refuse(problems: list[str]) -> None:
    if problems:
        count = len(problems)
        head = "an input is wrong" if count == 1 else f"{count} inputs are wrong"
        raise UsageError(f"{head}:\n" + "\n".join(f"  - {problem}" for problem in problems), code="bad-inputs")


def _problem_of(workflow: Workflow, name: str, value: Any) -> str | None:
    """Return what is wrong with a value given for an input, None when it fits."""
    spec = workflow.inputs.get(name)
    if spec is None and not _takes_any(workflow):
        return unknown_input(workflow, name)
    not_json = _not_json(name, value)
    return not_json if not_json is not None or spec is None else input_fault(name, spec, value)


def _takes_any(workflow: Workflow) -> bool:
    """A file that declares no inputs takes what its templates may read; an unread extra harms nobody."""
    return workflow.inputs_inferred and not workflow.inputs


def _not_json(name: str, value: Any) -> str | None:
    try:
        jsonvalue.encode(value)
    except jsonvalue.NotJson as error:
        return f"`{name}`: {error}"
    return None

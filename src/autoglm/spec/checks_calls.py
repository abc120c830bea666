"""Checks of calls of other workflow files against what those declare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from autoglm.base.jsonvalue import NotJson
from autoglm.spec.faults import suggest
from autoglm.spec.given import input_fault
from autoglm.spec.model import Task, Workflow
from autoglm.spec.report import Report
from autoglm.spec.scopes import ScopeInfo


def check_calls(scopes: Iterable[ScopeInfo], report: Report) -> None:
    """Check what is given to every workflow that is called."""
    for scope in scopes:
        for info in scope.tasks:
            if info.callee is not None:
                _check_call(info.task, info.callee, report)


def _check_call(task: Task, callee: Workflow, report: Report) -> None:
    for name, value in task.arguments.items():
        spec = callee.inputs.get(name)
        if spec is None:
            hint = suggest(name, callee.inputs, what="its inputs are") or "it has none"
            message = f"`{callee.name}` has no input `{name}`"
            report.task(task, ("arguments", name), "unknown-input", message, hint=hint, key=True)
        elif not _holds_template(value):
            try:
                fault = input_fault(name, spec, value)
            except NotJson as error:
                fault = str(error)
            if fault is not None:
                report.task(task, ("arguments", name), "wrong-input", f"the input {fault}", hint=spec.description)
    for name, spec in callee.inputs.items():
        if spec.required and name not in task.arguments:
            what = f" ({spec.description})" if spec.description else ""
            message = f"`{callee.name}` needs the input `{name}`{what}, and `{task.name}` does not give it"
            report.task(task, (), "missing-input", message, hint=f"write `with: {{{name}: …}}`")


def check_endless(task: Task, files: list[str], report: Report) -> None:
    """Report a circle of calls that nothing on its way can end."""
    way = " → ".join(files)
    message = f"`{task.name}` calls in a circle that nothing ends: {way}"
    report.task(
        task, ("options", "workflow"), "endless-calls", message, hint="let a `when` decide whether it is called"
    )


def _holds_template(value: Any) -> bool:
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, dict):
        return any(map(_holds_template, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_template, value))

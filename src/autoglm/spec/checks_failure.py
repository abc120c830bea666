"""Checks of what is done when things fail: the tasks at the run's end, rollbacks."""

from __future__ import annotations

from collections.abc import Iterable

from autoglm.spec.model import Workflow
from autoglm.spec.report import Report
from autoglm.spec.scopes import ScopeInfo


def check_failure(workflow: Workflow, scopes: Iterable[ScopeInfo], report: Report) -> None:
    """Check the sections at the run's end against the tasks, and where rollbacks stand."""
    sections = workflow.sections()
    for task in workflow.tasks:
        if task.name in sections:
            message = f"`{task.name}` is a section of this workflow, so a task cannot have that name"
            report.task(task, ("name",), "taken-name", message, hint="rename the task", word=task.name)
    for scope in scopes:
        for info in scope.tasks:
            for name in info.callee.sections() if info.callee is not None else ():
                message = f"`{info.callee.name}` has `{name}`, which is not carried out when it is called"  # type: ignore[union-attr]
                hint = "leave it out there, or give the workflow that calls it one"
                report.task(info.task, ("options", "workflow"), "not-available", message, hint=hint)
        section = _section(scope)
        for info in scope.tasks if section is not None else ():
            if info.task.rollback is not None:
                message = f"nothing of `{section}` is rolled back: it runs when that is over"
                report.task(info.task, ("rollback",), "rollback-at-end", message, hint="remove it", key=True)


def _section(scope: ScopeInfo) -> str | None:
    """Return the section that a scope belongs to, at any depth."""
    while scope.owner is not None:
        scope = scope.owner.scope
    return scope.section

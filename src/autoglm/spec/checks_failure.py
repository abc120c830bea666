"""Checks of what is done when things fail: the tasks at the run's end, rollbacks."""

from __future__ import annotations

from collections.abc import Iterable

from autoglm.spec.faults import suggest
from autoglm.spec.model import OnError, StandIn, Workflow
from autoglm.spec.report import Report
from autoglm.spec.scopes import ScopeInfo, TaskInfo, stand_in_of


def check_failure(workflow: Workflow, scopes: Iterable[ScopeInfo], report: Report) -> None:
    """Check the sections at the run's end against the tasks, and where rollbacks stand."""
    sections = workflow.sections()
    for task in workflow.tasks:
        if task.name in sections:
            message = f"`{task.name}` is a section of this workflow, so a task cannot have that name"
            report.task(task, ("name",), "taken-name", message, hint="rename the task", word=task.name)
    for scope in scopes:
        for info in scope.tasks:
            _check_stand_in(info, report)
        section = _section(scope)
        for info in scope.tasks if section is not None else ():
            if info.task.rollback is not None:
                message = f"nothing of `{section}` is rolled back: it runs when that is over"
                report.task(info.task, ("rollback",), "rollback-at-end", message, hint="remove it", key=True)


_ALONE = ("when", "loop", "rollback", "fallback", "depends_on")


def _check_stand_in(info: TaskInfo, report: Report) -> None:
    """Check that the task that stands in for another one exists, and that nothing else hangs on it."""
    name = info.task.on_error.task if isinstance(info.task.on_error, StandIn) else None
    if name is None:
        return
    place = ("on_error", "degrade", "task")
    other = stand_in_of(info)
    if other is None:
        names = [each.task.name for each in info.scope.tasks if each is not info]
        hint = suggest(name, names, what="the tasks beside it are")
        report.task(
            info.task, place, "unknown-task", f"there is no task `{name}` beside this one", hint=hint, word=name
        )
        return
    why = _why_not(info, other)
    if why is not None:
        message = f"`{name}` cannot stand in for `{info.task.name}`: {why}"
        hint = "name a task that does nothing else, or write it here: `{degrade: {handler: …}}`"
        report.task(info.task, place, "fallback-task", message, hint=hint, word=name)


def _why_not(info: TaskInfo, other: TaskInfo) -> str | None:
    """Return why a task cannot stand in for another one."""
    if other is info:
        return "it is the task itself"
    task = other.task
    if task.type in ("group", "workflow", "decision"):
        return f"a stand-in is one piece of work, and it is of type `{task.type}`"
    for field in _ALONE:
        if getattr(task, field):
            return f"it has `{field.replace('fallback', 'on_error')}` of its own"
    if task.on_error is not OnError.FAIL:
        return "it has `on_error`, and when it fails the task that it stands in for does"
    for each in info.scope.tasks:
        if other.index in each.upstreams:
            return f"`{each.task.name}` depends on it"
    return None


def _section(scope: ScopeInfo) -> str | None:
    """Return the section that a scope belongs to, at any depth."""
    while scope.owner is not None:
        scope = scope.owner.scope
    return scope.section

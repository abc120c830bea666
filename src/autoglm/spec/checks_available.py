"""What the format has a word for and this version cannot run yet: refused, never silently passed over."""

from __future__ import annotations

from collections.abc import Iterable

from autoglm.spec.model import Path, Task, Workflow
from autoglm.spec.report import Report
from autoglm.spec.scopes import ScopeInfo

_CODE = "not-available"
_HINT = "leave it out: this version would not do what it says"


def check_available(workflow: Workflow, scopes: Iterable[ScopeInfo], report: Report) -> None:
    """Report every field that is understood and not carried out."""
    for name in ("triggers",):
        if getattr(workflow, name) is not None:
            report.workflow((name,), _CODE, f"`{name}` cannot be carried out by this version", hint=_HINT, key=True)
    for scope in scopes:
        for info in scope.tasks:
            for path, what in _beyond(info.task):
                report.task(info.task, path, _CODE, f"{what} cannot be carried out by this version", hint=_HINT)


def _beyond(task: Task) -> Iterable[tuple[Path, str]]:
    if task.resources:
        yield ("resources",), "`resources`"

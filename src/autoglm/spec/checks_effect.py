"""Fields that say nothing about a task of its type: reported, never silently passed over.

The table has a line for each type and field. ``tests/app/test_effects.py`` holds it against the model: a field that is
added there must be carried out by a type, or stand here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from autoglm.spec.catalog import Catalog
from autoglm.spec.model import Degrade, StandIn, Task
from autoglm.spec.report import Report
from autoglm.spec.scopes import ScopeInfo

_REMOVE: Final = "remove it"
_INSIDE: Final = "write it at the tasks that do the work"
_THERE: Final = "write it in the file that is called"
_WAITS: Final = {
    "retry": _REMOVE,
    "timeout": "write `deadline`",
    "pool": _REMOVE,
    "executor": _REMOVE,
    "env": _REMOVE,
    "priority": _REMOVE,
    "arguments": "write what it waits for beside its name: its own fields may hold templates",
}
_DECIDES: Final = {
    "result": "its result says which branches were taken: map it in the task that reads it",
    "output_schema": _REMOVE,
    "loop": "put it into a group with a `loop`: `tasks:` around it and its branches",
    "env": _REMOVE,
    "on_error": "write `default`, or `fallback` for a language model that is not sure",
}
NO_EFFECT: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "group": (
        "it only holds other tasks",
        {
            "arguments": "give it to the tasks inside, which also see what is around the group",
            "output_schema": _INSIDE,
            "pool": _INSIDE,
            "executor": _INSIDE,
            "env": _INSIDE,
            "priority": _INSIDE,
        },
    ),
    "workflow": (
        "it only calls another workflow",
        {"output_schema": _THERE, "pool": _THERE, "executor": _THERE, "env": _THERE, "priority": _THERE},
    ),
    "approval": (
        "it only waits",
        {**_WAITS, "output_schema": "write `form`: it says what data goes with an approval"},
    ),
    "wait": ("it only waits", {**_WAITS, "output_schema": "let the task that reads it say what it takes"}),
    "rules": (
        "its rules are asked as soon as its upstreams have ended",
        {
            **_DECIDES,
            "retry": _REMOVE,
            "timeout": _REMOVE,
            "pool": _REMOVE,
            "executor": _REMOVE,
            "priority": _REMOVE,
            "arguments": "rules read inputs and upstreams themselves",
        },
    ),
    "decision": ("what it gives is which branches are taken", _DECIDES),
    "llm": ("it is a call of a model, not a process", {"env": _REMOVE}),
}
"""Kind of task: why some fields say nothing about it; each of these, with what to do instead."""
_WITH_LOOP: Final = frozenset({"priority"})
"""What holds for the turns of a loop, whatever goes over it."""
_NO_WORK: Final = frozenset({"group", "workflow", "approval", "wait", "rules", "decision"})


def check_effect(scopes: Iterable[ScopeInfo], catalog: Catalog, report: Report) -> None:
    """Report the fields of every task, and of what stands beside it, that have no effect."""
    for scope in scopes:
        for info in scope.tasks:
            for task in _with_beside(info.task):
                _check(task, kind_of_task(task, catalog), report)


def kind_of_task(task: Task, catalog: Catalog) -> str:
    """Return the line of the table that a task belongs to; empty for work like any other."""
    if task.type == "decision":
        return "decision" if task.options.keys() & {"model", "llm"} else "rules"
    if task.type in NO_EFFECT:
        return task.type
    info = catalog.task_types.get(task.type)
    return "llm" if info is not None and info.caches else ""


def _with_beside(task: Task) -> Iterator[Task]:
    yield task
    for beside in (task.rollback, task.fallback):
        if beside is not None:
            yield beside


def _check(task: Task, kind: str, report: Report) -> None:
    if kind in _NO_WORK and _is_set(task, "effects"):
        message = f"`effects` says nothing about `{task.name}`: it does nothing itself that could be lost"
        report.task(task, ("effects",), "field-without-effect", message, hint=_INSIDE, key=True)
    if kind not in NO_EFFECT:
        return
    why, fields = NO_EFFECT[kind]
    for name, hint in fields.items():
        if not _is_set(task, name) or (name in _WITH_LOOP and task.loop is not None):
            continue
        if name == "on_error" and not isinstance(task.on_error, Degrade | StandIn):
            continue
        shown = {"arguments": "with", "on_error": "degrade"}.get(name, name)
        message = f"`{shown}` says nothing about `{task.name}`: {why}"
        path = (name, next(iter(task.arguments))) if name == "arguments" else (name,)
        report.task(task, path, "field-without-effect", message, hint=hint, key=True)


def _is_set(task: Task, name: str) -> bool:
    """Return whether the author of a task wrote a field; what ``defaults`` say is meant for those that it concerns."""
    if getattr(task, name) == Task.model_fields[name].get_default(call_default_factory=True):
        return False
    return not task.written or name in ("retry", "arguments", "on_error") or name in task.written

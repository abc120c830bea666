"""What can be wrong with tasks that wait."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from autoglm.base.durations import parse_duration
from autoglm.base.errors import TaskError
from autoglm.base.instants import parse_instant
from autoglm.spec.checks_types import schema_fault
from autoglm.spec.faults import kind_of
from autoglm.spec.model import Task
from autoglm.spec.report import Report
from autoglm.spec.scopes import ScopeInfo
from autoglm.spec.values import is_template

WAITING = ("approval", "wait")
_WAYS = ("for", "until", "signal")


def check_waiting(scopes: Iterable[ScopeInfo], report: Report) -> None:
    """Report what is wrong with every task that waits."""
    for scope in scopes:
        for info in scope.tasks:
            task = info.task
            if task.type in WAITING:
                _check(task, report)


def _check(task: Task, report: Report) -> None:
    options = task.options
    if task.type == "wait":
        _check_way(task, report)
    elif isinstance(form := options.get("form"), dict):
        fault = schema_fault(form)
        if fault is not None:
            path, message = fault
            place = ("options", "form", *path)
            report.task(task, place, "invalid-schema", f"this is no JSON Schema: {message}")
        elif options.get("on_deadline") == "approve":
            _check_default(task, form, report)
    deadline = options.get("deadline")
    if deadline is not None and not is_template(deadline):
        _check_when(task, "deadline", deadline, report)
    elif deadline is None and "on_deadline" in options:
        message = f"`{task.name}` says what happens at its deadline, and has none"
        report.task(task, ("options", "on_deadline"), "deadline-missing", message, hint="add `deadline: 2d`", key=True)


def _check_default(task: Task, form: dict[str, Any], report: Report) -> None:
    """Hold against its form what an approval at the deadline brings: nothing."""
    from autoglm.base.schemas import problems  # the library behind it costs more to import than all of this

    try:
        found = problems({}, form)
    except TaskError:  # it refers to what it does not hold, say: whoever answers is told
        return
    if not found:
        return
    shown = "; ".join(f"{path}: {sentence}" for path, sentence in found)
    message = f"`{task.name}` is approved at its deadline without data, which does not fit its form: {shown}"
    hint = "let `form` require nothing, or write `on_deadline: reject`, `fail` or `skip`"
    report.task(task, ("options", "on_deadline"), "deadline-misfit", message, hint=hint)


def _check_way(task: Task, report: Report) -> None:
    options = task.options
    ways = [name for name in _WAYS if options.get(name) is not None]
    if len(ways) != 1:
        told = " and ".join(f"`{name}`" for name in ways)
        message = (
            f"`{task.name}` waits for {told}, and can wait for one only" if ways else f"`{task.name}` waits for nothing"
        )
        hint = "write one of `for: 10m`, `until: 2026-03-01T09:00:00Z`, `signal: NAME`"
        report.task(task, ("options", ways[1]) if ways else (), "wait-unclear", message, hint=hint, key=bool(ways))
        return
    if ways != ["signal"] and options.get("deadline") is not None:
        message = f"`{task.name}` waits for a time, which comes: a deadline says nothing about it"
        report.task(task, ("options", "deadline"), "field-without-effect", message, hint="remove it", key=True)
    way, value = ways[0], options[ways[0]]
    if way != "signal" and not is_template(value):
        _check_when(task, way, value, report)


def _check_when(task: Task, name: str, value: Any, report: Report) -> None:
    readers = {"for": (parse_duration,), "until": (parse_instant,)}.get(name, (parse_duration, parse_instant))
    for read in readers:
        try:
            read(value)
        except ValueError:
            continue
        return
    expected = {"for": "a duration such as 30s or 2h", "until": "a point in time such as 2026-03-01T09:00:00Z"}.get(
        name, "a duration such as 2h, or a point in time such as 2026-03-01T09:00:00Z"
    )
    code = "bad-duration" if name == "for" else "bad-instant"
    told = f"`{value}`" if isinstance(value, str) else kind_of(value)
    report.task(task, ("options", name), code, f"`{name}` must be {expected}, but it is {told}")

"""Where a task's field stands in the author's file, whatever the spelling."""

from __future__ import annotations

from typing import Any

from autoglm.base.diagnostics import Place
from autoglm.spec.document import Document
from autoglm.spec.model import Path, Task

_FROM_DEFAULTS = frozenset({"retry", "timeout", "executor", "pool", "cache", "priority", "on_error"})
_LABELS_LIKE = frozenset({"env", "labels", "resources"})


def field_path(task: Task, *path: str | int) -> Path:
    """Return the document path of a field of ``task``, named as the model names it.

    ``field_path(task, "options", "model")``, ``(task, "arguments", "x")``, ``(task, "depends_on", "fetch")``,
    ``(task, "loop", "over")``, ``(task, "retry", "delay")``. What the author did not write (an implied handler, a
    missing option) is found at the task itself, what came from the file's ``defaults`` there.
    """
    if not path:
        return task.source
    head, rest = str(path[0]), path[1:]
    if head in ("options", "arguments"):
        return _parameter_path(task, rest) if rest else task.source
    if head == "depends_on":
        return task.source + _upstream_path(task, rest)
    if head == "fallback":
        return task.source if task.fallback is None else field_path(task.fallback, *rest)
    if head == "loop":
        return task.source + _loop_path(task.written.get("loop"), rest)
    if head == "retry":
        return _retry_path(task, rest)
    if head == "name" and "name" not in task.written and "decision_node" in task.written:
        return (*task.source, "decision_node")
    if _is_from_defaults(task, head, rest):
        return ("defaults", *path)
    return (*task.source, *path)


def field_place(document: Document, task: Task, *path: str | int) -> Place:
    """Return where a field of ``task`` stands; for its name in a mapping of tasks, the place of that key."""
    written = task.written
    keyed = path in ((), ("name",)) and "name" not in written and "decision_node" not in written
    return document.place(field_path(task, *path) if path else field_path(task, "name"), key=keyed)


def _parameter_path(task: Task, rest: Path) -> Path:
    """Return where an option or argument stands: flat, in ``with``, or below a shorthand key."""
    name, written = rest[0], task.written
    if name in written:
        return (*task.source, *rest)
    if name == "handler" and "action" in written:
        return (*task.source, "action", *rest[1:])
    parameters = written.get("with")
    if isinstance(parameters, dict) and name in parameters:
        return (*task.source, "with", *rest)
    for key, value in written.items():
        if key in Task.model_fields or key == "with":
            continue
        if isinstance(value, dict) and name in value:
            return (*task.source, key, *rest)
        if name == "handler" and key == task.options.get("handler"):
            return (*task.source, key)
    for key in ("prompt_file", "prompt"):
        if "prompt_file" in task.options and key in written:
            return (*task.source, key)  # the prompt's own file says it
    return task.source if written else (*task.source, "with", *rest)


def _upstream_path(task: Task, rest: Path) -> Path:
    key = "needs" if "needs" in task.written and "depends_on" not in task.written else "depends_on"
    value = task.written.get(key)
    if value is None and task.written:
        return ()  # a playbook's order, not the author, named it
    if rest and isinstance(value, list):
        return (key, value.index(rest[0])) if rest[0] in value else (key,)
    if rest and isinstance(value, dict):
        return (key, *rest)
    return (key,)


def _loop_path(value: Any, rest: Path) -> Path:
    if isinstance(value, dict):
        return ("loop", *(str(part).rstrip("_") if part in ("as_", "while_") else part for part in rest))
    return ("loop", *rest[1:])  # the whole value is what the loop is over


def _retry_path(task: Task, rest: Path) -> Path:
    written = task.written.get("retry")
    if isinstance(written, dict) and (not rest or rest[0] in written):
        return (*task.source, "retry", *rest)
    if "retries" in task.written:
        return (*task.source, "retries")
    if _is_from_defaults(task, "retry", rest):
        return ("defaults", "retry", *rest)
    return (*task.source, "retry", *rest)


def _is_from_defaults(task: Task, head: str, rest: Path) -> bool:
    if not task.written:
        return False
    if head in _LABELS_LIKE:
        own = task.written.get(head)
        return bool(rest) and rest[0] in getattr(task, head) and not (isinstance(own, dict) and rest[0] in own)
    return head in _FROM_DEFAULTS and head not in task.written and getattr(task, head) not in (None, (), 0, "fail")

"""What has changed between two definitions of a workflow, task by task: what a task's result may hang on.

A task's *fingerprint* covers its definition (its own fields, and the tasks inside it), its code (files and functions,
by digests that are gathered elsewhere) and the static values that it reads: ``vars``, ``config``, ``env``, its models.
Where it stands in the file, how it is written, and what only says when and how often it is tried are not part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from autoglm.base import jsonvalue
from autoglm.spec.calls import called, calls_of, key_of
from autoglm.spec.code_names import names_of
from autoglm.spec.model import StandIn, Task, Workflow

TUNING = frozenset({"priority", "pool", "resources", "timeout", "retry", "rollback", "cache"})
"""Fields that a result does not hang on: another ``timeout`` or ``retry`` does not make what succeeded wrong."""
NOT_PART = TUNING | {"name", "tasks", "description", "labels"}
_LOOP_TUNING = frozenset({"max_parallel", "fail_fast"})
_WORDS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ROOTS = ("vars", "config", "env")


class Kind(StrEnum):
    NEW = "new"
    CHANGED = "changed"
    TUNED = "tuned"
    """Only how and when it is tried has changed: its result stays."""
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Change:
    """How a task differs. ``path`` is static: ``outer.inner``."""

    path: str
    kind: Kind
    fields: tuple[str, ...] = ()
    """Fields of its definition that differ."""
    code: tuple[str, ...] = ()
    """Files and functions that differ."""
    values: tuple[str, ...] = ()
    """Static values that it reads and that differ: ``vars.limit``."""

    def __str__(self) -> str:
        parts = []
        if self.fields:
            parts.append(", ".join(f"`{name}`" for name in self.fields))
        parts.extend([*self.code, *(f"`{name}`" for name in self.values)])
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Definition:
    """A workflow with what its tasks use from outside the file."""

    workflow: Workflow
    code: Mapping[str, str] = field(default_factory=dict)
    """What a task runs or reads as code, such as ``tasks/clean.py: clean``, to its digest."""
    functions: Mapping[str, str] = field(default_factory=dict)
    """The name of a function, as tasks give it, to the key of ``code`` that is its own; files are their own keys."""
    config: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


def fingerprint(definition: Definition, task: Task, path: str, beside: tuple[Task, ...] | None = None) -> str:
    """Return a digest (SHA-256, hex) of everything that the result of ``task`` hangs on, besides its upstreams.

    ``beside`` are the tasks of its scope, those of the file when none are given.
    """
    inner = {each.name: fingerprint(definition, each, f"{path}.{each.name}", task.tasks) for each in task.tasks}
    if isinstance(task.on_error, StandIn) and task.on_error.task is not None:
        scope = definition.workflow.tasks if beside is None else beside
        for spare in (each for each in scope if each.name == task.on_error.task and each is not task):
            outer = path.rpartition(".")[0]
            inner["~"] = fingerprint(definition, spare, f"{outer}.{spare.name}" if outer else spare.name, ())
    code = {name: definition.code.get(name) for name in _uses(definition, task)}
    written = called(task)
    code |= {written: callee_digest(definition.workflow, written)} if written is not None else {}
    parts = {"fields": _fields(task), "code": code, "values": _values(definition, task), "tasks": inner}
    return sha256(jsonvalue.encode(_sorted(parts))).hexdigest()


def fingerprints(definition: Definition) -> dict[str, str]:
    """Return the fingerprints of the tasks of the file by name; what is inside a group is part of the group's."""
    return {task.name: fingerprint(definition, task, task.name) for task in definition.workflow.tasks}


def compare(old: Definition, new: Definition) -> list[Change]:
    """Return how the tasks differ, in the new file's order, those that have gone last.

    A change inside a group is told of the task inside; inside a loop it is the loop that has changed.
    """
    return list(_compare(old, new, old.workflow.tasks, new.workflow.tasks, ""))


def workflow_changes(old: Workflow, new: Workflow) -> list[str]:
    """Return the fields of the workflow itself that differ, such as ``outputs``; not those that tasks read."""
    names = ("name", "inputs", "outputs", "pools", "max_parallel", "schedule", "vars", "models")
    found = [name for name in names if getattr(old, name, None) != getattr(new, name, None)]
    before, after = old.sections(), new.sections()
    return found + [name for name in ("on_error", "finally") if _data(before.get(name)) != _data(after.get(name))]


def _data(value: Any) -> Any:
    """Return tasks as the data that is saved of them: where they stand in their file makes no difference."""
    if isinstance(value, tuple):
        return [_data(each) for each in value]
    return value.model_dump(by_alias=True, exclude_defaults=True) if isinstance(value, Task) else value


def _compare(
    old: Definition, new: Definition, before: Iterable[Task], after: Iterable[Task], prefix: str
) -> Iterator[Change]:
    known = {task.name: task for task in before}
    found: list[tuple[Task, str, list[Change]]] = []
    for task in after:
        path = f"{prefix}{task.name}"
        was = known.pop(task.name, None)
        found.append(
            (task, path, [Change(path, Kind.NEW)] if was is None else list(_of_task(old, new, was, task, path)))
        )
    changed = {task.name for task, _, changes in found if any(each.kind is Kind.CHANGED for each in changes)}
    for task, path, changes in found:
        yield from changes
        spare = task.on_error.task if isinstance(task.on_error, StandIn) else None
        if spare in changed and not changes:  # what stands in for a task is a part of it, wherever it is written
            yield Change(path, Kind.CHANGED, ("on_error",))
    for name in known:
        yield Change(f"{prefix}{name}", Kind.GONE)


def _of_task(old: Definition, new: Definition, was: Task, task: Task, path: str) -> Iterator[Change]:
    before, after = _fields(was), _fields(task)
    fields = tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))
    code = (*_calls_differ(old, new, was, task), *_code_differs(old, new, task))
    had, has = _values(old, was), _values(new, task)
    values = tuple(sorted(name for name in had.keys() & has.keys() if had[name] != has[name]))
    if fields or code or values:
        yield Change(path, Kind.CHANGED, fields, code, values)
        return
    inside = list(_compare(old, new, was.tasks, task.tasks, f"{path}."))
    grave = [change for change in inside if change.kind is not Kind.TUNED]
    is_whole = task.loop is not None or "choose" in task.options
    if grave and (is_whole or all(change.kind is Kind.GONE for change in grave)):
        yield Change(path, Kind.CHANGED, ("tasks",))
        return
    if tuned := tuple(_tuned(was, task)):
        yield Change(path, Kind.TUNED, tuned)
    yield from inside


def _tuned(was: Task, task: Task) -> Iterator[str]:
    yield from (name for name in sorted(TUNING) if _data(getattr(was, name)) != _data(getattr(task, name)))
    if was.loop != task.loop:
        yield "loop"


def _calls_differ(old: Definition, new: Definition, was: Task, task: Task) -> Iterator[str]:
    """Yield the workflow file that a task calls, when it, or one that it calls, is not what it was."""
    written = called(task)
    if written is None or called(was) != written:
        return
    if callee_digest(old.workflow, written) != callee_digest(new.workflow, written):
        yield written


def callee_digest(workflow: Workflow, written: str) -> str:
    """Return a digest of a workflow file that ``workflow`` calls, with those that it calls."""
    digest = sha256()
    seen: set[str] = set()
    waiting = [key_of("", written)]
    while waiting:
        key = waiting.pop()
        callee = workflow.callees.get(key)
        if callee is None or key in seen:
            continue
        seen.add(key)
        text = callee.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"description", "callees"})
        digest.update(jsonvalue.encode(_sorted({key: text})))
        waiting.extend(sorted(key_of(key, each) for _, each in calls_of(callee.all_tasks)))
    return digest.hexdigest()


def _uses(definition: Definition, task: Task) -> list[str]:
    """Return the keys of the code that a task uses, in order."""
    functions, files = names_of(task, definition.workflow)
    found = {definition.functions[name] for name in functions if name in definition.functions}
    return sorted(found | {name for name in files if name in definition.code})


def _code_differs(old: Definition, new: Definition, task: Task) -> Iterator[str]:
    for name in _uses(new, task):
        was = old.code.get(name)
        if was is not None and was != new.code.get(name):
            yield name


def _fields(task: Task) -> dict[str, Any]:
    found = task.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=set(NOT_PART))
    loop = found.get("loop")
    if isinstance(loop, dict):
        tuning = _LOOP_TUNING if loop.get("on_limit") == "succeed" else _LOOP_TUNING | {"max_iterations"}
        found["loop"] = {name: value for name, value in loop.items() if name not in tuning}
    return found


def _values(definition: Definition, task: Task) -> dict[str, Any]:
    """Return the static values that a task may read, by name; too many rather than too few."""
    workflow = definition.workflow
    given = {"vars": workflow.vars, "config": definition.config, "env": definition.env}
    text = task.model_dump_json(by_alias=True, exclude_defaults=True, exclude={"tasks"})
    words = set(_WORDS.findall(text))
    found = {f"vars.{name}": value for name, value in workflow.vars.items() if name in words}
    for root in _ROOTS:
        if root in words:
            everything = re.search(rf"\b{root}\b(?!\.\w)", text) is not None
            values = given[root]
            found |= {f"{root}.{name}": value for name, value in values.items() if everything or name in words}
    if isinstance(model := task.options.get("model"), str):
        specs = workflow.models
        named = [model] if "{{" not in model else list(specs)
        found |= {f"models.{name}": specs[name].model_dump(mode="json") for name in named if name in specs}
    return found


def _sorted(value: Any) -> Any:
    """Return the same value with the keys of every mapping in order."""
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value

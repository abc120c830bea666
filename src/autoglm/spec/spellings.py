"""The spellings of a workflow file, told apart and brought to one outline: a header, and tasks with their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from autoglm.base.diagnostics import did_you_mean
from autoglm.spec.decisions import actions_in
from autoglm.spec.model import Path
from autoglm.spec.tree import shorten
from autoglm.spec.values import MAX_NAME, Values, describe, name_fault

TASK_LISTS = ("tasks", "task_graph")
HEADER_FIELDS = (
    "version",
    "name",
    "description",
    "namespace",
    "labels",
    "inputs",
    "vars",
    "models",
    "pools",
    "defaults",
    "max_parallel",
    "schedule",
    "durability",
    "budget",
    "triggers",
    "outputs",
)
_DECISION_FIELDS = ("decision_node", "conditions", "default", "mode")
_ONLY_IN_HEADER = frozenset(HEADER_FIELDS)
_OTHER_WORDS = {
    "steps": "tasks",
    "jobs": "tasks",
    "nodes": "tasks",
    "stages": "tasks",
    "units": "tasks",
    "variables": "vars",
    "params": "inputs",
    "parameters": "inputs",
    "arguments": "inputs",
    "args": "inputs",
    "env": "vars",
    "concurrency": "max_parallel",
    "parallelism": "max_parallel",
    "results": "outputs",
    "schedules": "triggers",
}
SECTIONS = ("on_error", "finally")
"""Tasks that run at the run's end: when it failed, and in any case."""


@dataclass(slots=True)
class Entry:
    """One task as a spelling gives it: its name, what its author wrote, and where."""

    name: str
    body: dict[str, Any]
    path: Path
    name_path: Path
    name_is_key: bool = False
    after: Sequence[str] = ()
    """The tasks that it follows in a playbook: the one before it, or every branch of a decision before it."""
    after_called: Sequence[str] = ()
    """The same of what decisions lead to that is no task of the file: functions, if they are there."""


@dataclass(slots=True)
class Outline:
    header: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    sections: dict[str, list[Entry]] = field(default_factory=dict)


def outline(values: Values) -> Outline:
    """Return the file's header fields and its tasks, whatever its spelling."""
    data = values.document.data
    if isinstance(data, list):
        return Outline({}, read_entries(values, data, (), follow=True))
    found = [key for key in TASK_LISTS if key in data]
    if not found and "decision_node" in data:
        header = {key: value for key, value in data.items() if key in _ONLY_IN_HEADER or key.startswith("x-")}
        body = {key: value for key, value in data.items() if key not in header}
        return Outline(header, read_entries(values, [body], (), alone=True))
    _check_header_keys(values, data, found)
    if not found:
        return Outline(data)
    if len(found) > 1:
        values.error("key-twice", "`tasks` and `task_graph` say the same; write one of them", (found[1],), key=True)
    entries: list[Entry] = []
    for key in found:
        entries += read_task_field(values, data[key], (key,))
    sections = {key: read_task_field(values, data[key], (key,)) for key in SECTIONS if key in data}
    return Outline(data, entries, sections)


def _check_header_keys(values: Values, data: dict[str, Any], found: list[str]) -> None:
    if not found:
        other = next((key for key in data if _OTHER_WORDS.get(key) == "tasks" or did_you_mean(key, TASK_LISTS)), None)
        values.error(
            "no-tasks",
            "the file has no `tasks`",
            (other,) if other else (),
            key=True,
            hint=f"rename `{other}` to `tasks`" if other else "add `tasks:` with a list of tasks, each with a `name`",
        )
        if other:
            data = {key: value for key, value in data.items() if key != other}
    known = (*HEADER_FIELDS, *TASK_LISTS, *SECTIONS)
    for key in data:
        if key in known or key.startswith("x-"):
            continue
        word = _OTHER_WORDS.get(key)
        values.unknown_key(key, (), known, "a workflow", f"write `{word}`" if word else None)


def read_task_field(values: Values, value: Any, path: Path) -> list[Entry]:
    """Return the tasks of a ``tasks`` field: a list of mappings with names, or a mapping from name to task."""
    if isinstance(value, list):
        return read_entries(values, value, path)
    if isinstance(value, dict):
        return _read_mapping(values, value, path)
    values.wrong(value, path[:-1], path[-1], "a list of tasks, or a mapping from name to task")
    return []


def read_entries(
    values: Values, items: list[Any], path: Path, *, follow: bool = False, alone: bool = False
) -> list[Entry]:
    """Return the tasks of a list. ``follow`` makes each follow the one before; ``alone`` is a task without a list."""
    if not items:
        values.error("no-tasks", "there is no task here", path, hint="add one with a `name`")
    entries: list[Entry] = []
    for index, body in enumerate(items):
        place = path if alone else (*path, index)
        if not isinstance(body, dict):
            hint = f"write `- name: {shorten(body)}`" if isinstance(body, str) and body.strip() else None
            values.error("wrong-kind", f"a task must be a mapping, but this is {describe(body)}", place, hint=hint)
            continue
        key = "decision_node" if "name" not in body and "decision_node" in body else "name"
        name = _read_name(values, body, key, place)
        if name is not None:
            entries.append(Entry(name, body, place, (*place, key)))
    if follow:
        _follow(entries)
    _refuse_repeats(values, entries)
    return entries


def _follow(entries: list[Entry]) -> None:
    """Let each task of a playbook follow the one before.

    A branch follows its decision alone. What stands after the last of the branches follows them all: it comes whichever
    was taken. Actions that are no tasks of the list may be functions, and count as tasks then.
    """
    places = {entry.name: number for number, entry in enumerate(entries)}
    chosen: dict[str, str] = {}
    awaited: set[str] = set()
    ends: list[str] = []
    for number, entry in enumerate(entries):
        if entry.name in chosen:
            entry.after = (chosen[entry.name],)
            awaited.discard(entry.name)
        elif awaited:
            before = entries[number - 1].name
            entry.after = (before,)
            ends = [name for name in ends if name != before]
        else:
            entry.after = [name for name in ends if name in places]
            entry.after_called = [name for name in ends if name not in places]
            ends = []
        is_decision = not entry.body.keys().isdisjoint(("decision_node", "conditions", "branches"))
        actions = dict.fromkeys(action for action, _ in actions_in(entry.body)) if is_decision else {}
        later = {action for action in actions if places.get(action, -1) > number}
        chosen |= dict.fromkeys(later, entry.name)
        awaited |= later
        ends += [action for action in actions if action not in places]
        if not later:
            ends.append(entry.name)


def _read_name(values: Values, body: dict[str, Any], key: str, path: Path) -> str | None:
    if key not in body:
        values.error("missing-name", "this task has no `name`", path, hint="add `name: …`; others refer to it by that")
        return None
    name = values.text(body[key], path, key)
    if name is None:
        return None
    if key == "name" and "decision_node" in body and body["decision_node"] != name:
        values.error(
            "key-twice",
            "`name` and `decision_node` both name this task, and differently",
            (*path, "decision_node"),
            hint="write one of them",
        )
    _check_name(values, name, (*path, key), key=False)
    return name


def _check_name(values: Values, name: str, path: Path, *, key: bool) -> None:
    """Report a bad name; the task is read all the same, or others would depend on nothing."""
    if name.isidentifier() and len(name) <= MAX_NAME:
        return
    fault = name_fault(name)
    if fault is not None:
        hint = "names have letters of any script, digits, `_`, `-` and spaces between them"
        values.error("bad-name", fault, path, key=key, hint=hint)


def _read_mapping(values: Values, tasks: dict[str, Any], path: Path) -> list[Entry]:
    if not tasks:
        values.error("no-tasks", "there is no task here", path, hint="add one: `name: {…}`")
    entries: list[Entry] = []
    for name, written in tasks.items():
        place = (*path, name)
        _check_name(values, name, place, key=True)
        body = {} if written is None else written
        if not isinstance(body, dict):
            values.error("wrong-kind", f"the task `{name}` must be a mapping, but it is {describe(body)}", place)
            continue
        for key in ("name", "decision_node"):
            if body.get(key, name) != name:
                values.error(
                    "key-twice", f"this task is called `{name}` already", (*place, key), hint=f"remove this `{key}`"
                )
        entries.append(Entry(name, body, place, place, name_is_key=True))
    return entries


def _refuse_repeats(values: Values, entries: list[Entry]) -> None:
    first: dict[str, Entry] = {}
    for entry in entries:
        earlier = first.setdefault(entry.name, entry)
        if earlier is not entry:
            line = values.document.line_of(earlier.name_path)
            values.error(
                "duplicate-name",
                f"the name `{entry.name}` is taken by the task on line {line}",
                entry.name_path,
                hint="rename one of them, and what depends on it",
            )

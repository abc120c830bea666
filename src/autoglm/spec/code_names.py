"""By what names the tasks of a workflow use code: functions by theirs, and files that count as code by their paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from autoglm.spec.calls import called, calls_of, key_of
from autoglm.spec.decisions import decision_actions
from autoglm.spec.model import Task, Workflow

_NO_CODE: Final = frozenset({"cwd", "stdin", "output", "handler", "workflow"})
"""Options that may name a file which is no code."""


def note_names(task: Task, functions: set[str], files: set[str]) -> None:
    """Add to ``functions`` and ``files`` what a task's own options may name: not all of it need be there.

    The functions that a decision calls are not among them: in a compiled graph they are tasks of their own.
    """
    options = task.options
    if task.type == "function":
        functions.add(str(options.get("handler", task.name)))
    for name, value in options.items():
        if name not in _NO_CODE and isinstance(value, str):
            files.add(value)


def names_of(task: Task, workflow: Workflow) -> tuple[set[str], set[str]]:
    """Return the functions and files that a task itself names, and those of the workflow files that it calls."""
    functions: set[str] = set()
    files: set[str] = set()
    _note_all((task,), functions, files)
    waiting = [] if (written := called(task)) is None else [key_of("", written)]
    seen = set(waiting)
    while waiting:
        key = waiting.pop()
        callee = workflow.callees.get(key)
        if callee is not None:
            _note_all(_with_inner(callee.all_tasks), functions, files)
            more = {key_of(key, each) for _, each in calls_of(callee.all_tasks)} - seen
            seen |= more
            waiting += more
    return functions, files


def _with_inner(tasks: tuple[Task, ...]) -> Iterator[Task]:
    for task in tasks:
        yield task
        yield from _with_inner(task.tasks)


def _note_all(tasks: Iterable[Task], functions: set[str], files: set[str]) -> None:
    for task in tasks:
        note_names(task, functions, files)
        if task.type == "decision":
            functions.update(action for action, _ in decision_actions(task))

"""Calls of other workflow files: which file a task means, and whether calls come to an end.

A file is known by its *key*: its path from the folder of the file that is run, with ``/`` and without ``.`` steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from autoglm.spec.decisions import decision_actions
from autoglm.spec.model import Outcome, Task, Workflow
from autoglm.spec.names import repeats


def called(task: Task) -> str | None:
    """Return the path of the workflow file that a task calls, as written; None when it calls none that can be told."""
    written = task.options.get("workflow") if task.type == "workflow" else None
    return written if isinstance(written, str) and written and "{{" not in written and "{%" not in written else None


def key_of(caller: str, written: str) -> str:
    """Return the key of the file that ``written`` means in the file with the key ``caller``."""
    if written.startswith("/"):
        return written
    steps: list[str] = []
    for step in [*caller.split("/")[:-1], *written.split("/")]:
        if step == ".." and steps and steps[-1] not in ("..", ""):
            steps.pop()
        elif step != "." and (step or not steps):
            steps.append(step)
    return "/".join(step for number, step in enumerate(steps) if step or number == 0)


def calls_of(tasks: tuple[Task, ...]) -> Iterator[tuple[Task, str]]:
    """Yield the tasks that call another file, those in groups too, each with the path that it gives."""
    for task in tasks:
        written = called(task)
        if written is not None:
            yield task, written
        yield from calls_of(task.tasks)


def callees_of(workflow: Workflow, key: str, workflows: Mapping[str, Workflow]) -> dict[str, Workflow]:
    """Return the workflows that the file with this key calls, by the path that it gives them."""
    found = {written: workflows.get(key_of(key, written)) for _, written in calls_of(workflow.all_tasks)}
    return {written: callee for written, callee in found.items() if callee is not None}


def endless_calls(workflows: Mapping[str, Workflow]) -> Iterator[tuple[str, Task, list[str]]]:
    """Yield each circle of calls that nothing on its way can end: the first file, its task, and the files in order."""
    calls = {
        key: [(task, key_of(key, written)) for task, written in _calls_in_any_case(workflow)]
        for key, workflow in workflows.items()
    }
    done: set[str] = set()
    for start in calls:
        way: list[tuple[str, Iterator[tuple[Task, str]]]] = [(start, iter(calls[start]))]
        entered: dict[str, Task] = {}
        while way:
            key, rest = way[-1]
            step = next(rest, None)
            if step is None:
                done.add(key)
                way.pop()
                continue
            task, callee = step
            entered[key] = task
            keys = [at for at, _ in way]
            if callee in keys:
                circle = keys[keys.index(callee) :]
                yield circle[0], entered[circle[0]], [*circle, circle[0]]
            elif callee in calls and callee not in done:
                way.append((callee, iter(calls[callee])))


def _calls_in_any_case(workflow: Workflow) -> Iterator[tuple[Task, str]]:
    """Yield the calls that are made whenever a workflow runs and nothing fails."""
    yield from _calls_among(workflow.tasks)
    yield from _calls_among(workflow.finally_)


def _calls_among(tasks: tuple[Task, ...]) -> Iterator[tuple[Task, str]]:
    for task in _sure_to_run(tasks):
        written = called(task)
        if written is not None:
            yield task, written
        if task.type == "group":
            yield from _calls_among(task.tasks)


def _sure_to_run(tasks: tuple[Task, ...]) -> Iterator[Task]:
    """Yield the tasks that run whenever none fails: nothing of their own may keep them back, nor what they wait for."""
    branches = {action for task in tasks if task.type == "decision" for action, _ in decision_actions(task)}
    missing = {task.name: len(task.depends_on) for task in tasks if _always_runs(task, branches)}
    waiting: dict[str, list[Task]] = {}
    for task in tasks:
        for name in task.depends_on if task.name in missing else ():
            waiting.setdefault(name, []).append(task)
    ready = deque(task for task in tasks if missing.get(task.name) == 0)
    while ready:
        task = ready.popleft()
        yield task
        for follower in waiting.get(task.name, ()):
            missing[follower.name] -= 1
            if not missing[follower.name]:
                ready.append(follower)


def _always_runs(task: Task, branches: set[str]) -> bool:
    """Return whether a task runs once all that it waits for has succeeded."""
    if task.when not in (None, True) or task.name in branches:
        return False
    loop = task.loop
    if loop is not None and not (isinstance(loop.over, list) and loop.over) and not (repeats(task) and not loop.while_):
        return False
    return all(accepts is None or Outcome.SUCCEEDED in accepts for accepts in task.depends_on.values())

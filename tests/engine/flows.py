"""Short ways to write workflows for the engine, and to ask a world how its tasks stand."""

from __future__ import annotations

from typing import Any

from autoglm.engine import messages as m
from autoglm.spec.model import Loop, Outcome, Task, Workflow

from .world import World


def task(name: str, after: str = "", **fields: Any) -> Task:
    """Return a task that runs after those named in ``after``: ``"a b"``, or ``"a:failed,skipped b"``."""
    depends_on: dict[str, tuple[Outcome, ...] | None] = {}
    for part in after.split():
        upstream, _, outcomes = part.partition(":")
        depends_on[upstream] = tuple(Outcome(outcome) for outcome in outcomes.split(",")) if outcomes else None
    return Task(**{"name": name, "type": "function", "executor": "inline", "depends_on": depends_on, **fields})


def group(name: str, *tasks: Task, after: str = "", **fields: Any) -> Task:
    return task(name, after, type="group", executor=None, tasks=tasks, **fields)


def approval(name: str, after: str = "", *, fields: dict[str, Any] | None = None, **options: Any) -> Task:
    """Return a task that waits for a person."""
    options = {"message": "is it good?", **options}
    return task(name, after, type="approval", executor=None, options=options, **(fields or {}))


def wait(name: str, after: str = "", *, fields: dict[str, Any] | None = None, **options: Any) -> Task:
    """Return a task that waits for a time or a signal; ``for`` is written ``seconds``."""
    if "seconds" in options:
        options["for"] = options.pop("seconds")
    return task(name, after, type="wait", executor=None, options=options, **(fields or {}))


def each(*items: Any, **fields: Any) -> Loop:
    return Loop(over=list(items), **fields)


def workflow(*tasks: Task, **fields: Any) -> Workflow:
    return Workflow(name="flow", tasks=tasks, **fields)


def status(world: World, task_id: str) -> str:
    """Return how a task stands; a finished item of a loop is told by the history."""
    found = world.run.find(task_id)
    return "pending" if found is None else str(found.status)


def statuses(world: World) -> dict[str, str]:
    """Return how the tasks of the root scope stand."""
    return {node.name: status(world, node.name) for node in world.graph.root.nodes}


def reason(world: World, task_id: str) -> str | None:
    found = world.run.find(task_id)
    return None if found is None else found.reason


def result(world: World, task_id: str) -> Any:
    found = world.run.find(task_id)
    assert found is not None
    return world.run.result_of(found)


def running(world: World) -> list[str]:
    """Return what runs, in the order it was started."""
    return [task_id for task_id, _ in world.running]


def arguments(world: World, task_id: str) -> Any:
    """Return what the running attempt of a task was given."""
    command = next(command for (name, _), command in world.running.items() if name == task_id)
    assert command is not None
    return command.arguments


def told(events: list[m.Event]) -> list[str]:
    """Return events as short words: ``AttemptFailed a``."""
    return [" ".join([type(event).__name__, *([event.task] if hasattr(event, "task") else [])]) for event in events]

"""What reopening a run would do again, and why: told before it is done. Pure; changes nothing.

It asks the same questions as :mod:`autoglm.engine.reopening`, in the same order, of a run that stands still.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

from autoglm.engine.reopening import Choice, Chosen, below, choose, keeps_parts, unfinished
from autoglm.engine.run_state import RunState
from autoglm.engine.state import Instance, Scope
from autoglm.engine.states import FAILURES, TaskStatus


class Why(StrEnum):
    """Why a task is done again."""

    ASKED = "asked"
    """It was named."""
    CHANGED = "changed"
    """Its definition, its code or what it reads has changed."""
    NEW = "new"
    """The changed file brings it."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOT_RUN = "not_run"
    """It never came to its turn."""
    BELOW = "below"
    """It hangs on one that is done again."""


class Again(msgspec.Struct, frozen=True):
    """A task that will be done again."""

    task: str
    why: Why
    because: str = ""
    """The upstream that is done again, the failure's message, or what has changed."""
    items: int | None = None
    """How many of a loop's items; None for all of it."""
    keeps: bool = False
    """What succeeded inside it is kept."""
    was: str = "pending"
    """How it had ended."""


def what_is_done_again(
    run: RunState, tasks: tuple[str, ...] = (), changes: Mapping[str, tuple[Why, str]] | None = None
) -> list[Again]:
    """Return what ``RunReopened(tasks)`` would do again, in the order of the file, outer ones first.

    ``changes`` are static paths whose tasks are new or have changed, with what to say of them.
    """
    changes = changes or {}
    chosen = choose(run.graph.root, [*tasks, *changes])
    return list(_of_scope(run.root, chosen, changes))


def _of_scope(scope: Scope, chosen: Chosen, changes: Mapping[str, tuple[Why, str]]) -> Iterator[Again]:
    again = below(scope.plan, [*unfinished(scope), *chosen])
    for local, node in enumerate(scope.plan.nodes):
        if local not in again:
            continue
        instance = scope.instances[local]
        choice = chosen.get(local)
        upstream = next((scope.plan.nodes[e.upstream].name for e in node.edges if e.upstream in again), None)
        why, because = _why(instance, choice, upstream, changes.get(node.path))
        keeps = instance is not None and keeps_parts(instance, choice, is_below=upstream is not None)
        items = None
        if keeps and instance is not None and instance.loop is not None:
            items = len(instance.loop.kept.keys() | (choice.items if choice is not None else set()))
        was = TaskStatus.PENDING if instance is None else instance.status
        yield Again(f"{scope.prefix}{node.name}", why, because, items, keeps, was.value)
        if keeps and instance is not None and instance.child is not None:
            yield from _of_scope(instance.child, choice.inner if choice is not None else {}, changes)


def _why(
    instance: Instance | None, choice: Choice | None, upstream: str | None, change: tuple[Why, str] | None
) -> tuple[Why, str]:
    if change is not None:
        return change
    if choice is not None and (choice.whole or choice.items):
        return Why.ASKED, ""
    if choice is not None:
        return Why.BELOW, "a task inside it"
    if instance is not None and instance.status in FAILURES:
        return Why.FAILED, instance.failure.message if instance.failure is not None else ""
    if instance is not None and instance.status is TaskStatus.CANCELLED:
        return Why.CANCELLED, ""
    if upstream is not None:
        return Why.BELOW, upstream
    return Why.NOT_RUN, ""

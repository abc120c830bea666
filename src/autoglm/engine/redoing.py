"""What reopening a run would do again, and why: told before it is done. Pure; changes nothing.

It asks the same questions as :mod:`autoglm.engine.reopening`, in the same order, of a run that stands still.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

from autoglm.engine.reopening import Choice, Chosen, below, choose, keeps_parts, must_go_again
from autoglm.engine.run_state import RunState
from autoglm.engine.state import Instance, Scope
from autoglm.engine.states import FAILURES, TaskStatus
from autoglm.graph.model import Graph, ScopePlan


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
    ROLLED_BACK = "rolled_back"
    NOT_RUN = "not_run"
    """It never came to its turn."""
    BELOW = "below"
    """It hangs on one that is done again."""
    INSIDE = "inside"
    """Something inside it is done again, and the rest of it kept."""


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


class AtEnd(msgspec.Struct, frozen=True):
    """A task of ``on_error`` or ``finally``: it runs, again or not, when the run comes to its end."""

    task: str
    if_failed: bool
    """Only when the run fails then."""
    was: str = "pending"
    """How it had ended."""


def what_runs_at_the_end(run: RunState, graph: Graph) -> list[AtEnd]:
    """Return the tasks of the sections of ``graph``, by which the run will go, in the order of the file."""
    found = []
    for name, plan in graph.sections.items():
        scope = run.sections.get(name)
        had = {each.node.name: each for each in scope.instances if each is not None} if scope is not None else {}
        for node in plan.nodes:
            was = had[node.name].status if node.name in had else TaskStatus.PENDING
            found.append(AtEnd(f"{name}.{node.name}", name == "on_error", was.value))
    return found


def what_is_done_again(
    run: RunState,
    tasks: tuple[str, ...] = (),
    changes: Mapping[str, tuple[Why, str]] | None = None,
    graph: Graph | None = None,
) -> list[Again]:
    """Return what will be done again, in the order of the file, outer ones first.

    Of a run that has ended: what ``RunReopened(tasks)`` would set back. Of one that has not: what has begun and is
    given up. ``changes`` are static paths whose tasks are new or have changed, with what to say of them; they are those
    of ``graph``, by which the run will go.
    """
    changes = changes or {}
    plan = (graph or run.graph).root
    chosen = choose(plan, [*tasks, *changes])
    return list(_of_scope(run.root, plan, chosen, changes, is_final=run.is_final))


def _of_scope(
    scope: Scope, plan: ScopePlan, chosen: Chosen, changes: Mapping[str, tuple[Why, str]], *, is_final: bool
) -> Iterator[Again]:
    known = {instance.node.name: instance for instance in scope.instances if instance is not None}
    instances = [known.get(node.name) for node in plan.nodes]
    seeds = [local for local, one in enumerate(instances) if _is_unfinished(one)] if is_final else []
    again = below(plan, [*seeds, *chosen])
    for local, node in enumerate(plan.nodes):
        instance, choice = instances[local], chosen.get(local)
        has_begun = instance is not None and instance.status is not TaskStatus.PENDING
        if local not in again or not (is_final or has_begun or node.path in changes):
            continue
        upstream = next((plan.nodes[e.upstream].name for e in node.edges if e.upstream in again), None)
        why, because = _why(instance, choice, upstream, changes.get(node.path))
        keeps = instance is not None and keeps_parts(instance, choice, is_below=upstream is not None)
        items = None
        if keeps and instance is not None and instance.loop is not None:
            items = len(instance.loop.kept.keys() | (choice.items if choice is not None else set()))
        was = TaskStatus.PENDING if instance is None else instance.status
        yield Again(f"{scope.prefix}{node.name}", why, because, items, keeps, was.value)
        if keeps and instance is not None and instance.child is not None and node.body is not None:
            inner = choice.inner if choice is not None else {}
            yield from _of_scope(instance.child, node.body, inner, changes, is_final=is_final)


def _is_unfinished(instance: Instance | None) -> bool:
    return instance is None or not instance.is_final or must_go_again(instance)


def _why(
    instance: Instance | None, choice: Choice | None, upstream: str | None, change: tuple[Why, str] | None
) -> tuple[Why, str]:
    if change is not None:
        return change
    if choice is not None and (choice.whole or choice.items):
        return Why.ASKED, ""
    if choice is not None:
        return Why.INSIDE, ""
    if instance is not None and instance.status in FAILURES:
        return Why.FAILED, instance.failure.message if instance.failure is not None else ""
    if instance is not None and instance.status is TaskStatus.CANCELLED:
        return Why.CANCELLED, ""
    if instance is not None and instance.status is TaskStatus.ROLLED_BACK:
        return Why.ROLLED_BACK, ""
    if upstream is not None:
        return Why.BELOW, upstream
    return Why.NOT_RUN, ""

"""The view of a run that is continued: what its journal already tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm.cli.measure import harmless
from autoglm.cli.rows import Active, Progress, TaskView
from autoglm.cli.view import Failed, RunView, static_path
from autoglm.engine.messages import SectionStarted
from autoglm.engine.states import TaskStatus

if TYPE_CHECKING:
    from autoglm.engine.machine import Run
    from autoglm.engine.state import Instance, Scope


def seed(view: RunView, run: Run) -> None:
    """Tell ``view`` what tasks ``run`` has, and how far a replayed one has come."""
    graph = run.graph
    view.most_attempts = {node.path: node.retry.max_attempts for node in graph.walk() if node.retry is not None}
    view.set_graph(graph.workflow)
    if run.created is not None:
        view.run_id, view.offline = run.created.run_id, run.created.offline
    view.status = run.status.value
    view.started_at = run.started_at
    view.usage = run.usage  # the same mapping, which grows
    view.ended_at = run.ended_at
    if run.started_at is not None:
        _seed_scope(view, run.root)
    for name, scope in run.sections.items():
        view.take(SectionStarted(name), run.started_at or 0.0)
        _seed_scope(view, scope)
    for task, call in run.ends.items():
        for name in call.child.end.done if call.child is not None and call.child.end is not None else ():
            view.take(SectionStarted(name, task), call.started_at or 0.0)


def _seed_scope(view: RunView, scope: Scope, *, of_item: bool = False) -> None:
    """Tell of the tasks in a scope; in that of an item, which stands beside others, of what is under way."""
    for instance in scope.instances:
        if instance is None or instance.number == 0:
            continue
        if of_item and (instance.is_final or instance.started_at is None):
            continue
        shown = view.tasks.get(static_path(instance.id))
        if shown is None:
            continue
        error = harmless(f"{instance.failure.code}: {instance.failure.message}") if instance.failure else ""
        view.place(shown, instance.status.value, instance.started_at, instance.ended_at, error or instance.reason or "")
        shown.upstream_failed = instance.upstream_failed
        _go_on(view, shown, instance)
        if instance.loop is not None:
            loop = instance.loop
            for item in loop.open.values():
                _go_on(view, shown, item)
                if item.child is not None:
                    _seed_scope(view, item.child, of_item=True)
            bad = sum(1 for item in loop.kept.values() if item.is_failure)
            shown.progress = Progress(loop.size, loop.ended, bad)
        elif instance.child is not None:
            _seed_scope(view, instance.child, of_item=of_item)
        if instance.failure is not None and instance.is_final and instance.is_failure and not instance.is_composite:
            view.tell(Failed(instance.id, instance.failure, instance.attempt))


def _go_on(view: RunView, shown: TaskView, instance: Instance) -> None:
    if instance.started_at is None or instance.is_composite or instance.node.opens_scope:
        return
    if instance.status in (TaskStatus.RUNNING, TaskStatus.RETRYING, TaskStatus.PAUSED):
        waits = harmless(instance.held.reason) if instance.held is not None else ""
        error = harmless(f"{instance.failure.code}: {instance.failure.message}") if instance.failure else ""
        question = None if instance.held is None else instance.held.question
        if question is not None and question.kind != "time":
            view.questions[instance.id] = question
        active = Active(instance.id, instance.started_at, instance.attempt, instance.due, error, waits=waits)
        active.before = instance.attempts_before
        view.go_on(shown, active)

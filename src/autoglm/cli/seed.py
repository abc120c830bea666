"""The view of a run that is continued: what its journal already tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm.cli.measure import harmless
from autoglm.cli.view import Failed, Progress, RunView, static_path

if TYPE_CHECKING:
    from autoglm.engine.machine import Run
    from autoglm.engine.state import Scope


def seed(view: RunView, run: Run) -> None:
    """Tell ``view`` what tasks ``run`` has, and how far a replayed one has come."""
    view.set_graph(run.graph.workflow)
    if run.created is not None:
        view.run_id, view.offline = run.created.run_id, run.created.offline
    view.status = run.status.value
    view.started_at = run.started_at
    view.ended_at = run.ended_at
    if run.started_at is not None:
        _seed_scope(view, run.root)


def _seed_scope(view: RunView, scope: Scope) -> None:
    for instance in scope.instances:
        if instance is None or instance.number == 0:
            continue
        shown = view.tasks.get(static_path(instance.id))
        if shown is None:
            continue
        error = harmless(f"{instance.failure.code}: {instance.failure.message}") if instance.failure else ""
        view.place(shown, instance.status.value, instance.started_at, instance.ended_at, error or instance.reason or "")
        shown.upstream_failed = instance.upstream_failed
        if instance.loop is not None:
            loop = instance.loop
            bad = sum(1 for item in loop.kept.values() if item.is_failure)
            shown.progress = Progress(loop.size, loop.ended, bad)
        elif instance.child is not None:
            _seed_scope(view, instance.child)
        if instance.failure is not None and instance.is_final and instance.is_failure and not instance.is_composite:
            view.tell(Failed(instance.id, instance.failure))

"""What of a run failed, what it failed by, and what may fail without failing more."""

from __future__ import annotations

from autoglm.engine.state import Instance, Scope
from autoglm.engine.states import FAILURES


def failed_part(instance: Instance) -> Instance | None:
    """Return the item or the task inside that something failed by; None when it failed by itself."""
    if instance.loop is not None:
        failed = [item for item in instance.loop.kept.values() if item.status in FAILURES]
        return next((item for item in failed if item.id == instance.loop.first_failure), next(iter(failed), None))
    end = None if instance.child is None else instance.child.end
    scopes = [instance.child, *(end.sections.values() if end is not None else ())]
    return next((part for scope in scopes if scope is not None and (part := first_failed_of(scope)) is not None), None)


def first_failed_of(scope: Scope) -> Instance | None:
    """Return the task whose failure is that of its scope; what was stopped because of that did not fail it."""
    tasks = (scope.instances[scope.plan.names[name]] for name in scope.failed)
    return next((task for task in tasks if task is not None and task.status in FAILURES), None)


def is_tolerated(instance: Instance) -> bool:
    """Return whether something failed, and what it lies in goes on or succeeded all the same."""
    for at in instance.path():
        around = [at] if at.index is None else [at, at.scope.instances[at.node.local]]
        for each in around:
            if each is not None and (each.node.tolerated or (each.is_final and not each.is_failure)):
                return True
    return False

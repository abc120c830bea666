"""What a retry of a run would do again, told before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autoglm.base.diagnostics import did_you_mean
from autoglm.base.errors import UsageError
from autoglm.engine.redoing import Again, what_is_done_again
from autoglm.engine.states import RUN_FINAL

if TYPE_CHECKING:
    from autoglm.app.session import Replayed, Session
    from autoglm.engine.machine import Run


@dataclass(frozen=True, slots=True)
class Correction:
    """What will be done again, and why."""

    run_id: str
    again: list[Again]
    kept: int
    """How many tasks of the file keep their results."""
    replayed: Replayed = field(repr=False)
    """The run that was asked, so that it need not be read a second time."""

    def as_dict(self) -> dict[str, Any]:
        """Return the document that ``retry --plan --json`` prints."""
        return {
            "run_id": self.run_id,
            "again": [
                {
                    "task": each.task,
                    "why": each.why.value,
                    "because": each.because,
                    "items": each.items,
                    "was": each.was,
                }
                for each in self.again
            ],
            "kept": self.kept,
        }


def plan_retry(session: Session, run_id: str, tasks: Sequence[str] = ()) -> Correction:
    """Return what ``session.retry(run_id, tasks=tasks)`` would do again; nothing is changed.

    Raises:
        UsageError: ``run-not-ended``, ``run-ended``, ``task-not-found``, ``item-not-kept``.
    """
    check_may_retry(session, run_id, asked=bool(tasks))
    replayed = session.replayed(run_id)
    check_tasks(replayed.run, tasks)
    again = what_is_done_again(replayed.run, tuple(tasks))
    names = {each.task for each in again}
    kept = sum(1 for node in replayed.run.graph.root.nodes if node.name not in names)
    return Correction(run_id, again, kept, replayed)


def check_may_retry(session: Session, run_id: str, *, asked: bool) -> None:
    """Refuse to retry a run that has not ended, or has succeeded unless ``asked`` for certain tasks."""
    row = session.store.get_run(run_id)
    if row.status not in RUN_FINAL:
        hint = f"`autoglm resume {run_id}` continues it"
        raise UsageError(f"run {run_id} has not ended: {row.status}", code="run-not-ended", hint=hint)
    if row.status == "succeeded" and not asked:
        hint = f"`autoglm retry {run_id} --from TASK` runs a task again, and what hangs on it"
        raise UsageError(f"run {run_id} succeeded: there is nothing to retry", code="run-ended", hint=hint)


def check_tasks(run: Run, tasks: Sequence[str]) -> None:
    """Check that ids and static paths mean tasks, and items that can be done again. Raises UsageError."""
    for task in tasks:
        _check_task(run, task)


def _check_task(run: Run, task: str) -> None:
    plan = run.graph.root
    where = ""
    for part in task.split("."):
        name, bracket, number = part.partition("[")
        local = plan.names.get(name)
        if local is None:
            close = did_you_mean(name, [node.name for node in plan.nodes])
            hint = f"did you mean `{where}{close}`?" if close else "`autoglm show` lists the tasks"
            raise UsageError(f"the run has no task {task!r}", code="task-not-found", hint=hint)
        node = plan.nodes[local]
        where = f"{where}{node.name}"
        if bracket:
            _check_item(run, task, where, number)
        if node.body is None:
            if where.count(".") != task.count("."):
                raise UsageError(f"`{where}` has no tasks inside it", code="task-not-found", hint=f"give `{where}`")
            return
        plan = node.body
        where += "."


def _check_item(run: Run, task: str, path: str, number: str) -> None:
    owner = run.find(path)
    loop = None if owner is None else owner.loop
    if loop is None or not number.endswith("]") or not number[:-1].isdecimal() or int(number[:-1]) >= loop.next:
        had = f"it had {loop.next:,} items" if loop is not None else f"`{path}` is no loop that has started"
        raise UsageError(f"the run has no task {task!r}", code="task-not-found", hint=had)
    if int(number[:-1]) in loop.kept:
        return
    why = None
    if loop.source is not None:
        why = "rows of a file are not kept once they are done"
    elif loop.plan is not None:
        why = "each iteration hangs on the one before it"
    if why is not None:
        message = f"{task!r} cannot be done again on its own: {why}"
        raise UsageError(message, code="item-not-kept", hint=f"`--from {path}` begins the whole loop anew")

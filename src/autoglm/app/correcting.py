"""What a resume or a retry of a run would do again, told before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from autoglm.app.definitions import Difference, difference, refuse_changed
from autoglm.base.diagnostics import did_you_mean
from autoglm.base.errors import UsageError
from autoglm.engine.adopting import can_adopt
from autoglm.engine.redoing import Again, AtEnd, Why, what_is_done_again, what_runs_at_the_end
from autoglm.engine.states import RUN_FINAL, RunStatus
from autoglm.runtime.owner import is_alive, this_process
from autoglm.spec.changes import Kind
from autoglm.stores.protocol import LeaseHeld

if TYPE_CHECKING:
    from autoglm.app.session import Replayed, Session
    from autoglm.engine.machine import Run
    from autoglm.graph.model import Graph


class File(StrEnum):
    """What to do when the workflow file is not what it was when the run was started."""

    REFUSE = "refuse"
    AS_RECORDED = "as_recorded"
    WITH_CHANGES = "with_changes"


@dataclass(frozen=True, slots=True)
class Correction:
    """What will be done again, and why."""

    run_id: str
    again: list[Again]
    kept: int
    """How many tasks of the file keep their results."""
    replayed: Replayed = field(repr=False)
    """The run that was asked, so that it need not be read a second time."""
    tasks: tuple[str, ...] = ()
    """The tasks that were named."""
    change: Difference | None = None
    """How today's file and code differ from the run's definition, when the run is to go on by them."""
    at_end: list[AtEnd] = field(default_factory=list)
    """What runs at the run's end, whether or not it had run before."""

    def as_dict(self) -> dict[str, Any]:
        """Return the document that ``--plan --json`` prints."""
        again = [
            {"task": each.task, "why": each.why.value, "because": each.because, "items": each.items, "was": each.was}
            for each in self.again
        ]
        at_end = [{"task": each.task, "if_failed": each.if_failed, "was": each.was} for each in self.at_end]
        document: dict[str, Any] = {"run_id": self.run_id, "again": again, "at_end": at_end, "kept": self.kept}
        if self.change is not None:
            document["changes"] = [
                {
                    "task": each.path,
                    "kind": each.kind.value,
                    "fields": list(each.fields),
                    "code": list(each.code),
                    "values": list(each.values),
                }
                for each in self.change.changes
            ]
            document["workflow"] = self.change.of_workflow
        return document


def plan_retry(session: Session, run_id: str, tasks: Sequence[str] = (), file: File = File.REFUSE) -> Correction:
    """Return what ``session.retry`` would do again; nothing is changed.

    Raises:
        UsageError: ``run-not-ended``, ``run-ended``, ``task-not-found``, ``item-not-kept``, ``workflow-changed``.
        SpecError: the changed file has errors.
    """
    row = session.store.get_run(run_id)
    if row.status not in RUN_FINAL:
        hint = f"`autoglm resume {run_id}` continues it"
        raise UsageError(f"run {run_id} has not ended: {row.status}", code="run-not-ended", hint=hint)
    if row.status == RunStatus.SUCCEEDED and not tasks and file is not File.WITH_CHANGES:
        hint = f"`autoglm retry {run_id} --from TASK` runs a task again, and what hangs on it"
        raise UsageError(f"run {run_id} succeeded: there is nothing to retry", code="run-ended", hint=hint)
    correction = _plan(session, run_id, tuple(tasks), file, "retry")
    if row.status == RunStatus.SUCCEEDED and not tasks and not correction.change:
        hint = f"`autoglm retry {run_id} --from TASK` runs a task again, and what hangs on it"
        raise UsageError(f"run {run_id} succeeded, and nothing has changed since", code="run-ended", hint=hint)
    return correction


def plan_resume(session: Session, run_id: str, file: File = File.REFUSE) -> Correction:
    """Return what ``session.resume`` would do again; nothing is changed.

    Raises:
        LeaseHeld: another process of this machine drives it.
        UsageError: ``run-ended``, ``workflow-changed``; or the run is being cancelled, and its file has changed.
        SpecError: the changed file has errors.
    """
    row = session.store.get_run(run_id)
    if row.status in RUN_FINAL:
        again = "with-changes` goes on by the changed file" if file is File.WITH_CHANGES else None
        hint = f"`autoglm retry {run_id} --{again}" if again else f"`autoglm retry {run_id}` runs again what failed"
        if row.status == RunStatus.SUCCEEDED and not again:
            hint = f"`autoglm retry {run_id} --from TASK` runs a task again, and what hangs on it"
        raise UsageError(f"run {run_id} has already ended: {row.status}", code="run-ended", hint=hint)
    owner = row.owner
    if owner is not None and row.lease_until is not None and owner != this_process() and is_alive(owner):
        raise LeaseHeld(run_id, owner, row.lease_until)  # whoever drives it has loaded its file: nothing is to be held
    if row.status == RunStatus.CANCELLING:
        file = File.AS_RECORDED
    return _plan(session, run_id, (), file, "resume")


def _plan(session: Session, run_id: str, tasks: tuple[str, ...], file: File, what: str) -> Correction:
    replayed = session.replayed(run_id)
    run = replayed.run
    if file is File.REFUSE:
        refuse_changed(session, run_id, run, what)
    if file is File.WITH_CHANGES and not can_adopt(run):
        message = (
            f"run {run_id} comes to its end, or undoes what a part of it did: it cannot take up a changed file now"
        )
        hint = (
            f"`autoglm resume {run_id} --as-recorded` lets it end; `autoglm retry {run_id} --with-changes` then goes on"
        )
        raise UsageError(message, code="workflow-changed", hint=hint)
    change = difference(session, run) if file is File.WITH_CHANGES else None
    graph = run.graph if change is None else change.loaded.graph
    check_tasks(run, tasks, graph)
    reasons = {}
    for path, each in change.redo.items() if change is not None else ():
        reasons[path] = (Why.NEW if each.kind is Kind.NEW else Why.CHANGED, str(each))
    goes_again = run.is_final or bool(change)
    again = what_is_done_again(run, tasks, reasons, graph) if goes_again else []
    at_end = what_runs_at_the_end(run, graph) if goes_again else []
    names = {each.task for each in again}
    is_kept = (node.name not in names and _has_ended(run, node.name) for node in graph.root.nodes)
    return Correction(run_id, again, sum(is_kept), replayed, tasks, change, at_end)


def _has_ended(run: Run, name: str) -> bool:
    found = run.find(name)
    return found is not None and found.is_final


def check_tasks(run: Run, tasks: Sequence[str], graph: Graph | None = None) -> None:
    """Check that ids and static paths mean tasks, and items that can be done again. Raises UsageError.

    ``graph`` is the one by which the run will go, when that is not its own.
    """
    for task in tasks:
        _check_task(run, task, run.graph if graph is None else graph)


def _check_task(run: Run, task: str, graph: Graph) -> None:
    plan = graph.root
    where = ""
    for part in task.split("."):
        name, bracket, number = part.partition("[")
        local = plan.names.get(name)
        if local is None:
            close = did_you_mean(name, [node.name for node in plan.nodes])
            listed = (
                "`autoglm show` lists the tasks" if graph is run.graph else "the file as it is now does not have it"
            )
            hint = f"did you mean `{where}{close}`?" if close else listed
            raise UsageError(f"the run has no task {task!r}", code="task-not-found", hint=hint)
        node = plan.nodes[local]
        where = f"{where}{node.name}"
        if bracket:
            _check_item(run, task, where, number)
        if node.callee is not None:  # what lies inside is not kept: the call is done again as one
            return
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

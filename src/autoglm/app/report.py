"""What a run came to, as plain data: the document of ``run --json``, and what the Python API's ``Run`` shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from autoglm.app.questions import OpenQuestion, open_questions
from autoglm.base.errors import Failure
from autoglm.engine.machine import Run
from autoglm.engine.state import UNREAD, Instance, result_text, stored_text
from autoglm.engine.states import RunStatus, TaskStatus

_SUCCEEDED = TaskStatus.SUCCEEDED


class TaskReport(msgspec.Struct, frozen=True, gc=False):
    """One task of the root scope. ``error`` is ``{code, message, hint}`` or None."""

    status: str
    attempts: int = 0
    text: bytes | None = None
    """JSON text of what it gave; None when it has not succeeded."""
    error: dict[str, Any] | None = None
    reason: str | None = None
    """Why it was skipped."""
    degraded: dict[str, Any] | None = None
    """What went wrong with a task that succeeded all the same, by what ``on_error`` gives instead."""
    _value: Any = UNREAD

    @property
    def result(self) -> Any:
        """What it gave, None when it has not succeeded: read when it is first asked for, as few of many are."""
        if self._value is UNREAD:
            msgspec.structs.force_setattr(self, "_value", None if self.text is None else msgspec.json.decode(self.text))
        return self._value

    def __repr__(self) -> str:
        return f"<{self.status} after {self.attempts} attempts: {self.error or self.reason or self.result!r}>"


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run as it stands; of a final one, what came of it."""

    run_id: str
    workflow: str
    status: str
    outputs: dict[str, Any] | None
    tasks: dict[str, TaskReport]
    usage: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    offline: bool = False
    paused: str = ""
    """Why it is paused, where that was said."""
    questions: tuple[OpenQuestion, ...] = ()
    """What it waits for, in the order in which it was asked."""

    @property
    def succeeded(self) -> bool:
        return self.status == RunStatus.SUCCEEDED

    def as_dict(self) -> dict[str, Any]:
        """Return the document that ``run --json`` prints."""
        document: dict[str, Any] = {
            "run_id": self.run_id,
            "workflow": self.workflow,
            "status": self.status,
            "outputs": self.outputs,
            "tasks": {
                name: {
                    "status": task.status,
                    "attempts": task.attempts,
                    "result": task.result,
                    "error": task.error,
                    **({"reason": task.reason} if task.reason else {}),
                    **({"degraded": task.degraded} if task.degraded else {}),
                }
                for name, task in self.tasks.items()
            },
            "usage": self.usage,
        }
        if self.error is not None:
            document["error"] = self.error
        if self.paused:
            document["paused"] = self.paused
        if self.questions:
            document["questions"] = [each.as_dict() for each in self.questions]
        if self.offline:
            document["offline"] = True
        return document


def report(run: Run) -> RunReport:
    """Return what a run in memory has come to."""
    created = run.created
    outputs = None if run.outputs is None else msgspec.json.decode(stored_text(run.outputs, run.load))
    return RunReport(
        run_id=created.run_id if created is not None else "",
        workflow=run.graph.workflow.name,
        status=run.status.value,
        outputs=outputs,
        tasks={
            **{node.name: _task(run, run.root.instances[node.local]) for node in run.graph.root.nodes},
            **{
                f"{scope.prefix}{node.name}": _task(run, scope.instances[node.local])
                for scope in run.sections.values()
                for node in scope.plan.nodes
            },
        },
        usage=dict(run.usage),
        error=None if run.failure is None else _error(run.failure),
        offline=created is not None and created.offline,
        paused=run.pause_reason if run.status is RunStatus.PAUSED else "",
        questions=open_questions(run),
    )


def _error(failure: Failure) -> dict[str, Any]:
    hint = {"hint": failure.hint} if failure.hint else {}
    return {"code": failure.code, "message": failure.message, **hint}


def _task(run: Run, instance: Instance | None) -> TaskReport:
    if instance is None:
        return TaskReport(TaskStatus.PENDING.value)
    status, failure, stored = instance.status, instance.failure, instance.result
    text = error = degraded = None
    if status is _SUCCEEDED:
        text = stored if type(stored) is bytes else result_text(instance, run.load)
    if failure is not None and status is _SUCCEEDED:
        degraded = {"code": failure.code, "message": failure.message}
    elif failure is not None:
        error = {"code": failure.code, "message": failure.message, "hint": failure.hint}
    return TaskReport(str(status), instance.attempt, text, error, instance.reason, degraded)

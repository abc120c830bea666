"""The ``expect`` of a case: what must hold when the run has ended."""

from __future__ import annotations

from typing import Any

from autoglm.engine.states import TaskStatus
from autoglm.spec.expressions import ExpressionError, compile_condition
from autoglm.spec.model import Path
from autoglm.spec.values import Values, one_of
from autoglm.testing.cases import UNSAID, Check, Expectation, TaskExpectation

RUN_STATUSES = ("succeeded", "failed", "cancelled", "paused")
_EXPECT = (
    "status", "error", "path", "order", "skipped", "tasks", "outputs", "outputs_include", "check",
)  # fmt: skip
_TASK = ("status", "attempts", "calls", "result", "result_includes", "error", "reason", "branches")
CHECK_NAMES = frozenset({"outputs", "tasks", "inputs", "run"})
"""What the expressions under ``check`` read."""


class Expectations:
    """Reads expectations of one file."""

    def __init__(self, values: Values) -> None:
        self.values = values

    def read(self, body: Any, path: Path) -> Expectation:
        """Return what stands under ``expect``; nothing at all expects that the run succeeds."""
        values, here = self.values, (*path, "expect")
        read = values.mapping(body, path, "expect") if body is not None else {}
        if not read:
            return Expectation(path=here if body is not None else path)
        values.check_keys(read, here, _EXPECT, "`expect`")
        status = self._one_of(read["status"], here, "status", RUN_STATUSES) if "status" in read else None
        if "outputs" in read and "outputs_include" in read:
            message = "`outputs` says all of them and `outputs_include` some: keep one"
            values.error("key-twice", message, (*here, "outputs_include"), key=True)
        return Expectation(
            status=status,
            error=values.filled_text(read["error"], here, "error") if "error" in read else None,
            path_taken=self._stages(read["path"], here, "path") if "path" in read else None,
            order=self._stages(read["order"], here, "order") if "order" in read else None,
            skipped=self._names(read["skipped"], here, "skipped") if "skipped" in read else None,
            tasks=self._tasks(read["tasks"], here) if "tasks" in read else {},
            outputs=read.get("outputs", UNSAID),
            outputs_include=read.get("outputs_include", UNSAID),
            checks=self._checks(read["check"], here) if "check" in read else (),
            path=here,
        )

    def _tasks(self, body: Any, path: Path) -> dict[str, TaskExpectation]:
        mapping = self.values.mapping(body, path, "tasks")
        return {task: self._task(fields, (*path, "tasks"), task) for task, fields in (mapping or {}).items()}

    def _task(self, body: Any, path: Path, task: str) -> TaskExpectation:
        values, here = self.values, (*path, task)
        statuses = [each.value for each in TaskStatus]
        if isinstance(body, str):
            return TaskExpectation(status=self._one_of(body, path, task, statuses), path=here)
        if not isinstance(body, dict) or not body:
            values.wrong(body, path, task, "a status, or a mapping of what it came to", f"it may have {one_of(_TASK)}")
            return TaskExpectation(path=here)
        values.check_keys(body, here, _TASK, "an expected task")
        return TaskExpectation(
            status=self._one_of(body["status"], here, "status", statuses) if "status" in body else None,
            attempts=values.integer(body["attempts"], here, "attempts", 0) if "attempts" in body else None,
            calls=values.integer(body["calls"], here, "calls", 0) if "calls" in body else None,
            result=body.get("result", UNSAID),
            result_includes=body.get("result_includes", UNSAID),
            error=values.filled_text(body["error"], here, "error") if "error" in body else None,
            reason=values.filled_text(body["reason"], here, "reason") if "reason" in body else None,
            branches=self._names(body["branches"], here, "branches") if "branches" in body else None,
            path=here,
        )

    def _one_of(self, value: Any, path: Path, key: str, choices: tuple[str, ...] | list[str]) -> str | None:
        if value in choices:
            return str(value)
        self.values.wrong(value, path, key, one_of(choices))
        return None

    def _names(self, value: Any, path: Path, key: str | int) -> tuple[str, ...] | None:
        if value is None or value == []:
            return ()
        return self.values.texts(value, path, key)

    def _stages(self, value: Any, path: Path, key: str) -> tuple[tuple[str, ...], ...] | None:
        """Return tasks in order: each entry a task, or a list of tasks whose order among them does not matter."""
        if isinstance(value, str):
            return ((value,),)
        if not isinstance(value, list):
            hint = "write `[first, [second, at the same time], third]`"
            self.values.wrong(value, path, key, "a list of tasks", hint)
            return None
        stages = [self._names(entry, (*path, key), index) for index, entry in enumerate(value)]
        return tuple(stage for stage in stages if stage is not None)

    def _checks(self, value: Any, path: Path) -> tuple[Check, ...]:
        written = (
            [(value, path, "check")]
            if not isinstance(value, list)
            else [(entry, (*path, "check"), index) for index, entry in enumerate(value)]
        )
        found = []
        for entry, at, key in written:
            source = self.values.filled_text(entry, at, key)
            if source is None:
                continue
            try:
                found.append(Check(source, compile_condition(source), (*at, key)))
            except ExpressionError as error:
                self.values.error(error.code, error.message, (*at, key), hint=error.hint)
        return tuple(found)

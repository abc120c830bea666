"""What does the work of a run that is tested: mocks where the case has them, else the real task types, watched."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

from autoglm.base.diagnostics import Diagnostic
from autoglm.base.errors import TaskError
from autoglm.executors.failures import as_task_error
from autoglm.graph.model import Node
from autoglm.spec.catalog import Catalog, TaskTypeInfo
from autoglm.spec.expressions import ExpressionError, Template
from autoglm.spec.model import Task
from autoglm.tasks.protocol import Attempt, TaskType
from autoglm.testing.cases import Mock, Outcome, Per
from autoglm.testing.clock import VirtualClock
from autoglm.testing.naming import static


class StandIns:
    """Casts the nodes of one run. ``clock`` is None where real time passes."""

    def __init__(self, mocks: Mapping[str, Mock], clock: VirtualClock | None) -> None:
        self.mocks = mocks
        self.clock = clock
        self.calls: Counter[str] = Counter()
        """How often each task's work was begun, by its static path."""

    def cast(self, node: Node, real: Callable[[str], TaskType]) -> TaskType:
        """Return who does the work of ``node``: each time its mock, or the real thing."""
        return _Cast(self, partial(real, node.task.type))


class _Cast:
    """A task type that only runs: checks were made before. A node of a called file serves every call of it."""

    info = TaskTypeInfo("stand-in")

    def __init__(self, stand_ins: StandIns, real: Callable[[], TaskType]) -> None:
        self._stand_ins = stand_ins
        self._real = real

    def check(self, task: Task, catalog: Catalog) -> Iterable[Diagnostic | tuple[tuple[str | int, ...], Diagnostic]]:
        return ()

    async def close(self) -> None:
        """There is nothing to give back."""

    async def run(self, attempt: Attempt) -> Any:
        """Do what the mock says; without one, the work, while which the clock is not moved on."""
        clock, path = self._stand_ins.clock, static(attempt.context.task_id)
        self._stand_ins.calls[path] += 1
        mock = self._stand_ins.mocks.get(path)
        with nullcontext() if clock is None else clock.working(real=mock is None):
            if mock is None:
                return await self._real().run(attempt)
            return await _Mocked(path, mock, clock).run(attempt, self._stand_ins.calls[path])


class _Mocked:
    """One call of a mocked task."""

    def __init__(self, path: str, mock: Mock, clock: VirtualClock | None) -> None:
        self.path = path
        self._mock = mock
        self._clock = clock

    async def run(self, attempt: Attempt, call: int) -> Any:
        outcome = self._outcome(attempt, call)
        if outcome.delay:
            await (asyncio.sleep(outcome.delay) if self._clock is None else self._clock.sleep(outcome.delay))
        if outcome.error is not None:
            raise _again(outcome.error)
        if outcome.function is not None:
            return await _called(outcome.function, attempt)
        return None if outcome.value is None else _evaluated(outcome.value, attempt)

    def _outcome(self, attempt: Attempt, call: int) -> Outcome:
        mock = self._mock
        if mock.per is Per.ATTEMPT:
            number = attempt.context.attempt - 1
        else:
            number = call - 1 if mock.per is Per.CALL else attempt.loops.get("index", 0)
        if number < len(mock.sequence):
            return mock.sequence[number]
        if mock.always is not None:
            return mock.always
        count, shown = len(mock.sequence), number if mock.per is Per.ITEM else number + 1
        raise TaskError(
            f"the mock of `{self.path}` has {count} outcome{'s' * (count != 1)}, and this is {mock.per} {shown}",
            code="mock-exhausted",
            retryable=False,
            hint="add outcomes to its `sequence`, or a `value` beside it for all that follow",
        )


async def _called(function: Callable[..., Any], attempt: Attempt) -> Any:
    try:
        found = function(**attempt.arguments)
        return await found if inspect.isawaitable(found) else found
    except Exception as error:  # noqa: BLE001  # a failure, as of any handler
        raise as_task_error(error) from None


def _evaluated(template: Template, attempt: Attempt) -> Any:
    names: dict[str, Any] = {
        **attempt.loops,
        "item": attempt.item,
        "arguments": attempt.arguments,
        "inputs": attempt.inputs,
        "attempt": attempt.context.attempt,
    }
    try:
        return template.evaluate(names.__getitem__)
    except ExpressionError as error:
        message = f"the value of its mock cannot be made: {error.message}"
        raise TaskError(message, code=error.code, retryable=False, hint=error.hint) from None


def _again(error: TaskError) -> TaskError:
    """Return the same error as one that has not been raised yet."""
    return TaskError(
        error.message,
        code=error.code,
        retryable=error.retryable,
        classes=error.classes,
        hint=error.hint,
        details=error.details,
    )

"""What does the work of a run that is tested: mocks where the case has them, else the real task types, watched."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
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


class StandIns:
    """Casts the nodes of one run. ``clock`` is None where real time passes."""

    def __init__(self, mocks: Mapping[str, Mock], clock: VirtualClock | None) -> None:
        self.calls: Counter[str] = Counter()
        """How often each node's work was begun, by its static path."""
        self._mocks = mocks
        self._clock = clock

    def cast(self, node: Node, real: Callable[[str], TaskType]) -> TaskType:
        """Return who does the work of ``node``."""
        mock = self._mocks.get(node.path)
        if mock is not None:
            return _Mocked(node.path, mock, self.calls, self._clock)
        return _Watched(node.path, real(node.task.type), self.calls, self._clock)


class _Cast:
    """A task type that only runs: checks were made before."""

    info = TaskTypeInfo("stand-in")

    def __init__(self, path: str, calls: Counter[str], clock: VirtualClock | None) -> None:
        self.path = path
        self.calls = calls
        self.clock = clock

    def check(self, task: Task, catalog: Catalog) -> Iterable[Diagnostic | tuple[tuple[str | int, ...], Diagnostic]]:
        return ()

    async def close(self) -> None:
        """There is nothing to give back."""

    async def _sleep(self, seconds: float) -> None:
        await (asyncio.sleep(seconds) if self.clock is None else self.clock.sleep(seconds))


class _Watched(_Cast):
    """The real thing; while it works, the clock is not moved on."""

    def __init__(self, path: str, real: TaskType, calls: Counter[str], clock: VirtualClock | None) -> None:
        super().__init__(path, calls, clock)
        self._real = real

    async def run(self, attempt: Attempt) -> Any:
        self.calls[self.path] += 1
        with nullcontext() if self.clock is None else self.clock.working(real=True):
            return await self._real.run(attempt)


class _Mocked(_Cast):
    def __init__(self, path: str, mock: Mock, calls: Counter[str], clock: VirtualClock | None) -> None:
        super().__init__(path, calls, clock)
        self._mock = mock

    async def run(self, attempt: Attempt) -> Any:
        self.calls[self.path] += 1
        call = self.calls[self.path]
        with nullcontext() if self.clock is None else self.clock.working(real=False):
            outcome = self._outcome(attempt, call)
            if outcome.delay:
                await self._sleep(outcome.delay)
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

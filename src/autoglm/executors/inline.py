"""Async functions on the event loop: nothing between the handler and its result.

Rules:

1. A coroutine runs in the task that awaits :meth:`InlineExecutor.run`, from its first step to its last: context
   variables, timeouts and task groups of the author's behave as everywhere.
2. A coroutine that never waits costs one ``send``. One that waits is driven by :func:`_drive`, which looks on.
3. Told to stop, a coroutine has :attr:`InlineExecutor.grace` seconds to end in whatever way it likes. Then it is moved
   to a task of its own and given up as :class:`Abandoned`.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Generator
from collections.abc import Coroutine as AnyCoroutine
from typing import Any

from autoglm.base.errors import TaskError
from autoglm.executors.failures import as_task_error
from autoglm.executors.forks import end_if_forked
from autoglm.executors.protocol import Abandoned, Coroutine, LogSink, Work


class InlineExecutor:
    """Runs async functions where we run ourselves. A function that blocks, blocks everything: see ``thread``."""

    name = "inline"

    def __init__(self, grace: float = 2.0) -> None:
        self.grace = grace
        self._abandoned: set[asyncio.Task[Any]] = set()

    async def run(self, work: Work, log: LogSink) -> Any:
        """Await the function. A failure is what it raised; what would end the process is a TaskError."""
        if type(work) is not Coroutine:
            raise TaskError(
                "only async functions run on the event loop",
                code="wrong-executor",
                retryable=False,
                hint="use `executor: thread` for a plain function and `executor: subprocess` for a program",
            )
        alarm: _Alarm | None = None
        try:
            coroutine = work.function(**work.arguments)
            if type(coroutine) is not types.CoroutineType:
                coroutine = _await(coroutine)
            try:
                waiting_for = coroutine.send(None)
            except StopIteration as returned:
                end_if_forked()
                return returned.value
            alarm = _Alarm(self.grace, self._abandoned)
            return await _drive(coroutine, waiting_for, alarm)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise as_task_error(error) from error
        except Exception:
            end_if_forked()
            raise
        except BaseException as error:
            end_if_forked()
            if alarm is not None and alarm.is_moot:
                raise
            raise as_task_error(error) from error

    async def close(self) -> None:
        """Push once more whatever was abandoned, and do not wait for it longer than the grace."""
        for task in self._abandoned:
            task.cancel()
        if self._abandoned:
            await asyncio.wait(self._abandoned, timeout=self.grace)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@types.coroutine
def _drive(coroutine: AnyCoroutine[Any, Any, Any], waiting_for: Any, alarm: _Alarm | None) -> Generator[Any, Any, Any]:
    """Pass on between a coroutine and the event loop until it returns, or outstays the alarm's grace."""
    try:
        while True:
            try:
                value = yield waiting_for
            except GeneratorExit:
                if alarm is not None:
                    alarm.is_moot = True
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - all of them belong to the coroutine
                if alarm is not None and isinstance(error, asyncio.CancelledError):
                    if alarm.rang:
                        raise alarm.abandon(coroutine, error) from None
                    alarm.set()
                waiting_for = coroutine.throw(error)
            else:
                waiting_for = coroutine.send(value)
    except StopIteration as returned:
        return returned.value
    finally:
        if alarm is not None:
            alarm.stop()


class _Alarm:
    """Wakes a coroutine that was told to stop, once its grace is over, by cancelling its task again."""

    __slots__ = ("_abandoned", "_grace", "_task", "_timer", "is_moot", "rang")

    def __init__(self, grace: float, abandoned: set[asyncio.Task[Any]]) -> None:
        self.rang = False
        self.is_moot = False
        """Our own coroutine is being closed, as when an event loop goes down."""
        self._grace = grace
        self._abandoned = abandoned
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self) -> None:
        """Begin the grace, if the task is being cancelled as a whole and not only something that it awaits."""
        task = asyncio.current_task()
        if self._timer is None and task is not None and task.cancelling():
            self._task = task
            self._timer = asyncio.get_running_loop().call_later(self._grace, self._ring)

    def _ring(self) -> None:
        self._timer = None
        # A timeout of the author's cancels the task too, and takes that back: then nobody wants it to stop any more.
        if self._task is not None and self._task.cancelling():
            self.rang = True
            self._task.cancel()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.rang and self._task is not None:
            self._task.uncancel()

    def abandon(self, coroutine: AnyCoroutine[Any, Any, Any], error: asyncio.CancelledError) -> Abandoned:
        """Move the coroutine, which is now cancelled for the second time, to a task of its own."""
        late = asyncio.get_running_loop().create_task(_go_on(coroutine, error), name="abandoned")
        self._abandoned.add(late)
        late.add_done_callback(self._abandoned.discard)
        late.add_done_callback(_look_at)
        return Abandoned(f"the function did not stop within {self._grace:g} s of being told to", late)


async def _go_on(coroutine: AnyCoroutine[Any, Any, Any], error: asyncio.CancelledError) -> Any:
    try:
        try:
            waiting_for = coroutine.throw(error)
        except StopIteration as returned:
            return returned.value
        return await _drive(coroutine, waiting_for, None)
    except (SystemExit, KeyboardInterrupt) as exit_:
        raise as_task_error(exit_) from exit_


def _look_at(task: asyncio.Task[Any]) -> None:
    """Take note of how an abandoned task ended, so that asyncio does not complain that nobody did."""
    if not task.cancelled():
        task.exception()

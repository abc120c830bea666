"""Async functions on the loop: what happens when they do not want to stop."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from autoglm.executors.inline import InlineExecutor
from autoglm.executors.protocol import Abandoned, Coroutine, LogSink


def log(stream: str, line: str) -> None:
    raise AssertionError("nothing is logged here")


SINK: LogSink = log


async def start(executor: InlineExecutor, function: Any) -> asyncio.Task[Any]:
    running = asyncio.create_task(executor.run(Coroutine(function), SINK))
    await asyncio.sleep(0)
    return running


def test_a_function_that_swallows_the_cancellation_is_abandoned_and_told_of() -> None:
    async def main() -> None:
        executor, told = InlineExecutor(grace=0.01), []
        release = asyncio.Event()

        async def stubborn() -> str:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    told.append(asyncio.current_task())
            return "late"

        running = await start(executor, stubborn)
        running.cancel()
        with pytest.raises(Abandoned) as caught:
            await running
        release.set()
        assert caught.value.late is not None
        assert await caught.value.late == "late"
        assert len(told) == 2
        assert told[0] is running
        await executor.close()

    asyncio.run(main())


def test_a_function_may_clean_up_within_the_grace_in_its_own_task() -> None:
    async def main() -> None:
        executor, tasks = InlineExecutor(grace=30), []

        async def tidy() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                async with asyncio.timeout(10):
                    await asyncio.sleep(0)
                tasks.append(asyncio.current_task())

        running = await start(executor, tidy)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert tasks == [running]

    asyncio.run(main())


def test_a_timeout_of_the_authors_is_no_order_to_stop() -> None:
    async def main() -> str:
        executor = InlineExecutor(grace=0.01)

        async def patient() -> str:
            try:
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            except TimeoutError:
                await asyncio.sleep(0.05)  # longer than the grace
            return "done"

        return await executor.run(Coroutine(patient), SINK)

    assert asyncio.run(main()) == "done"


def test_task_groups_and_context_variables_are_those_of_the_caller() -> None:
    async def main() -> None:
        seen = contextvars.ContextVar("seen", default="nothing")
        seen.set("outside")

        async def inside() -> str:
            async with asyncio.TaskGroup() as group:
                child = group.create_task(asyncio.sleep(0, seen.get()))
            return child.result()

        assert await InlineExecutor().run(Coroutine(inside), SINK) == "outside"

    asyncio.run(main())


def test_anything_awaitable_may_be_returned() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def future() -> asyncio.Future[int]:
            made = loop.create_future()
            loop.call_soon(made.set_result, 3)
            return made

        assert await InlineExecutor().run(Coroutine(future), SINK) == 3

    asyncio.run(main())


def test_a_cancelled_inner_task_is_a_failure_of_the_function() -> None:
    async def main() -> str:
        async def awaits_a_cancelled_task() -> None:
            inner = asyncio.create_task(asyncio.Event().wait())
            asyncio.get_running_loop().call_soon(inner.cancel)
            await inner

        with pytest.raises(Exception, match="not by the run") as caught:
            await InlineExecutor().run(Coroutine(awaits_a_cancelled_task), SINK)
        return caught.value.code

    assert asyncio.run(main()) == "handler-cancelled"


def test_close_pushes_abandoned_work_once_more() -> None:
    async def main() -> None:
        executor, pushes = InlineExecutor(grace=0.01), []

        async def gives_in_at_last() -> None:
            while len(pushes) < 3:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    pushes.append(1)
            raise asyncio.CancelledError

        running = await start(executor, gives_in_at_last)
        running.cancel()
        with pytest.raises(Abandoned):
            await running
        await asyncio.sleep(0)
        await executor.close()
        assert len(pushes) == 3

    asyncio.run(main())

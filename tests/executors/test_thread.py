"""Threads: the limit, abandoned ones, and work that has not begun."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading

import pytest

from autoglm.executors.protocol import Abandoned, Call
from autoglm.executors.thread import ThreadExecutor


def log(stream: str, line: str) -> None:
    raise AssertionError("nothing is logged here")


def test_work_that_still_waits_for_a_thread_is_really_cancelled() -> None:
    async def main() -> None:
        executor, begun, release, ran = ThreadExecutor(limit=1), threading.Event(), threading.Event(), []

        def hold() -> None:
            begun.set()
            release.wait()

        holding = asyncio.create_task(executor.run(Call(hold), log))
        await asyncio.to_thread(begun.wait)
        waiting = asyncio.create_task(executor.run(Call(lambda: ran.append(1)), log))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        release.set()
        await holding
        assert await executor.run(Call(lambda: "next"), log) == "next"
        assert ran == []
        await executor.close()

    asyncio.run(main())


def test_abandoned_threads_do_not_count_against_the_limit() -> None:
    async def main() -> None:
        executor, release = ThreadExecutor(limit=1), threading.Event()
        lates = []
        for _ in range(3):
            begun = threading.Event()

            def hold(begun: threading.Event = begun) -> str:
                begun.set()
                release.wait()
                return "late"

            running = asyncio.create_task(executor.run(Call(hold), log))
            await asyncio.to_thread(begun.wait)
            running.cancel()
            with pytest.raises(Abandoned) as caught:
                await running
            lates.append(caught.value.late)
        assert await executor.run(Call(threading.active_count), log) >= 4
        release.set()
        assert [await late for late in lates if late is not None] == ["late"] * 3
        await executor.close()

    asyncio.run(main())


def test_context_variables_are_copied() -> None:
    variable = contextvars.ContextVar("variable", default="nothing")

    async def main() -> str:
        variable.set("outside")
        executor = ThreadExecutor()
        try:
            return await executor.run(Call(variable.get), log)
        finally:
            await executor.close()

    assert asyncio.run(main()) == "outside"


def test_a_function_that_never_returns_does_not_keep_the_process_alive() -> None:
    script = """
import asyncio, threading
from autoglm.executors.protocol import Abandoned, Call
from autoglm.executors.thread import ThreadExecutor
begun = threading.Event()
def never():
    begun.set()
    threading.Event().wait()
async def main():
    executor = ThreadExecutor()
    running = asyncio.create_task(executor.run(Call(never), print))
    await asyncio.to_thread(begun.wait)
    running.cancel()
    try:
        await running
    except Abandoned:
        print("abandoned")
    await executor.close()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("abandoned\n", "")

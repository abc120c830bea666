"""One bridge from code that is not async: run something on an event loop of its own, and always come back.

``asyncio.run`` waits at its end for every task and every thread that was left behind, however long they take. Handlers
leave such things behind: here they get a moment to end, and then no more attention.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from autoglm.base.errors import TaskError
from autoglm.runtime.collector import eased

T = TypeVar("T")

_GRACE = 1.0
"""Seconds that tasks get which are told to stop because everything is over."""


class _Threads(ThreadPoolExecutor):
    """The loop's own threads; what a handler does there must not keep the loop from closing."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=cancel_futures)


def run_to_end(main: Callable[[], Awaitable[T]]) -> T:
    """Return what ``main`` gives, awaited on a new event loop. Raises TaskError ``run-broken-off`` if one stops it."""
    try:
        with eased(), asyncio.Runner() as runner:
            return runner.run(_main(main))
    except RuntimeError as error:
        if "Event loop stopped" not in str(error):
            raise
        raise broken_off("stopped the event loop") from None


def broken_off(what: str) -> TaskError:
    """Return the error for a run whose driver was tampered with: ``what`` a function of a task did."""
    return TaskError(
        f"the run was broken off: a function of a task {what}",
        code="run-broken-off",
        hint="run it with `executor: process`, where it has a process to itself",
    )


async def _main(main: Callable[[], Awaitable[T]]) -> T:
    asyncio.get_running_loop().set_default_executor(_Threads(thread_name_prefix="autoglm-io"))
    try:
        return await main()
    finally:
        await _stop_the_rest()


async def _stop_the_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    if rest:
        _, stubborn = await asyncio.wait(rest, timeout=_GRACE)
        for task in stubborn:  # the documented way for a loop to forget a task: closing it would wait for ever
            asyncio._unregister_task(task)
            task._log_destroy_pending = False  # type: ignore[attr-defined]

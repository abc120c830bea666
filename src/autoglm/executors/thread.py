"""Plain functions in threads.

Rules:

1. A thread cannot be stopped. Work that runs when it is told to stop is :class:`Abandoned` at once; work that still
   waits for a thread is really cancelled.
2. The threads are daemons: a function that never returns does not keep the process from ending.
3. An abandoned thread does not count against the limit, or a few of them would bring everything to a halt.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

from autoglm.base.errors import TaskError
from autoglm.executors.failures import as_task_error
from autoglm.executors.forks import end_if_forked
from autoglm.executors.protocol import Abandoned, Call, LogSink, Work


class ThreadExecutor:
    """Runs plain functions, up to ``limit`` at a time, each with a copy of the caller's context variables."""

    name = "thread"

    def __init__(self, limit: int = 64) -> None:
        self._pool = DaemonThreads(limit)

    async def run(self, work: Work, log: LogSink) -> Any:
        """Call the function in a thread. A failure is what it raised; what would end the process is a TaskError."""
        if type(work) is not Call:
            raise TaskError(
                "only plain functions run in threads",
                code="wrong-executor",
                retryable=False,
                hint="use `executor: inline` for an async function and `executor: subprocess` for a program",
            )
        return await self._pool.call(work.function, work.arguments)

    async def close(self) -> None:
        """Let idle threads end. Those that still work end with their work, or with the process."""
        self._pool.close()


class DaemonThreads:
    """A small pool of daemon threads, started as they are needed and kept until closed."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._free = 0
        """Threads without work, less the jobs in the queue; negative when jobs wait."""
        self._closed = False
        self._numbers = itertools.count(1)

    async def call(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        """Return ``function(**arguments)``. Raises Abandoned when it is cancelled while it runs."""
        job = _Job(function, arguments)
        self._submit(job)
        try:
            await job.done
        except asyncio.CancelledError:
            if self._withdraw(job):
                raise
            late = job.deliver_late()
            raise Abandoned("a thread cannot be stopped: the function may still be running", late) from None
        return job.outcome()

    def close(self) -> None:
        """Tell all threads to end once they are free. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for _ in range(self._threads):
                    self._jobs.put(None)

    def _submit(self, job: _Job) -> None:
        with self._lock:
            self._closed = False
            self._free -= 1
            self._jobs.put(job)
            self._fill()

    def _withdraw(self, job: _Job) -> bool:
        """Take a job back; False when it runs already, and its thread no longer counts."""
        with self._lock:
            if not job.started:
                job.withdrawn = True
                return True
            if not job.ended:
                job.abandoned = True
                self._threads -= 1
                self._fill()
            return False

    def _fill(self) -> None:
        """Start a thread when a job waits for one and the limit allows it; the lock is held."""
        if self._free < 0 and self._threads < self.limit:
            thread = threading.Thread(target=self._work, name=f"autoglm-{next(self._numbers)}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system gives no more: whoever is there works the queue off
                if self._threads == 0:
                    hint = "lower `max_parallel`, or raise the system's limit (`ulimit -u`)"
                    raise TaskError(f"no thread can be started: {error}", code="no-thread", hint=hint) from None
                return
            self._threads += 1
            self._free += 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            with self._lock:
                job.started = not job.withdrawn
            if job.started:
                job.run()
            with self._lock:
                job.ended = True
                abandoned = job.abandoned
                self._free += not abandoned
            if job.started:
                job.deliver()
            del job  # an idle thread keeps nothing of the author's alive
            if abandoned:
                return  # another thread has taken this one's place
        with self._lock:
            self._threads -= 1
            self._free -= 1
            self._fill()


class _Job:
    """One call, and where its outcome goes."""

    def __init__(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        self.started = self.withdrawn = self.ended = self.abandoned = False
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._late: asyncio.Future[Any] | None = None
        self._function = function
        self._arguments = arguments
        self._context = contextvars.copy_context()
        self._delivered = False
        self._value: Any = None
        self._error: Exception | None = None

    def run(self) -> None:
        """Call the function; in its thread."""
        try:
            self._value = self._context.run(self._function, **self._arguments)
        except StopIteration as error:
            self._error = as_task_error(error)  # no coroutine can pass that one on
        except Exception as error:  # noqa: BLE001 - it is handed on to whoever waits
            self._error = error
        except BaseException as error:  # noqa: BLE001 - likewise: SystemExit and the like end no thread of ours
            self._error = as_task_error(error)
        end_if_forked()

    def deliver(self) -> None:
        """Wake whoever waits; in the function's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._arrive)

    def deliver_late(self) -> asyncio.Future[Any]:
        """Return a future of the outcome of an abandoned call."""
        self._late = self._loop.create_future()
        if self._delivered:
            self._arrive()
        return self._late

    def outcome(self) -> Any:
        """Return what the function returned, or raise what it raised."""
        if self._error is None:
            return self._value
        try:
            raise self._error
        finally:
            self._error = None  # else error and frame would hold each other

    def _arrive(self) -> None:
        self._delivered = True
        if not self.done.done():
            self.done.set_result(None)
        if self._late is None or self._late.done():
            return
        if self._error is None:
            self._late.set_result(self._value)
        else:
            self._late.set_exception(self._error)
            self._late.exception()  # asyncio need not complain when nobody asks

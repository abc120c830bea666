"""Functions in processes of their own: the place for a timeout that must be hard.

Rules:

1. A worker runs one function at a time and is used again. Told to stop, it is killed with all its children.
2. Only JSON crosses: a reference to the function, its arguments, its result.
3. A worker that dies takes nothing with it but the attempt it was running.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from typing import Any

import msgspec

from autoglm.base.errors import Failure, TaskError
from autoglm.base.jsonvalue import NotJson, encode
from autoglm.executors.children import Child, PipeReader
from autoglm.executors.guard import Guard
from autoglm.executors.lines import LineSplitter, LogBudget
from autoglm.executors.protocol import Call, LogSink, Work

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from autoglm.executors._worker_child import serve; serve(int(sys.argv[2]))"
)


class ProcessExecutor:
    """Runs plain or async functions by reference, each in a worker process."""

    name = "process"

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit or os.cpu_count() or 1
        self._guard = Guard()
        self._idle: list[_Worker] = []
        self._running: set[asyncio.Task[object]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(self.limit)

    async def run(self, work: Work, log: LogSink) -> Any:
        """Run the function in a worker. Raises TaskError for all that goes wrong there."""
        request = _request(work)
        self._move_in()
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            async with self._slots:
                worker = await self._get_worker()
                try:
                    value = await worker.call(request, log)
                except TaskError:
                    await self._give_back(worker)
                    raise
                except BaseException:
                    await worker.end()
                    raise
                await self._give_back(worker)
                return value
        finally:
            self._running.discard(task)

    async def close(self) -> None:
        """Kill all workers. Idempotent."""
        while self._running:
            running = list(self._running)
            for task in running:
                task.cancel()
            await asyncio.wait(running)
        while self._idle:
            self._idle.pop().discard()
        self._guard.close()

    def _move_in(self) -> None:
        """Begin afresh on another event loop: workers and slots belong to the one they were made on."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._slots = asyncio.Semaphore(self.limit)
            self._idle, old = [], self._idle
            for worker in old:
                worker.discard()

    async def _get_worker(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if not worker.child.has_ended:
                return worker
            await worker.end()
        return _Worker(self._guard)

    async def _give_back(self, worker: _Worker) -> None:
        if worker.child.has_ended:
            await worker.end()
        else:
            self._idle.append(worker)


class _Worker:
    """A worker process and the socket to it."""

    def __init__(self, guard: Guard) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            argv = [sys.executable, "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno())]
            try:
                self.child = Child(argv, env=os.environ, guard=guard, pass_fds=[theirs.fileno()])
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self._socket = ours

    async def call(self, request: bytes, log: LogSink) -> Any:
        """Have one request answered, its output going to ``log``."""
        answer = _Answer(self.child, log)
        budget = LogBudget(log)
        stdout, stderr = LineSplitter("stdout", budget), LineSplitter("stderr", budget)
        readers = [
            PipeReader(self._socket.fileno(), answer.feed, at_end=answer.fail),
            PipeReader(self.child.stdout.fileno(), stdout.feed),
            PipeReader(self.child.stderr.fileno(), stderr.feed),
        ]
        try:
            try:
                await asyncio.get_running_loop().sock_sendall(self._socket, request)
                while not answer.is_complete:
                    await self.child.wait()
            except OSError:
                answer.fail()
            if answer.failed:
                raise _death(await self.child.end())
        finally:
            for reader in readers:
                reader.stop()
            stdout.finish()
            stderr.finish()
        return answer.value()

    async def end(self) -> None:
        """Kill the worker with its children, and give back what it held."""
        try:
            await self.child.end()
        finally:
            self._close()

    def discard(self) -> None:
        """The same at once: blocks for the moment that an idle process takes to die."""
        self.child.discard()
        self._close()

    def _close(self) -> None:
        self._socket.close()
        self.child.close()


class _Answer:
    """What a worker sends back for one request."""

    def __init__(self, child: Child, log: LogSink) -> None:
        self._child = child
        self._log = log
        self._parts: list[bytes] = []
        self._message: dict[str, Any] | None = None
        self.failed = False

    @property
    def is_complete(self) -> bool:
        return self.failed or self._message is not None or self._child.has_ended

    def feed(self, data: bytes) -> None:
        """Take what came over the socket."""
        while b"\n" in data:
            line, _, data = data.partition(b"\n")
            self._take(b"".join(self._parts) + line)
            self._parts.clear()
        if data:
            self._parts.append(data)

    def fail(self) -> None:
        """There will be no answer."""
        self.failed = self._message is None
        self._child.wake()

    def value(self) -> Any:
        """Return the function's result, or raise how it failed."""
        assert self._message is not None
        if "value" in self._message:
            return self._message["value"]
        failure = msgspec.convert(self._message["failure"], Failure)
        raise TaskError(
            failure.message,
            code=failure.code,
            retryable=failure.retryable,
            classes=[name for name in failure.classes if name != failure.code],
            hint=failure.hint,
            details=failure.details,
        )

    def _take(self, line: bytes) -> None:
        message = msgspec.json.decode(line)
        if "log" in message:
            self._log(*message["log"])
        else:
            self._message = message
            self._child.wake()


def _request(work: Work) -> bytes:
    if type(work) is not Call:
        raise TaskError(
            "only functions run in worker processes",
            code="wrong-executor",
            retryable=False,
            hint="use `executor: subprocess` for a program",
        )
    if work.reference is None:
        raise TaskError(
            f"another process cannot find the function {getattr(work.function, '__qualname__', work.function)!r}",
            code="not-importable",
            retryable=False,
            hint="define it at the top level of a module or of a file in `tasks/`",
        )
    try:
        return encode({"reference": work.reference, "arguments": dict(work.arguments)}) + b"\n"
    except NotJson as error:
        raise TaskError(
            f"an argument cannot go to another process: {error}", code="not-json", retryable=False, hint=error.hint
        ) from None


def _death(exit_code: int) -> TaskError:
    hint = "SIGKILL often means that memory ran out; SIGSEGV a fault in a native library"
    if exit_code >= 0:
        how = f"it ended itself with exit code {exit_code}"
        hint = "the function, or a library that it calls, ends the process (`os._exit`, a fatal error)"
    else:
        try:
            how = f"it was killed by {signal.Signals(-exit_code).name}"
        except ValueError:
            how = f"it was killed by signal {-exit_code}"
    return TaskError(
        f"the worker process died while it ran the function: {how}",
        code="worker-died",
        hint=hint,
    )

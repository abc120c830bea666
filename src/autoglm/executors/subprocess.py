"""Programs as child processes: their output streams into the log, and nothing of them is left behind.

Rules:

1. The program leads its own process group. When it ends, well or badly, whatever it left in the group is killed.
2. Told to stop, the group gets TERM, then ``grace`` seconds, then KILL.
3. When we are killed, the guard kills the group.
4. Output is read to its end, however much it is, and kept only up to limits.
"""

from __future__ import annotations

import asyncio
import os

from autoglm.base.errors import TaskError
from autoglm.executors.children import Child, PipeReader
from autoglm.executors.guard import Guard
from autoglm.executors.lines import LineSplitter, LogBudget
from autoglm.executors.protocol import Command, CommandResult, LogSink, Work

STDERR_TAIL = 4 * 1024
"""Bytes of standard error that a result keeps: its end, where programs say why they failed."""


class SubprocessExecutor:
    """Runs programs, each in a process group of its own."""

    name = "subprocess"

    def __init__(self) -> None:
        self._guard = Guard()
        self._running: set[asyncio.Task[object]] = set()

    async def run(self, work: Work, log: LogSink) -> CommandResult:
        """Run the program to its end; its exit code is no error. Raises TaskError when it cannot be started."""
        if type(work) is not Command:
            raise TaskError(
                "only programs run as subprocesses",
                code="wrong-executor",
                retryable=False,
                hint="use `executor: process` to run a function in a process of its own",
            )
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            return await self._run(work, log)
        finally:
            self._running.discard(task)

    async def _run(self, work: Command, log: LogSink) -> CommandResult:
        child = _start(work, self._guard)
        output = _Output(child, work.capture_limit, log)
        try:
            await child.wait()
            if output.overflow:
                await child.terminate(work.grace)
        except asyncio.CancelledError:
            await child.terminate(work.grace)
            raise
        finally:
            code = await output.collect()
        if output.overflow:
            raise TaskError(
                f"the program wrote more than {work.capture_limit:,} bytes to its standard output and was stopped",
                code="output-too-large",
                retryable=False,
                hint="write large results to a file and print its name",
            )
        return CommandResult(code, b"".join(output.stdout), output.stderr.decode("utf-8", "replace"))

    async def close(self) -> None:
        """Stop all programs that still run. Idempotent."""
        while self._running:
            running = list(self._running)
            for task in running:
                task.cancel()
            await asyncio.wait(running)
        self._guard.close()


class _Output:
    """What a program writes: into the log line by line, and kept as far as the limits go."""

    def __init__(self, child: Child, limit: int, log: LogSink) -> None:
        self.stdout: list[bytes] = []
        self.stderr = b""
        self.overflow = False
        self._room = limit
        self._child = child
        budget = LogBudget(log)
        self._lines = (LineSplitter("stdout", budget), LineSplitter("stderr", budget))
        self._readers = (
            PipeReader(child.stdout.fileno(), self._take_stdout),
            PipeReader(child.stderr.fileno(), self._take_stderr),
        )

    async def collect(self) -> int:
        """End the child, read what is left in its pipes, and return its exit code."""
        try:
            return await self._child.end()
        finally:
            for reader in self._readers:
                reader.stop()
            for lines in self._lines:
                lines.finish()
            self._child.close()

    def _take_stdout(self, data: bytes) -> None:
        self._lines[0].feed(data)
        if self.overflow:
            return
        self._room -= len(data)
        if self._room >= 0:
            self.stdout.append(data)
        else:
            self.overflow = True
            self.stdout.clear()
            self._child.wake()

    def _take_stderr(self, data: bytes) -> None:
        self._lines[1].feed(data)
        self.stderr = (self.stderr + data)[-STDERR_TAIL:]


def _start(work: Command, guard: Guard) -> Child:
    if work.stdin is None:
        return Child(work.argv, env=work.env, guard=guard, cwd=work.cwd)
    # A file in memory needs nobody to feed it, and a program that does not read it breaks no pipe.
    with os.fdopen(os.memfd_create("stdin"), "w+b") as stdin:
        stdin.write(work.stdin)
        stdin.seek(0)
        return Child(work.argv, env=work.env, guard=guard, cwd=work.cwd, stdin=stdin.fileno())

"""What survives whom: engines that are killed, workers that are used again, and memory under a flood of output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from autoglm.base.errors import TaskError
from autoglm.executors.process import ProcessExecutor
from autoglm.executors.protocol import Call, Command
from autoglm.executors.subprocess import SubprocessExecutor
from autoglm.testing.executors import PATIENCE, Lifeline, nothing_left

ENGINE = """
import asyncio, sys
from autoglm.base.errors import TaskError
from autoglm.executors.process import ProcessExecutor
from autoglm.executors.protocol import Call, Command
from autoglm.executors.subprocess import SubprocessExecutor

def show(stream, line):
    print(line, flush=True)

async def main():
    if sys.argv[1] == "subprocess":
        work = Command(["sh", "-c", sys.argv[2]], env={"PATH": "/usr/bin:/bin"})
        await SubprocessExecutor().run(work, show)
    else:
        await ProcessExecutor().run(Call(print, {"path": sys.argv[2]}, "autoglm.testing.executors:_hold"), show)

asyncio.run(main())
"""


@pytest.fixture
def lifeline(tmp_path: Path) -> Any:
    line = Lifeline(tmp_path)
    yield line
    line.close()


@contextmanager
def engine(kind: str, work: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start an engine, and kill it in the end, as nothing but ``kill -9`` does."""
    with subprocess.Popen([sys.executable, "-c", ENGINE, kind, work], stdout=subprocess.PIPE) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize(
    "script",
    [
        "exec 3>{}; echo ready; exec sleep 1000",
        "exec 3>{}; trap '' TERM; sleep 1000 & sleep 1000 & echo ready; wait",
        "exec 3>{}; setsid sleep 1000 & echo ready; wait",
        "exec 3>{}; setsid sh -c 'sleep 1000 & sleep 1000' & echo ready; wait",
    ],
    ids=["leader", "children", "child-in-another-session", "grandchildren-in-another-session"],
)
def test_a_killed_engine_takes_its_programs_along(lifeline: Lifeline, script: str) -> None:
    with engine("subprocess", script.format(lifeline.path)) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
    assert lifeline.is_cut()


def test_a_killed_engine_takes_its_workers_along(lifeline: Lifeline) -> None:
    with engine("process", str(lifeline.path)):
        assert select.select([lifeline], [], [], PATIENCE)[0]
    assert lifeline.is_cut()


def test_an_engine_that_ends_without_closing_leaves_nothing_either(lifeline: Lifeline) -> None:
    script = f"exec 3>{lifeline.path}; echo ready; setsid sleep 1000 & wait"
    end = ENGINE.replace("print(line, flush=True)", "__import__('os')._exit(0)")
    subprocess.run([sys.executable, "-c", end, "subprocess", script], check=True, timeout=30)
    assert lifeline.is_cut()


def test_programs_go_on_when_the_guard_is_killed() -> None:
    async def main() -> list[int]:
        executor = SubprocessExecutor()
        codes = []
        for _ in range(3):
            work = Command(["true"], env={"PATH": os.environ["PATH"]})
            codes.append((await executor.run(work, print)).exit_code)
            guard = executor._guard._process
            assert guard is not None
            guard.kill()
            os.waitid(os.P_PID, guard.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - it was just killed
        await executor.close()
        return codes

    with nothing_left():
        assert asyncio.run(main()) == [0, 0, 0]


def test_a_worker_is_used_again_and_replaced_when_it_is_killed() -> None:
    async def main() -> None:
        executor = ProcessExecutor(limit=1)

        async def pid() -> int:
            return await executor.run(Call(os.getpid, {}, "os:getpid"), print)

        first = await pid()
        assert await pid() == first
        os.kill(first, signal.SIGKILL)
        with contextlib.suppress(TaskError):  # it may be handed out once more before its end is noticed
            await pid()
        assert await pid() != first
        await executor.close()

    with nothing_left():
        asyncio.run(main())


@pytest.mark.slow
def test_a_gigabyte_of_output_costs_little_memory() -> None:
    script = """
import asyncio, resource
from autoglm.base.errors import TaskError
from autoglm.executors.protocol import Command
from autoglm.executors.subprocess import SubprocessExecutor
lines = []
async def main():
    executor = SubprocessExecutor()
    for target in ("1", "2"):
        shell = f"yes | head -c 1000000000 >&{target}"
        try:
            result = await executor.run(Command(["sh", "-c", shell], env={"PATH": "/usr/bin:/bin"}), lambda s, l: None)
            print(result.exit_code)
        except TaskError as error:
            print(error.code)
    await executor.close()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
asyncio.run(main())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    stdout, stderr, megabytes = done.stdout.split()
    assert (stdout, stderr) == ("output-too-large", "0")
    assert int(megabytes) < 64

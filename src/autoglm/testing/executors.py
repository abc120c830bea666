"""What every executor must do, as tests: subclass :class:`ExecutorTests`, say which kinds of work it runs, and pytest
does the rest::

    class TestThread(ExecutorTests):
        kinds = {"call"}
        stops_calls = False

        def make_executor(self):
            return ThreadExecutor()

The tests wait for pipes and signals, never for time to pass.
"""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from autoglm.base.errors import TaskError
from autoglm.executors.lines import CLIPPED, LINE_LIMIT, LINES_LIMIT, TRUNCATED
from autoglm.executors.protocol import Abandoned, Call, Command, CommandResult, Coroutine, Executor, Work

PATIENCE = 30.0
"""Seconds after which something that should have happened has not."""


class Log:
    """A log sink that can be waited on."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self._news = asyncio.Event()

    def __call__(self, stream: str, line: str) -> None:
        self.lines.append((stream, line))
        self._news.set()

    def texts(self, stream: str) -> list[str]:
        """Return the lines of one stream."""
        return [line for name, line in self.lines if name == stream]

    async def wait_for(self, text: str) -> None:
        """Wait until a line ends with ``text``."""
        async with asyncio.timeout(PATIENCE):
            while not any(line.endswith(text) for _, line in self.lines):
                self._news.clear()
                await self._news.wait()


class Lifeline:
    """A named pipe that tells when the last process that holds it is dead."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lifeline"
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def is_cut(self, timeout: float = PATIENCE) -> bool:
        """Wait until all holders are dead, at most ``timeout`` seconds; tell whether they are."""
        while select.select([self._fd], [], [], timeout)[0]:
            if not os.read(self._fd, 4096):
                return True
        return False

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


class ExecutorTests:
    """The conformance suite of the executor port."""

    kinds: Set[str] = frozenset()
    """What it runs: ``coroutine``, ``call``, ``command``."""
    stops_calls: bool = True
    """False when a running call can only be abandoned."""

    def make_executor(self) -> Executor:
        """Return a fresh executor."""
        raise pytest.UsageError(f"{type(self).__name__} must define make_executor()")

    @pytest.fixture
    def lifeline(self, tmp_path: Path) -> Iterator[Lifeline]:
        line = Lifeline(tmp_path)
        yield line
        line.close()

    def run(self, body: Callable[[Executor, Log], Awaitable[Any]]) -> Any:
        """Run ``body`` with a fresh executor, which is closed after it; nothing may be left then."""

        async def main() -> Any:
            executor = self.make_executor()
            try:
                async with asyncio.timeout(2 * PATIENCE):
                    return await body(executor, Log())
            finally:
                await executor.close()
                await executor.close()

        with nothing_left():
            return asyncio.run(main())

    def run_one(self, work: Work) -> tuple[Any, Log]:
        """Run one piece of work to its end."""

        async def body(executor: Executor, log: Log) -> tuple[Any, Log]:
            return await executor.run(work, log), log

        return self.run(body)  # type: ignore[no-any-return]

    def failure_of(self, work: Work) -> Exception:
        """Run work that fails; return how."""

        async def body(executor: Executor, log: Log) -> Exception:
            with pytest.raises(Exception) as caught:  # noqa: PT011 - the caller looks at it
                await executor.run(work, log)
            return caught.value

        return self.run(body)  # type: ignore[no-any-return]

    # ------------------------------------------------------------------------------------------------ every executor

    def test_has_a_name(self) -> None:
        assert self.make_executor().name

    @pytest.mark.parametrize("kind", ["coroutine", "call", "command"])
    def test_refuses_work_of_another_kind(self, kind: str) -> None:
        if kind in self.kinds:
            pytest.skip("it runs this kind")
        error = self.failure_of(_quick(kind))
        assert isinstance(error, TaskError)
        assert (error.code, error.retryable) == ("wrong-executor", False)

    def test_can_be_used_on_one_event_loop_after_another(self) -> None:
        executor = self.make_executor()
        work = _quick(sorted(self.kinds)[0])
        with nothing_left():
            for _ in range(2):
                asyncio.run(_run(executor, work))
            asyncio.run(executor.close())

    def test_close_stops_what_runs(self, lifeline: Lifeline) -> None:
        async def body(executor: Executor, log: Log) -> None:
            running = asyncio.create_task(executor.run(_shell(HOLDING.format(lifeline.path) + "sleep 1000"), log))
            await log.wait_for("ready")
            await executor.close()
            assert running.done()

        self._needs("command")
        self.run(body)
        assert lifeline.is_cut()

    # ---------------------------------------------------------------------------------------------------- functions

    def test_function_returns(self) -> None:
        for work in self._functions(_add, {"a": 2, "b": 3}):
            assert self.run_one(work)[0] == 5

    def test_many_functions_at_once(self) -> None:
        async def body(executor: Executor, log: Log) -> None:
            works = [work for number in range(50) for work in self._functions(_add, {"a": number, "b": 0})]
            results = await asyncio.gather(*(executor.run(work, log) for work in works))
            assert sorted(set(results)) == list(range(50))

        self._needs("coroutine", "call")
        self.run(body)

    def test_what_a_function_raises_comes_out(self) -> None:
        for work in self._functions(_raise, {"kind": "ValueError"}):
            error = self.failure_of(work)
            if isinstance(error, TaskError):  # it happened in another process
                assert (error.code, error.message) == ("handler-raised", "ValueError: on purpose")
                assert "ValueError" in error.classes
            else:
                assert isinstance(error, ValueError)

    def test_task_error_comes_out_as_it_is(self) -> None:
        for work in self._functions(_refuse, {}):
            error = self.failure_of(work)
            assert isinstance(error, TaskError)
            assert (error.code, error.retryable, error.classes) == ("no-stock", False, ("stock",))
            assert (error.message, error.hint, error.details) == ("none left", "order some", {"left": 0})

    @pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt"])
    def test_a_function_cannot_end_the_process(self, kind: str) -> None:
        for work in self._functions(_raise, {"kind": kind}):
            error = self.failure_of(work)
            assert isinstance(error, TaskError)
            assert error.code == "handler-exit"

    @pytest.mark.parametrize("kind", ["StopIteration", "StopAsyncIteration", "GeneratorExit"])
    def test_exceptions_that_steer_python_are_failures_like_others(self, kind: str) -> None:
        for work in self._functions(_raise, {"kind": kind}):
            with pytest.raises(BaseException):  # noqa: B017, PT011 - in any form, as long as it arrives
                self.run_one(work)

    def test_a_function_that_cancels_itself_has_failed(self) -> None:
        for work in self._functions(_raise, {"kind": "CancelledError"}):
            error = self.failure_of(work)
            assert isinstance(error, TaskError)
            assert error.code == "handler-cancelled"

    def test_a_call_that_is_told_to_stop(self, lifeline: Lifeline) -> None:
        async def body(executor: Executor, log: Log) -> None:
            loop = asyncio.get_running_loop()
            begun = asyncio.Event()
            loop.add_reader(lifeline.fileno(), begun.set)
            work = _call(_hold, {"path": str(lifeline.path)})
            running = asyncio.create_task(executor.run(work, log))
            await begun.wait()
            loop.remove_reader(lifeline.fileno())
            running.cancel()
            if self.stops_calls:
                with pytest.raises(asyncio.CancelledError):
                    await running
                return
            with pytest.raises(Abandoned) as caught:
                await running
            release.set()
            assert caught.value.late is not None
            assert await caught.value.late == "released"

        self._needs("call")
        release.clear()
        self.run(body)
        assert lifeline.is_cut()

    # ------------------------------------------------------------------------------------------------------ programs

    def test_program_output_and_exit_code(self) -> None:
        result, log = self._run_shell("echo one; echo two >&2; printf three; exit 7")
        assert (result.exit_code, result.stdout, result.stderr_tail) == (7, b"one\nthree", "two\n")
        assert log.texts("stdout") == ["one", "three"]
        assert log.texts("stderr") == ["two"]

    def test_program_that_a_signal_ends(self) -> None:
        assert self._run_shell("kill -9 $$")[0].exit_code == -9

    def test_program_gets_exactly_its_environment_folder_and_input(self, tmp_path: Path) -> None:
        self._needs("command")
        script = "import os, sys; print(os.environ['A'], os.environ.get('HOME'), os.getcwd(), len(sys.stdin.read()))"
        work = Command([sys.executable, "-c", script], env={"A": "1"}, cwd=tmp_path, stdin=b"x" * 300_000)
        assert self.run_one(work)[0].stdout.decode().split() == ["1", "None", str(tmp_path), "300000"]

    def test_program_that_reads_nothing_may_be_given_much(self) -> None:
        self._needs("command")
        assert self.run_one(Command(["true"], env=_PATH, stdin=b"x" * 5_000_000))[0].exit_code == 0

    def test_program_that_does_not_exist(self, tmp_path: Path) -> None:
        self._fails_to_start("script-not-found", "/does/not/exist")
        self._fails_to_start("script-not-found", "no-such-program-anywhere")
        script = _script(tmp_path, "#!/no/such/interpreter\n")
        assert "interpreter" in self._fails_to_start("script-not-found", str(script)).message

    def test_program_that_cannot_run(self, tmp_path: Path) -> None:
        script = _script(tmp_path, "#!/bin/sh\n")
        script.chmod(0o644)
        self._fails_to_start("script-not-executable", str(script))
        self._fails_to_start("script-not-executable", str(tmp_path))
        self._fails_to_start("script-format", str(_script(tmp_path, "neither one thing nor the other\n")))

    def test_arguments_that_no_program_can_get(self) -> None:
        for argument in ("a\0b", "\ud800", "x" * 3_000_000):
            self._fails_to_start("script-arguments", "echo", argument)

    def test_folder_that_does_not_exist(self, tmp_path: Path) -> None:
        self._needs("command")
        error = self.failure_of(Command(["true"], env=_PATH, cwd=tmp_path / "missing"))
        assert isinstance(error, TaskError)
        assert error.code == "script-cwd-not-found"

    def test_output_beyond_the_limit_stops_the_program(self) -> None:
        self._needs("command")
        error = self.failure_of(Command(["yes"], env=_PATH, capture_limit=1_000_000))
        assert isinstance(error, TaskError)
        assert error.code == "output-too-large"

    def test_output_at_the_limit_is_kept(self) -> None:
        self._needs("command")
        work = Command(["head", "-c", "1000000", "/dev/zero"], env=_PATH, capture_limit=1_000_000)
        assert len(self.run_one(work)[0].stdout) == 1_000_000

    def test_endless_log_is_truncated_and_drained(self) -> None:
        count = LINES_LIMIT + 5_000
        result, log = self._run_shell(f"seq {count} >&2; echo done")
        assert result.stdout == b"done\n"
        assert result.stderr_tail.endswith(f"\n{count}\n")
        assert len(log.lines) == LINES_LIMIT + 1
        assert log.lines[-1][1] == TRUNCATED

    def test_long_and_broken_lines(self) -> None:
        result, log = self._run_shell("head -c 1000000 /dev/zero | tr '\\0' x; echo; printf 'a\\377b\\r\\n'")
        assert len(result.stdout) == 1_000_006
        assert log.texts("stdout") == ["x" * LINE_LIMIT + CLIPPED, "a\ufffdb"]

    def test_children_left_behind_are_killed(self, lifeline: Lifeline) -> None:
        result, _ = self._run_shell(HOLDING.format(lifeline.path) + "sleep 1000 & exit 0")
        assert result.exit_code == 0
        assert lifeline.is_cut()

    def test_program_that_is_told_to_stop_may_clean_up(self, lifeline: Lifeline) -> None:
        script = HOLDING.format(lifeline.path) + "trap 'echo cleaned; exit 3' TERM; echo set; " + IDLING
        log = self._stop_when(script, "set", grace=PATIENCE)
        assert "cleaned" in log.texts("stdout")
        assert lifeline.is_cut()

    def test_children_of_a_stopped_program_get_the_grace_too(self, lifeline: Lifeline) -> None:
        inner = 'trap "echo child cleaned; exit" TERM; echo set; ' + IDLING
        script = HOLDING.format(lifeline.path) + f"sh -c '{inner}' & trap 'exit 0' TERM; wait"
        assert "child cleaned" in self._stop_when(script, "set", grace=PATIENCE).texts("stdout")
        assert lifeline.is_cut()

    def test_program_that_does_not_want_to_stop_is_killed(self, lifeline: Lifeline) -> None:
        script = HOLDING.format(lifeline.path) + "trap '' TERM; echo set; while :; do sleep 1000; done"
        self._stop_when(script, "set", grace=0.05)
        assert lifeline.is_cut()

    def test_many_programs_at_once(self) -> None:
        async def body(executor: Executor, log: Log) -> None:
            works = [_shell(f"echo {number}") for number in range(40)]
            results = await asyncio.gather(*(executor.run(work, log) for work in works))
            assert [int(result.stdout) for result in results] == list(range(40))

        self._needs("command")
        self.run(body)

    # ------------------------------------------------------------------------------------------------------ our tools

    def _needs(self, *kinds: str) -> None:
        if not self.kinds & set(kinds):
            pytest.skip("it does not run this kind")

    def _functions(self, function: Callable[..., Any], arguments: dict[str, Any]) -> list[Work]:
        """Return the function as every kind of function that the executor runs."""
        self._needs("coroutine", "call")
        works: list[Work] = []
        if "call" in self.kinds:
            works.append(_call(function, arguments))
        if "coroutine" in self.kinds:
            works.append(Coroutine(_async(function, wait=False), arguments))
            works.append(Coroutine(_async(function, wait=True), arguments))
        return works

    def _run_shell(self, script: str) -> tuple[CommandResult, Log]:
        self._needs("command")
        return self.run_one(_shell(script))

    def _fails_to_start(self, code: str, *argv: str) -> TaskError:
        self._needs("command")
        error = self.failure_of(Command(argv, env=_PATH))
        assert isinstance(error, TaskError)
        assert error.code == code
        return error

    def _stop_when(self, script: str, line: str, *, grace: float) -> Log:
        async def body(executor: Executor, log: Log) -> Log:
            running = asyncio.create_task(executor.run(_shell(script, grace=grace), log))
            await log.wait_for(line)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            return log

        self._needs("command")
        return self.run(body)  # type: ignore[no-any-return]


HOLDING = "exec 3>{}; echo ready; "
IDLING = "while :; do sleep 0.01; done"
_PATH = {"PATH": os.environ.get("PATH", os.defpath)}
release = threading.Event()
"""Lets an abandoned :func:`_hold` come back."""


@contextmanager
def nothing_left() -> Iterator[None]:
    """Check that neither descriptors nor child processes are more after than before."""
    before = _open_files(), _children()
    yield
    assert (_open_files(), _children()) == before


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # the thread has just ended
            found.update((task / "children").read_text().split())
    return found


async def _run(executor: Executor, work: Work) -> Any:
    return await executor.run(work, lambda stream, line: None)


def _shell(script: str, *, grace: float = 5.0) -> Command:
    return Command(["sh", "-c", script], env=_PATH, grace=grace)


def _script(folder: Path, text: str) -> Path:
    path = folder / f"script-{len(list(folder.iterdir()))}"
    path.write_text(text)
    path.chmod(0o755)
    return path


def _call(function: Callable[..., Any], arguments: dict[str, Any]) -> Call:
    return Call(function, arguments, f"{__name__}:{function.__name__}")


def _quick(kind: str) -> Work:
    if kind == "coroutine":
        return Coroutine(_async(_add, wait=True), {"a": 1, "b": 1})
    return _call(_add, {"a": 1, "b": 1}) if kind == "call" else _shell("exit 0")


def _async(function: Callable[..., Any], *, wait: bool) -> Callable[..., Awaitable[Any]]:
    async def run(**arguments: Any) -> Any:
        if wait:
            await asyncio.sleep(0)
        return function(**arguments)

    return run


def _add(a: int, b: int) -> int:
    return a + b


def _raise(kind: str) -> None:
    kinds: tuple[type[BaseException], ...] = (
        ValueError, SystemExit, KeyboardInterrupt, StopIteration, StopAsyncIteration, GeneratorExit,
        asyncio.CancelledError,
    )  # fmt: skip
    raise next(error for error in kinds if error.__name__ == kind)("on purpose")


def _refuse() -> None:
    raise TaskError(
        "none left", code="no-stock", retryable=False, classes=["stock"], hint="order some", details={"left": 0}
    )


def _hold(path: str) -> str:
    """Hold a lifeline until released, with a child that holds it too where the executor can kill both."""
    with open(path, "wb", buffering=0) as lifeline:  # noqa: PTH123 - unbuffered
        if threading.current_thread() is threading.main_thread():
            subprocess.Popen(["sleep", "1000"], pass_fds=[lifeline.fileno()])  # noqa: S607
        lifeline.write(b"begun")
        release.wait()
    return "released"

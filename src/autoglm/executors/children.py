"""Child processes that lead a process group, without blocking the event loop and without losing one.

Rules:

1. A child leads a session of its own: signals go to its whole group, and a Ctrl-C at the terminal does not reach it.
2. That a child has ended is learnt without reaping it. Its group is killed and taken off the guard's list *before* the
   reaping, while its number still belongs to it and cannot hit a stranger.
3. Whoever starts a child calls :meth:`Child.end` and then :meth:`Child.close`, whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from autoglm.base.errors import TaskError
from autoglm.executors.guard import Guard

_CHUNK = 64 * 1024
_PIPE_MOST = 1024 * 1024
"""The most that a pipe can hold by default: what is left to read once its writers are dead."""
_POLL = 0.02


class Child:
    """A running program, the leader of its process group."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        guard: Guard,
        cwd: Path | None = None,
        stdin: int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start ``argv``. Raises TaskError ``script-not-found`` and its like; then nothing was started."""
        guard.start()
        self._guard = guard
        self._process = _spawn(argv, {**env, **guard.environment}, cwd, stdin, pass_fds)
        self.pid = self._process.pid
        guard.add(self.pid)
        self.has_ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._pidfd = _open_pidfd(self.pid)
        if self._pidfd is None:
            threading.Thread(target=self._wait_in_thread, daemon=True).start()
        else:
            self._loop.add_reader(self._pidfd, self._note_end)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.stdout: IO[bytes] = self._process.stdout
        self.stderr: IO[bytes] = self._process.stderr

    async def wait(self) -> None:
        """Wait until the program has ended, or :meth:`wake` is called. One at a time may wait."""
        if not self.has_ended:
            self._waiter = self._loop.create_future()
            await self._waiter

    def wake(self) -> None:
        """Let :meth:`wait` return."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def send_signal(self, number: signal.Signals) -> bool:
        """Send a signal to the whole group; False when nobody is there."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # parts of it run as somebody else; the others got it
        return True

    async def terminate(self, grace: float) -> None:
        """Ask the whole group to end, and give it ``grace`` seconds. :meth:`end` then kills what is left."""
        self.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while not self.has_ended:
                    await self.wait()
                while self._has_followers():  # noqa: ASYNC110 - nobody tells us when a grandchild ends
                    await asyncio.sleep(_POLL)

    async def end(self) -> int:
        """Kill what is left of the group, reap the leader and return its exit code. Cancelling does not hinder it."""
        if self._process.returncode is not None:
            return self._process.returncode
        self.send_signal(signal.SIGKILL)
        cancelled: asyncio.CancelledError | None = None
        while not self.has_ended:
            try:
                await self.wait()
            except asyncio.CancelledError as error:
                cancelled = error
        self._guard.remove(self.pid)
        code = self._process.wait()
        if cancelled is not None:
            raise cancelled
        return code

    def discard(self) -> None:
        """Do the same at once, whatever loop runs or not: blocks for the moment that a process takes to die."""
        self.send_signal(signal.SIGKILL)
        self._guard.remove(self.pid)
        self._process.wait()
        if self._pidfd is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def close(self) -> None:
        """Close our ends of its pipes."""
        self.stdout.close()
        self.stderr.close()

    def _has_followers(self) -> bool:
        """Tell whether others than the leader, which has ended, are alive in the group."""
        with contextlib.suppress(OSError):
            return any(_group_of(entry) == self.pid for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return False

    def _note_end(self) -> None:
        self.has_ended = True
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        self.wake()

    def _wait_in_thread(self) -> None:
        """Notice the end where the kernel has no process descriptors (before Linux 5.3)."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._note_end)


class PipeReader:
    """Hands on what comes out of a pipe, as it comes."""

    def __init__(self, fd: int, consume: Callable[[bytes], Any], *, at_end: Callable[[], Any] = lambda: None) -> None:
        self._fd = fd
        self._consume = consume
        self._at_end = at_end
        self._loop = asyncio.get_running_loop()
        self.is_open = True
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._read)

    def stop(self) -> None:
        """Read what is there now, and then no more. When the writers are dead, that is all there will ever be."""
        self._loop.remove_reader(self._fd)
        left = _PIPE_MOST  # a writer that lives on must not keep us here
        while left > 0 and (size := self._read()):
            left -= size

    def _read(self) -> int:
        if not self.is_open:
            return 0
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return 0
        except ConnectionError:
            data = b""
        if data:
            self._consume(data)
        else:
            self.is_open = False
            self._loop.remove_reader(self._fd)
            self._at_end()
        return len(data)


def _spawn(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path | None, stdin: int, pass_fds: Sequence[int]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except OSError as error:
        raise _start_error(argv[0], cwd, error) from None
    except ValueError as error:  # a NUL byte, half a character
        raise TaskError(
            f"{argv[0]!r} cannot be started with these arguments: {error}",
            code="script-arguments",
            retryable=False,
            hint="arguments and environment variables cannot hold NUL bytes or halves of characters",
        ) from None


def _start_error(program: str, cwd: Path | None, error: OSError) -> TaskError:
    """Say why a program did not start, in the author's terms."""
    if cwd is not None and not os.path.isdir(cwd):  # noqa: PTH112 - it raises for no name, however odd
        return TaskError(
            f"the working folder {cwd} does not exist",
            code="script-cwd-not-found",
            retryable=False,
            hint="`cwd` is relative to the project root",
        )
    reason = error.strerror or str(error)
    match error.errno:
        case errno.ENOENT if Path(program).exists():
            return TaskError(
                f"{program} cannot be started: the interpreter that its first line names does not exist",
                code="script-not-found",
                retryable=False,
                hint="correct its `#!` line (Windows line ends break it too), or name an `interpreter`",
            )
        case errno.ENOENT | errno.ENOTDIR:
            return TaskError(
                f"{program} does not exist",
                code="script-not-found",
                retryable=False,
                hint="correct its name, or install it where the PATH of autoglm leads",
            )
        case errno.EACCES | errno.EPERM | errno.EISDIR:
            return TaskError(
                f"{program} cannot be executed: {reason}",
                code="script-not-executable",
                retryable=False,
                hint=f"chmod +x {program}, or name an `interpreter`",
            )
        case errno.ENOEXEC:
            return TaskError(
                f"{program} is not a program that this machine can run",
                code="script-format",
                retryable=False,
                hint="begin it with a `#!` line, or name an `interpreter`",
            )
        case errno.E2BIG:
            return TaskError(
                f"{program} cannot be started: its arguments and environment are too long",
                code="script-arguments",
                retryable=False,
                hint="pass large values in the file that $AUTOGLM_INPUT names, or by `stdin`",
            )
    is_short = error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
    hint = (
        "the system is short of it: let fewer tasks run at once, or raise its limits (`ulimit -a`)"
        if is_short
        else None
    )
    return TaskError(f"{program} cannot be started: {reason}", code="script-start", hint=hint)


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _group_of(process: Path) -> int | None:
    """Return the process group of a live process by its folder in ``/proc``; None for one that is gone or a zombie."""
    try:
        fields = (process / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in b"ZX" else int(fields[2])

"""The executor port: three kinds of work, one method to run them.

Cancelling the asyncio task that awaits :meth:`Executor.run` is how work is stopped. An executor then stops it for real
and lets ``CancelledError`` through; where it cannot (a thread), it raises :class:`Abandoned` instead, at once. A
failure is a ``TaskError`` (or whatever the work itself raised); a result is anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

LogSink = Callable[[str, str], None]
"""Takes (stream, line); stream is ``stdout``, ``stderr`` or ``log``."""


class Abandoned(Exception):
    """Told to stop, it did not: the work may still be running and its result will be discarded.

    ``late`` may be awaited by whoever wants to know when, and how, it came back after all.
    """

    def __init__(self, message: str, late: Awaitable[Any] | None = None) -> None:
        super().__init__(message)
        self.late = late


class Coroutine(msgspec.Struct, frozen=True):
    """An async function of ours or the author's, to be awaited on the loop."""

    function: Callable[..., Awaitable[Any]]
    arguments: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Call:
    """A plain function. ``reference`` (``module:name`` or ``file.py:name``) is how another process finds it."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments; never a shell string."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    """The whole environment of the process."""
    cwd: Path | None = None
    stdin: bytes | None = None
    grace: float = 5.0
    """Seconds between TERM and KILL for its process group."""
    capture_limit: int = 16 * 1024 * 1024
    """Bytes of standard output that are kept; more is an error of code ``output-too-large``."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a program ended; ``exit_code`` is negative for a signal."""

    exit_code: int
    stdout: bytes
    stderr_tail: str


Work = Coroutine | Call | Command


class Executor(Protocol):
    """A place where work runs. Opened once a process; many runs share it."""

    name: str

    async def run(self, work: Work, log: LogSink) -> Any:
        """Run ``work`` to its end. Raises TaskError ``wrong-executor`` for a kind that cannot run here."""

    async def close(self) -> None:
        """Stop what still runs and give every resource back. Idempotent."""

"""The task type port, and the context an attempt runs in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autoglm.base.diagnostics import Diagnostic
from autoglm.base.ids import idempotency_key
from autoglm.executors.protocol import Work
from autoglm.llm.calls import ModelCall
from autoglm.spec.catalog import Catalog, TaskTypeInfo
from autoglm.spec.model import CacheSpec, McpServer, ModelSpec, Task

if TYPE_CHECKING:
    from autoglm.stores.protocol import EntryWrite
    from autoglm.tasks.account import Account


class Services(Protocol):
    """Services that handlers ask for by name: opened once a run at first use, closed at its end."""

    async def get(self, name: str) -> Any:
        """Return the service. Raises TaskError ``unknown-service``."""


def _nothing() -> None:
    """Do nothing."""


def _unheard(reason: str) -> None:
    """Do nothing."""


def _no_log(stream: str, text: str) -> None:
    """Take a line and drop it."""


def _no_task_type(name: str) -> TaskType:
    raise LookupError(name)


@dataclass(slots=True)
class TaskContext:
    """What a handler may ask for by naming a parameter ``ctx`` or annotating one ``TaskContext``."""

    task_id: str
    """Unique per task instance in its run: ``process[12].extract``."""
    run_id: str
    attempt: int
    input_data: Mapping[str, Any]
    """The frozen snapshot of its inputs (its rendered ``with``)."""
    config: Mapping[str, Any] = field(default_factory=dict)
    status: str = "running"
    dependencies: Any = None
    """Services by name: ``ctx.dependencies["db"]`` or ``ctx.dependencies.db``."""
    state: Any = None
    """Durable keyed state of the run: a mapping of JSON data."""
    log: Callable[[str, str], None] = _no_log
    """Take (stream, line); :attr:`logger` is the comfortable way."""
    is_cancelled: Callable[[], bool] = lambda: False
    traceparent: str | None = None
    """W3C trace context of the attempt, when the run is told of to OpenTelemetry: what it calls may join the trace."""
    life: int = 0
    """How often the task was rolled back before and the run retried: what it does then is a new effect."""

    @property
    def cancelled(self) -> bool:
        """True once the attempt was told to stop; long loops should look at it."""
        return self.is_cancelled()

    @property
    def idempotency_key(self) -> str:
        """A key (32 hex digits) that is the same for every attempt of this task instance, and for no other.

        Once it was rolled back it begins anew, with a new key: the receiver must not take it for what was undone.
        """
        task = f"{self.task_id}~{self.life}" if self.life else self.task_id
        return idempotency_key(self.run_id, task)

    @property
    def logger(self) -> logging.Logger:
        """A logger whose lines land in the run's log."""
        logger = logging.Logger(f"autoglm.task.{self.task_id}")
        logger.addHandler(_RunLog(self.log))
        return logger


class _RunLog(logging.Handler):
    """Hands log records to the run: the level's name, then the text."""

    def __init__(self, log: Callable[[str, str], None]) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._log("log", f"{record.levelname.lower()}: {self.format(record)}")
        except Exception:  # noqa: BLE001  # logging must never fail the work, as logging itself holds
            self.handleError(record)


class Park(Exception):
    """Raised by an attempt that has nothing to do for a while: it gives its slot back and goes on later.

    At ``until`` (seconds since the epoch; None: when somebody wakes it) the task type's ``run`` is called again, for
    the same attempt: no retry is counted, :attr:`Attempt.memo` gives ``memo`` (JSON data) back, and everything else
    starts anew. The wait survives the process, and does not count against the task's ``timeout``. ``reason`` is for
    people. Only a coroutine that runs inline can park. What waits ``aside`` does not keep a loop from starting further
    items: some ten thousand may wait together.
    """

    def __init__(self, until: float | None, reason: str, memo: Any = None, *, aside: bool = False) -> None:
        super().__init__(reason)
        self.until = None if until is None or not isfinite(until) else float(until)
        self.reason = str(reason)
        self.memo = memo
        self.aside = aside


async def _unrecorded(key: str, work: Callable[[], Awaitable[Any]]) -> Any:
    """Do a step of an attempt that belongs to no run."""
    return await work()


def _nothing_recorded(key: str) -> bytes | None:
    """Find no step: the attempt belongs to no run."""
    return None


async def _not_recorded(key: str, text: bytes) -> bytes:
    """Record no step: the attempt belongs to no run."""
    return text


@dataclass(slots=True)
class Attempt:
    """One attempt, as a task type sees it: rendered fields, the context, and the way to the executor."""

    name: str
    """The task's own name in the file."""
    options: Mapping[str, Any]
    arguments: Mapping[str, Any]
    env: Mapping[str, str]
    """Variables of the task's ``env`` field, rendered."""
    output_schema: Mapping[str, Any] | None
    """What the result is held against once ``run`` has returned; a type that has done so itself sets it to None."""
    context: TaskContext
    root: Path
    """The project root: scripts are relative to it, handlers come from its ``tasks/``."""
    execute: Callable[[Work], Awaitable[Any]]
    """Run work where this task runs: ``await attempt.execute(Command(...))``."""
    log: Callable[[str, str], None]
    """Take (stream, line)."""
    executor: str
    written: Mapping[str, Any] = field(default_factory=dict)
    """The options as the file has them, with their templates."""
    upstream: Mapping[str, Any] = field(default_factory=dict)
    """Results of the direct upstreams by task name, for parameters filled by name."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """The run's inputs, for parameters filled by name."""
    item: Any = None
    item_name: str | None = None
    """The loop's ``as:`` name; None outside of a loop."""
    loops: Mapping[str, Any] = field(default_factory=dict)
    """What the loops around the task bind, the nearest first: each one's item by its name, and ``index``."""
    services: Services | None = None
    """Where parameters that name a service get it from."""
    offline: bool = False
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    """The file's ``models``, before the project's and the built-in ones."""
    project_models: Mapping[str, ModelSpec] = field(default_factory=dict)
    """The ``models`` of the project's settings."""
    mcp_servers: Mapping[str, McpServer] = field(default_factory=dict)
    """MCP servers of the project's settings, by name."""
    environment: Mapping[str, str] | None = None
    """Where keys and addresses of models are looked up; None stands for the process environment."""
    on_call: Callable[[ModelCall], None] | None = None
    """Take note of a model call that has ended, for telemetry; None where nobody listens."""
    refuses_models: bool = False
    """No model may be asked: in a test, what a model answers is written down, or made up by the stand-in."""
    step: Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]] = _unrecorded
    """Do a part of the work at most once: ``answer = await attempt.step("ask", lambda: ask(prompt))``.

    When the journal has a value for the key, that is returned and nothing is done. Else ``work()`` is awaited, and what
    it gives (JSON data; secrets redacted) is recorded; the call returns after the commit, with what was recorded. What
    ``work`` raises is raised and nothing is recorded. Steps belong to the task instance: after a crash, after parking
    and in later attempts they are found again; put the attempt's number into the key when a retry must do it anew. They
    are dropped when the task ends. Only a coroutine that runs inline can record steps.

    Raises TaskError: ``not-json``, ``output-too-large``, ``wrong-executor``; and CancelledError when it was given up.
    """
    recorded: Callable[[str], bytes | None] = _nothing_recorded
    """Return the JSON text that the journal has for a step, None when it has none: the first half of :attr:`step`."""
    record: Callable[[str, bytes], Awaitable[bytes]] = _not_recorded
    """Record JSON text as what a step gave; return what is recorded, after the commit: the second half."""
    memo: Any = None
    """What the attempt left for itself when it raised :class:`Park`; None when it has not."""
    recovered: int = 0
    """How often it was started again because the process that ran it was gone: what it did then nobody knows."""
    task_type: Callable[[str], TaskType] = _no_task_type
    """Another task type by name, to do a part of the work."""
    node: str = ""
    """The static path of its task: ``outer.inner``."""
    task_id: str = ""
    """As in its context."""
    priority: int = 0
    account: Account | None = None
    """What the model calls of its run share; None outside of a run."""
    cache: CacheSpec | None = None
    """The task's field ``cache``."""
    answers: list[EntryWrite] = field(default_factory=list)
    """Answers that the cache shall have once the attempt has succeeded."""
    wake: Callable[[], None] = _nothing
    """Let this attempt go on at once when it is parked; may be called from any thread."""
    pause_run: Callable[[str], None] = _unheard
    """Let the run start nothing more until somebody resumes it, and say why."""
    usage: dict[str, Any] = field(default_factory=dict)
    """What the attempt used: ``{"calls": 1, "input_tokens": …, "output_tokens": …}``; summed over the run."""

    @property
    def number(self) -> int:
        """Which attempt of its task this is, from 1."""
        return self.context.attempt

    @property
    def run_id(self) -> str:
        """The run that it belongs to."""
        return self.context.run_id

    def part(
        self, step: str, name: str, executor: str, options: Mapping[str, Any], arguments: Mapping[str, Any]
    ) -> Attempt:
        """Return an attempt at a part of this one's work, for another task type to run.

        ``step`` tells it from the other parts: its idempotency key is made of it. It logs, and counts what it uses,
        where this attempt does; nothing of it is recorded unless it is a :meth:`step` of this one.
        """
        raise NotImplementedError


class TaskType(Protocol):
    """What runs. One instance serves a whole process.

    A type whose executor depends on the task also has ``default_executor(task: Task, catalog: Catalog) -> str``, asked
    once when a workflow is compiled; without it, ``info.executor`` holds for every task.
    """

    info: TaskTypeInfo

    def check(self, task: Task, catalog: Catalog) -> Iterable[Diagnostic | tuple[tuple[str | int, ...], Diagnostic]]:
        """Yield what only this type can tell is wrong, as (field path below the task, diagnostic without place).

        ``catalog.models`` holds the file's own models too.
        """

    async def run(self, attempt: Attempt) -> Any:
        """Do the work and return JSON data. Raises TaskError."""

    async def close(self) -> None:
        """Give every resource back (connections, sessions). Idempotent."""

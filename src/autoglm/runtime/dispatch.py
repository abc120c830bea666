"""Doing what the engine commands: one asyncio task for each attempt, and its outcome as a stimulus.

The engine's word is final: whatever an attempt raises becomes data here, and nothing it does reaches the runner's loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from autoglm.base import jsonvalue
from autoglm.base.errors import Failure, TaskError
from autoglm.base.redaction import Redactor
from autoglm.engine import messages as m
from autoglm.engine.machine import Run
from autoglm.executors.failures import describe
from autoglm.executors.protocol import Abandoned, Executor
from autoglm.graph.model import Node, NodeKind
from autoglm.llm.calls import ModelCall
from autoglm.runtime import prints
from autoglm.runtime.attempts import LiveAttempt
from autoglm.runtime.keyed_state import KeyedState
from autoglm.runtime.schemas import check_schema
from autoglm.runtime.sources import Source, open_source
from autoglm.runtime.steps import MAX_BYTES, Steps
from autoglm.runtime.telemetry import traceparent
from autoglm.spec.model import McpServer, ModelSpec
from autoglm.stores.protocol import LogLine
from autoglm.tasks.protocol import Attempt, Park, Services, TaskContext, TaskType

if TYPE_CHECKING:
    from autoglm.tasks.account import Account

T = TypeVar("T")
_WORK = NodeKind.WORK
_PLAIN_DATA = "return text, numbers, booleans, None, and plain lists and dicts of them"


@dataclass(slots=True)
class Toolbox:
    """What a run works with: how to get task types and executors by name, and what attempts are given."""

    task_type: Callable[[str], TaskType]
    executor: Callable[[str], Executor]
    root: Path
    services: Services | None = None
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    """The file's models, before the project's."""
    callee_models: Mapping[str, Mapping[str, ModelSpec]] = field(default_factory=dict)
    """Those of the files that it calls, by their keys."""
    project_models: Mapping[str, ModelSpec] = field(default_factory=dict)
    mcp_servers: Mapping[str, McpServer] = field(default_factory=dict)
    environment: Mapping[str, str] | None = None
    """Where keys and addresses of models are looked up; None stands for the process environment."""
    redactor: Redactor = field(default_factory=Redactor)
    clock: Callable[[], float] = lambda: 0.0

    def models_of(self, file: str) -> Mapping[str, ModelSpec]:
        """Return the models that a file declares, by its key; empty for the one that is run."""
        return self.callee_models[file] if file else self.models

    on_call: Callable[[str, int, ModelCall], None] | None = None
    """Told of each model call that has ended, with its task id and attempt."""
    cast: Callable[[Node], TaskType] | None = None
    """Who does the work of a node; None stands for its task type. A test's stand-ins come in here."""
    account: Callable[[], Account | None] = lambda: None
    """Return what the run's model calls share; it is opened when first asked for."""
    refuses_models: bool = False
    """No model may be asked: a test must say what each answers."""


class Dispatcher:
    """Runs the attempts of one run, each as an asyncio task of its own; :meth:`close` awaits them all."""

    def __init__(
        self,
        run: Run,
        tools: Toolbox,
        post: Callable[[m.Stimulus], None],
        log: Callable[[LogLine], None],
    ) -> None:
        self.run = run
        self.tools = tools
        self._post = post
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._thread = threading.get_ident()
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._not_begun: set[tuple[str, int]] = set()
        self._stopping: set[tuple[str, int]] = set()
        self._sources: dict[str, Source] = {}
        self._reading = 0
        self._others: set[asyncio.Task[None]] = set()
        self.steps = Steps(run, tools.redactor, post)
        self._is_quiet = False
        self._may_hold_secrets = run.reads_secrets()
        self._state = KeyedState(run.keyed, self._post_from_anywhere, tools.redactor.scrub_json)
        task_type, executor, nodes = cache(tools.task_type), cache(tools.executor), run.graph.nodes
        cast = tools.cast or (lambda node: task_type(node.task.type))
        self._types = [cast(node) if node.kind is _WORK else None for node in nodes]
        self._executors = [executor(node.executor) if node.kind is _WORK else None for node in nodes]

    @property
    def is_idle(self) -> bool:
        return not self._tasks

    @property
    def is_settled(self) -> bool:
        """What was commanded has begun, and nothing is being stopped or read."""
        return not (self._not_begun or self._stopping or self._reading)

    def do(self, command: m.Command) -> None:
        """Carry out one command. Returns at once; what comes of it is posted as a stimulus."""
        match command:
            case m.StartAttempt():
                key = (command.task, command.attempt)
                self._not_begun.add(key)
                context = self._context.copy()  # no attempt sees what another one set
                self._tasks[key] = self._loop.create_task(self._attempt(command, key), context=context)
            case m.StopAttempt():
                self._stop((command.task, command.attempt))
            case m.GoOnAfterStep():
                self.steps.go_on(command)
            case m.ReadItems():
                self._reading += 1
                self._beside(self._read(command))

    async def close(self) -> None:
        """Stop every attempt, post nothing any more, and wait until all have stopped: the run goes on elsewhere."""
        self._is_quiet = True
        tasks = [*self._tasks.values(), *self._others]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for source in self._sources.values():
            source.close()

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that is no attempt until it ends, or until the dispatcher is closed."""
        task = self._loop.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    def _stop(self, key: tuple[str, int]) -> None:
        task = self._tasks.get(key)
        if task is None:
            self._post(m.AttemptStopped(*key))
            return
        task.cancel()
        if key in self._not_begun:  # it never comes to its first line, so it cannot answer for itself
            self._not_begun.discard(key)
            del self._tasks[key]
            self._post(m.AttemptStopped(*key))
        else:
            self._stopping.add(key)

    def wake(self, task: str) -> None:
        """Let a parked attempt go on; may be called from any thread."""
        if not self._is_quiet:
            self._post_from_anywhere(m.Wake(task))

    def pause_run(self, reason: str) -> None:
        """Let the run start nothing more until somebody resumes it."""
        self._post_from_anywhere(m.Pause(_printable(self.tools.redactor.scrub(reason))))

    def _on_loop(self, function: Callable[[T], None], argument: T) -> None:
        """Call a function on the loop's thread: at once when this is it, so that what a task says stays in order."""
        if threading.get_ident() == self._thread:
            function(argument)
        else:
            self._loop.call_soon_threadsafe(function, argument)

    def _post_from_anywhere(self, stimulus: m.Stimulus) -> None:
        self._on_loop(self._post, stimulus)

    # -------------------------------------------------------------------------------------------------- attempts

    async def _attempt(self, command: m.StartAttempt, key: tuple[str, int]) -> None:
        stimulus: m.Stimulus
        printed: prints.Printed | None = None
        attempt: Attempt | None = None
        self._not_begun.discard(key)
        try:
            attempt = self._prepare(command)
            task_type = self._types[command.node]
            assert task_type is not None
            if prints.is_capturing():
                printed = prints.Printed(attempt.log)
                prints.current.set(printed)  # this task's own context: nobody else's prints are meant
            value = await task_type.run(attempt)
            stimulus = self._returned(command, attempt, value)
            if attempt.answers and isinstance(stimulus, m.AttemptReturned):
                self._keep_answers(attempt)
        except asyncio.CancelledError:
            if key not in self._stopping and not self._is_quiet:
                hint = "it raised CancelledError, or cancelled the asyncio task that it runs in"
                failure = Failure("cancelled-itself", "the work cancelled itself", ("cancelled-itself",), hint=hint)
                stimulus = m.AttemptRaised(*key, failure)
            else:
                stimulus = m.AttemptStopped(*key, usage=None if attempt is None else attempt.usage or None)
        except Abandoned as abandoned:
            stimulus = m.AttemptStopped(*key, abandoned=True)
            self._watch_late(key, abandoned)
        except Park as park:
            stimulus = self._parked(key, park, None if attempt is None else attempt.usage)
        except TaskError as error:
            stimulus = m.AttemptRaised(*key, self._clean(error.failure()))
        except Exception as error:  # noqa: BLE001  # whatever a task type raises is the attempt's failure
            message = f"the task type itself failed: {describe(error)}"
            hint = "this is a fault of the plugin that brings the type: report it to its makers"
            failure = Failure("task-type-failed", message, (type(error).__name__,), hint=hint)
            stimulus = m.AttemptRaised(*key, self._clean(failure))
        if printed is not None:
            printed.flush()
            prints.current.set(None)  # what follows is ours
        self._tasks.pop(key, None)
        self._stopping.discard(key)
        if not self._is_quiet:
            self._post(stimulus)

    def _keep_answers(self, attempt: Attempt) -> None:
        if attempt.account is not None and attempt.account.keeping is not None:
            attempt.account.keeping.take(attempt.answers)
            self._beside(attempt.account.keeping.write(self.tools.clock()))

    def _prepare(self, command: m.StartAttempt) -> Attempt:
        run = self.run
        executor = self._executors[command.node]
        assert executor is not None
        if self._may_hold_secrets:
            self.tools.redactor.add_all([command.arguments, command.options, command.env])
        instance = run.instance(command.task)
        return LiveAttempt(self, command, run.graph.nodes[command.node], instance, executor)

    @property
    def created(self) -> m.RunCreated:
        """The run's first event; there is one before any command."""
        assert self.run.created is not None
        return self.run.created

    def context(self, command: m.StartAttempt, arguments: Mapping[str, Any], life: int = 0) -> TaskContext:
        """Return the context of an attempt, for a handler that asks for it."""
        key = (command.task, command.attempt)
        return TaskContext(
            task_id=command.task,
            run_id=self.created.run_id,
            attempt=command.attempt,
            input_data=MappingProxyType(dict(arguments)),
            config=self.created.config,
            dependencies=self.tools.services,
            log=partial(self.log_line, command),
            state=self._state,
            is_cancelled=lambda: key in self._stopping or self._is_quiet,
            traceparent=traceparent(self.created.run_id, *key) if self.tools.on_call is not None else None,
            life=life,
        )

    def _returned(self, command: m.StartAttempt, attempt: Attempt, value: Any) -> m.Stimulus:
        usage = attempt.usage or None
        if value is None and attempt.output_schema is None:
            return m.AttemptReturned(command.task, command.attempt, b"null", usage)
        try:
            output = jsonvalue.encode(value)
        except jsonvalue.NotJson as error:
            message = f"what it returned is not JSON data: {error}"
            failure = Failure("not-json", message, ("not-json",), retryable=False, hint=error.hint)
            return m.AttemptRaised(command.task, command.attempt, self._clean(failure))
        except BaseException as error:  # noqa: BLE001  # its class is the author's, and so is how it is walked through
            message = f"what it returned cannot be read: {describe(error)}"
            failure = Failure("not-json", message, ("not-json",), retryable=False, hint=_PLAIN_DATA)
            return m.AttemptRaised(command.task, command.attempt, self._clean(failure))
        if len(output) > MAX_BYTES:
            message = (
                f"its result is {len(output) // 1_000_000} MB of JSON, and {MAX_BYTES // 1_000_000} MB is the limit"
            )
            hint = "write it to a file, and return the path"
            failure = Failure("output-too-large", message, ("output-too-large",), retryable=False, hint=hint)
            return m.AttemptRaised(command.task, command.attempt, failure)
        if attempt.output_schema is not None:
            broken = check_schema(jsonvalue.decode(output), attempt.output_schema)
            if broken is not None:
                return m.AttemptRaised(command.task, command.attempt, self._clean(broken, usage))
        if self.tools.redactor.active:
            output = self.tools.redactor.scrub_json(output)
        return m.AttemptReturned(command.task, command.attempt, output, usage)

    def _parked(self, key: tuple[str, int], park: Park, usage: dict[str, Any] | None) -> m.Stimulus:
        redactor = self.tools.redactor
        try:
            memo = redactor.scrub_json(jsonvalue.encode(park.memo))
        except jsonvalue.NotJson as error:
            message = f"the memo it parked with is not JSON data: {error}"
            return m.AttemptRaised(
                *key, self._clean(Failure("not-json", message, ("not-json",), retryable=False, hint=error.hint))
            )
        until = None if park.until is None else float(park.until)
        return m.AttemptParked(*key, until, _printable(redactor.scrub(park.reason)), memo, usage or None, park.aside)

    def _clean(self, failure: Failure, usage: dict[str, Any] | None = None) -> Failure:
        """Return the failure without secrets, and as JSON data whatever the author's exception put in it."""
        scrub = self.tools.redactor.scrub
        details = dict(failure.details or {})
        if usage:
            details["usage"] = usage
        try:
            details = jsonvalue.decode(self.tools.redactor.scrub_json(jsonvalue.encode(details)))
        except jsonvalue.NotJson:
            details = {"dropped": "the details were not JSON data"}
        return Failure(
            _printable(scrub(failure.code)),
            _printable(scrub(failure.message)),
            tuple(_printable(scrub(name)) for name in failure.classes),
            failure.retryable,
            None if failure.hint is None else _printable(scrub(failure.hint)),
            details or None,
        )

    def _watch_late(self, key: tuple[str, int], abandoned: Abandoned) -> None:
        """When abandoned work comes back after all, say so, so that the journal can tell that it was discarded."""
        late = abandoned.late
        if late is None or self._is_quiet:
            return

        async def wait() -> None:
            # How it ends does not matter; to be told to stop is for us alone.
            await asyncio.wait([asyncio.ensure_future(late)])
            if not self._is_quiet:
                self._post(m.AttemptReturned(*key))

        self._beside(wait())

    # ------------------------------------------------------------------------------------------- logs and sources

    def log_line(self, command: m.StartAttempt, stream: str, text: str) -> None:
        """Take a line that an attempt wrote, from any thread."""
        redactor = self.tools.redactor
        if redactor.active:
            text = redactor.scrub(text)
        level = "info"
        if stream == "log":
            level, _, text = text.partition(": ")
        line = LogLine(self.tools.clock(), command.task, command.attempt, stream, _printable(text), _printable(level))
        self._on_loop(self._log, line)

    async def _read(self, command: m.ReadItems) -> None:
        try:
            news = await self._items(command)
        finally:
            self._reading -= 1
        self._post(news)

    async def _items(self, command: m.ReadItems) -> m.Stimulus:
        try:
            source = self._sources.get(command.task)
            if source is None:
                source = self._sources[command.task] = open_source(command.source, self.tools.root)
            items, last = await asyncio.to_thread(source.read, command.first, command.count)
        except TaskError as error:
            return m.ItemsFailed(command.task, self._clean(error.failure()))
        except Exception as error:  # noqa: BLE001  # whatever a reader raises, the loop must hear that nothing comes
            text = f"{command.source} cannot be read: {type(error).__name__}: {error}"
            return m.ItemsFailed(command.task, self._clean(Failure("source-unreadable", text)))
        if last:
            self._sources.pop(command.task).close()
        if self.tools.redactor.active:  # rows are journaled like results, and so are held to the same
            items = self.tools.redactor.scrub_value(items)
        return m.ItemsArrived(command.task, command.first, items, last)


def _printable(text: str) -> str:
    """Return the text as UTF-8 can hold it: lone surrogates become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")

"""An attempt as its task type sees it, worked out as it is looked at.

Most handlers look at little of what they may ask for, and tens of thousands of attempts start in a second: what is not
asked for is not made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from autoglm.engine.messages import StartAttempt
from autoglm.engine.standing_in import seen
from autoglm.engine.state import Instance
from autoglm.executors.protocol import Executor, Work
from autoglm.graph.model import Node
from autoglm.llm.calls import ModelCall
from autoglm.spec.jsonform import to_text
from autoglm.tasks.protocol import Attempt, TaskContext, TaskType

if TYPE_CHECKING:
    from autoglm.runtime.dispatch import Dispatcher
    from autoglm.tasks.account import Account


class LiveAttempt(Attempt):
    """An attempt of a run that is being driven."""

    __slots__ = ("_account", "_command", "_context", "_dispatcher", "_executor", "_instance", "_node")

    def __init__(
        self, dispatcher: Dispatcher, command: StartAttempt, node: Node, instance: Instance, executor: Executor
    ) -> None:
        tools, created = dispatcher.tools, dispatcher.created
        self._dispatcher = dispatcher
        self._command = command
        self._node = node
        self._instance = instance
        self._executor = executor
        self._context: TaskContext | None = None
        self._account: Account | None = None
        self.name = node.name
        self.options = command.options
        self.written = node.task.options
        self.arguments = fresh(command.arguments) if command.arguments else command.arguments
        self.env = {name: to_text(value) for name, value in command.env.items()} if command.env else command.env
        self.output_schema = node.task.output_schema
        self.root = tools.root
        self.executor = node.executor
        self.services = tools.services
        self.offline = created.offline
        self.models = tools.models_of(node.file)
        self.project_models = tools.project_models
        self.environment = tools.environment
        self.refuses_models = tools.refuses_models
        self.memo = command.memo
        self.recovered = command.recovered
        self.mcp_servers = tools.mcp_servers
        self.node = node.path
        self.task_id = command.task
        self.priority = node.priority
        self.cache = node.task.cache
        self.answers = []
        self.usage = {}

    def log(self, stream: str, text: str) -> None:
        self._dispatcher.log_line(self._command, stream, text)

    def task_type(self, name: str) -> TaskType:
        return self._dispatcher.tools.task_type(name)

    def part(
        self, step: str, name: str, executor: str, options: Mapping[str, Any], arguments: Mapping[str, Any]
    ) -> Attempt:
        where = self._dispatcher.tools.executor(executor)
        own = self.context
        return Attempt(
            name=name,
            options=options,
            arguments=arguments,
            env={},
            output_schema=None,
            context=replace(own, task_id=f"{own.task_id}/{step}", input_data=MappingProxyType(dict(arguments))),
            root=self.root,
            execute=lambda work: where.run(work, self.log),
            log=self.log,
            executor=executor,
            services=self.services,
            offline=self.offline,
            models=self.models,
            project_models=self.project_models,
            environment=self.environment,
            on_call=self.on_call,
            task_type=self.task_type,
            usage=self.usage,
            node=self.node,
            task_id=self.task_id,
            priority=self.priority,
            account=self.account,
            wake=self.wake,
            pause_run=self.pause_run,
        )

    def wake(self) -> None:
        self._dispatcher.wake(self._command.task)

    def pause_run(self, reason: str) -> None:
        self._dispatcher.pause_run(reason)

    def execute(self, work: Work) -> Awaitable[Any]:
        return self._executor.run(work, self.log)

    @property
    def on_call(self) -> Callable[[ModelCall], None] | None:  # type: ignore[override]
        told = self._dispatcher.tools.on_call
        return None if told is None else partial(told, self._command.task, self._command.attempt)

    @property
    def number(self) -> int:
        return self._command.attempt

    @property
    def run_id(self) -> str:
        return self._dispatcher.created.run_id

    def step(self, key: str, work: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
        return self._dispatcher.steps.do(self._command, self._instance, key, work)

    def recorded(self, key: str) -> bytes | None:
        return self._dispatcher.steps.find(self._command, self._instance, key)

    def record(self, key: str, text: bytes) -> Awaitable[bytes]:
        return self._dispatcher.steps.record(self._command, self._instance, key, text)

    @property
    def account(self) -> Account | None:  # type: ignore[override]
        if self._account is None:
            self._account = self._dispatcher.tools.account()
        return self._account

    @property
    def context(self) -> TaskContext:  # type: ignore[override]
        if self._context is None:
            self._context = self._dispatcher.context(self._command, self.arguments, self._instance.lives)
        return self._context

    @property
    def upstream(self) -> Mapping[str, Any]:  # type: ignore[override]
        return Copies(self._dispatcher.run.upstream_of(self._instance))

    @property
    def inputs(self) -> Mapping[str, Any]:  # type: ignore[override]
        return Copies(self._dispatcher.run.inputs_of(self._instance))

    @property
    def item(self) -> Any:
        return fresh(self._dispatcher.run.item_of(self._instance))

    @property
    def item_name(self) -> str | None:  # type: ignore[override]
        return None if self._node.loop is None else self._node.loop.item_name

    @property
    def loops(self) -> Mapping[str, Any]:  # type: ignore[override]
        run = self._dispatcher.run
        bound: dict[str, Any] = {}
        for at in self._instance.near():
            if at.index is not None and at.node.loop is not None:
                for name, value in ((at.node.loop.item_name, run.item_of(at)), ("index", at.index)):
                    bound.setdefault(name, value)
                if at.node.loop.repeat is not None and "previous" not in bound:
                    bound["previous"] = run.previous_of(at)
        undone = self._instance.undoes
        if undone is not None:
            bound |= {"result": run.result_of(undone), "output": run.output_of(undone)}
        if self._instance.stands_for is not None:
            bound |= seen(self._instance)
        return Copies(bound)


class Copies(Mapping[str, Any]):
    """Values as copies, made when they are asked for: a handler may change what it gets, the state stays as it is."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return fresh(self._values[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def fresh(value: Any) -> Any:
    """Return a copy down to the leaves."""
    if isinstance(value, dict):
        return {key: fresh(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [fresh(inner) for inner in value]
    return value

"""The task type ``function``: the author's own Python.

Parameters are filled by name. For each one the first of these that has it:

1. the execution context, for a parameter called ``ctx`` or ``context`` or annotated ``TaskContext``;
2. the task's arguments (``with``);
3. the result of the direct upstream of that name (``-`` and blanks written ``_``);
4. the run's input of that name;
5. the loop's item, for ``item`` or the loop's ``as:`` name; its ``index``; the same of the loops further out;
6. the project's service of that name;
7. if it is the only required one that is left and can be given by position: in a loop the item, else the result of the
   single upstream;
8. if several are left: the fields of those names in the single upstream's result;
9. its own default.

What a decision chose has the decision's upstreams in the place of the decision; by its name it has that as well.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from autoglm.base.diagnostics import Diagnostic, Severity, did_you_mean
from autoglm.base.errors import TaskError
from autoglm.executors.failures import as_task_error
from autoglm.executors.protocol import Abandoned, Call, Coroutine, Work
from autoglm.executors.thread import DaemonThreads
from autoglm.spec.catalog import Catalog, FunctionInfo, OptionInfo, TaskTypeInfo
from autoglm.spec.model import Task
from autoglm.tasks.handlers import Handler, Handlers, Parameter, plain_name
from autoglm.tasks.protocol import Attempt
from autoglm.tasks.remote import CONTEXT_FIELDS, REFERENCE, invoke

_NOTHING: Any = object()


class FunctionTask:
    """Calls functions of the project's ``tasks/*.py``, of any module, or given directly as ``extra``."""

    info = TaskTypeInfo(
        name="function",
        options={
            "handler": OptionInfo(
                "handler",
                {
                    "type": "string",
                    "minLength": 1,
                    "description": "A function of tasks/*.py, or `module:function`; default: the task's own name.",
                },
                templated=False,
            ),
        },
        signature_keys=("handler",),
        executor="thread",
        executors=("inline", "thread", "process"),
        description="Call a Python function, its parameters filled by name.",
    )

    def __init__(self, extra: Mapping[str, Callable[..., Any]] | None = None) -> None:
        self._extra = dict(extra or {})
        self._projects: dict[Path, Handlers] = {}
        self._importing = DaemonThreads(4)

    def handlers(self, root: Path) -> Handlers:
        """Return the functions of the project at ``root``."""
        handlers = self._projects.get(root)
        if handlers is None:
            handlers = self._projects.setdefault(root, Handlers(root, self._extra))
        return handlers

    async def find(self, handlers: Handlers, name: str) -> Handler:
        """Return a function, imported on a thread of ours if need be. Raises TaskError."""
        return handlers.known(name) or await self._importing.call(handlers.get, {"name": name})

    def default_executor(self, task: Task, catalog: Catalog) -> str:
        """Return ``inline`` for an async function, else ``thread``."""
        function = _info(task, catalog)
        return "inline" if function is not None and function.is_async else "thread"

    def check(self, task: Task, catalog: Catalog) -> Iterator[tuple[tuple[str | int, ...], Diagnostic]]:
        """Yield ``env`` where it has no effect. Names and arguments are checked where all functions are known."""
        if task.env and task.executor != "process":
            yield (
                ("env",),
                Diagnostic(
                    "env-without-process",
                    "`env` has no effect on a function that runs in our own process",
                    hint="add `executor: process`, or pass the values as arguments",
                    severity=Severity.WARNING,
                ),
            )

    async def run(self, attempt: Attempt) -> Any:
        """Call the function and return what it returns. Raises TaskError, whatever the function raised."""
        handlers = self._projects.get(attempt.root) or self.handlers(attempt.root)
        name = attempt.options.get("handler") or attempt.name
        handler = handlers.known(name) or await self.find(handlers, name)
        arguments = await _bind(handler, attempt, handlers)
        try:
            value = await attempt.execute(_work(handler, attempt, arguments))
            return await value if inspect.iscoroutine(value) else value
        except (asyncio.CancelledError, Abandoned, GeneratorExit):
            raise  # GeneratorExit: our own coroutine is being closed; a function's comes as a TaskError
        except BaseException as error:
            raise as_task_error(error) from error

    async def close(self) -> None:
        """Let the threads that import end."""
        self._importing.close()


# ------------------------------------------------------------------------------------------------------------ binding


async def _bind(handler: Handler, attempt: Attempt, handlers: Handlers) -> dict[str, Any]:
    """Return the function's arguments by name. Raises TaskError ``missing-argument`` or ``unknown-argument``."""
    given = attempt.arguments
    bound: dict[str, Any] = dict.fromkeys(handler.context_names, attempt.context) if handler.context_names else {}
    if not handler.parameters and not given:
        return bound
    for name in handler.context_names:
        if name in given:  # the author passes a value of that name: it is no request for the context
            bound[name] = given[name]
    left: list[Parameter] = []
    for parameter in handler.parameters:
        value = _look_up(parameter.name, attempt)
        if value is _NOTHING and parameter.name in handlers.services:
            value = await _service(parameter.name, attempt)
        if value is not _NOTHING:
            bound[parameter.name] = value
        elif parameter.is_required:
            left.append(parameter)
    if left:
        _fill_last(handler, left, attempt, bound)
    extra = {name: value for name, value in given.items() if name not in bound and plain_name(name) not in bound}
    if extra and handler.accepts_any:
        bound.update(extra)
    elif extra and not handler.context_names:
        name = next(iter(extra))
        raise _unknown_argument(handler.name, name, [p.name for p in handler.parameters])
    return bound


def _look_up(name: str, attempt: Attempt) -> Any:
    for values in (attempt.arguments, attempt.upstream, attempt.inputs):
        if name in values:
            return values[name]
        if values and "_" in name:
            for key, value in values.items():
                if plain_name(key) == name:
                    return value
    if name == attempt.item_name or (name == "item" and attempt.item is not None):
        return attempt.item
    return attempt.loops.get(name, _NOTHING)


async def _service(name: str, attempt: Attempt) -> Any:
    if attempt.executor == "process":
        raise TaskError(
            f"the service `{name}` cannot go to another process",
            code="service-not-shared",
            retryable=False,
            hint="open it within the function, or use `executor: thread`",
        )
    return _NOTHING if attempt.services is None else await attempt.services.get(name)


def _fill_last(handler: Handler, left: list[Parameter], attempt: Attempt, bound: dict[str, Any]) -> None:
    """Give the one parameter that is left the item or the upstream's result, several its fields; or say what lacks."""
    if len(left) == 1 and left[0].is_positional:
        if attempt.item_name is not None or attempt.item is not None:
            bound[left[0].name] = attempt.item
            return
        if len(attempt.upstream) == 1:
            bound[left[0].name] = next(iter(attempt.upstream.values()))
            return
    if len(left) > 1 and len(attempt.upstream) == 1:
        result = next(iter(attempt.upstream.values()))
        if isinstance(result, dict):
            bound.update({parameter.name: result[parameter.name] for parameter in left if parameter.name in result})
            left = [parameter for parameter in left if parameter.name not in bound]
            if not left:
                return
    names = ", ".join(f"`{parameter.name}`" for parameter in left)
    in_scope = sorted({*attempt.arguments, *attempt.upstream, *attempt.inputs})
    hint = f"pass it: `with: {{{left[0].name}: …}}`"
    raise TaskError(
        f"`{handler.name}` needs {names}, and nothing in scope has that name",
        code="missing-argument",
        retryable=False,
        hint=f"{hint}; in scope are {', '.join(in_scope[:20])}" if in_scope else hint,
    )


def _unknown_argument(function: str, name: str, parameters: Collection[str]) -> TaskError:
    close = did_you_mean(name, parameters)
    takes = f"it takes {', '.join(parameters)}" if parameters else "it takes none"
    return TaskError(
        f"`{function}` has no parameter `{name}`",
        code="unknown-argument",
        retryable=False,
        hint=f"did you mean `{close}`?" if close else takes,
    )


# --------------------------------------------------------------------------------------------------------------- work


def _work(handler: Handler, attempt: Attempt, arguments: dict[str, Any]) -> Work:
    """Return the call as the kind of work that the attempt's executor runs."""
    match attempt.executor:
        case "inline":
            return Coroutine(handler.function if handler.is_async else _as_async(handler.function), arguments)
        case "thread":
            return Call(_as_sync(handler.function) if handler.is_async else handler.function, arguments)
    if handler.reference is None:
        raise TaskError(
            f"another process cannot find the function `{handler.name}`",
            code="not-importable",
            retryable=False,
            hint="define it at the top level of a module, or of a file in tasks/",
        )
    names = [name for name in handler.context_names if arguments.get(name) is attempt.context]
    travelling = {
        "root": str(attempt.root),
        "reference": handler.reference,
        "arguments": {name: value for name, value in arguments.items() if name not in names},
        "context_names": names,
        "context": {field: getattr(attempt.context, field) for field in CONTEXT_FIELDS} if names else {},
        "env": dict(attempt.env),
    }
    return Call(invoke, travelling, REFERENCE)


def _as_async(function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(**arguments: Any) -> Any:
        return function(**arguments)

    return call


def _as_sync(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an async function as a plain one, with an event loop of its own in the thread that it runs in."""

    async def main(arguments: dict[str, Any]) -> Any:
        return await function(**arguments)

    def call(**arguments: Any) -> Any:
        return asyncio.run(main(arguments))

    return call


def _info(task: Task, catalog: Catalog) -> FunctionInfo | None:
    name = str(task.options.get("handler") or task.name)
    return catalog.functions.get(name) or catalog.functions.get(plain_name(name))

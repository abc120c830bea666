"""``llm_agent``: a model that calls tools until it answers.

Rules:

1. The loop is bounded: ``max_turns`` answers of the model, whatever it wants.
2. Each answer of the model and each tool call is a step of its own (:meth:`Attempt.step`): recorded before anything
   follows from it. After a crash, or in the task's next attempt, what is recorded is not asked and not done again.
3. The calls of one answer run side by side. A tool that fails is tried again as ``tool_retries`` says; then its failure
   is what the model is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec

from autoglm.base import jsonvalue
from autoglm.base.diagnostics import Diagnostic, did_you_mean
from autoglm.base.errors import TaskError
from autoglm.executors.protocol import Coroutine
from autoglm.spec.catalog import Catalog, OptionInfo, TaskTypeInfo
from autoglm.spec.model import Task
from autoglm.tasks.agent_tools import ANY_OBJECT, Problem, Tool, ToolSpec, check_tools, read_tool, schema_of
from autoglm.tasks.function import FunctionTask
from autoglm.tasks.protocol import Attempt

if TYPE_CHECKING:
    from autoglm.llm.chat import Completion
    from autoglm.tasks.caller import Caller

MAX_TURNS: Final = 10
TOOL_RETRIES: Final = 1
_SHOWN: Final = 300
"""Characters of a tool's arguments and result that the log shows."""
_TOLD: Final = 64 * 1024
"""Characters of a tool's result that the model gets to read."""
_DELAY: Final = 0.5
"""Seconds before a tool is tried again; doubled each time."""

_OPTIONS: Final = (
    OptionInfo("model", {"type": "string", "description": "a model that can call tools"}),
    OptionInfo("prompt", {"description": "what the agent is to do; what is not text is sent as JSON"}),
    OptionInfo(
        "prompt_template", {"type": "string", "description": "like prompt, with the task's `with` as variables"}
    ),
    OptionInfo("system", {"type": "string", "description": "the system message"}),
    OptionInfo(
        "tools",
        {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [{"type": "string"}, {"type": "object"}]},
            "description": "functions by name, `{name: …, script: …, parameters: …}`, or `{mcp: SERVER, only: […]}`",
        },
        required=True,
        templated=False,
    ),
    OptionInfo(
        "max_turns",
        {"type": "integer", "minimum": 1, "maximum": 1000, "description": f"answers at most; default {MAX_TURNS}"},
    ),
    OptionInfo(
        "tool_retries",
        {"type": "integer", "minimum": 0, "description": f"tries of a failed tool call; default {TOOL_RETRIES}"},
    ),
    OptionInfo("temperature", {"type": "number", "minimum": 0}),
    OptionInfo("max_tokens", {"type": "integer", "minimum": 1, "description": "for each answer"}),
    OptionInfo("parameters", {"type": "object", "description": "whatever else the server takes, passed on as it is"}),
)


class _Options(msgspec.Struct, forbid_unknown_fields=True):
    """The options of one attempt, rendered; numbers may come as text out of a template."""

    tools: list[Any]
    model: str | None = None
    prompt: Any = None
    prompt_template: Any = None
    system: str | None = None
    max_turns: int = MAX_TURNS
    tool_retries: int = TOOL_RETRIES
    temperature: float | None = None
    max_tokens: int | None = None
    parameters: dict[str, Any] | None = None


class LlmAgentTask:
    """Lets a model work with tools. Its result is its last answer: text, or a value that fits ``output_schema``."""

    info = TaskTypeInfo(
        name="llm_agent",
        options={option.name: option for option in _OPTIONS},
        executor="inline",
        executors=("inline",),
        description="let a language model call tools in a bounded loop, each call recorded",
    )

    def __init__(self) -> None:
        self._caller: Caller | None = None

    def check(self, task: Task, catalog: Catalog) -> Iterable[Diagnostic | Problem]:
        """Yield what is wrong with the prompt and the tools."""
        if not any(name in task.options for name in ("prompt", "prompt_template")):
            hint = "write `prompt:` or `prompt_template:`"
            yield Diagnostic("prompt-missing", f"`{task.name}` has nothing to ask the model", hint=hint)
        if "tools" in task.options:
            yield from check_tools(task.options["tools"], catalog)

    async def run(self, attempt: Attempt) -> Any:
        """Return the last answer. Raises TaskError."""
        return await attempt.execute(Coroutine(self._work, {"attempt": attempt}))

    async def close(self) -> None:
        """Close the connections to models. Idempotent."""
        if self._caller is not None:
            caller, self._caller = self._caller, None
            await caller.close()

    @property
    def caller(self) -> Caller:
        if self._caller is None:
            from autoglm.tasks.caller import open_caller

            self._caller = open_caller()
        return self._caller

    async def _work(self, attempt: Attempt) -> Any:
        try:
            options = msgspec.convert(dict(attempt.options), _Options, strict=False)
        except msgspec.ValidationError as error:
            message = f"an option of the task has the wrong form: {error}"
            raise TaskError(message, code="llm-option-invalid", retryable=False, hint="see docs/agents.md") from None
        async with AsyncExitStack() as stack:
            tools = await _open_tools(attempt, [read_tool(written) for written in options.tools], stack)
            try:
                return await _Conversation(attempt, self.caller, options, tools).run()
            except TaskError as error:
                if attempt.usage:  # what a failed attempt used is paid for all the same
                    error.details = {**(error.details or {}), "usage": dict(attempt.usage)}
                raise


class _Conversation:
    """One attempt's exchange with a model."""

    def __init__(self, attempt: Attempt, caller: Caller, options: _Options, tools: Mapping[str, Tool]) -> None:
        self.attempt = attempt
        self.caller = caller
        self.options = options
        self.tools = tools
        self.messages = _first_messages(options)

    async def run(self) -> Any:
        for turn in range(self.options.max_turns):
            answer = await self.attempt.step(f"answer {turn}", self._ask)
            calls = answer["tool_calls"]
            if not calls:
                done, value = self._conclude(answer)
                if done:
                    return value
                continue
            self.messages.append(_assistant(answer))
            results = await asyncio.gather(*(self._call(turn, at, call) for at, call in enumerate(calls)))
            self.messages += [
                {"role": "tool", "tool_call_id": call["id"], "content": text}
                for call, text in zip(calls, results, strict=True)
            ]
        raise TaskError(
            f"the agent has not come to an answer in {self.options.max_turns} turns",
            code="agent-out-of-turns",
            retryable=False,
            hint="allow more `max_turns`, or look at its log: it may be going in circles",
        )

    async def _ask(self) -> dict[str, Any]:
        from autoglm.llm.chat import ChatRequest

        options, attempt = self.options, self.attempt
        endpoint = self.caller.endpoint(attempt, options.model)
        named = {"temperature": options.temperature, "max_tokens": options.max_tokens}
        parameters = {name: value for name, value in named.items() if value is not None} | (options.parameters or {})
        if not attempt.offline:
            parameters["tools"] = [tool.as_sent() for tool in self.tools.values()]
        request = ChatRequest(self._asked(), parameters, schema=attempt.output_schema)
        completion = await self.caller.chat(attempt, endpoint, request)
        return _recorded(completion)

    def _asked(self) -> list[Any]:
        """Return the messages, with the wanted form of the last answer said in words."""
        schema = self.attempt.output_schema
        if schema is None:
            return self.messages
        from autoglm.llm.profiles import COMPATIBLE, Form
        from autoglm.llm.structured import plan

        return list(plan(schema, COMPATIBLE, Form.PROMPT).messages(self.messages))

    def _conclude(self, answer: Mapping[str, Any]) -> tuple[bool, Any]:
        """Return whether the answer is the last one, and its value; tell the model what is wrong with it otherwise."""
        schema, text = self.attempt.output_schema, answer["text"]
        if schema is None:
            if not text.strip():
                raise TaskError("the model answered with no text", code="answer-empty", hint="retry, or reword")
            return True, text
        from autoglm.llm.structured import read_answer

        try:
            return True, read_answer(text, schema, finish_reason=answer["finish_reason"])
        except TaskError as error:
            self.attempt.log("log", f"the answer does not fit `output_schema`, the model is told: {error}")
            self.messages.append(_assistant(answer))
            self.messages.append({"role": "user", "content": f"Your answer is not usable: {error}. Answer again."})
            return False, None

    async def _call(self, turn: int, at: int, call: Mapping[str, Any]) -> str:
        """Return what the model is told about one call of a tool."""
        name = call["name"]
        self.attempt.log("log", f"{name}({call['arguments'][:_SHOWN]})")

        step = f"tool {turn}.{at} {name}"

        async def work() -> str:
            try:
                return await self._result(name, call["arguments"], step)
            except TaskError as error:
                return f"error: {error}"

        text = str(await self.attempt.step(step, work))
        self.attempt.log("log", f"{name} → {text[:_SHOWN]}")
        return text

    async def _result(self, name: str, written: str, step: str) -> str:
        tool = self.tools.get(name)
        if tool is None:
            close = did_you_mean(name, self.tools)
            raise TaskError(f"there is no tool {name}" + (f"; did you mean {close}?" if close else ""))
        arguments = _arguments(tool, written)
        for tries in range(self.options.tool_retries + 1):
            try:
                value = await tool.call(arguments, step)
                break
            except TaskError as error:
                if not error.retryable or tries == self.options.tool_retries:
                    raise
                self.attempt.log("log", f"{name} failed and is tried again: {error}")
                await asyncio.sleep(_DELAY * 2**tries)
        else:
            raise AssertionError("the last try raises or gives a value")
        text = value if isinstance(value, str) else jsonvalue.encode(value).decode()
        if len(text) <= _TOLD:
            return text
        return f"{text[:_TOLD]}\n(cut off: it has {len(text)} characters)"


# -------------------------------------------------------------------------------------------------------------- tools


async def _open_tools(attempt: Attempt, specs: Iterable[ToolSpec], stack: AsyncExitStack) -> dict[str, Tool]:
    """Return the tools by name. Raises TaskError for what cannot be had."""
    if attempt.offline:
        return {}  # a rehearsal answers from the prompt alone
    found: dict[str, Tool] = {}
    for spec in specs:
        if spec.server is not None:
            from autoglm.tasks.mcp_servers import open_tools

            tools = await open_tools(attempt, spec, stack)
        else:
            tools = [await _task_tool(attempt, spec)]
        for tool in tools:
            if tool.name in found:
                message = f"two tools are called `{tool.name}`"
                raise TaskError(message, code="agent-tools", retryable=False, hint="leave one out with `only:`")
            found[tool.name] = tool
    return found


async def _task_tool(attempt: Attempt, spec: ToolSpec) -> Tool:
    task_type = attempt.task_type(spec.type)
    executor, description, parameters = task_type.info.executor, spec.description, spec.parameters
    if isinstance(task_type, FunctionTask):
        handler = await task_type.find(task_type.handlers(attempt.root), str(spec.options["handler"]))
        executor = "inline" if handler.is_async else "thread"
        parameters = parameters or schema_of(handler.function, handler.context_names)
        description = description or (handler.function.__doc__ or "").strip()

    async def call(arguments: dict[str, Any], step: str) -> Any:
        return await task_type.run(attempt.part(step, spec.name, executor, spec.options, arguments))

    return Tool(spec.name, description, parameters or ANY_OBJECT, call)


def _arguments(tool: Tool, written: str) -> dict[str, Any]:
    """Return a call's arguments, checked. Raises TaskError, which the model gets to read."""
    from autoglm.base.schemas import problems

    try:
        arguments = msgspec.json.decode(written or "{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TaskError(f"its arguments are not JSON: {error}", retryable=False) from None
    if not isinstance(arguments, dict):
        raise TaskError("its arguments must be a JSON object", retryable=False)
    wrong = problems(arguments, tool.parameters)
    if wrong:
        told = "; ".join(f"{path}: {sentence}" for path, sentence in wrong[:5])
        raise TaskError(f"its arguments do not fit: {told}", retryable=False)
    return arguments


# ----------------------------------------------------------------------------------------------------------- messages


def _first_messages(options: _Options) -> list[dict[str, Any]]:
    prompt = options.prompt if options.prompt is not None else options.prompt_template
    text = prompt if isinstance(prompt, str) else "" if prompt is None else jsonvalue.encode(prompt).decode()
    if not text.strip():
        raise TaskError(
            "the prompt is empty once its templates are filled",
            code="prompt-empty",
            retryable=False,
            hint="look at what the templates in it refer to",
        )
    system = [{"role": "system", "content": options.system}] if options.system else []
    return [*system, {"role": "user", "content": text}]


def _recorded(completion: Completion) -> dict[str, Any]:
    """Return an answer as the journal keeps it."""
    return {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "tool_calls": [
            {"id": call.id, "name": call.name, "arguments": call.arguments} for call in completion.tool_calls
        ],
    }


def _assistant(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer as the message that stands for it in the next call."""
    message: dict[str, Any] = {"role": "assistant", "content": answer["text"]}
    if answer["tool_calls"]:
        message["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in answer["tool_calls"]
        ]
    return message

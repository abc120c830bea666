"""``llm_agent``: a model that calls tools until it answers.

Rules:

1. The loop is bounded: ``max_turns`` answers of the model, whatever it wants.
2. Each answer of the model and each tool call is recorded (:meth:`Attempt.step`) before anything follows from it.
   After a crash, or in the task's next attempt, what is recorded is not asked and not done again.
3. The calls of one answer run side by side. A tool that fails is tried again as ``tool_retries`` says; then its failure
   is what the model is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec

from autoglm.base.diagnostics import did_you_mean
from autoglm.base.errors import TaskError
from autoglm.spec.catalog import Catalog, OptionInfo, TaskTypeInfo
from autoglm.spec.model import Task
from autoglm.tasks.agent_tools import ANY_OBJECT, Tool, ToolSpec, check_tools, read_tool, schema_of
from autoglm.tasks.caller import Caller
from autoglm.tasks.conversation import as_text, build_messages, check_conversation
from autoglm.tasks.function import FunctionTask
from autoglm.tasks.ladder import Question, ask, together
from autoglm.tasks.llm_generate import PROMPT_OPTIONS
from autoglm.tasks.llm_task import LlmTask
from autoglm.tasks.model_options import MODEL_OPTIONS, ModelOptions, Problem, read_options
from autoglm.tasks.protocol import Attempt, Park

if TYPE_CHECKING:
    from autoglm.llm.chat import Completion, ToolCall

MAX_TURNS: Final = 10
TOOL_RETRIES: Final = 1
_SHOWN: Final = 300
"""Characters of a tool's arguments and result that the log shows."""
_TOLD: Final = 64 * 1024
"""Characters of a tool's result that the model gets to read."""
_DELAY: Final = 0.5
"""Seconds before a tool is tried again; doubled each time."""

_OPTIONS: Final = (
    *(option for option in MODEL_OPTIONS if option.name != "corrections"),
    *PROMPT_OPTIONS,
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
        {"type": "integer", "minimum": 1, "description": f"how many answers the model may give ({MAX_TURNS})"},
    ),
    OptionInfo(
        "tool_retries",
        {"type": "integer", "minimum": 0, "description": f"how often a failed call is tried again ({TOOL_RETRIES})"},
    ),
)


class _Options(ModelOptions, kw_only=True):
    tools: list[Any]
    prompt: Any = None
    prompt_template: Any = None
    prompt_file: str | None = None
    system: str | None = None
    messages: list[dict[str, Any]] | None = None
    max_turns: int = MAX_TURNS
    tool_retries: int = TOOL_RETRIES


class LlmAgentTask(LlmTask):
    """Lets a model work with tools. Its result is its last answer: text, or a value that fits ``output_schema``."""

    info = TaskTypeInfo(
        name="llm_agent",
        options={option.name: option for option in _OPTIONS},
        executor="inline",
        executors=("inline",),
        caches=True,
        description="let a language model call tools in a bounded loop, each call recorded",
    )

    def check(self, task: Task, catalog: Catalog) -> Iterable[Problem]:
        """Yield what is wrong with the prompt and the tools."""
        yield from super().check(task, catalog)
        yield from check_conversation(task.name, task.options)
        if "tools" in task.options:
            yield from check_tools(task.options["tools"], catalog)

    async def answer(self, caller: Caller, attempt: Attempt) -> Any:
        """Return the last answer."""
        options = read_options(_Options, attempt.options)
        async with AsyncExitStack() as stack:
            try:
                tools = await _open_tools(attempt, [read_tool(written) for written in options.tools], stack)
                return await _Exchange(attempt, caller, options, tools).run()
            except (TaskError, Park) as raised:  # on its way through the servers' task groups it would be wrapped
                outcome = raised
        raise outcome


class _Exchange:
    """What goes to and fro between a model and its tools in one attempt."""

    def __init__(self, attempt: Attempt, caller: Caller, options: _Options, tools: Mapping[str, Tool]) -> None:
        self.attempt = attempt
        self.caller = caller
        self.options = options
        self.tools = tools
        prompt = options.prompt if options.prompt is not None else options.prompt_template
        messages = build_messages(options.system, options.messages or [], prompt)
        self.messages = messages if attempt.output_schema is None else _with_form(messages, attempt.output_schema)
        self.parameters = options.call_parameters()
        if tools:
            self.parameters["tools"] = [tool.as_sent() for tool in tools.values()]

    async def run(self) -> Any:
        for turn in range(self.options.max_turns):
            completion = await self._ask(turn)
            calls = completion.tool_calls
            if calls:
                self.messages.append(_assistant(completion))
                results = await together(self._call(turn, at, call) for at, call in enumerate(calls))
                told = zip(calls, results, strict=True)
                self.messages += [{"role": "tool", "tool_call_id": call.id, "content": text} for call, text in told]
                continue
            try:
                return self._read(completion)
            except TaskError as error:
                self.attempt.log("log", f"warning: the answer is not usable, and the model is told: {error.message}")
                self.messages.append(_assistant(completion))
                demand = f"Your answer is not usable: {error.message}. Answer again."
                self.messages.append({"role": "user", "content": demand})
        raise TaskError(
            f"the agent has not come to an answer in {self.options.max_turns} turns",
            code="agent-out-of-turns",
            retryable=False,
            hint="allow more `max_turns`, or look at its log: it may be going in circles",
        )

    async def _ask(self, turn: int) -> Completion:
        schema = self.attempt.output_schema if self.attempt.offline else None  # a rehearsal answers at once
        question = Question(list(self.messages), self.parameters, schema, name=f"turn-{turn}", is_part=True)
        return await ask(self.caller, self.attempt, self.options.models, question)

    def _read(self, completion: Completion) -> Any:
        """Return the value of an answer without calls. Raises TaskError, which the model gets to read."""
        schema, text = self.attempt.output_schema, completion.text
        if schema is not None:
            from autoglm.llm.structured import read_answer

            return read_answer(text, schema, finish_reason=completion.finish_reason)
        if not text.strip():
            raise TaskError("it holds no text", code="answer-empty")
        return text

    async def _call(self, turn: int, at: int, call: ToolCall) -> str:
        """Return what the model is told about one call of a tool."""
        self.attempt.log("log", f"info: {call.name}({call.arguments[:_SHOWN]})")
        step = f"tool {turn}.{at} {call.name}"

        async def work() -> str:
            try:
                return await self._result(call, step)
            except TaskError as error:
                return f"error: {error.message}"

        text = str(await self.attempt.step(step, work))
        self.attempt.log("log", f"info: {call.name} → {text[:_SHOWN]}")
        return text

    async def _result(self, call: ToolCall, step: str) -> str:
        tool = self.tools.get(call.name)
        if tool is None:
            close = did_you_mean(call.name, self.tools)
            raise TaskError(f"there is no tool {call.name}" + (f"; did you mean {close}?" if close else ""))
        text = as_text(await self._tried(tool, _arguments(tool, call.arguments), step))
        return text if len(text) <= _TOLD else f"{text[:_TOLD]}\n(cut off: it has {len(text)} characters)"

    async def _tried(self, tool: Tool, arguments: dict[str, Any], step: str) -> Any:
        for tries in range(self.options.tool_retries):
            try:
                return await tool.call(arguments, step)
            except TaskError as error:
                if not error.retryable:
                    raise
                self.attempt.log("log", f"warning: {tool.name} failed and is tried again: {error.message}")
                await asyncio.sleep(_DELAY * 2**tries)
        return await tool.call(arguments, step)


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
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise TaskError(f"its arguments are not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise TaskError("its arguments must be a JSON object")
    wrong = problems(arguments, tool.parameters)
    if wrong:
        told = "; ".join(f"{path}: {sentence}" for path, sentence in wrong[:5])
        raise TaskError(f"its arguments do not fit: {told}")
    return arguments


# ----------------------------------------------------------------------------------------------------------- messages


def _with_form(messages: list[dict[str, Any]], schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages with the form of the last answer said in words: native forms would forbid tool calls."""
    from autoglm.llm.profiles import COMPATIBLE, Form
    from autoglm.llm.structured import plan

    return [dict(message) for message in plan(schema, COMPATIBLE, Form.PROMPT).messages(messages)]


def _assistant(completion: Completion) -> dict[str, Any]:
    """Return an answer as the message that stands for it in the next call."""
    message: dict[str, Any] = {"role": "assistant", "content": completion.text}
    if completion.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in completion.tool_calls
        ]
    return message

"""``llm_generate``: one chat call; its result is the text, or with ``output_schema`` the validated value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from autoglm.base import jsonvalue
from autoglm.base.diagnostics import Diagnostic
from autoglm.base.errors import TaskError
from autoglm.executors.protocol import Coroutine
from autoglm.llm.models import known_model, suggest_model
from autoglm.spec.catalog import Catalog, OptionInfo, TaskTypeInfo
from autoglm.spec.model import Task
from autoglm.tasks.caller import Caller, open_caller
from autoglm.tasks.protocol import Attempt

if TYPE_CHECKING:
    from autoglm.llm.chat import Completion

Problem = Diagnostic | tuple[tuple[str | int, ...], Diagnostic]

_ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_OURS: Final = frozenset({"model", "messages", "stream"})
"""What ``parameters`` may not set: the task has other words for it, or reads the answer in one piece."""

_MESSAGES: Final[Mapping[str, Any]] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"role": {"enum": list(_ROLES)}, "content": {}},
        "required": ["role", "content"],
    },
}

_OPTIONS: Final = (
    OptionInfo("model", {"type": "string", "description": "a name under `models:`, a built-in one, or `ollama/qwen3`"}),
    OptionInfo("prompt", {"description": "the user's message; what is not text is sent as JSON"}),
    OptionInfo(
        "prompt_template", {"type": "string", "description": "like prompt, with the task's `with` as variables"}
    ),
    OptionInfo("system", {"type": "string", "description": "the system message"}),
    OptionInfo("messages", _MESSAGES),
    OptionInfo("temperature", {"type": "number", "minimum": 0}),
    OptionInfo("top_p", {"type": "number", "minimum": 0, "maximum": 1}),
    OptionInfo("max_tokens", {"type": "integer", "minimum": 1}),
    OptionInfo("stop", {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
    OptionInfo("seed", {"type": "integer"}),
    OptionInfo("parameters", {"type": "object", "description": "whatever else the server takes, passed on as it is"}),
)


class _Options(msgspec.Struct, forbid_unknown_fields=True):
    """The options of one attempt, rendered; numbers may come as text out of a template."""

    model: str | None = None
    prompt: Any = None
    prompt_template: Any = None
    system: str | None = None
    messages: list[dict[str, Any]] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    parameters: dict[str, Any] | None = None

    def call_parameters(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in ("temperature", "top_p", "max_tokens", "stop", "seed")}
        return {**{name: value for name, value in named.items() if value is not None}, **(self.parameters or {})}


class LlmGenerateTask:
    """Asks a model. Keys come from the environment, or from the ``api_key`` of a declared model."""

    info = TaskTypeInfo(
        name="llm_generate",
        options={option.name: option for option in _OPTIONS},
        signature_keys=("prompt", "prompt_template"),
        executor="inline",
        executors=("inline",),
        description="ask a language model; the result is its text, or a value that fits `output_schema`",
    )

    def __init__(self) -> None:
        self._caller: Caller | None = None

    def check(self, task: Task, catalog: Catalog) -> Iterable[Problem]:
        """Yield what is wrong with the options, as far as they are no templates."""
        options = task.options
        model = options.get("model")
        # Declared names are checked with the file, which knows its own; what a prefix may be is known here.
        if isinstance(model, str) and "/" in model and "{{" not in model and not known_model(model, {}, catalog.models):
            hint = suggest_model(model, {}, catalog.models)
            yield ("model",), Diagnostic("unknown-model", f"there is no model `{model}`", hint=hint)
        if not any(name in options for name in ("prompt", "prompt_template", "messages")):
            hint = "write `prompt:`, `prompt_template:` or `messages:`"
            yield Diagnostic("prompt-missing", f"`{task.name}` has nothing to ask the model", hint=hint)
        if "prompt" in options and "prompt_template" in options:
            message = "`prompt` and `prompt_template` are two ways to say the same: keep one"
            yield ("prompt_template",), Diagnostic("prompt-twice", message)
        for name in ("prompt", "prompt_template"):
            if name in options and _is_blank(options[name]):
                yield (name,), Diagnostic("prompt-empty", f"`{name}` is empty", hint="write what the model is asked")
        messages = options.get("messages")
        if isinstance(messages, list):
            yield from _check_messages(messages)
        parameters = options.get("parameters")
        if isinstance(parameters, dict):
            for name in sorted(_OURS & parameters.keys()):
                yield ("parameters", name), Diagnostic("llm-option-invalid", _reserved(name))

    async def run(self, attempt: Attempt) -> Any:
        """Return the answer: text, or the value that fits ``output_schema``. Raises TaskError."""
        return await attempt.execute(Coroutine(self._generate, {"attempt": attempt}))

    async def close(self) -> None:
        """Close the connections to models. Idempotent."""
        if self._caller is not None:
            caller, self._caller = self._caller, None
            await caller.close()

    async def _generate(self, attempt: Attempt) -> Any:
        options = _read_options(attempt.options)
        messages = _messages(options)
        if self._caller is None:
            self._caller = open_caller()
        try:
            return await self._ask(self._caller, attempt, messages, options)
        except TaskError as error:
            if attempt.usage:  # what a failed attempt used is paid for all the same
                error.details = {**(error.details or {}), "usage": dict(attempt.usage)}
            raise

    async def _ask(self, caller: Caller, attempt: Attempt, messages: list[dict[str, Any]], options: _Options) -> Any:
        from autoglm.llm.chat import ChatRequest
        from autoglm.llm.structured import plan

        endpoint = caller.endpoint(attempt, options.model)
        request = ChatRequest(messages, options.call_parameters(), schema=attempt.output_schema)
        wish = None
        if attempt.output_schema is not None:
            wish = plan(attempt.output_schema, endpoint.profile)
            request = replace(request, messages=wish.messages(messages), response_format=wish.response_format)
        completion = await caller.chat(attempt, endpoint, request)
        if wish is not None:
            return wish.read(completion.text, completion.finish_reason)
        return _answer_text(attempt, completion)


def _read_options(rendered: Mapping[str, Any]) -> _Options:
    try:
        options = msgspec.convert(dict(rendered), _Options, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid_option(f"an option of the task has the wrong form: {error}") from None
    for name in sorted(_OURS & (options.parameters or {}).keys()):
        raise _invalid_option(_reserved(name))
    return options


def _messages(options: _Options) -> list[dict[str, Any]]:
    """Return the conversation: the system message, then ``messages``, then the prompt as the user's word."""
    messages: list[dict[str, Any]] = []
    if options.system:
        messages.append({"role": "system", "content": options.system})
    for number, message in enumerate(options.messages or []):
        role = message.get("role")
        if role not in _ROLES:
            raise _invalid_option(f"messages[{number}] has the role {role!r}; it is one of {', '.join(_ROLES)}")
        content = message.get("content")
        messages.append({**message, "content": content if isinstance(content, list) else _as_text(content)})
    prompt = options.prompt if options.prompt is not None else options.prompt_template
    if prompt is not None:
        text = _as_text(prompt)
        if not text.strip():
            raise TaskError(
                "the prompt is empty once its templates are filled",
                code="prompt-empty",
                retryable=False,
                hint="look at what the templates in it refer to",
            )
        messages.append({"role": "user", "content": text})
    if not any(message["role"] != "system" for message in messages):
        raise TaskError(
            "there is nothing to ask the model: no prompt, and no message but the system's",
            code="prompt-missing",
            retryable=False,
            hint="write `prompt:`, `prompt_template:` or `messages:`",
        )
    return messages


def _as_text(value: Any) -> str:
    """Return text as it is, and any other value as JSON: a template that is one expression keeps its type."""
    if isinstance(value, str):
        return value
    return "" if value is None else jsonvalue.encode(value).decode()


def _answer_text(attempt: Attempt, completion: Completion) -> str:
    cut = completion.finish_reason == "length"
    if not completion.text.strip():
        raise TaskError(
            "the model answered with no text" + (": all of `max_tokens` went before it began" if cut else ""),
            code="answer-empty",
            hint="allow more `max_tokens`; reasoning uses them too" if cut else "retry, or reword the prompt",
            details={"finish_reason": completion.finish_reason},
        )
    if cut:
        attempt.log("log", "the answer was cut off at `max_tokens`")
    return completion.text


def _check_messages(messages: list[Any]) -> Iterable[Problem]:
    if not messages:
        yield ("messages",), Diagnostic("prompt-empty", "`messages` is empty", hint="write at least one message")
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or ("{{" not in role and role not in _ROLES):
            hint = f"write `role:` as one of {', '.join(_ROLES)}"
            yield ("messages", number), Diagnostic("llm-option-invalid", "this message has no known role", hint=hint)
        elif "content" not in message:
            yield ("messages", number), Diagnostic("llm-option-invalid", "this message has no `content`")


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _reserved(name: str) -> str:
    where = "answers are read in one piece" if name == "stream" else f"write `{name}` as an option of the task"
    return f"`parameters` cannot set `{name}`: {where}"


def _invalid_option(message: str) -> TaskError:
    return TaskError(message, code="llm-option-invalid", retryable=False, hint="see docs/models.md")

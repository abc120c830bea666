"""From a task's options to the messages of a call: system, messages, prompt, images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from autoglm.base import jsonvalue
from autoglm.base.diagnostics import Diagnostic
from autoglm.base.errors import TaskError
from autoglm.tasks.model_options import Problem, invalid_option, is_blank

ROLES: Final = ("system", "developer", "user", "assistant", "tool")


def build_messages(
    system: str | None, messages: Sequence[Mapping[str, Any]], prompt: Any, images: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the conversation: the system message, then ``messages``, then the prompt as the user's word.

    ``images`` are addresses (``data:`` or ``https:``); they go with the last thing that the user says.
    Raises TaskError ``prompt-empty``, ``prompt-missing`` or ``llm-option-invalid``.
    """
    built: list[dict[str, Any]] = []
    if system:
        built.append({"role": "system", "content": system})
    for number, message in enumerate(messages):
        role = message.get("role")
        if role not in ROLES:
            raise invalid_option(f"messages[{number}] has the role {role!r}; it is one of {', '.join(ROLES)}")
        content = message.get("content")
        built.append({**message, "content": content if isinstance(content, list) else as_text(content)})
    if prompt is not None:
        text = as_text(prompt)
        if not text.strip():
            raise TaskError(
                "the prompt is empty once its templates are filled",
                code="prompt-empty",
                retryable=False,
                hint="look at what the templates in it refer to",
            )
        built.append({"role": "user", "content": text})
    if not any(message["role"] != "system" for message in built):
        raise TaskError(
            "there is nothing to ask the model: no prompt, and no message but the system's",
            code="prompt-missing",
            retryable=False,
            hint="write `prompt:`, `prompt_template:` or `messages:`",
        )
    return _with_images(built, images) if images else built


def _with_images(messages: list[dict[str, Any]], images: Sequence[str]) -> list[dict[str, Any]]:
    last = max((at for at, message in enumerate(messages) if message["role"] == "user"), default=None)
    if last is None:
        raise invalid_option("there is no message of the user that the images could go with", "write a `prompt:`")
    content = messages[last]["content"]
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    shown = [{"type": "image_url", "image_url": {"url": image}} for image in images]
    return [*messages[:last], {**messages[last], "content": [*parts, *shown]}, *messages[last + 1 :]]


def as_text(value: Any) -> str:
    """Return text as it is, and any other value as JSON: a template that is one expression keeps its type."""
    if isinstance(value, str):
        return value
    return "" if value is None else jsonvalue.encode(value).decode()


def check_conversation(name: str, options: Mapping[str, Any]) -> Iterable[Problem]:
    """Yield what is wrong with the prompt and the messages of the task ``name``, as far as they are no templates."""
    if not any(each in options for each in ("prompt", "prompt_template", "messages")):
        hint = "write `prompt:`, `prompt_template:` or `messages:`"
        yield Diagnostic("prompt-missing", f"`{name}` has nothing to ask the model", hint=hint)
    if "prompt" in options and "prompt_template" in options:
        message = "`prompt` and `prompt_template` are two ways to say the same: keep one"
        yield ("prompt_template",), Diagnostic("prompt-twice", message)
    for each in ("prompt", "prompt_template"):
        if each in options and is_blank(options[each]):
            yield (each,), Diagnostic("prompt-empty", f"`{each}` is empty", hint="write what the model is asked")
    messages = options.get("messages")
    if isinstance(messages, list):
        yield from _check_messages(messages)


def _check_messages(messages: list[Any]) -> Iterable[Problem]:
    if not messages:
        yield ("messages",), Diagnostic("prompt-empty", "`messages` is empty", hint="write at least one message")
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or ("{{" not in role and role not in ROLES):
            hint = f"write `role:` as one of {', '.join(ROLES)}"
            yield ("messages", number), Diagnostic("llm-option-invalid", "this message has no known role", hint=hint)
        elif "content" not in message:
            hint = "write `content:`, what it says"
            yield ("messages", number), Diagnostic("llm-option-invalid", "this message has no `content`", hint=hint)

"""Answers that must fit a schema: how they are asked for, and how they are read.

The result is always validated here, whatever the server promised. :func:`plan` chooses one :class:`Form` of asking; a
caller that wants to try others in turn makes one plan a form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm.base import jsonvalue
from autoglm.base.errors import TaskError
from autoglm.base.schemas import Schema, problems, validator_for
from autoglm.llm.errors import clipped
from autoglm.llm.profiles import Form, Profile

if TYPE_CHECKING:
    from autoglm.llm.chat import Message

_WRAP = "value"
"""Native forms give objects only: an answer of another type travels in an object under this key."""
_MOST_CANDIDATES = 64
"""How many places of a text are tried as the start of a JSON value."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One way of asking for an answer that fits ``schema``."""

    form: Form
    schema: Schema
    asked: Schema
    """The schema that the server or the model gets to see: an object, where ``schema`` is not one."""
    response_format: Mapping[str, Any] | None

    def messages(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the messages with the schema said in words, where the form needs it."""
        if self.form in (Form.JSON_SCHEMA, Form.OBJECT_SCHEMA):
            return messages
        text = json.dumps(self.asked, ensure_ascii=False)
        demand = (
            "Answer with a single JSON value that is valid against the JSON Schema below, and with nothing else: no "
            f"explanation, no code fence.\n\nJSON Schema:\n{text}"
        )
        first = messages[0] if messages else {}
        if first.get("role") == "system" and isinstance(first.get("content"), str):
            return [{**first, "content": f"{first['content']}\n\n{demand}"}, *messages[1:]]
        return [{"role": "system", "content": demand}, *messages]

    def read(self, text: str, finish_reason: str | None = None) -> Any:
        """Return the value in a model's answer, validated. Raises TaskError ``schema-mismatch``."""
        return read_answer(text, self.schema, finish_reason=finish_reason, wrapped=self.asked is not self.schema)


def plan(schema: Schema, profile: Profile, form: Form | None = None) -> Plan:
    """Plan how to ask ``profile``'s kind of server; without ``form``, the best one it has.

    Raises TaskError ``output-schema-invalid``.
    """
    validator_for(schema)
    form = form or profile.forms[0]
    asked = schema if form is Form.PROMPT or _is_object(schema) else _wrapped(schema)
    response_format: Mapping[str, Any] | None = None
    if form is Form.JSON_SCHEMA:
        wish: dict[str, Any] = {"name": "answer", "schema": asked}
        if _is_closed(asked):
            wish["strict"] = True
        response_format = {"type": "json_schema", "json_schema": wish}
    elif form is Form.OBJECT_SCHEMA:
        response_format = {"type": "json_object", "schema": asked}
    elif form is Form.JSON_OBJECT:
        response_format = {"type": "json_object"}
    return Plan(form, schema, asked, response_format)


def _is_object(schema: Schema) -> bool:
    return schema.get("type") == "object" or ("type" not in schema and "properties" in schema)


def _wrapped(schema: Schema) -> Schema:
    """Return an object schema around ``schema``; its definitions move up, where references look for them."""
    shared = {key: schema[key] for key in ("$schema", "$defs", "definitions") if key in schema}
    inner = {key: value for key, value in schema.items() if key not in shared}
    return {
        **shared,
        "type": "object",
        "properties": {_WRAP: inner},
        "required": [_WRAP],
        "additionalProperties": False,
    }


def _is_closed(schema: Any) -> bool:
    """Tell whether a schema is what OpenAI's strict mode demands: closed objects whose every property is required."""
    if isinstance(schema, list):
        return all(_is_closed(each) for each in schema)
    if not isinstance(schema, dict):
        return True
    if "properties" in schema or schema.get("type") == "object":
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or not isinstance(properties, dict):
            return False
        if set(properties) != set(schema.get("required", ())):
            return False
        return all(_is_closed(each) for each in properties.values()) and all(
            _is_closed(value) for key, value in schema.items() if key not in ("properties", "enum", "const")
        )
    return all(_is_closed(value) for key, value in schema.items() if key not in ("enum", "const"))


# ------------------------------------------------------------------------------------------------------- reading


def read_answer(text: str, schema: Schema, *, finish_reason: str | None = None, wrapped: bool = False) -> Any:
    """Return the first value found in ``text`` that fits ``schema``.

    ``text`` may be the bare value, or hold it in a code fence or between sentences. Raises TaskError
    ``schema-mismatch``, with the failing fields of the most likely candidate.
    """
    first: tuple[Any, list[tuple[str, str]]] | None = None
    for value in _candidates(text, schema):
        for reading in _readings(value, wrapped):
            wrong = problems(reading, schema)
            if not wrong:
                return reading
            if first is None or (wrapped and reading is not value and first[0] is value):
                first = (reading, wrong)
    if first is None:
        raise _mismatch("holds no JSON", text, finish_reason, [])
    path, sentence = first[1][0]
    raise _mismatch(f"does not fit the output schema at `{path}`: {sentence}", text, finish_reason, first[1])


def _readings(value: Any, wrapped: bool) -> Iterator[Any]:
    yield value
    if wrapped and isinstance(value, dict) and set(value) == {_WRAP}:
        yield value[_WRAP]


def _candidates(text: str, schema: Schema) -> Iterator[Any]:
    """Yield the JSON values in a model's answer, the likeliest first."""
    body = _without_thoughts(text).strip().lstrip("\ufeff")
    whole = _decoded(_decoder.decode, body)
    if whole is not _NOTHING:
        yield whole
        return
    for fenced in re.findall(r"```[\w-]*[ \t]*\n?(.*?)```", body, re.DOTALL):
        value = _decoded(_decoder.decode, fenced.strip())
        if value is not _NOTHING:
            yield value
    yield from _embedded(body)
    if schema.get("type") == "string" and body:
        yield body  # a model asked for a bare string seldom writes the quotes


def _without_thoughts(text: str) -> str:
    """Drop the reasoning that some servers leave in front of the answer."""
    return re.sub(r"^\s*<think>.*?</think>", "", text, count=1, flags=re.DOTALL)


def _embedded(body: str) -> Iterator[Any]:
    """Yield the objects and lists that stand between other text."""
    at = tries = 0
    while tries < _MOST_CANDIDATES and (start := re.compile(r"[\[{]").search(body, at)):
        tries += 1
        decoded = _decoded(_decoder.raw_decode, body, start.start())
        if decoded is _NOTHING:
            at = start.start() + 1
        else:
            value, at = decoded
            yield value


_NOTHING = object()


def _decoded(decode: Callable[..., Any], *arguments: Any) -> Any:
    """Return what ``decode`` makes of its arguments; ``_NOTHING`` where that is not JSON that we could write again."""
    try:
        value = decode(*arguments)
        jsonvalue.encode(value)
    except (ValueError, RecursionError, OverflowError):
        return _NOTHING
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant)


def _mismatch(what: str, text: str, finish_reason: str | None, wrong: Sequence[tuple[str, str]]) -> TaskError:
    cut = finish_reason == "length"
    return TaskError(
        f"the model's answer {what}; it was: {clipped(text, 300) or '(empty)'}",
        code="schema-mismatch",
        classes=("schema_mismatch",),
        hint="it was cut off at `max_tokens`: allow more"
        if cut
        else "retry, loosen the schema, or say more in the prompt",
        details={
            "problems": [{"path": path, "message": sentence} for path, sentence in wrong],
            "answer": text[:4000],
            "finish_reason": finish_reason,
        },
    )

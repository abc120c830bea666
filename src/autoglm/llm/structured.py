"""Answers that must fit a schema: how they are asked for, and how they are read.

The result is always validated here, whatever the server promised. :func:`forms_for` lints a schema for a kind of server
and says which forms of asking are worth trying, :func:`plan` makes one of them, and its answer is read strictly by
:meth:`Plan.read`, and where that fails, mended without another call by :meth:`Plan.mend`.
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
from autoglm.llm.lint import keywords_of
from autoglm.llm.profiles import Form, Profile
from autoglm.llm.repair import NotReadable, Reading, fitted, read_loosely

if TYPE_CHECKING:
    from autoglm.llm.chat import Message

_WRAP = "value"
"""Native forms give objects only: an answer of another type travels in an object under this key."""
_NATIVE = (Form.JSON_SCHEMA, Form.OBJECT_SCHEMA)
_MOST_CANDIDATES = 64
"""How many places of a text are tried as the start of a JSON value."""


_MOST_KNOWN = 256
_known_forms: dict[tuple[int, str], tuple[Schema, Profile, tuple[Form, ...], tuple[str, ...]]] = {}
"""What :func:`forms_for` found, by the schema's identity: the calls of a loop all bring the same object."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One way of asking for an answer that fits ``schema``."""

    form: Form
    schema: Schema
    asked: Schema
    """The schema that the server or the model gets to see: an object, where ``schema`` is not one."""
    response_format: Mapping[str, Any] | None

    demand: str
    """The schema said in words, for the forms that need it."""

    def messages(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the messages with the schema said in words, where the form needs it."""
        if self.form in _NATIVE:
            return messages
        demand = self.demand
        first = messages[0] if messages else {}
        if first.get("role") == "system" and isinstance(first.get("content"), str):
            return [{**first, "content": f"{first['content']}\n\n{demand}"}, *messages[1:]]
        return [{"role": "system", "content": demand}, *messages]

    def read(self, text: str, finish_reason: str | None = None) -> Any:
        """Return the value in a model's answer, validated. Raises TaskError ``schema-mismatch``."""
        return read_answer(text, self.schema, finish_reason=finish_reason, wrapped=self._is_wrapped)

    def mend(self, text: str, finish_reason: str | None = None) -> tuple[Any, list[str]] | None:
        """Return the value in an answer that :meth:`read` refuses, and what had to be overlooked; None where none fits.

        An answer that was cut off at ``max_tokens`` is not closed by us: what is missing from it would be lost unsaid.
        """
        return mend_answer(text, self.schema, finish_reason=finish_reason, wrapped=self._is_wrapped)

    @property
    def _is_wrapped(self) -> bool:
        return self.asked is not self.schema


def forms_for(schema: Schema, profile: Profile) -> tuple[tuple[Form, ...], list[str]]:
    """Return the forms in which a kind of server can be asked for ``schema``, best first, and what there is to say.

    The last one always works. Raises TaskError ``output-schema-invalid``.
    """
    key = (id(schema), profile.name)
    known = _known_forms.get(key)
    if known is not None and known[0] is schema and known[1] is profile:
        return known[2], list(known[3])
    forms, notes = _forms_for(schema, profile)
    if len(_known_forms) >= _MOST_KNOWN:
        _known_forms.clear()
    _known_forms[key] = (schema, profile, forms, tuple(notes))
    return forms, notes


def _forms_for(schema: Schema, profile: Profile) -> tuple[tuple[Form, ...], list[str]]:
    validator_for(schema)
    rules = profile.schema_rules
    used = keywords_of(schema)
    notes: list[str] = []
    reasons = [f"`{name}`" for name in sorted(used & rules.refuses)]
    if rules.anchored_patterns and not _patterns_are_anchored(schema):
        reasons.append("a `pattern` that does not begin with `^` and end with `$`")
    forms = profile.forms
    native = [form for form in forms if form in _NATIVE]
    if native and reasons:
        notes.append(f"{profile.name} does not take {', '.join(reasons)} in a schema: it is said in the prompt instead")
        forms = tuple(form for form in forms if form not in _NATIVE)
    elif native and (unenforced := used & rules.ignores):
        names = ", ".join(f"`{name}`" for name in sorted(unenforced))
        notes.append(f"{profile.name} does not enforce {names} of the schema: that is checked here only")
    return forms, notes


def plan(schema: Schema, profile: Profile, form: Form | None = None) -> Plan:
    """Plan how to ask ``profile``'s kind of server; without ``form``, the best one for this schema.

    Raises TaskError ``output-schema-invalid``.
    """
    form = form or forms_for(schema, profile)[0][0]
    asked = schema if form is Form.PROMPT or _is_object(schema) else _wrapped(schema)
    response_format: Mapping[str, Any] | None = None
    if form is Form.JSON_SCHEMA:
        wish: dict[str, Any] = {"name": "answer", "schema": asked}
        if _is_closed(asked) and not keywords_of(asked) & profile.schema_rules.strict_refuses:
            wish["strict"] = True
        response_format = {"type": "json_schema", "json_schema": wish}
    elif form is Form.OBJECT_SCHEMA:
        response_format = {"type": "json_object", "schema": asked}
    elif form is Form.JSON_OBJECT:
        response_format = {"type": "json_object"}
    text = json.dumps(asked, ensure_ascii=False)
    demand = (
        "Answer with a single JSON value that is valid against the JSON Schema below, and with nothing else: no "
        f"explanation, no code fence.\n\nJSON Schema:\n{text}"
    )
    return Plan(form, schema, asked, response_format, demand)


class Plans:
    """How one schema is asked for from one kind of server, worked out once for all calls of a loop."""

    def __init__(self, schema: Schema, profile: Profile) -> None:
        """Raise TaskError ``output-schema-invalid``."""
        self.schema = schema
        self.profile = profile
        self.forms, self.notes = forms_for(schema, profile)
        self._made: dict[Form, Plan] = {}

    def plan(self, form: Form) -> Plan:
        """Return the plan in one form."""
        if form not in self._made:
            self._made[form] = plan(self.schema, self.profile, form)
        return self._made[form]


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


def _patterns_are_anchored(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and not (pattern.startswith("^") and pattern.endswith("$")):
            return False
        return all(_patterns_are_anchored(each) for key, each in schema.items() if key not in ("enum", "const"))
    return not isinstance(schema, list) or all(map(_patterns_are_anchored, schema))


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


def mend_answer(
    text: str, schema: Schema, *, finish_reason: str | None = None, wrapped: bool = False
) -> tuple[Any, list[str]] | None:
    """Return the first value in ``text`` that fits ``schema`` once it is mended, and what was mended; else None."""
    for reading in _loose_readings(text, schema):
        if reading.is_cut and finish_reason == "length":
            continue
        for value in _readings(reading.value, wrapped):
            mended, changes = fitted(value, schema)
            if not problems(mended, schema):
                return mended, [*reading.slips, *changes]
    return None


def _loose_readings(text: str, schema: Schema) -> Iterator[Reading]:
    """Yield what may be the answer: values that are JSON, then what is nearly JSON."""
    for value in _candidates(text, schema):
        yield Reading(value)
    body = _without_thoughts(text).strip().lstrip("\ufeff")
    fenced = re.findall(r"```[\w-]*[ \t]*\n?(.*?)(?:```|$)", body, re.DOTALL)
    for piece in (*fenced, body):
        try:
            reading = read_loosely(piece)
            jsonvalue.encode(reading.value)
        except (NotReadable, jsonvalue.NotJson, RecursionError):
            continue
        yield reading


def _readings(value: Any, wrapped: bool) -> Iterator[Any]:
    yield value
    if wrapped and isinstance(value, dict) and set(value) == {_WRAP}:
        yield value[_WRAP]


def _candidates(text: str, schema: Schema) -> Iterator[Any]:
    """Yield the JSON values in a model's answer, the likeliest first."""
    body = _without_thoughts(text).strip().lstrip("\ufeff")
    try:
        whole = jsonvalue.decode(body)
    except jsonvalue.NotJson:
        pass
    else:
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
    if "<think>" not in text:
        return text
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

"""The ``inputs`` of a workflow: a JSON Schema in small for each, and a short form for the plain ones."""

from __future__ import annotations

from typing import Any

from autoglm.base.diagnostics import did_you_mean
from autoglm.spec.model import InputSpec, Path
from autoglm.spec.tree import shorten
from autoglm.spec.values import Values, build, describe, one_of

TYPES = ("string", "integer", "number", "boolean", "array", "object", "null", "any")
_OTHER_TYPES = {
    "str": "string",
    "text": "string",
    "int": "integer",
    "float": "number",
    "double": "number",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "dict": "object",
    "map": "object",
    "mapping": "object",
    "none": "null",
    "secret": "string",
}
_OWN_FIELDS = ("type", "description", "default", "required", "enum", "secret", "schema")
SCHEMA_KEYWORDS = frozenset(
    """
    minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern format items prefixItems
    minItems maxItems uniqueItems contains properties additionalProperties patternProperties propertyNames minProperties
    maxProperties const title examples anyOf oneOf allOf not if then else $ref $defs
    """.split()  # noqa: SIM905 - thirty words read better as words
)


def read_inputs(values: Values, written: Any) -> dict[str, InputSpec]:
    """Return the declared inputs."""
    mapping = values.mapping(written, (), "inputs", "write `inputs: {name: string}`")
    inputs: dict[str, InputSpec] = {}
    for name, value in (mapping or {}).items():
        if not name.isidentifier():
            message = f"`{shorten(name)}` cannot name an input"
            hint = "a name that expressions use has letters, digits and `_`, and no digit first"
            values.error("bad-name", message, ("inputs", name), key=True, hint=hint)
        inputs[name] = _read_input(values, value, name)
    return inputs


def _read_input(values: Values, written: Any, name: str) -> InputSpec:
    path: Path = ("inputs", name)
    fields: dict[str, Any] = {
        "type": "any",
        "description": None,
        "default": None,
        "required": True,
        "enum": None,
        "secret": False,
        "json_schema": {},
    }
    if isinstance(written, str | list):
        fields["type"] = _type(values, written, path) or "any"
        return build(InputSpec, fields)
    body = values.mapping(written, ("inputs",), name, "write a type, or `{type: string, default: …}`") or {}
    for key, value in body.items():
        if key == "type":
            fields["type"] = _type(values, value, (*path, key)) or "any"
        elif key == "description":
            fields[key] = values.optional_text(value, path, key)
        elif key == "default":
            fields[key] = value
        elif key == "enum":
            if isinstance(value, list) and value:
                fields[key] = tuple(value)
            else:
                values.wrong(value, path, key, "a list of the values that are allowed")
        elif key == "secret":
            fields[key] = bool(values.boolean(value, path, key))
        elif key == "schema":
            fields["json_schema"] |= values.mapping(value, path, key) or {}
        elif key == "required" and isinstance(value, list):
            fields["json_schema"][key] = value  # JSON Schema's own, for objects
        elif key in SCHEMA_KEYWORDS:
            fields["json_schema"][key] = value
        elif key != "required":
            values.unknown_key(key, path, (*_OWN_FIELDS, *SCHEMA_KEYWORDS), "an input")
    fields["required"] = _required(values, body, path)
    if "default" in body and body["default"] is not None:
        _check_default(values, fields, path)
    return build(InputSpec, fields)


def _required(values: Values, body: dict[str, Any], path: Path) -> bool:
    written = body.get("required")
    if written is None or isinstance(written, list):
        return "default" not in body
    required = values.boolean(written, path, "required")
    if required and "default" in body:
        message = "an input with a `default` is not required"
        values.error("required-with-default", message, (*path, "required"), key=True, hint="remove one of the two")
    return bool(required)


def _type(values: Values, written: Any, path: Path) -> Any:
    if isinstance(written, list) and written:
        names = [_one_type(values, item, (*path, index)) for index, item in enumerate(written)]
        return tuple(name for name in names if name is not None)
    return _one_type(values, written, path)


def _one_type(values: Values, written: Any, path: Path) -> str | None:
    if isinstance(written, str) and written in TYPES:
        return written
    guess = None
    if isinstance(written, str):
        guess = _OTHER_TYPES.get(written.lower()) or did_you_mean(written, TYPES)
    hint = (
        "write `{type: string, secret: true}`" if written == "secret" else f"did you mean `{guess}`?" if guess else None
    )
    message = f"an input's type must be {one_of(TYPES)}, but it is {describe(written)}"
    values.error("unknown-input-type", message, path, hint=hint)
    return None


def _check_default(values: Values, fields: dict[str, Any], path: Path) -> None:
    default, declared = fields["default"], fields["type"]
    types = declared if isinstance(declared, tuple) else (declared,)
    if not any(has_type(default, name) for name in types):
        message = f"the default must be of type {one_of(types)}, but it is {describe(default)}"
        values.error("bad-default", message, (*path, "default"))
    elif fields["enum"] is not None and not any(same(default, item) for item in fields["enum"]):
        message = f"the default is {describe(default)}, which is not among the values of `enum`"
        values.error("bad-default", message, (*path, "default"))


def same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal; unlike Python's ``==``, 1 is not true."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def has_type(value: Any, name: str) -> bool:
    """Return whether a JSON value has a JSON Schema type."""
    match name:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return is_whole and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case "null":
            return value is None
        case _:
            return True

"""What a JSON Schema asks for, looked at before anybody is asked: the keywords it uses, and what nothing can satisfy.

Pure. A schema that contradicts itself would be paid for again and again, and every answer refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from autoglm.base.jsonvalue import is_of_type
from autoglm.base.schemas import clipped, invalid_schema, validator_for

_SCHEMAS: Final = frozenset({"items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames"})
_NAMED: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_LISTED: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_BOUNDS: Final = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))
_DEEPEST: Final = 64

Fault = tuple[tuple[str | int, ...], str]
"""(path within the schema, sentence)."""


def keywords_of(schema: Any) -> frozenset[str]:
    """Return every keyword that a schema or a part of it uses."""
    return frozenset(key for _, part in _parts(schema, (), 0) for key in part)


def contradictions(schema: Any) -> list[Fault]:
    """Return where a schema asks for what no value can be. Only what is plain to see is found."""
    return [fault for path, part in _parts(schema, (), 0) for fault in _faults(path, part)]


def check_usable(schema: Mapping[str, Any]) -> None:
    """Find now what would only show once an answer is held against the schema, and so is paid for.

    Raises TaskError ``output-schema-invalid`` for what is no JSON Schema, refers to what it does not hold, or has a
    pattern that cannot be read.
    """
    validator_for(schema)
    parts = [part for _, part in _parts(schema, (), 0)]
    for part in parts:
        if isinstance(pattern := part.get("pattern"), str):
            try:
                re.compile(pattern)
            except re.error as error:
                raise invalid_schema(f"has a `pattern` that is none: {pattern!r}: {error}") from None
    references = [ref for part in parts if isinstance(ref := part.get("$ref"), str)]
    if not references or any("$id" in part for part in parts):
        return
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    resource = Resource.from_contents(dict(schema), default_specification=DRAFT202012)
    resolver = Registry().resolver_with_root(resource)
    for reference in references:
        try:
            resolver.lookup(reference)
        except Unresolvable:
            raise invalid_schema(f"refers to what it does not hold: {clipped(reference, 200)}") from None


def _parts(schema: Any, path: tuple[str | int, ...], depth: int) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield a schema and all schemas within it, each with its path."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return
    yield path, schema
    for key, value in schema.items():
        if key in _SCHEMAS:
            yield from _parts(value, (*path, key), depth + 1)
        elif key in _NAMED and isinstance(value, Mapping):
            for name, each in value.items():
                yield from _parts(each, (*path, key, name), depth + 1)
        elif key in _LISTED and isinstance(value, list):
            for at, each in enumerate(value):
                yield from _parts(each, (*path, key, at), depth + 1)


def _faults(path: tuple[str | int, ...], schema: Mapping[str, Any]) -> Iterator[Fault]:
    for low, high in _BOUNDS:
        if _is_number(schema.get(low)) and _is_number(schema.get(high)) and schema[low] > schema[high]:
            yield (*path, low), f"`{low}` ({schema[low]}) is more than `{high}` ({schema[high]})"
    types = schema.get("type")
    named = [types] if isinstance(types, str) else types
    for key in ("enum", "const"):
        allowed = schema.get(key) if key == "enum" else [schema["const"]] if "const" in schema else None
        if isinstance(allowed, list) and isinstance(named, list):
            if not allowed:
                yield (*path, key), "`enum` is empty"
            elif not any(is_of_type(value, kind) for value in allowed for kind in named if isinstance(kind, str)):
                yield (*path, key), f"no value of `{key}` has the type {' or '.join(map(str, named))}"
    properties = schema.get("properties")
    if schema.get("additionalProperties") is False and "patternProperties" not in schema:
        known = properties if isinstance(properties, Mapping) else {}
        for name in schema.get("required", ()):
            if name not in known:
                yield (*path, "required"), f"`{name}` is required, and `additionalProperties: false` forbids it"
    if isinstance(properties, Mapping):
        for name in schema.get("required", ()):
            if properties.get(name) is False:
                yield (*path, "properties", name), f"`{name}` is required, and its schema allows nothing"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

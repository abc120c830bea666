"""What a JSON Schema says about the fields of a value, as far as it can be told without the value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNTOLD = ("$ref", "$dynamicRef", "anyOf", "oneOf", "allOf", "if", "not", "dependentSchemas", "patternProperties")


def has_field(schema: Any, key: str) -> bool | None:
    """Tell whether a value of ``schema`` has the field ``key``: True, False, or None when the schema does not say.

    A schema that declares ``properties`` and is silent about others is taken at its word: it has no others.
    """
    below = step(schema, key)
    return None if below is None else below is not False


def step(schema: Any, key: str) -> Any:
    """Return the schema of ``key`` in a value of ``schema``; None when anything may be there, False when nothing."""
    if not isinstance(schema, Mapping) or any(word in schema for word in _UNTOLD):
        return None
    types = schema.get("type")
    if isinstance(types, list | tuple) and len(types) > 1:
        kinds = [kind for kind in types if kind != "null"]
        types = kinds[0] if len(kinds) == 1 else None
    elif isinstance(types, list | tuple):
        types = types[0] if types else None
    if types == "array" or (types is None and "items" in schema):
        return _entry(schema, key)
    if types == "object" or (types is None and "properties" in schema):
        return _property(schema, key)
    if types == "string":
        return {"type": "string"} if _is_index(key) else False
    return False if types in ("number", "integer", "boolean", "null") else None


def fields_of(schema: Any) -> list[str]:
    """Return the fields that ``schema`` declares."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return [str(name) for name in properties] if isinstance(properties, Mapping) else []


def _property(schema: Mapping[str, Any], key: str) -> Any:
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and key in properties:
        below = properties[key]
        return below if isinstance(below, Mapping) else None
    others = schema.get("additionalProperties")
    if others is False or (others is None and isinstance(properties, Mapping) and properties):
        return False
    return others if isinstance(others, Mapping) else None


def _entry(schema: Mapping[str, Any], key: str) -> Any:
    if not _is_index(key):
        return False
    if "prefixItems" in schema:
        return None
    items = schema.get("items")
    return items if isinstance(items, Mapping) else None


def _is_index(key: str) -> bool:
    return key.lstrip("-").isdigit()

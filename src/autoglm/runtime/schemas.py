"""A result held against its task's ``output_schema`` (JSON Schema 2020-12 unless ``$schema`` says otherwise)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from autoglm.base import jsonvalue
from autoglm.base.errors import Failure

_SHOWN = 5


def check_schema(value: Any, schema: Mapping[str, Any]) -> Failure | None:
    """Return what is wrong with ``value``, or None when it is as the schema says."""
    validator = _validator(jsonvalue.canonical(dict(schema)))
    errors = sorted(validator.iter_errors(value), key=lambda error: error.json_path)
    if not errors:
        return None
    shown = "; ".join(f"{error.json_path}: {error.message[:200]}" for error in errors[:_SHOWN])
    more = f" (and {len(errors) - _SHOWN} more)" if len(errors) > _SHOWN else ""
    message = f"the result does not fit `output_schema`: {shown}{more}"
    return Failure("schema-mismatch", message, ("schema-mismatch",), hint="mend the schema, or what gives the result")


@lru_cache(maxsize=256)
def _validator(text: bytes) -> Any:
    from jsonschema import Draft202012Validator, validators

    schema = jsonvalue.decode(text)
    return validators.validator_for(schema, Draft202012Validator)(schema)

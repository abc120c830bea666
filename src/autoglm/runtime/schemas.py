"""A result held against its task's ``output_schema``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoglm.base.errors import Failure, TaskError
from autoglm.base.schemas import problems


def check_schema(value: Any, schema: Mapping[str, Any]) -> Failure | None:
    """Return what is wrong with ``value``, or None when it is as the schema says."""
    try:
        found = problems(value, schema)
    except TaskError as error:
        return error.failure()
    if not found:
        return None
    shown = "; ".join(f"{path}: {sentence}" for path, sentence in found)
    message = f"the result does not fit `output_schema`: {shown}"
    return Failure("schema-mismatch", message, ("schema-mismatch",), hint="mend the schema, or what gives the result")

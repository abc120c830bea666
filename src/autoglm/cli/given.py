"""Inputs as they are given on the command line and in files, read by the types that the workflow declares."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from autoglm.base import jsonvalue
from autoglm.base.errors import UsageError
from autoglm.spec.model import InputSpec, Workflow


def read_inputs(workflow: Workflow, pairs: Sequence[str], file: Path | None) -> dict[str, Any]:
    """Return the inputs of ``file``, with those of ``name=value`` pairs over them.

    Values that do not fit their declared type stay as they were written: the session then tells everything that is
    wrong with them at once.

    Raises:
        UsageError: ``bad-inputs``: a pair without ``=``; ``inputs-file``: the file cannot be read or is no mapping.
        SpecError: the file is no YAML or JSON.
    """
    values = read_file(file) if file is not None else {}
    wrong = [pair for pair in pairs if not pair.partition("=")[1] or not pair.partition("=")[0].strip()]
    if wrong:
        listed = ", ".join(f"`{pair}`" for pair in wrong)
        raise UsageError(f"{listed} is no input", code="bad-inputs", hint="write -i name=value")
    for pair in pairs:
        name, _, text = pair.partition("=")
        values[name.strip()] = read_value(workflow.inputs.get(name.strip()), text)
    return values


def read_value(spec: InputSpec | None, text: str) -> Any:
    """Return what ``text`` means for an input: by its declared type; undeclared, JSON when it is JSON, else text."""
    kinds = ("any",) if spec is None else (spec.type,) if isinstance(spec.type, str) else spec.type
    if spec is not None and spec.enum is not None and text in spec.enum:
        return text
    if kinds == ("string",):
        return text
    try:
        value = jsonvalue.decode(text)
    except jsonvalue.NotJson:
        return text
    if "string" in kinds and "any" not in kinds and not _is_one_of(value, kinds):
        return text
    return value


def _is_one_of(value: Any, kinds: Sequence[str]) -> bool:
    if isinstance(value, bool):
        return "boolean" in kinds
    match value:
        case None:
            return "null" in kinds
        case int():
            return "integer" in kinds or "number" in kinds
        case float():
            return "number" in kinds or ("integer" in kinds and value.is_integer())
        case list():
            return "array" in kinds
        case dict():
            return "object" in kinds
        case _:
            return "string" in kinds


def read_file(file: Path) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file; ``-`` is standard input."""
    from autoglm.spec.document import MAX_BYTES, decode_source, read_document

    name = "standard input" if str(file) == "-" else str(file)
    try:
        with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as source:
            raw = source.read(MAX_BYTES + 1)  # what a device or a pipe holds, its size does not tell
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "correct the path, or its permissions"
        raise UsageError(f"the inputs in {name} cannot be read: {reason}", code="inputs-file", hint=hint) from None
    document = read_document(decode_source(raw, name), name)
    if not isinstance(document.data, dict):
        hint = "write `name: value` lines, or a JSON object"
        raise UsageError(f"{name} must hold a mapping of input names to values", code="inputs-file", hint=hint)
    return dict(document.data)

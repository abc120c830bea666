"""JSON values held against JSON Schemas (draft 2020-12 unless ``$schema`` says otherwise), compiled once each.

Nothing is ever fetched: a reference to what the schema does not hold itself is an error. The library is imported when
the first value is checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from autoglm.base import jsonvalue
from autoglm.base.errors import TaskError
from autoglm.base.quick_schemas import Test, quick_test

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

Schema = Mapping[str, Any]
_MOST_KNOWN = 256
_known: dict[int, tuple[Schema, Validator]] = {}
"""Schemas by identity, held so that the identity stays theirs: the calls of a loop all bring the same object."""


def validator_for(schema: Schema) -> Validator:
    """Return the compiled validator of a schema, which must not change after.

    Raises TaskError ``output-schema-invalid``.
    """
    known = _known.get(id(schema))
    if known is not None and known[0] is schema:
        return known[1]
    try:
        validator = _compiled(jsonvalue.encode(schema if isinstance(schema, dict) else dict(schema)))
    except jsonvalue.NotJson as error:
        raise invalid_schema(f"is not JSON data: {error}") from None
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known[id(schema)] = (schema, validator)
    return validator


@lru_cache(maxsize=256)
def _compiled(text: bytes) -> Validator:
    """Compile a schema once for all calls of a loop: checking it costs more than validating an answer."""
    import jsonschema
    from referencing import Registry

    schema = json.loads(text)
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise invalid_schema(f"is not a JSON Schema at `{error.json_path}`: {clipped(error.message, 200)}") from None
    # An empty registry: a reference is never fetched from the network.
    return kind(schema, registry=Registry(), format_checker=kind.FORMAT_CHECKER)


def problems(value: Any, schema: Schema, limit: int = 5) -> list[tuple[str, str]]:
    """Return up to ``limit`` ways in which ``value`` breaks ``schema``, as (JSON path, sentence); the worst first.

    Raises TaskError ``output-schema-invalid`` for a schema that only now turns out to be unusable.
    """
    test = _quick_test_of(schema)
    if test is not None and test(value):
        return []
    from jsonschema.exceptions import best_match, relevance
    from referencing.exceptions import Unresolvable

    try:
        errors = sorted(validator_for(schema).iter_errors(value), key=relevance, reverse=True)
        if not errors:
            return []
        worst = best_match(errors) or errors[0]
    except Unresolvable as error:
        raise invalid_schema(f"refers to what it does not hold: {clipped(str(error.ref), 200)}") from None
    except (re.error, RecursionError, OverflowError) as error:
        raise invalid_schema(f"cannot be used: {clipped(str(error), 200)}") from None
    found = [(each.json_path, clipped(each.message, 200)) for each in (worst, *errors)]
    return list(dict.fromkeys(found))[:limit]


def _quick_test_of(schema: Schema) -> Test | None:
    """Return the quick test of a schema, made once for all values of a loop: tasks hold one and the same schema."""
    known = _quick_tests.get(id(schema))
    if known is not None and known[0] is schema:
        return known[1]
    if len(_quick_tests) >= _MOST_TESTS:
        _quick_tests.clear()
    validator_for(schema)  # what is no schema must say so, whatever the value
    test = quick_test(schema)
    _quick_tests[id(schema)] = (schema, test)
    return test


_MOST_TESTS: Final = 256
_quick_tests: dict[int, tuple[Schema, Test | None]] = {}
"""By the identity of a schema, which is held so that nothing else can get it."""


def invalid_schema(what: str) -> TaskError:
    """Return the failure for a schema that is none; ``what`` says why."""
    return TaskError(
        f"the `output_schema` {what}",
        code="output-schema-invalid",
        retryable=False,
        hint="see https://json-schema.org/understanding-json-schema",
    )


def clipped(text: str, limit: int) -> str:
    """Return the text, cut to ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"

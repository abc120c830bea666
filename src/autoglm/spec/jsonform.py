"""How values of a template become JSON data, and how they become text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

from autoglm.base.redaction import Secret
from autoglm.spec.faults import ExpressionError, kind_of, too_large

MAX_TEXT: Final = 16 * 1024 * 1024
"""Characters that an expression's text may have."""
MAX_STEPS: Final = 5_000_000
"""Items that an evaluation may walk over, all its loops and filters together."""
_MAX_DEPTH: Final = 200
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1


def to_json(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """Return ``value`` as JSON data: tuples, ranges and generators become lists, text is plain ``str`` (or Secret).

    Raises ExpressionError when it is no JSON data, or too much of it.
    """
    if value is None or type(value) in (str, bool, Secret):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise too_large("it gives an integer of more than 64 bits")
        return int(value)
    if isinstance(value, float):
        if value - value != 0.0:
            raise ExpressionError("the expression gives a number that is not finite")
        return float(value)
    if depth == 0:
        raise too_large(f"its value nests deeper than {_MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {_key(key): to_json(entry, depth - 1) for key, entry in value.items()}
    if isinstance(value, list | tuple | range) or hasattr(value, "__next__") or _is_view(value):
        return [to_json(entry, depth - 1) for entry in _bounded(value)]
    if callable(value):
        name = getattr(value, "__name__", "it").lstrip("_")
        raise ExpressionError(f"the expression gives the function `{name}`", hint=f"call it: {name}()")
    raise ExpressionError(f"the expression gives {kind_of(value)}, which is not JSON data")


def to_text(value: Any) -> str:
    """Return ``value`` as it stands in text: null is empty, lists and mappings are JSON, ``true`` and ``false``."""
    if isinstance(value, str):
        return value if type(value) is str else str.__str__(value)
    if value is None:
        return ""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int | float):
        return str(value)
    return json_text(value)


def json_text(value: Any, indent: int | None = None) -> str:
    """Return ``value`` as JSON text for people and models to read."""
    text = json.dumps(to_json(value), ensure_ascii=False, indent=indent, allow_nan=False)
    return check_size(text)


def check_size(text: str) -> str:
    """Return ``text``, or raise ExpressionError ``expression-too-large``."""
    if len(text) > MAX_TEXT:
        raise too_large(f"its text has more than {MAX_TEXT // 1024 // 1024} MB")
    return text


def tainted(value: Any) -> Any:
    """Return JSON data with every text in it marked as secret."""
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, dict):
        return {key: tainted(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [tainted(entry) for entry in value]
    return value


def _bounded(value: Iterable[Any]) -> Iterable[Any]:
    if isinstance(value, range) and len(value) > MAX_STEPS:
        raise too_large(f"its list has {len(value):,} entries")
    return value if isinstance(value, list | tuple | range) else _counted(value)


def _counted(value: Iterable[Any]) -> list[Any]:
    entries = list(islice(value, MAX_STEPS + 1))
    if len(entries) > MAX_STEPS:
        raise too_large(f"its list has more than {MAX_STEPS:,} entries")
    return entries


def _is_view(value: Any) -> bool:
    return isinstance(value, type({}.keys()) | type({}.values()) | type({}.items()))


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key) if type(key) is not Secret else key
    raise ExpressionError(f"the expression gives a mapping whose key is {kind_of(key)}", hint="keys must be text")

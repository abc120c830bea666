"""A fast yes for the schemas that most tasks have: types, properties, lists, enums, bounds.

The library that knows all of JSON Schema takes a tenth of a millisecond and more for a small value, and ten thousand
answers are checked in a run. :func:`quick_test` makes of a schema that uses only common keywords a function that says
whether a value certainly fits. Where it says no, or there is none, the library has the word. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from autoglm.base.jsonvalue import is_of_type

Test = Callable[[Any], bool]

_SAID: Final = frozenset(
    {"title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly"}
)
"""Keywords that demand nothing."""
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_DEEPEST: Final = 32


def quick_test(schema: Any) -> Test | None:
    """Return a function that is true only for values that fit ``schema``; None for one beyond the common keywords."""
    if isinstance(schema, Mapping) and schema.get("$schema", _DRAFT) != _DRAFT:
        return None
    try:
        return _test(schema, 0)
    except _Beyond:
        return None


class _Beyond(Exception):
    """The schema says something that is not tested here."""


def _test(schema: Any, depth: int) -> Test:
    if schema is True:
        return lambda _: True
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        raise _Beyond
    tests: list[Test] = []
    for keyword, said in schema.items():
        if keyword in _SAID or (keyword == "$schema" and depth == 0):
            continue
        maker = _MAKERS.get(keyword)
        if maker is None:
            raise _Beyond
        tests.append(maker(said, schema, depth))
    return tests[0] if len(tests) == 1 else partial(_pass_all, tests)


def _pass_all(tests: Sequence[Test], value: Any) -> bool:
    for test in tests:  # noqa: SIM110  # `all(…)` would cost a generator for each value
        if not test(value):
            return False
    return True


def _type(said: Any, _schema: Any, _depth: int) -> Test:
    if isinstance(said, str):
        return _TYPES.get(said) or (lambda value: is_of_type(value, said))
    if not isinstance(said, list) or not all(isinstance(each, str) for each in said):
        raise _Beyond
    return lambda value: any(is_of_type(value, each) for each in said)


_TYPES: Final[Mapping[str, Test]] = {
    "string": lambda value: isinstance(value, str),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list | tuple),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
"""The commonest types, told at once."""


def _enum(said: Any, _schema: Any, _depth: int) -> Test:
    # Texts and null only: what equals what among numbers and truth values is the library's matter.
    if not isinstance(said, list) or not all(each is None or isinstance(each, str) for each in said):
        raise _Beyond
    allowed = frozenset(said)
    return lambda value: (value is None or isinstance(value, str)) and value in allowed


def _properties(said: Any, schema: Mapping[str, Any], depth: int) -> Test:
    if not isinstance(said, Mapping):
        raise _Beyond
    tests = {name: _test(each, depth + 1) for name, each in said.items()}

    def fit(value: Any) -> bool:
        if isinstance(value, dict):
            for name, each in value.items():
                if name in tests and not tests[name](each):
                    return False
        return True

    return fit


def _further(said: Any, schema: Mapping[str, Any], depth: int) -> Test:
    known = schema.get("properties", {})
    test = None if said is False else _test(said, depth + 1)
    if not isinstance(known, Mapping):
        raise _Beyond

    def fit(value: Any) -> bool:
        if not isinstance(value, dict):
            return True
        return all(name in known or (test is not None and test(each)) for name, each in value.items())

    return fit


def _required(said: Any, _schema: Any, _depth: int) -> Test:
    if not isinstance(said, list) or not all(isinstance(each, str) for each in said):
        raise _Beyond
    names = frozenset(said)
    return lambda value: not isinstance(value, dict) or names <= value.keys()


def _items(said: Any, _schema: Any, depth: int) -> Test:
    test = _test(said, depth + 1)
    return lambda value: not isinstance(value, list) or all(map(test, value))


def _bound(kind: tuple[type, ...], *, size: bool, low: bool) -> Callable[[Any, Any, int], Test]:
    def make(said: Any, _schema: Any, _depth: int) -> Test:
        if isinstance(said, bool) or not isinstance(said, int | float):
            raise _Beyond

        def fit(value: Any) -> bool:
            if not isinstance(value, kind) or isinstance(value, bool):
                return True
            measure: Any = value
            if size:
                measure = len(measure)
            return bool(measure >= said if low else measure <= said)

        return fit

    return make


_MAKERS: Final[Mapping[str, Callable[[Any, Any, int], Test]]] = {
    "type": _type,
    "enum": _enum,
    "properties": _properties,
    "additionalProperties": _further,
    "required": _required,
    "items": _items,
    "minimum": _bound((int, float), size=False, low=True),
    "maximum": _bound((int, float), size=False, low=False),
    "minLength": _bound((str,), size=True, low=True),
    "maxLength": _bound((str,), size=True, low=False),
    "minItems": _bound((list,), size=True, low=True),
    "maxItems": _bound((list,), size=True, low=False),
}

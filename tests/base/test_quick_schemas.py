"""What the quick test accepts, the library accepts too: for schemas and values of all kinds."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autoglm.base.errors import TaskError
from autoglm.base.quick_schemas import quick_test
from autoglm.base.schemas import problems

NAMES = st.sampled_from("abc")
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"])
SIZES = st.integers(0, 3)
NUMBERS = st.sampled_from([-1, 0, 1, 1.5, 2])

values = st.recursive(
    st.none() | st.booleans() | st.sampled_from([-1, 0, 1, 2, 1.0, 1.5]) | st.sampled_from(["", "a", "ab", "abc"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def fields(inner):
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True),
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "required": st.lists(NAMES, max_size=2, unique=True),
            "additionalProperties": st.booleans() | inner,
            "items": st.booleans() | inner,
            "enum": st.lists(st.none() | st.sampled_from(["a", "ab", 1, 1.0, True]), min_size=1, max_size=3),
            "minimum": NUMBERS,
            "maximum": NUMBERS,
            "minLength": SIZES,
            "maxLength": SIZES,
            "minItems": SIZES,
            "maxItems": SIZES,
            "description": st.just("x"),
            "not": inner,
        },
    )


schemas = st.recursive(fields(st.just({})), fields, max_leaves=4)


@given(schemas, values)
def test_what_it_accepts_fits(schema, value):
    test = quick_test(schema)
    assume(test is not None)
    if test(value):
        assert jsonschema.Draft202012Validator(schema).is_valid(value)
        assert problems(value, schema) == []


@given(schemas.filter(lambda schema: "not" not in str(schema) and "enum" not in str(schema)), values)
def test_what_it_knows_and_refuses_does_not_fit(schema, value):
    test = quick_test(schema)
    assume(test is not None)
    assert test(value) == jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {}},
        {"anyOf": [{}]},
        {"pattern": "a"},
        {"enum": [1]},
        {"$ref": "#"},
        {"properties": {"a": {"format": "date"}}},
        {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer"},
        {"items": False},
        False,
        {"type": 3},
    ],
)
def test_what_is_beyond_it_is_left_to_the_library(schema):
    assert quick_test(schema) is None


def test_what_is_no_schema_says_so_whatever_the_value():
    with pytest.raises(TaskError) as caught:
        problems("x", {"type": "objekt"})
    assert caught.value.code == "output-schema-invalid"

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import enum
import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm.base.jsonvalue import MAX_DEPTH, NotJson, canonical, check, decode, encode, plain

INTEGERS = st.integers(-(2**63), 2**64 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class Colour(enum.StrEnum):
    RED = "red"


class Words(str):
    __slots__ = ()


@dataclasses.dataclass
class Point:
    x: int = 1


@given(JSON)
def test_what_is_encoded_comes_back(value: Any) -> None:
    assert decode(encode(value)) == value
    assert json.loads(encode(value)) == value
    assert plain(value) == value


@given(st.dictionaries(st.text(), JSON))
def test_equal_mappings_have_one_canonical_text(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert canonical(value) == canonical(turned)


def test_scalars() -> None:
    assert encode(None) == b"null"
    assert encode(True) == b"true"
    assert encode("é") == '"é"'.encode()
    assert encode((1, 2.5)) == b"[1,2.5]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Colour.RED, b'"red"'),
        (Words("w"), b'"w"'),
        ({Words("k"): Words("v")}, b'{"k":"v"}'),
        ({Colour.RED: 1}, b'{"red":1}'),
        (collections.OrderedDict(a=1), b'{"a":1}'),
        ([enum.IntEnum("N", "ONE").ONE], b"[1]"),
    ],
)
def test_subclasses_count_as_the_value_they_are(value: Any, text: bytes) -> None:
    assert encode(value) == text


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (math.nan, "$", "is NaN"),
        ({"a": [1, -math.inf]}, "$.a[1]", "is infinity"),
        ({"a": [0, 0, 0, {1}]}, "$.a[3]", "is a set"),
        (b"x", "$", "is a bytes"),
        ({"when": datetime.date(2030, 1, 1)}, "$.when", "is a datetime.date"),
        ([Point()], "$[0]", "Point"),
        ({1: 2}, "$", "has the key 1"),
        ({"a b": {None: 2}}, "$['a b']", "has the key None"),
        (2**64, "$", "more than 64 bits"),
        (-(2**63) - 1, "$", "more than 64 bits"),
        (["\ud800"], "$[0]", "half a character"),
        ({"\ud800": 1}, "$", "half a character"),
        (iter([1]), "$", "iterator"),
        (msgspec.UNSET, "$", "UnsetType"),
        (object(), "$", "is an object"),
    ],
)
def test_everything_else_is_refused_with_its_place(value: Any, path: str, reason: str) -> None:
    for refuse in (encode, canonical, plain):
        if refuse is plain and "character" in reason:
            continue  # plain() looks at types; the text itself is checked when it is encoded
        with pytest.raises(NotJson) as caught:
            refuse(value)
        assert caught.value.path == path
        assert reason in str(caught.value)
        assert caught.value.hint


def test_depth_is_bounded_and_cycles_are_found() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert decode(encode(deep)) == deep
    with pytest.raises(NotJson, match="nests deeper"):
        encode([deep])
    cycle: list[Any] = []
    cycle.append({"again": cycle})
    with pytest.raises(NotJson, match="holds itself"):
        encode(cycle)
    for levels in (MAX_DEPTH + 1, 900, 1_000_000):
        with pytest.raises(NotJson, match="nests deeper"):
            decode(b"[" * levels + b"]" * levels)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"NaN", b"1e999", b"\xff", b'"\\ud800"', b"1 2", b"1" * 100_000, b"[1%s]" % (b"0" * 30), b"\0"],
)
def test_bad_text_is_one_kind_of_error(raw: bytes) -> None:
    with pytest.raises(NotJson):
        decode(raw)


@given(st.binary())
def test_decoding_bytes_never_raises_anything_else(raw: bytes) -> None:
    with contextlib.suppress(NotJson):
        encode(decode(raw))


def test_plain_turns_tuples_into_lists() -> None:
    assert plain({"a": (1, (2,))}) == {"a": [1, [2]]}
    same = {"a": [1]}
    assert plain(same) is same


DEEPEST = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH


@pytest.mark.parametrize("text", [b'{"a": [1, "\xc3\xbc"]}', b"null", DEEPEST, b'"%s"' % (b"[" * 999), b"9" * 30])
def test_a_text_is_checked(text: bytes) -> None:
    check(text)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b'{"a":}', b"[1]x", b"NaN", b'"\xff"', b'"\\ud800"', b"[%s]" % DEEPEST, b"[" * 5000 + b"]" * 5000],
)
def test_a_check_refuses_what_cannot_be_read(text: bytes) -> None:
    with pytest.raises(NotJson) as checked:
        check(text)
    with pytest.raises(NotJson) as read:
        decode(text)
    assert str(checked.value) == str(read.value)

"""Records as JSON text and back: every event with every field, and what is refused."""

from __future__ import annotations

import contextlib
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm.base.errors import Failure, StoreError
from autoglm.engine import messages as m
from autoglm.engine.codec import decode_record, encode_record

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES = st.sampled_from(["a", "process[12].extract", "名前", 'quo"te'])
NUMBERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)
MAPPINGS = st.dictionaries(TEXT, VALUES, max_size=3)
RAWS = VALUES.map(lambda value: msgspec.Raw(msgspec.json.encode(value)))
BLOBS = st.builds(m.Blob, st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(1, 2**40))
FAILURES = st.builds(
    Failure, TEXT, TEXT, st.lists(TEXT, max_size=3).map(tuple), st.booleans(), st.none() | TEXT, st.none() | MAPPINGS
)
QUESTIONS = st.builds(
    m.Question, TEXT, TEXT, st.none() | MAPPINGS, st.lists(TEXT, max_size=2).map(tuple), st.none() | st.floats(0, 1e12),
    TEXT, st.none() | TEXT,
)  # fmt: skip
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(0, 2**53),
    float: st.floats(0, 1e12),
    bool: st.booleans(),
    msgspec.Raw: RAWS,
    m.Blob: BLOBS,
    Failure: FAILURES,
    m.Question: QUESTIONS,
    type(None): st.none(),
    dict[str, Any]: MAPPINGS,
    dict[str, str]: st.dictionaries(TEXT, TEXT, max_size=3),
    list[Any]: st.lists(VALUES, max_size=3),
    tuple[str, ...]: st.lists(TEXT, max_size=3).map(tuple),
}
EVENT_TYPES = get_args(m.EVENTS)


def strategy(kind: Any) -> st.SearchStrategy[Any]:
    if kind in BY_TYPE:
        return BY_TYPE[kind]
    return st.one_of([strategy(part) for part in get_args(kind)])


def events_of(kind: type[m.Event]) -> st.SearchStrategy[m.Event]:
    """Give events with each optional field either left out or given."""
    required, optional = {}, {}
    for field in msgspec.structs.fields(kind):
        wanted = NAMES if field.name == "task" else strategy(field.type)
        if field.name == "format":
            wanted = st.integers(1, m.FORMAT)
        if field.required:
            required[field.name] = wanted
        else:
            optional[field.name] = wanted
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: kind(**fields))


def as_data(event: m.Event) -> dict[str, Any]:
    """Return an event's fields; texts of results as their bytes, so that they can be compared."""
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    return {name: bytes(value) if isinstance(value, msgspec.Raw) else value for name, value in fields.items()}


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.__name__)
@given(data=st.data(), at=st.floats(0, 1e11))
def test_every_event_comes_back_as_it_was(kind: type[m.Event], data: st.DataObject, at: float) -> None:
    event = data.draw(events_of(kind))
    record = decode_record(encode_record(at, [event, event]))
    assert record.at == at
    for found in record.events:
        assert type(found) is kind
        assert as_data(found) == as_data(event)


def test_the_union_holds_every_event_and_each_has_a_tag_of_its_own() -> None:
    assert set(EVENT_TYPES) == set(m.Event.__subclasses__())
    tags = [kind.__struct_config__.tag for kind in EVENT_TYPES]
    assert len(set(tags)) == len(tags)


def test_absent_texts_are_absent_again() -> None:
    (event,) = decode_record(encode_record(1.0, [m.AttemptSucceeded("a", 1)])).events
    assert isinstance(event, m.AttemptSucceeded)
    assert event.output is m.ABSENT
    assert event.collected is m.ABSENT
    assert bytes(event.result) == b"null"


def test_what_was_left_out_takes_no_room() -> None:
    assert encode_record(1.5, [m.AttemptStarted("a", 1)]) == (
        b'{"at":1.5,"events":[{"type":"attempt_started","task":"a","attempt":1}]}'
    )


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "journal-damaged"),
        (b"{", "journal-damaged"),
        (b"\xff\xfe", "journal-damaged"),
        (b"[1]", "journal-too-new"),
        (b'{"at":1,"events":[{"type":"moon_landed","task":"a"}]}', "journal-too-new"),
        (b'{"at":1,"events":[{"type":"attempt_started","task":"a"}]}', "journal-too-new"),
        (encode_record(1, [m.RunCreated("r", "w", m.Blob("0" * 64, 1), format=99)]), "journal-too-new"),
    ],
)
def test_what_cannot_be_read_is_refused(payload: bytes, code: str) -> None:
    with pytest.raises(StoreError) as caught:
        decode_record(payload)
    assert caught.value.code == code


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_an_error_of_the_store(payload: bytes) -> None:
    with contextlib.suppress(StoreError):
        decode_record(payload)

"""Limits are never exceeded over any window, and used to the full; what servers say is understood."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoglm.llm.limits import (
    HOLD,
    WINDOW,
    Concurrency,
    Record,
    Told,
    book,
    decode_record,
    encode_record,
    estimate_tokens,
    foresee,
    hold,
    read_headers,
    read_reset,
    settle,
)


def most_in_a_window(uses: list[float]) -> int:
    """Return how many uses the fullest window of 60 s sees, wherever it begins."""
    uses = sorted(uses)
    return max((bisect_left(uses, begin + WINDOW) - place for place, begin in enumerate(uses)), default=0)


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("rpm", [1, 7, 60, 600, 6000])
def test_a_limit_is_used_to_the_full_and_never_exceeded(rpm: int, processes: int) -> None:
    """Any number of processes, each asking at moments of its own for a few permits and using them late."""
    chance = random.Random(rpm * 10 + processes)
    kept = b""
    uses: list[float] = []
    ends = 1000.0 + 10 * WINDOW
    due = [1000.0 + chance.random() for _ in range(processes)]
    while (now := min(due)) < ends:
        who = due.index(now)
        record = decode_record(kept or None)
        share = max(1, rpm // 120)
        booked = book(record, rpm, None, now, [1] * chance.randint(1, 2 * share), 1.0)
        uses += [at + chance.random() * HOLD for at in booked]
        kept = encode_record(record)
        due[who] = max([now, *booked[-1:]]) + chance.random() * 0.1
        assert len(record.log) <= 650
    assert most_in_a_window(uses) <= rpm
    steady = [use for use in uses if 1000.0 <= use < ends]
    assert len(steady) >= 0.99 * rpm * 10


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_window_ever_sees_more(data: st.DataObject) -> None:
    rpm = data.draw(st.integers(1, 30))
    tpm = data.draw(st.none() | st.integers(50, 2000))
    record, now = Record(), 0.0
    uses: list[tuple[float, int]] = []
    for _ in range(data.draw(st.integers(1, 40))):
        now += data.draw(st.sampled_from([0.0, 0.01, 0.13, 1.0, 7.0, 40.0, 61.0]))
        wants = data.draw(st.lists(st.integers(1, 100), max_size=10))
        horizon = data.draw(st.sampled_from([0.0, 1.0, 100.0]))
        for at, tokens in zip(book(record, rpm, tpm, now, wants, horizon), wants, strict=False):
            assert now <= at <= now + horizon
            uses.append((at + HOLD * data.draw(st.floats(0, 1)), tokens))
    uses.sort()
    for place, (begin, _) in enumerate(uses):
        inside = [tokens for use, tokens in uses[place:] if use < begin + WINDOW]
        assert len(inside) <= rpm
        assert tpm is None or sum(inside) <= max(tpm, max(inside))


def test_a_call_larger_than_the_limit_goes_alone() -> None:
    record = Record()
    assert book(record, None, 100, 0.0, [5000, 5000], 1.0) == [0.0]
    assert 60 < foresee(record, None, 100, 0.0, 0, 5000) < 61


def test_what_is_foreseen_comes_about() -> None:
    record = Record()
    book(record, 10, None, 0.0, [1] * 10, 1.0)
    for ahead in range(45):
        expected = foresee(record, 10, None, 0.0, ahead, 1)
        assert abs(expected - (60.2 + ahead // 10 * 60.2)) < 1.0, ahead
    assert len(record.log) == 1


def test_tokens_are_put_right_when_the_answer_tells_them() -> None:
    record = Record()
    (at,) = book(record, None, 100, 5.03, [90], 1.0)
    assert book(record, None, 100, 6.0, [90], 1.0) == []
    settle(record, at, -80)
    assert book(record, None, 100, 6.0, [90], 1.0) == [6.0]
    settle(record, 1.0, 5)  # nothing was booked then


def test_a_pause_holds_for_everybody() -> None:
    record = Record(pause_until=30.0)
    assert book(record, 600, None, 0.0, [1], 1.0) == []
    assert book(record, 600, None, 29.5, [1], 1.0) == [30.0]


def test_calls_under_way_are_shared_out_and_a_dead_process_loses_its_share() -> None:
    record = Record()
    assert hold(record, "a", 6, 8, 0.0) == 6
    assert hold(record, "b", 6, 8, 1.0) == 2
    assert hold(record, "a", 1, 8, 2.0) == 1
    assert hold(record, "b", 6, 8, 3.0) == 6
    assert hold(record, "c", 8, 8, 33.5) == 8  # neither has said a word for half a minute


def test_a_record_that_cannot_be_read_is_an_empty_one() -> None:
    assert decode_record(b"nonsense") == Record() == decode_record(None)


def test_concurrency_grows_by_one_a_round_and_halves_once_a_burst() -> None:
    level = Concurrency(start=4, ceiling=6)
    for _ in range(4):
        level.succeeded(4)
    assert level.room == 4
    level.succeeded(4)
    assert level.room == 5
    for _ in range(40):
        level.succeeded(6)
    assert level.room == 6
    assert level.refused(6, 10.0, 1.0)
    assert not level.refused(6, 10.5, 1.0)
    assert level.room == 3
    for _ in range(50):
        level.succeeded(1)  # it is not the limit that keeps calls away
    assert level.room == 3


def test_without_a_start_there_is_no_limit_until_the_first_refusal() -> None:
    level = Concurrency()
    assert level.room is None
    level.succeeded(500)
    assert level.room is None
    level.refused(500, 1.0, 1.0)
    assert level.room == 250


def test_headers_are_believed() -> None:
    told = Told()
    assert told.wait(1, 0.0) == 0
    heard = read_headers(
        {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "1m0s",
            "x-ratelimit-remaining-tokens": "many",
        }
    )
    assert set(heard) == {"requests"}
    one = heard["requests"]
    assert (one.limit, one.remaining, one.reset) == (60, 0, 60.0)
    told.hear(one.limit, one.remaining, one.reset, 10.0, 0)
    assert told.wait(1, 10.0) == pytest.approx(1.0)
    assert told.wait(1, 11.0) == pytest.approx(0.0)
    told.take(1, 11.0)
    assert told.wait(1, 11.0) == pytest.approx(1.0)
    told.hear(60, 59, 1.0, 20.0, 0)
    assert told.wait(1, 20.0) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("6m0s", 360), ("250ms", 0.25), ("1h2m3.5s", 3723.5), ("12.5", 12.5), ("", None), ("soon", None)],
)
def test_resets_are_read(text: str, seconds: float | None) -> None:
    assert read_reset(text) == seconds


def test_tokens_are_estimated() -> None:
    assert estimate_tokens([{"role": "user", "content": "a" * 400}]) == 107
    assert estimate_tokens([{"role": "user", "content": "模型" * 10}]) == 27
    assert (
        estimate_tokens([{"role": "user", "content": [{"type": "text", "text": "abcd"}, {"type": "image_url"}]}]) == 808
    )

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm.base.ids import idempotency_key, new_run_id

times = st.floats(min_value=0, max_value=30_000_000_000)
chances = st.binary(min_size=4, max_size=16)


@given(times, times, chances, chances)
def test_run_ids_sort_by_time_to_the_millisecond(one: float, other: float, left: bytes, right: bytes) -> None:
    first, second = sorted((one, other))
    if int(first * 1000) < int(second * 1000):
        assert new_run_id(first, left) < new_run_id(second, right)


@given(times, chances)
def test_a_run_id_is_short_lower_case_and_hard_to_misread(now: float, chance: bytes) -> None:
    run_id = new_run_id(now, chance)
    assert len(run_id) == 14
    assert run_id == run_id.lower()
    assert not set(run_id) & set("ilou")


def test_the_same_time_and_entropy_give_the_same_id() -> None:
    assert new_run_id(1_700_000_000.123, b"\0\0\0\1") == new_run_id(1_700_000_000.123, b"\0\0\0\1")
    assert new_run_id(1_700_000_000.123, b"\0\0\0\1") != new_run_id(1_700_000_000.123, b"\0\0\0\2")


def test_a_run_id_needs_entropy_and_a_time() -> None:
    with pytest.raises(ValueError, match="random bytes"):
        new_run_id(1.0, b"abc")
    with pytest.raises(ValueError, match="1970"):
        new_run_id(-1.0, b"abcd")


def test_an_idempotency_key_belongs_to_one_task_instance() -> None:
    key = idempotency_key("run", "process[12].extract")
    assert key == idempotency_key("run", "process[12].extract")
    assert len(key) == 32
    assert int(key, 16) >= 0
    assert key != idempotency_key("run", "process[13].extract")
    assert idempotency_key("a", "bc") != idempotency_key("ab", "c")
    assert idempotency_key("run", "\ud800")  # half a character is no reason to fail

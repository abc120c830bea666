"""The garbage collector while a run is driven."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from autoglm.runtime.collector import eased
from autoglm.runtime.event_loop import run_to_end


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_a_run_is_driven_with_a_collector_that_comes_less_often() -> None:
    async def look() -> int:
        return gc.get_threshold()[0]

    assert run_to_end(look) > 700
    assert gc.get_threshold() == (700, 10, 10)


def test_it_is_as_before_once_the_last_run_has_ended() -> None:
    first, second = eased(), eased()
    with first:
        second.__enter__()
    assert gc.get_threshold() != (700, 10, 10)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("chosen", [(0, 10, 10), (1_000_000, 1, 1)])
def test_who_has_chosen_already_is_heard(chosen: tuple[int, int, int]) -> None:
    gc.set_threshold(*chosen)
    with eased():
        assert gc.get_threshold() == chosen
    assert gc.get_threshold() == chosen

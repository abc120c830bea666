"""A budget is never exceeded, whatever is under way; what calls cost is known or said to be unknown."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoglm.llm.budgets import Purse, Use, Verdict, reserve, settle
from autoglm.llm.prices import Price, price_of
from autoglm.spec.model import Budget


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_is_spent_never_exceeds_a_limit(data: st.DataObject) -> None:
    limits = {"tokens": data.draw(st.integers(1, 500)), "cost": data.draw(st.floats(0.01, 5)), "calls": 7}
    purses = [Purse("one", Budget(**limits)), Purse("two", Budget(tokens=300))]
    under_way: list[Use] = []
    for _ in range(data.draw(st.integers(1, 60))):
        if under_way and data.draw(st.booleans()):
            need = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            share = data.draw(st.floats(0, 1))
            settle(purses, need, Use(need.tokens * share, need.cost * share, 1))
            continue
        need = Use(data.draw(st.integers(1, 100)), data.draw(st.floats(0, 1)), 1)
        judgement = reserve(purses, need, 0.0)
        if judgement.verdict is Verdict.FITS:
            under_way.append(need)
        elif judgement.verdict is Verdict.WAIT:
            assert under_way
        for purse in purses:
            spent, held, budget = purse.spent, purse.reserved, purse.budget
            assert budget.tokens is None or spent.tokens + held.tokens <= budget.tokens + 1e-6
            assert budget.cost is None or spent.cost + held.cost <= budget.cost + 1e-6
            assert budget.calls is None or spent.calls + held.calls <= budget.calls


def test_a_purse_that_refuses_leaves_the_others_untouched() -> None:
    purses = [Purse("run", Budget(tokens=1000)), Purse("task", Budget(tokens=10))]
    judgement = reserve(purses, Use(tokens=50, calls=1), 0.0)
    assert (judgement.verdict, judgement.purse) == (Verdict.EXHAUSTED, purses[1])
    assert judgement.reason == "0 of 10 tokens used, and the call may need 50 tokens"
    assert purses[0].reserved == Use()


def test_a_call_waits_for_those_under_way() -> None:
    purse = Purse("run", Budget(cost=1.0))
    need = Use(cost=0.6, calls=1)
    assert reserve([purse], need, 0.0).verdict is Verdict.FITS
    assert reserve([purse], need, 0.0).verdict is Verdict.WAIT
    settle([purse], need, Use(cost=0.1, calls=1))
    assert reserve([purse], need, 0.0).verdict is Verdict.FITS
    settle([purse], need, Use(cost=0.5, calls=1))
    judgement = reserve([purse], need, 0.0)
    assert judgement.verdict is Verdict.EXHAUSTED
    assert judgement.reason == "$0.60 of $1.00 used, and the call may need $0.60"
    assert purse.remaining() == {"cost": pytest.approx(0.4)}


def test_time_runs_from_the_first_call() -> None:
    purse = Purse("task", Budget(wall_time=60.0))
    assert reserve([purse], Use(calls=1), 1000.0).verdict is Verdict.FITS
    assert reserve([purse], Use(calls=1), 1059.0).verdict is Verdict.FITS
    judgement = reserve([purse], Use(calls=1), 1060.0)
    assert (judgement.verdict, judgement.reason) == (Verdict.EXHAUSTED, "60 s have passed")


def test_many_small_sums_use_a_budget_up_exactly() -> None:
    purse = Purse("run", Budget(cost=0.1))
    need = Use(cost=0.0001, calls=1)
    for _ in range(1000):
        assert reserve([purse], need, 0.0).verdict is Verdict.FITS
        settle([purse], need, need)
    assert reserve([purse], need, 0.0).verdict is Verdict.EXHAUSTED


def test_prices_are_found_by_name_provider_and_date() -> None:
    assert price_of("AutoGLM-Chat", "zhipu", "glm-4.7") == Price(0.6, 2.2, 0.11)
    assert price_of("x", "openai", "gpt-4.1-2025-04-14") == price_of("x", "openai", "gpt-4.1")
    assert price_of("x", "openai", "gpt-4.1-mini") != price_of("x", "openai", "gpt-4.1")
    assert price_of("x", "compatible", "glm-4.7") is None
    assert price_of("x", "ollama", "qwen3") == Price(0.0)
    own = {"mine": Price(1.0), "zhipu/glm-4.7": Price(2.0), "big": Price(3.0)}
    assert price_of("mine", "compatible", "m", own) == Price(1.0)
    assert price_of("x", "zhipu", "glm-4.7", own) == Price(2.0)
    assert price_of("x", "compatible", "big", own) == Price(3.0)


def test_cached_input_costs_less() -> None:
    price = Price(2.0, 8.0, 0.5)
    assert price.of(1_000_000, 0) == 2.0
    assert price.of(1_000_000, 500_000, 1_000_000) == 4.5
    assert Price(2.0).of(10, 0, 20) == pytest.approx(0.00002)
    chance = random.Random(1)
    assert all(price.of(n := chance.randint(0, 9999), 0, n // 2) >= 0 for _ in range(100))

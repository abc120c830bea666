"""Which model is asked: fallbacks, sticky shares, and what becomes of a canary."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from autoglm.llm.routing import (
    Canary,
    Decision,
    Metric,
    RouteState,
    Split,
    Tally,
    choose,
    faults,
    judge,
    names_in,
    rated,
    read_split,
)

OPTIONS = ("model", "system", "temperature")
SPLIT: dict[str, Any] = {"split": {"stable": {"model": "a", "weight": 90}, "canary": {"model": "b", "weight": 10}}}


def test_a_name_is_no_split() -> None:
    assert read_split(["a", "b"]) is None
    assert read_split("a") is None
    assert read_split(None) is None


def test_arms_get_their_share_and_keys_stay() -> None:
    split = read_split(SPLIT)
    assert isinstance(split, Split)
    taken = [choose(split, f"user-{number}") for number in range(20_000)]
    assert 0.08 < Counter(taken)["canary"] / len(taken) < 0.12
    assert taken == [choose(split, f"user-{number}") for number in range(20_000)]


def test_what_was_decided_moves_everybody() -> None:
    split = read_split({**SPLIT, "canary": {"arm": "canary"}})
    assert isinstance(split, Split)
    assert {choose(split, str(number), Decision.PROMOTED) for number in range(500)} == {"canary"}
    assert {choose(split, str(number), Decision.ROLLED_BACK) for number in range(500)} == {"stable"}


@pytest.mark.parametrize(
    ("metric", "stable", "canary", "decision"),
    [
        (Metric.FAILURES, Tally(calls=100, failed=4), Tally(calls=50, failed=4), Decision.PROMOTED),
        (Metric.FAILURES, Tally(calls=100, failed=4), Tally(calls=50, failed=9), Decision.ROLLED_BACK),
        (Metric.FAILURES, Tally(calls=100), Tally(calls=49), Decision.OPEN),
        (Metric.COST, Tally(calls=60, cost=60), Tally(calls=60, cost=62), Decision.PROMOTED),
        (Metric.COST, Tally(calls=60, cost=60), Tally(calls=60, cost=70), Decision.ROLLED_BACK),
        (Metric.SECONDS, Tally(calls=60, seconds=60), Tally(calls=60, seconds=20), Decision.PROMOTED),
        (Metric.QUALITY, Tally(quality=48, rated=60), Tally(quality=50, rated=60), Decision.PROMOTED),
        (Metric.QUALITY, Tally(quality=48, rated=60), Tally(quality=30, rated=60), Decision.ROLLED_BACK),
        (Metric.QUALITY, Tally(calls=60), Tally(calls=60), Decision.OPEN),
    ],
)
def test_a_canary_is_judged(metric: Metric, stable: Tally, canary: Tally, decision: Decision) -> None:
    judged = judge(Canary("canary", metric, 50), {"stable": stable, "canary": canary})
    assert judged.decision is decision
    assert bool(judged.reason) is (decision is not Decision.OPEN)


def test_tallies_add_up() -> None:
    state = RouteState()
    state.add({"a": Tally(calls=1, cost=0.5)})
    state.add({"a": Tally(calls=2, failed=1), "b": Tally(calls=1)})
    assert state.arms == {"a": Tally(calls=3, failed=1, cost=0.5), "b": Tally(calls=1)}


def test_quality_is_read_from_the_result() -> None:
    assert rated({"review": {"score": 4}}, "review.score") == 4.0
    assert rated({"review": {"score": True}}, "review.score") == 1.0
    assert rated({"review": "good"}, "review.score") is None
    assert rated("text", "score") is None
    assert rated({"score": 1}, None) is None


@pytest.mark.parametrize(
    ("written", "path", "words"),
    [
        ({"fallback": ["a"], "split": {}}, (), "no way to choose"),
        ({"splt": {}}, (), "no way to choose"),
        ({"split": {"one": {"model": "a"}}}, ("split",), "two arms"),
        ({"split": {"a": {"weight": -1}, "b": {}}}, ("split", "a", "weight"), "no number"),
        ({"split": {"a": {"weight": 0}, "b": {"weight": 0}}}, ("split",), "none is ever taken"),
        ({"split": {"a": {"colour": 1}, "b": {}}}, ("split", "a", "colour"), "cannot set `colour`"),
        ({**SPLIT, "canary": {"arm": "x"}}, ("canary", "arm"), "no arm `x`"),
        ({**SPLIT, "canary": {"arm": "canary", "metric": "quality"}}, ("canary", "metric"), "not said"),
        ({**SPLIT, "canary": {"arm": "canary", "metric": "luck"}}, (), "no way to choose"),
    ],
)
def test_what_is_wrong_is_said(written: Any, path: tuple[str, ...], words: str) -> None:
    found = list(faults(written, OPTIONS))
    assert [(each.path, words in each.message) for each in found] == [(path, True)], found


def test_every_model_is_found() -> None:
    assert list(names_in("a")) == [((), "a")]
    assert list(names_in(["a", "b"])) == [((0,), "a"), ((1,), "b")]
    assert list(names_in(SPLIT)) == [(("split", "stable", "model"), "a"), (("split", "canary", "model"), "b")]
    assert not list(faults(SPLIT, OPTIONS))

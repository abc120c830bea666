"""What a run would use of models is estimated before anything is spent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.runtime.house import House

from autoglm.app.estimating import SLOT, Estimate, estimate
from autoglm.app.planning import plan_of
from autoglm.llm.prices import Price


def estimated(tmp_path: Path, text: str, prices: dict[str, Price] | None = None) -> Estimate:
    house = House(tmp_path)
    with house.session() as session:
        loaded = session.load(house.write("flow.yaml", text))
        plan = plan_of(loaded, session.catalog, session.project.root)
        return estimate(loaded, plan, session.project.settings.models, prices or {})


def test_calls_times_tokens_times_price(tmp_path: Path) -> None:
    task = {
        "name": "a",
        "model": "openai/gpt-4.1",
        "prompt": "x" * 372 + "{{ item }}",
        "max_tokens": 50,
        "loop": [1, 2, 3],
    }
    found = estimated(tmp_path, json.dumps({"tasks": [{**task, "retries": 1}]}))
    each = 100 + SLOT + 50
    assert (found.tokens.least, found.tokens.most) == (3 * each, 6 * each)
    assert found.cost.least == pytest.approx(3 * ((100 + SLOT) * 2 + 50 * 8) / 1e6)
    assert not found.unpriced


def test_a_batch_costs_half_and_an_unknown_price_is_said(tmp_path: Path) -> None:
    models = {"m": {"base_url": "http://127.0.0.1:9/v1", "model": "big"}}
    task = {"name": "a", "model": "m", "prompt": "hello", "max_tokens": 50}
    online = estimated(tmp_path, json.dumps({"models": models, "tasks": [task]}))
    assert online.unpriced == ["m"]
    assert online.cost.least == 0
    prices = {"big": Price(100.0)}
    online = estimated(tmp_path, json.dumps({"models": models, "tasks": [task]}), prices)
    batch = estimated(tmp_path, json.dumps({"models": models, "tasks": [{**task, "execution": "batch"}]}), prices)
    assert batch.cost.least == pytest.approx(online.cost.least / 2)


def test_the_dearest_arm_of_a_split_counts(tmp_path: Path) -> None:
    split = {"split": {"one": {"model": "openai/gpt-4.1-nano"}, "two": {"model": "openai/gpt-4.1"}}}
    task = {"name": "a", "prompt": "hello", "max_tokens": 50}
    both = estimated(tmp_path, json.dumps({"tasks": [{**task, "model": split}]}))
    dear = estimated(tmp_path, json.dumps({"tasks": [{**task, "model": "openai/gpt-4.1"}]}))
    assert both.cost == dear.cost


def test_what_hangs_on_a_result_is_unknown(tmp_path: Path) -> None:
    found = estimated(
        tmp_path,
        "tasks:\n- {name: a, prompt: list, model: openai/gpt-4.1}\n"
        "- {name: b, prompt: '{{ item }}', model: openai/gpt-4.1, loop: '{{ tasks.a.result }}'}\n",
    )
    assert found.tokens.least > 0
    assert found.tokens.most is None

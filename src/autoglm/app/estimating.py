"""What a run would use of models, before anything is spent: tokens and dollars, from its plan and its prompts.

It is an estimate: a template counts as ``SLOT`` tokens, an answer that nothing limits as ``USUAL_ANSWER``. Repeated
attempts count in the upper end only, kept answers and corrections not at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from autoglm.app.loading import Loaded
from autoglm.app.planning import Plan, Planned
from autoglm.base.errors import TaskError
from autoglm.llm.limits import USUAL_ANSWER, estimate_tokens
from autoglm.llm.models import DEFAULT_MODEL, resolve_model
from autoglm.llm.prices import Price, batch_share, price_of
from autoglm.llm.routing import names_in
from autoglm.spec.model import ModelSpec, Task
from autoglm.tasks.caller import NO_KEYS

SLOT: Final = 100
"""Tokens that stand for what a template will give."""
_SLOTS: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_PROMPTS: Final = ("system", "prompt", "prompt_template", "messages", "text", "instructions", "rubric", "texts")


class Range(msgspec.Struct, frozen=True):
    """Between what and what; ``most`` is None when nobody can say."""

    least: float
    most: float | None

    def plus(self, other: Range) -> Range:
        most = None if self.most is None or other.most is None else self.most + other.most
        return Range(self.least + other.least, most)


class Estimate(msgspec.Struct, frozen=True):
    """What the run's model calls would use."""

    tokens: Range
    cost: Range
    unpriced: list[str]
    """Models whose price nobody knows: they count as free."""


def estimate(
    loaded: Loaded, plan: Plan, project_models: Mapping[str, ModelSpec], prices: Mapping[str, Price]
) -> Estimate:
    """Return what the calls of a plan would use. Nothing is asked, and no key is looked up."""
    tasks = {node.path: node.task for node in loaded.graph.walk()}
    tokens, cost = Range(0, 0), Range(0, 0)
    unpriced: dict[str, None] = {}
    for planned in plan.tasks:
        task = tasks.get(planned.path)
        if planned.calls is None or task is None:
            continue
        prompt, answer = _tokens(task)
        tokens = tokens.plus(_times(planned, prompt + answer))
        share = batch_share() if task.options.get("execution") == "batch" else 1.0
        name, price = _price(task, loaded, project_models, prices)
        if price is None:
            unpriced[name] = None
        else:
            cost = cost.plus(_times(planned, price.of(prompt, answer) * share))
    return Estimate(tokens, cost, list(unpriced))


def _times(planned: Planned, each: float) -> Range:
    calls = planned.calls
    assert calls is not None
    return Range(calls.least * each, None if calls.most is None else calls.most * each)


def _tokens(task: Task) -> tuple[int, int]:
    """Return about how many tokens a call of a task sends and gets."""
    prompt = 0
    for name in _PROMPTS:
        for text in _texts(task.options.get(name)):
            slots = len(_SLOTS.findall(text))
            prompt += estimate_tokens([{"content": _SLOTS.sub("", text)}]) + slots * SLOT
    if task.output_schema is not None:
        prompt += len(str(task.output_schema)) // 4
    most = task.options.get("max_tokens")
    return prompt, most if isinstance(most, int) else USUAL_ANSWER


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    if isinstance(value, dict):
        return _texts(value.get("content"))
    return []


def _price(
    task: Task, loaded: Loaded, project_models: Mapping[str, ModelSpec], prices: Mapping[str, Price]
) -> tuple[str, Price | None]:
    """Return the model that a task would ask first (of a split, the dearest arm) and its price."""
    declared = loaded.workflow.models
    default = next(iter(declared)) if len(declared) == 1 else DEFAULT_MODEL
    names = [name for _, name in names_in(task.options.get("model"))] or [default]
    if isinstance(task.options.get("model"), list):
        names = names[:1]
    found: list[tuple[float, str, Price]] = []
    for name in names:
        try:
            endpoint = resolve_model(name, declared, project_models, NO_KEYS)
        except TaskError:
            continue
        price = price_of(name, endpoint.profile.name, endpoint.model, prices)
        if price is not None:
            found.append((price.input + price.output, name, price))
    if not found:
        return names[0], None
    _, name, dearest = max(found, key=lambda each: each[0])
    return name, dearest

"""What was used of models, in words and rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FREE = (("cache_hits", "from the cache"), ("replayed", "replayed"))


def used_text(usage: Mapping[str, Any]) -> str:
    """Return what was counted, such as ``12 calls, 3,400 input tokens, $0.02``; empty for nothing."""
    counted = {name: value for name, value in usage.items() if type(value) in (int, float) and value}
    cost = counted.pop("cost", 0)
    for name in ("seconds", "quality", "rated"):  # of the arms of a split, where they are shown
        counted.pop(name, None)
    lost = _lost(counted)
    words = [f"{value:,} {name.replace('_', ' ')}" for name, value in counted.items()] + lost
    return ", ".join([*words, *([money(cost)] if cost else [])])


def _lost(counted: dict[str, Any]) -> list[str]:
    """Take out calls that nobody has heard the end of; say how many there were, and what they may have used."""
    calls, tokens, cost = (counted.pop(f"lost_{name}", 0) for name in ("calls", "tokens", "cost"))
    if not calls:
        return []
    most = f"up to {tokens:,} tokens" + (f" and {money(cost)}" if cost else "")
    return [f"{calls:,} {'call' if calls == 1 else 'calls'} without an end ({most}, counted in budgets)"]


def short_usage(usage: Mapping[str, Any]) -> str:
    """Return calls, tokens and cost for a footer; empty while there is nothing to tell."""
    calls = usage.get("calls", 0)
    tokens = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
    free = sum(usage.get(name, 0) for name, _ in _FREE)
    parts = [(calls, f"{calls:,} calls"), (tokens, f"{tokens:,} tokens"), (free, f"{free:,} kept answers")]
    words = [text for amount, text in parts if amount]
    return ", ".join([*words, *([money(usage["cost"])] if usage.get("cost") else [])])


def money(amount: float) -> str:
    """Return an amount of US dollars with as many digits as tell something."""
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.6f}".rstrip("0").rstrip(".")


def task_rows(tasks: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return a row for each task that used models."""
    rows = []
    for path, used in tasks.items():
        free = ", ".join(f"{used[name]:,} {words}" for name, words in _FREE if used.get(name))
        cost = money(used["cost"]) if used.get("cost") else "-"
        tokens = [f"{used.get(name, 0):,}" for name in ("calls", "input_tokens", "output_tokens")]
        rows.append([path, *tokens, cost, free])
    return rows


def arm_rows(arms: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[list[str]]:
    """Return a row for each arm of each split."""
    rows = []
    for path, found in arms.items():
        for arm, used in sorted(found.items()):
            attempts, rated = used.get("attempts", 0), used.get("rated", 0)
            quality = f"{used['quality'] / rated:.3g}" if rated else "-"
            cost = money(used["cost"] / attempts) if used.get("cost") and attempts else "-"
            seconds = f"{used['seconds'] / attempts:.2f}" if used.get("seconds") and attempts else "-"
            rows.append([path, arm, f"{attempts:,}", f"{used.get('failed', 0):,}", quality, cost, seconds])
    return rows

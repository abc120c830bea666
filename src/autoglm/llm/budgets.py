"""Budgets: the worst case of a call is reserved before it, what it used is settled after it. Pure.

Rules:

1. ``spent + reserved`` never exceeds a limit: a call that might exceed it is not made.
2. A call that does not fit while others are under way waits for them: they may use less than was reserved.
3. A call belongs to several purses: its run's, its task's and those around it, its namespace's of the day. All of them
   allow it, or none is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from autoglm.spec.model import Budget

LOST_CALLS, LOST_TOKENS, LOST_COST = "lost_calls", "lost_tokens", "lost_cost"
"""Names in a usage record: calls that nobody has heard the end of, and what they may have used, which is counted."""


@dataclass(slots=True)
class Use:
    """Tokens, US dollars and calls."""

    tokens: float = 0
    cost: float = 0.0
    calls: float = 0

    def add(self, other: Use, sign: int = 1) -> None:
        """Add another, or with ``sign=-1`` take it away."""
        self.tokens += sign * other.tokens
        self.cost += sign * other.cost
        self.calls += sign * other.calls

    @classmethod
    def of(cls, usage: Mapping[str, Any]) -> Use:
        """Return what a usage record counts."""

        def number(name: str) -> float:
            value = usage.get(name, 0)
            return value if isinstance(value, int | float) and not isinstance(value, bool) else 0

        tokens = number("input_tokens") + number("output_tokens") + number(LOST_TOKENS)
        return cls(tokens, number("cost") + number(LOST_COST), number("calls") + number(LOST_CALLS))

    def times(self, number: int) -> Use:
        """Return so many of it."""
        return Use(self.tokens * number, self.cost * number, self.calls * number)


class Verdict(StrEnum):
    """What a purse says to a call."""

    FITS = "fits"
    WAIT = "wait"
    """Not now: it may fit when calls under way have settled."""
    EXHAUSTED = "exhausted"


_SLACK = 1e-9
"""Dollars: sums of many small ones are not exact."""


@dataclass(slots=True)
class Purse:
    """One budget and what became of it."""

    name: str
    """As a message calls it: ``the run's budget``."""
    budget: Budget
    began: float | None = None
    """When its time began to run; None before the first call."""
    spent: Use = field(default_factory=Use)
    reserved: Use = field(default_factory=Use)
    is_degraded: bool = False
    """It was used up, and another model is asked since."""

    @property
    def ends_at(self) -> float | None:
        """When its time is up; None while it has not begun, and for none."""
        limit = self.budget.wall_time
        return None if limit is None or self.began is None or self.is_degraded else self.began + limit

    def judge(self, need: Use, now: float) -> tuple[Verdict, str]:
        """Say whether a call that may need so much fits, and what keeps it."""
        budget = self.budget
        if budget.wall_time is not None and self.began is not None and now - self.began >= budget.wall_time:
            return Verdict.EXHAUSTED, f"{budget.wall_time:g} s have passed"
        verdict, why = Verdict.FITS, ""
        for what, limit in (("tokens", budget.tokens), ("cost", budget.cost), ("calls", budget.calls)):
            if limit is None:
                continue
            spent, reserved, wanted = (getattr(each, what) for each in (self.spent, self.reserved, need))
            if spent + reserved + wanted <= limit + _SLACK:
                continue
            shown = _amount(what, spent) if what == "cost" else f"{spent:,.0f}"
            used = f"{shown} of {_amount(what, limit)} used"
            reason = used if what == "calls" else f"{used}, and the call may need {_amount(what, wanted)}"
            if spent + wanted > limit + _SLACK or reserved <= 0:
                return Verdict.EXHAUSTED, reason
            verdict, why = Verdict.WAIT, reason
        return verdict, why

    def remaining(self) -> dict[str, float]:
        """Return what is left of each limit."""
        budget = self.budget
        limits = {"tokens": budget.tokens, "cost": budget.cost, "calls": budget.calls}
        return {what: limit - getattr(self.spent, what) for what, limit in limits.items() if limit is not None}


def _amount(what: str, value: float) -> str:
    if what == "cost":
        return f"${value:.6f}".rstrip("0").rstrip(".") if 0 < value < 0.01 else f"${value:.2f}"
    return f"{value:,.0f} {what}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What all purses together say; ``purse`` is the one that does not allow it."""

    verdict: Verdict
    purse: Purse | None = None
    reason: str = ""


def reserve(purses: Sequence[Purse], need: Use, now: float) -> Judgement:
    """Reserve ``need`` in every purse, when all allow it; else nothing is reserved."""
    waiting: Judgement | None = None
    for purse in purses:
        if purse.is_degraded:
            continue
        verdict, reason = purse.judge(need, now)
        if verdict is Verdict.EXHAUSTED:
            return Judgement(verdict, purse, reason)
        if verdict is Verdict.WAIT and waiting is None:
            waiting = Judgement(verdict, purse, reason)
    if waiting is not None:
        return waiting
    for purse in purses:
        if purse.began is None:
            purse.began = now
        purse.reserved.add(need)
    return Judgement(Verdict.FITS)


def settle(purses: Iterable[Purse], need: Use, used: Use) -> None:
    """Put what a call used in the place of what was reserved for it."""
    for purse in purses:
        purse.reserved.add(need, -1)
        if purse.reserved.calls <= 0:
            purse.reserved = Use()  # nothing is under way: whatever is left is what floating point leaves
        purse.spent.add(used)

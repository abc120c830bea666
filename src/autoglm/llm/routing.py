"""One of several arms by weight: models, prompts or other options of a task, beside one another. Pure.

A task's ``model`` may be ``{split: {ARM: {model: NAME, weight: 9, …}, …}, by: KEY, canary: {…}}``: an arm is taken by
weight, the same one for the same key. An arm may set other options of the task too: another prompt, another
temperature.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec


class Metric(StrEnum):
    """What a canary is judged by; all but quality are the better the smaller."""

    FAILURES = "failures"
    COST = "cost"
    SECONDS = "seconds"
    QUALITY = "quality"


class Decision(StrEnum):
    """What became of a canary."""

    OPEN = "open"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rule by which one arm takes over from the others, or is taken out."""

    arm: str
    metric: Metric = Metric.FAILURES
    min_calls: int = 50
    """Results of the arm, and of those it is compared with, before anything is decided."""
    tolerance: float = 0.05
    """By what share of the others' value it may be worse and is still promoted."""
    quality: str | None = None
    """Path of a number in the result: ``score`` or ``review.score``; for the metric ``quality``."""


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arms by name, each with a ``weight`` (1 unless it says otherwise) and options of the task."""

    split: dict[str, dict[str, Any]]
    by: Any = None
    """What is the same goes to the same arm; None stands for the task's own id."""
    canary: Canary | None = None

    def weights(self, decision: Decision = Decision.OPEN) -> dict[str, float]:
        """Return the arms' weights, after what was decided about the canary."""
        weights = {name: float(arm.get("weight", 1)) for name, arm in self.split.items()}
        if self.canary is not None and decision is not Decision.OPEN:
            is_taken = decision is Decision.PROMOTED
            weights = {
                name: weight if (name == self.canary.arm) == is_taken else 0.0 for name, weight in weights.items()
            }
        return weights

    def options_of(self, arm: str) -> dict[str, Any]:
        """Return the options that an arm sets."""
        return {name: value for name, value in self.split[arm].items() if name != "weight"}


def read_split(written: Any) -> Split | None:
    """Return the split that a ``model`` option gives; None for anything else. Raises msgspec.ValidationError."""
    return msgspec.convert(dict(written), Split, strict=False) if isinstance(written, Mapping) else None


def choose(split: Split, key: str, decision: Decision = Decision.OPEN) -> str:
    """Return the arm for a key: the same one as long as the weights are, and as often as its weight says.

    The arms divide the interval [0, 1), and the key's digest is a point in it. (Weighted rendezvous hashing would move
    fewer keys when weights change; a table of shares is what people can check.)
    """
    weights = split.weights(decision)
    total = sum(weights.values())
    point = int.from_bytes(sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64 * total
    chosen = ""
    for name, weight in weights.items():
        if weight <= 0:
            continue
        chosen = name
        if point < weight:
            return name
        point -= weight
    return chosen


class Tally(msgspec.Struct):
    """What one arm has come to."""

    calls: int = 0
    failed: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    quality: float = 0.0
    rated: int = 0
    """Results that ``quality`` is the sum over."""

    def add(self, other: Tally) -> None:
        """Add another tally."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def value(self, metric: Metric) -> float | None:
        """Return what a metric comes to; None where there is nothing to go by."""
        match metric:
            case Metric.QUALITY:
                return self.quality / self.rated if self.rated else None
            case Metric.FAILURES:
                return self.failed / self.calls if self.calls else None
            case Metric.COST:
                return self.cost / self.calls if self.calls else None
            case Metric.SECONDS:
                return self.seconds / self.calls if self.calls else None

    def count_for(self, metric: Metric) -> int:
        """Return how many results a metric rests on."""
        return self.rated if metric is Metric.QUALITY else self.calls


class RouteState(msgspec.Struct):
    """What is known of a split over all runs: a tally for each arm, and what was decided."""

    arms: dict[str, Tally] = {}
    decision: Decision = Decision.OPEN
    reason: str = ""

    def add(self, tallies: Mapping[str, Tally]) -> None:
        """Add what came of some calls."""
        for name, tally in tallies.items():
            self.arms.setdefault(name, Tally()).add(tally)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a canary's rule says now."""

    decision: Decision
    reason: str = ""


def judge(canary: Canary, arms: Mapping[str, Tally]) -> Judged:
    """Decide about a canary by its tally and that of all other arms together."""
    own = arms.get(canary.arm, Tally())
    others = Tally()
    for name, tally in arms.items():
        if name != canary.arm:
            others.add(tally)
    metric = canary.metric
    if min(own.count_for(metric), others.count_for(metric)) < canary.min_calls:
        return Judged(Decision.OPEN)
    mine, theirs = own.value(metric), others.value(metric)
    if mine is None or theirs is None:
        return Judged(Decision.OPEN)
    if metric is Metric.QUALITY:
        is_good = mine >= theirs - abs(theirs) * canary.tolerance
    elif metric is Metric.FAILURES:
        is_good = mine <= theirs + canary.tolerance  # a share already
    else:
        is_good = mine <= theirs * (1 + canary.tolerance)
    reason = f"{metric} {mine:.4g} beside {theirs:.4g} after {own.count_for(metric)} calls"
    return Judged(Decision.PROMOTED if is_good else Decision.ROLLED_BACK, reason)


def rated(result: Any, path: str | None) -> float | None:
    """Return the number at ``path`` in a result; None where there is none."""
    if path is None:
        return None
    for name in path.split("."):
        if not isinstance(result, Mapping) or name not in result:
            return None
        result = result[name]
    return float(result) if isinstance(result, int | float) else None


@dataclass(frozen=True, slots=True)
class RouteFault:
    """Something wrong in a written split: where below ``model``, and what."""

    path: tuple[str | int, ...]
    message: str
    hint: str | None = field(default=None)


def faults(written: Any, options: Sequence[str]) -> Iterator[RouteFault]:
    """Yield what is wrong with a split as written; ``options`` are what an arm may set."""
    try:
        split = read_split(written)
    except msgspec.ValidationError as error:
        yield RouteFault((), f"this is no way to choose a model: {error}", "see docs/routing.md")
        return
    if split is not None:
        yield from _split_faults(split, options)


def _split_faults(route: Split, options: Sequence[str]) -> Iterator[RouteFault]:
    if len(route.split) < 2:
        yield RouteFault(("split",), "a split has two arms at least", "to ask one model, write `model: NAME`")
    for name, arm in route.split.items():
        weight = arm.get("weight", 1)
        if not isinstance(weight, int | float) or isinstance(weight, bool) or weight < 0:
            yield RouteFault(("split", name, "weight"), f"the weight of `{name}` is no number from 0 up")
        for option in arm:
            if option != "weight" and option not in options:
                yield RouteFault(
                    ("split", name, option), f"an arm cannot set `{option}`", "it sets options of the task"
                )
    weights = [arm.get("weight", 1) for arm in route.split.values()]
    if route.split and all(weight == 0 for weight in weights):
        yield RouteFault(("split",), "every arm has the weight 0, so none is ever taken", "give one a weight above 0")
    canary = route.canary
    if canary is None:
        return
    if canary.arm not in route.split:
        yield RouteFault(("canary", "arm"), f"there is no arm `{canary.arm}`", f"the arms are {', '.join(route.split)}")
    if canary.metric is Metric.QUALITY and canary.quality is None:
        hint = "add `quality: score`, the path of a number in the result"
        yield RouteFault(("canary", "metric"), "what the quality is, is not said", hint)
    if canary.min_calls < 1:
        yield RouteFault(("canary", "min_calls"), "a canary is judged by one call at least", "write `min_calls: 20`")


def names_in(written: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the models that a ``model`` option names, with where below it they stand."""
    if isinstance(written, str):
        yield (), written
    elif isinstance(written, list | tuple):
        yield from (((at,), name) for at, name in enumerate(written) if isinstance(name, str))
    elif isinstance(written, Mapping):
        arms = written.get("split")
        if isinstance(arms, Mapping):
            for arm, options in arms.items():
                if isinstance(options, Mapping) and isinstance(options.get("model"), str):
                    yield ("split", str(arm), "model"), options["model"]

"""What calls cost: the shipped price list, with a project's own prices before it.

Prices are US dollars per million tokens. They change without notice: the shipped list is a starting point, and says
where to check it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec

_FREE = frozenset({"ollama", "vllm", "llamacpp", "llama.cpp", "offline"})
"""Kinds of servers that people run themselves: a call costs nothing that we could know."""
_DATED = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4})$")


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a million tokens cost, in US dollars."""

    input: float
    output: float = 0.0
    cached_input: float | None = None
    """Input that came out of the provider's own cache; None is as much as other input."""

    def of(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
        """Return what a call costs. ``cached_tokens`` are a part of ``input_tokens``."""
        cached = min(cached_tokens, input_tokens)
        cached_price = self.input if self.cached_input is None else self.cached_input
        plain = (input_tokens - cached) * self.input + cached * cached_price + output_tokens * self.output
        return plain / 1_000_000


class _List(msgspec.Struct):
    models: dict[str, Price]
    batch_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Priced:
    """The price of a model, and where it stands."""

    price: Price
    share: float = 1.0
    """What of it is to be paid, such as half in a batch."""


@cache
def _shipped() -> _List:
    return msgspec.json.decode(files("autoglm.llm").joinpath("prices.json").read_bytes(), type=_List)


def price_of(name: str, provider: str, model: str, own: Mapping[str, Price] | None = None) -> Price | None:
    """Return the price of a model; None when nobody knows it.

    ``name`` is what the workflow calls it, ``model`` what the server does. A project's ``own`` prices are looked up by
    ``name``, ``provider/model`` and ``model``, the shipped ones by ``provider/model``, without a date at its end too.
    """
    for key in (name, f"{provider}/{model}", model):
        if own and key in own:
            return own[key]
    if provider in _FREE:
        return Price(0.0)
    shipped = _shipped().models
    for known in (model, _DATED.sub("", model)):
        if found := shipped.get(f"{provider}/{known}"):
            return found
    return None


def batch_share() -> float:
    """Return what of the price is to be paid for a call in a batch."""
    return _shipped().batch_share

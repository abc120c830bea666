"""What a decision came to, in words: told from what is recorded of it, whoever decided."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from autoglm.app.operands import Operand, value_text
from autoglm.graph.model import Node

_SHOWN: Final = 5
_FEW: Final = 3
_SHORT: Final = 40
_LONG: Final = 200


class Decided(msgspec.Struct, frozen=True):
    """The record of a decision. ``prediction`` is a trained model's, ``label`` a language model's."""

    branches: list[str]
    rules: list[str]
    operands: dict[str, Any]
    not_taken: list[str]
    prediction: Any = msgspec.UNSET
    probability: Any = None
    label: Any = msgspec.UNSET
    confidence: Any = None


def read_decision(result: Any) -> Decided | None:
    """Return what a decision's result records; None for what is no such record."""
    try:
        return msgspec.convert(result, Decided)
    except msgspec.ValidationError:
        return None


def in_words(found: Decided) -> str:
    """Return which branches it took, and why: "took `x`, because …"."""
    if not found.branches:
        return f"took no branch: no rule held{_on_what(found)}"
    if len(found.branches) > 1:
        pairs = zip(found.branches, found.rules, strict=False)
        return f"took {' and '.join(f'`{branch}` (`{rule}`)' for branch, rule in pairs)}{_on_what(found)}"
    rule = found.rules[0] if found.rules else "default"
    return f"took `{found.branches[0]}`, because {_why(found, rule)}"


def _why(found: Decided, rule: str) -> str:
    if found.label is not msgspec.UNSET:
        sure = value_text(found.confidence)
        if not rule.startswith("label == "):
            return f"the model was only {sure} sure of `{found.label}` (`{rule}`)"
        return f"the model answered `{found.label}`" + ("" if found.confidence is None else f", {sure} sure")
    return ("no rule held" if rule == "default" else f"`{rule}` held") + _on_what(found)


def _on_what(found: Decided) -> str:
    """Return the first values that it was decided on."""
    few = [f"{each.name} = {each.value}" for each in _values(found, _SHORT)[:_FEW]]
    return f" ({', '.join(few)})" if few else ""


def operands_of(found: Decided) -> list[Operand]:
    """Return the values that it was decided on."""
    return _values(found, _LONG)


def _values(found: Decided, most: int) -> list[Operand]:
    said = dict(found.operands)
    if found.prediction is not msgspec.UNSET:
        said = {"prediction": found.prediction, **said}
        if found.probability is not None:
            said.setdefault("probability", found.probability)
    return [Operand(name, value_text(value, most)) for name, value in said.items()]


def more_of(found: Decided, node: Node | None) -> list[str]:
    """Return what else there is to say: the branches not taken, and the rules that were tried and did not hold."""
    notes = []
    if found.not_taken:
        notes.append(f"not taken: {_listed(found.not_taken)}")
    if node is not None and (tried := _in_vain(found, node)):
        notes.append(f"did not hold: {_listed(tried)}")
    return notes


def _in_vain(found: Decided, node: Node) -> list[str]:
    """Return the rules that were tried and did not hold: where the first that holds is taken, those before it."""
    tried = []
    for rule in node.rules:
        if rule.source in found.rules:
            if not node.takes_all:
                break
        elif rule.when is not None:
            tried.append(rule.source)
    return tried


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:_SHOWN]) + more

"""What expressions read, by name and without secrets, for people who ask why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from autoglm.base import jsonvalue
from autoglm.base.redaction import MASK, Secret, redact
from autoglm.engine.machine import Run
from autoglm.engine.names import Names
from autoglm.engine.state import Instance
from autoglm.graph.model import Decider
from autoglm.spec.expressions import Template

_CLIP: Final = 200
_OF_MODEL: Final = frozenset({"prediction", "probability", "probabilities"})
"""What the rules of a decision by a trained model read of its answer, which only the decision itself sees."""


class Operand(msgspec.Struct, frozen=True):
    """A name that an expression reads, and what it gave, as JSON text (clipped)."""

    name: str
    value: str


class _Hidden(dict[str, Secret]):
    """Secrets of any name, none of them known: what is computed from one is marked as a secret."""

    def __missing__(self, name: str) -> Secret:
        return Secret(MASK)


def hide_secrets(run: Run) -> None:
    """Let templates of a run that is only looked at read stars where its secrets would stand."""
    if run.created is not None:
        run.provide(dict.fromkeys(run.created.secret_inputs, Secret(MASK)))
        run.world.values["secrets"] = _Hidden()


def operands(run: Run, instance: Instance, template: Template | None) -> Iterator[Operand]:
    """Yield the names that an expression reads with their values; secrets have to be hidden before."""
    if template is None:
        return
    names = Names(run.world, instance)
    for chain in sorted(template.paths):
        if instance.node.decider is not Decider.MODEL or chain[0] not in _OF_MODEL:
            yield Operand(".".join(chain), _read(names, chain))


def rule_operands(run: Run, instance: Instance) -> list[Operand]:
    """Return what the rules of a decision read that has not been made."""
    found: dict[str, Operand] = {}
    for rule in instance.node.rules:
        found |= {each.name: each for each in operands(run, instance, rule.when)}
    return list(found.values())


def _read(names: Names, chain: tuple[str, ...]) -> str:
    """Return the value at the end of a chain of names, or what is wrong with it."""
    key = chain[0]
    try:
        value: Any = names(key)
        for key in chain[1:]:
            value = value[int(key) if isinstance(value, list | tuple) else key]
    except (LookupError, TypeError, ValueError):
        return f"(there is no `{key}`)"
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what the expression met
        return f"({getattr(error, 'message', error)})"[:_CLIP]
    return value_text(value)


def value_text(value: Any, most: int = _CLIP) -> str:
    """Return a value as JSON text without secrets, clipped."""
    if isinstance(value, Secret):
        return MASK
    try:
        text = jsonvalue.encode(redact(value)).decode()
    except (jsonvalue.NotJson, TypeError, ValueError):
        return "(a task)" if hasattr(value, "keys") else repr(type(value).__name__)
    return text if len(text) <= most else f"{text[: most - 1]}…"

"""One evaluation: the scope it reads, whether it has seen a secret, and how much it has done."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from autoglm.base.redaction import Secret
from autoglm.spec.faults import too_large
from autoglm.spec.jsonform import MAX_STEPS
from autoglm.spec.paths import Scope


class Evaluation:
    """The state of one evaluation of one template."""

    __slots__ = ("paths", "scope", "steps", "tainted")

    def __init__(self, scope: Scope, paths: tuple[tuple[str, ...], ...] = ()) -> None:
        self.scope = scope
        self.paths = paths
        self.steps = 0
        self.tainted = False

    def spend(self, steps: int) -> None:
        """Count work. Raises ExpressionError ``expression-too-large`` when it is too much."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise too_large(f"it walks over more than {MAX_STEPS:,} items")

    def observe(self, value: Any) -> None:
        """Note that ``value`` is used: when it holds a secret, the result is one."""
        if not self.tainted and _holds_secret(value):
            self.tainted = True


_current: ContextVar[Evaluation] = ContextVar("evaluation")
activate = _current.set
deactivate = _current.reset


def current() -> Evaluation:
    """Return the evaluation that is under way."""
    return _current.get()


def _holds_secret(value: Any) -> bool:
    kind = type(value)
    if kind is Secret:
        return True
    if kind is str or kind is int or kind is bool or value is None:
        return False
    if kind is list or kind is tuple:
        return any(map(_holds_secret, value))
    if kind is dict:
        return any(map(_holds_secret, value.values())) or any(type(key) is Secret for key in value)
    if isinstance(value, str):
        return isinstance(value, Secret)
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return any(_holds_secret(value[key]) for key in value.keys())  # noqa: SIM118  # any mapping-like object
    return False

"""The names that have a value before a run: inputs that are given or have a default, variables, the project's values.

What a name may mean only while a run lives (an item, a result, a secret) has none here, and an expression that reads
such a name is not evaluated at all: where it asks whether there is such a thing, nobody knows yet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from autoglm.spec.expressions import ExpressionError, Template


class Known:
    """What templates can read before a run, as a scope to evaluate them in."""

    def __init__(
        self,
        inputs: Mapping[str, Any],
        variables: Mapping[str, Any],
        config: Mapping[str, Any],
        hidden: Collection[str] = (),
    ) -> None:
        self._inputs = inputs
        self._variables = variables
        self._config = config
        self._hidden = frozenset(hidden)
        fixed = {"inputs": inputs, "vars": variables, "config": config}
        self._values = {
            name: value for name, value in {**variables, **inputs, **fixed}.items() if name not in self._hidden
        }

    def __call__(self, name: str) -> Any:
        return self._values[name]

    def names(self) -> list[str]:
        return list(self._values)

    def without(self, names: Collection[str]) -> Known:
        """Return what is known where other things have these names, such as the items of a loop."""
        return Known(self._inputs, self._variables, self._config, self._hidden | frozenset(names)) if names else self

    def without_inputs(self, names: Collection[str]) -> Known:
        """Return what is known where these inputs have values that nobody knows yet."""
        inputs = {name: value for name, value in self._inputs.items() if name not in names}
        return Known(inputs, self._variables, self._config, self._hidden | frozenset(names))

    def value_of(self, template: Template) -> Any:
        """Return a template's value. Raises KeyError where it reads what is not known, and ExpressionError."""
        for chain in template.paths:
            if chain[0] == "inputs" and (len(chain) < 2 or chain[1] not in self._inputs):
                raise KeyError(chain)
        for name in template.names:
            self(name)
        return template.evaluate(self)

    def holds(self, condition: Template | None) -> bool | None:
        """Return whether a condition is true; None when that is not known before."""
        if condition is None:
            return True
        try:
            return bool(self.value_of(condition))
        except (ExpressionError, KeyError, TypeError):
            return None

"""Declared models with their templates rendered, one by one when asked for: a key nobody needs is never looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autoglm.base.errors import TaskError
from autoglm.spec.expressions import ExpressionError, compile_template
from autoglm.spec.model import ModelSpec

_TEMPLATED = ("base_url", "api_key", "headers", "model", "proxy")


class Models(Mapping[str, ModelSpec]):
    """Model declarations by name; ``values`` are what their templates may read (``secrets``, ``env``, ``config`` …)."""

    def __init__(self, declared: Mapping[str, ModelSpec], values: Mapping[str, Any]) -> None:
        self._declared = declared
        self._values = values
        self._rendered: dict[str, ModelSpec] = {}

    def __getitem__(self, name: str) -> ModelSpec:
        """Return the declaration, rendered. Raises TaskError when a template of it cannot be rendered."""
        if name not in self._rendered:
            self._rendered[name] = self._render(name, self._declared[name])
        return self._rendered[name]

    def __contains__(self, name: object) -> bool:
        return name in self._declared

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def _render(self, name: str, spec: ModelSpec) -> ModelSpec:
        try:
            found = {
                field: compile_template(value).evaluate(self._values.__getitem__)
                for field in _TEMPLATED
                if (value := getattr(spec, field))
            }
        except ExpressionError as error:
            message = f"the model `{name}` cannot be used: {error.message}"
            raise TaskError(message, code=error.code, retryable=False, hint=error.hint) from None
        return spec.model_copy(update=found)

"""The fields ``budget`` and ``cache``, from what the author wrote to what the model holds."""

from __future__ import annotations

from typing import Any

from autoglm.spec.model import Budget, CacheScope, CacheSpec, DegradeTo, OnExhausted, OnUnpriced, Path
from autoglm.spec.values import Values, build

_BUDGET_DEFAULTS = {name: field.default for name, field in Budget.model_fields.items()}
_CACHE_DEFAULTS = {name: field.default for name, field in CacheSpec.model_fields.items()}
_LIMITS = ("tokens", "cost", "calls", "wall_time")


def budget(values: Values, value: Any, path: Path, key: str) -> Budget | None:
    """Return the budget that ``value`` gives; None for none, or after a complaint."""
    if value is None:
        return None
    mapping = values.mapping(value, path, key, "write `budget: {cost: 5, tokens: 2000000}`")
    if mapping is None:
        return None
    here = (*path, key)
    values.check_keys(mapping, here, tuple(_BUDGET_DEFAULTS), "`budget`")
    fields: dict[str, Any] = dict(_BUDGET_DEFAULTS)
    for name, written in mapping.items():
        if name in ("tokens", "calls"):
            read: Any = values.integer(written, here, name, minimum=1)
        elif name == "cost":
            read = _amount(values, written, here, name)
        elif name == "wall_time":
            read = values.duration(written, here, name)
        elif name == "on_unpriced":
            read = values.choice(written, here, name, OnUnpriced)
        elif name == "on_exhausted":
            read = _on_exhausted(values, written, here, name)
        else:
            continue
        if read is not None:
            fields[name] = read
    if not any(name in mapping for name in _LIMITS):
        hint = "add `tokens`, `cost`, `calls` or `wall_time`"
        values.error("budget-empty", "a budget says how much may be used, and this one does not", here, hint=hint)
        return None
    return build(Budget, fields)


def _amount(values: Values, written: Any, path: Path, key: str) -> float | None:
    if isinstance(written, int | float) and not isinstance(written, bool) and 0 < written < 1e12:
        return float(written)
    hint = None
    if isinstance(written, str) and written.strip().lstrip("$").replace(".", "", 1).isdecimal():
        hint = f"write the number alone, in US dollars: `{key}: {written.strip().lstrip('$')}`"
    values.wrong(written, path, key, "a number above 0", hint)
    return None


def _on_exhausted(values: Values, written: Any, path: Path, key: str) -> OnExhausted | DegradeTo | None:
    if isinstance(written, dict) and set(written) == {"degrade"}:
        model = values.filled_text(written["degrade"], (*path, key), "degrade")
        return None if model is None else build(DegradeTo, {"degrade": model})
    if isinstance(written, str) and written in list(OnExhausted):
        return OnExhausted(written)
    values.wrong(written, path, key, "`fail`, `pause` or `{degrade: MODEL}`")
    return None


def cache(values: Values, value: Any, path: Path, key: str) -> CacheSpec | None:
    """Return how answers are kept; None for not at all, or after a complaint."""
    if value is None or value is False:
        return None
    if value is True:
        return build(CacheSpec, dict(_CACHE_DEFAULTS))
    if not isinstance(value, dict):
        values.wrong(value, path, key, "`true`, `false` or a mapping such as `{ttl: 7d, scope: project}`")
        return None
    here = (*path, key)
    values.check_keys(value, here, tuple(_CACHE_DEFAULTS), "`cache`")
    fields: dict[str, Any] = dict(_CACHE_DEFAULTS)
    for name, written in value.items():
        if name == "ttl":
            read: Any = None if written is None else values.duration(written, here, name)
        elif name == "scope":
            read = values.choice(written, here, name, CacheScope)
        else:
            continue
        if read is not None:
            fields[name] = read
    return build(CacheSpec, fields)

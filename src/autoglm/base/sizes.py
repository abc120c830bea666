"""Sizes as people write them: ``512MB``, ``2GiB``, ``1.5G``, or a number of bytes."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(value: object) -> int:
    """Return ``value`` in bytes: ``k``, ``M``, ``G``, ``T`` count thousands, ``Ki``, ``Mi``, … count 1,024s.

    Raises:
        ValueError: it is not a size.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 40 else None
    if match is None:
        raise ValueError(f"{value!r} is not a size; write one like 512MB, 2GiB or a number of bytes")
    number, unit, binary = match.groups()
    factor = (1024 if binary else 1000) ** _POWERS[unit.lower()] if unit else 1
    return round(float(number) * factor)

"""Durations as people write them: ``250ms``, ``30s``, ``1h30m``, ISO 8601 ``PT30S``, or a number of seconds."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SHORT = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_ISO = re.compile(
    r"P(?:(?P<w>\d+(?:\.\d+)?)W)?(?:(?P<d>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<h>\d+(?:\.\d+)?)H)?(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)
_MAX_SECONDS = 10 * 366 * 86400.0


def parse_duration(value: object) -> float:
    """Return ``value`` in seconds.

    Raises:
        ValueError: it is not a duration, is negative, or is longer than ten years.
    """
    seconds = _seconds(value)
    if not 0 <= seconds <= _MAX_SECONDS:
        raise ValueError(f"{value!r} is not a duration between 0 and ten years")
    return seconds


def _seconds(value: object) -> float:
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a duration; write one like 30s, 1h30m or a number of seconds")
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"\d+(?:\.\d+)?", text):
            return float(text)
        if _SHORT.fullmatch(text):
            return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
        iso = _ISO.fullmatch(text.upper())
        if iso and any(iso.groups()):
            return sum(float(number) * _UNITS[unit] for unit, number in iso.groupdict().items() if number)
    raise ValueError(f"{value!r} is not a duration; write one like 250ms, 30s, 1h30m, PT30S or a number of seconds")


def format_duration(seconds: float) -> str:
    """Return ``seconds`` for people: ``0.4s``, ``12s``, ``1m05s``, ``2h03m``."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"

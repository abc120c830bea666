"""Points in time as people write them: ISO 8601, such as ``2026-03-01T09:00:00+01:00``; without an offset it is UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def parse_instant(value: object) -> float:
    """Return ``value`` in seconds since the epoch. Raises ValueError when it is no ISO 8601 date or date and time."""
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value.strip())
        except ValueError:
            found = None
        if found is not None:
            return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    raise ValueError(f"{value!r} is not a point in time; write one like 2026-03-01T09:00:00Z")


def format_instant(at: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC, to the second: ``2026-03-01T09:00:00Z``."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

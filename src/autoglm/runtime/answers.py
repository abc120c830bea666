"""Answers and signals as messages that are left for a run, and as the news that its engine takes."""

from __future__ import annotations

from typing import Any

from autoglm.base import jsonvalue
from autoglm.engine import messages as m


def news_of(kind: str, body: dict[str, Any], number: int = 0) -> m.Answer | m.SignalGiven:
    """Return what a message of kind ``answer`` or ``signal`` means. ``number`` is the message's own, 0 for none."""
    data = jsonvalue.encode(body.get("data"))
    if kind == "signal":
        return m.SignalGiven(str(body.get("name")), data, str(body.get("by", "")), number)
    return m.Answer(
        str(body.get("task")),
        body.get("approved") is True,
        str(body.get("by", "")),
        None if body.get("data") is None else data,
        str(body.get("comment", "")),
        number,
    )

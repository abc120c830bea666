"""What is told of one model call, once it has ended: to telemetry, and to whoever else watches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(slots=True)
class Heard:
    """What a server says beside its answer."""

    headers: Mapping[str, str] | None = None


heard: ContextVar[Heard | None] = ContextVar("heard", default=None)
"""Takes the headers of each answer that comes in this context, refusals included.

Timers keep the context that they were set in long after they were cancelled, so it must not lead to the attempt.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """One call over the wire, failed ones included. Times are seconds since the epoch, by the caller's clock."""

    operation: str
    """``chat``, ``embeddings``, ``execute_tool``: OpenTelemetry's ``gen_ai.operation.name``."""
    provider: str
    model: str
    """What was asked for."""
    server: str | None = None
    """Host name of the server."""
    started_at: float
    ended_at: float
    first_chunk_at: float | None = None
    """When the first piece of a streamed answer came."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    response_model: str | None = None
    response_id: str | None = None
    finish_reasons: Sequence[str] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    output_type: str | None = None
    """``text`` or ``json``."""
    prompt_name: str | None = None
    error: str | None = None
    """Code of the failure; None when there was an answer."""
    messages: Sequence[Mapping[str, Any]] = ()
    text: str = ""

    def input_content(self) -> str:
        """Return the messages as JSON text."""
        return msgspec.json.encode(list(self.messages)).decode()

    def output_content(self) -> str:
        """Return the answer as JSON text, in the form of a list of messages."""
        return msgspec.json.encode([{"role": "assistant", "content": self.text}]).decode()

"""Telling of a model call once it has ended, failed ones included, for whoever watches (``attempt.on_call``)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from autoglm.base.errors import TaskError
from autoglm.llm.calls import ModelCall
from autoglm.llm.models import Endpoint
from autoglm.tasks.protocol import Attempt

if TYPE_CHECKING:
    from autoglm.llm.chat import Completion, Usage


class Telling:
    """What is known of a call so far."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def first_chunk(self) -> None:
        """Note that the first piece of a streamed answer has come."""
        self.found.setdefault("first_chunk_at", time.time())

    def answered(self, completion: Completion) -> None:
        """Note what came back from a chat call."""
        self.used(completion.usage)
        self.found.update(
            response_model=completion.model,
            response_id=completion.id,
            finish_reasons=(completion.finish_reason,) if completion.finish_reason else (),
            text=completion.text,
        )

    def used(self, usage: Usage) -> None:
        """Note what the call used, as far as the server said."""
        if usage.reported:
            self.found.update(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                reasoning_tokens=usage.reasoning_tokens,
                cached_tokens=usage.cached_tokens,
            )


@contextmanager
def telling(
    attempt: Attempt,
    endpoint: Endpoint,
    operation: str,
    *,
    messages: Sequence[Mapping[str, Any]] = (),
    parameters: Mapping[str, Any] | None = None,
    output_type: str | None = None,
) -> Iterator[Telling]:
    """Tell of the call that is made inside, when it has ended. ``operation``: ``chat``, ``embeddings``."""
    told = Telling()
    started = time.time()
    error = None
    try:
        yield told
    except TaskError as raised:
        error = raised.code
        raise
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        attempt.on_call(
            ModelCall(
                operation=operation,
                provider=endpoint.profile.name,
                model=endpoint.model,
                server=urlsplit(endpoint.base_url).hostname,
                started_at=started,
                ended_at=time.time(),
                parameters={**endpoint.parameters, **(parameters or {})},
                output_type=output_type,
                messages=messages,
                error=error,
                **told.found,
            )
        )

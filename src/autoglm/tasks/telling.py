"""Telling of a model call once it has ended, failed ones included, for whoever watches (``attempt.on_call``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from autoglm.base.errors import TaskError
from autoglm.llm.calls import ModelCall
from autoglm.llm.models import Endpoint
from autoglm.tasks.protocol import Attempt

if TYPE_CHECKING:
    from autoglm.llm.chat import Completion, Usage


class Telling:
    """One call: as a context, told of what is inside. This one does nothing with it: nobody listens."""

    __slots__ = ()

    def first_chunk(self) -> None:
        """Note that a piece of a streamed answer has come."""

    def answered(self, completion: Completion) -> None:
        """Note what came back from a chat call."""

    def used(self, usage: Usage) -> None:
        """Note what the call used, as far as the server said."""

    def __enter__(self) -> Telling:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Tell that the call has ended."""


_TO_NOBODY: Final = Telling()


def telling(
    attempt: Attempt,
    endpoint: Endpoint,
    operation: str,
    *,
    messages: Sequence[Mapping[str, Any]] = (),
    parameters: Mapping[str, Any] | None = None,
    output_type: str | None = None,
) -> Telling:
    """Return what is to be told of a call; ``operation`` is ``chat`` or ``embeddings``."""
    listener = attempt.on_call
    if listener is None:
        return _TO_NOBODY
    return _ToListener(listener, endpoint, operation, messages, parameters or {}, output_type)


class _ToListener(Telling):
    __slots__ = (
        "_completion",
        "_endpoint",
        "_first_chunk_at",
        "_listener",
        "_messages",
        "_operation",
        "_output_type",
        "_parameters",
        "_started_at",
        "_usage",
    )

    def __init__(
        self,
        listener: Callable[[ModelCall], None],
        endpoint: Endpoint,
        operation: str,
        messages: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any],
        output_type: str | None,
    ) -> None:
        self._listener, self._endpoint, self._operation = listener, endpoint, operation
        self._messages, self._parameters, self._output_type = messages, parameters, output_type
        self._first_chunk_at: float | None = None
        self._completion: Completion | None = None
        self._usage: Usage | None = None

    def first_chunk(self) -> None:
        if self._first_chunk_at is None:
            self._first_chunk_at = time.time()

    def answered(self, completion: Completion) -> None:
        self._completion, self._usage = completion, completion.usage

    def used(self, usage: Usage) -> None:
        self._usage = usage

    def __enter__(self) -> Telling:
        self._started_at = time.time()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._listener(self._told(error))

    def _told(self, error: BaseException | None) -> ModelCall:
        found: dict[str, Any] = {}
        if (usage := self._usage) is not None and usage.reported:
            found.update(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                reasoning_tokens=usage.reasoning_tokens,
                cached_tokens=usage.cached_tokens,
            )
        if (completion := self._completion) is not None:
            found.update(
                response_model=completion.model,
                response_id=completion.id,
                finish_reasons=(completion.finish_reason,) if completion.finish_reason else (),
                text=completion.text,
            )
        if error is not None:
            found["error"] = error.code if isinstance(error, TaskError) else type(error).__name__
        endpoint = self._endpoint
        return ModelCall(
            operation=self._operation,
            provider=endpoint.profile.name,
            model=endpoint.model,
            server=urlsplit(endpoint.base_url).hostname,
            started_at=self._started_at,
            ended_at=time.time(),
            first_chunk_at=self._first_chunk_at,
            parameters={**endpoint.parameters, **self._parameters},
            output_type=self._output_type,
            messages=self._messages,
            **found,
        )

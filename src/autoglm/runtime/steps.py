"""Steps of attempts: each is done at most once, and goes on when what it gave is committed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from autoglm.base import jsonvalue
from autoglm.base.errors import TaskError
from autoglm.base.redaction import Redactor
from autoglm.engine import messages as m
from autoglm.engine import steps
from autoglm.engine.machine import Run
from autoglm.engine.state import Instance

_Step = tuple[str, int, str]
"""Task id, attempt, key."""
MAX_BYTES = 64 * 1024 * 1024
"""Bytes of JSON that the value of one step may have."""


class Steps:
    """Does the steps of one run's attempts, on its event loop."""

    def __init__(self, run: Run, redactor: Redactor, post: Callable[[m.Stimulus], None]) -> None:
        self._run = run
        self._redactor = redactor
        self._post = post
        self._thread = threading.get_ident()
        self._under_way: dict[_Step, asyncio.Future[None]] = {}
        self._not_committed: dict[_Step, asyncio.Future[bool]] = {}

    async def do(
        self, command: m.StartAttempt, instance: Instance, key: str, work: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Return the recorded value of a step, or do it, record it and return it. See ``Attempt.step``."""
        step = self._step(command, key)
        while (other := self._under_way.get(step)) is not None:  # an attempt may ask for the same step twice at once
            await asyncio.wait([other])
        found = steps.text(self._run, instance, step[2])
        if found is None:
            over = self._under_way[step] = asyncio.get_running_loop().create_future()
            try:
                found = await self._record(step, instance, self._as_json(key, await work()))
            finally:
                del self._under_way[step]
                over.set_result(None)
        return jsonvalue.decode(found)

    def find(self, command: m.StartAttempt, instance: Instance, key: str) -> bytes | None:
        """Return the JSON text that is recorded for a step, None when there is none. See ``Attempt.recorded``."""
        return steps.text(self._run, instance, self._step(command, key)[2])

    def record(self, command: m.StartAttempt, instance: Instance, key: str, text: bytes) -> Coroutine[Any, Any, bytes]:
        """Record JSON text as what a step gave. See ``Attempt.record``."""
        try:
            jsonvalue.check(text)
        except jsonvalue.NotJson as error:
            raise _not_json(key, error) from None
        return self._record(self._step(command, key), instance, self._checked(key, text))

    def go_on(self, command: m.GoOnAfterStep) -> None:
        """Let an attempt go on: what its step gave is committed, or will not be."""
        waiting = self._not_committed.get((command.task, command.attempt, command.key))
        if waiting is not None and not waiting.done():
            waiting.set_result(command.recorded)

    def _step(self, command: m.StartAttempt, key: str) -> _Step:
        if threading.get_ident() != self._thread:
            raise TaskError(
                "only a coroutine that runs inline can record steps",
                code="wrong-executor",
                retryable=False,
                hint="leave out `executor`, or write `executor: inline`",
            )
        return command.task, command.attempt, self._redactor.scrub(key) if self._redactor.active else key

    async def _record(self, step: _Step, instance: Instance, text: bytes) -> bytes:
        """Return what is recorded once it is committed: ``text``, or what was there before."""
        while (other := self._not_committed.get(step)) is not None:
            await asyncio.wait([other])
        committed = self._not_committed[step] = asyncio.get_running_loop().create_future()
        self._post(m.StepDone(*step, text))
        try:
            is_recorded = await committed
        finally:
            del self._not_committed[step]
        if not is_recorded:
            raise asyncio.CancelledError("the attempt had been given up")
        found = steps.text(self._run, instance, step[2])
        return text if found is None else found

    def _as_json(self, key: str, value: Any) -> bytes:
        try:
            return self._checked(key, jsonvalue.encode(value))
        except jsonvalue.NotJson as error:
            raise _not_json(key, error) from None

    def _checked(self, key: str, text: bytes) -> bytes:
        """Return the text as it may be recorded: not too long, and without secrets."""
        if len(text) > MAX_BYTES:
            limit = MAX_BYTES // 1_000_000
            message = f"the step `{key}` gave {len(text) // 1_000_000} MB of JSON, and {limit} MB is the limit"
            raise TaskError(
                message, code="output-too-large", retryable=False, hint="write it to a file, and give the path"
            )
        return self._redactor.scrub_json(text) if self._redactor.active else text


def _not_json(key: str, error: jsonvalue.NotJson) -> TaskError:
    message = f"what the step `{key}` gave is not JSON data: {error}"
    return TaskError(message, code="not-json", retryable=False, hint=error.hint)

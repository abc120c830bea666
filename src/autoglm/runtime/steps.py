"""Steps of attempts: each is done at most once, and goes on when what it gave is committed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
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
        if threading.get_ident() != self._thread:
            raise TaskError(
                "only a coroutine that runs inline can record steps",
                code="wrong-executor",
                retryable=False,
                hint="leave out `executor`, or write `executor: inline`",
            )
        step = (command.task, command.attempt, self._redactor.scrub(key))
        while (other := self._under_way.get(step)) is not None:  # an attempt may ask for the same step twice at once
            await asyncio.wait([other])
        found = steps.value(self._run, instance, step[2])
        if found is not steps.MISSING:
            return found
        over = self._under_way[step] = asyncio.get_running_loop().create_future()
        try:
            return await self._record(step, instance, await work())
        finally:
            del self._under_way[step]
            over.set_result(None)

    def go_on(self, command: m.GoOnAfterStep) -> None:
        """Let an attempt go on: what its step gave is committed, or will not be."""
        waiting = self._not_committed.get((command.task, command.attempt, command.key))
        if waiting is not None and not waiting.done():
            waiting.set_result(command.recorded)

    async def _record(self, step: _Step, instance: Instance, value: Any) -> Any:
        text = self._as_json(step[2], value)
        committed = self._not_committed[step] = asyncio.get_running_loop().create_future()
        self._post(m.StepDone(*step, text))
        try:
            is_recorded = await committed
        finally:
            del self._not_committed[step]
        if not is_recorded:
            raise asyncio.CancelledError("the attempt had been given up")
        found = steps.value(self._run, instance, step[2])
        return jsonvalue.decode(text) if found is steps.MISSING else found

    def _as_json(self, key: str, value: Any) -> bytes:
        try:
            text = jsonvalue.encode(value)
        except jsonvalue.NotJson as error:
            message = f"what the step `{key}` gave is not JSON data: {error}"
            raise TaskError(message, code="not-json", retryable=False, hint=error.hint) from None
        if len(text) > MAX_BYTES:
            limit = MAX_BYTES // 1_000_000
            message = f"the step `{key}` gave {len(text) // 1_000_000} MB of JSON, and {limit} MB is the limit"
            raise TaskError(
                message, code="output-too-large", retryable=False, hint="write it to a file, and give the path"
            )
        return self._redactor.scrub_json(text) if self._redactor.active else text

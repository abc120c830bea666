"""Attempts of tasks that ask a model, outside of a run: the executor, the journal of steps and the log are plain."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from autoglm.base.errors import TaskError
from autoglm.executors.inline import InlineExecutor
from autoglm.spec.model import ModelSpec
from autoglm.tasks.protocol import Attempt, TaskContext

from ..llm.peer import serve  # noqa: TID252  # the peer serves both folders


def attempt(
    options: dict[str, Any],
    lines: list[str] | None = None,
    *,
    number: int = 1,
    steps: dict[str, Any] | None = None,
    **changes: Any,
) -> Attempt:
    """Return an attempt with these options; what it logs goes to ``lines``, what it journals to ``steps``."""
    executor = InlineExecutor()

    def log(stream: str, line: str) -> None:
        if lines is not None:
            lines.append(f"{stream}: {line}")

    recorded = {} if steps is None else steps

    async def step(key: str, work: Any) -> Any:
        if key not in recorded:
            recorded[key] = json.loads(json.dumps(await work()))
        return recorded[key]

    async def record(key: str, text: bytes) -> None:
        recorded[key] = json.loads(text)

    fields = {
        "name": "ask",
        "step": step,
        "recorded": lambda key: json.dumps(recorded[key]).encode() if key in recorded else None,
        "record": record,
        "options": options,
        "arguments": {},
        "env": {},
        "output_schema": None,
        "context": TaskContext(task_id="ask", run_id="r", attempt=number, input_data={}),
        "root": Path(),
        "execute": lambda work: executor.run(work, log),
        "log": log,
        "executor": "inline",
        "environment": {},
    }
    return Attempt(**{**fields, **changes})


async def run(kind: type, work: Attempt) -> Any:
    """Run one attempt with a task type of its own."""
    task_type = kind()
    try:
        return await task_type.run(work)
    finally:
        await task_type.close()


def asked(
    kind: type, options: dict[str, Any], reply=None, spec: dict[str, Any] | None = None, embed=None, **changes: Any
):
    """Run one attempt against a real server; return its result, the attempt and what the server was sent."""

    async def main():
        async with serve(reply, embed) as peer:
            models = {"mine": ModelSpec(base_url=peer.url, **(spec or {}))}
            work = attempt(options, **{"models": models, **changes})
            return await run(kind, work), work, peer

    return asyncio.run(main())


def rehearsed(kind: type, options: dict[str, Any], **changes: Any) -> Any:
    """Run one attempt without any model, and return its result and the attempt."""
    work = attempt(options, offline=True, **changes)
    return asyncio.run(run(kind, work)), work


def failing(kind: type, options: dict[str, Any], **changes: Any) -> TaskError:
    """Return how an attempt fails that comes to no call."""
    with pytest.raises(TaskError) as caught:
        asyncio.run(run(kind, attempt(options, **changes)))
    return caught.value

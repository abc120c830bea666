"""What the task types that ask a model share: the caller, what a failed attempt used, and which prompt it was."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from autoglm.base import jsonvalue
from autoglm.base.errors import TaskError
from autoglm.executors.protocol import Coroutine
from autoglm.llm.routing import read_split
from autoglm.spec.catalog import Catalog, TaskTypeInfo
from autoglm.spec.model import Task
from autoglm.tasks.caller import Caller, open_caller
from autoglm.tasks.model_options import Problem, check_model_options, invalid_option
from autoglm.tasks.protocol import Attempt

_PROMPT_PARTS: Final = ("system", "prompt", "prompt_template", "messages", "labels", "rubric", "instructions")
_LONGEST_PIECE: Final = 2_000
"""Characters of a streamed line that are logged at once."""


class LlmTask(ABC):
    """A task type that asks a model. Keys come from the environment, or from the ``api_key`` of a declared model."""

    info: TaskTypeInfo

    def __init__(self) -> None:
        self._caller: Caller | None = None

    def check(self, task: Task, catalog: Catalog) -> Iterable[Problem]:
        """Yield what is wrong with the options, as far as they are no templates."""
        yield from check_model_options(task, catalog)

    async def run(self, attempt: Attempt) -> Any:
        """Return what the task is for. Raises TaskError."""
        return await attempt.execute(Coroutine(self._run, {"attempt": attempt}))

    async def close(self) -> None:
        """Close the connections to models. Idempotent."""
        if self._caller is not None:
            caller, self._caller = self._caller, None
            await caller.close()

    @abstractmethod
    async def answer(self, caller: Caller, attempt: Attempt) -> Any:
        """Ask through ``caller``, and return the result of the task. Raises TaskError."""

    async def _run(self, attempt: Attempt) -> Any:
        if self._caller is None:
            self._caller = open_caller()
        if attempt.written:
            attempt.usage["prompt"] = name = prompt_name(attempt.written)
            self._caller.say_once(attempt, f"the prompt of `{attempt.name}` is {name}")
        try:
            return await self._routed(self._caller, attempt)
        except TaskError as error:
            if attempt.usage:  # what a failed attempt used is paid for all the same
                error.details = {**(error.details or {}), "usage": dict(attempt.usage)}
            raise

    def _routed(self, caller: Caller, attempt: Attempt) -> Awaitable[Any]:
        """Ask with the options of one arm, where the task's ``model`` is a split."""
        written = attempt.options.get("model")
        if not isinstance(written, Mapping):
            return self.answer(caller, attempt)
        from autoglm.tasks.routes import routed

        try:
            split = read_split(written)
        except msgspec.ValidationError as error:
            raise invalid_option(f"`model` is no way to choose one: {error}", "see docs/routing.md") from None
        assert split is not None
        return routed(attempt, split, lambda: self._with_arm(caller, attempt))

    def _with_arm(self, caller: Caller, attempt: Attempt) -> Awaitable[Any]:
        """Ask as the arm says that was taken; where it has a prompt of its own, that is the one to tell of."""
        split = attempt.written.get("model")
        arm = split["split"].get(attempt.usage.get("arm")) if isinstance(split, Mapping) and "split" in split else None
        if isinstance(arm, Mapping) and not arm.keys().isdisjoint(_PROMPT_PARTS):
            attempt.usage["prompt"] = name = prompt_name(arm)
            caller.say_once(attempt, f"the prompt of `{attempt.name}` in the arm `{attempt.usage['arm']}` is {name}")
        return self.answer(caller, attempt)


def prompt_name(written: Mapping[str, Any]) -> str:
    """Return what tells a prompt from its other versions: its file, if it has one, and 12 hex digits of its SHA-256.

    It is the prompt as written, before any template in it is filled.
    """
    known = _names.get(id(written))
    if known is not None and known[0] is written:  # all attempts of a loop hold one and the same
        return known[1]
    parts = {name: written[name] for name in _PROMPT_PARTS if name in written}
    name = hashlib.sha256(jsonvalue.canonical(parts)).hexdigest()[:12]
    file = written.get("prompt_file")
    if isinstance(file, str):
        name = f"{file}@{name}"
    if len(_names) >= _MOST_NAMES:
        _names.clear()
    _names[id(written)] = (written, name)
    return name


_MOST_NAMES: Final = 1024
_names: dict[int, tuple[Mapping[str, Any], str]] = {}


class StreamLog:
    """Logs an answer line by line while it comes, in the stream ``answer``: the live view and ``logs`` show it."""

    def __init__(self, log: Callable[[str, str], None]) -> None:
        self._log = log
        self._line = ""

    def take(self, text: str) -> None:
        """Take a piece of the answer."""
        *lines, self._line = (self._line + text).split("\n")
        while len(self._line) > _LONGEST_PIECE:
            lines.append(self._line[:_LONGEST_PIECE])
            self._line = self._line[_LONGEST_PIECE:]
        for line in lines:
            self._log("answer", line)

    def end(self) -> None:
        """Log the last line, which no line break ended."""
        if self._line:
            self._log("answer", self._line)
            self._line = ""

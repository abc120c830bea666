"""Answers that must fit a schema, rung by rung; each rung is logged, and counted in what the attempt used.

1. The schema is linted for the kind of server: what that cannot take natively is said in the prompt instead.
2. It is asked for natively where that is possible. A server that refuses the form is asked in the next one.
3. What comes back is journaled as it came, then read and validated here, whatever the server promised.
4. What does not fit is mended without another call, where it says the same in other words.
5. What still does not fit is sent back with what is wrong with it, ``corrections`` times.
6. Then the next model is asked, if the task names more than one; it is, too, when a model cannot be called.

An attempt that goes on after a crash, or comes after one that got its answer and was lost, finds the answer in the
journal and pays for nothing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from autoglm.base.errors import TaskError
from autoglm.base.schemas import Schema
from autoglm.llm.chat import Answer, ChatRequest, read_completion
from autoglm.llm.models import Endpoint
from autoglm.llm.profiles import Form
from autoglm.tasks.admission import impatient
from autoglm.tasks.caller import Caller
from autoglm.tasks.protocol import Attempt

if TYPE_CHECKING:
    from autoglm.llm.chat import Completion, Message
    from autoglm.llm.structured import Plan

T = TypeVar("T")

CORRECTIONS: Final = 2
"""How often an answer that does not fit is sent back, where the task does not say."""
_FALLS: Final = frozenset(
    {
        *("model-rate-limited", "model-overloaded", "model-no-credit", "model-unauthorized", "model-not-found"),
        *("model-request-rejected", "model-server-error", "model-timeout", "model-connection", "model-key-missing"),
        *("model-parameter-invalid", "bad-response", "prompt-too-long", "answer-refused", "answer-empty"),
        "schema-mismatch",
    }
)
"""Failures after which another model may do better."""
_SPARED: Final = ("logprobs",)
"""Parameters that task types add on their own, and can do without."""
_NATIVE: Final = (Form.JSON_SCHEMA, Form.OBJECT_SCHEMA)


class Question(msgspec.Struct, frozen=True):
    """What is asked; a task that asks several things has one for each, with a ``name`` of its own."""

    messages: Sequence[Message]
    parameters: Mapping[str, Any] = {}
    schema: Schema | None = None
    name: str = "answer"
    corrections: int = CORRECTIONS
    is_part: bool = False
    """True when its answer is but a part of the task's work, and so must be journaled on its own."""
    on_text: Callable[[str], None] | None = None
    prepare: Callable[[Endpoint], Awaitable[Sequence[Message]]] | None = None
    """Gives the messages in the form that a model's server takes, where they hold more than text."""

    @property
    def is_journaled(self) -> bool:
        """True when its answer is journaled before it is looked at; else the task's result is its record."""
        return self.is_part or self.schema is not None


class _NotRecorded(Exception):
    """The journal holds no answer to a call that an earlier attempt may have made."""


async def ask(caller: Caller, attempt: Attempt, models: Sequence[str | None], question: Question) -> Completion:
    """Return the answer of the first of ``models`` that gives one. Raises the last one's TaskError.

    It is journaled on its own only where the question ``is_part`` of more: else the task's result is its record.
    """
    return (await _climb(caller, attempt, models, question))[1]


def ask_for_value(
    caller: Caller, attempt: Attempt, models: Sequence[str | None], question: Question
) -> Coroutine[Any, Any, tuple[Any, Completion]]:
    """Return the value that fits the question's schema, and the answer that it was read from.

    Raises TaskError ``schema-mismatch`` when no rung led to one, ``output-schema-invalid``, and what calls raise.
    """
    assert question.schema is not None
    return _climb(caller, attempt, models, question)


async def _climb(
    caller: Caller, attempt: Attempt, models: Sequence[str | None], question: Question
) -> tuple[Any, Completion]:
    if question.is_journaled and not attempt.offline:
        for number in range(1, attempt.number):
            try:  # an earlier attempt may have got its answer, and failed all the same
                return await _Climb(caller, attempt, question, number, replays=True).climb(models)
            except (_NotRecorded, TaskError):
                continue
    return await _Climb(caller, attempt, question, attempt.number).climb(models)


async def embed_part(
    caller: Caller,
    attempt: Attempt,
    models: Sequence[str | None],
    texts: Sequence[str],
    parameters: Mapping[str, Any],
    name: str,
) -> list[list[float]]:
    """Return the vectors of some texts, journaled on their own: what fails beside them does not cost them again."""
    from autoglm.llm.embeddings import EmbeddingRequest

    async def work() -> Any:
        request = EmbeddingRequest(texts, parameters)
        for at, model in enumerate(models):
            try:
                return (await caller.embed(attempt, caller.endpoint(attempt, model), request)).vectors
            except TaskError as error:
                if at + 1 == len(models) or error.code not in _FALLS:
                    raise
                _count(attempt, "fallbacks")
                attempt.log("log", f"warning: {error.message}; falling back to the model {models[at + 1]}")
        raise AssertionError("a task asks at least one model")

    return await (work() if attempt.offline else attempt.step(f"vectors/{name}", work))  # type: ignore[no-any-return]


async def together(works: Iterable[Coroutine[Any, Any, T]], most: int = 8) -> list[T]:
    """Do all, ``most`` at once, and return what comes of them in order.

    After a failure nothing new is begun, but what is under way comes to its end: it is paid for, and its record spares
    the next attempt the call. Then the failure is raised, a TaskError before a wish to wait.
    """
    turns = asyncio.Semaphore(most)
    failures: list[Exception] = []

    async def in_turn(work: Coroutine[Any, Any, T]) -> T | None:
        async with turns:
            if failures:
                work.close()
                return None
            try:
                return await work
            except Exception as error:  # noqa: BLE001  # it is raised below, once the others have ended
                failures.append(error)
                return None

    pending = list(works)
    tasks = [asyncio.ensure_future(in_turn(work)) for work in pending]
    try:
        results = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for work in pending:
            work.close()  # those whose turn never came
    if failures:
        raise next((error for error in failures if isinstance(error, TaskError)), failures[0])
    return cast("list[T]", results)


class _Climb:
    """One attempt's way up the ladder."""

    def __init__(
        self, caller: Caller, attempt: Attempt, question: Question, number: int, *, replays: bool = False
    ) -> None:
        self.caller = caller
        self.attempt = attempt
        self.question = question
        self.key = f"{question.name}/{number}"
        self.replays = replays

    async def climb(self, models: Sequence[str | None]) -> tuple[Any, Completion]:
        for at, name in enumerate(models):
            try:
                endpoint = self.caller.endpoint(self.attempt, name)
                if at + 1 < len(models):
                    endpoint = impatient(endpoint)  # the next model is asked rather than this one waited for
                prepare = self.question.prepare
                if prepare is not None and not self.replays:
                    self.question = msgspec.structs.replace(self.question, messages=await prepare(endpoint))
                return await self._with_model(endpoint)
            except _NotRecorded:
                if at + 1 == len(models):
                    raise
            except TaskError as error:
                if at + 1 == len(models) or error.code not in _FALLS:
                    raise
                self._count("fallbacks")
                self._say(f"{error.message}; falling back to the model {models[at + 1]}", "warning")
        raise AssertionError("a task asks at least one model")

    async def _with_model(self, endpoint: Endpoint) -> tuple[Any, Completion]:
        question, schema = self.question, self.question.schema
        if schema is None:
            request = ChatRequest(question.messages, question.parameters)
            return None, await self._call(endpoint, request, endpoint.name)
        plans = self.caller.plans(schema, endpoint.profile)
        forms = plans.forms
        for note in plans.notes:
            self.caller.say_once(self.attempt, note)
        refused = self.caller.refused_forms
        if refused:
            forms = tuple(each for each in forms if (endpoint.base_url, endpoint.model, each) not in refused)
        for form in forms:
            try:
                return await self._with_plan(endpoint, plans.plan(form))
            except _NotRecorded:
                if form is forms[-1]:
                    raise
            except TaskError as error:
                if form is forms[-1] or not _is_about_form(error, form):
                    raise
                if error.code == "model-request-rejected":
                    refused.add((endpoint.base_url, endpoint.model, form))
                self._say(f"{endpoint.name} does not take the form {form.value}: asking in another ({error.message})")
        raise AssertionError("the last form is never refused")

    async def _with_plan(self, endpoint: Endpoint, plan: Plan) -> tuple[Any, Completion]:
        question = self.question
        asked = plan.messages(question.messages)
        request = ChatRequest(asked, question.parameters, plan.response_format, question.schema)
        for turn in range(question.corrections + 1):
            completion = await self._call(endpoint, request, f"{endpoint.name}/{plan.form.value}/{turn}")
            try:
                return plan.read(completion.text, completion.finish_reason), completion
            except TaskError as mismatch:
                mended = plan.mend(completion.text, completion.finish_reason)
                if mended is not None:
                    self._count("repairs")
                    self._say(f"the answer was mended without another call: {'; '.join(mended[1])}")
                    return mended[0], completion
                if turn == question.corrections:
                    raise
                self._count("corrections")
                used = completion.usage.input_tokens + completion.usage.output_tokens
                self._say(
                    f"the answer does not fit ({used} tokens), so it is sent back ({turn + 1} of "
                    f"{question.corrections}): {mismatch.message}"
                )
                request = msgspec.structs.replace(request, messages=[*asked, *_correction(completion, mismatch)])
        raise AssertionError("the last turn returns or raises")

    async def _call(self, endpoint: Endpoint, request: ChatRequest, key: str) -> Completion:
        """Make one call and have its answer journaled, or find in the journal what came of it."""
        if not self.question.is_journaled or self.attempt.offline:
            return await self._chat(endpoint, request)
        key = f"{self.key}/{key}"
        recorded = self.attempt.recorded(key)
        if recorded is None and self.replays:
            raise _NotRecorded
        if recorded is None:
            completion = await self._chat(endpoint, request)
            await self.attempt.record(key, completion.body())
            return completion
        completion = read_completion(endpoint, Answer(200, {}, recorded))
        if not self.replays:
            self.caller.count(self.attempt, endpoint, completion.usage)
            self._say("the answer was in the journal: the call is not made again")
        return completion

    async def _chat(self, endpoint: Endpoint, request: ChatRequest) -> Completion:
        """Ask, and ask again without what the question can do without when the server refuses the call for it."""
        refused, place = self.caller.refused_parameters, (endpoint.base_url, endpoint.model)
        spared = {name for name in _SPARED if name in request.parameters and (*place, name) in refused}
        while True:
            asked = _without(request, spared) if spared else request
            try:
                return await self.caller.chat(self.attempt, endpoint, asked, on_text=self.question.on_text)
            except TaskError as error:
                named = [name for name in _SPARED if name in asked.parameters and name in error.message]
                if error.code != "model-request-rejected" or not named:
                    raise
                self._say(f"{endpoint.name} does not take `{named[0]}`: asking without ({error.message})")
                refused.add((*place, named[0]))
                spared.add(named[0])

    def _say(self, line: str, level: str = "info") -> None:
        if not self.replays:
            self.attempt.log("log", f"{level}: {line}")

    def _count(self, name: str) -> None:
        if not self.replays:
            _count(self.attempt, name)


def _without(request: ChatRequest, names: Set[str]) -> ChatRequest:
    """Return the request without some of its parameters."""
    left = {name: value for name, value in request.parameters.items() if name not in names}
    return msgspec.structs.replace(request, parameters=left)


def _count(attempt: Attempt, name: str) -> None:
    attempt.usage[name] = attempt.usage.get(name, 0) + 1


def _is_about_form(error: TaskError, form: Form) -> bool:
    """Tell whether a refused call may go through in another form: some servers fail over a schema they cannot take."""
    return error.code == "model-request-rejected" or (error.code == "model-server-error" and form in _NATIVE)


def _correction(completion: Completion, mismatch: TaskError) -> list[Message]:
    """Return what goes behind the messages so that the model can mend its answer."""
    if completion.finish_reason == "length":
        demand = "Your answer was cut off because it was too long. Answer again, shorter, with the whole JSON value."
    else:
        problems = (mismatch.details or {}).get("problems") or [{"path": "$", "message": "it holds no JSON value"}]
        listed = "\n".join(f"- at `{each['path']}`: {each['message']}" for each in problems)
        demand = (
            f"That answer does not fit the JSON Schema:\n{listed}\nAnswer again with the whole corrected JSON value, "
            "and with nothing else."
        )
    said: list[Message] = [{"role": "assistant", "content": completion.text}] if completion.text.strip() else []
    return [*said, {"role": "user", "content": demand}]

"""The one way from a task type to a model.

1. Every task type that asks a model does so through a :class:`Caller`: :meth:`Caller.endpoint` says where a model is,
   :meth:`Caller.chat` and :meth:`Caller.embed` ask it once. What holds for all model calls (limits, budgets, caches,
   rehearsals) stands here.
2. A call is made once. What fails is raised as a TaskError, and the engine decides whether the attempt is repeated.
3. What a call used is added to ``attempt.usage`` before its answer is looked at, and whoever watches is told of it.
4. All callers of a process share one client, and so its connections: :func:`open_caller`, :meth:`Caller.close`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autoglm.base.errors import TaskError
from autoglm.llm.asked import (
    chat_document,
    completion_document,
    embedding_document,
    embeddings_document,
    read_completion_document,
    read_embeddings_document,
)
from autoglm.llm.budgets import Use
from autoglm.llm.governor import Governor
from autoglm.llm.limits import estimate_tokens
from autoglm.llm.models import DEFAULT_MODEL, Endpoint, known_model, resolve_model, stand_in, suggest_model
from autoglm.llm.profiles import PROVIDERS, Form
from autoglm.tasks.admission import Need, admit, answer_tokens
from autoglm.tasks.batching import Batcher
from autoglm.tasks.keeping import Keeping
from autoglm.tasks.protocol import Attempt
from autoglm.tasks.telling import Telling, telling

if TYPE_CHECKING:
    from autoglm.base.schemas import Schema
    from autoglm.llm.adapters import ChatClient
    from autoglm.llm.chat import ChatRequest, Completion, Usage
    from autoglm.llm.embeddings import EmbeddingRequest, Embeddings
    from autoglm.llm.profiles import Profile
    from autoglm.llm.structured import Plans
    from autoglm.llm.wire import Wire

_MOST_SAID = 10_000
_MOST_PLANS = 256


class Caller:
    """Asks models for attempts. One instance serves a whole process."""

    def __init__(self) -> None:
        self._wire: Wire | None = None
        self._adapters: dict[str, ChatClient] = {}
        self._users = 0
        self.refused_forms: set[tuple[str, str, Form]] = set()
        """(address, model, form): forms of structured output that a server refused, and is not asked for again."""
        self.refused_parameters: set[tuple[str, str, str]] = set()
        """(address, model, name): parameters a task could do without, and which a server refused."""
        self._plans: dict[tuple[int, str], Plans] = {}
        self._said: set[tuple[str, str]] = set()
        self.batcher = Batcher(lambda: self.wire)
        self.governor = Governor(time.time, f"{socket.gethostname()}:{os.getpid()}:{id(self):x}")

    @property
    def wire(self) -> Wire:
        """The client, made when first needed."""
        if self._wire is None:
            from autoglm.llm.wire import Wire

            self._wire = Wire()
        return self._wire

    def endpoint(self, attempt: Attempt, name: str | None) -> Endpoint:
        """Return where the model ``name`` is; None stands for the file's only model, else the built-in one.

        Raises TaskError ``unknown-model`` and what else :func:`~autoglm.llm.models.resolve_model` raises. In a
        rehearsal no key is needed.
        """
        name = name or _default_model(attempt)
        account = attempt.account
        if account is not None:
            name = account.degraded_to(attempt.node) or name
        if attempt.offline:
            if not known_model(name, attempt.models, attempt.project_models):
                hint = suggest_model(name, attempt.models, attempt.project_models)
                raise TaskError(f"the model `{name}` does not exist", code="unknown-model", retryable=False, hint=hint)
            return stand_in(name)
        if attempt.refuses_models:
            raise _not_mocked(attempt, name)
        known = None if account is None else account.endpoints.get((name, id(attempt.models)))
        if known is not None and known[0] is attempt.models:
            return known[1]
        endpoint = resolve_model(name, attempt.models, attempt.project_models, _environment(attempt))
        if account is not None:
            account.endpoints[name, id(attempt.models)] = (attempt.models, endpoint)
        return endpoint

    async def chat(
        self,
        attempt: Attempt,
        endpoint: Endpoint,
        request: ChatRequest,
        *,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Ask once and return the answer; what it used is in ``attempt.usage`` then.

        With ``on_text``, the answer is streamed, and told piece by piece as it comes. Raises TaskError.
        """
        _check_length(endpoint, request)
        if attempt.offline:
            return _rehearse(attempt, endpoint, request, on_text)
        keeping = _keeping(attempt)
        asked = None
        if keeping is not None:
            asked = chat_document(endpoint, request)
            known = keeping.find(attempt, endpoint, asked, read_completion_document, time.time())
            if known is not None:
                if on_text is not None:
                    on_text(known.text)
                return known
        prompt = estimate_tokens(request.messages)
        most = answer_tokens(request.parameters, endpoint.parameters)
        if attempt.options.get("execution") == "batch" and attempt.account is not None:
            answered = await self.batcher.chat(attempt, endpoint, request, Need(prompt, most))
            if answered is not None:
                if keeping is not None and asked is not None:
                    keeping.keep(attempt, endpoint, asked, completion_document(answered), time.time())
                return answered
        with await admit(self.governor, attempt, endpoint, Need(prompt, most)) as admission:
            call = self._ask(attempt, endpoint, request, on_text)
            completion = await (admission.in_time(call) if admission.is_timed else call)
            admission.answered(completion.usage)
        if keeping is not None and asked is not None:
            keeping.keep(attempt, endpoint, asked, completion_document(completion), time.time())
        return completion

    async def _ask(
        self, attempt: Attempt, endpoint: Endpoint, request: ChatRequest, on_text: Callable[[str], None] | None
    ) -> Completion:
        kind = "text" if request.schema is None else "json"
        messages, parameters = request.messages, request.parameters
        with telling(attempt, endpoint, "chat", messages=messages, parameters=parameters, output_type=kind) as told:
            told_text = None if on_text is None else _first_noted(told, on_text)
            completion = await self._client(endpoint).chat(
                endpoint, request, lambda line: self.say_once(attempt, line), on_text=told_text
            )
            told.answered(completion)
        _note_usage(attempt, completion.usage)
        return completion

    async def embed(self, attempt: Attempt, endpoint: Endpoint, request: EmbeddingRequest) -> Embeddings:
        """Return the vectors of some texts; what that used is in ``attempt.usage`` then. Raises TaskError."""
        if attempt.offline:
            from autoglm.llm.offline import rehearse_embeddings

            _note_rehearsal(attempt, endpoint, "these vectors are made up from the texts")
            return rehearse_embeddings(endpoint.name, request)
        keeping = _keeping(attempt)
        asked = None
        if keeping is not None:
            asked = embedding_document(endpoint, request)
            known = keeping.find(attempt, endpoint, asked, read_embeddings_document, time.time())
            if known is not None:
                return known
        prompt = sum(estimate_tokens([{"content": text}]) for text in request.texts)
        with await admit(self.governor, attempt, endpoint, Need(prompt, 0)) as admission:
            with telling(attempt, endpoint, "embeddings", parameters=request.parameters) as told:
                call = self.wire.embed(endpoint, request, lambda line: self.say_once(attempt, line))
                embeddings = await (admission.in_time(call) if admission.is_timed else call)
                told.used(embeddings.usage)
            _note_usage(attempt, embeddings.usage)
            admission.answered(embeddings.usage)
        if keeping is not None and asked is not None:
            keeping.keep(attempt, endpoint, asked, embeddings_document(embeddings), time.time())
        return embeddings

    def _client(self, endpoint: Endpoint) -> ChatClient:
        """Return what makes chat calls to an endpoint: our own client, or the library that its model names."""
        if endpoint.adapter is None:
            return self.wire
        from autoglm.llm.adapters import load_adapter

        if endpoint.adapter not in self._adapters:
            self._adapters[endpoint.adapter] = load_adapter(endpoint.adapter)
        return self._adapters[endpoint.adapter]

    def plans(self, schema: Schema, profile: Profile) -> Plans:
        """Return how ``schema`` is asked for from a kind of server. Raises TaskError ``output-schema-invalid``."""
        key = (id(schema), profile.name)
        known = self._plans.get(key)
        if known is None or known.schema is not schema:  # a plan holds its schema: nothing else gets its identity
            from autoglm.llm.structured import Plans

            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            known = self._plans[key] = Plans(schema, profile)
        return known

    def count(self, attempt: Attempt, endpoint: Endpoint, used: Usage) -> None:
        """Add what one call used to ``attempt.usage``, for an answer that came out of the journal."""
        _count(attempt, "calls", 1)
        attempt.usage["model"] = endpoint.model
        _note_usage(attempt, used)
        account = attempt.account
        if account is not None:
            price = account.price(endpoint)
            cost = 0.0 if price is None else price.of(used.input_tokens, used.output_tokens, used.cached_tokens)
            if cost:
                attempt.usage["cost"] = attempt.usage.get("cost", 0.0) + cost
            account.count(attempt.node, Use(used.input_tokens + used.output_tokens, cost, 1))

    def say_once(self, attempt: Attempt, line: str) -> None:
        """Log a line that would be the same for every call of a run, the first time only."""
        key = (attempt.run_id, line)
        if key not in self._said:
            if len(self._said) > _MOST_SAID:
                self._said.clear()
            self._said.add(key)
            attempt.log("log", f"info: {line}")

    async def close(self) -> None:
        """Give the caller back; the last one who does closes the connections of every loop."""
        self._users -= 1
        if self._users <= 0:
            clients: list[ChatClient] = [*self._adapters.values(), *([self._wire] if self._wire else [])]
            self._wire, self._users = None, 0
            self._adapters.clear()
            for client in clients:
                await client.close()
            await asyncio.to_thread(self.governor.close)


NO_KEYS = {provider.key_variables[0]: "replayed" for provider in PROVIDERS.values() if provider.key_variables}
"""What stands for keys where a cassette answers and nobody is called."""
_ADDRESSES = (
    *("AUTOGLM_BASE_MODEL", "AUTOGLM_CHAT_MODEL", "AUTOGLM_BASE_URL"),
    *(name for provider in PROVIDERS.values() for name in provider.address_variables),
)
_shared = Caller()


def replay_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return where keys and addresses are looked up when a cassette answers: no key is needed then."""
    return {**NO_KEYS, **{name: environment[name] for name in _ADDRESSES if name in environment}}


def open_caller() -> Caller:
    """Return the process's caller. Whoever opens it closes it."""
    _shared._users += 1
    return _shared


def _not_mocked(attempt: Attempt, name: str) -> TaskError:
    message = f"the model `{name}` would be asked, and a test asks no models"
    hint = f"write what it answers (`mocks: {{{attempt.name}: {{value: …}}}}`), or `offline: true` for made-up answers"
    return TaskError(message, code="model-not-mocked", retryable=False, hint=hint)


def _environment(attempt: Attempt) -> Mapping[str, str]:
    """Return where keys and addresses are looked up; where a cassette answers, no key is needed."""
    environment = os.environ if attempt.environment is None else attempt.environment
    keeping = None if attempt.account is None else attempt.account.keeping
    if keeping is not None and keeping.cassette is not None and keeping.cassette.is_replayed:
        return replay_environment(environment)
    return environment


def _keeping(attempt: Attempt) -> Keeping | None:
    """Return where answers to this attempt are looked up and kept, None where nowhere."""
    keeping = None if attempt.account is None else attempt.account.keeping
    return keeping if keeping is not None and keeping.concerns(attempt) else None


def _default_model(attempt: Attempt) -> str:
    """Return the model of a task that names none: the file's only one, else the built-in one."""
    return next(iter(attempt.models)) if len(attempt.models) == 1 else DEFAULT_MODEL


def _first_noted(told: Telling, on_text: Callable[[str], None]) -> Callable[[str], None]:
    def hear(text: str) -> None:
        told.first_chunk()
        on_text(text)

    return hear


def _check_length(endpoint: Endpoint, request: ChatRequest) -> None:
    """Refuse a prompt that certainly does not fit the model's declared context, before it is paid for."""
    if endpoint.context_tokens is None:
        return
    from autoglm.llm.tokens import least_tokens

    least = least_tokens(request.messages)
    if least > endpoint.context_tokens:
        raise too_long(endpoint, least)


def too_long(endpoint: Endpoint, least: int) -> TaskError:
    """Return the failure for a prompt that has ``least`` tokens at least."""
    return TaskError(
        f"the prompt has at least {least:,} tokens, and the context of the model {endpoint.name} holds "
        f"{endpoint.context_tokens:,}",
        code="prompt-too-long",
        retryable=False,
        hint="shorten or split it (llm_extract reads in pieces), or use a model with a longer context",
    )


def _rehearse(
    attempt: Attempt, endpoint: Endpoint, request: ChatRequest, on_text: Callable[[str], None] | None
) -> Completion:
    from autoglm.llm.offline import rehearse

    seed = request.parameters.get("seed")
    completion = rehearse(endpoint.name, request.messages, request.schema, seed=seed)
    _note_rehearsal(attempt, endpoint, "this answer is made up from the prompt")
    if on_text is not None:
        on_text(completion.text)
    return completion


def _note_rehearsal(attempt: Attempt, endpoint: Endpoint, what: str) -> None:
    from autoglm.llm.offline import MARK

    attempt.usage.update(offline=True, calls=0, model=endpoint.name)
    attempt.log("log", f"info: {MARK} {endpoint.name} was not called; {what}")


def _note_usage(attempt: Attempt, used: Usage) -> None:
    _count(attempt, "input_tokens", used.input_tokens)
    _count(attempt, "output_tokens", used.output_tokens)
    if used.reasoning_tokens:
        _count(attempt, "reasoning_tokens", used.reasoning_tokens)
    if used.cached_tokens:
        _count(attempt, "cached_tokens", used.cached_tokens)
    if not used.reported:
        attempt.log("log", "info: the server did not say how many tokens the call used")


def _count(attempt: Attempt, name: str, amount: int) -> None:
    attempt.usage[name] = attempt.usage.get(name, 0) + amount

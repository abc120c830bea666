"""Before and after each call of a model: its turn, its budget, and what is made of a refusal.

Rules:

1. A call's worst case is reserved in its budgets, then it waits for its turn; when that takes long, the reservation is
   given back and the attempt parks. So nobody who waits keeps a budget from others.
2. A refusal (too many calls, overload) is no failure of the attempt: it parks until it may try again, and is the same
   attempt then. Only when that has gone on for the model's ``patience``, the attempt fails.
3. Attempts outside of a run (``attempt.account`` is None) cannot park: they wait in place, and a refusal fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from autoglm.base.errors import TaskError
from autoglm.llm.budgets import Judgement, Purse, Use, Verdict
from autoglm.llm.calls import Heard, heard
from autoglm.llm.governor import Allowed, Busy, Governor, Lane, Permit
from autoglm.llm.limits import USUAL_ANSWER
from autoglm.llm.waiting_line import Asker
from autoglm.spec.model import DegradeTo, ModelLimits, OnExhausted
from autoglm.tasks.protocol import Attempt, Park

if TYPE_CHECKING:
    from autoglm.llm.chat import Usage
    from autoglm.llm.models import Endpoint
    from autoglm.llm.prices import Price
    from autoglm.tasks.account import Account

T = TypeVar("T")

PATIENCE = 600.0
"""Seconds for which a call that is refused is made again, where the model does not say."""
MOST_ANSWER = 4096
"""Tokens that are reserved in budgets for an answer that nothing limits."""
_MARGIN = 1.25
"""By how much a prompt may have more tokens than estimated."""
_SETTLING = 5.0
"""Seconds after which somebody who waits for others to settle looks again by itself."""
_REFUSED_SINCE = "refused_since"


class Need(msgspec.Struct, frozen=True):
    """What a call may use."""

    prompt: int
    """Tokens, estimated."""
    answer: int | None = None
    """Tokens at most; None where nothing limits it."""

    @property
    def usual(self) -> int:
        """What it will probably use: what limits a minute count with."""
        return self.prompt + (USUAL_ANSWER if self.answer is None else self.answer)

    def worst(self, price: Price | None, share: float = 1.0) -> Use:
        """Return the worst case, which budgets reserve."""
        prompt = int(self.prompt * _MARGIN)
        answer = MOST_ANSWER if self.answer is None else self.answer
        return Use(prompt + answer, 0.0 if price is None else price.of(prompt, answer) * share, 1)


class Admission:
    """One call that may be made now: as a context, to be made inside, where :meth:`answered` is told what it used.

    A refusal becomes what the attempt must raise.
    """

    __slots__ = ("_attempt", "_before", "_endpoint", "_heard", "_lane", "_need", "_permit", "_price", "is_timed")

    def __init__(
        self, attempt: Attempt, endpoint: Endpoint, lane: Lane, permit: Permit, need: Use | None, price: Price | None
    ) -> None:
        self._attempt, self._endpoint, self._lane, self._permit = attempt, endpoint, lane, permit
        self._need, self._price = need, price
        self._heard = Heard()
        self.is_timed = attempt.account is not None and attempt.account.is_timed
        """Make the call with :meth:`in_time`: it must end when a budget's time is up."""

    def __enter__(self) -> Admission:
        self._before = heard.set(self._heard)
        usage = self._attempt.usage
        usage["calls"] = usage.get("calls", 0) + 1
        usage["model"] = self._endpoint.model
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        heard.reset(self._before)
        if isinstance(error, TaskError):
            failure = self._failed(error)
            if failure is not error:
                raise failure from None
        elif error is not None:  # nobody waits for the call any more, and it may be paid for all the same
            self._give_up(lost=True)

    def answered(self, used: Usage) -> None:
        """Take note of what the call used: in its budgets, in its lane and in the attempt's usage."""
        tokens = used.input_tokens + used.output_tokens
        self._lane.leave(self._permit, tokens=tokens if used.reported else None, headers=self._heard.headers)
        cost = 0.0
        if self._price is not None:
            cost = self._price.of(used.input_tokens, used.output_tokens, used.cached_tokens)
            if cost:
                self._attempt.usage["cost"] = self._attempt.usage.get("cost", 0.0) + cost
        if self._need is not None and self._attempt.account is not None:
            # What a server does not tell is taken to be as much as was feared.
            spent = Use(tokens, cost, 1) if used.reported else self._need
            self._attempt.account.settle(self._attempt.node, self._need, spent)

    def _failed(self, error: TaskError) -> Exception:
        """Take note that the call failed; return what the attempt must raise."""
        is_refusal = not {"rate_limited", "overloaded"}.isdisjoint(error.classes)
        due = 0.0
        if is_refusal:
            due = self._lane.refused((error.details or {}).get("retry_after"))
        self._give_up(lost=error.code == "budget-exhausted")  # its time was up while it was made
        account = self._attempt.account
        if not is_refusal or account is None:
            return error
        now = account.clock()
        memo = dict(self._attempt.memo) if isinstance(self._attempt.memo, dict) else {}
        since = memo.setdefault(_REFUSED_SINCE, now)
        limits = self._endpoint.limits
        patience = PATIENCE if limits is None or limits.patience is None else limits.patience
        if max(now, due) - since > patience:
            return error
        usage = self._attempt.usage
        usage["calls"] = usage.get("calls", 0) - 1
        usage["refused"] = usage.get("refused", 0) + 1
        return Park(within_time(self._attempt, due), f"refused by {self._endpoint.name}: {error.message}", memo)

    def _give_up(self, *, lost: bool = False) -> None:
        self._lane.leave(self._permit, headers=self._heard.headers, succeeded=False)
        attempt, account = self._attempt, self._attempt.account
        if self._need is not None and account is not None:
            account.settle(attempt.node, self._need, Use())
            if lost:
                attempt.usage["calls"] -= 1
                account.lose(attempt, self._need)

    async def in_time(self, call: Awaitable[T]) -> T:
        """Return what a call gives, unless a budget's time is up before: then raise what the attempt must raise."""
        account = self._attempt.account
        assert account is not None
        end = account.ends_at(self._attempt.node)
        limit = asyncio.timeout(None if end is None else max(0.0, end[0] - account.clock()))
        try:
            async with limit:
                return await call
        except TimeoutError:
            if end is None or not limit.expired():
                raise
        raise denied(self._attempt, _out_of_time(end[1]))


async def admit(governor: Governor, attempt: Attempt, endpoint: Endpoint, need: Need) -> Admission:
    """Return the right to make one call, as soon as its turn and its budgets allow it.

    Raises Park when that is not soon, TaskError ``budget-exhausted`` or ``model-unpriced``.
    """
    account = attempt.account
    reserved: Use | None = None
    price = None
    if account is not None:
        price = account.check_priced(attempt.node, endpoint, attempt.log)
        if attempt.recovered:  # what it had under way when its process ended may be paid for
            times, attempt.recovered = attempt.recovered, 0
            account.lose(attempt, need.worst(price), times)
        if account.has_budgets:
            reserved = need.worst(price)
            judgement = await account.reserve(attempt.node, reserved)
            if judgement.verdict is not Verdict.FITS:
                raise denied(attempt, judgement)
    lane = governor.lane(_lane_key(endpoint), _allowed(endpoint.limits, endpoint.profile.max_parallel))
    if account is None:
        asker = Asker("", attempt.name, tokens=need.usual)
    else:
        asker = Asker(account.run_id, attempt.task_id, attempt.priority, need.usual, attempt.wake)
    permit = lane.enter_now(asker)
    if permit is None:
        try:
            permit = await _enter(lane, asker, attempt, account, endpoint)
        except BaseException:
            if reserved is not None and account is not None:
                account.settle(attempt.node, reserved, Use())
            raise
    return Admission(attempt, endpoint, lane, permit, reserved, price)


async def _enter(lane: Lane, asker: Asker, attempt: Attempt, account: Account | None, endpoint: Endpoint) -> Permit:
    while account is None:
        try:
            return await lane.enter(asker)
        except Busy as busy:
            await asyncio.sleep(max(0.0, busy.until - lane.now()))
    try:
        return await lane.enter(asker, account.records)
    except Busy as busy:
        until = within_time(attempt, busy.until)
        raise Park(until, f"waits for {endpoint.name}: {busy}", attempt.memo) from None


def within_time(attempt: Attempt, due: float) -> float:
    """Return when to go on: not after the time of a budget is up, because then something else is to be done."""
    end = attempt.account.ends_at(attempt.node) if attempt.account is not None and attempt.account.is_timed else None
    return due if end is None else min(due, end[0])


def _out_of_time(purse: Purse) -> Judgement:
    return Judgement(Verdict.EXHAUSTED, purse, f"{purse.budget.wall_time:g} s have passed")


def check_time(attempt: Attempt) -> None:
    """Raise what an attempt must raise when the time of one of its budgets is up."""
    account = attempt.account
    end = account.ends_at(attempt.node) if account is not None and account.is_timed else None
    if account is not None and end is not None and account.clock() >= end[0]:
        raise denied(attempt, _out_of_time(end[1]))


def denied(attempt: Attempt, judgement: Judgement) -> Exception:
    """Return what an attempt raises whose budget does not allow the call."""
    purse, account = judgement.purse, attempt.account
    assert purse is not None
    assert account is not None
    now = account.clock()
    if judgement.verdict is Verdict.WAIT:
        account.wake_when_settled(attempt.wake)
        return Park(now + _SETTLING, f"{purse.name} waits for calls under way: {judgement.reason}", attempt.memo)
    message = f"{purse.name} is used up: {judgement.reason}"
    match purse.budget.on_exhausted:
        case DegradeTo(degrade=model):
            purse.is_degraded = True
            attempt.log("log", f"warning: {message}; from here on {model} is asked")
            return Park(now, f"goes on with {model}", attempt.memo)
        case OnExhausted.PAUSE:
            attempt.log("log", f"warning: {message}; the run pauses")
            attempt.pause_run(message)
            return Park(now + 1.0, message, attempt.memo)
        case _:
            return TaskError(
                message,
                code="budget-exhausted",
                retryable=False,
                hint="raise it with `--budget` of `autoglm resume` or `retry`, or in the file; or lower `max_tokens`",
            )


def impatient(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint as one that is given up at its first refusal."""
    limits = endpoint.limits or ModelLimits()
    return endpoint if limits.patience == 0 else replace(endpoint, limits=limits.model_copy(update={"patience": 0.0}))


@lru_cache(maxsize=256)
def _allowed(limits: ModelLimits | None, begin: int | None) -> Allowed:
    if limits is None:
        return Allowed(start_parallel=begin)
    return Allowed(limits.rpm, limits.tpm, limits.max_parallel, limits.max_parallel or begin)


def _lane_key(endpoint: Endpoint) -> str:
    key = "" if endpoint.api_key is None else str(endpoint.api_key)
    return _digested(endpoint.base_url, endpoint.model, key)


@lru_cache(maxsize=256)
def _digested(base_url: str, model: str, key: str) -> str:
    digest = sha256(f"{base_url}\0{model}\0{key}".encode()).hexdigest()[:16]
    return f"{model}@{urlsplit(base_url).hostname}:{digest}"


def answer_tokens(parameters: Mapping[str, Any], more: Mapping[str, Any]) -> int | None:
    """Return how many tokens the answers of a call may have, by its parameters over those of its model."""
    both = {**more, **parameters}
    most = both.get("max_tokens", both.get("max_completion_tokens"))
    times = both.get("n", 1)
    if not isinstance(most, int) or isinstance(most, bool):
        return None
    return most * (times if isinstance(times, int) and not isinstance(times, bool) else 1)

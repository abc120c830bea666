"""Calls that go through a provider's batch API: gathered, sent as one file, and waited for without holding anything.

Rules:

1. What attempts ask for within ``gather`` of one another is one batch of their run, task and model; then they park.
2. Where its call is, an attempt knows from its memo, and from an entry in the store that is written with those of all
   others once the batch is made. So a restart asks for no call again (but for one that dies between the two).
3. A parked attempt looks every ``poll`` seconds; one look serves all attempts of the batch.
4. At the ``deadline`` the batch is given up, and what it has not answered is asked online; so is what an ended batch
   left out. A batch that the provider refuses as a whole fails its attempts.
5. Only an attempt's first call is batched: what corrects an answer is asked online.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from autoglm.base.durations import parse_duration
from autoglm.base.errors import StoreError, TaskError
from autoglm.llm.batches import Batch, batch_line, read_results
from autoglm.llm.budgets import Use, Verdict
from autoglm.llm.chat import Answer, Completion, encode_request, read_completion
from autoglm.llm.prices import batch_share
from autoglm.stores.protocol import EntryWrite
from autoglm.tasks.admission import Need, check_time, denied, within_time
from autoglm.tasks.model_options import invalid_option
from autoglm.tasks.protocol import Attempt, Park

if TYPE_CHECKING:
    from autoglm.llm.chat import ChatRequest
    from autoglm.llm.models import Endpoint
    from autoglm.llm.wire import Wire

_MEMO = "batch"
_KEPT = 7 * 86400.0
"""Seconds for which the store remembers in which batch a call is."""
_MOST_KEPT = 16
"""Ended batches whose answers are kept at hand."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a task's calls are batched, in seconds."""

    gather: float = 2.0
    poll: float = 60.0
    deadline: float = 86400.0

    @classmethod
    def read(cls, written: Mapping[str, Any] | None) -> Terms:
        """Return the terms of the option ``batch``. Raises TaskError ``llm-option-invalid``."""
        hint = "write `batch: {gather: 5s, poll: 1m, deadline: 20h}`, or some of these"
        given = {}
        for name, value in (written or {}).items():
            if name not in cls.__dataclass_fields__:
                raise invalid_option(f"`batch` has no `{name}`", hint)
            try:
                given[name] = float(parse_duration(value))
            except ValueError as error:
                raise invalid_option(f"`{name}` of `batch` is wrong: {error}", hint) from None
        return cls(**given)


class _Place(msgspec.Struct):
    """Where a call is."""

    batch: str
    since: float
    calls: int


@dataclass(slots=True)
class _Gathering:
    """Calls that will be one batch."""

    endpoint: Endpoint
    lines: dict[str, bytes] = field(default_factory=dict)
    size: int = 0
    sent: asyncio.Future[_Place] | None = None
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class _Seen:
    """A batch as it was last seen, and its answers once it has ended."""

    at: float
    batch: Batch
    answers: dict[str, Answer] | None = None


class Batcher:
    """The batches of a process."""

    def __init__(self, wire: Callable[[], Wire]) -> None:
        self._wire = wire
        self._gathering: dict[tuple[str, str, str, str], _Gathering] = {}
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._looking: dict[tuple[str, str], asyncio.Lock] = {}
        self._reserved: dict[str, Use] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def chat(self, attempt: Attempt, endpoint: Endpoint, request: ChatRequest, need: Need) -> Completion | None:
        """Return the answer out of a batch; None when the call is to be made online. Raises Park and TaskError."""
        account = attempt.account
        assert account is not None
        terms = Terms.read(attempt.options.get("batch"))
        if endpoint.profile.batching is None:
            raise no_batches(endpoint)
        body = encode_request(endpoint, request)
        whose = f"{account.run_id}\0{attempt.task_id}\0{attempt.number}\0"
        custom = sha256(whose.encode() + body).hexdigest()[:32]
        memo = attempt.memo.get(_MEMO) if isinstance(attempt.memo, dict) else None
        if memo is not None and memo.get("custom") != custom:
            return None
        place = msgspec.convert(memo["place"], _Place) if memo is not None else self._recorded(attempt, custom)
        if place is None:
            await self._reserve(attempt, endpoint, custom, need)
            place = await self._join(attempt, endpoint, custom, body, terms)
            raise self._parked(attempt, custom, place, terms)
        answers = await self._answers(attempt, endpoint, place, terms)
        if answers is None:
            check_time(attempt)
            raise self._parked(attempt, custom, place, terms)
        if custom not in answers:
            attempt.log("log", f"warning: the batch {place.batch} left the call out: it is made online")
            self._settle(attempt, custom, Use())
            return None
        return self._answered(attempt, endpoint, custom, answers[custom])

    def _parked(self, attempt: Attempt, custom: str, place: _Place, terms: Terms) -> Park:
        account = attempt.account
        assert account is not None
        memo = dict(attempt.memo) if isinstance(attempt.memo, dict) else {}
        memo[_MEMO] = {"custom": custom, "place": msgspec.to_builtins(place)}
        due = min(account.clock() + terms.poll, max(account.clock() + 0.05, place.since + terms.deadline))
        return Park(within_time(attempt, due), f"in the batch {place.batch} of {place.calls} calls", memo)

    # ----------------------------------------------------------------------------------------------------- sending

    async def _join(self, attempt: Attempt, endpoint: Endpoint, custom: str, body: bytes, terms: Terms) -> _Place:
        """Put a call into the batch that is being gathered, and wait until it is sent."""
        account, limits = attempt.account, endpoint.profile.batching
        assert account is not None
        assert limits is not None
        line = batch_line(endpoint, custom, body)
        loop = asyncio.get_running_loop()
        key = (account.run_id, attempt.node, endpoint.base_url, endpoint.model)
        gathering = self._gathering.get(key)
        if gathering is None or gathering.sent is None or gathering.sent.get_loop() is not loop:
            gathering = self._gathering[key] = _Gathering(endpoint, sent=loop.create_future())
        assert gathering.sent is not None
        gathering.lines[custom] = line
        gathering.size += len(line)
        if gathering.timer is not None:
            gathering.timer.cancel()
        is_full = len(gathering.lines) >= limits.max_calls or gathering.size >= limits.max_bytes * 0.9
        gathering.timer = loop.call_later(0.0 if is_full else terms.gather, self._send_soon, key, gathering, attempt)
        if is_full:
            self._gathering.pop(key, None)
        return await asyncio.shield(gathering.sent)

    def _send_soon(self, key: tuple[str, str, str, str], gathering: _Gathering, attempt: Attempt) -> None:
        if self._gathering.get(key) is gathering:
            del self._gathering[key]
        task = asyncio.get_running_loop().create_task(self._send(gathering, attempt))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, gathering: _Gathering, attempt: Attempt) -> None:
        sent, account = gathering.sent, attempt.account
        assert sent is not None
        assert account is not None
        try:
            place = await self._create(gathering, attempt)
            if account.records is not None:
                data = msgspec.json.encode(place)
                now = account.clock()
                writes = [
                    EntryWrite(key=_entry(account.run_id, custom), data=data, expires_at=now + _KEPT)
                    for custom in gathering.lines
                ]
                await asyncio.to_thread(account.records.store.put_entries, writes, now)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the failure of all who wait
            if not sent.done():
                sent.set_exception(error)
                sent.exception()  # somebody may have stopped waiting; the others are told
        else:
            if not sent.done():
                sent.set_result(place)

    async def _create(self, gathering: _Gathering, attempt: Attempt) -> _Place:
        account, endpoint, wire = attempt.account, gathering.endpoint, self._wire()
        assert account is not None
        with tempfile.TemporaryDirectory(prefix="autoglm-batch-") as folder:
            path = Path(folder) / "calls.jsonl"
            await asyncio.to_thread(path.write_bytes, b"".join(gathering.lines.values()))
            file = await wire.upload_file(endpoint, path)
        batch = await wire.create_batch(endpoint, file.id, {"run": account.run_id, "task": attempt.node})
        count = len(gathering.lines)
        attempt.log("log", f"info: {count} calls of `{attempt.node}` are in the batch {batch.id}")
        return _Place(batch.id, account.clock(), count)

    def _recorded(self, attempt: Attempt, custom: str) -> _Place | None:
        """Return where the store says the call is, for an attempt that lost its memo with its process."""
        account = attempt.account
        if account is None or account.records is None:
            return None
        try:
            entry = account.records.store.get_entry(_entry(account.run_id, custom), account.clock())
            return None if entry is None else msgspec.json.decode(entry.data, type=_Place)
        except (StoreError, msgspec.DecodeError):
            return None

    # ---------------------------------------------------------------------------------------------------- answers

    async def _answers(
        self, attempt: Attempt, endpoint: Endpoint, place: _Place, terms: Terms
    ) -> dict[str, Answer] | None:
        """Return the answers of a batch that has ended or is given up; None while it goes on."""
        account = attempt.account
        assert account is not None
        key = (endpoint.base_url, place.batch)
        lock = self._looking.setdefault(key, asyncio.Lock())
        async with lock:
            now = account.clock()
            seen = self._seen.get(key)
            if seen is not None and seen.answers is not None:
                return seen.answers
            is_late = now >= place.since + terms.deadline
            if seen is None or now - seen.at >= terms.poll / 2 or is_late:
                batch = await self._wire().get_batch(endpoint, place.batch)
                if is_late and not batch.is_ended:
                    attempt.log("log", f"warning: the batch {place.batch} is given up at its deadline")
                    batch = await self._wire().cancel_batch(endpoint, place.batch)
                seen = self._seen[key] = _Seen(now, batch)
            if not seen.batch.is_ended and not is_late:
                return None
            if seen.batch.status == "failed":
                raise TaskError(
                    f"the batch {place.batch} was refused as a whole: {seen.batch.problem or 'no reason is given'}",
                    code="batch-failed",
                    hint="look at what the provider says; without `execution: batch` calls are made one by one",
                )
            seen.answers = await self._fetch(endpoint, seen.batch)
            ended = [name for name, each in self._seen.items() if each.answers is not None]
            for name in ended[:-_MOST_KEPT]:
                del self._seen[name]
                self._looking.pop(name, None)
            return seen.answers

    async def _fetch(self, endpoint: Endpoint, batch: Batch) -> dict[str, Answer]:
        answers: dict[str, Answer] = {}
        with tempfile.TemporaryDirectory(prefix="autoglm-batch-") as folder:
            for name in (batch.error_file, batch.output_file):
                if name is not None:
                    path = Path(folder) / "answers.jsonl"
                    await self._wire().fetch_file(endpoint, name, path)
                    lines = (await asyncio.to_thread(path.read_bytes)).split(b"\n")
                    answers.update((each.custom_id, each.answer) for each in read_results(endpoint, lines))
        return answers

    def _answered(self, attempt: Attempt, endpoint: Endpoint, custom: str, answer: Answer) -> Completion:
        usage = attempt.usage
        usage["calls"] = usage.get("calls", 0) + 1
        usage["batched"] = usage.get("batched", 0) + 1
        usage["model"] = endpoint.model
        try:
            completion = read_completion(endpoint, answer)
        except TaskError:
            self._settle(attempt, custom, Use(calls=1))
            raise
        used, account = completion.usage, attempt.account
        for name in ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens"):
            if amount := getattr(used, name):
                usage[name] = usage.get(name, 0) + amount
        price = None if account is None else account.price(endpoint)
        cost = 0.0 if price is None else price.of(used.input_tokens, used.output_tokens, used.cached_tokens)
        cost *= batch_share()
        if cost:
            usage["cost"] = usage.get("cost", 0.0) + cost
        self._settle(attempt, custom, Use(used.input_tokens + used.output_tokens, cost, 1))
        return completion

    # ---------------------------------------------------------------------------------------------------- budgets

    async def _reserve(self, attempt: Attempt, endpoint: Endpoint, custom: str, need: Need) -> None:
        account = attempt.account
        assert account is not None
        price = account.check_priced(attempt.node, endpoint, attempt.log)
        if account.has_budgets:
            worst = need.worst(price, batch_share())
            judgement = await account.reserve(attempt.node, worst)
            if judgement.verdict is not Verdict.FITS:
                raise denied(attempt, judgement)
            self._reserved[custom] = worst

    def _settle(self, attempt: Attempt, custom: str, used: Use) -> None:
        """Put what the call used in the place of what was reserved, here or by a process before this one."""
        account, worst = attempt.account, self._reserved.pop(custom, None)
        if account is None:
            return
        if worst is not None:
            account.settle(attempt.node, worst, used)
        elif account.has_budgets:
            account.count(attempt.node, used)


def no_batches(endpoint: Endpoint) -> TaskError:
    """Return the failure for a model whose provider takes no batches."""
    return TaskError(
        f"the provider of {endpoint.name} ({endpoint.profile.name}) has no batch API that we know of",
        code="batch-unsupported",
        retryable=False,
        hint="leave `execution: batch` out, or name the provider: `provider: openai`",
    )


def _entry(run_id: str, custom: str) -> str:
    return f"batch:{run_id}:{custom}"

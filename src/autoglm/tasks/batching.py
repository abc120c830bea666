"""Calls that go through a provider's batch API: gathered, sent as one file, and waited for without holding anything.

Rules:

1. What attempts ask for within ``gather`` of one another is one batch of their run, task and model, or several where
   the provider takes no more in one. They are parked from the moment they have asked, aside: no loop waits for them.
2. Before anything is sent, the store is told which calls are on their way, under a *mark* that the batch carries on the
   provider's side (its metadata). Once the batch is made, the store is told its id.
3. Where its call is, an attempt knows from its memo or from the store. When that is told of a mark and of no batch, the
   process ended in between, or the provider's answer was lost: the provider's batches are looked through for the mark,
   and the one that carries it is taken over. So no call is paid for twice.
4. A parked attempt looks every ``poll`` seconds; one look serves all attempts of the batch. That a look fails is no
   failure of the attempt.
5. At the ``deadline`` the batch is given up, and what it has not answered is asked online; so is what an ended batch
   left out. A batch that the provider refuses as a whole fails its attempts.
6. Only an attempt's first call is batched: what corrects an answer is asked online.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Mapping
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
from autoglm.tasks.admission import Need, check_time, denied, within_time
from autoglm.tasks.batch_places import Doubtful, Place, adopt, create, entry_of, mark_of, write_places
from autoglm.tasks.model_options import invalid_option
from autoglm.tasks.protocol import Attempt, Park

if TYPE_CHECKING:
    from autoglm.llm.chat import ChatRequest
    from autoglm.llm.models import Endpoint
    from autoglm.llm.wire import Wire

_MEMO = "batch"
_SENDING = 2.0
"""Seconds after which who has not heard of its batch looks again by itself."""
_SETTLED = 15.0
"""Seconds after which a provider's list holds every batch that it was asked for."""
_MOST_SENT = 3
"""How often a call is put into a batch of which nobody knows whether it was made."""
_MOST_KEPT = 16
"""Ended batches whose answers are kept at hand."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a task's calls are batched, in seconds."""

    gather: float = 2.0
    poll: float = 60.0
    deadline: float = 86400.0
    calls: int | None = None
    """How many calls a batch has at most; None leaves it to the provider."""

    @classmethod
    def read(cls, written: Mapping[str, Any] | None) -> Terms:
        """Return the terms of the option ``batch``. Raises TaskError ``llm-option-invalid``."""
        hint = "write `batch: {gather: 5s, poll: 1m, deadline: 20h, calls: 1000}`, or some of these"
        given: dict[str, Any] = {}
        for name, value in (written or {}).items():
            if name not in cls.__dataclass_fields__:
                raise invalid_option(f"`batch` has no `{name}`", hint)
            try:
                given[name] = int(value) if name == "calls" else float(parse_duration(value))
            except (ValueError, TypeError) as error:
                raise invalid_option(f"`{name}` of `batch` is wrong: {error}", hint) from None
        return cls(**given)


@dataclass(slots=True)
class _Gathering:
    """Calls that will be one batch."""

    endpoint: Endpoint
    attempt: Attempt
    """The first one: in its log what becomes of the batch is told."""
    lines: dict[str, bytes] = field(default_factory=dict)
    wakes: list[Callable[[], None]] = field(default_factory=list)
    size: int = 0
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
        self._on_its_way: set[str] = set()
        """Calls that are gathered, or being sent."""
        self._arrived: dict[str, Place | Exception] = {}
        """What became of those that were, until their attempts have heard it."""
        self._found: dict[str, asyncio.Future[Place | None]] = {}
        """By mark: what the provider's own list says of batches that nobody knows the ids of."""
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
        attempt.recovered = 0  # whatever was lost with a process is found again by its mark
        place = await self._place(attempt, endpoint, custom, memo, terms)
        if place is None:
            await self._reserve(attempt, endpoint, custom, need)
            self._join(attempt, endpoint, custom, body, terms)
            raise self._gathered(attempt, custom, terms, is_new=True)
        answers = None
        try:
            answers = await self._answers(attempt, endpoint, place, terms)
        except TaskError as error:
            if not error.retryable or error.code == "batch-failed" or account.clock() > place.since + terms.deadline:
                raise
            attempt.log("log", f"warning: the batch {place.batch} cannot be looked at now: {error.message}")
        if answers is None:
            check_time(attempt)
            raise self._parked(attempt, custom, place, terms)
        if custom not in answers:
            attempt.log("log", f"warning: the batch {place.batch} left the call out: it is made online")
            self._settle(attempt, custom, Use())
            return None
        return self._answered(attempt, endpoint, custom, answers[custom])

    def _parked(self, attempt: Attempt, custom: str, place: Place, terms: Terms) -> Park:
        account = attempt.account
        assert account is not None
        memo = dict(attempt.memo) if isinstance(attempt.memo, dict) else {}
        memo[_MEMO] = {"custom": custom, "place": msgspec.to_builtins(place)}
        due = min(account.clock() + terms.poll, max(account.clock() + 0.05, place.since + terms.deadline))
        return Park(within_time(attempt, due), f"in the batch {place.batch} of {place.calls} calls", memo, aside=True)

    def _gathered(self, attempt: Attempt, custom: str, terms: Terms, *, is_new: bool = False) -> Park:
        """Return what an attempt raises whose call is on its way; it is woken once the batch is made."""
        account = attempt.account
        assert account is not None
        memo = dict(attempt.memo) if isinstance(attempt.memo, dict) else {}
        memo[_MEMO] = {"custom": custom, "sent": _sent(attempt) + is_new}
        due = account.clock() + terms.gather + _SENDING
        return Park(within_time(attempt, due), "its call is gathered for a batch", memo, aside=True)

    async def _place(
        self, attempt: Attempt, endpoint: Endpoint, custom: str, memo: dict[str, Any] | None, terms: Terms
    ) -> Place | None:
        """Return where a call is; None when it is to be sent. Raises Park while that is not known."""
        arrived = self._arrived.pop(custom, None)
        if isinstance(arrived, Doubtful):
            if _sent(attempt) >= _MOST_SENT:
                raise arrived.error
            return await self._look_up(attempt, endpoint, custom, arrived.place, terms)
        if isinstance(arrived, Exception):
            raise arrived
        if arrived is not None:
            return arrived
        if custom in self._on_its_way:
            raise self._gathered(attempt, custom, terms)
        if memo is not None and "place" in memo:
            place: Place | None = msgspec.convert(memo["place"], Place)
        else:
            place = self._recorded(attempt, custom)
        if place is None or place.batch:
            return place
        return await self._look_up(attempt, endpoint, custom, place, terms)

    async def _look_up(
        self, attempt: Attempt, endpoint: Endpoint, custom: str, place: Place, terms: Terms
    ) -> Place | None:
        """Return where a call is whose batch was on its way when its process ended."""
        account = attempt.account
        assert account is not None
        settled = place.since + min(_SETTLED, terms.poll)
        memo = {**(attempt.memo if isinstance(attempt.memo, dict) else {})}
        memo[_MEMO] = {"custom": custom, "sent": _sent(attempt), "place": msgspec.to_builtins(place)}
        if account.clock() < settled:  # what was asked for a moment ago may not be listed yet
            raise Park(settled, "whether its batch was made is not known: it is looked for", memo, aside=True)
        looking = self._found.get(place.mark)
        if looking is None or looking.get_loop() is not asyncio.get_running_loop():
            looking = asyncio.ensure_future(adopt(self._wire(), attempt, endpoint, place))
            self._found[place.mark] = looking
        try:
            return await asyncio.shield(looking)
        except TaskError as error:
            if not error.retryable or account.clock() > place.since + terms.deadline:
                raise
            self._found.pop(place.mark, None)
            attempt.log("log", f"warning: the batches cannot be looked through now: {error.message}")
            raise Park(account.clock() + terms.poll, "its batch is looked for", memo, aside=True) from None

    # ----------------------------------------------------------------------------------------------------- sending

    def _join(self, attempt: Attempt, endpoint: Endpoint, custom: str, body: bytes, terms: Terms) -> None:
        """Put a call into the batch that is being gathered."""
        account, limits = attempt.account, endpoint.profile.batching
        assert account is not None
        assert limits is not None
        line = batch_line(endpoint, custom, body)
        loop = asyncio.get_running_loop()
        key = (account.run_id, attempt.node, endpoint.base_url, endpoint.model)
        gathering = self._gathering.get(key)
        if gathering is not None and gathering.lines and gathering.size + len(line) > limits.max_bytes:
            self._send_soon(key, gathering)
            gathering = None
        if gathering is None:
            gathering = self._gathering[key] = _Gathering(endpoint, attempt)
        gathering.lines[custom] = line
        gathering.wakes.append(attempt.wake)
        gathering.size += len(line)
        self._on_its_way.add(custom)
        if gathering.timer is not None:
            gathering.timer.cancel()
        if len(gathering.lines) >= min(limits.max_calls, max(1, terms.calls or limits.max_calls)):
            self._send_soon(key, gathering)
        else:
            gathering.timer = loop.call_later(terms.gather, self._send_soon, key, gathering)

    def _send_soon(self, key: tuple[str, str, str, str], gathering: _Gathering) -> None:
        if gathering.timer is not None:
            gathering.timer.cancel()
        if self._gathering.get(key) is gathering:
            del self._gathering[key]
        task = asyncio.get_running_loop().create_task(self._send(gathering))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, gathering: _Gathering) -> None:
        outcome: Place | Exception
        try:
            outcome = await self._create(gathering)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the failure of all who wait
            outcome = error
        finally:
            self._on_its_way.difference_update(gathering.lines)
        self._arrived.update(dict.fromkeys(gathering.lines, outcome))
        for wake in gathering.wakes:
            wake()

    async def _create(self, gathering: _Gathering) -> Place:
        attempt, endpoint, wire = gathering.attempt, gathering.endpoint, self._wire()
        account, lines = attempt.account, gathering.lines
        assert account is not None
        since = account.clock()
        intended = Place("", since, len(lines), mark_of(account.run_id, lines, since))
        await write_places(account, lines, intended)
        with tempfile.TemporaryDirectory(prefix="autoglm-batch-") as folder:
            path = Path(folder) / "calls.jsonl"
            await asyncio.to_thread(_write_lines, path, lines.values())
            file = await wire.upload_file(endpoint, path)
        place = await create(wire, attempt, endpoint, file.id, intended)
        await write_places(account, lines, place)
        attempt.log("log", f"info: {place.calls} calls of `{attempt.node}` are in the batch {place.batch}")
        return place

    def _recorded(self, attempt: Attempt, custom: str) -> Place | None:
        """Return where the store says the call is, for an attempt that lost its memo with its process."""
        account = attempt.account
        if account is None or account.records is None:
            return None
        try:
            entry = account.records.store.get_entry(entry_of(account.run_id, custom), account.clock())
            return None if entry is None else msgspec.json.decode(entry.data, type=Place)
        except (StoreError, msgspec.DecodeError):
            return None

    # ---------------------------------------------------------------------------------------------------- answers

    async def _answers(
        self, attempt: Attempt, endpoint: Endpoint, place: Place, terms: Terms
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


def _sent(attempt: Attempt) -> int:
    """Return how often an attempt's call has been put into a batch."""
    memo = attempt.memo.get(_MEMO) if isinstance(attempt.memo, dict) else None
    return 0 if memo is None else int(memo.get("sent", 0))


def _write_lines(path: Path, lines: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(lines)

"""Who may call a model now: limits a minute, calls under way, and what a server said, for all runs of a process.

Rules:

1. A *lane* is one model at one address with one key. All runs of the process share its lanes; where it has limits,
   all processes on the same store share them too, through a record of :mod:`autoglm.llm.limits`.
2. Who waits is ordered by priority, then fairly between runs (start-time fair queueing, Goyal, Vin and Cheng, 1996),
   then by arrival. Nobody holds a slot for longer than ``PATIENCE``: :class:`Busy` says when to come back, and whoever
   comes back takes the place it had.
3. A refusal (too many calls, overload) halves the calls under way; successes add one a round. ``Retry-After`` stops the
   whole lane until then, in every process that shares its record. What a lane has learned of how many calls a server
   bears stays in its process: senders that each add and halve come to share a server evenly (Chiu and Jain, 1989), and
   to write every change down would cost a transaction each. Who wants a number for all says ``max_parallel``.
4. Permits are fetched from the shared record for those who wait now, a second ahead at most: one transaction for
   several calls. When the record cannot be had, the process goes on by what it knows.
"""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from autoglm.base.errors import StoreError
from autoglm.llm import limits as lim
from autoglm.llm.limits import Record
from autoglm.llm.waiting_line import Asker, Line, Ticket

T = TypeVar("T")

PATIENCE = 1.0
"""Seconds that a call waits in place; for longer it parks."""
HORIZON = 1.0
"""Seconds ahead that permits are fetched."""
_KEEP = 1.0
"""Seconds between looks at what this process holds of a shared limit and does not need."""
_POLL = 0.25
"""Seconds between looks at a shared record that holds nothing for us, and no moment when it will."""
_FIRST_BACKOFF = 1.0
_LONGEST_BACKOFF = 60.0
_USUAL_CALL = 2.0
"""Seconds a call is taken to last before any has."""


class Records(Protocol):
    """Where lanes keep what processes share."""

    is_blocking: bool
    """True when :meth:`change` waits for a disk, and so belongs on a thread."""

    def change(self, key: str, now: float, change: Callable[[bytes | None], tuple[bytes | None, T]]) -> T:
        """Let ``change`` turn what is stored into what shall be, guarded; return its answer. Raises StoreError."""


class Busy(Exception):
    """It is not the caller's turn before ``until`` (seconds since the epoch)."""

    def __init__(self, until: float, reason: str) -> None:
        super().__init__(reason)
        self.until, self.reason = until, reason


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a lane may do at most; None for any number."""

    rpm: int | None = None
    tpm: int | None = None
    max_parallel: int | None = None
    start_parallel: int | None = None
    """Calls under way to begin with; the lane then finds out how many the server bears."""

    @property
    def is_shared(self) -> bool:
        return not (self.rpm is self.tpm is self.max_parallel is None)


@dataclass(slots=True)
class Permit:
    """The right to make one call now. Give it back with :meth:`Lane.leave`."""

    asker: Asker
    began: float
    booked_at: float | None = None
    booked_tokens: int = 0


class Lane:
    """One model at one address with one key."""

    def __init__(self, key: str, allowed: Allowed, clock: Callable[[], float], who: str) -> None:
        self.key = key
        self.allowed = allowed
        self.under_way = 0
        self.concurrency = lim.Concurrency(allowed.start_parallel, allowed.max_parallel)
        self._clock = clock
        self._who = who
        self._lock = threading.RLock()
        self._line = Line()
        self._record = Record()
        """The shared record as last seen, or our own where there is none to share."""
        self._permits: deque[tuple[float, int]] = deque()
        self._share: tuple[int, float] | None = None
        """How many calls this process may have under way, and until when that counts."""
        self._corrections: list[tuple[float, int]] = []
        self._use = 1.0
        """What share of their booked tokens calls have used lately."""
        self._freed = 0
        """Tokens that were booked and not used, and that nobody who went away has been fetched back for."""
        self._told = {"requests": lim.Told(), "tokens": lim.Told()}
        self._fetching = False
        self._must_tell = False
        """Others on the record do not know of our pause yet."""
        self._records: Records | None = None
        self._looked_at = float("-inf")
        self._latency = _USUAL_CALL
        self._served: dict[str, float] = {}
        """Run → the virtual time at which its last call began."""
        self._virtual = 0.0
        self._arrivals = 0
        self._swept_at = 0.0

    def now(self) -> float:
        """Return the time by the lane's clock."""
        return self._clock()

    # ------------------------------------------------------------------------------------------------ entering

    def enter_now(self, asker: Asker) -> Permit | None:
        """Return the right to call, when it can be had without waiting and nobody waits."""
        with self._lock:
            if self._line.orders or (permit := self._admit(asker, self._clock())) is None:
                return None
            self._virtual = self._served[asker.run] = max(self._virtual, self._served.get(asker.run, 0.0)) + 1.0
            return permit

    async def enter(self, asker: Asker, records: Records | None = None) -> Permit:
        """Return the right to call, at once or within ``PATIENCE`` seconds. Raises :class:`Busy`."""
        if (permit := self.enter_now(asker)) is not None:
            return permit
        with self._lock:
            now = self._clock()
            ticket = self._ticket(asker, now)
        ticket.loop, ticket.turn = asyncio.get_running_loop(), asyncio.Event()
        try:
            return await self._wait(ticket, records, now + PATIENCE)
        except Busy as busy:
            ticket.gone_until = busy.until
            with self._lock:
                self._line.leave_place(ticket)
            raise
        except BaseException:
            with self._lock:
                self._line.drop(ticket)
                self._call_next()
            raise

    def _ticket(self, asker: Asker, now: float) -> Ticket:
        line = self._line
        if now > self._swept_at + 5.0:
            self._swept_at = now
            line.forget(now)
            self._served = {run: tag for run, tag in self._served.items() if tag > self._virtual}
        ticket = line.away.pop((asker.run, asker.task), None)
        if ticket is not None and ticket.order in line.tickets:
            ticket.asker, ticket.waits_for_room, ticket.is_called = asker, False, False
            line.come_back(ticket)
            return ticket
        tag = max(self._virtual, self._served.get(asker.run, 0.0)) + 1.0
        self._served[asker.run] = tag
        self._arrivals += 1
        ticket = Ticket((-asker.priority, tag, self._arrivals), asker)
        line.add(ticket)
        return ticket

    async def _wait(self, ticket: Ticket, records: Records | None, patient_until: float) -> Permit:
        turn = ticket.turn
        assert turn is not None
        while True:
            turn.clear()
            with self._lock:
                now = self._clock()
                ahead = bisect_left(self._line.here, ticket.order)
                permit = self._admit(ticket.asker, now) if ahead == 0 else None
                if permit is not None:
                    self._virtual = max(self._virtual, ticket.order[1])
                    self._line.drop(ticket)
                    self._call_next()
                    return permit
                fetch = ahead == 0 and self._must_fetch(now)
                if fetch:
                    self._fetching = True
            if fetch:
                await self._fetch(records)
                continue
            with self._lock:
                now = self._clock()
                due, reason = self._foresee(ticket, now)
                if due > patient_until + 0.001:
                    ticket.waits_for_room = reason.startswith("all ")
                    raise Busy(due, reason)
                pause = max(0.001, min(due, patient_until) - now) if ahead == 0 else PATIENCE
            try:
                async with asyncio.timeout(pause):
                    await turn.wait()
            except TimeoutError:
                if ahead and self._clock() > patient_until:
                    with self._lock:
                        due, reason = self._foresee(ticket, self._clock())
                    raise Busy(max(due, self._clock() + PATIENCE), reason) from None

    def _admit(self, asker: Asker, now: float) -> Permit | None:
        """Give the right to call when everything allows it."""
        if self._record.pause_until > now or not self._has_room(now):
            return None
        told = self._told
        if told["requests"].wait(1, now) > 0 or told["tokens"].wait(asker.tokens, now) > 0:
            return None
        allowed = self.allowed
        permit = Permit(asker, now)
        if allowed.rpm is not None or allowed.tpm is not None:
            while self._permits and self._permits[0][0] + lim.HOLD < now:
                self._permits.popleft()  # it lapsed
            if not self._permits or self._permits[0][0] > now:
                return None
            permit.booked_at, permit.booked_tokens = self._permits.popleft()
        told["requests"].take(1, now)
        told["tokens"].take(asker.tokens, now)
        self.under_way += 1
        return permit

    def _has_room(self, now: float) -> bool:
        room = self.concurrency.room
        if room is not None and self.under_way >= room:
            return False
        if self.allowed.max_parallel is None:
            return True
        share, until = self._share or (0, 0.0)
        return until > now and self.under_way < share

    # ------------------------------------------------------------------------------------------- the shared record

    def _must_fetch(self, now: float) -> bool:
        if self._fetching or not self.allowed.is_shared:
            return False
        if self._must_tell:
            return True
        age = now - self._looked_at
        if self.allowed.max_parallel is not None and self._may_grow() and not self._has_room(now):
            return age >= _POLL
        if self._permits or (self.allowed.rpm is self.allowed.tpm is None):
            return False
        if self._corrections and age >= 0.02:
            return True
        return age >= _POLL or self._next_permit(now) <= now + (HORIZON if age >= 0.02 else 0.0)

    def _may_grow(self) -> bool:
        room = self.concurrency.room
        return room is None or self.under_way < room

    def _next_permit(self, now: float) -> float:
        waits = self._line.here
        tokens = self._line.tickets[waits[0]].asker.tokens if waits else 1
        return lim.foresee(self._record, self.allowed.rpm, self.allowed.tpm, now, 0, tokens)

    async def _fetch(self, records: Records | None) -> None:
        """Bring permits, and room for calls, from the record."""
        with self._lock:
            now = self._looked_at = self._clock()
            waiting = self._line.here[: self._at_once()] if not self._permits else ()
            wants = [self._line.tickets[order].asker.tokens for order in waiting]
            wanted_room = self.under_way + len(self._line.here)
            corrections, self._corrections = self._corrections, []
            self._must_tell, self._records = False, records
        booked: list[float] = []
        try:
            if records is None:
                booked, share = self._ask(self._record, wants, wanted_room, corrections, now)
            elif records.is_blocking:
                booked, share = await asyncio.to_thread(self._share_in, records, wants, wanted_room, corrections, now)
            else:
                booked, share = self._share_in(records, wants, wanted_room, corrections, now)
        except StoreError:
            with self._lock:
                booked, share = self._ask(self._record, wants, wanted_room, [], now)
        finally:
            self._fetching = False
        with self._lock:
            self._permits.extend(zip(booked, wants, strict=False))
            if self.allowed.max_parallel is not None:
                self._share = (share, now + lim.HELD / 2)
            self._call_next()

    def _at_once(self) -> int:
        """How many permits are worth a transaction: what the limit gives in a quarter of a second, one at least."""
        rpm = self.allowed.rpm
        return max(1, 16 if rpm is None else rpm // 240)

    def _share_in(
        self, records: Records, wants: list[int], room: int, corrections: list[tuple[float, int]], now: float
    ) -> tuple[list[float], int]:
        def change(data: bytes | None) -> tuple[bytes, tuple[Record, list[float], int]]:
            record = lim.decode_record(data)
            record.pause_until = max(record.pause_until, self._record.pause_until)
            booked, share = self._ask(record, wants, room, corrections, now)
            return lim.encode_record(record), (record, booked, share)

        record, booked, share = records.change(f"limits:{self.key}", now, change)
        with self._lock:
            self._record = record
        return booked, share

    def _ask(
        self, record: Record, wants: list[int], room: int, corrections: list[tuple[float, int]], now: float
    ) -> tuple[list[float], int]:
        for moment, tokens in corrections:
            lim.settle(record, moment, tokens)
        allowed = self.allowed
        booked = lim.book(record, allowed.rpm, allowed.tpm, now, wants, HORIZON)
        cap = allowed.max_parallel
        return booked, (lim.hold(record, self._who, room, cap, now) if cap is not None else room)

    # ---------------------------------------------------------------------------------------------- looking ahead

    def _foresee(self, ticket: Ticket, now: float) -> tuple[float, str]:
        """Return when a ticket may expect its turn, and what keeps it."""
        ahead = bisect_left(self._line.orders, ticket.order)
        due, reason = now, "others are first"
        if self._record.pause_until > now:
            due, reason = self._record.pause_until, "the server asked for a pause"
        tokens = ticket.asker.tokens
        for what, amount in (("requests", 1), ("tokens", tokens)):
            wait = self._told[what].wait((ahead + 1) * amount, now)
            if now + wait > due:
                due, reason = now + wait, f"the server has no {what} left"
        rpm, tpm = self.allowed.rpm, self.allowed.tpm
        if rpm is not None or tpm is not None:
            if self._permits and ahead < len(self._permits):
                at = self._permits[ahead][0]
            else:
                at = lim.foresee(self._record, rpm, tpm, now, ahead, max(1, int(tokens * self._use)))
                if tpm is not None:  # by then it will have turned out how much is used
                    at = min(at, now + lim.WINDOW)
            if at > due:
                due, reason = at, "the limit a minute is used up"
        if not self._has_room(now):
            room = max(1, (self._share or (1, 0))[0], self.concurrency.room or 1)
            at = now + (ahead + 1) * self._latency / room
            if at > due:
                due, reason = at, f"all {room} calls that may be under way are"
        return max(due, now + 0.02), reason

    # ------------------------------------------------------------------------------------------------- leaving

    def leave(
        self,
        permit: Permit,
        *,
        tokens: int | None = None,
        headers: Mapping[str, str] | None = None,
        succeeded: bool = True,
    ) -> None:
        """Take note that a call has ended; ``tokens`` is what it used, None when nobody knows."""
        with self._lock:
            now = self._clock()
            self.under_way -= 1
            self._latency += (now - permit.began - self._latency) * 0.1
            if permit.booked_at is not None and tokens is not None and self.allowed.tpm is not None:
                self._corrections.append((permit.booked_at, tokens - permit.booked_tokens))
                self._freed += max(0, permit.booked_tokens - tokens)
                self._use += (tokens / max(permit.booked_tokens, 1) - self._use) * 0.1
            if headers:
                for what, heard in lim.read_headers(headers).items():
                    under_way = self.under_way if what == "requests" else 0
                    self._told[what].hear(heard.limit, heard.remaining, heard.reset, now, under_way)
            if succeeded:
                self.concurrency.succeeded(self.under_way + 1)
            self._call_next()

    def refused(self, wait: float | None) -> float:
        """Take note that the server had too many calls, before the call is left; return when to try again.

        ``wait`` is what the server asked for, in seconds.
        """
        with self._lock:
            now = self._clock()
            was_cut = self.concurrency.refused(self.under_way, now, max(1.0, self._latency))
            doublings = min(max(self.concurrency.refusals - 1, 0), 10)
            backoff = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * float(1 << doublings))
            if wait is not None:
                self._record.pause_until = max(self._record.pause_until, now + wait)
                self._must_tell = self.allowed.is_shared
                return self._record.pause_until
            if was_cut and self.concurrency.refusals > 1:  # nothing has gone well since the last cut
                self._record.pause_until = max(self._record.pause_until, now + backoff)
            return now + backoff

    def _call_next(self) -> None:
        """Let the first who waits look whether it may go now; fetch back who left because all calls were under way."""
        line = self._line
        if line.here:
            line.tickets[line.here[0]].call()
            return
        if not line.away or not self._may_grow():
            return
        for order in line.orders:
            ticket = line.tickets[order]
            tokens = ticket.asker.tokens
            if ticket.asker.wake is None or ticket.is_called or not (ticket.waits_for_room or tokens <= self._freed):
                continue
            if not ticket.waits_for_room:
                self._freed -= tokens
            ticket.is_called = True
            ticket.asker.wake()
            return

    # ------------------------------------------------------------------------------------------------- its share

    def keep_share(self, *, give_up: bool = False) -> None:
        """Renew what this process may have under way, or give back what it does not need. May wait for a disk."""
        with self._lock:
            now = self._clock()
            cap, records = self.allowed.max_parallel, self._records
            if cap is None or records is None or self._share is None:
                return
            share, until = self._share
            needed = 0 if give_up else self.under_way + len(self._line.here)
            if needed == share and until - now > lim.HELD / 4:
                return

        def change(data: bytes | None) -> tuple[bytes, int]:
            record = lim.decode_record(data)
            granted = lim.hold(record, self._who, needed, cap, now)
            return lim.encode_record(record), granted

        try:
            granted = records.change(f"limits:{self.key}", now, change)
        except StoreError:
            granted = share  # nobody else can ask either
        with self._lock:
            self._share = (granted, now + lim.HELD / 2) if granted else None
            if granted > self.under_way:
                self._call_next()


class Governor:
    """All lanes of a process, and a thread that keeps their shares of what processes may have under way together."""

    def __init__(self, clock: Callable[[], float] = time.time, who: str = "") -> None:
        self._clock = clock
        self._who = who
        self._lanes: dict[str, Lane] = {}
        self._keeper: threading.Thread | None = None
        self._closed = threading.Event()

    def lane(self, key: str, allowed: Allowed) -> Lane:
        """Return the lane of ``key``; what it is allowed is what was said last."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes.setdefault(key, Lane(key, allowed, self._clock, self._who))
        if lane.allowed != allowed:
            lane.allowed = allowed
            lane.concurrency = lim.Concurrency(allowed.start_parallel, allowed.max_parallel)
        if allowed.max_parallel is not None and self._keeper is None:
            self._closed.clear()
            self._keeper = threading.Thread(target=self._keep, name="autoglm-governor", daemon=True)
            self._keeper.start()
        return lane

    def _keep(self) -> None:
        while not self._closed.wait(_KEEP):
            for lane in list(self._lanes.values()):
                lane.keep_share()

    def close(self) -> None:
        """Give back every share. What is known of the lanes stays."""
        self._closed.set()
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None
        for lane in self._lanes.values():
            lane.keep_share(give_up=True)

    def state(self) -> dict[str, Any]:
        """Return what is under way and waits, lane by lane, to be shown."""
        return {
            key: {"under_way": lane.under_way, "room": lane.concurrency.room, "waiting": len(lane._line.orders)}
            for key, lane in self._lanes.items()
        }

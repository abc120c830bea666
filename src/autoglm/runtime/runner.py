"""The one loop that drives a run: take news in, decide, commit, do.

Decisions go ahead while the commits of earlier ones are under way, in order; what a decision asks for is done when its
own commit is acknowledged, and observers are told then. When a commit fails, the run in memory is worthless: the loop
ends with the error, and a resume replays the journal.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from autoglm.base.errors import StoreError
from autoglm.engine import messages as m
from autoglm.engine.codec import encode_record
from autoglm.engine.machine import Run
from autoglm.engine.states import RunStatus
from autoglm.runtime.answers import news_of
from autoglm.runtime.dispatch import Dispatcher, Toolbox
from autoglm.runtime.journal import Journal
from autoglm.runtime.observer import Observer
from autoglm.runtime.projection import run_update, take_dropped, take_rows
from autoglm.runtime.timers import Alarm, RealTimers, Timers
from autoglm.stores.protocol import Append, Lease, LogLine, Signal, Store

LEASE_SECONDS = 15.0
_POLL_SECONDS = 0.5
_LOG_FLUSH_SECONDS = 0.2
_BATCH = 256
"""Stimuli in one decision: small enough that its commit overlaps with the next decision."""
_IN_FLIGHT = 4
"""Commits that may be under way: a bound on what a failed commit throws away."""


def last_signal(store: Store, run_id: str) -> int:
    """Return the number of the last message left for a run's drivers so far.

    Asked before the lease is taken: older messages were for an earlier driver, later ones are for this one.
    """
    return max((signal.number for signal in store.signals(run_id)), default=0)


def reason_of(signal: Signal) -> str:
    """Return why another process asks for something."""
    return signal.data if isinstance(signal.data, str) and signal.data else "asked by another process"


class Runner:
    """Drives one run to its end, or until it is told to stop. Messages up to ``last_signal`` are not for it."""

    def __init__(
        self,
        run: Run,
        journal: Journal,
        lease: Lease,
        last_seq: int,
        tools: Toolbox,
        clock: Callable[[], float],
        observers: Sequence[Observer] = (),
        last_signal: int = 0,
        timers: Timers | None = None,
    ) -> None:
        self.run = run
        run.scrub = tools.redactor.scrub
        self._journal = journal
        self._lease = lease
        self._seq = last_seq
        self._tools = tools
        self._clock = clock
        self._timers = timers or RealTimers(clock)
        self._observers = observers
        self._now = clock()
        self._inbox: deque[m.Stimulus] = deque()
        self._wake = asyncio.Event()
        self._timer: Alarm | None = None
        self._timer_due: float | None = None
        self._in_flight = 0
        self._waiting_commands: list[m.Command] = []
        self._broken: StoreError | None = None
        self._bug: Exception | None = None
        self._is_waiting = False
        self._is_draining = False
        self._is_aborted = False
        self._logs: list[LogLine] = []
        self._log_timer: asyncio.TimerHandle | None = None
        self._dispatcher: Dispatcher | None = None
        self._last_signal = last_signal

    @property
    def journal(self) -> Journal:
        """Where the run's records go."""
        return self._journal

    @property
    def lease(self) -> Lease:
        """The lease as it was last prolonged."""
        return self._lease

    # ------------------------------------------------------------------------------------------------- from outside

    def post(self, stimulus: m.Stimulus) -> None:
        """Take news in. Called on the loop's thread."""
        self._inbox.append(stimulus)
        if self._is_waiting and self._is_alone() and not self._is_aborted and self._broken is None:
            self._decide_here()
        else:
            self._wake.set()

    def drain(self) -> None:
        """Finish what runs and start nothing more; the run stays resumable."""
        if not self._is_draining:
            self._is_draining = True
            self.post(m.Pause())

    def abort(self) -> None:
        """Stop what runs at once, without a word in the journal; the run stays resumable."""
        self._is_aborted = True
        self._wake.set()

    async def drive(self, first: Sequence[m.Stimulus]) -> RunStatus:
        """Drive the run until it has ended, is paused with nothing running, or was aborted; return its status.

        Raises:
            StoreError: a commit failed or the lease was lost; the run stays resumable.
            EngineError: a bug of ours.
        """
        self._inbox.extendleft(reversed(first))  # before a pause that was asked for already
        try:
            async with asyncio.TaskGroup() as group:
                self._dispatcher = Dispatcher(self.run, self._tools, self.post, self._log)
                keeper = group.create_task(self._keep())
                try:
                    await self._turn_until_over()
                finally:
                    keeper.cancel()
                    await self._dispatcher.close()
                    self._stop_timers()
        except* Exception as errors:  # noqa: BLE001  # raised again, without the group around it
            raise errors.exceptions[0] from None  # the first tells; the others are what it brought down
        await self._flush_last()
        return self.run.status

    # ------------------------------------------------------------------------------------------------------ the loop

    async def _turn_until_over(self) -> None:
        while True:
            if self._bug is not None or self._broken is not None:
                raise self._bug or self._broken or AssertionError  # before all else: what memory says is worthless
            if self._is_aborted or self._is_over():
                return
            if self._in_flight >= _IN_FLIGHT or not self._has_work():
                await self._wait()
            else:
                self._decide()

    def _is_over(self) -> bool:
        if self._in_flight or self._inbox or self.run.is_unsettled:
            return False
        if self.run.is_final:
            return True
        is_idle = self._dispatcher is None or self._dispatcher.is_idle
        return self.run.status is RunStatus.PAUSED and is_idle

    def _has_work(self) -> bool:
        if self._inbox or self.run.is_unsettled:
            return True
        due = self.run.next_due()
        return due is not None and due <= self._clock()

    def _is_alone(self) -> bool:
        """Nothing runs, no commit is under way, and one piece of news has come: a chain is at its next step."""
        return (
            not self._in_flight and len(self._inbox) == 1 and self._dispatcher is not None and self._dispatcher.is_idle
        )

    def _decide_here(self) -> None:
        """Decide in the turn of whoever brought the news; wake the loop only when it has something to do."""
        try:
            self._decide()
        except Exception as error:  # noqa: BLE001  # raised by the loop, whose business it is
            self._bug = error
        is_changed = self._bug or self._broken or self._inbox or self.run.is_unsettled
        if is_changed or self._is_over() or self.run.next_due() != self._timer_due:
            self._wake.set()
        else:
            self._timers.rest(self._is_still)

    async def _wait(self) -> None:
        self._wake.clear()
        due = self.run.next_due()
        if due is not None and due != self._timer_due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_due = due
            self._timer = self._timers.call_at(due, self._timer_fired)
        self._is_waiting = True
        self._timers.rest(self._is_still)
        try:
            await self._wake.wait()
        finally:
            self._is_waiting = False

    def _is_still(self) -> bool:
        """The loop waits, and nothing is on its way to it but what attempts will bring."""
        dispatcher = self._dispatcher
        is_settled = dispatcher is not None and dispatcher.is_settled
        return self._is_waiting and is_settled and not (self._wake.is_set() or self._inbox or self._in_flight)

    def _timer_fired(self) -> None:
        self._timer_due = None
        self._wake.set()

    def _decide(self) -> None:
        """Let the engine decide on what has come in, and hand the outcome to the journal."""
        inbox = self._inbox
        batch = [inbox.popleft() for _ in range(min(len(inbox), _BATCH))]
        self._now = now = max(self._now, self._clock())  # a clock that was set back must not turn time around
        decision = self.run.handle(batch, now)
        if not decision.events:
            self._do_when_committed(decision.commands)
            return
        self._seq += 1
        append = Append(
            run_id=self._lease.run_id,
            epoch=self._lease.epoch,
            seq=self._seq,
            payload=encode_record(now, decision.events),
            update=run_update(self.run, now),
            tasks=take_rows(self.run, self._seq),
            dropped=take_dropped(self.run),
            logs=self._take_logs(),
            blobs=decision.blobs,
        )
        is_last = not (self._in_flight or inbox or self.run.is_unsettled)
        is_alone = is_last and self._dispatcher is not None and self._dispatcher.is_idle
        self._in_flight += 1
        if is_alone:  # nobody is kept waiting while this thread waits for the disk
            self._journal.append_now(append, partial(self._committed, decision, now))
        else:
            self._journal.append(append, partial(self._committed_there, decision, now))

    def _committed_there(self, decision: m.Decision, at: float, error: StoreError | None) -> None:
        self._wake.set()
        self._committed(decision, at, error)

    def _committed(self, decision: m.Decision, at: float, error: StoreError | None) -> None:
        self._in_flight -= 1
        if error is not None or self._broken is not None:
            self._broken = self._broken or error
            return
        if decision.blobs:
            self.run.saved(decision.blobs)
        for observer in self._observers:
            observer.on_events(decision.events, at)
        if self._dispatcher is None or self._is_aborted:
            return
        for command in decision.commands:
            self._dispatcher.do(command)
        if self._waiting_commands and not self._in_flight:
            self._do_when_committed([])

    def _do_when_committed(self, commands: Sequence[m.Command]) -> None:
        """Do what a decision without events asks for, once what it rests on is committed."""
        self._waiting_commands.extend(commands)
        if not self._in_flight and self._dispatcher is not None:
            waiting, self._waiting_commands = self._waiting_commands, []
            for command in waiting:
                self._dispatcher.do(command)

    # ---------------------------------------------------------------------------------------------------------- logs

    def _log(self, line: LogLine) -> None:
        self._logs.append(line)
        for observer in self._observers:
            observer.on_log(line)
        if len(self._logs) >= 1000:
            self._flush_logs()
        elif self._log_timer is None:
            self._log_timer = asyncio.get_running_loop().call_later(_LOG_FLUSH_SECONDS, self._flush_logs)

    def _take_logs(self) -> list[LogLine]:
        logs, self._logs = self._logs, []
        return logs

    def _flush_logs(self) -> None:
        if self._log_timer is not None:
            self._log_timer.cancel()
            self._log_timer = None
        if self._logs:
            append = Append(
                run_id=self._lease.run_id, epoch=self._lease.epoch, seq=self._seq, payload=b"", logs=self._take_logs()
            )
            self._in_flight += 1
            self._journal.append(append, self._logs_written)

    def _logs_written(self, error: StoreError | None) -> None:
        self._in_flight -= 1
        self._wake.set()
        if error is not None:
            self._broken = self._broken or error
        elif self._waiting_commands:
            self._do_when_committed([])

    async def _flush_last(self) -> None:
        self._flush_logs()
        while self._in_flight and self._broken is None:
            self._wake.clear()
            await self._wake.wait()

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._log_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._log_timer = None

    # --------------------------------------------------------------------------------------------- lease and signals

    async def _keep(self) -> None:
        """Prolong the lease, and listen for what other processes ask of this run."""
        store = self._journal.store
        run_id = self._lease.run_id
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            if self._lease.until - self._clock() < LEASE_SECONDS * 2 / 3:
                self._lease = await asyncio.to_thread(store.renew, self._lease, self._clock(), LEASE_SECONDS)
            for signal in await asyncio.to_thread(store.signals, run_id, self._last_signal):
                self._last_signal = signal.number
                self.take_signal(signal)

    def take_signal(self, signal: Signal) -> None:
        """Act on a message that another process left for this run."""
        if signal.kind == "cancel":
            self.post(m.Cancel(reason_of(signal), signal.at or None))
        elif signal.kind == "pause":
            self.drain()
        elif signal.kind == "resume":
            self.post(m.Resume())
        elif isinstance(signal.data, dict) and signal.kind in ("answer", "signal"):
            self.post(news_of(signal.kind, self._tools.redactor.scrub_value(signal.data), signal.number))

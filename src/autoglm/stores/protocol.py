"""The store port: small, blocking, thread-safe. The runtime's journal thread calls it; tests call it directly.

Rules every store keeps:

1. A run's records are numbered 1, 2, 3 … without a gap, each with a checksum, and never change.
2. :meth:`Store.append` takes many appends of many runs and commits them in one transaction. Each append is guarded by
   its run's epoch and last sequence number *inside* that transaction; one that does not match is refused (its result is
   the error) and leaves the others untouched.
3. When ``append`` has returned, what it took survives: a power cut with ``durability="full"``, a ``kill -9`` of the
   process with ``"process"``. When it raises, nothing of the whole group was taken.
4. Task rows, the run row, log lines and blobs of an append are committed with its record, never before.
5. The lease's epoch only grows. Whoever holds the highest epoch owns the run; appends of older epochs are refused.
6. What is read is checked: a record whose checksum or number is off raises ``StoreError`` (``journal-damaged``).

All times are seconds since the epoch and come from the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from autoglm.base.errors import StoreError


class TaskRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A task instance as lists and pages show it; the newest row of a (run, number) replaces the older."""

    number: int
    """Order of first appearance in the run, from 1."""
    task: str
    """Task id, ``outer[3].inner``."""
    node: str
    """Its node's static path, ``outer.inner``."""
    status: str
    attempts: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    error: str | None = None
    """Code and message of the failure, or the reason of a skip."""
    error_code: str | None = None
    record: int = 0
    """Sequence number of the journal record that holds its result."""


class TaskRows(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Rows to be written of tasks that stand alike, as most of those do that change together. See :class:`TaskRow`."""

    status: str
    attempts: int
    started_at: float | None
    ended_at: float | None
    error: str | None
    error_code: str | None
    record: int
    tasks: list[tuple[int, str] | tuple[int, str, str]]
    """Number, task and node of each; a task that is called as its node is goes without."""

    @classmethod
    def of(cls, rows: Iterable[TaskRow]) -> list[TaskRows]:
        """Return ``rows`` in order, those together that follow one another and stand alike."""
        found: list[TaskRows] = []
        last: tuple[Any, ...] = ()
        for row in rows:
            shared = (row.status, row.attempts, row.started_at, row.ended_at, row.error, row.error_code, row.record)
            if shared != last:
                found.append(cls(*shared, []))
                last = shared
            found[-1].tasks.append((row.number, row.task) if row.node == row.task else (row.number, row.task, row.node))
        return found

    def rows(self) -> Iterator[TaskRow]:
        """Yield a row for each task."""
        shared = msgspec.structs.astuple(self)[:-1]
        for number, task, *node in self.tasks:
            yield TaskRow(number, task, node[0] if node else task, *shared)


class LogLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A line that a task wrote. ``stream`` is ``stdout``, ``stderr`` or ``log``; ``level`` as in ``logging``."""

    at: float
    task: str
    attempt: int
    stream: str
    text: str
    level: str = "info"


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run as ``autoglm list`` shows it."""

    run_id: str
    workflow: str
    namespace: str = "default"
    status: str = "pending"
    file: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    ended_at: float | None = None
    labels: dict[str, str] = {}
    counts: dict[str, int] = {}
    """Task status to how many instances are in it."""
    error: str | None = None
    last_seq: int = 0
    epoch: int = 0
    owner: str | None = None
    """Who holds the lease, None when nobody does."""
    lease_until: float | None = None
    usage: dict[str, Any] = {}
    """What it has used of models: ``total``, by task (``tasks``), and by the arm of a split (``arms``)."""


class RunUpdate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an append changes in its run's row."""

    status: str
    updated_at: float
    ended_at: float | None = None
    counts: dict[str, int] = {}
    error: str | None = None
    usage: bytes | None = None
    """JSON text; None leaves it as it is."""


class Append(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One record to add to one run, with everything that must become visible together with it."""

    run_id: str
    epoch: int
    seq: int
    """The record's number: the run's last one plus 1."""
    payload: bytes
    """JSON text of an ``engine.messages.Record``; b"" when only log lines are added (``seq`` is then not used)."""
    update: RunUpdate | None = None
    tasks: Sequence[TaskRows] = ()
    dropped: Sequence[str] = ()
    """Task ids, or beginnings of them, which end in ``.``, ``[`` or ``]``: older rows of such tasks are deleted."""
    logs: Sequence[LogLine] = ()
    blobs: Mapping[str, bytes] = {}


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A record as read back."""

    seq: int
    payload: bytes


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to drive a run until ``until``. ``epoch`` is its fencing token."""

    run_id: str
    owner: str
    epoch: int
    until: float


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A message for whoever drives the run: ``cancel``, ``pause``, ``resume`` …; ``number`` orders and acknowledges."""

    number: int
    run_id: str
    kind: str
    data: Any = None
    at: float = 0.0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Something small that runs share: what is left of a limit, a cached answer. ``version`` counts from 1."""

    key: str
    data: bytes
    version: int
    expires_at: float | None = None


class EntryWrite(msgspec.Struct, frozen=True, kw_only=True):
    """An entry to be written, or with ``data=None`` to be forgotten."""

    key: str
    data: bytes | None
    version: int | None = None
    """The version that it must have now, 0 for none; None writes whatever there is."""
    expires_at: float | None = None
    """From then on it is as if it were not there; None keeps it."""


class LeaseHeld(StoreError):
    """Somebody else drives the run."""

    code = "run-locked"

    def __init__(self, run_id: str, owner: str, until: float) -> None:
        super().__init__(
            f"run {run_id} is being driven by {owner}",
            hint="wait for it, or stop that process; a dead owner's lease is taken over by itself",
        )
        self.run_id, self.owner, self.until = run_id, owner, until


class Store(Protocol):
    """Where journals live. Every method may be called from any thread."""

    def create_run(self, row: RunRow) -> None:
        """Add a run without records, with the lease that its row tells of, if any. Raises StoreError ``run-exists``."""

    def append(self, appends: Sequence[Append]) -> list[StoreError | None]:
        """Commit a group in one transaction; per append None, or why it was refused (``LeaseLost``)."""

    def read(self, run_id: str, after: int = 0) -> Iterator[Stored]:
        """Yield the run's records after number ``after``, checked, in order."""

    def get_record(self, run_id: str, seq: int) -> Stored:
        """Return one record. Raises StoreError ``record-not-found``."""

    def get_blob(self, digest: str) -> bytes:
        """Return a blob, its digest checked. Raises StoreError ``blob-not-found`` or ``journal-damaged``."""

    def acquire(self, run_id: str, owner: str, now: float, ttl: float, *, alive: bool | None = None) -> Lease:
        """Take the lease with a new epoch, when it is free, expired, or ``owner`` had it.

        ``alive=False`` tells that the caller knows the present owner to be dead (same host, no such process): taken at
        once. Raises :class:`LeaseHeld`.
        """

    def renew(self, lease: Lease, now: float, ttl: float) -> Lease:
        """Prolong the lease. Raises ``LeaseLost`` when somebody took it."""

    def release(self, lease: Lease) -> None:
        """Give the lease back; nothing happens when it was lost."""

    def post_signal(self, run_id: str, kind: str, data: Any, now: float) -> int:
        """Leave a message for the run's driver; return its number."""

    def signals(self, run_id: str, after: int = 0) -> list[Signal]:
        """Return the messages after number ``after``."""

    def get_run(self, run_id: str) -> RunRow:
        """Return one run. Raises StoreError ``run-not-found``."""

    def list_runs(
        self,
        *,
        status: str | None = None,
        workflow: str | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[RunRow]:
        """Return runs, newest first; ``before`` is (created_at, run_id) of the last row of the page before."""

    def find_runs(self, prefix: str, limit: int = 10) -> list[str]:
        """Return the ids of runs that begin with ``prefix``."""

    def list_tasks(
        self,
        run_id: str,
        *,
        statuses: Sequence[str] = (),
        node: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[TaskRow]:
        """Return a page of task instances in order of number; ``after`` is the number of the last row before."""

    def get_task(self, run_id: str, task: str) -> TaskRow | None:
        """Return the row of one task instance."""

    def list_logs(
        self, run_id: str, *, task: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[tuple[int, LogLine]]:
        """Return log lines, oldest first, each with its number; ``task`` also matches what lies below it."""

    def get_entry(self, key: str, now: float) -> Entry | None:
        """Return what runs share under ``key``, None when nothing is there or it has expired."""

    def put_entries(self, writes: Sequence[EntryWrite], now: float) -> list[bool]:
        """Write entries in one transaction, each guarded by its version; per entry whether it was written.

        What expired before ``now`` is forgotten for good, a bounded part at a time.
        """

    def prune(self, before: float, *, workflow: str | None = None, dry_run: bool = False) -> list[str]:
        """Delete ended runs that were created before ``before`` with all that is theirs; return their ids."""

    def backup(self, target: str) -> None:
        """Write a consistent copy to the path ``target``. Raises StoreError ``not-supported``."""

    def close(self) -> None:
        """Give every resource back. Idempotent."""

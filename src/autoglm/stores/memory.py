"""Runs in memory: for tests, notebooks and whatever need not survive the process."""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from autoglm.base.errors import LeaseLost, StoreError
from autoglm.engine.states import RUN_FINAL
from autoglm.stores import rules
from autoglm.stores.protocol import Append, Entry, EntryWrite, Lease, LogLine, RunRow, Signal, Stored, TaskRow


@dataclass(slots=True)
class _Run:
    """Everything of one run."""

    row: RunRow
    records: list[bytes] = field(default_factory=list)
    tasks: dict[int, TaskRow] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    """The keys of ``tasks`` in order."""
    by_task: dict[str, int] = field(default_factory=dict)
    logs: list[LogLine] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    blobs: set[str] = field(default_factory=set)

    def add(self, append: Append) -> None:
        """Take an append that was found good."""
        row = self.row
        if append.payload:
            self.records.append(append.payload)
            row = msgspec.structs.replace(row, last_seq=append.seq)
        if (update := append.update) is not None:
            row = msgspec.structs.replace(
                row,
                status=update.status,
                updated_at=update.updated_at,
                ended_at=update.ended_at,
                counts=dict(update.counts),
                error=update.error,
                usage=row.usage if update.usage is None else msgspec.json.decode(update.usage),
            )
        self.row = row
        if append.dropped:
            self._drop(tuple(append.dropped))
        for task in (row for rows in append.tasks for row in rows.rows()):
            if task.number not in self.tasks:
                insort(self.numbers, task.number)
            self.tasks[task.number] = task
            self.by_task[task.task] = task.number
        self.logs.extend(append.logs)

    def _drop(self, dropped: tuple[str, ...]) -> None:
        ids = set(dropped)
        beginnings = tuple(each for each in dropped if each[-1] in ".[]")
        self.tasks = {
            number: row
            for number, row in self.tasks.items()
            if row.task not in ids and not row.task.startswith(beginnings)
        }
        self.numbers = sorted(self.tasks)
        self.by_task = {self.tasks[number].task: number for number in self.numbers}


class MemoryStore:
    """A store that keeps everything in this process and forgets it with :meth:`close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._blobs: dict[str, bytes] = {}
        self._entries: dict[str, Entry] = {}
        self._closed = False

    def _run(self, run_id: str) -> _Run:
        if self._closed:
            raise rules.closed()
        run = self._runs.get(run_id)
        if run is None:
            raise rules.run_not_found(run_id)
        return run

    def create_run(self, row: RunRow) -> None:
        """Add a run without records. Raises StoreError ``run-exists``."""
        with self._lock:
            if self._closed:
                raise rules.closed()
            if row.run_id in self._runs:
                raise rules.run_exists(row.run_id)
            self._runs[row.run_id] = _Run(msgspec.structs.replace(row, last_seq=0))

    def append(self, appends: Sequence[Append]) -> list[StoreError | None]:
        """Take a group; per append None, or why it was refused."""
        with self._lock:
            if self._closed:
                raise rules.closed()
            return [self._append(append) for append in appends]

    def _append(self, append: Append) -> StoreError | None:
        run = self._runs.get(append.run_id)
        if run is None:
            return rules.run_not_found(append.run_id)
        refusal = rules.check_append(append, run.row.epoch, run.row.last_seq)
        if refusal is None:
            run.add(append)
            for digest, data in append.blobs.items():
                self._blobs.setdefault(digest, data)
                run.blobs.add(digest)
        return refusal

    def read(self, run_id: str, after: int = 0) -> Iterator[Stored]:
        """Return the run's records after number ``after``, in order."""
        with self._lock:
            records = self._run(run_id).records[max(after, 0) :]
        return (Stored(seq, payload) for seq, payload in enumerate(records, max(after, 0) + 1))

    def get_record(self, run_id: str, seq: int) -> Stored:
        """Return one record. Raises StoreError ``record-not-found``."""
        with self._lock:
            records = self._run(run_id).records
            if not 1 <= seq <= len(records):
                raise rules.record_not_found(run_id, seq)
            return Stored(seq, records[seq - 1])

    def get_blob(self, digest: str) -> bytes:
        """Return a blob. Raises StoreError ``blob-not-found``."""
        with self._lock:
            if self._closed:
                raise rules.closed()
            if digest not in self._blobs:
                raise rules.blob_not_found(digest)
            return self._blobs[digest]

    def acquire(self, run_id: str, owner: str, now: float, ttl: float, *, alive: bool | None = None) -> Lease:
        """Take the lease with a new epoch. Raises LeaseHeld."""
        with self._lock:
            run = self._run(run_id)
            held = (run.row.epoch, run.row.owner, run.row.lease_until)
            lease = rules.grant(run_id, held, owner=owner, now=now, ttl=ttl, alive=alive)
            run.row = msgspec.structs.replace(run.row, epoch=lease.epoch, owner=owner, lease_until=lease.until)
            return lease

    def renew(self, lease: Lease, now: float, ttl: float) -> Lease:
        """Prolong the lease. Raises LeaseLost when somebody took it."""
        with self._lock:
            run = self._holding(lease)
            run.row = msgspec.structs.replace(run.row, lease_until=now + ttl)
            return msgspec.structs.replace(lease, until=now + ttl)

    def release(self, lease: Lease) -> None:
        """Give the lease back; nothing happens when it was lost."""
        with self._lock:
            try:
                run = self._holding(lease)
            except LeaseLost:
                return
            run.row = msgspec.structs.replace(run.row, owner=None, lease_until=None)

    def _holding(self, lease: Lease) -> _Run:
        if self._closed:
            raise rules.closed()
        run = self._runs.get(lease.run_id)
        if run is None or (run.row.epoch, run.row.owner) != (lease.epoch, lease.owner):
            raise rules.lease_lost(lease.run_id)
        return run

    def post_signal(self, run_id: str, kind: str, data: Any, now: float) -> int:
        """Leave a message for the run's driver; return its number."""
        with self._lock:
            signals = self._run(run_id).signals
            # Through JSON and back, so that what a test sees is what a file would keep.
            data = msgspec.json.decode(msgspec.json.encode(data))
            signals.append(Signal(number=len(signals) + 1, run_id=run_id, kind=kind, data=data, at=now))
            return len(signals)

    def signals(self, run_id: str, after: int = 0) -> list[Signal]:
        """Return the messages after number ``after``."""
        with self._lock:
            return self._run(run_id).signals[max(after, 0) :]

    def get_run(self, run_id: str) -> RunRow:
        """Return one run. Raises StoreError ``run-not-found``."""
        with self._lock:
            return self._run(run_id).row

    def list_runs(
        self,
        *,
        status: str | None = None,
        workflow: str | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[RunRow]:
        """Return runs, newest first."""
        with self._lock:
            if self._closed:
                raise rules.closed()
            rows = [run.row for run in self._runs.values()]
        rows = [
            row
            for row in rows
            if (status is None or row.status == status)
            and (workflow is None or row.workflow == workflow)
            and (before is None or (row.created_at, row.run_id) < before)
        ]
        rows.sort(key=lambda row: (row.created_at, row.run_id), reverse=True)
        return rows[: max(limit, 0)]

    def find_runs(self, prefix: str, limit: int = 10) -> list[str]:
        """Return the ids of runs that begin with ``prefix``."""
        with self._lock:
            if self._closed:
                raise rules.closed()
            return sorted(run_id for run_id in self._runs if run_id.startswith(prefix))[: max(limit, 0)]

    def list_tasks(
        self,
        run_id: str,
        *,
        statuses: Sequence[str] = (),
        node: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[TaskRow]:
        """Return a page of task instances in order of number."""
        page: list[TaskRow] = []
        with self._lock:
            run = self._run(run_id)
            for position in range(bisect_right(run.numbers, after), len(run.numbers)):
                if len(page) >= limit:
                    break
                row = run.tasks[run.numbers[position]]
                if (not statuses or row.status in statuses) and (node is None or row.node == node):
                    page.append(row)
        return page

    def get_task(self, run_id: str, task: str) -> TaskRow | None:
        """Return the row of one task instance."""
        with self._lock:
            run = self._run(run_id)
            number = run.by_task.get(task)
            return None if number is None else run.tasks[number]

    def list_logs(
        self, run_id: str, *, task: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[tuple[int, LogLine]]:
        """Return log lines, oldest first, each with its number."""
        page: list[tuple[int, LogLine]] = []
        below = () if task is None else (f"{task}.", f"{task}[")
        with self._lock:
            logs = self._run(run_id).logs
            for position in range(max(after, 0), len(logs)):
                if len(page) >= limit:
                    break
                line = logs[position]
                if task is None or line.task == task or line.task.startswith(below):
                    page.append((position + 1, line))
        return page

    def get_entry(self, key: str, now: float) -> Entry | None:
        """Return what runs share under ``key``, None when nothing is there or it has expired."""
        with self._lock:
            if self._closed:
                raise rules.closed()
            entry = self._entries.get(key)
            return None if entry is None or rules.has_expired(entry.expires_at, now) else entry

    def put_entries(self, writes: Sequence[EntryWrite], now: float) -> list[bool]:
        """Write entries, each guarded by its version; per entry whether it was written."""
        with self._lock:
            if self._closed:
                raise rules.closed()
            for key in [key for key, entry in self._entries.items() if rules.has_expired(entry.expires_at, now)]:
                del self._entries[key]
            return [self._put(write) for write in writes]

    def _put(self, write: EntryWrite) -> bool:
        found = self._entries.get(write.key)
        version = 0 if found is None else found.version
        if write.version is not None and write.version != version:
            return False
        if write.data is None:
            self._entries.pop(write.key, None)
        else:
            self._entries[write.key] = Entry(
                key=write.key, data=write.data, version=version + 1, expires_at=write.expires_at
            )
        return True

    def prune(self, before: float, *, workflow: str | None = None, dry_run: bool = False) -> list[str]:
        """Delete ended runs that were created before ``before`` with all that is theirs; return their ids."""
        with self._lock:
            if self._closed:
                raise rules.closed()
            rows = sorted((run.row for run in self._runs.values()), key=lambda row: (row.created_at, row.run_id))
            ended = [
                row.run_id
                for row in rows
                if row.created_at < before
                and row.status in RUN_FINAL
                and (workflow is None or row.workflow == workflow)
                and (row.owner is None or row.lease_until is None or row.lease_until < before)
            ]
            if not dry_run:
                for run_id in ended:
                    del self._runs[run_id]
                used = set[str]().union(*(run.blobs for run in self._runs.values()))
                self._blobs = {digest: data for digest, data in self._blobs.items() if digest in used}
            return ended

    def backup(self, target: str) -> None:
        """Raise StoreError ``not-supported``: there is nothing on disk."""
        raise rules.no_backup("runs that are kept in memory cannot be backed up")

    def close(self) -> None:
        """Forget everything. Idempotent."""
        with self._lock:
            self._closed = True
            self._runs.clear()
            self._blobs.clear()
            self._entries.clear()

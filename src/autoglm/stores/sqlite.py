"""Runs in one SQLite file: the default store, with nothing to install beside it.

What an append does is one SQL statement (see ``append-procedure`` in ``sqlite.sql``), its task rows and log lines one
JSON text each: a thousand rows then cost the interpreter as much as one, and while SQLite works and waits for the disk,
the event loop runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from autoglm.base.errors import StoreError
from autoglm.engine.states import RUN_FINAL
from autoglm.stores import rules
from autoglm.stores.database import Database, make_place, queries, translated
from autoglm.stores.packing import bind, checked, clean, pack, run_row, unpack
from autoglm.stores.protocol import Append, Entry, EntryWrite, Lease, LogLine, RunRow, Signal, Stored, TaskRow
from autoglm.stores.watermark import Watermark

if TYPE_CHECKING:
    import apsw

READ_AHEAD = 4 * 1024 * 1024
"""Bytes of records that are read at once; between two such parts no snapshot is held."""
PRUNE_ROWS = 5000
"""Rows that one transaction deletes, so that others get their turn."""
KNOWN_RUNS = 1024
"""Runs whose numbers are remembered at most."""
LOW = 0xFFFFFFFF
"""The part of a row's id that is its number in its run."""

_encode = msgspec.json.encode


class SqliteStore:
    """Journals in the SQLite file at ``path``, which is made when it is not there.

    ``durability="full"`` survives a power cut: every group of appends is synced to the disk. ``"process"`` survives the
    death of the process only and is much faster on slow disks. ``busy_timeout`` is how many seconds another process may
    keep the file locked.

    Raises:
        StoreError: ``store-damaged``, ``store-foreign``, ``store-too-new``, ``store-read-only``, ``store-path``,
            ``store-busy``, ``disk-full``, or ``journal-truncated`` when records that were acknowledged are gone.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        durability: Literal["full", "process"] = "full",
        busy_timeout: float = 10.0,
    ) -> None:
        if durability not in {"full", "process"}:
            raise ValueError(f"durability is 'full' or 'process', not {durability!r}")
        self.path = Path(path).absolute()
        make_place(self.path)
        self._mark = Watermark(self.path.with_name(self.path.name + "-mark"))
        # Read before the file is: what is noted is then older than what the file must hold.
        marked = self._mark.read() if self.path.exists() else None
        synchronous = "full" if durability == "full" else "normal"
        self._db = Database(self.path, synchronous=synchronous, busy_timeout=busy_timeout)
        self._appends = 0
        self._run_nos: dict[str, int] = {}
        """The numbers of runs that were appended to; one that is no longer right is found out by the guard."""
        try:
            if marked is not None:
                self._check_mark(*marked)
        except BaseException:
            self.close()
            raise

    def _check_mark(self, run_id: str, seq: int) -> None:
        guard = self._guard(run_id)
        if guard is None:
            with self._db.reading() as db:
                if db.execute(queries()["is-doomed"], (run_id,)).fetchone():
                    return  # pruned, not lost
        last_seq = guard[2] if guard else 0
        if last_seq < seq:
            raise StoreError(
                f"the store {self.path} has lost records that it had acknowledged: at least the last {seq - last_seq} "
                f"of run {run_id}",
                code="journal-truncated",
                hint="copy the store's files away and restore a backup; to go on without those records, or if you put "
                f"an older copy here on purpose, delete {self._mark.path}",
            )

    # ------------------------------------------------------------------------------------------------- appending

    def create_run(self, row: RunRow) -> None:
        """Add a run without records. Raises StoreError ``run-exists``."""
        with self._db.writing() as db:
            if db.execute(queries()["get-guard"], (row.run_id,)).fetchone():
                raise rules.run_exists(row.run_id)
            values = (row.run_id, row.workflow, row.namespace, row.status, row.file)
            times = (row.created_at, row.updated_at, row.ended_at)
            maps = (_encode(row.labels).decode(), _encode(row.counts).decode())
            lease = (row.epoch, row.owner, row.lease_until)
            usage = _encode(row.usage).decode()
            db.execute(queries()["add-run"], (*map(clean, values), *times, *maps, clean(row.error), *lease, usage))

    def append(self, appends: Sequence[Append]) -> list[StoreError | None]:
        """Commit a group in one transaction; per append None, or why it was refused."""
        if not appends:
            return []
        first = appends[0]
        bound = [bind(append) for append in appends]
        if len(appends) == 1 and not first.blobs and not first.dropped:
            # A statement alone is its own transaction, and takes the write lock at once as BEGIN IMMEDIATE does.
            with self._db.lock, translated(self.path):
                results = [self._append(self._db.writer, first, bound[0])]
        else:
            blobs = [[(digest, *pack(data)) for digest, data in append.blobs.items()] for append in appends]
            with self._db.writing() as db:
                results = []
                for append, values, packed in zip(appends, bound, blobs, strict=True):
                    results.append(self._append(db, append, values))
                    if results[-1] is None:
                        if append.dropped:
                            new = [number for rows in append.tasks for number, *_ in rows.tasks]
                            gone = _encode(list(append.dropped)).decode()
                            db.execute(queries()["drop-tasks"], (append.run_id, gone, _encode(new).decode()))
                        for blob in packed:
                            db.execute(queries()["add-blob"], blob)
                            db.execute(queries()["link-blob"], (append.run_id, blob[0]))
        self._after_commit(appends, results)
        return results

    def _append(self, db: apsw.Connection, append: Append, values: tuple[Any, ...]) -> StoreError | None:
        run_no = self._run_nos.get(append.run_id)
        before = db.total_changes()
        db.execute(queries()["append"], (run_no, *values))
        if db.total_changes() != before:
            return None
        guard = db.execute(queries()["get-guard"], (append.run_id,)).fetchone()
        if guard is None:
            self._run_nos.pop(append.run_id, None)
            return rules.run_not_found(append.run_id)
        if guard[0] != run_no:  # the first append here, or another process pruned the run and made it anew
            if len(self._run_nos) >= KNOWN_RUNS:
                self._run_nos.clear()
            self._run_nos[append.run_id] = guard[0]
            return self._append(db, append, values)
        _, epoch, last_seq, _, _ = guard
        return rules.check_append(append, epoch, last_seq) or rules.lease_lost(append.run_id)

    def _after_commit(self, appends: Sequence[Append], results: Sequence[StoreError | None]) -> None:
        for append, result in zip(reversed(appends), reversed(results), strict=True):
            if result is None and append.payload:
                self._mark.write(append.run_id, append.seq)
                break
        self._appends += 1
        if self._appends % 16 == 0:
            with self._db.lock:
                self._db.tune()

    # --------------------------------------------------------------------------------------------------- reading

    def _guard(self, run_id: str) -> tuple[int, int, int, str | None, float | None] | None:
        """Return run_no, epoch, last_seq, owner and lease_until."""
        with self._db.reading() as db:
            found: tuple[int, int, int, str | None, float | None] | None
            found = db.execute(queries()["get-guard"], (run_id,)).fetchone()
            return found

    def _run_no(self, run_id: str) -> int:
        guard = self._guard(run_id)
        if guard is None:
            raise rules.run_not_found(run_id)
        return guard[0]

    def read(self, run_id: str, after: int = 0) -> Iterator[Stored]:
        """Return an iterator over the run's records after number ``after``, checked, in order."""
        guard = self._guard(run_id)
        if guard is None:
            raise rules.run_not_found(run_id)
        return self._read(run_id, guard[0], max(after, 0), guard[2])

    def _read(self, run_id: str, run_no: int, after: int, last_seq: int) -> Iterator[Stored]:
        while part := self._read_part(run_no, after):
            for row in part:
                if row[0] != after + 1:
                    break
                yield checked(run_id, row)
                after += 1
            else:
                continue
            break
        if after < last_seq:
            raise rules.damaged(f"record {after + 1} of run {run_id} is missing, of {last_seq}")

    def _read_part(self, run_no: int, after: int) -> list[Any]:
        """Return rows of (seq, crc, size, payload), as many as READ_AHEAD holds."""
        part: list[Any] = []
        size = 0
        base = run_no << 32
        with self._db.reading() as db:
            cursor = db.execute(queries()["read-records"], (base + min(after, LOW), base + LOW))
            for row in cursor:
                part.append(row)
                size += len(row[3])
                if size > READ_AHEAD:
                    break
            cursor.close(True)
        return part

    def get_record(self, run_id: str, seq: int) -> Stored:
        """Return one record. Raises StoreError ``record-not-found``."""
        guard = self._guard(run_id)
        if guard is None:
            raise rules.run_not_found(run_id)
        row = None
        if 1 <= seq <= LOW:
            with self._db.reading() as db:
                row = db.execute(queries()["get-record"], (guard[0] << 32 | seq,)).fetchone()
        if row is not None:
            return checked(run_id, row)
        if 1 <= seq <= guard[2]:
            raise rules.damaged(f"record {seq} of run {run_id} is missing, of {guard[2]}")
        raise rules.record_not_found(run_id, seq)

    def get_blob(self, digest: str) -> bytes:
        """Return a blob, its digest checked. Raises StoreError ``blob-not-found`` or ``journal-damaged``."""
        with self._db.reading() as db:
            row = db.execute(queries()["get-blob"], (digest,)).fetchone()
        if row is None:
            raise rules.blob_not_found(digest)
        data = unpack(*row)
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            raise rules.damaged(f"blob {digest} is not as it was written")
        return data

    # ---------------------------------------------------------------------------------------- leases and signals

    def acquire(self, run_id: str, owner: str, now: float, ttl: float, *, alive: bool | None = None) -> Lease:
        """Take the lease with a new epoch. Raises LeaseHeld."""
        with self._db.writing() as db:
            guard = db.execute(queries()["get-guard"], (run_id,)).fetchone()
            if guard is None:
                raise rules.run_not_found(run_id)
            held = (guard[1], guard[3], guard[4])
            lease = rules.grant(run_id, held, owner=owner, now=now, ttl=ttl, alive=alive)
            db.execute(queries()["take-lease"], (lease.epoch, owner, lease.until, run_id))
            return lease

    def renew(self, lease: Lease, now: float, ttl: float) -> Lease:
        """Prolong the lease. Raises LeaseLost when somebody took it."""
        with self._db.writing() as db:
            db.execute(queries()["renew-lease"], (now + ttl, lease.run_id, lease.epoch, lease.owner))
            if db.changes() == 0:
                raise rules.lease_lost(lease.run_id)
        return msgspec.structs.replace(lease, until=now + ttl)

    def release(self, lease: Lease) -> None:
        """Give the lease back; nothing happens when it was lost."""
        with self._db.writing() as db:
            db.execute(queries()["release-lease"], (lease.run_id, lease.epoch, lease.owner))

    def post_signal(self, run_id: str, kind: str, data: Any, now: float) -> int:
        """Leave a message for the run's driver; return its number."""
        text = _encode(data).decode()
        with self._db.writing() as db:
            guard = db.execute(queries()["get-guard"], (run_id,)).fetchone()
            if guard is None:
                raise rules.run_not_found(run_id)
            number: int = db.execute(queries()["add-signal"], (guard[0], clean(kind), text, now)).get
            return number

    def signals(self, run_id: str, after: int = 0) -> list[Signal]:
        """Return the messages after number ``after``."""
        low, high = self._ids(run_id, after)
        with self._db.reading() as db:
            rows: list[Any] = db.execute(queries()["list-signals"], (low, high)).fetchall()
        return [
            Signal(number=number, run_id=run_id, kind=kind, data=msgspec.json.decode(data), at=at)
            for number, kind, data, at in rows
        ]

    # ---------------------------------------------------------------------------------------- what people look at

    def _ids(self, run_id: str, after: int) -> tuple[int, int]:
        """Return the ids between which a run's rows with numbers above ``after`` lie."""
        base = self._run_no(run_id) << 32
        return base + min(max(after, 0), LOW), base + LOW

    def get_run(self, run_id: str) -> RunRow:
        """Return one run. Raises StoreError ``run-not-found``."""
        with self._db.reading() as db:
            row = db.execute(queries()["get-run"], (run_id,)).fetchone()
        if row is None:
            raise rules.run_not_found(run_id)
        return run_row(row)

    def list_runs(
        self,
        *,
        status: str | None = None,
        workflow: str | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[RunRow]:
        """Return runs, newest first; ``before`` is (created_at, run_id) of the last row of the page before."""
        created_at, run_id = before if before is not None else (float("inf"), "")
        with self._db.reading() as db:
            values = (status, workflow, created_at, run_id, max(limit, 0))
            return [run_row(row) for row in db.execute(queries()["list-runs"], values)]

    def find_runs(self, prefix: str, limit: int = 10) -> list[str]:
        """Return the ids of runs that begin with ``prefix``."""
        with self._db.reading() as db:
            values = (prefix, prefix + "\U0010ffff", max(limit, 0))
            rows: list[Any] = db.execute(queries()["find-runs"], values).fetchall()
        return [str(row[0]) for row in rows]

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
        low, high = self._ids(run_id, after)
        limit = max(limit, 0)
        page: list[TaskRow] = []
        with self._db.reading() as db:
            # A page of each status, merged: each comes from its index in order, and nothing large is ever sorted.
            for status in set(statuses) or (None,):
                if status not in {None, "succeeded"}:
                    query = "list-unusual-tasks"
                else:
                    query = "list-tasks" if node is None else "list-node-tasks"
                rows = db.execute(queries()[query], (low, high, node, status, limit))
                page.extend(TaskRow(*row) for row in rows)
        page.sort(key=lambda row: row.number)
        return page[:limit]

    def get_task(self, run_id: str, task: str) -> TaskRow | None:
        """Return the row of one task instance."""
        run_no = self._run_no(run_id)
        with self._db.reading() as db:
            row = db.execute(queries()["get-task"], (run_no, task)).fetchone()
        return None if row is None else TaskRow(*row)

    def list_logs(
        self, run_id: str, *, task: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[tuple[int, LogLine]]:
        """Return log lines, oldest first, each with its number; ``task`` also matches what lies below it."""
        low, high = self._ids(run_id, after)
        with self._db.reading() as db:
            rows = db.execute(queries()["list-logs"], (low, high, task, max(limit, 0)))
            return [(row[0], LogLine(*row[1:])) for row in rows]

    # ------------------------------------------------------------------------------------------ what runs share

    def get_entry(self, key: str, now: float) -> Entry | None:
        """Return what runs share under ``key``, None when nothing is there or it has expired."""
        with self._db.reading() as db:
            row: Any = db.execute(queries()["get-entry"], (key, now)).fetchone()
        if row is None:
            return None
        version, expires_at, size, kept = row
        data = unpack(size, kept)
        if data is None:
            raise rules.damaged(f"the entry {key} is not as it was written")
        return Entry(key=key, data=data, version=version, expires_at=expires_at)

    def put_entries(self, writes: Sequence[EntryWrite], now: float) -> list[bool]:
        """Write entries in one transaction, each guarded by its version; per entry whether it was written."""
        done = []
        with self._db.writing() as db:
            db.execute(queries()["forget-expired"], (now, PRUNE_ROWS))
            for write in writes:
                if write.data is None:
                    db.execute(queries()["forget-entry"], (write.key, write.version))
                    done.append(db.changes() > 0 or not write.version)
                    continue
                size, kept = pack(write.data)
                db.execute(queries()["put-entry"], (write.key, write.version, write.expires_at, size, kept))
                done.append(db.changes() > 0)
        return done

    # ------------------------------------------------------------------------------------------------ housekeeping

    def prune(self, before: float, *, workflow: str | None = None, dry_run: bool = False) -> list[str]:
        """Delete ended runs that were created before ``before`` with all that is theirs; return their ids.

        They vanish at once and together; their rows then go in many small transactions. A prune that was interrupted
        is finished by the next one.
        """
        with self._db.writing() as db:
            values = (before, _encode(sorted(RUN_FINAL)).decode(), workflow)
            found: list[Any] = db.execute(queries()["list-prunable"], values).fetchall()
            if not dry_run:
                db.executemany(queries()["doom-run"], found)
                db.executemany(queries()["delete-run"], [(run_no,) for run_no, _ in found])
        pruned = [run_id for _, run_id in found]
        if not dry_run:
            marked = self._mark.read()
            if marked and marked[0] in pruned:
                self._mark.clear()
            self._delete_doomed()
        return pruned

    def _delete_doomed(self) -> None:
        steps = ("records", "tasks", "logs", "signals", "blobs")
        with self._db.reading() as db:
            rows: list[Any] = db.execute(queries()["list-doomed"]).fetchall()
        for (run_no,) in rows:
            for step in (*(f"delete-{step}" for step in steps), "unlink-blobs"):
                self._delete_all(step, run_no)
            with self._db.writing() as db:
                db.execute(queries()["forget-doomed"], (run_no,))
        if rows:
            self._db.shrink()

    def _delete_all(self, step: str, run_no: int) -> None:
        deleted = PRUNE_ROWS
        while deleted == PRUNE_ROWS:
            with self._db.writing() as db:
                db.execute(queries()[step], (run_no, PRUNE_ROWS))
                deleted = db.changes()

    def backup(self, target: str) -> None:
        """Write a consistent copy to the new file ``target``, while runs go on. Raises StoreError ``backup-failed``."""
        path = Path(target).absolute()
        part = path.with_name(path.name + ".part")
        try:
            if path.exists():
                raise StoreError(
                    f"{path} exists already", code="backup-failed", hint="name a new file: none is overwritten"
                )
            if not path.parent.is_dir():
                raise NotADirectoryError(f"there is no folder {path.parent}")
            part.unlink(missing_ok=True)
            try:
                self._db.backup(part)
                part.rename(path)
            finally:
                part.unlink(missing_ok=True)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"the backup {target!r} cannot be written: {error}",
                code="backup-failed",
                hint="name a new file in a folder that can be written",
            ) from error

    def close(self) -> None:
        """Give every resource back. Idempotent."""
        self._db.close()
        self._mark.close()

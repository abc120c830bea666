"""The SQLite store keeps the rules of the port, with either durability."""

from __future__ import annotations

from pathlib import Path

import apsw

from autoglm.stores.protocol import Store
from autoglm.stores.sqlite import SqliteStore
from autoglm.testing import StoreTests
from autoglm.testing.stores import NOW, RUN, codes, record, row


def change(path: Path, statement: str, *values: object) -> None:
    """Change the closed store behind its back."""
    db = apsw.Connection(str(path))
    db.execute(statement, values)
    assert db.changes() == 1
    db.close()


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


class TestSqlite(StoreTests):
    durable = True
    durability = "full"

    def make_store(self, folder: Path) -> Store:
        return SqliteStore(folder / "runs.db", durability=self.durability)

    def damage_record(self, folder: Path, run_id: str, seq: int) -> None:
        db = apsw.Connection(str(folder / "runs.db"))
        (payload,) = db.execute("SELECT payload FROM journal WHERE id & 0xffffffff = ?", (seq,)).fetchone()
        db.close()
        change(folder / "runs.db", "UPDATE journal SET payload = ? WHERE id & 0xffffffff = ?", flipped(payload), seq)

    def damage_blob(self, folder: Path, digest: str) -> None:
        db = apsw.Connection(str(folder / "runs.db"))
        (data,) = db.execute("SELECT data FROM blobs WHERE digest = ?", (digest,)).fetchone()
        db.close()
        change(folder / "runs.db", "UPDATE blobs SET data = ? WHERE digest = ?", flipped(data), digest)

    def drop_record(self, folder: Path, run_id: str, seq: int) -> None:
        change(folder / "runs.db", "DELETE FROM journal WHERE id & 0xffffffff = ?", seq)


class TestSqliteProcess(TestSqlite):
    durability = "process"


def test_log_is_laid_out_before_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "runs.db-wal"
    store = SqliteStore(tmp_path / "runs.db")
    store.create_run(row())
    lengths = []
    for seq in range(1, 101):
        assert store.append([record(seq)]) == [None]
        lengths.append(log.stat().st_size)
    assert lengths == sorted(lengths)
    assert len(set(lengths[20:])) == 1  # it grew with each commit, then once for all that follow
    other = SqliteStore(tmp_path / "runs.db")
    assert len(list(other.read(RUN))) == 100
    other.close()
    store.close()
    assert not log.exists()


def test_log_of_a_store_that_waits_for_no_disk_is_not_laid_out(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", durability="process")
    store.create_run(row())
    for seq in range(1, 41):
        assert store.append([record(seq)]) == [None]
    content = (tmp_path / "runs.db-wal").read_bytes()
    assert content[-1024:].rstrip(b"\0")
    store.close()


def test_run_that_was_pruned_and_made_anew_elsewhere_takes_records(tmp_path: Path) -> None:
    store, other = SqliteStore(tmp_path / "runs.db"), SqliteStore(tmp_path / "runs.db")
    store.create_run(row(status="succeeded"))
    assert store.append([record(1), record(2)]) == [None, None]
    assert other.prune(NOW + 1) == [RUN]
    assert codes(store.append([record(3)])) == ["run-not-found"]
    other.create_run(row())
    assert store.append([record(1)]) == [None]
    assert other.append([record(2)]) == [None]
    other.prune(NOW + 1)
    assert [stored.seq for stored in store.read(RUN)] == [1, 2]
    other.close()
    store.close()

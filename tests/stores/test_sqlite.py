"""The SQLite store keeps the rules of the port, with either durability."""

from __future__ import annotations

from pathlib import Path

import apsw

from autoglm.stores.protocol import EntryWrite, Store
from autoglm.stores.sqlite import SqliteStore
from autoglm.testing import StoreTests
from autoglm.testing.stores import NOW, RUN, row


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
        (payload,) = db.execute("SELECT payload FROM journal WHERE seq = ?", (seq,)).fetchone()
        db.close()
        change(folder / "runs.db", "UPDATE journal SET payload = ? WHERE seq = ?", flipped(payload), seq)

    def damage_blob(self, folder: Path, digest: str) -> None:
        db = apsw.Connection(str(folder / "runs.db"))
        (data,) = db.execute("SELECT data FROM blobs WHERE digest = ?", (digest,)).fetchone()
        db.close()
        change(folder / "runs.db", "UPDATE blobs SET data = ? WHERE digest = ?", flipped(data), digest)

    def drop_record(self, folder: Path, run_id: str, seq: int) -> None:
        change(folder / "runs.db", "DELETE FROM journal WHERE seq = ?", seq)


class TestSqliteProcess(TestSqlite):
    durability = "process"


def test_store_of_the_first_version_gets_what_runs_share(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    store = SqliteStore(path)
    store.create_run(row())
    store.close()
    old = apsw.Connection(str(path))
    old.execute("DROP TABLE entries; ALTER TABLE runs DROP COLUMN usage; PRAGMA user_version = 1")
    old.close()
    store = SqliteStore(path)
    assert store.get_run(RUN).workflow == "flow"
    assert store.put_entries([EntryWrite(key="a", data=b"1")], NOW) == [True]
    store.close()

"""A store file of any older version opens, keeps what it holds, and is then as one that was made today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from autoglm.base.errors import StoreError
from autoglm.stores.database import APPLICATION_ID, SCHEMA_VERSION, queries
from autoglm.stores.protocol import EntryWrite, LogLine, TaskRow
from autoglm.stores.sqlite import SqliteStore
from autoglm.testing.stores import NOW, RUN, digest_of, record, row

OTHER = "20261123-141500-bbbb"
FIRST = Path(__file__).with_name("schema_1.sql")
BLOB = b"blob" * 5000
ARRIVAL = (
    "INSERT INTO journal SELECT rowid, id >> 32, id & 0xffffffff, crc, size, payload FROM new.journal ORDER BY crc"
)
"""Records of several runs lay in their order of arrival: any that is not the order of their numbers will do."""


def fill(path: Path) -> None:
    """Make a store of today with two runs."""
    store = SqliteStore(path)
    for run_id in (RUN, OTHER):
        store.create_run(row(run_id))
    for seq in range(1, 21):
        for run_id in (RUN, OTHER):
            rows = [
                TaskRow(2 * seq, f"loop[{seq}]", "loop", "running" if seq == 20 else "succeeded"),
                TaskRow(2 * seq + 1, f"t{seq}", f"t{seq}", "failed" if seq == 7 else "succeeded"),
            ]
            line = LogLine(NOW, f"t{seq}", 1, "stdout", f"line {seq}")
            blobs = {digest_of(BLOB): BLOB} if seq == 1 else {}
            append = record(seq, run_id=run_id, tasks=rows, logs=[line], blobs=blobs)
            assert store.append([append]) == [None]
    store.post_signal(RUN, "cancel", "enough", NOW)
    store.close()


def make_old(path: Path, version: int) -> None:
    """Make a store of an older version that holds the same."""
    fill(path.with_name("new.db"))
    db = apsw.Connection(str(path))
    db.execute(FIRST.read_text())
    for later in range(2, version + 1):
        db.execute(queries()[f"schema-{later}"])
    db.execute("ATTACH ? AS new", (str(path.with_name("new.db")),))
    for (table,) in db.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall():
        if table.startswith("sqlite_"):
            continue
        if table == "journal" and version < 4:
            db.execute(ARRIVAL)
            continue
        names = ", ".join(str(column[1]) for column in db.execute(f"PRAGMA main.table_info({table})"))
        db.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM new.{table}")
    db.pragma("application_id", APPLICATION_ID)
    db.pragma("user_version", version)
    db.close()


def contents(store: SqliteStore) -> list[Any]:
    """Return whatever can be asked of the two runs."""
    found: list[Any] = [store.list_runs(), store.signals(RUN), store.get_blob(digest_of(BLOB))]
    for run_id in (RUN, OTHER):
        found += [list(store.read(run_id)), list(store.read(run_id, after=7)), store.get_record(run_id, 20)]
        found += [store.list_tasks(run_id), store.list_tasks(run_id, node="loop", limit=3, after=9)]
        found += [store.list_tasks(run_id, node="t7"), store.list_tasks(run_id, statuses=["failed", "running"])]
        found += [store.get_task(run_id, "loop[3]"), store.list_logs(run_id)]
    return found


def schema(path: Path) -> list[Any]:
    """Return every table's columns, and every index with what it leaves out."""
    db = apsw.Connection(str(path))
    names = db.execute("SELECT type, name, tbl_name FROM sqlite_schema ORDER BY name").fetchall()
    columns = [db.execute(f"PRAGMA table_info({name})").fetchall() for kind, name, _ in names if kind == "table"]
    indexes = db.execute("SELECT sql FROM sqlite_schema WHERE type = 'index' ORDER BY name").fetchall()
    found = [names, columns, indexes, db.pragma("user_version")]
    db.close()
    return found


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_older_store_is_upgraded_with_all_it_holds(version: int, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    make_old(path, version)
    new, old = SqliteStore(tmp_path / "new.db"), SqliteStore(path)
    found = contents(old)
    assert found == contents(new)
    assert len(found[3]) == 20
    assert [each.number for each in found[7]] == [10, 12, 14]
    assert old.append([record(21), record(21, run_id=OTHER)]) == [None, None]
    assert old.get_record(OTHER, 21).payload == b'{"n":21}'
    assert old.put_entries([EntryWrite(key="a", data=b"1")], NOW) == [True]
    new.close()
    old.close()
    assert schema(path) == schema(tmp_path / "new.db")


def test_upgrade_that_cannot_be_finished_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    make_old(path, 3)
    db = apsw.Connection(str(path))
    db.execute("INSERT INTO journal SELECT 1000, run_no, seq + 4294967296, crc, size, payload FROM journal LIMIT 1")
    db.close()
    before = schema(path)
    with pytest.raises(StoreError):  # two records of one number: somebody else wrote here
        SqliteStore(path)
    assert schema(path) == before
    db = apsw.Connection(str(path))
    assert db.execute("SELECT count(*) FROM journal").get == 41
    db.close()

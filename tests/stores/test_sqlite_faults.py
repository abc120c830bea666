"""What can happen to a SQLite file: each has a code and a hint, and leaves what was acknowledged intact."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from autoglm.base.errors import StoreError
from autoglm.engine.states import RUN_FINAL
from autoglm.stores.protocol import Append, LogLine, RunRow, RunUpdate, TaskRow, TaskRows
from autoglm.stores.sqlite import SqliteStore

RUN = "run-1"


def append(seq: int, payload: bytes = b"{}", run_id: str = RUN, epoch: int = 0, status: str = "running") -> Append:
    update = RunUpdate(status=status, updated_at=float(seq))
    return Append(run_id=run_id, epoch=epoch, seq=seq, payload=payload, update=update)


def made(path: Path, records: int = 0) -> SqliteStore:
    store = SqliteStore(path)
    store.create_run(RunRow(run_id=RUN, workflow="flow"))
    for seq in range(1, records + 1):
        assert store.append([append(seq)]) == [None]
    return store


def refusal(path: Path | str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        SqliteStore(path, busy_timeout=0.1)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


# ------------------------------------------------------------------------------------------------------ the file


@pytest.mark.parametrize(
    "content", [b"hello", b"x" * 100, b"not a database at all " * 1000, os.urandom(8192), b"\0" * 9]
)
def test_file_that_is_no_database_is_refused_and_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert refusal(path).code == "store-damaged"
    assert path.read_bytes() == content


def test_damaged_pages_are_said(path: Path) -> None:
    made(path, 300).close()
    content = bytearray(path.read_bytes())
    content[2048:-2048] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        list(SqliteStore(path).read(RUN))
    assert caught.value.code == "store-damaged"


def test_cut_file_is_said(path: Path) -> None:
    made(path, 300).close()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StoreError) as caught:
        list(SqliteStore(path).read(RUN))
    assert caught.value.code in {"store-damaged", "journal-truncated"}


def test_emptied_file_is_said(path: Path) -> None:
    made(path, 3).close()
    path.write_bytes(b"")
    assert refusal(path).code == "journal-truncated"


def test_file_of_another_program_is_refused(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = path.read_bytes()
    assert refusal(path).code == "store-foreign"
    assert path.read_bytes() == before


def test_newer_schema_is_refused(path: Path) -> None:
    made(path, 1).close()
    db = apsw.Connection(str(path))
    db.pragma("user_version", 99)
    db.close()
    assert refusal(path).code == "store-too-new"


@pytest.mark.parametrize("place", ["", "file/below.db", "nul\0.db", "x" * 300])
def test_path_that_cannot_be_is_said(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    assert refusal(tmp_path / place).code in {"store-path", "store-failed"}


def test_folders_are_made(tmp_path: Path) -> None:
    made(tmp_path / "a" / "b" / "runs.db", 1).close()
    assert (tmp_path / "a" / "b" / "runs.db").is_file()


def mounted(folder: Path, *options: str) -> bool:
    """Mount a small file system of its own, where the machine allows it."""
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted(folder, "size=3m"):
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_takes_nothing_of_the_group_and_is_got_over(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * 1_200_000)
    store = made(small_disk / "runs.db")
    acknowledged = 0

    def fill() -> None:
        nonlocal acknowledged
        while acknowledged < 1000:
            group = [append(acknowledged + n, os.urandom(20_000)) for n in (1, 2, 3)]
            assert store.append(group) == [None] * 3
            acknowledged += 3

    with pytest.raises(StoreError) as caught:
        fill()
    assert caught.value.code == "disk-full"
    assert store.get_run(RUN).last_seq == acknowledged == len(list(store.read(RUN)))
    (small_disk / "filler").unlink()
    assert store.append([append(acknowledged + 1)]) == [None]
    store.close()
    again = SqliteStore(small_disk / "runs.db")
    assert len(list(again.read(RUN))) == acknowledged + 1
    again.close()


def test_full_disk_from_the_start_is_said(small_disk: Path) -> None:
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(b"x" * 4_000_000)
    assert refusal(small_disk / "runs.db").code == "disk-full"
    filler.unlink()
    made(small_disk / "runs.db", 1).close()


def test_read_only_place_is_said(small_disk: Path) -> None:
    made(small_disk / "runs.db", 1).close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert refusal(small_disk / "runs.db").code == "store-read-only"
    assert refusal(small_disk / "other.db").code == "store-read-only"
    assert refusal(small_disk / "new" / "other.db").code == "store-read-only"


# ------------------------------------------------------------------------------------------------- the watermark


def crashed(path: Path, copy: Path) -> Path:
    """Return a copy of an open store as a crash would leave it: with its log not written back."""
    for suffix in ("", "-wal", "-mark"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    return copy


def test_log_of_a_crash_is_read_whole(path: Path, tmp_path: Path) -> None:
    store = made(path, 40)
    copy = crashed(path, tmp_path / "copy.db")
    store.close()
    again = SqliteStore(copy)
    assert len(list(again.read(RUN))) == 40
    again.close()


def test_log_cut_by_damage_is_said(path: Path, tmp_path: Path) -> None:
    store = made(path, 40)
    copy = crashed(path, tmp_path / "copy.db")
    store.close()
    log = tmp_path / "copy.db-wal"
    content = bytearray(log.read_bytes())
    used = len(content.rstrip(b"\0"))  # zeros are laid out behind what is written
    content[used * 3 // 4] ^= 1
    log.write_bytes(content)
    caught = refusal(copy)
    assert caught.code == "journal-truncated"
    assert RUN in str(caught)
    # Deleting the note, as the hint says, accepts the loss.
    (tmp_path / "copy.db-mark").unlink()
    accepted = SqliteStore(copy)
    last = accepted.get_run(RUN).last_seq
    assert 0 < last < 40
    assert len(list(accepted.read(RUN))) == last
    assert accepted.append([append(last + 1)]) == [None]
    accepted.close()


def test_older_copy_put_in_place_is_said(path: Path, tmp_path: Path) -> None:
    store = made(path, 5)
    store.backup(str(tmp_path / "older.db"))
    for seq in range(6, 9):
        store.append([append(seq)])
    store.close()
    shutil.copy(tmp_path / "older.db", path)
    assert "at least the last 3" in str(refusal(path))


def test_pruned_and_deleted_stores_are_not_taken_for_lost(path: Path) -> None:
    store = made(path, 3)
    store.append([append(4, status="succeeded")])
    assert store.prune(1.0) == [RUN]
    store.close()
    SqliteStore(path).close()
    made(path, 9).close()
    path.unlink()
    SqliteStore(path).close()


@pytest.mark.parametrize("note", [b"", b"\n", b"garbage", b"x y\n", b"\xff\xfe\n", b"99"])
def test_unreadable_note_is_no_error(path: Path, note: bytes) -> None:
    made(path, 3).close()
    (path.parent / "runs.db-mark").write_bytes(note)
    SqliteStore(path).close()


# --------------------------------------------------------------------------------------------- several processes


def test_two_processes_make_and_use_one_store(path: Path) -> None:
    program = """
import sys
from autoglm.stores.protocol import Append, RunRow
from autoglm.stores.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
run_id = sys.argv[2]
store.create_run(RunRow(run_id=run_id, workflow="flow"))
epoch = store.acquire(run_id, run_id, 0.0, 60.0).epoch
for seq in range(1, 101):
    assert store.append([Append(run_id=run_id, epoch=epoch, seq=seq, payload=b"{}")]) == [None]
    assert store.get_run(run_id).last_seq == seq
store.close()
"""
    commands = [[sys.executable, "-c", program, str(path), name] for name in ("a", "b", "c")]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    for process in running:
        assert process.communicate() == (None, b"")
        assert process.returncode == 0
    store = SqliteStore(path)
    assert [len(list(store.read(name))) for name in "abc"] == [100] * 3
    store.close()


def test_two_stores_of_one_file_fence_each_other(path: Path) -> None:
    one = made(path)
    two = SqliteStore(path)
    old = one.acquire(RUN, "one", 0.0, 1.0)
    assert one.append([append(1, epoch=old.epoch)]) == [None]
    new = two.acquire(RUN, "two", 2.0, 30.0)
    assert [error.code for error in one.append([append(2, epoch=old.epoch)]) if error] == ["lease-lost"]
    assert two.append([append(2, epoch=new.epoch)]) == [None]
    assert len(list(one.read(RUN))) == 2
    one.close()
    two.close()


def test_file_locked_by_another_is_waited_for_then_said(path: Path) -> None:
    made(path, 1).close()
    store = SqliteStore(path, busy_timeout=0.05)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    for write in (lambda: store.append([append(2)]), lambda: store.acquire(RUN, "me", 0.0, 1.0)):
        with pytest.raises(StoreError) as caught:
            write()
        assert caught.value.code == "store-busy"
    assert len(list(store.read(RUN))) == 1  # readers need not wait
    other.execute("ROLLBACK")
    assert store.append([append(2)]) == [None]
    other.close()
    store.close()


def test_lock_that_is_given_up_in_time_is_no_error(path: Path) -> None:
    made(path, 1).close()
    store = SqliteStore(path)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    results: list[list[StoreError | None]] = []
    writer = threading.Thread(target=lambda: results.append(store.append([append(2)])))
    writer.start()
    other.execute("COMMIT")
    writer.join()
    assert results == [[None]]
    other.close()
    store.close()


# ------------------------------------------------------------------------------------------ size, backup, pruning


def test_store_of_400_steps_of_a_kilobyte_stays_small(path: Path) -> None:
    store = made(path)
    for seq in range(1, 401):
        rows = [TaskRow(seq, f"step{seq}", f"step{seq}", "succeeded"), TaskRow(seq + 1, f"s{seq + 1}", "s", "running")]
        added = append(seq, os.urandom(512).hex().encode())
        tasks = TaskRows.of(rows)
        assert store.append([Append(run_id=RUN, epoch=0, seq=seq, payload=added.payload, tasks=tasks)]) == [None]
    assert sum(file.stat().st_size for file in path.parent.iterdir()) <= 2_000_000
    store.close()
    assert sum(file.stat().st_size for file in path.parent.iterdir()) <= 1_000_000


def test_pruned_room_is_given_back(path: Path) -> None:
    store = made(path)
    for seq in range(1, 201):
        rows = [TaskRow(seq * 100 + n, f"t[{seq * 100 + n}]", "t", "failed") for n in range(100)]
        logs = [LogLine(0.0, "t", 1, "log", "line " * 10)] * 50
        payload = os.urandom(5000)
        store.append([Append(run_id=RUN, epoch=0, seq=seq, payload=payload, tasks=TaskRows.of(rows), logs=logs)])
    store.append([append(201, status="failed")])
    before = path.stat().st_size
    assert store.prune(1.0) == [RUN]
    assert path.stat().st_size < before / 20
    store.close()


def test_interrupted_prune_is_finished_by_the_next(path: Path) -> None:
    made(path, 3).close()
    db = apsw.Connection(str(path))
    db.execute("INSERT INTO doomed SELECT run_no, run_id FROM runs; DELETE FROM runs")
    db.close()
    store = SqliteStore(path)  # its records are pruned, not lost
    assert store.list_runs() == []
    assert store.prune(1.0) == []
    store.close()
    db = apsw.Connection(str(path))
    assert db.execute("SELECT count(*) FROM journal").get == 0
    assert db.execute("SELECT count(*) FROM doomed").get == 0
    db.close()


def test_backup_is_consistent_while_runs_go_on(path: Path, tmp_path: Path) -> None:
    store = made(path)
    stop, started = threading.Event(), threading.Event()

    def write() -> None:
        seq = 0
        while not stop.is_set():
            seq += 1
            store.append([append(seq, os.urandom(2000))])
            if seq == 20:
                started.set()

    writer = threading.Thread(target=write)
    writer.start()
    started.wait()
    try:
        store.backup(str(tmp_path / "copy.db"))
    finally:
        stop.set()
        writer.join()
    copy = SqliteStore(tmp_path / "copy.db")
    assert len(list(copy.read(RUN))) == copy.get_run(RUN).last_seq >= 20
    copy.close()
    store.close()


@pytest.mark.parametrize("target", ["runs.db", "no/such/folder.db", "nul\0.db"])
def test_backup_that_cannot_be_is_said(path: Path, target: str) -> None:
    store = made(path, 1)
    with pytest.raises(StoreError) as caught:
        store.backup(str(path.parent / target))
    assert caught.value.code == "backup-failed"
    assert len(list(store.read(RUN))) == 1
    store.close()


def test_statuses_that_prune_takes_are_those_that_end_a_run(path: Path) -> None:
    store = SqliteStore(path)
    for status in ("pending", "running", "paused", "cancelling", *RUN_FINAL):
        store.create_run(RunRow(run_id=status, workflow="flow", status=str(status)))
    assert sorted(store.prune(1.0)) == sorted(RUN_FINAL)
    store.close()


def test_every_statement_is_described(path: Path) -> None:
    from autoglm.stores.database import queries

    for name, statement in queries().items():
        assert statement.startswith("-- "), name


def test_a_log_whose_file_is_gone_is_not_taken_for_that_of_a_new_one(tmp_path: Path) -> None:
    """Old commits would be played into the new file."""
    path, log = tmp_path / "s.db", tmp_path / "s.db-wal"
    with closing(SqliteStore(path)) as old:
        old.create_run(RunRow(run_id=RUN, workflow="flow"))
        left = log.read_bytes()
    path.unlink()
    log.write_bytes(left)
    with closing(SqliteStore(path)) as new:
        assert new.list_runs() == []

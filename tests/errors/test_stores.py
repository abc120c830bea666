"""What can happen to the place where journals live, and to what stands in it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from autoglm.runtime.owner import this_process
from autoglm.stores.memory import MemoryStore
from autoglm.stores.protocol import Append, EntryWrite, RunRow, RunUpdate
from autoglm.stores.shared import change_entry
from autoglm.stores.sqlite import SqliteStore
from tests.errors.scene import Scene

FLOW = "tasks: [{name: a, handler: one}]"


def store_path(scene: Scene) -> Path:
    return scene.root / ".autoglm" / "autoglm.db"


def done(scene: Scene, *runs: str) -> Path:
    """Let runs succeed, and return the store's file."""
    scene.write("tasks/one.py", "def one(): return 1\n")
    scene.write("flow.yaml", FLOW)
    for run in runs:
        assert scene.autoglm("run", "flow.yaml", "-q", "--run-id", run, quietly=True) == 0
    return store_path(scene)


@contextmanager
def opened(path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(path, busy_timeout=0.05)) as store:
        yield store


def append(seq: int, epoch: int = 0, payload: bytes = b'{"at":1,"events":[]}', run: str = "r") -> Append:
    return Append(
        run_id=run, epoch=epoch, seq=seq, payload=payload, update=RunUpdate(status="running", updated_at=float(seq))
    )


def changed(path: Path, statement: str, *values: object) -> None:
    with closing(apsw.Connection(str(path))) as db:
        db.execute(statement, values)


def test_files_that_are_no_store(scene: Scene) -> None:
    good = done(scene, "r")
    newer, foreign, damaged = (scene.root / name for name in ("newer.db", "foreign.db", "damaged.db"))
    shutil.copy(good, newer)
    changed(newer, "PRAGMA user_version = 99")
    changed(foreign, "CREATE TABLE theirs (x)")
    damaged.write_bytes(good.read_bytes()[:100] + b"\xff" * 5000)
    for place in ("newer.db", "foreign.db", "damaged.db", "tasks", "/sys/autoglm/runs.db"):
        scene.autoglm("list", "--store", place)
    scene.shows("store-too-new", "store-foreign", "store-damaged", "store-path", "store-read-only")


def test_a_folder_for_the_store_that_cannot_be_made(scene: Scene) -> None:
    scene.write(".autoglm", "a file")
    scene.autoglm("list")
    scene.shows("state-folder")


def test_a_full_disk(scene: Scene) -> None:
    disk = scene.root / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        (disk / "filler").write_bytes(b"x" * 1_000_000)
        scene.autoglm("list", "--store", "disk/runs.db")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    scene.shows("disk-full")


def test_a_disk_that_fails(scene: Scene) -> None:
    done(scene)
    scene.write("tasks/many.py", "import random\n\ndef many(): return random.Random(1).randbytes(2_000_000).hex()\n")
    scene.write("flow.yaml", "tasks: [{name: a, handler: many}]")
    scene.autoglm_apart("run", "flow.yaml", "-q", "--run-id", "r", before="ulimit -f 400")
    scene.shows("store-failed")


def test_a_store_that_another_process_holds(scene: Scene) -> None:
    path = done(scene, "r")
    with opened(path) as store, closing(apsw.Connection(str(path))) as other:
        other.execute("BEGIN IMMEDIATE")
        with scene.refuses("a run is added while another process writes"):
            store.create_run(RunRow(run_id="r2", workflow="flow"))
        other.execute("ROLLBACK")
    scene.shows("store-busy")


def test_records_that_are_lost_or_changed(scene: Scene) -> None:
    path = done(scene, "r1", "r2")
    shutil.copy(path, scene.root / "older.db")
    changed(path, "UPDATE journal SET payload = ? WHERE id & 0xffffffff = 1", random.Random(1).randbytes(80))
    scene.autoglm("show", "r1")
    scene.autoglm("resume", "r1")
    changed(path, "DELETE FROM journal WHERE id & 0xffffffff = 1")
    scene.autoglm("show", "r1")
    shutil.copy(scene.root / "older.db", path)
    done(scene, "r3")
    shutil.copy(scene.root / "older.db", path)
    scene.autoglm("list")
    scene.shows("journal-damaged", "journal-truncated")


def test_a_journal_of_a_newer_version(scene: Scene) -> None:
    path = done(scene, "r1")
    with opened(path) as store:
        first = store.get_record("r1", 1).payload
    created = b'"run_created"'
    for name, old, new in (("r2", created, created + b',"format":99'), ("r3", created, b'"run_dreamt"')):
        assert old in first
        with opened(path) as store:
            store.create_run(RunRow(run_id=name, workflow="flow", status="running"))
            assert store.append([append(1, payload=first.replace(old, new), run=name)]) == [None]
        scene.autoglm("resume", name)
    scene.shows("journal-too-new")


def test_a_record_that_is_none(scene: Scene) -> None:
    path = done(scene)
    with opened(path) as store:
        store.create_run(RunRow(run_id="r", workflow="flow", status="running"))
        assert store.append([append(1, payload=b'{"at":1,')]) == [None]
    scene.autoglm("show", "r")
    scene.shows("journal-damaged")


def test_blobs_and_entries_that_are_changed(scene: Scene) -> None:
    path = done(scene, "r")
    with opened(path) as store:
        store.put_entries([EntryWrite(key="cache/1", data=b"x" * 5000, version=0, expires_at=None)], 1.0)
    changed(path, "UPDATE entries SET data = ?", random.Random(1).randbytes(80))
    changed(path, "UPDATE blobs SET data = ?", random.Random(1).randbytes(80))
    with opened(path) as store, scene.refuses("an entry is looked for"):
        store.get_entry("cache/1", 1.0)
    scene.autoglm("retry", "r", "--from", "a")
    scene.shows("journal-damaged")


def test_an_entry_that_others_change_all_the_time(scene: Scene) -> None:
    with opened(done(scene)) as store:

        def change(old: bytes | None) -> tuple[bytes, None]:
            version = int(old or b"0")
            store.put_entries(
                [EntryWrite(key="day", data=b"%d" % (version + 1), version=version, expires_at=None)], 1.0
            )
            return b"ours", None

        with scene.refuses("an entry is changed, and another process is faster each time"):
            change_entry(store, "day", 1.0, change)
    scene.shows("store-busy")


def test_who_drives_a_run(scene: Scene) -> None:
    path = done(scene)
    with opened(path) as store:
        store.create_run(RunRow(run_id="r", workflow="flow", status="running"))
        old = store.acquire("r", this_process(), 1e12, 30.0)
        scene.autoglm_apart("resume", "r")
        new = store.acquire("r", "another process", 2e12, 30.0)
        (refused,) = store.append([append(1, old.epoch)])
        assert refused is not None
        scene.shows_error("the process before appends a record", refused)
        (refused,) = store.append([append(2, new.epoch)])
        assert refused is not None
        scene.shows_error("a record is appended out of turn", refused)
    scene.shows("run-locked", "lease-lost", "sequence-conflict")


def test_what_a_store_does_not_have(scene: Scene) -> None:
    path = done(scene, "r")
    with opened(path) as store:
        with scene.refuses("a run is looked for"):
            store.get_run("r2")
        with scene.refuses("a record is looked for"):
            store.get_record("r", 99)
        with scene.refuses("a blob is looked for"):
            store.get_blob("0123abcd")
        with scene.refuses("a run is added twice"):
            store.create_run(RunRow(run_id="r", workflow="flow"))
        with scene.refuses("a label holds half a character"):
            store.list_runs(workflow="\ud800")
        with scene.refuses("a copy goes where a file is"):
            store.backup("flow.yaml")
        with scene.refuses("a copy goes where no folder is"):
            store.backup("no/folder/runs.db")
    with scene.refuses("a closed store is asked"):
        store.list_runs()
    with scene.refuses("runs in memory are copied"):
        MemoryStore().backup("runs.db")
    scene.shows(
        *("run-not-found", "record-not-found", "blob-not-found", "run-exists", "store-bad-value", "backup-failed"),
        *("store-closed", "not-supported"),
    )


def test_a_run_without_records(scene: Scene) -> None:
    with opened(done(scene)) as store:
        store.create_run(RunRow(run_id="r", workflow="flow", status="running"))
    scene.autoglm("resume", "r")
    scene.autoglm("show", "r")
    scene.shows("run-not-started")

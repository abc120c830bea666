"""A process that appends is killed at random moments: what it had acknowledged is there, and nothing by halves."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from autoglm.stores.protocol import RunRow
from autoglm.stores.sqlite import SqliteStore

WRITER = """
import os, sys
from autoglm.stores.protocol import Append, LogLine, RunUpdate, TaskRow, TaskRows
from autoglm.stores.sqlite import SqliteStore

store = SqliteStore(sys.argv[1], durability=sys.argv[2])
lease = store.acquire("run", f"pid-{os.getpid()}", 0.0, 60.0, alive=False)
seq = store.get_run("run").last_seq

def append(seq):
    rows = [TaskRow(seq * 10 + n, f"t[{seq * 10 + n}]", "t", "succeeded", record=seq) for n in range(seq % 9 + 1)]
    return Append(
        run_id="run",
        epoch=lease.epoch,
        seq=seq,
        payload=b'{"n":%d,"pad":"%s"}' % (seq, os.urandom(seq % 7 * 900).hex().encode()),
        update=RunUpdate(status="running", updated_at=float(seq), counts={"succeeded": seq}),
        tasks=TaskRows.of(rows),
        logs=[LogLine(float(seq), "t", 1, "log", str(seq))],
        blobs={f"{seq}": b"%d" % seq} if seq % 5 == 0 else {},
    )

while True:
    group = [append(seq + n) for n in range(1, seq % 4 + 2)]
    assert store.append(group) == [None] * len(group)
    seq += len(group)
    os.write(1, b"%d\\n" % seq)
"""


def kill_a_writer(path: Path, durability: str, acks: int) -> int:
    """Let a process append until it has told ``acks`` groups, kill it, and return the last record that it told."""
    command = [sys.executable, "-c", WRITER, str(path), durability]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        told = b"".join(writer.stdout.readline() for _ in range(acks))
        writer.kill()
        told += writer.stdout.read()  # what it still told before the signal came
        assert writer.stderr.read() == b""
    whole = told[: told.rindex(b"\n")].split(b"\n")
    return int(whole[-1])


def check(path: Path, acknowledged: int) -> None:
    """See that the run is whole: up to the last record acknowledged at least, with all that came with each."""
    store = SqliteStore(path)
    try:
        last = store.get_run("run").last_seq
        assert last >= acknowledged
        records = list(store.read("run"))
        assert [one.seq for one in records] == list(range(1, last + 1))
        assert all(one.payload.startswith(b'{"n":%d,' % one.seq) for one in records)
        numbers = [seq * 10 + n for seq in range(1, last + 1) for n in range(seq % 9 + 1)]
        assert [one.number for one in store.list_tasks("run", limit=len(numbers) + 9)] == numbers
        logs = store.list_logs("run", limit=last + 9)
        assert [line.text for _, line in logs] == [str(seq) for seq in range(1, last + 1)]
        run = store.get_run("run")
        assert (run.updated_at, run.counts) == (float(last), {"succeeded": last})
    finally:
        store.close()


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["full", "process"])
def test_nothing_acknowledged_is_lost_to_a_kill(tmp_path: Path, durability: str) -> None:
    path = tmp_path / "runs.db"
    store = SqliteStore(path)
    store.create_run(RunRow(run_id="run", workflow="flow"))
    store.close()
    chance = random.Random(20261123)
    acknowledged = 0
    for _ in range(20):
        acknowledged = max(acknowledged, kill_a_writer(path, durability, chance.choice([1, 2, 3, 7, 20, 60])))
        check(path, acknowledged)
    assert acknowledged > 100

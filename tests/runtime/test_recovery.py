"""A run from its journal: read, checked, replayed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from autoglm.base.errors import StoreError
from autoglm.engine import messages as m
from autoglm.engine.codec import encode_record
from autoglm.engine.states import RunStatus
from autoglm.runtime.recovery import read_created, read_definition, replay
from autoglm.stores.memory import MemoryStore
from autoglm.stores.protocol import Append, RunRow

from .house import Bench, House
from .test_runner import CHAIN, work


def test_a_replayed_run_is_the_run_that_was_lived(tmp_path: Path) -> None:
    bench = Bench(MemoryStore(), CHAIN, tmp_path, work=work)
    asyncio.run(bench.start())
    assert bench.runner is not None
    run, last = replay(bench.store, "r", bench.graph)
    assert run.snapshot() == bench.runner.run.snapshot()
    assert last == bench.store.get_run("r").last_seq
    assert run.touched == {}


def test_every_beginning_of_a_journal_goes_on_to_the_end(tmp_path: Path) -> None:
    """The process may be lost after any commit: what is there suffices, and nothing recorded is done again."""
    whole = Bench(MemoryStore(), CHAIN, tmp_path, work=work)
    asyncio.run(whole.start())
    records = list(whole.store.read("r"))
    for count in range(1, len(records) + 1):
        cut = Bench(MemoryStore(), CHAIN, tmp_path, work=work)
        cut.store.create_run(RunRow(run_id="r", workflow="flow"))
        lease = cut.store.acquire("r", "lost", cut.now, 1.0)
        for record in records[:count]:
            append = Append(run_id="r", epoch=lease.epoch, seq=record.seq, payload=record.payload)
            assert cut.store.append([append]) == [None]
        cut.store.release(lease)
        before = {event.task for event in cut.journal() if isinstance(event, m.AttemptSucceeded)}
        assert asyncio.run(cut.resume()) is RunStatus.SUCCEEDED
        assert not before & set(cut.watcher.succeeded())


def test_a_run_without_records_was_never_started() -> None:
    store = MemoryStore()
    store.create_run(RunRow(run_id="r", workflow="flow"))
    with pytest.raises(StoreError) as caught:
        read_created(store, "r")
    assert caught.value.code == "run-not-started"


def test_a_journal_that_does_not_begin_with_its_creation_was_never_started() -> None:
    store = MemoryStore()
    store.create_run(RunRow(run_id="r", workflow="flow"))
    lease = store.acquire("r", "me", 0.0, 1.0)
    store.append([Append(run_id="r", epoch=lease.epoch, seq=1, payload=encode_record(1.0, [m.RunStarted()]))])
    with pytest.raises(StoreError) as caught:
        read_created(store, "r")
    assert caught.value.code == "run-not-started"


def test_the_definition_is_the_workflow_and_its_text(house: House) -> None:
    text = "name: f\ntasks:\n  a: {handler: one, with: {x: '{{ 1 + 1 }}'}}\n"
    with house.session(one=lambda x: x) as session:
        loaded = session.load(house.write("flow.yaml", text))
        run_id = asyncio.run(session.run(loaded)).run_id
        workflow, source = read_definition(session.store, read_created(session.store, run_id))
        assert (workflow.model_dump(), source) == (loaded.workflow.model_dump(), text)


def test_a_journal_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    bench = Bench(MemoryStore(), CHAIN, tmp_path, work=work)
    bench.store.create_run(RunRow(run_id="r", workflow="flow"))
    lease = bench.store.acquire("r", "newer", bench.now, 1.0)
    for seq, payload in enumerate([b'{"at":1,"events":[{"type":"moon_landed"}]}'], 1):
        bench.store.append([Append(run_id="r", epoch=lease.epoch, seq=seq, payload=payload)])
    bench.store.release(lease)
    with pytest.raises(StoreError) as caught:
        asyncio.run(bench.resume())
    assert caught.value.code == "journal-too-new"
    assert bench.store.get_run("r").last_seq == 1


def test_a_damaged_journal_is_told_and_left_as_it_is(house: House) -> None:
    path = house.root / "runs.db"
    flow = house.write("flow.yaml", "name: f\ntasks:\n  a: {handler: one}\n  b: {handler: one, depends_on: a}\n")
    with house.session(str(path), one=lambda: session.drain()) as session:
        run_id = asyncio.run(session.run(session.load(flow))).run_id
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE journal SET payload = CAST(replace(payload, 'run_created', 'run_cheated') AS BLOB)")
    assert connection.changes() > 0
    connection.close()
    with house.session(str(path), one=lambda: 1) as session:
        with pytest.raises(StoreError) as caught:
            asyncio.run(session.resume(run_id))
        assert caught.value.code == "journal-damaged"
        assert session.store.get_run(run_id).owner is None

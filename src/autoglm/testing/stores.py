"""What every store must do, as tests: subclass :class:`StoreTests`, say how to open one, and pytest does the rest::

    class TestSqlite(StoreTests):
        durable = True

        def make_store(self, folder):
            return SqliteStore(folder / "runs.db")

One class, and so one long file: what makes a store a store is read, and inherited, in one piece.

What only a store on disk can be asked (reopening, damage, backups) is skipped unless ``durable``.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from autoglm.base.errors import LeaseLost, StoreError
from autoglm.stores.protocol import (
    Append,
    EntryWrite,
    Lease,
    LeaseHeld,
    LogLine,
    RunRow,
    RunUpdate,
    Store,
    TaskRow,
    TaskRows,
)

NOW = 1_764_000_000.123456
RUN = "20261123-141500-aaaa"
TEXT = 'Füße 模型 🎉 "quoted" \\ \u2028 tab\t nul\0 end'


def row(run_id: str = RUN, **fields: Any) -> RunRow:
    """Return a run as ``create_run`` takes it."""
    return RunRow(**{"run_id": run_id, "workflow": "flow", "created_at": NOW, "updated_at": NOW, **fields})


def record(seq: int, epoch: int = 0, run_id: str = RUN, *, tasks: Iterable[TaskRow] = (), **fields: Any) -> Append:
    """Return an append whose payload tells its number."""
    told = {"run_id": run_id, "epoch": epoch, "seq": seq, "payload": b'{"n":%d}' % seq, "tasks": TaskRows.of(tasks)}
    return Append(**{**told, **fields})


def ended(seq: int, epoch: int = 0, run_id: str = RUN, **fields: Any) -> Append:
    """Return the append that ends a run."""
    update = RunUpdate(status="succeeded", updated_at=NOW + 9, ended_at=NOW + 9, counts={"succeeded": 1})
    return record(seq, epoch, run_id, update=update, **fields)


def codes(results: Sequence[StoreError | None]) -> list[str | None]:
    """Return what ``append`` answered as codes."""
    return [result.code if result is not None else None for result in results]


def digest_of(data: bytes) -> str:
    """Return the name of a blob."""
    return hashlib.sha256(data).hexdigest()


class StoreTests:
    """The conformance suite of the store port."""

    durable = False
    """Whether ``make_store`` opens the same runs again after ``close``."""

    def make_store(self, folder: Path) -> Store:
        """Open the store that lives in ``folder``, empty at first."""
        raise NotImplementedError

    def damage_record(self, folder: Path, run_id: str, seq: int) -> None:
        """Flip a bit of a kept record's payload, with the store closed."""
        raise NotImplementedError

    def damage_blob(self, folder: Path, digest: str) -> None:
        """Flip a bit of a kept blob, with the store closed."""
        raise NotImplementedError

    def drop_record(self, folder: Path, run_id: str, seq: int) -> None:
        """Take a record away behind the store's back, with the store closed."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = self.make_store(tmp_path)
        yield store
        store.close()

    @pytest.fixture
    def run(self, store: Store) -> str:
        store.create_run(row())
        return RUN

    def reopen(self, store: Store, folder: Path) -> Store:
        if not self.durable:
            pytest.skip("keeps nothing")
        store.close()
        return self.make_store(folder)

    # ------------------------------------------------------------------------------------------------------ runs

    def test_run_comes_back_as_it_was_created(self, store: Store) -> None:
        created = row(
            workflow=TEXT.replace("\0", ""),
            namespace="team",
            file="flow.yaml",
            labels={"who": "😀", "x": ""},
            counts={"pending": 3},
            error="none yet",
        )
        store.create_run(created)
        assert store.get_run(RUN) == created

    def test_usage_stays_until_an_update_brings_another(self, store: Store, run: str) -> None:
        def update(**fields: Any) -> RunUpdate:
            return RunUpdate(status="running", updated_at=NOW, **fields)

        used = {"total": {"calls": 2, "cost": 0.25}, "tasks": {"ask": {"calls": 2}}, "arms": {}}
        store.append([record(1, update=update(usage=json.dumps(used).encode()))])
        store.append([record(2, update=update())])
        assert store.get_run(run).usage == used
        assert store.list_runs()[0].usage == used
        store.append([record(3, update=update(usage=b'{"total": {"calls": 3}}'))])
        assert store.get_run(run).usage == {"total": {"calls": 3}}

    def test_second_run_of_an_id_is_refused(self, store: Store, run: str) -> None:
        with pytest.raises(StoreError) as caught:
            store.create_run(row(workflow="other"))
        assert caught.value.code == "run-exists"
        assert caught.value.hint
        assert store.get_run(run).workflow == "flow"

    @pytest.mark.parametrize("run_id", ["nobody", "", "💥", "\udcff", "a\0b", "x" * 10_000, "' OR 1=1 --"])
    def test_unknown_run_is_said(self, store: Store, run: str, run_id: str) -> None:
        asked: list[Any] = [
            lambda: store.get_run(run_id),
            lambda: list(store.read(run_id)),
            lambda: store.get_record(run_id, 1),
            lambda: store.list_tasks(run_id),
            lambda: store.get_task(run_id, "a"),
            lambda: store.list_logs(run_id),
            lambda: store.signals(run_id),
            lambda: store.post_signal(run_id, "cancel", None, NOW),
            lambda: store.acquire(run_id, "me", NOW, 30),
        ]
        for ask in asked:
            with pytest.raises(StoreError) as caught:
                ask()
            assert caught.value.code in {"run-not-found", "store-bad-value"}

    def test_runs_are_listed_newest_first_in_pages(self, store: Store) -> None:
        for number in range(25):
            store.create_run(row(f"run-{number:02}", created_at=NOW + number // 2))
        seen: list[str] = []
        before = None
        while page := store.list_runs(before=before, limit=4):
            seen += [found.run_id for found in page]
            before = (page[-1].created_at, page[-1].run_id)
        assert seen == [f"run-{number:02}" for number in reversed(range(25))]

    def test_runs_are_listed_by_status_and_workflow(self, store: Store) -> None:
        for number in range(12):
            status = "failed" if number % 3 == 0 else "succeeded"
            store.create_run(row(f"r{number:02}", workflow=f"w{number % 2}", status=status, created_at=NOW + number))
        assert [found.run_id for found in store.list_runs(status="failed")] == ["r09", "r06", "r03", "r00"]
        assert [found.run_id for found in store.list_runs(status="failed", workflow="w1")] == ["r09", "r03"]
        assert store.list_runs(status="nothing") == []
        assert store.list_runs(limit=0) == []

    def test_runs_are_found_by_prefix(self, store: Store) -> None:
        for run_id in ("ab1", "ab2", "abc", "b", "AB", "a%b", "a_b", "é1"):
            store.create_run(row(run_id))
        assert store.find_runs("ab") == ["ab1", "ab2", "abc"]
        assert store.find_runs("ab", limit=2) == ["ab1", "ab2"]
        assert store.find_runs("a%") == ["a%b"]
        assert store.find_runs("a_") == ["a_b"]
        assert store.find_runs("é") == ["é1"]
        assert store.find_runs("zz") == []
        assert len(store.find_runs("")) == 8

    # -------------------------------------------------------------------------------------------- what runs share

    def test_entry_comes_back_as_it_was_written(self, store: Store) -> None:
        assert store.get_entry("a", NOW) is None
        data = TEXT.encode() * 5000
        assert store.put_entries([EntryWrite(key="a", data=data), EntryWrite(key="b", data=b"")], NOW) == [True, True]
        found = store.get_entry("a", NOW)
        assert found is not None
        assert (found.data, found.version, found.expires_at) == (data, 1, None)
        assert store.put_entries([EntryWrite(key="a", data=b"new")], NOW) == [True]
        found = store.get_entry("a", NOW)
        assert found is not None
        assert (found.data, found.version) == (b"new", 2)

    def test_entry_is_written_only_over_the_version_that_was_read(self, store: Store) -> None:
        def put(data: bytes | None, version: int | None) -> bool:
            return store.put_entries([EntryWrite(key="a", data=data, version=version)], NOW)[0]

        assert not put(b"1", 1)
        assert put(b"1", 0)
        assert not put(b"2", 0)
        assert not put(None, 7)
        assert put(b"2", 1)
        assert put(b"3", 2)
        found = store.get_entry("a", NOW)
        assert found is not None
        assert (found.data, found.version) == (b"3", 3)
        assert put(None, 3)
        assert store.get_entry("a", NOW) is None
        assert put(b"again", 0)

    def test_refused_entry_leaves_the_others_of_its_group_untouched(self, store: Store) -> None:
        writes = [EntryWrite(key="a", data=b"1"), EntryWrite(key="b", data=b"2", version=4)]
        assert store.put_entries(writes, NOW) == [True, False]
        assert store.get_entry("a", NOW) is not None
        assert store.get_entry("b", NOW) is None

    def test_expired_entry_is_not_there(self, store: Store) -> None:
        store.put_entries([EntryWrite(key="a", data=b"1", expires_at=NOW + 10)], NOW)
        assert store.get_entry("a", NOW + 9.9) is not None
        assert store.get_entry("a", NOW + 10) is None
        assert store.put_entries([EntryWrite(key="a", data=b"2", version=0)], NOW + 10) == [True]
        assert store.get_entry("a", NOW + 1000) is not None

    def test_entry_is_taken_by_one_of_many_threads(self, store: Store) -> None:
        def count() -> None:
            for _ in range(20):
                while True:
                    found = store.get_entry("n", NOW)
                    data = b"%d" % (1 + int(found.data if found else b"0"))
                    version = found.version if found else 0
                    if store.put_entries([EntryWrite(key="n", data=data, version=version)], NOW)[0]:
                        break

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = store.get_entry("n", NOW)
        assert found is not None
        assert found.data == b"80"

    def test_entries_survive(self, store: Store, tmp_path: Path) -> None:
        store.put_entries([EntryWrite(key="a", data=b"kept", expires_at=NOW + 5)], NOW)
        again = self.reopen(store, tmp_path)
        found = again.get_entry("a", NOW)
        again.close()
        assert found is not None
        assert (found.data, found.version, found.expires_at) == (b"kept", 1, NOW + 5)

    # --------------------------------------------------------------------------------------------------- records

    def test_records_come_back_in_order(self, store: Store, run: str) -> None:
        for seq in range(1, 8):
            assert store.append([record(seq)]) == [None]
        assert [(found.seq, found.payload) for found in store.read(run)] == [
            (seq, b'{"n":%d}' % seq) for seq in range(1, 8)
        ]
        assert [found.seq for found in store.read(run, after=5)] == [6, 7]
        assert list(store.read(run, after=7)) == list(store.read(run, after=99)) == []
        assert store.get_record(run, 3).payload == b'{"n":3}'
        assert store.get_run(run).last_seq == 7

    @pytest.mark.parametrize("seq", [0, -1, 2, 2**31, 2**62])
    def test_unknown_record_is_said(self, store: Store, run: str, seq: int) -> None:
        store.append([record(1)])
        with pytest.raises(StoreError) as caught:
            store.get_record(run, seq)
        assert caught.value.code == "record-not-found"

    @pytest.mark.parametrize("size", [1, 4095, 4096, 100_000, 3_000_000])
    def test_payload_of_any_size_comes_back(self, store: Store, run: str, size: int) -> None:
        dull = json.dumps({"text": "y" * size}).encode()
        noisy = json.dumps({"text": hashlib.shake_256(b"seed").hexdigest(size)}).encode()
        assert store.append([record(1, payload=dull), record(2, payload=noisy)]) == [None, None]
        assert [found.payload for found in store.read(run)] == [dull, noisy]
        assert store.get_record(run, 2).payload == noisy

    def test_large_journal_is_read_whole(self, store: Store, run: str) -> None:
        payloads = [hashlib.shake_256(b"%d" % seq).digest(300_000) for seq in range(40)]
        store.append([record(seq, payload=payload) for seq, payload in enumerate(payloads, 1)])
        assert [found.payload for found in store.read(run)] == payloads

    def test_text_of_any_kind_comes_back(self, store: Store, run: str) -> None:
        task = TaskRow(1, TEXT, TEXT, "failed", 2, NOW, NOW + 1.5, TEXT, "code", 1)
        line = LogLine(NOW, TEXT, 1, "stdout", TEXT, "warning")
        update = RunUpdate(status="running", updated_at=NOW, counts={TEXT: 1}, error=TEXT)
        store.append([record(1, payload=TEXT.encode(), tasks=[task], logs=[line], update=update)])
        assert store.list_tasks(run) == [task]
        assert store.get_task(run, TEXT) == task
        assert store.list_logs(run) == [(1, line)]
        found = store.get_run(run)
        assert (found.error, found.counts) == (TEXT, {TEXT: 1})
        assert store.get_record(run, 1).payload == TEXT.encode()

    def test_lone_surrogate_in_output_does_not_stop_a_run(self, store: Store, run: str) -> None:
        bad = "before \udcff after"
        update = RunUpdate(status="running", updated_at=NOW, error=bad)
        tasks, logs = [TaskRow(1, "a", "a", "failed", error=bad)], [LogLine(NOW, "a", 1, "stdout", bad)]
        appended = record(1, tasks=tasks, logs=logs, update=update)
        assert store.append([appended]) == [None]
        shown = (store.list_tasks(run)[0].error, store.list_logs(run)[0][1].text, store.get_run(run).error)
        assert all(text and text.startswith("before ") and text.endswith(" after") for text in shown)

    def test_times_come_back_exactly(self, store: Store, run: str) -> None:
        times = [NOW + number * 0.123456789 for number in range(500)]
        tasks = [TaskRow(n, f"t[{n}]", "t", "succeeded", 1, at, at + 1e-6) for n, at in enumerate(times, 1)]
        store.append([record(1, tasks=tasks, logs=[LogLine(at, "t", 1, "log", "") for at in times])])
        assert store.list_tasks(run, limit=1000) == tasks
        assert [line.at for _, line in store.list_logs(run)] == times

    # ---------------------------------------------------------------------------------------- guards and groups

    def test_empty_group_is_nothing(self, store: Store) -> None:
        assert store.append([]) == []

    def test_append_out_of_sequence_is_refused(self, store: Store, run: str) -> None:
        assert codes(store.append([record(2)])) == ["sequence-conflict"]
        assert codes(store.append([record(1), record(1), record(3), record(2)])) == [
            None,
            "sequence-conflict",
            "sequence-conflict",
            None,
        ]
        assert [found.seq for found in store.read(run)] == [1, 2]

    def test_append_of_an_older_or_invented_epoch_is_refused(self, store: Store, run: str) -> None:
        old = store.acquire(run, "one", NOW, 30)
        new = store.acquire(run, "two", NOW + 31, 30)
        assert new.epoch > old.epoch
        results = store.append([record(1, old.epoch), record(1, new.epoch + 1), record(1, new.epoch)])
        assert isinstance(results[0], LeaseLost)
        assert isinstance(results[1], LeaseLost)
        assert results[2] is None
        assert results[0].hint

    def test_refused_append_leaves_no_trace_and_the_others_untouched(self, store: Store, run: str) -> None:
        store.create_run(row("other"))
        full: dict[str, Any] = {
            "tasks": [TaskRow(1, "a", "a", "running")],
            "logs": [LogLine(NOW, "a", 1, "log", "x")],
            "update": RunUpdate(status="running", updated_at=NOW + 5, counts={"running": 1}),
            "blobs": {digest_of(b"refused"): b"refused"},
        }
        group = [
            record(7, **full),
            record(1, 9, **full),
            record(1, run_id="nobody", **full),
            record(1, 9, payload=b"", **full),
            record(1, run_id="other", tasks=[TaskRow(1, "b", "b", "running")]),
        ]
        assert codes(store.append(group)) == ["sequence-conflict", "lease-lost", "run-not-found", "lease-lost", None]
        for alone in group[:4]:
            assert codes(store.append([alone])) != [None]
        assert store.get_run(run) == row()
        for left in (list(store.read(run)), store.list_tasks(run), store.list_logs(run)):
            assert left == []
        assert [found.task for found in store.list_tasks("other")] == ["b"]
        with pytest.raises(StoreError):
            store.get_blob(digest_of(b"refused"))

    def test_append_without_payload_adds_only_the_rest(self, store: Store, run: str) -> None:
        store.append([record(1)])
        line = LogLine(NOW, "a", 1, "stdout", "hello")
        update = RunUpdate(status="paused", updated_at=NOW + 3)
        added = record(0, payload=b"", logs=[line], tasks=[TaskRow(1, "a", "a", "running")], update=update)
        assert store.append([added]) == [None]
        found = store.get_run(run)
        assert (found.last_seq, found.status, found.updated_at) == (1, "paused", NOW + 3)
        assert len(list(store.read(run))) == 1
        assert len(store.list_tasks(run)) == len(store.list_logs(run)) == 1
        assert store.append([record(2)]) == [None]

    def test_update_changes_the_run_and_none_leaves_it(self, store: Store, run: str) -> None:
        store.append([ended(1)])
        store.append([record(2)])
        found = store.get_run(run)
        assert (found.status, found.ended_at, found.counts) == ("succeeded", NOW + 9, {"succeeded": 1})
        store.append([record(3, update=RunUpdate(status="running", updated_at=NOW + 10))])
        found = store.get_run(run)
        assert (found.status, found.ended_at, found.counts, found.error) == ("running", None, {}, None)

    def test_threads_append_to_runs_of_their_own(self, store: Store) -> None:
        def drive(number: int) -> None:
            run_id = f"run-{number}"
            store.create_run(row(run_id))
            epoch = store.acquire(run_id, f"thread-{number}", NOW, 30).epoch
            for seq in range(1, 41):
                tasks = [TaskRow(seq, f"t[{seq}]", "t", "succeeded")]
                logs = [LogLine(NOW, f"t[{seq}]", 1, "log", f"{seq}")]
                assert store.append([record(seq, epoch, run_id, tasks=tasks, logs=logs)]) == [None]
                assert store.get_run(run_id).last_seq == seq

        self.in_threads(drive, 8)
        for number in range(8):
            run_id = f"run-{number}"
            assert [found.seq for found in store.read(run_id)] == list(range(1, 41))
            assert [found.number for found in store.list_tasks(run_id)] == list(range(1, 41))
            assert [line.text for _, line in store.list_logs(run_id)] == [str(seq) for seq in range(1, 41)]

    def test_threads_that_race_for_a_record_agree_on_one_winner(self, store: Store, run: str) -> None:
        won: list[tuple[int, int]] = []

        def drive(number: int) -> None:
            payload = b"%d" % number
            won.extend((seq, number) for seq in range(1, 31) if store.append([record(seq, payload=payload)]) == [None])

        self.in_threads(drive, 4)
        found = {stored.seq: int(stored.payload) for stored in store.read(run)}
        assert dict(won) == found
        assert len(won) == len(found)

    def in_threads(self, work: Any, count: int) -> None:
        """Run ``work(number)`` in ``count`` threads at once and raise what any of them raised."""
        raised: list[BaseException] = []

        def guarded(number: int) -> None:
            try:
                work(number)
            except BaseException as error:  # noqa: BLE001  # carried over to the test's own thread
                raised.append(error)

        threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if raised:
            raise raised[0]

    # ---------------------------------------------------------------------------------------------------- leases

    def test_lease_is_exclusive_until_it_expires(self, store: Store, run: str) -> None:
        first = store.acquire(run, "one", NOW, 30)
        assert (first.owner, first.until) == ("one", NOW + 30)
        found = store.get_run(run)
        assert (found.owner, found.epoch, found.lease_until) == ("one", first.epoch, NOW + 30)
        with pytest.raises(LeaseHeld) as caught:
            store.acquire(run, "two", NOW + 29, 30)
        assert (caught.value.owner, caught.value.until, caught.value.code) == ("one", NOW + 30, "run-locked")
        second = store.acquire(run, "two", NOW + 30.1, 30)
        assert second.epoch > first.epoch

    def test_run_may_begin_with_its_lease(self, store: Store) -> None:
        store.create_run(row(epoch=1, owner="one", lease_until=NOW + 30))
        with pytest.raises(LeaseHeld):
            store.acquire(RUN, "two", NOW + 29, 30)
        assert codes(store.append([record(1, 1)])) == [None]
        lease = store.renew(Lease(run_id=RUN, owner="one", epoch=1, until=NOW + 30), NOW + 20, 30)
        assert (lease.epoch, lease.until) == (1, NOW + 50)
        store.release(lease)
        assert store.acquire(RUN, "two", NOW + 21, 30).epoch > 1

    def test_lease_is_taken_again_by_its_owner_under_a_new_epoch(self, store: Store, run: str) -> None:
        first = store.acquire(run, "one", NOW, 30)
        second = store.acquire(run, "one", NOW + 1, 30)
        assert second.epoch > first.epoch
        assert codes(store.append([record(1, first.epoch)])) == ["lease-lost"]

    def test_lease_of_a_dead_owner_is_taken_at_once(self, store: Store, run: str) -> None:
        first = store.acquire(run, "one", NOW, 30)
        with pytest.raises(LeaseHeld):
            store.acquire(run, "two", NOW + 1, 30, alive=True)
        assert store.acquire(run, "two", NOW + 1, 30, alive=False).epoch > first.epoch

    def test_lease_is_renewed_and_released(self, store: Store, run: str) -> None:
        lease = store.renew(store.acquire(run, "one", NOW, 30), NOW + 20, 30)
        assert lease.until == NOW + 50
        with pytest.raises(LeaseHeld):
            store.acquire(run, "two", NOW + 40, 30)
        store.release(lease)
        found = store.get_run(run)
        assert (found.owner, found.lease_until, found.epoch) == (None, None, lease.epoch)
        assert store.acquire(run, "two", NOW + 40, 30).epoch > lease.epoch

    def test_lost_lease_is_neither_renewed_nor_released(self, store: Store, run: str) -> None:
        old = store.acquire(run, "one", NOW, 1)
        new = store.acquire(run, "two", NOW + 2, 30)
        with pytest.raises(LeaseLost):
            store.renew(old, NOW + 3, 30)
        store.release(old)
        assert store.get_run(run).owner == "two"
        store.renew(new, NOW + 4, 30)

    def test_one_of_many_threads_gets_the_lease(self, store: Store, run: str) -> None:
        got: list[int] = []

        def take(number: int) -> None:
            with suppress(LeaseHeld):
                got.append(store.acquire(run, f"owner-{number}", NOW, 30).epoch)

        self.in_threads(take, 8)
        assert len(got) == 1

    # --------------------------------------------------------------------------------------------------- signals

    def test_signals_are_numbered_and_kept(self, store: Store, run: str) -> None:
        store.create_run(row("other"))
        first = store.post_signal(run, "pause", None, NOW)
        store.post_signal("other", "cancel", None, NOW)
        data = {"reason": TEXT, "list": [1, 2.5, None, True]}
        second = store.post_signal(run, "cancel", data, NOW + 1)
        assert second > first
        found = store.signals(run)
        assert [(one.number, one.run_id, one.kind, one.data, one.at) for one in found] == [
            (first, run, "pause", None, NOW),
            (second, run, "cancel", data, NOW + 1),
        ]
        assert [one.number for one in store.signals(run, after=first)] == [second]
        assert store.signals(run, after=second) == []

    # ----------------------------------------------------------------------------------------------------- tasks

    def test_newest_row_of_a_task_replaces_the_older(self, store: Store, run: str) -> None:
        store.append([record(1, tasks=[TaskRow(1, "a", "a", "running", 1, NOW)])])
        done = TaskRow(1, "a", "a", "failed", 2, NOW, NOW + 1, "it broke", "script-exit", 2)
        store.append([record(2, tasks=[TaskRow(1, "a", "a", "retrying", 1, NOW), done])])
        assert store.list_tasks(run) == [done]
        assert store.get_task(run, "a") == done
        assert store.list_tasks(run, statuses=["running"]) == store.list_tasks(run, statuses=["retrying"]) == []
        assert store.get_task(run, "b") is None

    def test_dropped_rows_go_with_an_append(self, store: Store, run: str) -> None:
        names = ["a", "a[1]", "a[1].x", "a[10]", "a.b", "ab", "a\u00e9[1]", "a[2]"]
        rows = [TaskRow(number, name, name, "succeeded") for number, name in enumerate(names, 1)]
        store.create_run(row("other"))
        store.append([record(1, tasks=rows), record(1, run_id="other", tasks=rows)])
        again = TaskRow(9, "a[1]", "a[1]", "running")
        store.append([record(2, tasks=[again], dropped=["a[1]", "a."])])
        found = [(found.number, found.task) for found in store.list_tasks(run)]
        assert found == [(1, "a"), (4, "a[10]"), (6, "ab"), (7, "a\u00e9[1]"), (8, "a[2]"), (9, "a[1]")]
        assert store.get_task(run, "a[1]") == again
        assert store.get_task(run, "a[1].x") is None
        assert codes(store.append([record(2, dropped=["a["])])) == ["sequence-conflict"]
        store.append([record(3, dropped=["a[", "a.", "a\u00e9["])])
        assert [found.task for found in store.list_tasks(run)] == ["a", "ab"]
        store.append([record(4, dropped=["a"])])
        assert [found.task for found in store.list_tasks(run)] == ["ab"], "an id is no beginning of others"
        assert len(store.list_tasks("other")) == len(rows)

    def test_tasks_are_listed_in_pages_by_status_and_node(self, store: Store, run: str) -> None:
        names = ["succeeded", "failed", "running", "skipped", "pending"]
        rows = [
            TaskRow(n, f"p[{n}].{'x' if n % 4 else 'y'}", "p.x" if n % 4 else "p.y", names[n % 5])
            for n in range(1, 201)
        ]
        store.append([record(1, tasks=rows)])
        for statuses in ((), ("failed",), ("running", "failed"), ("succeeded",), ("succeeded", "failed", "pending")):
            for node in (None, "p.x", "p.y", "q"):
                wanted = [one for one in rows if (not statuses or one.status in statuses) and node in {None, one.node}]
                found: list[TaskRow] = []
                while page := store.list_tasks(
                    run, statuses=statuses, node=node, after=found[-1].number if found else 0, limit=7
                ):
                    found += page
                assert found == wanted, (statuses, node)

    def test_tasks_of_other_runs_are_not_seen(self, store: Store) -> None:
        for run_id in ("one", "two"):
            store.create_run(row(run_id))
            store.append([record(1, run_id=run_id, tasks=[TaskRow(1, "a", "a", "running", error=run_id)])])
        assert [found.error for found in store.list_tasks("one")] == ["one"]
        assert [found.error for found in store.list_tasks("two", statuses=["running"])] == ["two"]
        found = store.get_task("two", "a")
        assert found is not None
        assert found.error == "two"

    def test_pages_of_many_tasks_are_right_while_they_are_written(self, store: Store, run: str) -> None:
        def part(seq: int) -> Append:
            numbers = range(seq * 1000 - 999, seq * 1000 + 1)
            statuses = {True: "failed", False: "succeeded"}
            nodes = {True: "rare", False: "p"}
            rows = [TaskRow(n, f"p[{n}]", nodes[n == 77], statuses[n % 5000 == 0], 1, NOW, NOW) for n in numbers]
            return record(seq, tasks=rows)

        for seq in range(1, 11):
            store.append([part(seq)])
        stop = threading.Event()

        def write() -> None:
            seq = 11
            while not stop.is_set():
                store.append([renumbered(part((seq - 1) % 10 + 1), seq)])
                seq += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(5):
                deep = store.list_tasks(run, after=9_000, limit=100)
                assert [one.number for one in deep] == list(range(9_001, 9_101))
                failed = store.list_tasks(run, statuses=["failed"], limit=100)
                assert [one.number for one in failed] == [5_000, 10_000]
                assert [one.number for one in store.list_tasks(run, node="rare")] == [77]
        finally:
            stop.set()
            writer.join()

    # ------------------------------------------------------------------------------------------------------ logs

    def test_logs_are_listed_in_pages_and_by_task(self, store: Store, run: str) -> None:
        store.create_run(row("other"))
        tasks = ["a", "a[1]", "a[1].b", "ab", "a.c", "b", "a[10]"]
        lines = [LogLine(NOW + n, tasks[n % 7], 1, "stdout", f"line {n}") for n in range(70)]
        store.append([record(1, logs=lines[:30]), record(1, run_id="other", logs=lines[:3])])
        store.append([record(2, payload=b"", logs=lines[30:])])
        found: list[tuple[int, LogLine]] = []
        while page := store.list_logs(run, after=found[-1][0] if found else 0, limit=9):
            found += page
        assert [line for _, line in found] == lines
        assert [number for number, _ in found] == sorted({number for number, _ in found})
        for task, below in (("a", {"a", "a[1]", "a[1].b", "a.c", "a[10]"}), ("a[1]", {"a[1]", "a[1].b"}), ("x", set())):
            assert [line for _, line in store.list_logs(run, task=task)] == [one for one in lines if one.task in below]

    # ----------------------------------------------------------------------------------------------------- blobs

    def test_blobs_are_kept_and_shared(self, store: Store, run: str) -> None:
        store.create_run(row("other"))
        large = json.dumps(list(range(200_000))).encode()
        noise = hashlib.shake_256(b"x").digest(300_000)
        blobs = {digest_of(data): data for data in (large, noise, b"")}
        store.append([record(1, blobs=blobs), record(1, run_id="other", blobs={digest_of(noise): noise})])
        for digest, data in blobs.items():
            assert store.get_blob(digest) == data
        for unknown in ("0" * 64, "", "no digest 🎉"):
            with pytest.raises(StoreError) as caught:
                store.get_blob(unknown)
            assert caught.value.code == "blob-not-found"

    # ----------------------------------------------------------------------------------------------------- prune

    def test_prune_takes_ended_runs_with_all_that_is_theirs(self, store: Store) -> None:
        shared, own = b"shared" * 99, b"own" * 99
        for number, run_id in enumerate(["old", "older", "young", "going", "elsewhere"]):
            workflow = "w2" if run_id == "elsewhere" else "w1"
            created = NOW + 100 if run_id == "young" else NOW - number
            store.create_run(row(run_id, workflow=workflow, created_at=created))
            blobs = {digest_of(shared): shared} | ({digest_of(own): own} if run_id == "old" else {})
            added = (record if run_id == "going" else ended)(
                1,
                run_id=run_id,
                tasks=[TaskRow(n, f"t[{n}]", "t", "failed") for n in range(1, 6001)],
                logs=[LogLine(NOW, "t", 1, "log", "x")],
                blobs=blobs,
            )
            assert store.append([added]) == [None]
            store.post_signal(run_id, "pause", None, NOW)
        assert store.prune(NOW + 1, workflow="w1", dry_run=True) == ["older", "old"]
        assert len(store.list_runs()) == 5
        assert store.prune(NOW + 1, workflow="w1") == ["older", "old"]
        assert store.prune(NOW + 1, workflow="w1") == []
        assert [found.run_id for found in store.list_runs()] == ["young", "going", "elsewhere"]
        for gone in ("old", "older"):
            with pytest.raises(StoreError) as caught:
                list(store.read(gone))
            assert caught.value.code == "run-not-found"
            assert codes(store.append([record(2, run_id=gone)])) == ["run-not-found"]
        with pytest.raises(StoreError):
            store.get_blob(digest_of(own))
        assert store.get_blob(digest_of(shared)) == shared
        assert len(list(store.read("young"))) == 1
        assert len(store.list_tasks("going", limit=9999)) == 6000

    def test_pruned_id_begins_anew(self, store: Store, run: str) -> None:
        old = ended(1, tasks=[TaskRow(1, "a", "a", "failed")], logs=[LogLine(NOW, "a", 1, "log", "x")])
        store.append([old])
        store.post_signal(run, "cancel", None, NOW)
        assert store.prune(NOW + 1) == [run]
        store.create_run(row())
        assert store.get_run(run).last_seq == 0
        for left in (list(store.read(run)), store.list_tasks(run), store.list_logs(run), store.signals(run)):
            assert left == []
        assert store.append([record(1)]) == [None]

    def test_run_that_is_driven_again_is_not_pruned(self, store: Store, run: str) -> None:
        store.append([ended(1)])
        lease = store.acquire(run, "me", NOW, 3600)
        assert store.prune(NOW + 1) == []
        store.release(lease)
        assert store.prune(NOW + 1) == [run]

    # --------------------------------------------------------------------------------------------- on disk, closing

    def test_closed_store_says_so(self, store: Store, run: str) -> None:
        store.append([record(1)])
        store.close()
        store.close()
        asked: list[Any] = [
            lambda: store.get_run(run),
            lambda: store.append([record(2)]),
            lambda: store.create_run(row("x")),
            lambda: store.list_runs(),
            lambda: list(store.read(run)),
            lambda: store.get_blob("x"),
            lambda: store.acquire(run, "me", NOW, 1),
            lambda: store.prune(NOW),
        ]
        for ask in asked:
            with pytest.raises(StoreError) as caught:
                ask()
            assert caught.value.code == "store-closed"

    def test_everything_is_there_after_reopening(self, store: Store, run: str, tmp_path: Path) -> None:
        lease = store.acquire(run, "me", NOW, 30)
        task, line = TaskRow(1, "a", "a", "running", 1, NOW), LogLine(NOW, "a", 1, "log", TEXT)
        store.append([record(1, lease.epoch, tasks=[task], logs=[line], blobs={digest_of(b"blob"): b"blob"})])
        number = store.post_signal(run, "pause", {"x": 1}, NOW)
        before = store.get_run(run)
        again = self.reopen(store, tmp_path)
        try:
            assert again.get_run(run) == before
            assert [found.payload for found in again.read(run)] == [b'{"n":1}']
            assert again.list_tasks(run) == [task]
            assert again.list_logs(run) == [(1, line)]
            assert [one.number for one in again.signals(run)] == [number]
            assert again.get_blob(digest_of(b"blob")) == b"blob"
            assert again.append([record(2, lease.epoch)]) == [None]
        finally:
            again.close()

    def test_flipped_bit_of_a_record_is_found(self, store: Store, run: str, tmp_path: Path) -> None:
        for seq in range(1, 6):
            store.append([record(seq, payload=b'{"text":"%s"}' % (b"word " * seq * 1000))])
        self.reopen(store, tmp_path).close()
        self.damage_record(tmp_path, run, 3)
        again = self.make_store(tmp_path)
        try:
            records = again.read(run)
            assert [next(records).seq, next(records).seq] == [1, 2]
            with pytest.raises(StoreError) as caught:
                next(records)
            assert caught.value.code == "journal-damaged"
            with pytest.raises(StoreError):
                again.get_record(run, 3)
            assert again.get_record(run, 4).seq == 4
        finally:
            again.close()

    @pytest.mark.parametrize("seq", [1, 3, 5])
    def test_missing_record_is_found(self, store: Store, run: str, tmp_path: Path, seq: int) -> None:
        for number in range(1, 6):
            store.append([record(number)])
        self.reopen(store, tmp_path).close()
        self.drop_record(tmp_path, run, seq)
        again = self.make_store(tmp_path)
        try:
            with pytest.raises(StoreError) as caught:
                list(again.read(run))
            assert caught.value.code == "journal-damaged"
            with pytest.raises(StoreError) as caught:
                again.get_record(run, seq)
            assert caught.value.code == "journal-damaged"
        finally:
            again.close()

    @pytest.mark.parametrize("size", [30, 30_000])
    def test_flipped_bit_of_a_blob_is_found(self, store: Store, run: str, tmp_path: Path, size: int) -> None:
        data = json.dumps(list(range(size))).encode()
        store.append([record(1, blobs={digest_of(data): data})])
        self.reopen(store, tmp_path).close()
        self.damage_blob(tmp_path, digest_of(data))
        again = self.make_store(tmp_path)
        try:
            with pytest.raises(StoreError) as caught:
                again.get_blob(digest_of(data))
            assert caught.value.code == "journal-damaged"
        finally:
            again.close()


def renumbered(append: Append, seq: int) -> Append:
    """Return ``append`` under another number."""
    return Append(run_id=append.run_id, epoch=append.epoch, seq=seq, payload=append.payload, tasks=append.tasks)

"""The writer thread: groups, order, and everyone told after their own commit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from autoglm.base.errors import LeaseLost, StoreError
from autoglm.runtime.journal import Journal
from autoglm.stores.memory import MemoryStore
from autoglm.stores.protocol import Append, RunRow


def append(run_id: str, epoch: int, seq: int) -> Append:
    return Append(run_id=run_id, epoch=epoch, seq=seq, payload=f"{seq}".encode())


def opened(*run_ids: str) -> MemoryStore:
    store = MemoryStore()
    for run_id in run_ids:
        store.create_run(RunRow(run_id=run_id, workflow="w"))
        store.acquire(run_id, "me", 0.0, 1e9)
    return store


class Held:
    """A store whose commits wait for a sign, and which notes the sizes of the groups."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.may_commit = threading.Event()
        self.groups: list[int] = []

    def append(self, appends: Sequence[Append]) -> list[StoreError | None]:
        self.may_commit.wait()
        self.groups.append(len(appends))
        return self.store.append(appends)


def test_what_waits_while_a_commit_is_under_way_is_one_group() -> None:
    store = Held(opened("a", "b"))
    told: list[Any] = []

    async def main() -> None:
        journal = Journal(store)  # type: ignore[arg-type]
        for seq in range(1, 11):
            for run_id in "ab":
                journal.append(append(run_id, 1, seq), lambda error, key=(run_id, seq): told.append((key, error)))
        assert told == []
        store.may_commit.set()
        await journal.close()

    asyncio.run(main())
    assert told == [((run_id, seq), None) for seq in range(1, 11) for run_id in "ab"]
    assert sum(store.groups) == 20
    assert len(store.groups) <= 2
    assert [stored.seq for stored in store.store.read("a")] == list(range(1, 11))


def test_a_refused_append_is_told_to_its_own_waiter_only() -> None:
    store = opened("a", "b")
    store.acquire("b", "another", 0.0, 1e9, alive=False)
    told: dict[str, Any] = {}

    async def main() -> None:
        journal = Journal(store)
        for run_id in "ab":
            journal.append(append(run_id, 1, 1), lambda error, run_id=run_id: told.update({run_id: error}))
        await journal.close()

    asyncio.run(main())
    assert told["a"] is None
    assert isinstance(told["b"], LeaseLost)


def test_a_commit_on_the_caller_s_thread_is_told_at_once() -> None:
    store, told = opened("a"), []
    Journal(store).append_now(append("a", 1, 1), told.append)
    assert told == [None]


def test_whatever_a_store_raises_is_told_to_all_of_the_group_and_the_thread_lives_on() -> None:
    class Broken:
        calls = 0

        def append(self, appends: Sequence[Append]) -> list[StoreError | None]:
            self.calls += 1
            if self.calls == 1:
                raise KeyError("a bug")
            return [None] * len(appends)

    told: list[StoreError | None] = []

    async def main() -> None:
        journal = Journal(Broken())  # type: ignore[arg-type]
        first = asyncio.Event()

        def done(error: StoreError | None) -> None:
            told.append(error)
            first.set()

        journal.append(append("a", 1, 1), done)
        await first.wait()
        journal.append(append("a", 1, 2), told.append)
        await journal.close()
        await journal.close()

    asyncio.run(main())
    assert isinstance(told[0], StoreError)
    assert told[0].code == "store-failed"
    assert told[1] is None


def test_a_journal_that_was_never_used_has_no_thread() -> None:
    before = threading.active_count()
    journal = Journal(MemoryStore())
    asyncio.run(journal.close())
    assert threading.active_count() == before

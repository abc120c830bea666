"""Who may call when: full use of a limit, never over it, fair between runs, and what a refusal leads to."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from autoglm.base.errors import StoreError
from autoglm.llm.governor import PATIENCE, Allowed, Busy, Governor, Lane
from autoglm.llm.waiting_line import Asker
from autoglm.stores.memory import MemoryStore
from autoglm.stores.protocol import Store
from autoglm.stores.shared import change_entry
from autoglm.stores.sqlite import SqliteStore
from tests.llm.virtual import now, run_virtual


class Shared:
    """A store's records, asked in place."""

    is_blocking = False

    def __init__(self, store: Store) -> None:
        self.store = store
        self.transactions = 0

    def change(self, key: str, at: float, change: Callable[[bytes | None], tuple[bytes | None, Any]]) -> Any:
        self.transactions += 1
        return change_entry(self.store, key, at, change)


def lane(allowed: Allowed, who: str = "me") -> Lane:
    return Governor(now, who).lane("m", allowed)


@contextmanager
def closing(governors: list[Governor]) -> Iterator[None]:
    try:
        yield
    finally:
        for governor in governors:
            governor.close()


async def call(
    lane: Lane,
    asker: Asker,
    records: Shared | None = None,
    took: float = 0.2,
    begun: list[float] | None = None,
    used: int = 0,
) -> int:
    """Call once, coming back as often as told to; return how often that was."""
    parked = 0
    woken = asyncio.Event()
    asker.wake = woken.set
    while True:
        try:
            permit = await lane.enter(asker, records)
            break
        except Busy as busy:
            parked += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(busy.until - now()):
                    await woken.wait()
            woken.clear()
    if begun is not None:
        begun.append(now())
    await asyncio.sleep(took)
    lane.leave(permit, tokens=used or asker.tokens)
    return parked


def most_in_a_window(uses: list[float]) -> int:
    uses = sorted(uses)
    return max(bisect_left(uses, begin + 60.0) - place for place, begin in enumerate(uses))


def test_without_limits_nobody_waits() -> None:
    async def work() -> None:
        free = lane(Allowed())
        permits = [await free.enter(Asker("r", str(number))) for number in range(1000)]
        assert free.under_way == 1000
        for permit in permits:
            free.leave(permit)
        assert free.under_way == 0

    run_virtual(work())


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_four_processes_use_a_limit_to_the_full_and_never_exceed_it(kind: str, tmp_path: Path) -> None:
    stores: list[Store]
    if kind == "memory":
        stores = [MemoryStore()] * 4
    else:
        stores = [SqliteStore(tmp_path / "shared.db", durability="process") for _ in range(4)]
    begun: list[float] = []
    shares: Counter[int] = Counter()

    async def process(number: int, records: Shared, ends: float) -> None:
        mine = lane(Allowed(rpm=600), f"p{number}")
        task = 0

        async def loop(worker: int) -> None:
            nonlocal task
            while now() < ends:
                task += 1
                await call(mine, Asker(f"run{number}", f"t{task}"), records, 0.3, begun)
                shares[number] += 1

        await asyncio.gather(*(loop(worker) for worker in range(25)))

    async def work() -> list[Shared]:
        records = [Shared(store) for store in stores]
        start = now()
        await asyncio.gather(*(process(number, records[number], start + 300) for number in range(4)))
        inside = sum(at < start + 300 for at in begun)
        assert inside >= 0.99 * 5 * 600, inside
        return records

    records = run_virtual(work())
    assert most_in_a_window(begun) <= 600
    assert min(shares.values()) > 300, shares
    assert sum(each.transactions for each in records) < 1.2 * len(begun)
    for store in stores:
        store.close()


def test_a_long_wait_parks_and_keeps_its_place() -> None:
    async def work() -> None:
        slow = lane(Allowed(rpm=10))
        for number in range(10):
            slow.leave(await slow.enter(Asker("r", f"first{number}")))
        waits = {}
        for number in range(25):
            with pytest.raises(Busy) as caught:
                await slow.enter(Asker("r", f"t{number}"))
            waits[number] = caught.value.until - now()
        assert list(waits.values()) == sorted(waits.values())
        assert 59.5 < waits[0] < 61
        assert 120 < waits[24] < 182
        assert caught.value.reason == "the limit a minute is used up"
        await asyncio.sleep(waits[0])
        tasks = [*(f"t{number}" for number in reversed(range(10))), "new"]
        parked = await asyncio.gather(*(call(slow, Asker("r", task)) for task in tasks))
        assert parked[:10] == [0] * 10
        assert parked[10] > 0  # whoever came later goes later

    run_virtual(work())


def test_runs_take_turns_and_priority_goes_first() -> None:
    async def work() -> list[str]:
        narrow = lane(Allowed(start_parallel=1, max_parallel=None))
        narrow.concurrency.ceiling = 1
        order: list[tuple[float, str]] = []

        async def one(run: str, task: str, priority: int = 0) -> None:
            begun: list[float] = []
            await call(narrow, Asker(run, task, priority), took=0.01, begun=begun)
            order.append((begun[0], run))

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(one("a", f"a{number}"))
            await asyncio.sleep(0)
            for number in range(5):
                group.create_task(one("b", f"b{number}"))
            await asyncio.sleep(0)
            group.create_task(one("urgent", "u", 5))
        return [run for _, run in sorted(order)]

    order = run_virtual(work())
    assert order[:2] == ["a", "urgent"]
    assert order[2:12].count("b") == 5, order
    assert len(order) == 26


def test_a_refusal_halves_and_a_pause_holds_for_every_process() -> None:
    async def work() -> None:
        store = MemoryStore()
        records = Shared(store)
        one, two = lane(Allowed(rpm=600), "one"), lane(Allowed(rpm=600), "two")
        permits = [await one.enter(Asker("r", str(number)), records) for number in range(8)]
        due = one.refused(30.0)
        assert due == pytest.approx(now() + 30)
        for permit in permits:
            one.leave(permit, succeeded=False)
        assert one.concurrency.room == 4
        with pytest.raises(Busy) as caught:
            await one.enter(Asker("r", "again"), records)
        assert caught.value.until == pytest.approx(due)
        with pytest.raises(Busy) as caught:
            await two.enter(Asker("s", "x"), records)
        assert caught.value.until == pytest.approx(due)
        assert caught.value.reason == "the server asked for a pause"

    run_virtual(work())


def test_backoff_grows_while_nothing_goes_well() -> None:
    async def work() -> None:
        free = lane(Allowed())
        waits = []
        for number in range(4):
            permit = await free.enter(Asker("r", str(number)))
            waits.append(free.refused(None) - now())
            free.leave(permit, succeeded=False)
            await asyncio.sleep(100)
        assert waits == pytest.approx([1, 2, 4, 8])
        free.leave(await free.enter(Asker("r", "good")))
        permit = await free.enter(Asker("r", "x"))
        assert free.refused(None) - now() == pytest.approx(1)
        free.leave(permit, succeeded=False)

    run_virtual(work())


def test_calls_under_way_are_limited_over_processes_and_given_back() -> None:
    async def work() -> None:
        records = Shared(MemoryStore())
        clock = asyncio.get_running_loop().time  # also asked by a thread
        governors = [Governor(clock, "one"), Governor(clock, "two")]
        with closing(governors):
            one, two = (governor.lane("m", Allowed(max_parallel=4)) for governor in governors)
            held = [await one.enter(Asker("r", str(number)), records) for number in range(3)]
            held_too = await two.enter(Asker("s", "0"), records)
            with pytest.raises(Busy) as caught:
                await two.enter(Asker("s", "1"), records)
            assert "may be under way" in caught.value.reason
            for permit in held:
                one.leave(permit)
            one.keep_share()
            more = [await two.enter(Asker("s", str(number)), records) for number in range(1, 4)]
            for permit in [*more, held_too]:
                two.leave(permit)

    run_virtual(work())


def test_who_left_for_want_of_room_is_fetched_back() -> None:
    async def work() -> None:
        woken: list[str] = []
        narrow = lane(Allowed(start_parallel=1))
        permit = await narrow.enter(Asker("r", "long"))
        with pytest.raises(Busy):
            await narrow.enter(Asker("r", "next", wake=lambda: woken.append("next")))
        assert not woken
        await asyncio.sleep(0.5)
        narrow.leave(permit)
        assert woken == ["next"]
        narrow.leave(await narrow.enter(Asker("r", "next")))

    run_virtual(work())


def test_headers_hold_calls_back() -> None:
    async def work() -> None:
        free = lane(Allowed())
        said = {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "60s",
        }
        free.leave(await free.enter(Asker("r", "0")), headers=said)
        before = now()
        assert await call(free, Asker("r", "1")) == 0
        assert 1.0 <= now() - before <= 1.5
        await asyncio.sleep(2)
        free.leave(await free.enter(Asker("r", "2")), headers={**said, "x-ratelimit-reset-requests": "6m0s"})
        with pytest.raises(Busy) as caught:
            await free.enter(Asker("r", "3"))
        assert caught.value.reason == "the server has no requests left"

    run_virtual(work())


def test_a_store_that_fails_stops_nobody() -> None:
    class Broken:
        is_blocking = False

        def change(self, key: str, at: float, change: Any) -> Any:
            raise StoreError("the disk is full", code="disk-full")

    async def work() -> None:
        governor = Governor(asyncio.get_running_loop().time, "me")
        with closing([governor]):
            limited = governor.lane("m", Allowed(rpm=5, max_parallel=3))
            for number in range(5):
                limited.leave(await limited.enter(Asker("r", str(number)), Broken()))
            with pytest.raises(Busy):
                await limited.enter(Asker("r", "5"), Broken())

    run_virtual(work())


def test_whoever_is_cancelled_while_it_waits_leaves_no_trace() -> None:
    async def work() -> None:
        narrow = lane(Allowed(start_parallel=1))
        permit = await narrow.enter(Asker("r", "long"))
        narrow._latency = 0.1
        waiting = asyncio.create_task(narrow.enter(Asker("r", "next")))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        narrow.leave(permit)
        narrow.leave(await narrow.enter(Asker("r", "other")))
        assert narrow.under_way == 0
        assert not narrow._line.orders

    run_virtual(work())


def test_tokens_a_minute_are_kept_to_as_used_not_as_feared() -> None:
    async def work() -> list[float]:
        limited = lane(Allowed(tpm=1000))
        begun: list[float] = []
        chance = random.Random(3)

        async def one(number: int) -> None:
            await call(limited, Asker("r", str(number), tokens=200), took=chance.random(), begun=begun, used=50)

        await asyncio.gather(*(one(number) for number in range(60)))
        return begun

    begun = run_virtual(work())
    assert begun[-1] - begun[0] < 60 * 6  # by the feared amounts it would be twelve minutes
    assert PATIENCE == 1.0

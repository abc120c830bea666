"""The one loop: decide, commit, do; and what happens when the commit, the lease or the person says no."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoglm.base.errors import LeaseLost, StoreError
from autoglm.engine import messages as m
from autoglm.engine.machine import MOST_EVENTS
from autoglm.engine.states import RunStatus
from autoglm.runtime.runner import LEASE_SECONDS
from autoglm.spec.model import Loop, Retry, Task, Workflow
from autoglm.stores.memory import MemoryStore
from autoglm.stores.protocol import LeaseHeld, Store
from autoglm.stores.sqlite import SqliteStore
from autoglm.tasks.protocol import TaskContext

from .house import Bench, Faulty, Overheard

MakeStore = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    if request.param == "memory":
        return MemoryStore
    return lambda: SqliteStore(tmp_path / "runs.db", durability="process")


def flow(*tasks: Task, **fields: Any) -> Workflow:
    return Workflow(name="flow", tasks=tasks, **fields)


def task(name: str, after: str = "", **fields: Any) -> Task:
    return Task(
        name=name, type="function", executor="inline", depends_on=dict.fromkeys(after.split()),
        **{"options": {"handler": "work"}, **fields},
    )  # fmt: skip


async def work(ctx: TaskContext) -> str:
    return str(ctx.task_id)


CHAIN = flow(task("a"), task("b", "a"), task("c", "b", loop=Loop(over=[1, 2, 3])), task("d", "c"))


def test_a_run_goes_to_its_end_and_its_rows_say_so(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    bench = Bench(store, CHAIN, tmp_path, work=work)
    assert asyncio.run(bench.start()) is RunStatus.SUCCEEDED
    row = store.get_run("r")
    assert (row.status, row.owner, row.counts) == ("succeeded", None, {"succeeded": 7})
    assert {task.task: task.status for task in store.list_tasks("r")} == dict.fromkeys(
        ["a", "b", "c", "c[0]", "c[1]", "c[2]", "d"], "succeeded"
    )
    assert bench.watcher.events == bench.journal(), "observers are told everything, in order"
    store.close()


def test_what_one_commit_does_not_take_goes_into_the_next(make_store: MakeStore, tmp_path: Path) -> None:
    store, size = make_store(), 2 * MOST_EVENTS
    skips = task("a", when="item < 0", loop=Loop(over=f"{{{{ range({size}) }}}}"))
    bench = Bench(store, flow(skips, task("b", "a")), tmp_path, work=work)
    assert asyncio.run(bench.start()) is RunStatus.SUCCEEDED
    assert store.get_run("r").counts == {"skipped": size, "succeeded": 2}
    assert store.get_run("r").last_seq > 3


def test_observers_and_work_see_only_what_is_committed(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()

    async def look(ctx: TaskContext) -> list[str]:
        return [row.status for row in store.list_tasks("r") if row.task == ctx.task_id]

    bench = Bench(store, flow(task("a"), task("b", "a")), tmp_path, work=look)
    asyncio.run(bench.start())
    results = [bytes(event.result) for event in bench.journal() if isinstance(event, m.AttemptSucceeded)]
    assert results == [b'["running"]', b'["running"]'], "an attempt begins after the commit of its start"
    store.close()


@pytest.mark.parametrize("failing", range(1, 6))
def test_a_failed_commit_leaves_a_run_that_goes_on_with_nothing_lost(
    make_store: MakeStore, tmp_path: Path, failing: int
) -> None:
    store = Faulty(make_store(), failing)
    executed: list[str] = []

    async def count(ctx: TaskContext) -> None:
        executed.append(ctx.task_id)

    bench = Bench(store, CHAIN, tmp_path, work=count)
    with pytest.raises(StoreError, match="disk is full") as caught:
        asyncio.run(bench.start())
    assert caught.value.code == "store-full"
    if failing == 1:
        assert executed == []
        assert bench.journal() == []
        return
    recorded = bench.watcher.succeeded()
    assert recorded == [event.task for event in bench.journal() if isinstance(event, m.AttemptSucceeded)]
    before = len(executed)
    assert asyncio.run(bench.resume()) is RunStatus.SUCCEEDED
    assert not set(executed[before:]) & set(recorded), "nothing recorded runs again"
    assert set(executed) == {"a", "b", "c[0]", "c[1]", "c[2]", "d"}
    store.close()


def test_a_store_with_a_bug_of_its_own_is_an_error_of_the_store(tmp_path: Path) -> None:
    class Broken(Faulty):
        def append(self, appends: Any) -> Any:
            raise ZeroDivisionError

    bench = Bench(Broken(MemoryStore()), CHAIN, tmp_path, work=work)
    with pytest.raises(StoreError) as caught:
        asyncio.run(bench.start())
    assert caught.value.code == "store-failed"


def test_a_lost_lease_stops_everything_and_records_nothing_more(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    stopped = []

    async def main() -> None:
        taken = asyncio.Event()

        async def quick() -> None:
            await taken.wait()

        async def long() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                stopped.append("long")
                raise

        async def take() -> None:
            store.acquire("r", "another", bench.now, LEASE_SECONDS, alive=False)
            taken.set()

        both = flow(
            task("quick", options={"handler": "quick"}), task("long", options={"handler": "long"}),
            task("take", options={"handler": "take"}), task("after", "quick take"),
        )  # fmt: skip
        bench = Bench(store, both, tmp_path, quick=quick, long=long, take=take, work=work)
        with pytest.raises(LeaseLost):
            await bench.start()
        assert [type(event) for event in bench.journal()] == [m.RunCreated, m.RunStarted, *[m.AttemptStarted] * 3]
        assert bench.watcher.events == bench.journal()
        assert store.get_run("r").owner == "another", "what is not ours is not given back"

    asyncio.run(main())
    assert stopped == ["long"]
    store.close()


def test_drain_finishes_what_runs_and_starts_nothing(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()

    async def asks(ctx: TaskContext) -> None:
        if ctx.task_id == "a":
            assert bench.runner is not None
            bench.runner.drain()
            bench.runner.drain()

    bench = Bench(store, CHAIN, tmp_path, work=asks)
    assert asyncio.run(bench.start()) is RunStatus.PAUSED
    assert bench.watcher.succeeded() == ["a"]
    assert store.get_run("r").status == "paused"
    assert asyncio.run(bench.resume()) is RunStatus.SUCCEEDED
    assert bench.watcher.succeeded().count("a") == 1
    store.close()


def test_abort_stops_attempts_without_a_word_and_they_run_again_under_their_number(
    make_store: MakeStore, tmp_path: Path
) -> None:
    store = make_store()
    seen: list[tuple[int, str]] = []
    stopped = []

    async def once(ctx: TaskContext) -> None:
        seen.append((ctx.attempt, ctx.idempotency_key))
        if len(seen) > 1:
            return
        try:
            assert bench.runner is not None
            bench.runner.abort()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(ctx.cancelled)
            raise

    bench = Bench(store, flow(task("a")), tmp_path, work=once)
    assert asyncio.run(bench.start()) is RunStatus.RUNNING
    assert stopped == [True]
    assert [type(event) for event in bench.journal()] == [m.RunCreated, m.RunStarted, m.AttemptStarted]
    assert asyncio.run(bench.resume()) is RunStatus.SUCCEEDED
    assert seen[0] == seen[1]
    store.close()


def test_a_retry_is_timed_by_the_clock(tmp_path: Path) -> None:
    tries = []

    async def second() -> None:
        tries.append(bench.now)
        if len(tries) == 1:
            raise ValueError

    def turn() -> None:
        bench.now += 3600.0

    policy = Retry(delay=3000.0, max_delay=3000.0, jitter="none")
    bench = Bench(MemoryStore(), flow(task("a", retry=policy)), tmp_path, work=second)
    bench.watcher.when[m.AttemptFailed] = turn
    assert asyncio.run(bench.start()) is RunStatus.SUCCEEDED
    assert tries == [1000.0, 4600.0]


def test_a_clock_that_is_set_back_does_not_turn_time_around(tmp_path: Path) -> None:
    async def back(ctx: TaskContext) -> None:
        bench.now -= 500.0

    bench = Bench(MemoryStore(), CHAIN, tmp_path, work=back)
    assert asyncio.run(bench.start()) is RunStatus.SUCCEEDED
    assert {row.ended_at for row in bench.store.list_tasks("r")} == {1000.0}


def test_another_process_may_cancel(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()

    async def wait(ctx: TaskContext) -> None:
        store.post_signal("r", "cancel", None, bench.now)
        await asyncio.Event().wait()

    bench = Bench(store, flow(task("a"), task("b", "a")), tmp_path, work=wait)
    assert asyncio.run(bench.start()) is RunStatus.CANCELLED
    assert bench.watcher.succeeded() == []
    store.close()


def test_a_cancel_from_before_finally_began_does_not_stop_it(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()

    async def main() -> RunStatus:
        cancelled = asyncio.Event()

        async def wait(ctx: TaskContext) -> None:
            if ctx.task_id == "finally.tidy":
                store.post_signal("r", "cancel", "too slow", bench.now - 1.0)
                await cancelled.wait()

        bench.handlers["work"] = wait
        bench.watcher.when[m.RunCancelling] = cancelled.set
        return await bench.start()

    bench = Bench(store, flow(task("a"), finally_=(task("tidy"),)), tmp_path)
    assert asyncio.run(main()) is RunStatus.CANCELLED
    assert bench.watcher.succeeded() == ["a", "finally.tidy"]
    [event] = [event for event in bench.watcher.events if isinstance(event, m.RunCancelling)]
    assert event.reason == "too slow"
    store.close()


def test_another_process_may_pause(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()

    async def main() -> RunStatus:
        paused = asyncio.Event()

        async def wait(ctx: TaskContext) -> None:
            store.post_signal("r", "pause", None, bench.now)
            await paused.wait()

        bench.handlers["work"] = wait
        bench.watcher.when[m.RunPaused] = paused.set
        return await bench.start()

    bench = Bench(store, flow(task("a"), task("b", "a")), tmp_path)
    assert asyncio.run(main()) is RunStatus.PAUSED
    assert bench.watcher.succeeded() == ["a"]
    store.close()


def test_a_message_is_for_whoever_drove_the_run_then(make_store: MakeStore, tmp_path: Path) -> None:
    """A cancelled run that is retried must not be cancelled again by the old message."""
    tries: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        looked = asyncio.Event()
        store = Overheard(make_store(), signals=lambda: loop.call_soon_threadsafe(looked.set))

        async def wait(ctx: TaskContext) -> None:
            tries.append(ctx.attempt)
            if len(tries) == 1:
                store.post_signal("r", "cancel", None, bench.now)
                await asyncio.Event().wait()
            looked.clear()
            await looked.wait()

        bench = Bench(store, flow(task("a")), tmp_path, work=wait)
        assert await bench.start() is RunStatus.CANCELLED
        assert await bench.resume(m.Reopen()) is RunStatus.SUCCEEDED
        store.close()

    asyncio.run(main())
    assert tries == [1, 2]


def test_the_lease_is_prolonged_while_a_run_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        renewed = asyncio.Event()
        store = Overheard(MemoryStore(), renew=lambda: loop.call_soon_threadsafe(renewed.set))

        async def wait() -> None:
            bench.now += LEASE_SECONDS * 0.9
            await renewed.wait()
            with pytest.raises(LeaseHeld):
                store.acquire("r", "another", bench.now + LEASE_SECONDS * 0.9, LEASE_SECONDS)

        bench = Bench(store, flow(task("a")), tmp_path, work=wait)
        assert await bench.start() is RunStatus.SUCCEEDED

    asyncio.run(main())


def test_a_lease_that_cannot_be_prolonged_ends_the_drive(tmp_path: Path) -> None:
    async def wait() -> None:
        store.acquire("r", "another", bench.now, LEASE_SECONDS, alive=False)
        bench.now += LEASE_SECONDS
        await asyncio.Event().wait()

    store = MemoryStore()
    bench = Bench(store, flow(task("a")), tmp_path, work=wait)
    with pytest.raises(LeaseLost):
        asyncio.run(bench.start())
    assert store.get_run("r").owner == "another"


def test_one_commit_carries_a_success_and_the_next_start(tmp_path: Path) -> None:
    store = Faulty(MemoryStore())
    chain = flow(task("t0"), *(task(f"t{n}", f"t{n - 1}") for n in range(1, 20)))
    bench = Bench(store, chain, tmp_path, work=work)
    assert asyncio.run(bench.start()) is RunStatus.SUCCEEDED
    assert store.calls == 21

"""The virtual clock: it jumps when nothing is left to do, goes while real work is done, and says when all is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from autoglm.testing.clock import VirtualClock

HOUR = 3600.0


def on_clock(main: Callable[[VirtualClock], Awaitable[None]]) -> VirtualClock:
    clock = VirtualClock(start=1000.0)

    async def run() -> None:
        await main(clock)

    asyncio.run(run())
    return clock


def test_it_stands_still_until_it_may_jump_to_the_next_alarm() -> None:
    seen: list[float] = []

    async def main(clock: VirtualClock) -> None:
        is_busy, done = True, asyncio.Event()
        clock.call_at(1000.0 + 2 * HOUR, lambda: (seen.append(clock()), done.set()))
        clock.call_at(1000.0 + HOUR, lambda: seen.append(clock()))
        cancelled = clock.call_at(1000.0 + HOUR / 2, lambda: seen.append(-1.0))
        cancelled.cancel()
        clock.rest(lambda: not is_busy)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert clock() == 1000.0
        is_busy = False
        clock.rest(lambda: True)
        while len(seen) < 2:
            clock.rest(lambda: True)
            await asyncio.sleep(0)
        await done.wait()

    on_clock(main)
    assert seen == [1000.0 + HOUR, 1000.0 + 2 * HOUR]


def test_made_up_work_sleeps_through_hours_in_order() -> None:
    woken: list[tuple[str, float]] = []

    async def main(clock: VirtualClock) -> None:
        async def sleeper(name: str, seconds: float) -> None:
            with clock.working(real=False):
                await clock.sleep(seconds)
                woken.append((name, clock() - 1000.0))
                await clock.sleep(1.0)

        clock.rest(lambda: True)
        await asyncio.gather(sleeper("long", 3 * HOUR), sleeper("short", HOUR), sleeper("middle", 2 * HOUR))

    assert on_clock(main)() == 1000.0 + 3 * HOUR + 1.0
    assert woken == [("short", HOUR), ("middle", 2 * HOUR), ("long", 3 * HOUR)]


def test_a_sleeper_that_is_stopped_leaves_the_account_right() -> None:
    async def main(clock: VirtualClock) -> None:
        async def sleeper() -> None:
            with clock.working(real=False):
                await clock.sleep(HOUR)

        task = asyncio.create_task(sleeper())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        clock.rest(lambda: True)
        await asyncio.create_task(sleeper())

    assert on_clock(main)() == 1000.0 + HOUR


def test_while_real_work_is_done_time_passes_and_does_not_jump() -> None:
    async def main(clock: VirtualClock) -> None:
        fired = asyncio.Event()
        clock.rest(lambda: True)
        with clock.working(real=True):
            clock.call_at(1000.02, fired.set)
            clock.call_at(1000.0 + HOUR, lambda: None)
            await fired.wait()
            assert 1000.02 <= clock() < 1000.0 + HOUR / 2
        still = clock()
        assert clock() == still

    on_clock(main)


def test_it_says_when_nothing_will_ever_happen() -> None:
    told: list[float] = []

    async def main(clock: VirtualClock) -> None:
        stuck = asyncio.Event()
        clock.on_stuck = lambda: (told.append(clock()), stuck.set())  # type: ignore[assignment, func-returns-value]
        clock.call_at(1000.0 + HOUR, lambda: clock.rest(lambda: True))
        clock.rest(lambda: True)
        await stuck.wait()

    on_clock(main)
    assert told == [1000.0 + HOUR]

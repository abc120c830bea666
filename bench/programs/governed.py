"""STORE RPM SECONDS WORKERS: ask for turns as fast as they are given, and print when each was (seconds since 1970)."""

import asyncio
import os
import sys
import time

from autoglm.llm.governor import Allowed, Busy, Governor
from autoglm.llm.waiting_line import Asker
from autoglm.stores.sqlite import SqliteStore
from autoglm.tasks.account import SharedRecords
from bench.programs.engine import answer

path, rpm, seconds, workers = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])


async def main() -> list[float]:
    store = SqliteStore(path)
    records = SharedRecords(store, is_blocking=True)
    lane = Governor(time.time, f"p{os.getpid()}").lane("bench", Allowed(rpm=rpm))
    ends = time.time() + seconds
    begun: list[float] = []

    async def worker(number: int) -> None:
        while time.time() < ends:
            asker = Asker(f"run{os.getpid()}", f"t{number}")
            try:
                permit = await lane.enter(asker, records)
            except Busy as busy:
                await asyncio.sleep(max(0.0, min(busy.until, ends) - time.time()))
                continue
            begun.append(time.time())
            await asyncio.sleep(0.2)
            lane.leave(permit)

    await asyncio.gather(*(worker(number) for number in range(workers)))
    store.close()
    return begun


answer(begun=asyncio.run(main()))

"""DBOS on SQLite doing the benchmark's workloads; runs in the peer's own environment and prints one JSON line.

The forms are the ways that DBOS's documentation offers: ``gather`` (async steps of one async workflow, started
together), ``queue`` (one workflow enqueued per task), ``start`` (one child workflow per task), ``sync`` (synchronous
steps one after the other, for the chain and as a floor for the fan-out). Every step is checkpointed by itself.

Only the run itself is timed: imports, launching (with its migrations) and a warm-up of the same shape come before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig


@DBOS.step()
async def astep(number: int) -> int:
    return 1


@DBOS.step()
def step(number: int) -> int:
    return 1


@DBOS.workflow()
async def gathered(count: int) -> int:
    return sum(await asyncio.gather(*(astep(number) for number in range(count))))


@DBOS.workflow()
async def awaited(count: int) -> int:
    return sum([await astep(number) for number in range(count)])


@DBOS.workflow()
def looped(count: int) -> int:
    return sum(step(number) for number in range(count))


@DBOS.workflow()
async def child(number: int) -> int:
    return 1


@DBOS.workflow()
async def enqueued(count: int) -> int:
    handles = [await DBOS.enqueue_workflow_async("benchmark", child, number) for number in range(count)]
    return sum([await handle.get_result() for handle in handles])


@DBOS.workflow()
async def started(count: int) -> int:
    handles = [await DBOS.start_workflow_async(child, number) for number in range(count)]
    return sum([await handle.get_result() for handle in handles])


FORMS: dict[tuple[str, str], Any] = {
    ("fanout", "gather"): gathered,
    ("fanout", "queue"): enqueued,
    ("fanout", "start"): started,
    ("fanout", "sync"): looped,
    ("chain", "gather"): awaited,
    ("chain", "sync"): looped,
}


async def main(options: argparse.Namespace) -> dict[str, Any]:
    database = Path(tempfile.mkdtemp(dir=options.dir)) / "dbos.sqlite"
    config: DBOSConfig = {
        "name": "benchmark",
        "system_database_url": f"sqlite:///{database}",
        "run_admin_server": False,
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()
    if options.form == "queue":
        # The default polls once a second; a hundredth of it is kinder to DBOS here.
        await DBOS.register_queue_async("benchmark", polling_interval_sec=0.01)
    workflow = FORMS[options.workload, options.form]

    async def once(count: int) -> tuple[float, float]:
        begin, used = time.perf_counter(), time.process_time()
        if workflow is looped:
            result = await asyncio.to_thread(workflow, count)
        else:
            result = await workflow(count)
        seconds, used = time.perf_counter() - begin, time.process_time() - used
        if result != count:
            raise SystemExit(f"dbos did {result} of {count} {options.workload} tasks")
        return seconds, used

    await once(min(options.tasks, 100))
    seconds, used = await once(options.tasks)
    DBOS.destroy()
    return {"tasks": options.tasks, "seconds": seconds, "cpu_seconds": used}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--workload", choices=["fanout", "chain"], required=True)
    parser.add_argument("--form", choices=["gather", "queue", "start", "sync"], required=True)
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--dir", required=True)
    logging.disable(logging.WARNING)
    print(json.dumps(asyncio.run(main(parser.parse_args()))))

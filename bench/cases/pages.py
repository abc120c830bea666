"""Pages of a run's task instances, read from another process while the run is writing them.

Three pages are asked for
in turn, as a list or a console would: one deep in the run, the failed ones, and those of one task.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from autoglm.stores.sqlite import SqliteStore
from bench import files
from bench.measure import Row, environment, scratch, spread

BAR = 50.0
_PAGE = 100


def once(folder: Path, items: int) -> list[float]:
    """Return the milliseconds that each page took, read from the run's second half on until it ended."""
    command = str(Path(sys.executable).parent / "autoglm")
    file = files.fanout_loop(folder, items, "record")
    variables = environment() | {"BENCH_LEDGER": str(folder / "ledger")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    run = subprocess.Popen([command, "run", str(file), "--run-id", "r"], cwd=folder, env=variables, **quiet)
    path = folder / ".autoglm" / "autoglm.db"
    took: list[float] = []
    try:
        while not path.exists() and run.poll() is None:
            time.sleep(0.01)
        time.sleep(0.2)
        store = SqliteStore(path)
        while run.poll() is None:
            written = sum(store.get_run("r").counts.values())
            if written < items // 2:
                time.sleep(0.005)
                continue
            for query in ({"after": written // 2}, {"statuses": ["failed"]}, {"node": "fan", "after": written // 2}):
                began = time.perf_counter()
                store.list_tasks("r", limit=_PAGE, **query)
                took.append((time.perf_counter() - began) * 1000)
        store.close()
    finally:
        if run.poll() is None:
            os.kill(run.pid, 9)
        run.wait()
    if run.returncode or not took:
        raise RuntimeError(f"the run ended with {run.returncode}, {len(took)} pages were read")
    return took


def measure(rounds: int, share: float) -> list[Row]:
    items = int(100_000 * share)
    found: list[float] = []
    for _ in range(rounds):
        with scratch() as folder:
            found += once(folder, items)
    late = sorted(found)[int(len(found) * 0.99)]
    return [
        Row(
            "pages",
            f"a page of {_PAGE} task instances of {items:,}, while the run is writing: 99 of 100 took at most",
            f"{late:.1f} ms",
            f"{BAR:.0f} ms",
            f"{late / BAR:.2f} ×",
            f"≤ {BAR:.0f} ms",
            late <= BAR,
        ),
        Row("pages", f"  median of {len(found):,} pages", spread([statistics.median(found)], " ms"), "", ""),
    ]

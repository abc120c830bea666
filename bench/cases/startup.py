"""The whole process, as a person waits for it: ``autoglm --version`` and the run of one task.

Beside it stands ``python -c pass``, which is what any Python program waits for first. Wall-clock is what a person sees
and what the bar judges; the processor time is shown as well, because that hardly changes when the machine is busy.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import files
from bench.measure import Row, environment, scratch, spread

RUNS = 15


def _once(argv: Sequence[str], folder: Path) -> tuple[float, float]:
    """Return (wall, processor) milliseconds of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    subprocess.run(argv, cwd=folder, env=environment(), check=True, capture_output=True)
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1000, used * 1000


def measure(rounds: int, share: float) -> list[Row]:
    command = str(Path(sys.executable).parent / "autoglm")
    rows = []
    with scratch() as folder:
        file = files.chain(folder, 1)
        for what, argv, bar in [
            ("autoglm --version", [command, "--version"], 150.0),
            ("one-task run, whole process", [command, "run", os.fspath(file)], 400.0),
        ]:
            _once(argv, folder)
            mine, bare = [], []
            for _ in range(RUNS):
                mine.append(_once(argv, folder))
                bare.append(_once([sys.executable, "-c", "pass"], folder))
            walls, used = [one[0] for one in mine], [one[1] for one in mine]
            empty = [one[0] for one in bare]
            middle = statistics.median(walls)
            told = f"{spread(walls, ' ms', 0)}; processor {statistics.median(used):.0f} ms"
            relative = f"{middle / statistics.median(empty):.1f} ×"
            against = f"{spread(empty, ' ms', 0)} python -c pass"
            rows.append(Row("startup", what, told, against, relative, f"≤ {bar:.0f} ms", middle <= bar))
    return rows

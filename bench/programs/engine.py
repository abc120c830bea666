"""How the programs run our engine: from a file, through the Python API, and with nothing switched off."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import autoglm


class Timed:
    """One workflow file: loaded, compiled and run, each part timed."""

    def __init__(self, file: Path) -> None:
        begin = time.perf_counter()
        self.workflow = autoglm.load(file)
        # The graph is compiled when first asked for. The peers' graphs are compiled before their clock starts, so ours
        # is too; ``load_seconds``, and the figures that include it, hold it.
        _ = self.workflow._loaded.graph
        self.load_seconds = time.perf_counter() - begin
        self.cpu_seconds = 0.0
        """Processor time of the last run, all threads together."""

    def run(self) -> float:
        """Run it once from the beginning, and return the seconds: its store opened, every commit made, all closed."""
        begin, used = time.perf_counter(), time.process_time()
        run = self.workflow.run()
        seconds, self.cpu_seconds = time.perf_counter() - begin, time.process_time() - used
        if not run.succeeded:
            raise SystemExit(f"the run ended {run.status}: {run.error}")
        return seconds


def peak_bytes() -> int:
    """Return the most memory this program held since it began.

    Not ``ru_maxrss``: Linux hands that on from the parent, so that after a case which made the harness itself large,
    two runs of very different size would seem to need the same.
    """
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def answer(**found: Any) -> None:
    """Print the program's result."""
    print(json.dumps(found))

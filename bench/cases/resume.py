"""A loop of 100,000 items, killed (``kill -9``) at half and resumed through the command.

Each execution of the handler appends its item and the time to a file outside the engine: that ledger tells when the
resumed process dispatched for the first time, and whether an item whose result was recorded was executed again.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import files
from bench.measure import Row, environment, ours, scratch, spread

BAR = 2.0


def _kill_at(process: subprocess.Popen[bytes], ledger: Path, lines: int) -> None:
    """Kill the process once the ledger has ``lines`` lines."""
    ledger.touch()
    seen = 0
    with ledger.open("rb") as file:
        while process.poll() is None:
            seen += file.read().count(b"\n")
            if seen >= lines:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return
            time.sleep(0.001)
    raise RuntimeError(f"the run ended (exit status {process.returncode}) before it could be killed")


def _entries(ledger: Path) -> list[tuple[int, int]]:
    # A kill may cut the last line short.
    lines = [line.split() for line in ledger.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [(int(item), int(at)) for item, at in lines]


def once(folder: Path, items: int) -> dict[str, float]:
    command = str(Path(sys.executable).parent / "autoglm")
    file = files.fanout_loop(folder, items, "record")
    ledger = folder / "ledger"
    variables = environment() | {"BENCH_LEDGER": str(ledger)}
    run = subprocess.Popen(
        [command, "run", str(file)],
        cwd=folder,
        env=variables,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _kill_at(run, ledger, items // 2)
    before = _entries(ledger)
    recorded = ours("recorded", folder)
    ledger.rename(folder / "ledger.before")
    begin = time.monotonic_ns()
    done = subprocess.run(
        [command, "resume", recorded["run_id"], "--json"], cwd=folder, env=variables, capture_output=True
    )
    whole = (time.monotonic_ns() - begin) / 1e9
    if done.returncode:
        raise RuntimeError(f"resume ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    status = json.loads(done.stdout)["status"]
    after = _entries(ledger)
    known = set(recorded["items"])
    executed = {item for item, _ in before} | {item for item, _ in after}
    if status != "succeeded" or executed != set(range(items)):
        raise RuntimeError(f"the resumed run ended {status} with {len(executed)} of {items} items executed")
    return {
        "first": (min(at for _, at in after) - begin) / 1e9,
        "whole": whole,
        "recorded": len(known),
        "executed_before": len(before),
        "again": sum(item in known for item, _ in after),
    }


def measure(rounds: int, share: float) -> list[Row]:
    items = int(100_000 * share)
    found = []
    for _ in range(rounds):
        with scratch() as folder:
            found.append(once(folder, items))
    first = [one["first"] for one in found]
    again = sum(one["again"] for one in found)
    recorded = "/".join(f"{one['recorded']:,}" for one in found)
    lost = "/".join(f"{one['executed_before'] - one['recorded']:,}" for one in found)
    middle = statistics.median(first)
    return [
        Row(
            "resume",
            f"resume of {items:,} items killed at half: from process start to the first new dispatch",
            spread(first, " s"),
            f"{BAR:.0f} s",
            f"{middle / BAR:.2f} ×",
            f"≤ {BAR:.0f} s",
            middle <= BAR,
        ),
        Row("resume", f"  recorded items ({recorded}) that ran again", f"{again:.0f}", "0", "", "= 0", again == 0),
        Row("resume", "  executed, but not yet recorded when the kill came (run again, at least once)", lost, "", ""),
        Row("resume", "  the resumed half, whole process", spread([one["whole"] for one in found], " s"), "", ""),
    ]

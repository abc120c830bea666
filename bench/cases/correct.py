"""`retry --from` on a run of 100,000 items: what runs again is planned from the journal, before anything is asked."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from autoglm.app.correcting import plan_retry
from autoglm.app.session import Session
from bench import files
from bench.measure import Row, environment, scratch, spread

BAR = 2.0


def once(folder: Path, items: int) -> float:
    """Return the seconds from an opened session to the plan; one item is named, which hangs on none of the others."""
    command = str(Path(sys.executable).parent / "autoglm")
    flow = f"name: bench\ntasks:\n  - name: fan\n    handler: noop\n    loop: '{{{{ range({items}) }}}}'\n"
    file = files.project(folder, flow)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([command, "run", str(file), "--run-id", "r"], cwd=folder, env=environment(), check=True, **quiet)
    began = time.perf_counter()
    with Session.open(file) as session:
        plan = plan_retry(session, "r", [f"fan[{items // 2}]"])
    took = time.perf_counter() - began
    if [each.items for each in plan.again][:1] != [1]:
        raise RuntimeError(f"another plan was to be expected than {plan.again}")
    return took


def measure(rounds: int, share: float) -> list[Row]:
    items = int(100_000 * share)
    found: list[float] = []
    for _ in range(rounds):
        with scratch() as folder:
            found.append(once(folder, items))
    slowest = max(found)
    return [
        Row(
            "correct",
            f"`retry --from` one of {items:,} items: planned within",
            spread(found, " s"),
            f"{BAR:.0f} s",
            f"{slowest / BAR:.2f} ×",
            f"≤ {BAR:.0f} s",
            slowest <= BAR,
        ),
    ]

"""10,000 no-op async tasks that complete and are then all rolled back, because what follows them fails.

Both rates come from the run's own times: forward from the first start to the failure, back from there to the run's end.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import files
from bench.measure import Row, environment, rate, scratch, spread

BAR = 0.5
FORMS = {"loop over {:,} items": files.undone_loop, "{:,} tasks in the file": files.undone_static}


def _shown(command: list[str], folder: Path) -> dict[str, Any]:
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, check=True)
    return dict(json.loads(done.stdout))


def once(file: Path) -> tuple[float, float]:
    """Return the seconds forward and back."""
    command = str(Path(sys.executable).parent / "autoglm")
    run = [command, "run", str(file), "--run-id", "r", "-q"]
    done = subprocess.run(run, cwd=file.parent, env=environment(), capture_output=True, check=False)
    if done.returncode != 1:
        raise RuntimeError(f"the run was to fail, and ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    shown, failed = (_shown([command, "show", *names, "--json"], file.parent) for names in (["r"], ["r", "last"]))
    undone = shown["counts"].get("rolled_back", 0)
    if undone < 100:
        raise RuntimeError(f"only {undone} tasks were rolled back")
    return failed["ended_at"] - shown["created_at"], shown["ended_at"] - failed["ended_at"]


def measure(rounds: int, share: float) -> list[Row]:
    tasks = int(10_000 * share)
    rows = []
    for form, make in FORMS.items():
        found = []
        for _ in range(rounds):
            with scratch() as folder:
                found.append(once(make(folder / "flow", tasks)))
        ahead, back = zip(*found, strict=True)
        ratios = [one / other for one, other in found]
        met = statistics.median(ratios) >= BAR
        what = f"rollback, {form.format(tasks)}, beside the way forward"
        rows.append(
            Row("rollback", what, rate(tasks, back), rate(tasks, ahead), spread(ratios, " ×"), f"≥ {BAR} ×", met)
        )
    return rows

"""A file of 10,000 tasks: parsed, checked and compiled. Beside it, what the bare parser of the format takes."""

from __future__ import annotations

import statistics

from bench import files
from bench.measure import Pairs, Row, ours, scratch, spread

TASKS = 10_000


def measure(rounds: int, share: float) -> list[Row]:
    tasks = int(TASKS * share)
    rows = []
    for form, name, bar in [("YAML", "flow.yaml", 2.0), ("JSON", "flow.json", 1.0)]:
        with scratch() as folder:
            text = files.big(tasks) if form == "YAML" else files.big_json(tasks)
            found = ours("load", files.project(folder, text, name), max(rounds, 5))
        pairs = Pairs(tuple(found["seconds"]), tuple(found["bare_seconds"]))
        middle = statistics.median(pairs.ours)
        against = f"{spread(pairs.other, ' s')} bare {'PyYAML C loader' if form == 'YAML' else 'json.loads'}"
        what = f"{form} file of {tasks:,} tasks, {len(text.encode()) / 1e6:.1f} MB: parse, check, compile"
        relative = f"{1 / pairs.speedup:.2f} × of bare"
        rows.append(Row("load", what, spread(pairs.ours, " s"), against, relative, f"≤ {bar:.0f} s", middle <= bar))
        for step, seconds in found["steps"].items():
            rows.append(Row("load", f"  {form}: {step}", spread(seconds, " s"), "", ""))
    return rows

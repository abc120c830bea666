"""400 steps that each add 1 KB which does not compress: what the store weighs on the disk, at its largest."""

from __future__ import annotations

import statistics

from bench import files
from bench.measure import Row, ours, peer, scratch

BAR = 2 * 1024 * 1024


def _megabytes(count: float) -> str:
    return f"{count / 1024 / 1024:.2f} MB"


def measure(rounds: int, share: float) -> list[Row]:
    steps = 400
    mine, plain, delta = [], [], []
    for _ in range(rounds):
        with scratch() as folder:
            mine.append(ours("growing", files.chain(folder, steps, "kilobyte"), steps)["largest_bytes"])
        common = ("--workload", "growing", "--tasks", steps, "--saver", "sqlite", "--durability", "sync")
        plain.append(peer("langgraph", *common, "--form", "nodes")["bytes"])
        delta.append(peer("langgraph", *common, "--form", "delta")["bytes"])
    size = statistics.median(mine)
    rows = [
        Row(
            "growing",
            f"{steps} steps that each add 1 KB: all files of the store, at their largest",
            _megabytes(size),
            _megabytes(BAR),
            f"{size / BAR:.2f} ×",
            "≤ 2 MB",
            size <= BAR,
        )
    ]
    for title, sizes in [("a reducer", plain), ("its beta DeltaChannel", delta)]:
        theirs = statistics.median(sizes)
        what = f"the same, beside LangGraph with SqliteSaver and {title}"
        rows.append(Row("growing", what, _megabytes(size), _megabytes(theirs), f"{size / theirs:.3f} ×"))
    return rows

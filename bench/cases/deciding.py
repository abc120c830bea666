"""Decisions and skips beside no-op tasks, each of them in a file of 10,000: what needs no executor must cost little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench import files
from bench.measure import Pairs, Row, ours, rate, scratch

BAR = 3.0
Make = Callable[[Path, int], Path]


def measure(rounds: int, share: float) -> list[Row]:
    tasks = int(10_000 * share)
    return [
        _beside(name, make, tasks, rounds) for name, make in (("decisions", files.decisions), ("skips", files.skips))
    ]


def _beside(name: str, make: Make, tasks: int, rounds: int) -> Row:
    mine, noops = [], []
    for _ in range(rounds):
        mine.append(_seconds(make, tasks))
        noops.append(_seconds(files.fanout_static, tasks))
    pairs = Pairs(tuple(mine), tuple(noops))
    what = f"{tasks:,} {name}, beside as many no-op tasks"
    return Row(
        "deciding", what, rate(tasks, mine), rate(tasks, noops), pairs.shown(), f"≥ {BAR} ×", pairs.speedup >= BAR
    )


def _seconds(make: Make, tasks: int) -> float:
    with scratch() as folder:
        found = ours("fanout", make(folder / "flow", tasks), make(folder / "warm", 10), tasks)
    return float(found["seconds"])

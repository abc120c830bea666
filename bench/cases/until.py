"""A loop of 100,000 iterations that follow one another, beside one of 10,000: memory must not grow with the length."""

from __future__ import annotations

import statistics

from bench import files
from bench.measure import Row, ours, scratch, spread

MEMORY_BAR = 64


def measure(rounds: int, share: float) -> list[Row]:
    small, large = int(10_000 * share), int(100_000 * share)
    growths, per_large = [], []
    for _ in range(rounds):
        with scratch() as folder:
            few = ours("loop", files.until(folder / "few", small), small)
            many = ours("loop", files.until(folder / "many", large), large)
        per_large.append(many["seconds"] / large * 1e6)
        growths.append((many["peak_bytes"] - few["peak_bytes"]) / (large - small))
    growth = statistics.median(growths)
    return [
        Row(
            "until",
            f"{large:,} iterations with `previous`: peak memory an iteration, over that of {small:,}",
            spread(growths, " B", 0),
            f"{MEMORY_BAR} B",
            spread(per_large, " µs an iteration", 0),
            f"≤ {MEMORY_BAR} B",
            growth <= MEMORY_BAR,
        )
    ]

"""A loop of 100,000 items beside one of 10,000: neither time nor memory per item may grow with the length."""

from __future__ import annotations

import statistics

from bench import files
from bench.measure import Row, ours, scratch, spread

TIME_BAR = 1.3
MEMORY_BAR = 2048


def measure(rounds: int, share: float) -> list[Row]:
    small, large = int(10_000 * share), int(100_000 * share)
    times, growths = [], []
    per_small, per_large = [], []
    for _ in range(rounds):
        with scratch() as folder:
            few = ours("loop", files.fanout_loop(folder / "few", small), small)
            many = ours("loop", files.fanout_loop(folder / "many", large), large)
        per_small.append(few["seconds"] / small * 1e6)
        per_large.append(many["seconds"] / large * 1e6)
        times.append(per_large[-1] / per_small[-1])
        growths.append((many["peak_bytes"] - few["peak_bytes"]) / (large - small))
    time, growth = statistics.median(times), statistics.median(growths)
    return [
        Row(
            "loop",
            f"loop of {large:,}: time an item, beside the same with {small:,}",
            spread(per_large, " µs", 0),
            spread(per_small, " µs", 0),
            f"{time:.2f} × ({min(times):.2f}-{max(times):.2f})",
            f"≤ {TIME_BAR} ×",
            time <= TIME_BAR,
        ),
        Row(
            "loop",
            f"loop of {large:,}: peak memory an item, over that of {small:,}",
            spread(growths, " B", 0),
            f"{MEMORY_BAR:,} B",
            f"{growth / MEMORY_BAR:.2f} ×",
            "≤ 2 KB",
            growth <= MEMORY_BAR,
        ),
    ]

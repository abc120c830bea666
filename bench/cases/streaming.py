"""Answers that come in pieces: what a piece costs from the wire to the log."""

from __future__ import annotations

import statistics

from bench.cases.calls import flow, server
from bench.measure import Row, ours, scratch, spread

PIECES = 500
CONCURRENCY = 10
BAR = 60


def measure(rounds: int, share: float) -> list[Row]:
    count = max(CONCURRENCY, int(200 * share))
    costs = []
    with server(0, 0, PIECES) as url:
        for _ in range(rounds):
            with scratch() as folder:
                file = flow(folder, url, count, CONCURRENCY, stream=True)
                costs.append(ours("model_calls", file, count)["cpu_seconds"] / (count * PIECES) * 1e6)
    cost = statistics.median(costs)
    return [
        Row(
            "streaming",
            f"{count} answers in {PIECES} pieces a millisecond apart, {CONCURRENCY} at once: processor time a piece",
            spread(costs, " µs", 0),
            f"{BAR} µs",
            f"{cost / BAR:.2f} ×",
            f"≤ {BAR} µs",
            cost <= BAR,
        )
    ]

"""A loop of 100,000 model calls whose answers are all different: what it holds in memory, and leaves on the disk."""

from __future__ import annotations

import json
import statistics
from urllib.request import Request, urlopen

from bench.cases.calls import flow, server
from bench.measure import Row, ours, scratch, spread

LATENCY = 20
CHARACTERS = 400
MEMORY_BAR = 300
STORE_BAR = 1.3
_MEGABYTE = 1024 * 1024


def measure(rounds: int, share: float) -> list[Row]:
    small, large = int(10_000 * share), int(100_000 * share)
    peaks, small_peaks, shares, stores = [], [], [], []
    with server(LATENCY, CHARACTERS) as url:
        raw = _raw_bytes(url) * large
        for _ in range(rounds):
            with scratch() as folder:
                few = ours("model_calls", flow(folder / "few", url, small), small)
                many = ours("model_calls", flow(folder / "many", url, large), large)
            peaks.append(many["peak_bytes"] / _MEGABYTE)
            small_peaks.append(few["peak_bytes"] / _MEGABYTE)
            stores.append(many["store_bytes"] / _MEGABYTE)
            shares.append(many["store_bytes"] / raw)
    peak, weight = statistics.median(peaks), statistics.median(shares)
    return [
        Row(
            "calls_loop",
            f"loop of {large:,} model calls: peak memory, beside the same with {small:,}",
            spread(peaks, " MB", 0),
            spread(small_peaks, " MB", 0),
            f"{peak / statistics.median(small_peaks):.2f} ×",
            f"≤ {MEMORY_BAR} MB",
            peak <= MEMORY_BAR,
        ),
        Row(
            "calls_loop",
            "the same: all files of the store at the end, beside the answers as they came",
            spread(stores, " MB", 1),
            f"{raw / _MEGABYTE:.1f} MB",
            f"{weight:.2f} × ({min(shares):.2f}-{max(shares):.2f})",
            f"≤ {STORE_BAR} ×",
            weight <= STORE_BAR,
        ),
    ]


def _raw_bytes(url: str, count: int = 50) -> float:
    """Return how many bytes an answer has."""
    sizes = []
    for _ in range(count):
        request = Request(f"{url}/chat/completions", json.dumps({}).encode(), {"Content-Type": "application/json"})
        with urlopen(request) as answer:
            sizes.append(len(answer.read()))
    return statistics.mean(sizes)

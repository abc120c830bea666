"""Model calls: beside a bare client loop, an SDK and a framework; and a limit that four processes share."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench import files
from bench.measure import PROGRAMS, Pairs, Row, environment, ours, peer, rate, scratch, spread

LATENCY = 200
CONCURRENCY = 500
BARE_BAR, SDK_BAR, FRAMEWORK_BAR = 0.8, 3.0, 5.0
CPU_BAR = 150
RPM, WINDOW, MINUTES = 600, 60.0, 2.2


@contextmanager
def server(latency: int = LATENCY, *how: int) -> Iterator[str]:
    """Run the model server, and give its address. ``how`` it answers is said in the program."""
    program = PROGRAMS / "model_server.py"
    argv = [sys.executable, str(program), str(latency), *(str(each) for each in how)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "score": {"type": "number"}},
    "required": ["label", "score"],
}


def flow(folder: Path, url: str, count: int, concurrency: int = CONCURRENCY, **fields: object) -> Path:
    """Write a loop of ``count`` calls whose answers must fit a schema, unless ``fields`` say otherwise."""
    task = {
        "name": "label",
        "type": "llm_generate",
        "model": "m",
        "prompt": "Label the review number {{ item }}.",
        "loop": {"over": f"{{{{ range({count}) }}}}", "max_parallel": concurrency},
        **(fields or {"output_schema": SCHEMA}),
    }
    spec = {"models": {"m": {"base_url": url, "model": "bench"}}, "durability": "full", "tasks": [task]}
    return files.project(folder, json.dumps(spec), "flow.json")


def measure(rounds: int, share: float) -> list[Row]:
    count = int(10_000 * share)
    bare_pairs, sdk_pairs, chain_pairs = [], [], []
    with server() as url:
        for _ in range(rounds):
            with scratch() as folder:
                mine = ours("model_calls", flow(folder / "flow", url, count), count)
            bare_pairs.append((mine, ours("bare_calls", url, count, CONCURRENCY)))
            few = count // 5
            sdk = peer("openai", "--url", url, "--tasks", few, "--concurrency", CONCURRENCY)
            sdk_pairs.append((mine, {"seconds": sdk["seconds"] * count / few}))
            few = count // 10
            chain = peer("langchain", "--url", url, "--tasks", few, "--concurrency", CONCURRENCY)
            chain_pairs.append((mine, {"seconds": chain["seconds"] * count / few}))
    rows = []
    for what, pairs, bar in (
        ("a bare aiohttp loop", Pairs.of(bare_pairs, "seconds"), BARE_BAR),
        ("openai SDK, asyncio.gather", Pairs.of(sdk_pairs, "seconds"), SDK_BAR),
        ("LangChain abatch", Pairs.of(chain_pairs, "seconds"), FRAMEWORK_BAR),
    ):
        rows.append(
            Row(
                "calls",
                f"{count:,} model calls, {LATENCY} ms, {CONCURRENCY} at once, journaled and parsed, beside {what}",
                rate(count, pairs.ours),
                rate(count, pairs.other),
                pairs.shown(),
                f"≥ {bar:g} ×",
                pairs.speedup >= bar,
            )
        )
    extra = [(mine["cpu_seconds"] - bare["cpu_seconds"]) / count * 1e6 for mine, bare in bare_pairs]
    per_call = [bare["cpu_seconds"] / count * 1e6 for _, bare in bare_pairs]
    cpu = statistics.median(extra)
    rows.append(
        Row(
            "calls",
            "processor time of the engine for a call, on top of the bare client",
            spread(extra, " µs", 0),
            spread(per_call, " µs", 0),
            f"{cpu:.0f} µs",
            f"≤ {CPU_BAR} µs",
            cpu <= CPU_BAR,
        )
    )
    return rows


def governor(rounds: int, share: float) -> list[Row]:
    """Four processes on one SQLite store at 600 a minute, in real time."""
    seconds = WINDOW * (MINUTES if share == 1.0 else 1.1)
    begun: list[float] = []
    with scratch() as folder, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ours, "governed", folder / "shared.db", RPM, seconds, 50) for _ in range(4)]
        for each in asked:
            begun += each.result()["begun"]
    begun.sort()
    most = max(bisect_left(begun, at + WINDOW) - place for place, at in enumerate(begun))
    # Whole windows from the first call on: what was used of what they allow.
    whole = int(seconds // WINDOW) * WINDOW
    used = bisect_left(begun, begun[0] + whole) / (RPM * whole / WINDOW)
    return [
        Row(
            "governor",
            f"four processes at {RPM} a minute, {seconds:.0f} s: the fullest window of {WINDOW:.0f} s",
            f"{most}",
            f"{RPM}",
            f"{most / RPM:.2%}",
            "≤ 100 %",
            most <= RPM,
        ),
        Row(
            "governor",
            "the same: what was used of the limit",
            f"{used:.2%}",
            "100 %",
            f"{used:.2%}",
            "≥ 99 %",
            used >= 0.99,
        ),
    ]

"""10,000 no-op async tasks at once, each result durable by itself, beside LangGraph and DBOS.

Ours is measured in both spellings: one task looped over 10,000 items, and 10,000 tasks in the file. The peers run the
form that is fastest for them (``python -m bench peers`` shows them all). LangGraph with SqliteSaver runs with
durability ``sync``: like ours, a step's results are on the disk before what follows begins.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from bench import files
from bench.measure import Pairs, Row, ours, peer, rate, scratch, spread

PEERS = [
    ("LangGraph, SqliteSaver", 20.0, "langgraph", ("--form", "send", "--saver", "sqlite", "--durability", "sync")),
    ("DBOS, SQLite", 20.0, "dbos", ("--form", "sync")),
    ("LangGraph in memory, InMemorySaver", 4.0, "langgraph", ("--form", "send", "--saver", "memory")),
    ("LangGraph in memory, no checkpoints", 4.0, "langgraph", ("--form", "send", "--saver", "none")),
]
FORMS = [("loop over {:,} items", files.fanout_loop), ("{:,} tasks in the file", files.fanout_static)]


def _ours(make: Callable[[Path, int], Path], tasks: int) -> dict[str, float]:
    with scratch() as folder:
        return ours("fanout", make(folder / "flow", tasks), make(folder / "warm", 100), tasks)


def measure(rounds: int, share: float) -> list[Row]:
    tasks = int(10_000 * share)
    rows = []
    for title, make in FORMS:
        what = "fan-out, " + title.format(tasks)
        whole: list[float] = []
        for against, bar, name, arguments in PEERS:
            mine, theirs = [], []
            for _ in range(rounds):
                found = _ours(make, tasks)
                mine.append(found["seconds"])
                whole.append(found["whole_seconds"])
                theirs.append(peer(name, "--workload", "fanout", "--tasks", tasks, *arguments)["seconds"])
            pairs = Pairs(tuple(mine), tuple(theirs))
            beside = f"{what}, beside {against}"
            met = pairs.speedup >= bar
            rates = rate(tasks, mine), rate(tasks, theirs)
            rows.append(Row("fanout", beside, *rates, pairs.shown(), f"≥ {bar:.0f} ×", met))
        told = f"{spread(whole, ' s')}, {tasks / statistics.median(whole):,.0f}/s"
        rows.append(Row("fanout", f"{what}, reading the file included", told, "", ""))
    return rows

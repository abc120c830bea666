"""10,000 no-op async tasks at once, each result durable by itself, beside LangGraph and DBOS.

Ours is measured in both spellings: one task looped over 10,000 items, and 10,000 tasks in the file. The peers run the
form that is fastest for them (``python -m bench peers`` shows them all). LangGraph with SqliteSaver runs with
durability ``sync``: like ours, a step's results are on the disk before what follows begins.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bench import files
from bench.measure import Pairs, Row, ours, peer, rate, scratch, spread


@dataclass(frozen=True)
class Peer:
    """A peer with its best forms; each round takes the fastest of them."""

    title: str
    bar: float
    name: str
    forms: tuple[tuple[str, ...], ...]

    def run(self, tasks: int) -> dict[str, float]:
        common = ("--workload", "fanout", "--tasks", tasks)
        return min((peer(self.name, *common, *form) for form in self.forms), key=lambda found: found["seconds"])


SQLITE = ("--saver", "sqlite", "--durability", "sync")
PEERS = [
    Peer("LangGraph, SqliteSaver", 20.0, "langgraph", (("--form", "send", *SQLITE), ("--form", "nodes", *SQLITE))),
    Peer("DBOS, SQLite", 20.0, "dbos", (("--form", "sync"),)),
    Peer("LangGraph in memory, InMemorySaver", 4.0, "langgraph", (("--form", "send", "--saver", "memory"),)),
    Peer("LangGraph in memory, no checkpoints", 4.0, "langgraph", (("--form", "send", "--saver", "none"),)),
]
FORMS = {"loop over {:,} items": files.fanout_loop, "{:,} tasks in the file": files.fanout_static}


def _ours(make: Callable[[Path, int], Path], tasks: int) -> dict[str, float]:
    with scratch() as folder:
        return ours("fanout", make(folder / "flow", tasks), make(folder / "warm", 100), tasks)


def measure(rounds: int, share: float) -> list[Row]:
    tasks = int(10_000 * share)
    whole: dict[str, list[float]] = {form: [] for form in FORMS}
    found: dict[tuple[str, Peer], list[tuple[dict[str, float], dict[str, float]]]] = {}
    for _, against in product(range(rounds), PEERS):
        theirs = against.run(tasks)
        for form, make in FORMS.items():
            mine = _ours(make, tasks)
            whole[form].append(mine["whole_seconds"])
            found.setdefault((form, against), []).append((mine, theirs))
    rows = []
    for form in FORMS:
        what = "fan-out, " + form.format(tasks)
        for against in PEERS:
            beside = Pairs.of(found[form, against], "seconds")
            by_processor = Pairs.of(found[form, against], "cpu_seconds").speedup
            rates = rate(tasks, beside.ours), rate(tasks, beside.other)
            ratio = f"{beside.shown()}; by processor time {by_processor:.1f} ×"
            title, bar, met = f"{what}, beside {against.title}", f"≥ {against.bar:.0f} ×", beside.speedup >= against.bar
            rows.append(Row("fanout", title, *rates, ratio, bar, met))
        told = f"{spread(whole[form], ' s')}, {tasks / statistics.median(whole[form]):,.0f}/s"
        rows.append(Row("fanout", f"{what}, reading the file included", told, "", ""))
    return rows

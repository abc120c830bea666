"""Every way of writing the fan-out for each peer, so that the choice made in ``fanout`` can be checked."""

from __future__ import annotations

import statistics
from itertools import product

from bench.measure import Row, peer, rate, spread

Form = tuple[str, tuple[str, ...]]

WAYS = ["nodes", "send", "tasks"]
LANGGRAPH_MEMORY = [
    ("langgraph", ("--form", form, "--saver", saver)) for saver, form in product(["none", "memory"], WAYS)
]
LANGGRAPH_SQLITE = [
    ("langgraph", ("--form", form, "--saver", saver, "--durability", durability))
    for saver, form, durability in product(["sqlite", "aiosqlite"], WAYS, ["sync", "async"])
]
DBOS = [("dbos", ("--form", form)) for form in ["gather", "sync", "start", "queue"]]


def measure(rounds: int, share: float) -> list[Row]:
    # DBOS takes a time per task that does not depend on their number, and minutes for 10,000 in its slower forms.
    groups: list[tuple[str, list[Form], int]] = [
        ("LangGraph in memory", LANGGRAPH_MEMORY, int(10_000 * share)),
        ("LangGraph on SQLite", LANGGRAPH_SQLITE, int(10_000 * share)),
        ("DBOS on SQLite", DBOS, int(1_000 * share)),
    ]
    rows = []
    for title, forms, tasks in groups:
        taken: dict[Form, list[float]] = {form: [] for form in forms}
        # Form after form, round after round: a slow minute of the machine falls on all of them.
        for _ in range(rounds):
            for name, arguments in forms:
                found = peer(name, "--workload", "fanout", "--tasks", tasks, *arguments)
                taken[name, arguments].append(found["seconds"])
        best = min(statistics.median(seconds) for seconds in taken.values())
        for (_, arguments), seconds in sorted(taken.items(), key=lambda one: statistics.median(one[1])):
            what = f"{title}: {' '.join(arguments).replace('--', '')}, {tasks:,} tasks"
            slower = f"{statistics.median(seconds) / best:.2f} × the best"
            rows.append(Row("peers", what, "", f"{rate(tasks, seconds)}, {spread(seconds, ' s')}", slower))
    return rows

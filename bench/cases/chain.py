"""1,000 tasks one after the other beside 1,000 bare commits of one row, in one process, turn by turn."""

from __future__ import annotations

from bench import files
from bench.measure import Pairs, Row, ours, peer, rate, scratch

BAR = 0.5


def measure(rounds: int, share: float) -> list[Row]:
    tasks = int(1_000 * share)
    with scratch() as folder:
        found = ours("chain", files.chain(folder, tasks), tasks, max(rounds, 7))
    what = f"chain of {tasks:,}, beside bare single-row FULL commits through apsw, both in fresh files"
    pairs = Pairs(tuple(found["seconds"]), tuple(found["bare_seconds"]))
    fresh = Pairs(tuple(found["seconds"]), tuple(found["fresh_seconds"]))
    mine = rate(tasks, pairs.ours)
    rows = [  # ours begins with a fresh file too, whose log has to grow: like is judged beside like
        Row("chain", what, mine, rate(tasks, fresh.other), fresh.shown(), f"≥ {BAR} ×", fresh.speedup >= BAR),
        Row("chain", "  beside a file whose log has its full size", mine, rate(tasks, pairs.other), pairs.shown()),
    ]
    sqlite = ("--saver", "sqlite", "--durability", "sync")
    for against, name, arguments in [
        ("LangGraph, SqliteSaver, a graph of nodes", "langgraph", ("--form", "nodes", *sqlite)),
        ("LangGraph, SqliteSaver, tasks (not waiting for the disk)", "langgraph", ("--form", "tasks", *sqlite)),
        ("DBOS, SQLite", "dbos", ("--form", "sync")),
    ]:
        mine, theirs = [], []
        for _ in range(rounds):
            with scratch() as folder:
                mine += ours("chain", files.chain(folder, tasks), tasks, 1)["seconds"]
            theirs.append(peer(name, "--workload", "chain", "--tasks", tasks, *arguments)["seconds"])
        beside = Pairs(tuple(mine), tuple(theirs))
        title = f"chain of {tasks:,}, beside {against}"
        rows.append(Row("chain", title, rate(tasks, mine), rate(tasks, theirs), beside.shown()))
    return rows

"""Account for every order: what the run says came of it, held against the books. JSON totals, and a page to read."""

import json
import os
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

given = json.loads(Path(os.environ["AUTOGLM_INPUT"]).read_text())
orders = [json.loads(line) for line in Path(given["orders"]).read_text().splitlines()]
outcomes = Counter(result["outcome"] if result is not None else "failed" for result in given["results"])


def rows(file: str, query: str) -> list[tuple]:
    if not Path(file).exists():
        return []
    with closing(sqlite3.connect(file)) as books:
        return books.execute(query).fetchall()


reservations = Counter(dict(rows("out/ledgers.db", "select state, count(*) from reservations group by state")))
captured = rows("out/ledgers.db", "select coalesce(sum(amount), 0) from reservations where state = 'captured'")
ways = Counter(dict(rows("out/ledgers.db", "select way, count(*) from shipments group by way")))
carriers = Counter(dict(rows("out/ledgers.db", "select carrier, count(*) from shipments group by carrier")))
twice = rows("out/ledgers.db", "select order_id from shipments group by order_id having count(*) > 1")
parcels = rows("out/carrier.db", "select order_id from parcels")

# What must hold, whatever went wrong and however often the run was killed.
wrong = []
for what, one, other in [
    ("orders that came in, and orders with an outcome", len(orders), sum(outcomes.values())),
    (
        "orders that went out, and captured payments",
        outcomes["express"] + outcomes["scheduled"],
        reservations["captured"],
    ),
    ("failed orders, and released payments", outcomes["failed"], reservations["released"]),
    ("payments that are still held, and none", reservations["held"], 0),
    ("express orders, and express shipments", outcomes["express"], ways["express"]),
    ("scheduled orders, and scheduled shipments", outcomes["scheduled"], ways["scheduled"]),
    ("orders shipped twice, and none", len(twice), 0),
    ("parcels at the carrier, and shipments by it", len(parcels), carriers["carrier"]),
    ("parcels at the carrier, and orders they are for", len(parcels), len(set(parcels))),
]:
    if one != other:
        wrong.append(f"{what}: {one} and {other}")

totals = {
    "orders": len(orders),
    "outcomes": dict(sorted(outcomes.items())),
    "payments": dict(sorted(reservations.items())),
    "revenue": round(captured[0][0], 2) if captured else 0,
    "carriers": dict(sorted(carriers.items())),
    "balanced": not wrong,
    "wrong": wrong,
}

MEANING = {
    "express": "in stock and urgent: handed to the carrier, or to the standby courier where the carrier was down",
    "scheduled": "given a day",
    "rejected": "not a valid order",
    "refused": "too risky",
    "declined": "large, and a person said no",
    "failed": "could not be fulfilled; its payment was released",
}
lines = [
    "# Order routing",
    "",
    f"{len(orders)} orders came in, and {totals['revenue']:,} was taken for those that went out.",
    f"The books {'balance' if not wrong else 'DO NOT BALANCE'}.",
    *(f"- {problem}" for problem in wrong),
    "",
    "| Outcome | Orders | What it means |",
    "|---|---|---|",
    *(f"| {name} | {outcomes[name]} | {meaning} |" for name, meaning in MEANING.items()),
    "",
    "| Way | Shipments |",
    "|---|---|",
    *(f"| {name} | {count} |" for name, count in sorted(carriers.items())),
    "",
]
Path("out/report.md").write_text("\n".join(lines))
Path("out/totals.json").write_text(json.dumps(totals, indent=2) + "\n")
Path(os.environ["AUTOGLM_OUTPUT"]).write_text(json.dumps(totals))

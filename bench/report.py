"""The one table: as text, as Markdown (also in ``docs/benchmarks.md``), and kept as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measure import Row

RESULTS = Path(__file__).resolve().parent / "results"
PAGE = RESULTS.parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: written by `python -m bench` -->", "<!-- end of results -->"
HEADINGS = ("what", "ours", "peer or limit", "ratio (range)", "bar", "met")
_MET = {True: "yes", False: "NO", None: ""}


def _cells(row: Row) -> tuple[str, ...]:
    return (row.what, row.ours, row.against, row.ratio, row.bar, _MET[row.met])


def text(rows: Sequence[Row]) -> str:
    """Return the table with aligned columns."""
    table = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def markdown(found: dict[str, Any]) -> str:
    """Return the kept results as a Markdown table with a line on where they come from."""
    rows = [Row(**row) for row in found["rows"]]
    lines = [" | ".join(HEADINGS), " | ".join("---" for _ in HEADINGS)]
    lines += [" | ".join(cell.replace("|", "\\|") for cell in _cells(row)) for row in rows]
    machine = found["machine"]
    origin = (
        f"Measured {found['measured']} on {machine['cores']} cores, Python {machine['python']}, {machine['system']}"
    )
    return "\n".join(f"| {line} |" for line in lines) + f"\n\n{origin}; load before: {machine['load']}.\n"


def save(rows: Sequence[Row], rounds: int, load: float) -> None:
    """Write ``latest.json``, keeping the rows of cases that were not run now, and ``latest.md`` from it."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "latest.json"
    cases = list(dict.fromkeys(row.case for row in rows))
    kept = json.loads(path.read_text())["rows"] if path.exists() else []
    merged = [row for row in kept if row["case"] not in cases] + [asdict(row) for row in rows]
    from bench.cases import CASES

    order = list(CASES)
    merged.sort(key=lambda row: order.index(row["case"]) if row["case"] in order else len(order))
    found = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "rounds": rounds,
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "system": platform.system(),
            "load": f"{load:.1f}",
        },
        "rows": merged,
    }
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    (RESULTS / "latest.md").write_text(markdown(found))
    if PAGE.exists():
        before, begin, rest = PAGE.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        PAGE.write_text(f"{before}{begin}\n\n{markdown(found)}\n{end}{after}")

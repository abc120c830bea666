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


def _table(rows: Sequence[Row]) -> str:
    lines = [" | ".join(HEADINGS), " | ".join("---" for _ in HEADINGS)]
    lines += [" | ".join(cell.strip().replace("|", "\\|") for cell in _cells(row)) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def markdown(kept: dict[str, Any]) -> str:
    """Return the kept results as Markdown, a table for each case, each with when and where it was measured."""
    parts = []
    for case, found in kept.items():
        on = f"{found['cores']} cores, Python {found['python']}, {found['system']}, load {found['load']} before"
        origin = f"Measured {found['measured']}, {found['rounds']} rounds, on {on}."
        parts.append(f"### {case}\n\n{_table([Row(**row) for row in found['rows']])}\n\n{origin}\n")
    return "\n".join(parts)


def origin(rounds: int) -> dict[str, Any]:
    """Return when and where a case is measured; asked before it begins, for the load then is others' work."""
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "rounds": rounds,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": platform.system(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def save(case: str, rows: Sequence[Row], measured: dict[str, Any], order: Sequence[str]) -> None:
    """Write one case's rows over its last ones in ``latest.json``, and the Markdown from all of them."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "latest.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept[case] = {**measured, "rows": [asdict(row) for row in rows]}
    kept = {name: kept[name] for name in order if name in kept}
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    (RESULTS / "latest.md").write_text(markdown(kept))
    if PAGE.exists():
        before, begin, rest = PAGE.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        PAGE.write_text(f"{before}{begin}\n\n{markdown(kept)}\n{end}{after}")

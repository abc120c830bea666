"""What becomes of the labelled records: a table in Parquet, and a page that shows it."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OUT = Path("out")
BARS = ("#2f6f9f", "#3f8f6f", "#8f6f3f", "#7f4f8f")


def row(
    record: dict[str, Any], subject: dict[str, Any], facts: dict[str, Any], judged: dict[str, Any]
) -> dict[str, Any]:
    """Return one line of the table, from a record and what the models said about it."""
    return {
        "id": record["id"],
        "module": record["module"],
        "name": record["name"],
        "kind": record["kind"],
        "letters": len(record["text"]),
        "subject": subject["label"],
        "summary": facts["summary"],
        "raises": facts["raises"],
        "has_example": facts["has_example"],
        "score": judged["score"],
    }


def write_table(rows: list[dict[str, Any] | None], ctx: Any) -> dict[str, Any]:
    """Write the rows that were labelled as Parquet; a record whose models failed for good is left out, and counted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    done = [each for each in rows if each is not None]
    OUT.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(done), OUT / "dataset.parquet", compression="zstd")
    ctx.logger.info("%d rows written, %d left out", len(done), len(rows) - len(done))
    return {"file": str(OUT / "dataset.parquet"), "rows": len(done), "left_out": len(rows) - len(done)}


def write_page(table: dict[str, Any], offline: bool) -> dict[str, Any]:
    """Write a page with charts, from the table that was written."""
    import pyarrow.parquet as pq

    columns = pq.read_table(table["file"]).to_pydict()
    scores = Counter(f"{round(score)} of 5" for score in columns["score"])
    charts = [
        ("Subjects", Counter(columns["subject"]).most_common()),
        ("Kinds", Counter(columns["kind"]).most_common()),
        (
            "Errors that are mentioned most",
            Counter(name for names in columns["raises"] for name in names).most_common(12),
        ),
        ("How well the text explains itself (score)", sorted(scores.items())),
    ]
    drawn = "".join(chart(title, bars, BARS[at]) for at, (title, bars) in enumerate(charts))
    page = PAGE.format(rows=table["rows"], left_out=table["left_out"], warning=WARNING if offline else "", charts=drawn)
    path = OUT / "report.html"
    path.write_text(page, encoding="utf-8")
    return {"file": str(path), "subjects": dict(charts[0][1])}


def chart(title: str, bars: Iterable[tuple[str, int]], colour: str) -> str:
    """Return a bar chart as SVG, a bar a line."""
    shown = list(bars)
    most = max((count for _, count in shown), default=1)
    lines = [
        f'<text x="215" y="{at * 26 + 17}" text-anchor="end">{html.escape(str(name)[:32])}</text>'
        f'<rect x="225" y="{at * 26 + 3}" width="{max(2, 380 * count // most)}" height="18" rx="3" fill="{colour}"/>'
        f'<text x="{235 + max(2, 380 * count // most)}" y="{at * 26 + 17}" class="count">{count:,}</text>'
        for at, (name, count) in enumerate(shown)
    ]
    height = 26 * len(shown) + 6
    return (
        f'<figure><figcaption>{html.escape(title)}</figcaption><svg viewBox="0 0 680 {height}" role="img" '
        f'aria-label="{html.escape(title)}">{"".join(lines)}</svg></figure>'
    )


WARNING = '<p class="warning">A rehearsal: no model was asked. Every label, fact and score below is made up.</p>'
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Docstrings of Python's standard library</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; color: #1d2733; }}
  figure {{ margin: 2.5rem 0; }} figcaption {{ font-weight: 600; margin-bottom: .5rem; }}
  svg text {{ font-size: 13px; fill: #1d2733; }} svg .count {{ fill: #5b6b7b; }}
  .warning {{ background: #fff4d6; border-left: 4px solid #d99a00; padding: .6rem 1rem; }}
  @media (prefers-color-scheme: dark) {{
    body {{ background: #14181d; color: #e4e9ee; }} svg text {{ fill: #e4e9ee; }} svg .count {{ fill: #9aa9b8; }}
    .warning {{ background: #3a2f10; }}
  }}
</style>
<h1>Docstrings of Python's standard library</h1>
<p>{rows:,} records, {left_out:,} left out.</p>
{warning}
{charts}
</html>
"""

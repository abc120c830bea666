"""The page on benchmarks tells of every case, and of no other."""

from __future__ import annotations

import re

from bench.cases import CASES, OPTIONAL

from tests.docs.pages import ROOT


def test_every_case_is_described() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    described = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(described) == sorted(CASES.keys() - OPTIONAL)

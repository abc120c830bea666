from __future__ import annotations

import json
import re

from hypothesis import example, given
from hypothesis import strategies as st

from autoglm.base.diagnostics import Diagnostic, Place, Severity
from autoglm.base.reports import WIDTH, printable, render_json, render_sarif, render_text, summary
from tests.golden import check_golden


def found(line: str, column: int, end: int, **more: object) -> Diagnostic:
    fields = {"code": "some-code", "message": "something is wrong", "severity": Severity.ERROR, **more}
    return Diagnostic(place=Place("flow.yaml", 14, column, 14, end), excerpt=line, **fields)  # type: ignore[arg-type]


CASES = [
    Diagnostic(
        "unknown-task",
        "`report` depends on `sumarize`, which does not exist",
        Place("flow.yaml", 14, 16, 14, 24),
        "did you mean `summarize` (line 6)?",
        excerpt="  depends_on: [sumarize]",
    ),
    found("名称: 中文值 x", 5, 8, message="the caret stands below wide characters"),
    found("e\u0301té: x", 6, 7, message="and below what has combining marks"),
    found("\ta\tbc", 4, 6, message="tabs are expanded"),
    found("x" * 499 + "HERE" + "y" * 500, 500, 504, message="a long line is cut on both sides"),
    found("HERE" + "y" * 500, 1, 5, message="or on one", severity=Severity.WARNING),
    found("x" * 500 + "HERE", 501, 505, message="or on the other"),
    found("中" * 300, 200, 202, message="wide ones too"),
    found("ab:", 4, 4, message="nothing has a caret as well"),
    Diagnostic("multi", "several lines are marked on their first", Place("a", 1, 3, 3, 4), excerpt="- ab: c"),
    Diagnostic("no-place", "this has no place", hint="none"),
    found("a\x1b[31m\u202eb", 9, 10, message="\x1b[31mnothing moves the cursor\u202e"),
    found("short", 50, 60, message="a place beyond the line's end"),
]


def test_text() -> None:
    check_golden("reports.txt", render_text(CASES))
    check_golden("reports.colour.txt", render_text(CASES[:1], color=True).replace("\x1b", "ESC"))
    assert render_text([]) == ""


def test_colour_changes_nothing_else() -> None:
    assert re.sub(r"\x1b\[[0-9;]*m", "", render_text(CASES, color=True)) == render_text(CASES)


def test_summary() -> None:
    error, warning = CASES[0], CASES[5]
    assert summary([error]) == "1 error"
    assert summary([error, error, error, warning]) == "3 errors, 1 warning"
    assert summary([warning, warning]) == "2 warnings"
    assert summary([]) == "0 errors"


def test_json() -> None:
    document = json.loads(render_json(CASES[:2]))
    assert document["errors"] == 2
    assert document["warnings"] == 0
    assert document["diagnostics"][0] == {
        "code": "unknown-task",
        "severity": "error",
        "message": "`report` depends on `sumarize`, which does not exist",
        "hint": "did you mean `summarize` (line 6)?",
        "place": {"file": "flow.yaml", "line": 14, "column": 16, "end_line": 14, "end_column": 24},
        "excerpt": "  depends_on: [sumarize]",
    }


def test_sarif() -> None:
    check_golden("reports.sarif.json", render_sarif([CASES[0], CASES[10], CASES[0]], version="0.1.0") + "\n")
    log = json.loads(render_sarif(CASES))
    (run,) = log["runs"]
    assert (log["version"], run["columnKind"]) == ("2.1.0", "unicodeCodePoints")
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]


def test_a_file_name_that_is_no_text() -> None:
    strange = Diagnostic("x", "x", Place("a\udcff b/中.yaml", 1, 1, 1, 2), excerpt="x")
    assert "a\\udcff b/中.yaml:1:1" in render_text([strange])
    assert json.loads(render_json([strange]))["diagnostics"][0]["place"]["file"] == "a? b/中.yaml"
    assert '"uri": "a%3F%20b/%E4%B8%AD.yaml"' in render_sarif([strange])


@given(st.text(max_size=400), st.integers(1, 500), st.integers(1, 500))
@example("0" * 15 + "\x1f" * 7 + "\U0001239a" * 8, 1, 1)  # short, and wide: each is written as its escape
def test_any_excerpt_stays_on_its_line_and_in_its_width(line: str, column: int, end: int) -> None:
    text = render_text([found(line, column, end)])
    _head, excerpt, caret, blank, counted, last = text.split("\n")
    assert (blank, counted, last) == ("", "1 error", "")
    assert len(excerpt) <= WIDTH + 20  # the gutter, and one last character written as its escape
    assert set(caret[8:]) <= {" ", "^"}
    assert caret.endswith("^")
    assert printable(excerpt) == excerpt
    text.encode()


def test_a_file_that_is_wrong_throughout_does_not_flood_the_screen() -> None:
    text = render_text([Diagnostic("broken", f"number {number}") for number in range(1234)])
    assert "number 99" in text
    assert "number 100\n" not in text
    assert "… and 1,134 more like these" in text
    assert text.endswith("1234 errors\n")

"""What a person, or a program, is told of tests."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from autoglm.base.durations import format_duration
from autoglm.base.reports import render_json, render_one
from autoglm.cli.entry import FAILED, SUCCEEDED
from autoglm.cli.icons import style_of
from autoglm.cli.measure import harmless
from autoglm.cli.output import has_color, say_json, styled, warn
from autoglm.cli.tables import say_table

if TYPE_CHECKING:
    from autoglm.base.diagnostics import Diagnostic
    from autoglm.testing.coverage import Coverage
    from autoglm.testing.playing import Result
    from autoglm.testing.python_tests import PythonResult
    from autoglm.testing.suite import Played, Suite

_MISSING_SHOWN = 6
_LOG_LINES = 50


class Teller:
    """Tells of each case as it ends, and of all of them at the end. ``json`` tells it all at once."""

    def __init__(self, *, json: bool, verbose: bool) -> None:
        self._json = json
        self._verbose = verbose
        self._suite: Suite | None = None
        self._began = time.monotonic()
        self._out = sys.stdout  # the one that functions do not print to

    def begin(self, suite: Suite) -> None:
        """A file's cases begin."""
        self._suite = suite
        self._say(styled(harmless(suite.file.file), "bold", self._out))

    def begin_python(self, count: int) -> IO[str]:
        """Python tests begin; return where their output goes."""
        self._say(styled(f"Python tests ({count} file{'s' * (count != 1)})", "bold", self._out))
        self._out.flush()
        return sys.stderr if self._json else self._out

    def refused(self, problems: Sequence[Diagnostic]) -> None:
        """Nothing is run, for a test file is wrong: who reads JSON finds the problems where the results would be."""
        if self._json:
            counts = {"passed": 0, "failed": 0, "skipped": 0, "seconds": round(time.monotonic() - self._began, 3)}
            say_json({**counts, "cases": [], "coverage": [], **json.loads(render_json(problems))})

    def note(self, text: str) -> None:
        """Say something that changes no result."""
        warn(f"note: {text}")

    def told(self, result: Result) -> None:
        """A case has ended."""
        name = harmless(result.case.name)
        took = format_duration(result.seconds)
        own = result.played.seconds if result.played is not None else 0.0
        if own > max(1.0, 2 * result.seconds):
            took += f", {format_duration(own)} by its own clock"
        if result.passed:
            self._say(f"  {styled('✓', style_of('succeeded'), self._out)} {name} ({took})")
            return
        self._say(f"  {styled('✗', style_of('failed'), self._out)} {name} ({took})")
        self._tell_failures(result)

    def _tell_failures(self, result: Result) -> None:
        from autoglm.testing.suite import Played

        if self._suite is None or self._json:
            return
        for problem, details in Played(self._suite).diagnostics(result):
            for line in render_one(problem, color=has_color(self._out)).splitlines():
                self._say(f"    {line}")
            for line in details:
                style = {"-": "red", "+": "cyan"}.get(line[:1], "")
                self._say(f"        {styled(harmless(line), style, self._out)}")
        if self._verbose and result.played is not None:
            for line in _logs(result)[:_LOG_LINES]:
                self._say(f"      | {harmless(line)}")

    def summary(
        self, files: Sequence[Played], coverages: Sequence[Coverage], python: PythonResult | None, least: float | None
    ) -> int:
        """Tell the whole, and return the exit code."""
        results = [result for played in files for result in played.results]
        passed = sum(result.passed for result in results) + (python.passed if python is not None else 0)
        failed = sum(not result.passed for result in results) + (python.failed if python is not None else 0)
        skipped = python.skipped if python is not None else 0
        low = [each for each in coverages if least is not None and each.share < least]
        seconds = time.monotonic() - self._began
        if self._json:
            counts = {"passed": passed, "failed": failed, "skipped": skipped, "seconds": round(seconds, 3)}
            say_json({**counts, "cases": _cases_data(files), "coverage": [_coverage_data(each) for each in coverages]})
        else:
            if coverages:
                self._say("")
                _say_coverage(coverages)
            self._say("")
            parts = [f"{passed} passed"] + [f"{failed} failed"] * bool(failed) + [f"{skipped} skipped"] * bool(skipped)
            self._say(f"{', '.join(parts)} in {format_duration(seconds)}")
        for each in low:
            warn(f"{harmless(each.workflow)} is covered by {each.share:.0f}%, and {least:g}% is asked for")
        return FAILED if failed or low else SUCCEEDED

    def _say(self, text: str) -> None:
        if not self._json:
            self._out.write(f"{text}\n")


def _say_coverage(coverages: Sequence[Coverage]) -> None:
    rows = []
    for each in coverages:
        ran, tasks = each.count(branches=False)
        taken, branches = each.count(branches=True)
        missing = [f"{point.task}: {point.what}" for point in each.missing]
        shown = "; ".join(missing[:_MISSING_SHOWN])
        more = f"; … and {len(missing) - _MISSING_SHOWN} more" if len(missing) > _MISSING_SHOWN else ""
        rows.append([each.workflow, f"{ran}/{tasks}", f"{taken}/{branches}", f"{each.share:.0f}%", shown + more])
    say_table(["WORKFLOW", "TASKS", "BRANCHES", "COVERED", "NEVER"], rows)


def _logs(result: Result) -> list[str]:
    assert result.played is not None
    lines = result.played.session.store.list_logs(result.played.report.run_id, limit=_LOG_LINES)
    return [f"{line.task}: {line.text}" for _, line in lines]


def _cases_data(files: Sequence[Played]) -> list[dict[str, Any]]:
    found = []
    for played in files:
        for result in played.results:
            run = result.played
            problems = [
                {
                    "message": problem.message,
                    "line": problem.place.line if problem.place else None,
                    "column": problem.place.column if problem.place else None,
                    "details": list(details),
                }
                for problem, details in played.diagnostics(result)
            ]
            found.append(
                {
                    "file": played.suite.file.file,
                    "name": result.case.name,
                    "passed": result.passed,
                    "seconds": round(result.seconds, 3),
                    "status": run.report.status if run is not None else None,
                    "path": run.ran if run is not None else [],
                    "run_seconds": round(run.seconds, 3) if run is not None else None,
                    "failures": problems,
                }
            )
    return found


def _coverage_data(coverage: Coverage) -> dict[str, Any]:
    return {
        "workflow": coverage.workflow,
        "percent": round(coverage.share, 1),
        "points": len(coverage.points),
        "missing": [{"task": point.task, "what": point.what} for point in coverage.missing],
    }

"""Skips are counted: on CI one that nobody expects is a failure, so that nothing goes untested in silence."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    # There the same examples are tried each time: a build tells what its commit did. Others are tried at every desk.
    settings.load_profile("ci")

EXPECTED = (
    "it runs this kind",  # a conformance suite asks each executor for what it offers only
    "it does not run this kind",
    "keeps nothing",  # … and each store
    "could not import 'pyarrow'",  # an extra that the tests do without
)
WITHOUT_ROOT = ("no file system may be mounted here",)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the skips that are not expected."""
    for reason, test in _unexpected(terminalreporter):
        terminalreporter.write_line(f"unexpected skip: {test}: {reason}", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail on them, where it counts."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and exitstatus == 0 and reporter is not None and _unexpected(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _unexpected(reporter: pytest.TerminalReporter) -> list[tuple[str, str]]:
    expected = EXPECTED if os.geteuid() == 0 else EXPECTED + WITHOUT_ROOT
    found = []
    for report in reporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(known in reason for known in expected):
            found.append((reason.removeprefix("Skipped: "), report.nodeid))
    return found

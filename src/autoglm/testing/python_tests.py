"""The Python tests of a project, run by pytest in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from autoglm.base.errors import UsageError
from autoglm.testing.junit import counts_of

_NOTHING_COLLECTED = 5
_FAILED = 1


@dataclass(frozen=True, slots=True)
class PythonResult:
    """What pytest found. ``xml`` is its JUnit document."""

    passed: int
    failed: int
    skipped: int
    xml: str


def is_installed() -> bool:
    """Return whether pytest is there to run them."""
    return find_spec("pytest") is not None


def run_pytest(files: Sequence[Path], root: Path, wanted: str | None, output: IO[str]) -> PythonResult | None:
    """Run the files with pytest, whose words go to ``output``; None when no test of theirs is wanted.

    Raises:
        UsageError: ``pytest-failed``: pytest itself could not run, or was interrupted.
    """
    with tempfile.TemporaryDirectory(prefix="autoglm-test-") as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command += ["-k", wanted] if wanted is not None else []
        done = subprocess.run(
            [*command, *(str(file.absolute()) for file in files)], cwd=root, stdout=output, check=False
        )
        if done.returncode == _NOTHING_COLLECTED:
            return None
        if done.returncode not in (0, _FAILED):
            hint = "what it said stands above"
            raise UsageError(
                f"pytest could not run the tests (exit code {done.returncode})", code="pytest-failed", hint=hint
            )
        xml = report.read_text(encoding="utf-8")
    return PythonResult(*counts_of(xml), xml)

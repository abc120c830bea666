"""Test a project's workflows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoglm.cli import options

if TYPE_CHECKING:
    from autoglm.app.session import Session
    from autoglm.cli.tested import Teller
    from autoglm.testing.python_tests import PythonResult
    from autoglm.testing.suite import Found, Played, Suite, Tally


def run_tests(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH...]", help="Test files, or folders of them; default: the project's `tests/`."),
    ] = None,
    wanted: Annotated[
        str | None, typer.Option("-k", metavar="TEXT", help="Only tests whose file or name holds this text.")
    ] = None,
    coverage_min: Annotated[
        float | None,
        typer.Option(min=0, max=100, metavar="PERCENT", help="Fail when less of a workflow is covered."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results as JUnit XML.")] = None,
    json: options.Json = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what tasks wrote in the cases that failed.")
    ] = False,
    project: options.Project = None,
) -> int:
    """Test workflows: cases in `tests/*.test.yaml`, and Python tests."""
    from autoglm.base.errors import SpecError, UsageError
    from autoglm.cli.opening import open_session
    from autoglm.cli.output import write_file
    from autoglm.cli.tested import Teller
    from autoglm.testing.junit import junit_xml
    from autoglm.testing.suite import Tally, find, read_suites

    given = paths or []
    folder = project or (_project_of(given[0]) if given else None)
    with open_session(folder, "memory") as session:
        found = find(session.project.root, given)
        if not found.cases and not found.python:
            hint = "write one in tests/NAME.test.yaml; docs/testing-workflows.md shows how"
            raise UsageError("there are no tests", code="no-tests", hint=hint)
        teller = Teller(json=json, verbose=verbose)
        tally = Tally(session)
        try:
            suites = read_suites(found.cases, session, _shown)
        except SpecError as error:
            teller.refused(error.diagnostics)
            raise
        files = _play(suites, wanted, tally, teller)
        python = _run_python(found, session, wanted, teller)
    if not files and python is None and wanted is not None:
        raise UsageError(f"no test holds {wanted!r}", code="no-tests", hint="`autoglm test` shows them all")
    if junit is not None:
        write_file(junit, junit_xml(files, python.xml if python is not None else None))
    return teller.summary(files, list(tally.coverages.values()), python, coverage_min)


def _play(suites: list[Suite], wanted: str | None, tally: Tally, teller: Teller) -> list[Played]:
    """Run the cases of every file on one event loop; what functions print goes to their run's log."""
    from autoglm.runtime.event_loop import run_to_end
    from autoglm.runtime.prints import Printed, captured

    async def main() -> list[Played]:
        played = []
        for suite in suites:
            if any(True for _ in suite.chosen(wanted)):
                teller.begin(suite)
                played.append(await tally.play(suite, wanted, teller.told))
        return played

    with captured(Printed(lambda stream, text: None)):
        return run_to_end(main)


def _run_python(found: Found, session: Session, wanted: str | None, teller: Teller) -> PythonResult | None:
    import re

    from autoglm.testing.python_tests import is_installed, run_pytest

    if not found.python or (wanted is not None and not re.fullmatch(r"[\w.-]+", wanted)):
        return None  # no Python test has a blank in its name
    if not is_installed():
        count = len(found.python)
        what = "1 Python test file was" if count == 1 else f"{count} Python test files were"
        teller.note(f"{what} left out: pytest is not installed here")
        return None
    return run_pytest(found.python, session.project.root, wanted, teller.begin_python(len(found.python)))


def _project_of(path: Path) -> Path | None:
    """Return the folder of the project that a test file, or a folder of them, belongs to."""
    place = path.resolve()
    folder = place if place.is_dir() else place.parent
    tests = next((each for each in (folder, *folder.parents) if each.name == "tests"), None)
    found = folder if tests is None else tests.parent
    return found if found.is_dir() else None


def _shown(path: Path) -> str:
    """Return a path as seen from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except (OSError, ValueError):
        return str(path)

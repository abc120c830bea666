"""The tests of a project: found, read, run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoglm.app.loading import Loaded, read_source
from autoglm.app.session import Session
from autoglm.base.diagnostics import Diagnostic, sort_diagnostics
from autoglm.base.errors import SpecError, UsageError
from autoglm.spec.document import Document, read_document
from autoglm.testing.cases import Case, CaseFile
from autoglm.testing.coverage import Coverage, coverage_of, met
from autoglm.testing.fitting import unfitting
from autoglm.testing.playing import Result, play
from autoglm.testing.reading import read_case_file

CASE_FILES = ("*.test.yaml", "*.test.yml", "*.test.json")
PYTHON_FILES = ("test_*.py", "*_test.py")


@dataclass(frozen=True, slots=True)
class Found:
    """The test files of a project, each sort sorted by name."""

    cases: tuple[Path, ...]
    python: tuple[Path, ...]


@dataclass(slots=True)
class Suite:
    """A test file that is fit to run, and its workflow."""

    file: CaseFile
    document: Document
    loaded: Loaded

    def chosen(self, wanted: str | None) -> Iterator[Case]:
        """Yield the cases whose file or name holds ``wanted``, whatever its case."""
        for case in self.file.cases:
            if wanted is None or wanted.casefold() in f"{self.file.file}::{case.name}".casefold():
                yield case


@dataclass(slots=True)
class Played:
    """What came of the cases of one file."""

    suite: Suite
    results: list[Result] = field(default_factory=list)

    def diagnostics(self, result: Result) -> list[tuple[Diagnostic, tuple[str, ...]]]:
        """Return each failure of a case with its place, and the lines that show it."""
        document = self.suite.document
        return [
            (document.diagnostic("test-failed", failure.message, failure.path), failure.details)
            for failure in result.failures
        ]


def find(root: Path, paths: Sequence[Path] = ()) -> Found:
    """Return the test files below ``paths``; without any, those in the project's ``tests/``.

    Raises:
        UsageError: ``test-path``: a path does not exist, or is no test file.
    """
    if not paths:
        folder = root / "tests"
        return _of([folder]) if folder.is_dir() else Found((), ())
    for path in paths:
        if not path.exists():
            raise UsageError(f"there is no file {path}", code="test-path", hint="give test files, or folders of them")
        if path.is_file() and not _matches(path, (*CASE_FILES, "*.py")):
            hint = "a test is called NAME.test.yaml, or is a Python file"
            raise UsageError(f"{path} is no test", code="test-path", hint=hint)
    return _of(paths)


def _of(paths: Sequence[Path]) -> Found:
    files = {file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()}
    named = {path for path in paths if path.is_file()}
    shown = sorted(file for file in files if not any(part.startswith((".", "__")) for part in file.parts[1:]))
    cases = tuple(file for file in shown if _matches(file, CASE_FILES))
    python = tuple(file for file in shown if _matches(file, PYTHON_FILES) or (file in named and file.suffix == ".py"))
    return Found(cases, python)


def _matches(path: Path, patterns: Iterable[str]) -> bool:
    return any(path.match(pattern) for pattern in patterns)


def read_suite(path: Path, session: Session, show: Callable[[Path], str] = str) -> Suite:
    """Read a test file and its workflow. ``show`` gives how places call a file; it may be opened by that.

    Raises:
        SpecError: everything that is wrong with it, or with its workflow.
        UsageError: it cannot be read.
    """
    document = read_document(read_source(path), show(path), keep_going=True)
    found = read_case_file(document)
    try:
        loaded = session.load(show(session.project.resolve(found.workflow)))
    except UsageError as error:
        message = f"the workflow `{found.workflow}` cannot be read: {error.message}"
        hint = error.hint or "its path is relative to the project"
        raise SpecError([document.diagnostic("test-workflow", message, ("workflow",), hint=hint)]) from None
    wrong = unfitting(found, document, loaded.graph)
    if wrong:
        raise SpecError(wrong)
    return Suite(found, document, loaded)


def read_suites(paths: Iterable[Path], session: Session, show: Callable[[Path], str] = str) -> list[Suite]:
    """Read test files. Raises SpecError with everything that is wrong with any of them, or UsageError."""
    suites: list[Suite] = []
    wrong: list[Diagnostic] = []
    for path in paths:
        try:
            suites.append(read_suite(path, session, show))
        except SpecError as error:
            wrong += error.diagnostics
    if wrong:
        raise SpecError(sort_diagnostics(wrong))
    return suites


class Tally:
    """Runs suites, and keeps account of what they covered."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.coverages: dict[str, Coverage] = {}
        """By workflow, as the test files name it."""

    async def play(self, suite: Suite, wanted: str | None, told: Callable[[Result], None]) -> Played:
        """Run the chosen cases of one file; ``told`` hears of each as it has ended."""
        played = Played(suite)
        for case in suite.chosen(wanted):
            result = await play(case, suite.loaded, self._session.project)
            played.results.append(result)
            self._count(suite, result)
            told(result)
            if result.played is not None:
                result.played.close()
        return played

    def _count(self, suite: Suite, result: Result) -> None:
        workflow = suite.file.workflow
        if workflow not in self.coverages:
            self.coverages[workflow] = coverage_of(workflow, suite.loaded.graph, [])
        if result.played is not None:
            self.coverages[workflow].met |= met(result.played)

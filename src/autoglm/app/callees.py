"""A workflow file together with the files that it calls: each is read once, and held against the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autoglm.base.diagnostics import Diagnostic, did_you_mean
from autoglm.base.errors import SpecError, UsageError
from autoglm.spec.calls import callees_of, calls_of, endless_calls, key_of
from autoglm.spec.checks_calls import check_endless
from autoglm.spec.document import Document, read_document
from autoglm.spec.model import Task, Workflow
from autoglm.spec.report import Report

Parse = Callable[[Document], tuple[Workflow | None, list[Diagnostic]]]


@dataclass(slots=True)
class Part:
    """One file: its text, and what became of it."""

    document: Document
    source: str
    workflow: Workflow | None
    found: list[Diagnostic] = field(default_factory=list)


class Family:
    """The files that a workflow consists of, by their keys; that of the one which is run is empty."""

    def __init__(self, document: Document, parse: Parse, read: Callable[[Path], str]) -> None:
        self._parse = parse
        self._read = read
        self._folder = Path(document.file).parent
        self.parts: dict[str, Part] = {}
        self.broken: list[Diagnostic] = []
        """What is wrong with files that cannot be read at all."""
        self._refused: dict[str, str] = {}
        """Why a file cannot be had, by its key."""
        self.has_calls = False
        self._add("", document, "")
        waiting = deque([""])
        while waiting:
            key = waiting.popleft()
            waiting.extend(self._take_calls(key))

    @property
    def workflows(self) -> dict[str, Workflow]:
        return {key: part.workflow for key, part in self.parts.items() if part.workflow is not None}

    def callees(self, key: str, workflow: Workflow) -> Mapping[str, Workflow]:
        """Return what a file calls, by the path that it gives."""
        return callees_of(workflow, key, self.workflows) if self.has_calls else {}

    def whole(self) -> Workflow | None:
        """Return the workflow that is run, with those that it calls."""
        workflow = self.parts[""].workflow
        if workflow is None or len(self.parts) == 1:
            return workflow
        called = {key: callee for key, callee in self.workflows.items() if key}
        return workflow.model_copy(update={"callees": called})

    def check_ends(self) -> None:
        """Report calls in circles that nothing ends."""
        for key, task, files in endless_calls(self.workflows):
            report = Report(self.parts[key].document)
            check_endless(task, [self._shown(file) for file in files], report)
            self.parts[key].found += report.found

    def _shown(self, key: str) -> str:
        return str(self._folder / key) if key else self.parts[""].document.file

    def _add(self, key: str, document: Document, source: str) -> None:
        workflow, found = self._parse(document)
        self.parts[key] = Part(document, source, workflow, found)

    def _take_calls(self, key: str) -> list[str]:
        """Read the files that one calls and that have not been read yet; return their keys."""
        part = self.parts[key]
        new: list[str] = []
        report = Report(part.document)
        for task, written in calls_of(part.workflow.all_tasks) if part.workflow is not None else ():
            self.has_calls = True
            callee = key_of(key, written)
            if callee not in self.parts and callee not in self._refused and self._take(callee):
                new.append(callee)
            if self._refused.get(callee):
                self._complain(task, written, self._refused[callee], report)
        part.found += report.found
        return new

    def _take(self, key: str) -> bool:
        path = self._folder / key
        try:
            source = self._read(path)
            document = read_document(source, str(path), keep_going=True)
        except UsageError as error:
            self._refused[key] = "does not exist" if error.code == "file-not-found" else error.message
            return False
        except SpecError as error:
            self._refused[key] = ""  # its own diagnostics tell
            self.broken += error.diagnostics
            return False
        self._add(key, document, source)
        return True

    def _complain(self, task: Task, written: str, why: str, report: Report) -> None:
        folder = (self._folder / key_of("", written)).parent
        names = [path.name for path in folder.glob("*.[yj]*")] if folder.is_dir() else []
        close = did_you_mean(written.rpartition("/")[2], names)
        hint = f"did you mean `{close}`?" if close else "its path is relative to the file that calls it"
        message = f"the workflow file `{written}` {why}"
        report.task(task, ("options", "workflow"), "missing-workflow", message, hint=hint, word=written)

"""From a path to a checked, compiled workflow, with everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from autoglm.app.callees import Family
from autoglm.app.plugins import load_task_types
from autoglm.base.diagnostics import Diagnostic, sort_diagnostics
from autoglm.base.errors import SpecError, UsageError
from autoglm.config.settings import FILE_NAME as SETTINGS
from autoglm.graph.compile import compile_graph
from autoglm.graph.model import Graph
from autoglm.spec.catalog import Catalog
from autoglm.spec.decisions import has_called, with_all_called_functions
from autoglm.spec.document import Document, decode_source, gc_paused, read_document
from autoglm.spec.model import Task, Workflow
from autoglm.spec.names import infer_inputs
from autoglm.spec.parse import parse_workflow
from autoglm.spec.places import field_place
from autoglm.spec.saved import workflow_text
from autoglm.spec.validate import validate

_MAX_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Loaded:
    """A workflow file that is fit to run; ``diagnostics`` are its warnings."""

    workflow: Workflow
    catalog: Catalog
    source: str
    file: str
    diagnostics: list[Diagnostic] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    """The texts of the files that it calls, by their keys."""
    read: dict[str, str] = field(default_factory=dict)
    """Digests of the files that were read into it (variables, prompts), by their names from the root."""
    _graph: Graph | None = None
    _text: bytes = b""

    @property
    def graph(self) -> Graph:
        """The compiled graph, made when first asked for."""
        if self._graph is None:
            self._graph = compile_graph(self.workflow, self.catalog)
        return self._graph

    @property
    def text(self) -> bytes:
        """The workflow as JSON text, as the journals of its runs hold it; made for the first of them."""
        self._text = self._text or workflow_text(self.workflow)
        return self._text


def read_source(path: Path) -> str:
    """Return the text of a workflow file.

    Raises:
        UsageError: ``file-not-found``, ``file-unreadable``.
        SpecError: ``file-too-large``, or it is no UTF-8 text.
    """
    try:
        if path.is_dir():
            hint = _candidates(path)
            raise UsageError(f"{path} is a folder, not a workflow file", code="file-not-found", hint=hint)
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)  # what a device or a pipe holds, its size does not tell
        if len(raw) > _MAX_BYTES:
            raise SpecError([Diagnostic("file-too-large", f"{path} is larger than {_MAX_BYTES // 1024**2} MB")])
        return decode_source(raw, str(path))
    except FileNotFoundError:
        hint = _candidates(path.parent) if path.parent.is_dir() else "check the path"
        raise UsageError(f"there is no file {path}", code="file-not-found", hint=hint) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "correct the path, or its permissions"
        raise UsageError(f"{path} cannot be read: {reason}", code="file-unreadable", hint=hint) from None


def _candidates(folder: Path) -> str | None:
    patterns = ("*.yaml", "*.yml", "*.json")
    found = sorted(p.name for pattern in patterns for p in folder.glob(pattern) if p.name != SETTINGS)
    return f"there is {', '.join(found[:5])}" if found else "`autoglm init` makes a project to begin with"


def diagnose(
    source: str,
    file: str,
    catalog: Catalog,
    root: Path,
    defaults: Mapping[str, Any] | None = None,
    environment: str | None = None,
) -> tuple[Workflow | None, list[Diagnostic]]:
    """Return the workflow (None when it cannot be told) and everything that is wrong or doubtful, sorted by place.

    Raises:
        SpecError: the text is no YAML or JSON.
    """
    return check_document(read_document(source, file, keep_going=True), catalog, root, defaults, environment)


def check_document(
    document: Document,
    catalog: Catalog,
    root: Path,
    defaults: Mapping[str, Any] | None = None,
    environment: str | None = None,
) -> tuple[Workflow | None, list[Diagnostic]]:
    """Return the same for a document that has been read."""
    family = _check(document, catalog, root, defaults, environment)
    return family.whole(), _found(family)


def _check(
    document: Document,
    catalog: Catalog,
    root: Path,
    defaults: Mapping[str, Any] | None,
    environment: str | None,
    read: dict[str, str] | None = None,
) -> Family:
    """Read and check a document and the files that it calls. ``read`` takes digests of what is read into them."""

    def parse(document: Document) -> tuple[Workflow | None, list[Diagnostic]]:
        workflow, found = parse_workflow(
            document, catalog, read_file=_reader(root, read), defaults=defaults, environment=environment
        )
        if workflow is not None and (not isinstance(document.data, dict) or "inputs" not in document.data):
            workflow = workflow.model_copy(update={"inputs": infer_inputs(workflow), "inputs_inferred": True})
        return (None if workflow is None else _with_called_functions(workflow, catalog)), found

    with gc_paused():
        family = Family(document, parse, read_source)
        for key, part in family.parts.items():
            if part.workflow is not None:
                callees = family.callees(key, part.workflow)
                part.found += validate(part.workflow, catalog, part.document, callees)
                part.found += _by_type(part.workflow, catalog, part.document)
        if family.has_calls:
            family.check_ends()
    return family


def _with_called_functions(workflow: Workflow, catalog: Catalog) -> Workflow:
    """Return the workflow with a task for each function that a decision calls."""
    parts = {"tasks": workflow.tasks, "on_error": workflow.on_error, "finally_": workflow.finally_}
    named = catalog.functions
    more = {name: with_all_called_functions(tasks, named) for name, tasks in parts.items() if has_called(tasks, named)}
    return workflow.model_copy(update=more) if more else workflow


def _found(family: Family) -> list[Diagnostic]:
    return sort_diagnostics([*family.broken, *(each for part in family.parts.values() for each in part.found)])


def _by_type(workflow: Workflow, catalog: Catalog, document: Document) -> Iterator[Diagnostic]:
    """Yield what only the task types themselves can tell is wrong."""
    catalog = replace(catalog, models={**catalog.models, **workflow.models})
    checks: dict[str, Callable[..., Any]] = {}
    for task in _tasks(workflow.all_tasks):
        if task.type not in checks:
            plugin = load_task_types().get(task.type)
            checks[task.type] = plugin.load()().check if plugin is not None else _no_check
        for problem in checks[task.type](task, catalog):
            path, found = problem if isinstance(problem, tuple) else ((), problem)
            place = field_place(document, task, *path)
            yield replace(found, place=place, excerpt=document.excerpt(place.line))


def _tasks(tasks: tuple[Task, ...]) -> Iterator[Task]:
    for task in tasks:
        yield task
        if task.rollback is not None:
            yield task.rollback
        if task.fallback is not None:
            yield task.fallback
        yield from _tasks(task.tasks)


def _no_check(task: Task, catalog: Catalog) -> tuple[()]:
    return ()


def load_file(
    path: Path,
    catalog: Catalog,
    root: Path,
    defaults: Mapping[str, Any] | None = None,
    environment: str | None = None,
) -> Loaded:
    """Read, check and compile a workflow file.

    Raises:
        SpecError: everything that is wrong with it.
        UsageError: it cannot be read.
    """
    source = read_source(path)
    read: dict[str, str] = {}
    with gc_paused():
        document = read_document(source, str(path), keep_going=True)
        family = _check(document, catalog, root, defaults, environment, read)
        workflow, diagnostics = family.whole(), _found(family)
    if workflow is None or any(d.is_error for d in diagnostics):
        raise SpecError(diagnostics)
    sources = {key: part.source for key, part in family.parts.items() if key}
    return Loaded(workflow, catalog, source, str(path), diagnostics, sources, read)


def _reader(root: Path, read: dict[str, str] | None) -> Callable[[str], str]:
    def reader(name: str) -> str:
        text = read_source(root / name)
        if read is not None:
            read[name] = digest_of(text)
        return text

    return reader


def digest_of(text: str) -> str:
    """Return a digest of a file's text (SHA-256, hex)."""
    return sha256(text.encode()).hexdigest()

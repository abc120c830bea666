"""Whether a test file fits its workflow: every name in it must be one of the workflow's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from autoglm.app.inputs import check_inputs
from autoglm.base.diagnostics import Diagnostic, did_you_mean, sort_diagnostics
from autoglm.base.errors import UsageError
from autoglm.graph.model import Graph, Node, NodeKind
from autoglm.spec.document import Document
from autoglm.spec.expressions import Template
from autoglm.spec.faults import suggest
from autoglm.spec.model import Path
from autoglm.testing.cases import Case, CaseFile, Mock
from autoglm.testing.expectations import CHECK_NAMES

_INDEX = re.compile(r"\[\d+\]")
_QUOTED = re.compile(r"`([^`]+)`")


def static(task: str) -> str:
    """Return a task instance's static path: ``process[3].ship`` is of ``process.ship``."""
    return _INDEX.sub("", task) if "[" in task else task


def mock_names(graph: Graph, node: Node) -> frozenset[str]:
    """Return what a mock's value may read."""
    names = {"arguments", "inputs", "attempt"}
    for each in _around(graph, node):
        if each.loop is not None:
            names |= {"item", "index", each.loop.item_name}
    return frozenset(names)


def unfitting(found: CaseFile, document: Document, graph: Graph) -> list[Diagnostic]:
    """Return everything in a test file that its workflow does not have."""
    return sort_diagnostics(_Fitting(document, graph).of_file(found))


def _around(graph: Graph, node: Node) -> Iterator[Node]:
    by_path = {each.path: each for each in graph.nodes}
    parts = node.path.split(".")
    return (by_path[".".join(parts[:end])] for end in range(1, len(parts) + 1))


class _Fitting:
    def __init__(self, document: Document, graph: Graph) -> None:
        self.document = document
        self.graph = graph
        self.nodes = {node.path: node for node in graph.nodes}

    def of_file(self, found: CaseFile) -> Iterator[Diagnostic]:
        for case in found.cases:
            yield from self._inputs(case)
            for task, mock in case.mocks.items():
                yield from self._mock(task, mock)
            yield from self._expectation(case)

    def _inputs(self, case: Case) -> Iterator[Diagnostic]:
        try:
            check_inputs(self.graph.workflow, case.inputs)
        except UsageError as error:
            for line in error.message.split("\n")[1:]:
                problem = line.strip().removeprefix("- ")
                name = _QUOTED.match(problem)
                message, _, way = problem.partition("; give it with ")
                hint = f"write `inputs: {{{name[1]}: …}}`" if way and name else None
                path = self._input_path(case, name[1] if name else "")
                yield self.document.diagnostic("bad-inputs", message, path, hint=hint)

    def _input_path(self, case: Case, name: str) -> Path:
        data = self.document.data
        own = data["cases"][case.path[1]]
        for holder, path in ((own, case.path), (data, ())):
            given = holder.get("inputs")
            if isinstance(given, dict) and name in given:
                return (*path, "inputs", name)
        return (*case.path, "inputs") if "inputs" in own else (*case.path, "name")

    def _mock(self, task: str, mock: Mock) -> Iterator[Diagnostic]:
        node = self.nodes.get(task)
        if node is None:
            yield self._unknown(task, mock.path, key=True)
            return
        if node.kind is not NodeKind.WORK:
            what = "a decision" if node.kind is NodeKind.DECISION else "a group"
            hint = (
                "let its rules decide: give the inputs and results that they read"
                if node.kind is NodeKind.DECISION
                else f"mock the tasks in it: {', '.join(f'`{path}`' for path in self._inside(task))}"
            )
            message = f"`{task}` is {what}, and only what does work can be mocked"
            yield self.document.diagnostic("mock-not-work", message, mock.path, key=True, hint=hint)
            return
        outcomes = [(each, (*mock.path, "sequence", index)) for index, each in enumerate(mock.sequence)]
        if mock.always is not None:
            outcomes.append((mock.always, mock.path))
        for outcome, path in outcomes:
            if outcome.value is not None:
                yield from self._names(outcome.value, mock_names(self.graph, node), (*path, "value"))

    def _inside(self, task: str) -> list[str]:
        return [path for path in self.nodes if path.startswith(f"{task}.")][:5]

    def _expectation(self, case: Case) -> Iterator[Diagnostic]:
        expect, path = case.expect, case.expect.path
        for task, fields in expect.tasks.items():
            if static(task) not in self.nodes:
                yield self._unknown(task, fields.path, key=True)
                continue
            node = self.nodes[static(task)]
            if fields.branches is not None and node.kind is not NodeKind.DECISION:
                message = f"`{task}` is no decision, so it has no `branches`"
                yield self.document.diagnostic("expect-not-a-decision", message, (*fields.path, "branches"), key=True)
        for key, stages in (("path", expect.path_taken), ("order", expect.order)):
            for number, stage in enumerate(stages or ()):
                yield from (self._unknown(task, (*path, key, number)) for task in stage if task not in self.nodes)
        for number, task in enumerate(expect.skipped or ()):
            if static(task) not in self.nodes:
                yield self._unknown(task, (*path, "skipped", number))
        for check in expect.checks:
            yield from self._names(check.template, CHECK_NAMES, check.path)
            for chain in check.template.paths:
                if chain[:1] == ("tasks",) and len(chain) > 1 and static(chain[1]) not in self.nodes:
                    yield self._unknown(chain[1], check.path)

    def _names(self, template: Template, known: Iterable[str], path: Path) -> Iterator[Diagnostic]:
        for name in sorted(template.names - set(known)):
            hint = suggest(name, sorted(known))
            yield self.document.diagnostic("unknown-name", f"`{name}` is not known here", path, hint=hint)

    def _unknown(self, task: str, path: Path, *, key: bool = False) -> Diagnostic:
        close = did_you_mean(static(task), self.nodes)
        hint = f"did you mean `{close}`?" if close else f"it has {', '.join(list(self.nodes)[:12])}"
        message = f"the workflow has no task `{task}`"
        return self.document.diagnostic("unknown-task", message, path, key=key, hint=hint)

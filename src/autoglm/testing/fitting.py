"""Whether a test file fits its workflow: every name in it must be one of the workflow's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from autoglm.app.inputs import check_inputs
from autoglm.base.diagnostics import Diagnostic, sort_diagnostics
from autoglm.base.errors import UsageError
from autoglm.graph.model import Graph, Node, NodeKind
from autoglm.spec.document import Document
from autoglm.spec.expressions import Template
from autoglm.spec.faults import suggest
from autoglm.spec.model import Path
from autoglm.testing.cases import Case, CaseFile, Mock
from autoglm.testing.expectations import CHECK_NAMES
from autoglm.testing.naming import TaskNames, static, what_is

_QUOTED = re.compile(r"`([^`]+)`")


def mock_names(chain: Iterable[Node]) -> frozenset[str]:
    """Return what the value of a mock may read, of the last of nodes that lie in one another."""
    found: set[str] = set()
    for node in chain:
        if node.kind is NodeKind.CALL:
            found.clear()  # what is called sees nothing of what is around it
        elif node.loop is not None:
            found |= {"item", "index", node.loop.item_name}
    return frozenset({"arguments", "inputs", "attempt", *found})


def unfitting(found: CaseFile, document: Document, graph: Graph) -> list[Diagnostic]:
    """Return everything in a test file that its workflow does not have."""
    return sort_diagnostics(_Fitting(document, graph).of_file(found))


class _Fitting:
    def __init__(self, document: Document, graph: Graph) -> None:
        self.document = document
        self.graph = graph
        self.nodes = TaskNames(graph)

    def of_file(self, found: CaseFile) -> Iterator[Diagnostic]:
        for case in found.cases:
            yield from self._inputs(case)
            for task, mock in case.mocks.items():
                yield from self._mock(task, mock)
            yield from self._people(case)
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
                is_key = name is not None and name[1] not in self.graph.workflow.inputs
                yield self.document.diagnostic("bad-inputs", message, path, hint=hint, key=is_key)

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
            message = f"`{task}` is {what_is(node)}, and only what does work can be mocked"
            yield self.document.diagnostic(
                "mock-not-work", message, mock.path, key=True, hint=self._instead(task, node)
            )
            return
        outcomes = [(each, (*mock.path, "sequence", index)) for index, each in enumerate(mock.sequence)]
        if mock.always is not None:
            outcomes.append((mock.always, mock.path))
        for outcome, path in outcomes:
            if outcome.value is not None:
                yield from self._names(outcome.value, mock_names(self.nodes.chain(task)), (*path, "value"))

    def _instead(self, task: str, node: Node) -> str:
        if node.kind is NodeKind.DECISION:
            return "let its rules decide: give the inputs and results that they read"
        if node.kind is NodeKind.WAIT:
            return "waiting costs no time; `answers` and `signals` say what it waits for"
        inside = [path for path in self.nodes if path.startswith(f"{task}.")]
        return f"mock the tasks in it: {', '.join(f'`{path}`' for path in inside[:5])}"

    def _people(self, case: Case) -> Iterator[Diagnostic]:
        for task, answer in case.answers.items():
            node = self.nodes.get(static(task))
            if node is None:
                yield self._unknown(task, answer.path, key=True)
            elif node.task.type != "approval":
                hint = "an answer is for a task of `type: approval`"
                message = f"`{task}` asks nobody"
                yield self.document.diagnostic("answer-not-asked", message, answer.path, key=True, hint=hint)
        awaited = [str(node.task.options["signal"]) for node in self.graph.nodes if "signal" in node.task.options]
        if any("{" in name for name in awaited):
            return  # what comes of a template is not known before
        for name, signal in case.signals.items():
            if name not in awaited:
                known = f"it waits for {', '.join(sorted(set(awaited)))}" if awaited else None
                message = f"no task waits for the signal `{name}`"
                yield self.document.diagnostic("signal-not-awaited", message, signal.path, key=True, hint=known)

    def _expectation(self, case: Case) -> Iterator[Diagnostic]:
        expect, path = case.expect, case.expect.path
        for task, fields in expect.tasks.items():
            if static(task) not in self.nodes:
                yield self._unknown(task, fields.path, key=True)
                continue
            node = self.nodes[static(task)]
            if fields.branches is not None and not node.targets:
                message = f"`{task}` is no decision, so it has no `branches`"
                yield self.document.diagnostic("expect-not-a-decision", message, (*fields.path, "branches"), key=True)
            elif fields.branches is not None:
                yield from self._branches(task, node, fields.branches, (*fields.path, "branches"))
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

    def _branches(self, task: str, node: Node, branches: Iterable[str], path: Path) -> Iterator[Diagnostic]:
        for number, branch in enumerate(branches):
            if branch not in node.targets:
                message = f"`{task}` cannot choose `{branch}`"
                hint = suggest(branch, node.targets, what="it chooses among")
                yield self.document.diagnostic("expect-unknown-branch", message, (*path, number), hint=hint)

    def _names(self, template: Template, known: Iterable[str], path: Path) -> Iterator[Diagnostic]:
        for name in sorted(template.names - set(known)):
            hint = suggest(name, sorted(known))
            yield self.document.diagnostic("unknown-name", f"`{name}` is not known here", path, hint=hint)

    def _unknown(self, task: str, path: Path, *, key: bool = False) -> Diagnostic:
        message = f"the workflow has no task `{task}`"
        return self.document.diagnostic("unknown-task", message, path, key=key, hint=self.nodes.hint(static(task)))

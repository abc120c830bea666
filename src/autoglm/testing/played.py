"""A run that was tested, to be looked at: what ran, in which order, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from autoglm.app.report import RunReport
from autoglm.app.session import Session
from autoglm.base import jsonvalue
from autoglm.engine import messages as m
from autoglm.engine.codec import decode_record
from autoglm.engine.machine import Run
from autoglm.graph.model import Graph
from autoglm.stores.protocol import LogLine, TaskRow
from autoglm.testing.naming import INDEX, TaskNames, static

_PAGE = 10_000
_UNTOUCHED = ("pending", "skipped")


class Trace:
    """Watches a run: when, among all events, each task instance was first and last spoken of."""

    def __init__(self) -> None:
        self.spans: dict[str, tuple[int, int]] = {}
        self.untrue: set[str] = set()
        """Instances that were skipped because their ``when`` is false."""
        self._count = 0

    def on_events(self, events: Sequence[m.Event], at: float) -> None:
        """Note the order."""
        for event in events:
            task = getattr(event, "task", None)
            if task is None or isinstance(event, m.ResultDiscarded):
                continue
            self._count += 1
            first = self.spans.get(task, (self._count, 0))[0]
            self.spans[task] = (first, self._count)
            if isinstance(event, m.TaskSkipped) and event.reason.startswith("`when`"):
                self.untrue.add(task)

    def on_log(self, line: LogLine) -> None:
        """Lines are in the store."""


class Played:
    """What a case came to. It holds the run's session; :meth:`close` gives it back."""

    def __init__(
        self, graph: Graph, run: Run, report: RunReport, session: Session, trace: Trace, calls: Counter[str]
    ) -> None:
        self.graph = graph
        self.names = TaskNames(graph)
        self.run = run
        self.report = report
        self.session = session
        self.trace = trace
        self.calls = calls
        self.seconds = (run.ended_at or 0.0) - (run.started_at or 0.0)
        """How long it took by its own clock."""
        self.rows = {row.task: row for row in self._rows()}

    def close(self) -> None:
        """Forget the run."""
        self.session.close()

    @property
    def ran(self) -> list[str]:
        """The static paths of the tasks that ran, in the order in which they were first begun."""
        return list(dict.fromkeys(row.node for row in self.rows.values() if _ran(row)))

    @property
    def skipped(self) -> list[str]:
        """The static paths of the tasks that were skipped and never ran."""
        ran = set(self.ran)
        found = (row.node for row in self.rows.values() if row.status == "skipped" and row.node not in ran)
        return list(dict.fromkeys(found))

    def row(self, task: str) -> TaskRow:
        """Return the row of a task instance; of one that was never heard of, a pending one."""
        return self.rows.get(task) or TaskRow(0, task, static(task), "pending")

    def beyond(self, task: str) -> str | None:
        """Return why there is no such item of a loop, such as ``each[99]``; None when there is, or may yet be one."""
        for match in INDEX.finditer(task):
            owner = task[: match.start()]
            instance = self.run.find(owner)
            loop = None if instance is None else instance.loop
            if loop is None or loop.size is None:
                return None
            if int(match[1]) >= loop.size:
                return f"there is no `{task[: match.end()]}`: `{owner}` has {loop.size:,} item{'s' * (loop.size != 1)}"
        return None

    def result(self, task: str) -> Any:
        """Return the result of a task instance, None while it has none."""
        instance = self.run.find(task)
        if instance is not None:
            return self.run.result_of(instance) if instance.status.value == "succeeded" else None
        row = self.row(task)
        if not row.record:
            return None
        store = self.session.store
        for event in reversed(decode_record(store.get_record(self.report.run_id, row.record).payload).events):
            found: Any = event
            if getattr(found, "task", None) == row.task and hasattr(found, "result"):
                text = store.get_blob(found.blob.digest) if found.blob is not None else bytes(found.result)
                return jsonvalue.decode(text) if text else None
        return None

    def branches(self, task: str) -> list[str]:
        """Return what a decision chose."""
        result = self.result(task)
        return list(result.get("branches", ())) if isinstance(result, dict) else []

    def is_before(self, first: str, second: str) -> bool | None:
        """Tell whether ``first`` had ended when ``second`` began, in every scope of both; None when one never was."""
        before, after = self._spans(first), self._spans(second)
        common = before.keys() & after.keys()
        if not common:
            if not before or not after:
                return None
            return max(last for _, last in before.values()) < min(begun for begun, _ in after.values())
        return all(before[scope][1] < after[scope][0] for scope in common)

    def _spans(self, node: str) -> dict[str, tuple[int, int]]:
        """Return when a task was spoken of, by the scope that its instance lies in."""
        spans: dict[str, tuple[int, int]] = {}
        for task, (first, last) in self.trace.spans.items():
            if static(task) != node:
                continue
            scope = task.rpartition(".")[0]
            known = spans.get(scope, (first, last))
            spans[scope] = (min(known[0], first), max(known[1], last))
        return spans

    def _rows(self) -> list[TaskRow]:
        found: list[TaskRow] = []
        while True:
            after = found[-1].number if found else 0
            page = self.session.store.list_tasks(self.report.run_id, after=after, limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                return found


def _ran(row: TaskRow) -> bool:
    return row.status not in _UNTOUCHED and not (row.status == "cancelled" and row.started_at is None)

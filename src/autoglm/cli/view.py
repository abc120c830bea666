"""What a person watching a run sees, as a model fed by events: pure, and cheap whatever the size of the run.

Rules:

1. ``take(event, at)`` is what changes it; it costs O(1) and returns what changed, for whoever prints lines.
2. Tasks are kept by their *static* path: a loop over 100,000 items is one :class:`TaskView` with counters. Instances
   are held only while they run or wait for a retry.
3. What is shown of it (``autoglm.cli.screen``) costs O(rows): :meth:`RunView.by_interest` says what is worth a row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any

from autoglm.base.errors import Failure
from autoglm.cli.answers import answer_command
from autoglm.cli.measure import harmless
from autoglm.cli.rows import ENDED, FAILED, Active, Progress, TaskView
from autoglm.engine import messages as m
from autoglm.engine.standing_in import SUFFIX as _FALLBACK
from autoglm.engine.undoing import SUFFIX as _UNDO
from autoglm.engine.waiting import in_words
from autoglm.spec.model import OnError

if TYPE_CHECKING:
    from autoglm.engine.redoing import Again
    from autoglm.spec.model import Task, Workflow
    from autoglm.stores.protocol import LogLine

_RECENT = 64
_KEPT_FAILURES = 20
_OF_PARTS = ("loop-failed", "group-failed")
"""Failures that only say that something inside failed: that was told already."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an event changed, for a line of text. ``seconds`` is how long the instance, or its attempt, ran."""

    task: str
    status: str
    view: TaskView
    at: float
    is_item: bool = False
    attempt: int = 0
    seconds: float | None = None
    retry_at: float | None = None
    detail: str = ""
    hint: str | None = None
    before: int = 0
    """Attempts made before the run was reopened."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure that the summary tells about."""

    task: str
    failure: Failure
    attempt: int
    """0 where nothing was tried: a rule, an input or a limit failed it."""


class RunView:
    """A run, as a terminal shows it."""

    def __init__(self, run_id: str, workflow: str, *, offline: bool = False, started_at: float | None = None) -> None:
        self.run_id = run_id
        self.workflow = workflow
        self.offline = offline
        self.status = "pending"
        self.started_at = started_at
        self.ended_at: float | None = None
        self.failure: Failure | None = None
        self.tasks: dict[str, TaskView] = {}
        self.failures: list[Failed] = []
        self.failure_count = 0
        self.questions: dict[str, m.Question] = {}
        """What waits for a person or a signal, by task id."""
        self.where = ""
        """Options that further commands need to find the run's project."""
        self.note = ""
        self.pause_reason = ""
        """What was asked of the run and is under way; first in the footer."""
        self.hint = ""
        """What the reader can do; last in the footer."""
        self.usage: Mapping[str, Any] = {}
        """What the run has used of models so far."""
        self.again: Sequence[Again] = ()
        """What will be done again when the run is reopened."""
        self.most_attempts: Mapping[str, int] = {}
        """How many attempts there may be of what no task of the file is shown for, such as rollbacks, by path."""
        self._order: list[TaskView] = []
        self._counts: dict[str, int] = {}
        self._active: dict[str, TaskView] = {}
        self._failed: dict[str, TaskView] = {}
        self._recent: deque[TaskView] = deque(maxlen=_RECENT)
        self._next = 0
        self._sections: dict[str, tuple[Task, ...]] = {}
        self._ends: set[str] = set()
        """Sections of called workflows that have begun: ``call.finally``."""
        self._began: dict[str, float] = {}
        """When each open group or loop began, by task id."""

    # ---------------------------------------------------------------------------------------------------- feeding

    def set_graph(self, workflow: Workflow) -> None:
        """Tell what tasks there are, in the order of the file."""
        self.workflow = workflow.name
        self._sections = workflow.sections()
        self._add(workflow.tasks, None, "")

    def _add(self, tasks: Sequence[Task], parent: TaskView | None, prefix: str) -> None:
        for task in tasks:
            view = self._view(f"{prefix}{task.name}", parent)
            view.is_loop = task.loop is not None
            view.is_group = task.type == "group"
            view.may_fail = task.on_error == OnError.CONTINUE
            view.max_attempts = task.retry.max_attempts if task.retry is not None else 1
            if view.is_loop:
                view.progress = Progress()
            self._add(task.tasks, view, f"{view.path}.")

    def _view(self, path: str, parent: TaskView | None = None) -> TaskView:
        """Return the task of a static path; one that the file does not name (a decision's function) is added."""
        view = self.tasks.get(path)
        if view is None:
            outer = path.rpartition(".")[0]
            if parent is None and outer and outer not in self._sections:
                parent = self._view(outer.rpartition(".")[0] if outer in self._ends else outer)
            around = [each for each in (self.tasks.get(_stem(path)), parent) if each is not None]
            repeated = any(each.is_loop or each.is_repeated for each in around)
            depth = 0 if parent is None else parent.depth + 1
            name = path[len(parent.path) + 1 :] if parent is not None else path
            view = TaskView(path, harmless(name), depth, len(self._order), parent, is_repeated=repeated)
            view.max_attempts = self.most_attempts.get(path, 1)
            self.tasks[path] = view
            self._order.append(view)
            self._counts["pending"] = self._counts.get("pending", 0) + 1
        return view

    def on_events(self, events: Sequence[m.Event], at: float) -> None:
        """Take in what happened, all at ``at``."""
        for event in events:
            self.take(event, at)

    def on_log(self, line: LogLine) -> None:
        """Keep the last line of what is running."""
        view = self._active.get(static_path(line.task))
        active = view.active.get(line.task) if view is not None else None
        if active is not None and line.text.strip():
            active.log = line.text

    def take(self, event: m.Event, at: float) -> Change | None:
        """Take in one event and return what it changed, None when a line about it would say nothing."""
        match event:
            case m.AttemptStarted(task=task, attempt=attempt) | m.ParkingEnded(task=task, attempt=attempt):
                return self._started(task, attempt, at)
            case m.ParkingBegan() | m.QuestionAsked():
                return self._parked(event, at)
            case m.AttemptSucceeded(task=task) | m.TaskSucceeded(task=task):
                return self._ended(task, "succeeded", at)
            case m.AttemptFailed(task=task, failure=failure) if event.retry_at is not None:
                return self._retrying(event, failure, at)
            case m.AttemptFailed(task=task, failure=failure):
                status = event.final or ("timeout" if event.timeout else "failed")
                return self._ended(task, status, at, failure)
            case m.TaskFailed(task=task, failure=failure):
                return self._ended(task, "timeout" if event.timeout else "failed", at, failure)
            case m.TaskDegraded(task=task, failure=failure):
                return self._ended(task, "succeeded", at, detail=f"degraded: {_told(failure)}")
            case m.TaskSkipped(task=task, reason=reason):
                self._view(static_path(task)).upstream_failed = event.upstream_failed
                return self._ended(task, "skipped", at, detail=harmless(reason))
            case m.AttemptCancelled(task=task) | m.TaskCancelled(task=task):
                return self._ended(task, "cancelled", at)
            case m.TaskTerminated(task=task, reason=reason):
                return self._ended(task, "terminated", at, detail=harmless(reason))
            case m.GroupStarted(task=task):
                return self._opened(task, at)
            case m.LoopStarted(task=task, total=total):
                return self._loop_started(task, total, at)
            case m.ItemsRead(task=task):
                self._items_read(event)
            case _:
                self._run_changed(event, at)
        return None

    # ---------------------------------------------------------------------------------------------------- changes

    def _started(self, task: str, attempt: int, at: float) -> Change:
        view = self._view(static_path(task))
        last = view.active.get(task)
        before = attempt - 1 if last is None else last.before
        view.active[task] = Active(task, at, attempt, before=before)
        self._active[view.path] = view
        if view.started_at is None:
            view.started_at = at
        if not view.is_loop:
            self._set(view, "running")
        return Change(task, "running", view, at, _is_item(task), attempt)

    def _opened(self, task: str, at: float) -> Change | None:
        view = self._view(static_path(task))
        self._began[task] = at
        if view.started_at is None:
            view.started_at = at
        self._set(view, "running")
        return None if _is_item(task) else Change(task, "running", view, at)

    def _loop_started(self, task: str, total: int | None, at: float) -> Change:
        change = self._opened(task, at)
        view = self._view(static_path(task))
        view.is_loop = True
        view.progress = progress = view.progress or Progress()
        progress.total = None if total is None or progress.total is None else progress.total + total
        progress.note(at)
        return change or Change(task, "running", view, at)

    def _items_read(self, event: m.ItemsRead) -> None:
        view = self._view(static_path(event.task))
        if event.last and view.progress is not None and not view.is_repeated:
            view.progress.total = event.first + len(event.items)

    def _retrying(self, event: m.AttemptFailed, failure: Failure, at: float) -> Change:
        view = self._view(static_path(event.task))
        active = view.active.setdefault(event.task, Active(event.task, at, event.attempt))
        self._active[view.path] = view
        active.due, active.error = event.retry_at, _told(failure)
        if not view.is_loop:
            self._set(view, "retrying")
        seconds = at - active.started_at
        item = _is_item(event.task)
        return Change(
            event.task, "retrying", view, at, item, event.attempt, seconds, event.retry_at, active.error, failure.hint,
            active.before,
        )  # fmt: skip

    def _parked(self, event: m.ParkingBegan | m.QuestionAsked, at: float) -> Change:
        view = self._view(static_path(event.task))
        if view.started_at is None:
            view.started_at = at
        attempt = event.attempt if isinstance(event, m.ParkingBegan) else 0
        active = view.active.setdefault(event.task, Active(event.task, at, attempt))
        self._active[view.path] = view
        hint = None
        if isinstance(event, m.ParkingBegan):
            active.waits, active.due = harmless(event.reason) or "parked", event.until
        else:
            question = event.question
            active.waits, active.due = harmless(in_words(question)), question.deadline
            if question.kind != "time":
                self.questions[event.task] = question
                hint = self.how_to_answer(event.task, question)
        if not view.is_loop:
            self._set(view, "paused")
        item = _is_item(event.task)
        return Change(event.task, "paused", view, at, item, attempt, None, active.due, active.waits, hint)

    def how_to_answer(self, task: str, question: m.Question) -> str:
        """Return the command that answers a question."""
        return answer_command(f"{self.run_id}{self.where}", task, question)

    def _ended(
        self, task: str, status: str, at: float, failure: Failure | None = None, detail: str = ""
    ) -> Change | None:
        view = self._view(static_path(task))
        self.questions.pop(task, None)
        active = view.active.pop(task, None)
        if not view.active:
            self._active.pop(view.path, None)
        began = active.started_at if active is not None else self._began.pop(task, None)
        if failure is not None:
            detail = _told(failure)
            self.tell(Failed(task, failure, 0 if active is None else active.attempt))
        is_item = _is_item(task)
        if task.endswith(_UNDO) and status == "succeeded":
            self._undone(self._view(view.path.removesuffix(_UNDO)), at)
        if is_item and view.progress is not None:
            view.progress.ended += 1
            view.progress.failed += status in FAILED
            view.progress.cancelled += status == "cancelled"
            view.progress.note(at)
        else:
            view.ended_at = at
            view.error = detail
            self._set(view, "running" if view.active and view.is_repeated else status)
        seconds = None if began is None else at - began
        attempt = active.attempt if active is not None else 0
        hint = failure.hint if failure is not None else None
        return Change(task, status, view, at, is_item, attempt, seconds, None, detail, hint)

    def _undone(self, view: TaskView, at: float) -> None:
        """Note that a task was rolled back, or an item of it, and with it what it lies in."""
        at_view: TaskView | None = view
        while at_view is not None and at_view.status in ("succeeded", "rolled_back"):
            self._set(at_view, "rolled_back")
            at_view = at_view.parent

    def tell(self, failed: Failed) -> None:
        """Keep a failure for the summary, unless it only says that something inside failed."""
        if failed.failure.code not in _OF_PARTS:
            self.failure_count += 1
            if len(self.failures) == _KEPT_FAILURES and not self.is_tolerated(failed):
                spare = next((each for each in reversed(self.failures) if self.is_tolerated(each)), None)
                self.failures = [each for each in self.failures if each is not spare]
            if len(self.failures) < _KEPT_FAILURES:
                self.failures.append(failed)

    def is_tolerated(self, failed: Failed) -> bool:
        """Return whether the run goes on, or has come to its end, all the same."""
        return not failed.task.endswith(_UNDO) and self._view(static_path(_stem(failed.task))).is_tolerated

    def place(
        self, view: TaskView, status: str, started_at: float | None, ended_at: float | None, error: str = ""
    ) -> None:
        """Put a task where a run that is continued has it."""
        self._set(view, status)
        view.started_at, view.ended_at, view.error = started_at, ended_at, error

    def go_on(self, view: TaskView, active: Active) -> None:
        """Put an instance that runs, or waits for a retry, into a run that is continued."""
        view.active[active.task] = active
        self._active[view.path] = view

    def _set(self, view: TaskView, status: str) -> None:
        if view.status == status:
            return
        self._counts[view.status] -= 1
        self._counts[status] = self._counts.get(status, 0) + 1
        view.status = status
        if status in ("running", "retrying", "paused", "pending"):
            self._failed.pop(view.path, None)
        elif status in FAILED:
            self._failed[view.path] = view
        if status in ENDED:
            self._recent.append(view)

    def _run_changed(self, event: m.Event, at: float) -> None:
        match event:
            case m.RunCreated():
                self.run_id, self.workflow, self.offline = event.run_id, event.workflow, event.offline
            case m.RunStarted() | m.RunResumed() | m.RunRecovered() | m.RunReopened():
                self.status, self.ended_at, self.failure = "running", None, None
                if isinstance(event, m.RunReopened):
                    self._reopen()
                elif isinstance(event, m.RunRecovered):
                    self._recovered(at)
                if self.started_at is None:
                    self.started_at = at
            case m.SectionStarted(section=section, task=task) if task:
                self._ends.add(f"{static_path(task)}.{section}")
            case m.SectionStarted(section=section):
                self._add(self._sections.get(section, ()), None, f"{section}.")
            case m.RunPaused(reason=reason):
                self.status, self.pause_reason = "paused", reason
            case m.QuestionAnswered(task=task):
                self.questions.pop(task, None)
            case m.RunCancelling():
                self.status = "cancelling"
            case m.RunSucceeded() | m.RunFailed() | m.RunCancelled():
                self.status = {m.RunSucceeded: "succeeded", m.RunFailed: "failed"}.get(type(event), "cancelled")
                self.failure = None if isinstance(event, m.RunSucceeded) else event.failure
                self.ended_at = at
            case _:
                pass

    def _recovered(self, at: float) -> None:
        """What ran begins again: while nobody drove the run, it did not run."""
        for view in self._active.values():
            for active in view.active.values():
                if active.waits or active.due is not None:
                    continue
                active.started_at = at
                if active.attempt - active.before <= 1 and not view.is_loop:
                    view.started_at = at

    def _reopen(self) -> None:
        """What failed will run again: it is told about anew when it does."""
        self.failures, self.failure_count = [], 0
        self._drop([view for view in self._order if self._is_beside(view.path)])
        for each in self.again:
            self._again(self._view(static_path(each.task)), each.items or 0)
        whole = {static_path(each.task) for each in self.again if each.items is None and not each.keeps}
        for view in self._order:
            if not whole.isdisjoint(accumulate(view.path.split("."), "{}.{}".format)):
                self._again(view, None)
            if view.status in FAILED or view.status in ("cancelled", "rolled_back") or view.upstream_failed:
                self._set(view, "pending")
                view.error, view.started_at, view.ended_at, view.upstream_failed = "", None, None, False
                progress = view.progress
                if progress is not None:
                    progress.ended -= progress.failed + progress.cancelled
                    progress.failed = progress.cancelled = 0
                    progress.samples.clear()

    def _is_beside(self, path: str) -> bool:
        """Return whether a task runs at an end, or undoes or stands in for another: only when it comes to that."""
        outer = accumulate(path.split(".")[:-1], "{}.{}".format)
        return "~" in path or any(each in self._ends or each in self._sections for each in outer)

    def _drop(self, views: Sequence[TaskView]) -> None:
        """Show tasks no longer, until they are heard of again."""
        for view in views:
            self._counts[view.status] -= 1
            for held in (self.tasks, self._failed, self._active):
                held.pop(view.path, None)
        gone = {view.path for view in views}
        self._order = [view for view in self._order if view.path not in gone]
        self._recent = deque((view for view in self._recent if view.path not in gone), maxlen=_RECENT)
        self._next = 0
        for number, view in enumerate(self._order):
            view.order = number

    def _again(self, view: TaskView, items: int | None) -> None:
        """Put back a task that is done again, or so many of its items, however it ended."""
        self._set(view, "pending")
        view.error, view.started_at, view.ended_at, view.upstream_failed = "", None, None, False
        if view.progress is not None and items is not None:
            view.progress.ended -= items
            view.progress.failed = view.progress.cancelled = 0
            view.progress.samples.clear()
        else:
            view.progress = None

    # --------------------------------------------------------------------------------------------------- counting

    def elapsed(self, now: float) -> float:
        """Return how many seconds the run has taken so far."""
        if self.started_at is None:
            return 0.0
        return max(0.0, (now if self.ended_at is None else self.ended_at) - self.started_at)

    @property
    def counts(self) -> dict[str, int]:
        """How many tasks of the file are in each status."""
        return {status: count for status, count in self._counts.items() if count}

    def all_tasks(self) -> Sequence[TaskView]:
        """Return every task, in the order of the file."""
        return self._order

    def by_interest(self, most: int) -> Iterator[TaskView]:
        """Yield tasks, each perhaps more than once: what runs, what failed, what ended last, what comes next."""
        yield from islice(self._active.values(), most)
        yield from islice(self._failed.values(), most)
        yield from reversed(self._recent)
        while self._next < len(self._order) and self._order[self._next].status in ENDED:
            self._next += 1
        yield from self._order[self._next : self._next + most]


def static_path(task: str) -> str:
    """Return the path of a task instance in the file: ``outer[3].inner`` is ``outer.inner``."""
    if "[" not in task:
        return task
    stem = _stem(task)
    if stem != task:
        return static_path(stem) + task[len(stem) :]
    return ".".join(part.partition("[")[0] if part.endswith("]") else part for part in task.split("."))


def _is_item(task: str) -> bool:
    return _stem(task).endswith("]")


def _stem(task: str) -> str:
    """Return the task that work stands beside: what it undoes or stands in for."""
    return task.removesuffix(_UNDO).removesuffix(_FALLBACK)


def _told(failure: Failure) -> str:
    return harmless(f"{failure.code}: {failure.message}")

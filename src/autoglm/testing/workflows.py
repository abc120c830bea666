"""Workflows in Python tests: run one with stand-ins and a clock that need not be waited for.

::

    from autoglm.testing import failing, mock, run_workflow

    def test_a_scorer_that_is_down_is_tried_again():
        run = run_workflow("config/workflow.yaml", mocks={"score": mock(failing("http_503"), 7)})
        assert run.succeeded
        assert run.tasks["score"].attempts == 2
        assert run.path == ["read", "score", "report"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autoglm.app.api import Run, Workflow, run_sync
from autoglm.app.session import Session
from autoglm.base.durations import parse_duration
from autoglm.base.errors import TaskError, UsageError
from autoglm.config.project import Project
from autoglm.executors.failures import as_task_error
from autoglm.graph.model import Graph, NodeKind
from autoglm.testing.cases import Answer, Case, Clock, Given, Mock, Outcome, Per
from autoglm.testing.coverage import Coverage, coverage_of
from autoglm.testing.naming import TaskNames, static, what_is
from autoglm.testing.played import Played
from autoglm.testing.playing import perform


class TestedRun(Run):
    """A run with stand-ins: everything that a run has, and which way it took."""

    __test__ = False

    def __init__(self, played: Played, workflow: str) -> None:
        super().__init__(played.report, played.session)
        self._played = played
        self._workflow = workflow

    @property
    def path(self) -> list[str]:
        """The tasks that ran, in the order in which they began; a task of a group is ``group.task``."""
        return self._played.ran

    @property
    def skipped(self) -> list[str]:
        """The tasks that were skipped."""
        return self._played.skipped

    @property
    def calls(self) -> Mapping[str, int]:
        """How often each task's work was begun, over all items and attempts."""
        return self._played.calls

    @property
    def seconds(self) -> float:
        """How long the run took by its own clock."""
        return self._played.seconds

    @property
    def started_at(self) -> float | None:
        """When it began by its own clock, in seconds since the epoch."""
        return self._played.run.started_at

    @property
    def coverage(self) -> Coverage:
        """Which ways through the workflow it has gone."""
        return coverage_of(self._workflow, self._played.graph, [self._played])

    def status_of(self, task: str) -> str:
        """Return the status of a task instance, such as ``process[3].ship``.

        Raises:
            UsageError: ``unknown-task``: the workflow has no such task.
        """
        self._check(task)
        return self._played.row(task).status

    def result_of(self, task: str) -> Any:
        """Return the result of a task instance; None while it has none. Raises as :meth:`status_of`."""
        self._check(task)
        return self._played.result(task)

    def branches(self, task: str) -> list[str]:
        """Return what a decision chose. Raises as :meth:`status_of`."""
        self._check(task)
        return self._played.branches(task)

    def _check(self, task: str) -> None:
        names = self._played.names
        if static(task) not in names:
            raise _unknown(task, names)


def failing(
    code: str,
    message: str | None = None,
    *,
    retryable: bool = True,
    classes: Sequence[str] = (),
) -> TaskError:
    """Return an error for a mock to fail with."""
    return TaskError(message or f"the mock fails with {code}", code=code, retryable=retryable, classes=classes)


def mock(*sequence: Any, per: str = "attempt", always: Any = None, delay: float | str = 0.0) -> Mock:
    """Return a mock whose attempts (``per="call"``: calls, ``"item"``: items) come to ``sequence``, then ``always``.

    Each is a value, an error (:func:`failing`) or a function of the task's arguments; with one alone, it is what every
    call comes to. ``delay`` is how long each takes, in seconds or as ``5m``, by the run's clock.
    """
    seconds = parse_duration(delay)
    outcomes = tuple(_outcome(each, seconds) for each in sequence)
    if len(outcomes) == 1 and always is None:
        return Mock(always=outcomes[0])
    then = _outcome(always, seconds) if always is not None or not outcomes else None
    return Mock(outcomes, Per(per), then)


def run_workflow(
    workflow: str | Path | Workflow,
    inputs: Mapping[str, Any] | None = None,
    mocks: Mapping[str, Any] | None = None,
    *,
    clock: str = "virtual",
    start: datetime | float | None = None,
    offline: bool = False,
    environment: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    answers: Mapping[str, bool | Answer] | None = None,
    signals: Mapping[str, Any] | None = None,
    timeout: float = 60.0,
) -> TestedRun:
    """Run a workflow (a file, or one that was loaded or built) with stand-ins, in memory; return what came of it.

    ``mocks`` are by task (``group.task`` inside of groups and loops): what :func:`mock` gives, a value, an error, or a
    function. ``answers`` are by the task that asks: true (approve), false, or an :class:`Answer`; ``signals`` give the
    data of signals by name, when they are waited for. ``clock`` is ``virtual``, where no wait takes time, or ``real``.
    Templates and models see the variables of ``environment`` and ``secrets``, no others. A model without a mock is
    refused unless ``offline``. ``timeout`` is in real seconds.

    Raises:
        SpecError: the workflow file is wrong.
        UsageError: an input or a mock is, or the run did not come to an end.
    """
    if isinstance(workflow, Workflow):
        loaded, project, handlers = workflow._loaded, Project.find(None, workflow._root), workflow._handlers
    else:
        with Session.open(workflow) as session:
            loaded, project, handlers = session.load(workflow), session.project, {}
    case = Case(
        name=loaded.workflow.name,
        inputs=dict(inputs or {}),
        mocks={task: _mock(task, each, loaded.graph) for task, each in (mocks or {}).items()},
        environment=dict(environment or {}),
        secrets=dict(secrets or {}),
        answers={task: _answer(each) for task, each in (answers or {}).items()},
        signals={name: each if isinstance(each, Given) else Given(each) for name, each in (signals or {}).items()},
        offline=offline,
        clock=Clock(clock),
        start=_seconds(start),
        timeout=timeout,
    )
    played, broken = run_sync(lambda: perform(case, loaded, project, handlers))
    if broken:
        raise UsageError(
            broken[0].message, code="test-broken-off", hint="; ".join(broken[0].details).removeprefix("hint: ") or None
        )
    return TestedRun(played, loaded.file)


def _mock(task: str, given: Any, graph: Graph) -> Mock:
    nodes = TaskNames(graph)
    if task not in nodes:
        raise _unknown(task, nodes)
    if nodes[task].kind is not NodeKind.WORK:
        message = f"`{task}` is {what_is(nodes[task])}, and only what does work can be mocked"
        raise UsageError(message, code="mock-not-work", hint="mock the tasks in it, or what they read")
    return given if isinstance(given, Mock) else Mock(always=_outcome(given, 0.0))


def _unknown(task: str, names: TaskNames) -> UsageError:
    hint = names.hint(static(task))
    return UsageError(f"the workflow has no task `{task}`", code="unknown-task", hint=hint)


def _answer(given: bool | Answer) -> Answer:
    return given if isinstance(given, Answer) else Answer(given)


def _outcome(given: Any, delay: float) -> Outcome:
    if isinstance(given, BaseException):
        return Outcome(error=given if isinstance(given, TaskError) else as_task_error(given), delay=delay)
    return Outcome(function=given if callable(given) else lambda **_: given, delay=delay)


def _seconds(start: datetime | float | None) -> float | None:
    if isinstance(start, datetime):
        return (start if start.tzinfo is not None else start.replace(tzinfo=UTC)).timestamp()
    return start

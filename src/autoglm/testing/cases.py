"""What a test of a workflow says, whether a ``.test.yaml`` file or Python said it. Plain data.

``path`` is where a part stands in its file, as :meth:`autoglm.spec.document.Document.place` takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from autoglm.base.errors import TaskError
from autoglm.spec.expressions import Template
from autoglm.spec.model import Path


class Clock(StrEnum):
    """How time passes in a case."""

    VIRTUAL = "virtual"
    """It is moved on when nothing is left to do: waiting costs nothing."""
    REAL = "real"


class Per(StrEnum):
    """What the outcomes of a mock's ``sequence`` are counted by."""

    ATTEMPT = "attempt"
    """The first is that of every first attempt, the second of every second."""
    CALL = "call"
    """One for each call in order, whichever item and attempt it is of."""
    ITEM = "item"
    """The first is that of the loop's item 0, in all its attempts."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call of a mocked task comes to. None of the three first: its result is null."""

    value: Template | None = None
    error: TaskError | None = None
    function: Callable[..., Any] | None = None
    """Python only: called with the task's arguments; what it raises is the failure."""
    delay: float = 0.0
    """Seconds that the call takes, by the case's clock."""


@dataclass(frozen=True, slots=True)
class Mock:
    """What stands in for a task's work. After ``sequence`` comes ``always``; without it, a further call fails."""

    sequence: tuple[Outcome, ...] = ()
    per: Per = Per.ATTEMPT
    always: Outcome | None = None
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person answers when a task asks."""

    approved: bool
    data: Any = None
    """JSON data for the form."""
    comment: str = ""
    by: str = ""
    after: float = 0.0
    """Seconds from the question to the answer, by the case's clock."""
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Given:
    """A signal that comes when somebody waits for it."""

    data: Any = None
    by: str = ""
    after: float = 0.0
    """Seconds from when it is first waited for."""
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Check:
    """An expression that must be true when the run has ended."""

    source: str
    template: Template
    path: Path = ()


class Unsaid:
    """The type of :data:`UNSAID`."""

    def __repr__(self) -> str:
        return "UNSAID"


UNSAID = Unsaid()
"""Stands where nothing is expected; None is a value."""


@dataclass(frozen=True, slots=True)
class TaskExpectation:
    """What a task, or one instance of it (``process[3].ship``), must have come to."""

    status: str | None = None
    attempts: int | None = None
    calls: int | None = None
    """How often its work was begun, over all items and attempts."""
    result: Any = UNSAID
    result_includes: Any = UNSAID
    error: str | None = None
    """The code of its failure."""
    reason: str | None = None
    """A part of why it was skipped."""
    branches: tuple[str, ...] | None = None
    """What a decision chose."""
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must hold when the run has ended."""

    status: str | None = None
    """None stands for ``succeeded``, or ``failed`` where an error is expected."""
    error: str | None = None
    path_taken: tuple[tuple[str, ...], ...] | None = None
    """Every task of the workflow that ran, stage by stage; those of one stage in any order."""
    order: tuple[tuple[str, ...], ...] | None = None
    """The same for some of them: others do not matter."""
    skipped: tuple[str, ...] | None = None
    tasks: Mapping[str, TaskExpectation] = field(default_factory=dict)
    outputs: Any = UNSAID
    outputs_include: Any = UNSAID
    checks: tuple[Check, ...] = ()
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One run of a workflow with stand-ins, and what it must come to."""

    name: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    mocks: Mapping[str, Mock] = field(default_factory=dict)
    """By a task's static path: ``process.extract`` is the ``extract`` of every item of ``process``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The variables that templates may read. None other is there."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """By the static path of the task that asks, or the id of one instance, which goes first."""
    signals: Mapping[str, Given] = field(default_factory=dict)
    offline: bool = False
    clock: Clock = Clock.VIRTUAL
    start: float | None = None
    """What the virtual clock shows at first, in seconds since the epoch."""
    timeout: float = 60.0
    """Real seconds after which the case is given up."""
    expect: Expectation = field(default_factory=Expectation)
    path: Path = ()


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A ``.test.yaml`` file: a workflow, and cases."""

    file: str
    workflow: str
    """Relative to the project's root."""
    cases: tuple[Case, ...]

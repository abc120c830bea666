"""What goes in and out of the engine: stimuli, events, commands.

* A **stimulus** is news from outside: an attempt returned, a timer is due, a person asks.
* An **event** is a journaled fact, in the past tense. ``Run.apply(event, at)`` is the only thing that changes a run.
* A **command** is what the runtime must now do. Commands are never stored: ``Run.outstanding()`` gives them again.

A *task id* names a task instance by its path of scopes: ``report``, ``process[12]``, ``outer[3].inner[0].extract``.
Times are seconds since the epoch. Results are JSON text (``msgspec.Raw``), or a :class:`Blob` when large.

All of them stand in this one long file: they are the language of the engine, and its union types need every one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from autoglm.base.errors import Failure

NULL = msgspec.Raw(b"null")
ABSENT = msgspec.Raw(b"")
"""Stands where an event has no such text. Compared by identity; never written."""
INLINE_LIMIT = 256 * 1024
"""Bytes of JSON text that a record holds itself; a larger result becomes a :class:`Blob`."""
FORMAT = 1
"""Version of the journal's messages. A change adds an upcaster in :mod:`autoglm.engine.codec`."""


class Blob(msgspec.Struct, frozen=True):
    """A payload kept beside the journal, content-addressed: SHA-256 (hex) and size in bytes of its JSON text."""

    digest: str
    size: int


Value = msgspec.Raw | Blob
"""A result: inline JSON text, or a reference to a blob."""

# ------------------------------------------------------------------------------------------------------- stimuli


class Stimulus(msgspec.Struct, frozen=True, gc=False):
    """News from outside."""


class Create(Stimulus, frozen=True):
    """A new run: what its first event will say, and the text of its definition."""

    event: RunCreated
    definition: bytes


class Begin(Stimulus, frozen=True):
    """Start a run that was just created, or continue a recovered one."""


class Tick(Stimulus, frozen=True):
    """Time has passed: timers that are due fire."""


class AttemptReturned(Stimulus, frozen=True):
    """The work came back with ``output`` (JSON text)."""

    task: str
    attempt: int
    output: bytes = b"null"
    usage: dict[str, Any] | None = None


class AttemptRaised(Stimulus, frozen=True):
    """The work failed."""

    task: str
    attempt: int
    failure: Failure


class AttemptStopped(Stimulus, frozen=True):
    """The answer to :class:`StopAttempt`. ``abandoned``: it could not be stopped and may still be running."""

    task: str
    attempt: int
    abandoned: bool = False
    usage: dict[str, Any] | None = None
    """What it had used."""


class AttemptParked(Stimulus, frozen=True):
    """The work gives its slot back and wants to be started again at ``until``, or when it is woken (None).

    ``memo`` (JSON text) is what it gets back then; ``usage`` is what it has used so far.
    """

    task: str
    attempt: int
    until: float | None
    reason: str
    memo: bytes = b"null"
    usage: dict[str, Any] | None = None
    aside: bool = False
    """A loop counts it as none of its open items meanwhile: it may wait in great numbers, and for long."""


class Wake(Stimulus, frozen=True):
    """What is parked need not wait any longer."""

    task: str


class StepDone(Stimulus, frozen=True):
    """A step of a running attempt came back with ``value`` (JSON text) and is not told so before that is recorded."""

    task: str
    attempt: int
    key: str
    value: bytes


class Answer(Stimulus, frozen=True):
    """A person answers what a task asks. ``data`` is JSON text; ``ref`` is the number of the message it came by."""

    task: str
    approved: bool
    by: str = ""
    data: bytes | None = None
    comment: str = ""
    ref: int = 0


class SignalGiven(Stimulus, frozen=True):
    """What some tasks wait for has happened. ``data`` is JSON text."""

    name: str
    data: bytes = b"null"
    by: str = ""
    ref: int = 0


class ItemsArrived(Stimulus, frozen=True):
    """The answer to :class:`ReadItems`: items ``first`` and following; ``last`` when the source ends with them."""

    task: str
    first: int
    items: list[Any]
    last: bool


class ItemsFailed(Stimulus, frozen=True):
    """The source of a loop cannot be read."""

    task: str
    failure: Failure


class StateWritten(Stimulus, frozen=True):
    """A task wrote durable state under ``key``: JSON text, or None to forget it."""

    key: str
    value: bytes | None


class Pause(Stimulus, frozen=True):
    """Start nothing more; what runs may finish. ``reason`` is for people."""

    reason: str = ""


class Resume(Stimulus, frozen=True):
    """Take back a pause."""


class Cancel(Stimulus, frozen=True):
    """Stop what runs, start nothing more, end as cancelled.

    ``asked_at`` is when it was asked for, where that was before it came: it is about what the run did then.
    """

    reason: str = ""
    asked_at: float | None = None


class Reopen(Stimulus, frozen=True):
    """Run again what failed, was cancelled, or was skipped because of a failure (``autoglm retry``).

    ``tasks`` are run again with all that hangs on them, however they ended: ids or static paths.
    """

    tasks: tuple[str, ...] = ()


class Adopt(Stimulus, frozen=True):
    """Go on by a changed definition: what the event will say, and the definition's text."""

    event: DefinitionChanged
    definition: bytes


# -------------------------------------------------------------------------------------------------------- events


class Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", gc=False):
    """A journaled fact."""


class RunCreated(Event, frozen=True, tag="run_created"):
    """The first event: everything a run needs besides code. Secret inputs and values are references only."""

    run_id: str
    workflow: str
    definition: Blob
    inputs: dict[str, Any] = {}
    secret_inputs: tuple[str, ...] = ()
    config: dict[str, Any] = {}
    env: dict[str, str] = {}
    root: str = ""
    file: str = ""
    offline: bool = False
    format: int = FORMAT
    environment: str | None = None
    """The environment whose variables the workflow was read with."""
    secret_defaults: tuple[str, ...] = ()
    """Those of ``secret_inputs`` that were not given: their defaults stand in the definition."""


class RunStarted(Event, frozen=True, tag="run_started"):
    pass


class RunRecovered(Event, frozen=True, tag="run_recovered"):
    """Another process took the run over: attempts that were running are owed again, their time starts anew."""


class RunPaused(Event, frozen=True, tag="run_paused"):
    reason: str = ""


class RunResumed(Event, frozen=True, tag="run_resumed"):
    pass


class RunReopened(Event, frozen=True, tag="run_reopened"):
    """What failed is done again; so are ``tasks`` (ids or static paths), however they ended, and all below them."""

    tasks: tuple[str, ...] = ()


class RunCancelling(Event, frozen=True, tag="run_cancelling"):
    """``spares`` lets the section that runs at the run's end go on: it began after the cancel was asked for."""

    reason: str = ""
    spares: bool = False


class RunCancelled(Event, frozen=True, tag="run_cancelled"):
    """``failure`` tells what went wrong besides: it had failed before, or a rollback has."""

    failure: Failure | None = None


class RunSucceeded(Event, frozen=True, tag="run_succeeded"):
    outputs: msgspec.Raw = NULL
    blob: Blob | None = None


class RunFailed(Event, frozen=True, tag="run_failed"):
    failure: Failure


class AttemptStarted(Event, frozen=True, tag="attempt_started"):
    task: str
    attempt: int


class AttemptSucceeded(Event, frozen=True, tag="attempt_succeeded"):
    """``result`` is what ``tasks.NAME.result`` gives; ``output`` is set when a ``result:`` template mapped it.

    ``collected`` is what an item adds to its loop's list when that is not its result (``loop.collect``).
    """

    task: str
    attempt: int
    result: msgspec.Raw = NULL
    blob: Blob | None = None
    output: msgspec.Raw = ABSENT
    output_blob: Blob | None = None
    collected: msgspec.Raw = ABSENT
    collected_blob: Blob | None = None
    usage: dict[str, Any] | None = None


class AttemptFailed(Event, frozen=True, tag="attempt_failed"):
    """``retry_at`` is None when no retry follows. ``final`` names the status it then ends in."""

    task: str
    attempt: int
    failure: Failure
    timeout: bool = False
    retry_at: float | None = None
    final: str | None = None
    abandoned: bool = False


class AttemptStopping(Event, frozen=True, tag="attempt_stopping"):
    """It was told to stop and holds its slot until it has; for a loop or a group (attempt 0): its parts were.

    ``reason`` is ``timeout``, ``cancelled``, ``fail_fast`` or ``source_failed`` (with the failure).
    """

    task: str
    attempt: int
    reason: str
    failure: Failure | None = None


class AttemptCancelled(Event, frozen=True, tag="attempt_cancelled"):
    task: str
    attempt: int
    reason: str = ""
    abandoned: bool = False
    usage: dict[str, Any] | None = None


class ResultDiscarded(Event, frozen=True, tag="result_discarded"):
    """Work that had been given up came back after all; its result is not used."""

    task: str
    attempt: int
    reason: str


class StateSet(Event, frozen=True, tag="state_set"):
    """Durable keyed state of the run; a None ``value`` forgets the key."""

    key: str
    value: msgspec.Raw = ABSENT


class TaskSkipped(Event, frozen=True, tag="task_skipped"):
    """``upstream_failed`` tells a skip that a failure caused from one that a condition asked for."""

    task: str
    reason: str
    upstream_failed: bool = False


class TaskFailed(Event, frozen=True, tag="task_failed"):
    """It failed without an attempt (its inputs could not be built), or as a whole (a group, a loop)."""

    task: str
    failure: Failure
    timeout: bool = False
    final: str | None = None
    """What it ends as, where that is neither failed nor timeout."""


class TaskSucceeded(Event, frozen=True, tag="task_succeeded"):
    """A decision, a group or a loop is done. A None ``result`` stands for what its parts' results give."""

    task: str
    result: msgspec.Raw = ABSENT
    blob: Blob | None = None
    collected: msgspec.Raw = ABSENT
    collected_blob: Blob | None = None


class TaskTerminated(Event, frozen=True, tag="task_terminated"):
    """It waited for its next attempt, and the run gave that up."""

    task: str
    reason: str = ""


class TaskCancelled(Event, frozen=True, tag="task_cancelled"):
    task: str


class GroupStarted(Event, frozen=True, tag="group_started"):
    """A group, or a called workflow, has begun. ``chosen`` is the one task of it that runs, for a choice."""

    task: str
    chosen: str | None = None


class LoopStarted(Event, frozen=True, tag="loop_started"):
    """``total`` is None for a ``source`` (a file) that is read as it goes."""

    task: str
    total: int | None = None
    source: str | None = None


class ItemsRead(Event, frozen=True, tag="items_read"):
    task: str
    first: int
    items: list[Any]
    last: bool


class TaskDegraded(Event, frozen=True, tag="task_degraded"):
    """It failed for good and succeeded with the value that ``on_error: {degrade: …}`` gives instead."""

    task: str
    failure: Failure
    result: msgspec.Raw = NULL
    blob: Blob | None = None


class IterationDelayed(Event, frozen=True, tag="iteration_delayed"):
    """A loop that goes on until something is true waits before its next iteration: until ``due``."""

    task: str
    due: float


class ParkingBegan(Event, frozen=True, tag="parking_began"):
    """An attempt gave its slot back until ``until``, or until it is woken (None), for ``reason``.

    It is the same attempt when it goes on, and gets ``memo`` back.
    """

    task: str
    attempt: int
    until: float | None = None
    reason: str = ""
    memo: msgspec.Raw = NULL
    memo_blob: Blob | None = None
    usage: dict[str, Any] | None = None
    aside: bool = False


class ParkingCut(Event, frozen=True, tag="parking_cut"):
    """It was woken: a parked attempt is due now."""

    task: str
    attempt: int


class ParkingEnded(Event, frozen=True, tag="parking_ended"):
    """A parked attempt runs again."""

    task: str
    attempt: int


class StepRecorded(Event, frozen=True, tag="step_recorded"):
    """A part of a task instance's work is done; whoever does the work again takes the value from here."""

    task: str
    attempt: int
    key: str
    value: msgspec.Raw = NULL
    blob: Blob | None = None


class DefinitionChanged(Event, frozen=True, tag="definition_changed"):
    """The run goes on by another definition. ``redo`` (static paths) and all that hangs on it is done again.

    What else is given is what holds from now on, as in :class:`RunCreated`. ``gone`` are tasks that are no more.
    """

    definition: Blob
    redo: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    inputs: dict[str, Any] = {}
    secret_inputs: tuple[str, ...] = ()
    config: dict[str, Any] = {}
    env: dict[str, str] = {}
    secret_defaults: tuple[str, ...] = ()


class Question(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a task waits for. ``kind`` is ``approval``, ``effects`` (a person answers), ``signal`` or ``time``."""

    kind: str
    message: str = ""
    form: dict[str, Any] | None = None
    """JSON Schema of the data that goes with an approval."""
    who: tuple[str, ...] = ()
    """Names of those who may answer; empty for everybody."""
    deadline: float | None = None
    """For ``time``: when it has waited for long enough."""
    on_deadline: str = "fail"
    """``fail``, ``approve``, ``reject`` or ``skip``."""
    signal: str | None = None


class QuestionAsked(Event, frozen=True, tag="question_asked"):
    """A task waits for a person, a signal or a time."""

    task: str
    question: Question


class QuestionAnswered(Event, frozen=True, tag="question_answered"):
    """What a task waited for was answered by ``by``; ``again`` lets a parked attempt run again.

    What follows from it is told by the next event. ``ref`` is the number of the message that brought the answer.
    """

    task: str
    approved: bool
    by: str = ""
    comment: str = ""
    again: bool = False
    ref: int = 0


class AnswerRefused(Event, frozen=True, tag="answer_refused"):
    """An answer, or a signal (no ``task``), came and does not count."""

    task: str
    code: str
    message: str
    by: str = ""
    ref: int = 0


class RunEnding(Event, frozen=True, tag="run_ending"):
    """The tasks have ended; what is left is to roll back, and to run ``on_error`` and ``finally``.

    ``status`` is how the run ends unless that goes wrong: ``succeeded``, ``failed`` or ``cancelled``.
    """

    status: str
    failure: Failure | None = None
    task: str | None = None
    """The first task that failed."""
    outputs: msgspec.Raw = ABSENT
    blob: Blob | None = None
    keep: bool = False
    """Nothing is rolled back: what failed is no task."""


class SectionStarted(Event, frozen=True, tag="section_started"):
    """``on_error`` or ``finally`` has begun: the run's, or that of the workflow which ``task`` calls."""

    section: str
    task: str = ""


class RollbackStarted(Event, frozen=True, tag="rollback_started"):
    """What completed in the run, or within the group ``task``, is undone from here on, last completed first."""

    task: str = ""
    failure: Failure | None = None
    """What the group fails with, where its tasks do not tell."""


class StandInCalled(Event, frozen=True, tag="stand_in_called"):
    """A task has failed for good, and what ``on_error: {degrade: …}`` names runs in its stead.

    ``final`` is how the task ends when that fails too: ``failed``, ``timeout`` or ``terminated``.
    """

    task: str
    failure: Failure
    final: str


class CallEnding(Event, frozen=True, tag="call_ending"):
    """The tasks of a called workflow have ended; what is left is to roll back, and its ``on_error`` and ``finally``.

    ``status`` is how the call ends unless that goes wrong: ``succeeded``, ``failed`` or ``cancelled``. The other fields
    are what it then ends with, as in :class:`TaskSucceeded` and :class:`TaskFailed`.
    """

    task: str
    status: str
    failure: Failure | None = None
    first: str | None = None
    """The first task of the called workflow that failed."""
    timeout: bool = False
    result: msgspec.Raw = ABSENT
    blob: Blob | None = None
    collected: msgspec.Raw = ABSENT
    collected_blob: Blob | None = None


EVENTS = (
    RunCreated
    | RunStarted
    | RunPaused
    | RunResumed
    | RunReopened
    | RunCancelling
    | RunCancelled
    | RunSucceeded
    | RunFailed
    | AttemptStarted
    | AttemptSucceeded
    | AttemptFailed
    | AttemptStopping
    | AttemptCancelled
    | ResultDiscarded
    | StateSet
    | TaskSkipped
    | TaskFailed
    | TaskSucceeded
    | TaskTerminated
    | TaskCancelled
    | GroupStarted
    | LoopStarted
    | ItemsRead
    | TaskDegraded
    | RunRecovered
    | DefinitionChanged
    | IterationDelayed
    | ParkingBegan
    | ParkingCut
    | ParkingEnded
    | StepRecorded
    | QuestionAsked
    | QuestionAnswered
    | AnswerRefused
    | RunEnding
    | SectionStarted
    | RollbackStarted
    | StandInCalled
    | CallEnding
)

# ------------------------------------------------------------------------------------------------------ commands


class Command(msgspec.Struct, frozen=True, gc=False):
    """What the runtime must now do, after the events that say so are committed."""


class StartAttempt(Command, frozen=True):
    """Run attempt ``attempt`` of ``task``. ``options`` and ``arguments`` are rendered; secrets in them are plain."""

    task: str
    attempt: int
    node: int
    """Index of the task's node in ``Graph.nodes``."""
    options: dict[str, Any]
    arguments: dict[str, Any]
    env: dict[str, str]
    index: int | None = None
    """The item's index, in a loop."""
    memo: Any = None
    """What the attempt left for itself when it parked."""
    recovered: int = 0
    """How often it has been started again because the process that ran it was gone."""


class StopAttempt(Command, frozen=True):
    """Stop it and answer :class:`AttemptStopped`, also when nothing by that name is running any more."""

    task: str
    attempt: int
    reason: str


class GoOnAfterStep(Command, frozen=True):
    """Let an attempt go on after a step: it is recorded, or (False) it is not, as the attempt is over."""

    task: str
    attempt: int
    key: str
    recorded: bool


class ReadItems(Command, frozen=True):
    """Read up to ``count`` items from number ``first`` of a loop's source file."""

    task: str
    node: int
    source: str
    first: int
    count: int


# -------------------------------------------------------------------------------------------------------- record


class Record(msgspec.Struct, frozen=True):
    """One journal record: the events of one decision, all at the same time ``at``."""

    at: float
    events: list[EVENTS]


class Decision(msgspec.Struct, frozen=True):
    """What :meth:`Run.handle` gives: events to commit, with the blobs they refer to, then commands to do."""

    events: list[Event]
    commands: list[Command]
    blobs: dict[str, bytes]

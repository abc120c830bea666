"""The state of a run, and :meth:`RunState.apply`: the only thing that changes it.

Rules (everything that affects a run's state lives in this file, one short method an event, which is why it is long):

1. ``apply(event, at)`` never decides. It notes a fact, and what follows from it by counting alone: unmet upstreams,
   what is left in a scope, which items of a loop are open.
2. What must now be decided is put on ``_candidates`` (tasks whose upstreams have ended, and those of a scope that was
   opened, as an iterator: they are made one by one as they are decided on) and ``_closing`` (scopes and
   loops whose parts have ended). Deciding is ``machine.py``'s; a replay that ends with some left there is decided next.
3. Work per event is O(successors). Nothing scans the graph; only reopening a run walks what failed.
4. Slots are derived: a pool's holders are the ids of the attempts that run.
5. What is derived (queues, timers) is rebuilt by the same calls in a replay; queue entries of tasks that have moved on
   are dropped when met.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from heapq import heapify, heappush
from typing import Any

import msgspec

from autoglm.base.errors import EngineError, Failure
from autoglm.engine import (
    adopting,
    ending,
    ending_calls,
    forgetting,
    groups,
    parking,
    reopening,
    standing_in,
    steps,
    undoing,
    waiting,
)
from autoglm.engine import messages as m
from autoglm.engine.ending import Ending
from autoglm.engine.parcels import Parcel
from autoglm.engine.ready import ReadyQueues
from autoglm.engine.state import (
    DEADLINE,
    ITERATION,
    RETRY,
    UNREAD,
    WAKE,
    Instance,
    LoadBlob,
    LoopState,
    Scope,
    Stored,
    result_text,
    stored_text,
)
from autoglm.engine.states import BAD_ENDS, RUN_FINAL, TRANSITIONS, RunStatus, TaskStatus, no_such_step, step_run
from autoglm.engine.usage import Spent
from autoglm.graph.model import Graph
from autoglm.spec.model import Join

_EARLY = frozenset({Join.ONE_SUCCEEDED, Join.ONE_FAILED})
_S = TaskStatus
_PENDING, _RUNNING, _SUCCEEDED = _S.PENDING, _S.RUNNING, _S.SUCCEEDED


class RunState:
    """A run as its journal tells it. Build one and apply its events in order: that is replay."""

    # There are more of them than a dictionary of attributes stays quick with, and every event reads and writes some.
    __slots__ = (
        "_about",
        "_active",
        "_apply",
        "_candidates",
        "_closing",
        "_made",
        "_numbered",
        "_ready",
        "_running",
        "_scopes",
        "_timers",
        "cancel_reason",
        "compile",
        "completed",
        "counts",
        "created",
        "dropped",
        "ended_at",
        "ending",
        "ends",
        "failure",
        "graph",
        "keyed",
        "left_over",
        "load",
        "max_parallel",
        "outputs",
        "parcels",
        "paths",
        "pause_reason",
        "questions",
        "root",
        "sections",
        "signals",
        "spent",
        "stand_ins",
        "started_at",
        "status",
        "stuck",
        "touched",
        "undos",
        "unfed",
    )

    def __init__(self, graph: Graph, load: LoadBlob) -> None:
        self.graph = graph
        self.load = load
        self.compile: Callable[[bytes], Graph] | None = None
        """Gives the graph of a definition's text, for a run that goes on by a changed one."""
        self.created: m.RunCreated | None = None
        self.status = RunStatus.PENDING
        self.failure: Failure | None = None
        self.pause_reason = ""
        """Why it is paused, where that was said."""
        self.cancel_reason = ""
        """Why it was cancelled, where that was said."""
        self.outputs: Stored | None = None
        self.spent = Spent()
        """What was used of models."""
        self.counts: dict[TaskStatus, int] = {}
        """How many instances are in each status, those still pending and rollbacks not counted."""
        self.keyed: dict[str, bytes] = {}
        """Durable keyed state that tasks wrote: JSON text by key."""
        self.questions: dict[str, Instance] = {}
        """What waits for an answer, a signal or a time, by id."""
        self.signals: dict[str, dict[str, Instance]] = {}
        """The same by the signal that it waits for."""
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.root = Scope(graph.root, "", None)
        self.ending: Ending | None = None
        """What is done at the run's end, once its tasks have ended."""
        self.sections: dict[str, Scope] = {}
        self.completed = 0
        """How often something has completed that can be undone."""
        self.ends: dict[str, Instance] = {}
        """Calls whose tasks have ended and which have not, by id."""
        self.undos: dict[str, Scope] = {}
        """The scope that each open undo belongs to, by the undo's id."""
        self.stand_ins: dict[str, Instance] = {}
        """What stands in for failed tasks and has not ended, by id."""
        self.stuck: dict[str, Failure | None] = {}
        """What should have been undone and could not be, by id."""
        self.parcels: list[Parcel] = []
        """Items of loops that have ended and can be packed once their records are noted."""
        self.paths: dict[str, str] = {}
        """Paths in items, each kept once however many items have it."""
        self.left_over: list[Scope] = []
        """Groups that have ended though something in them could not be undone."""
        self.touched: dict[int, Instance] = {}
        """Instances that changed since this was last cleared, for whoever shows them."""
        self.dropped: list[str] = []
        """What the ids of instances begin with that are no more since this was last cleared."""
        self.max_parallel = graph.workflow.max_parallel
        self._numbered = 0
        self._about: Instance | None = None
        """What the event is about that is being noted, where whoever made it has that at hand."""
        self._made: Instance | None = None
        """The next item of a loop while it is decided on, so that it need not be made twice."""
        self._scopes: dict[str, Scope] = {"": self.root}
        self._active: dict[str, Instance] = {}
        self._running: dict[str, Instance] = {}
        self._ready = ReadyQueues(graph.pools, graph.workflow.schedule)
        self._candidates: deque[Instance | Iterator[Instance]] = deque()
        """Tasks to be decided on, and of scopes that were opened those that wait for nothing."""
        self.unfed: list[Instance] = []
        """Loops that were set back: their reads are owed at once, their items when their turn comes."""
        self._closing: deque[Instance | None] = deque()
        """Groups and loops whose parts have ended; None is the run itself."""
        self._timers: list[tuple[float, int, str, int]] = []
        """Heap of (due, kind, task id, attempt); see ``machine.py``."""
        self._apply = self._handlers()

    def _handlers(self) -> dict[type[m.Event], Callable[[Any, float], None]]:
        """Return what notes each kind of event."""
        return {
            m.AttemptStarted: self._attempt_started,
            m.AttemptSucceeded: self._attempt_succeeded,
            m.AttemptFailed: self._attempt_failed,
            m.AttemptStopping: self._attempt_stopping,
            m.AttemptCancelled: self._attempt_cancelled,
            m.ResultDiscarded: self._noted,
            m.StateSet: self._state_set,
            m.TaskSkipped: self._task_skipped,
            m.TaskFailed: self._task_failed,
            m.TaskSucceeded: self._task_succeeded,
            m.TaskDegraded: self._task_degraded,
            m.TaskTerminated: self._task_terminated,
            m.TaskCancelled: self._task_cancelled,
            m.GroupStarted: self._group_started,
            m.LoopStarted: self._loop_started,
            m.ItemsRead: self._items_read,
            m.IterationDelayed: self._iteration_delayed,
            m.RunCreated: self._run_created,
            m.RunStarted: self._run_started,
            m.RunRecovered: self._run_recovered,
            m.RunPaused: self._run_paused,
            m.RunResumed: self._run_resumed,
            m.RunReopened: self._run_reopened,
            m.DefinitionChanged: self._definition_changed,
            m.RunCancelling: self._run_cancelling,
            m.RunCancelled: self._run_cancelled,
            m.RunSucceeded: self._run_succeeded,
            m.RunFailed: self._run_failed,
            m.ParkingBegan: self._noted_by(parking.began),
            m.ParkingCut: self._noted_by(parking.was_cut),
            m.ParkingEnded: self._noted_by(parking.ended),
            m.StandInCalled: self._noted_by(standing_in.began),
            m.StepRecorded: self._noted_by(steps.recorded),
            m.QuestionAsked: self._noted_by(waiting.asked),
            m.QuestionAnswered: self._noted_by(waiting.answered),
            m.AnswerRefused: self._noted,
            m.RunEnding: partial(ending.began, self),
            m.SectionStarted: self._section_started,
            m.CallEnding: self._noted_by(ending_calls.began),
            m.RollbackStarted: partial(undoing.began, self),
        }

    def clear(self) -> None:
        """Forget the instances, once nobody asks for them any more.

        They and their scopes refer to each other: left alone, they would stay until the garbage collector comes.
        """
        for scope in (*self._scopes.values(), *self.sections.values(), self.root):
            scope.instances.clear()

    # ------------------------------------------------------------------------------------------------- read only

    @property
    def is_final(self) -> bool:
        return self.status in RUN_FINAL

    @property
    def attempts(self) -> Mapping[str, Instance]:
        """The instances whose attempt is running, by id."""
        return self._running

    @property
    def slots(self) -> Sequence[Set[str]]:
        """Who holds a slot of each pool of the graph."""
        return self._ready.holders

    @property
    def running(self) -> Iterable[Instance]:
        """The instances whose attempt is running."""
        return self._running.values()

    @property
    def active(self) -> Iterable[Instance]:
        """The instances that have begun and not ended: attempts, what waits, loops and groups."""
        return self._active.values()

    @property
    def is_reading(self) -> bool:
        """A loop waits for items of its source."""
        return any(each.loop is not None and each.loop.reading for each in self._active.values())

    @property
    def is_between_iterations(self) -> bool:
        """A loop waits for its next iteration."""
        return any(timer[1] == ITERATION and self._is_live(timer) for timer in self._timers)

    @property
    def only_waits(self) -> bool:
        """Nothing goes on before somebody answers a question or sends a signal."""
        return waiting.is_all_that_is_left(self)

    def result_of(self, instance: Instance) -> Any:
        """Return the decoded result of an instance; decoded once, then kept."""
        if instance.value is UNREAD:
            value = msgspec.json.decode(result_text(instance, self.load))
            if not instance.is_final:
                return value
            instance.value = value
        return instance.value

    def output_of(self, instance: Instance) -> Any:
        """Return what the work itself gave, before a ``result:`` template mapped it."""
        if instance.output is None:
            return self.result_of(instance)
        return msgspec.json.decode(stored_text(instance.output, self.load))

    def next_due(self) -> float | None:
        """Return when the next timer fires, None when none is set."""
        return self._timers[0][0] if self._timers else None

    # ----------------------------------------------------------------------------------------------------- apply

    def apply(self, event: m.Event, at: float) -> None:
        """Note one fact. Raises EngineError when it cannot follow from what came before."""
        self._apply[type(event)](event, at)

    def _noted_by(self, note: Callable[[RunState, Instance, Any, float], None]) -> Callable[[Any, float], None]:
        """Return what notes an event about an instance by a function of another module."""
        return lambda event, at: note(self, self._find(event.task), event, at)

    def _find(self, task_id: str) -> Instance:
        """Return the instance by its id, made when it has not been heard of."""
        if self._about is not None:
            return self._about
        found = self._active.get(task_id)
        if found is not None:
            return found
        undone = self.undos.get(task_id)
        if undone is not None and undone.undoing is not None:
            return undone.undoing.open[task_id]
        if task_id in self.stand_ins:
            return self.stand_ins[task_id]
        made = self._made
        if made is not None and made.id == task_id:
            return self._item(self.owner_of(made), made.index)
        head, dot, leaf = task_id.rpartition(".")
        scope = self._scopes.get(f"{head}{dot}")
        if scope is None:
            raise EngineError(f"no scope is open for task {task_id!r}", code="unknown-instance")
        if leaf.endswith("]"):
            name, _, number = leaf[:-1].rpartition("[")
            return self._item(self._active[f"{head}{dot}{name}"], int(number))
        return scope.instance(scope.plan.names[leaf])

    def _item(self, owner: Instance, index: int | None) -> Instance:
        """Return the instance of item ``index`` of a started loop; its being next in line is thereby used up."""
        loop = owner.loop
        if loop is None or index is None:
            raise EngineError(f"{owner.id!r} is no loop that has started", code="unknown-instance")
        found = loop.open.get(index)
        if found is not None:
            return found
        is_again = bool(loop.redo) and loop.redo[-1] == index
        if is_again:
            loop.redo.pop()
        elif index == loop.next:
            loop.next += 1
            loop.goes_on, owner.due = False, None
        else:
            raise EngineError(f"item {index} of {owner.id!r} is out of turn", code="unknown-instance")
        item = loop.kept.pop(index, None) if is_again else None
        if item is None:
            made, self._made = self._made, None
            is_it = made is not None and made.index == index and made.node is owner.node and made.scope is owner.scope
            item = made if made is not None and is_it else Instance.of_item(owner, index)
        loop.open[index] = item
        return item

    def move(self, instance: Instance, status: TaskStatus, at: float) -> None:
        """Change the status, by the table, with what is counted by it."""
        old = instance.status
        if status not in TRANSITIONS[old]:
            raise no_such_step(instance.id, old, status)
        instance.status = status
        number = instance.number
        is_new = number == 0
        if is_new:
            self._numbered = number = self._numbered + 1
            instance.number = number
        if instance.undoes is None and instance.stands_for is None:
            counts = self.counts
            if not is_new:  # whoever was set back counts as pending until it goes on
                counts[old] -= 1
            counts[status] = counts.get(status, 0) + 1
        self.touched[number] = instance
        if old is _PENDING and instance.started_at is None and status is _RUNNING:
            instance.started_at = at

    def begin(self, instance: Instance, at: float) -> None:
        """Note that an instance has begun: it counts as active in its scope until it ends."""
        if instance.status is _PENDING:
            instance.began = self.completed
            if instance.index is None and instance.undoes is None and instance.stands_for is None:
                instance.scope.active += 1
        self.move(instance, _RUNNING, at)
        self._active[instance.id] = instance

    def leave_slot(self, instance: Instance) -> None:
        """Note that an attempt does not run any more."""
        if self._running.pop(instance.id, None) is not None:
            instance.recovered = 0
            self._ready.give(instance)
            if instance.index is not None:
                self.owner_of(instance).loop.running.discard(instance.index)  # type: ignore[union-attr]

    def owner_of(self, item: Instance) -> Instance:
        """Return the loop that an item belongs to."""
        owner = item.scope.instances[item.node.local]
        if owner is None or owner.loop is None:
            raise EngineError(f"{item.id!r} belongs to no loop", code="unknown-instance")
        return owner

    def _end(self, instance: Instance, status: TaskStatus, at: float) -> None:
        """Note that an instance has ended, and what follows for its loop, its scope and its successors."""
        self.move(instance, status, at)
        instance.ended_at = at
        if instance.held is not None:
            waiting.drop(self, instance)
        instance.due = instance.deadline = instance.held = None
        begun = self._active.pop(instance.id, None) is not None
        if instance.undoes is not None:
            undoing.ended(self, instance, at)
            return
        if instance.stands_for is not None:
            standing_in.ended(self, instance)
            return
        if instance.stand_in is not None:
            instance.stand_in.is_open = False
        if instance.child is not None:
            self.ends.pop(instance.id, None)
            if status is _SUCCEEDED:
                self.forget(instance.child)
        if instance.index is not None:
            self._item_ended(instance)
            return
        if instance.child is not None:
            undoing.hand_over(self, instance)
        if begun:
            instance.scope.active -= 1
        self._left(instance, status)

    def _end_at_once(self, instance: Instance, status: TaskStatus, at: float) -> None:
        """Note that a task of a scope has ended which nobody saw begin: ``_end`` without what only others need."""
        self._numbered = instance.number = number = self._numbered + 1
        instance.status = status
        instance.ended_at = at
        counts = self.counts
        counts[status] = counts.get(status, 0) + 1
        self.touched[number] = instance
        self._left(instance, status)

    def _left(self, instance: Instance, status: TaskStatus) -> None:
        """Note in its scope that a task has ended: who waited for it may go on."""
        scope = instance.scope
        scope.left -= 1
        if status in BAD_ENDS and not instance.upstream_failed and not instance.node.tolerated:
            scope.failed.append(instance.node.name)
        unmet = scope.unmet
        for local in instance.node.successors:
            unmet[local] -= 1
            if unmet[local] == 0 or scope.plan.nodes[local].join in _EARLY:
                self.unblock(scope.instance(local))
        if scope.is_done:
            self.ended(scope.owner)

    def _item_ended(self, item: Instance) -> None:
        owner = self.owner_of(item)
        loop = owner.loop
        if loop is None or item.index is None:
            raise EngineError(f"{item.id!r} belongs to no loop", code="unknown-instance")
        del loop.open[item.index]
        loop.aside.discard(item.index)
        if item.status is _SUCCEEDED:
            text = item.result
            if text is None:
                text = result_text(item, self.load)
            if loop.plan is not None:
                loop.note_result(text)
            if loop.plan is None or owner.node.collects:
                loop.keep_result(item.index, item.collected or text)
            if not item.node.undoable:
                loop.window.pop(item.index, None)
            forgetting.note_inside(loop, item)
        elif item.status is _S.SKIPPED:
            loop.window.pop(item.index, None)
            loop.skips += 1
        else:
            loop.kept[item.index] = item
            loop.first_failure = loop.first_failure or item.id
        if loop.is_done:
            self.ended(owner)
        elif loop.has_next:
            self._ready.push(owner)
        if item.child is not None:
            undoing.hand_over(self, item)

    # -------------------------------------------------------------------------------------------------- attempts

    def _attempt_started(self, event: m.AttemptStarted, at: float) -> None:
        instance = self._about or self._find(event.task)
        instance.attempt = event.attempt
        instance.stopping = None
        if instance.first_at is None:
            instance.first_at = at
        if instance.held is not None:
            parking.forget(instance.held)
        self.take_slot(instance, at)

    def take_slot(self, instance: Instance, at: float) -> None:
        """Note that an attempt runs: it holds its slots and its loop's turn."""
        self.begin(instance, at)
        instance.due = None
        self._running[instance.id] = instance
        self._ready.take(instance)
        if instance.index is not None:
            self.owner_of(instance).loop.running.add(instance.index)  # type: ignore[union-attr]
        self.set_deadline(instance, at)

    def _attempt_succeeded(self, event: m.AttemptSucceeded, at: float) -> None:
        instance = self._about or self._find(event.task)
        self.leave_slot(instance)
        instance.result = event.blob or bytes(event.result)
        if event.output is not m.ABSENT or event.output_blob is not None:
            instance.output = event.output_blob or bytes(event.output)
        if event.usage:
            self.spent.add(instance.node.path, event.usage)
        if event.collected_blob is not None or event.collected is not m.ABSENT:
            instance.collected = event.collected_blob or bytes(event.collected)
        instance.failure = None
        self._end(instance, _SUCCEEDED, at)
        if instance.node.rollback is not None:
            undoing.remember(self, instance)

    def _attempt_failed(self, event: m.AttemptFailed, at: float) -> None:
        instance = self._find(event.task)
        self.leave_slot(instance)
        instance.failure = event.failure
        self.add_usage_of(instance, event.failure)
        failed = _S.TIMEOUT if event.timeout else _S.FAILED
        if event.retry_at is not None:
            self.move(instance, failed, at)
            self.move(instance, _S.RETRYING, at)
            instance.due = event.retry_at
            self.set_timer(event.retry_at, RETRY, instance)
            self.free_loop(instance)
            return
        final = TaskStatus(event.final) if event.final else failed
        if final is not failed:
            self.move(instance, failed, at)
        self._end(instance, final, at)

    def free_loop(self, instance: Instance) -> None:
        """A waiting item holds no slot: its loop may go on with the next."""
        if instance.index is not None:
            owner = self.owner_of(instance)
            if owner.loop is not None and owner.loop.has_next:
                self._ready.push(owner)

    def _attempt_stopping(self, event: m.AttemptStopping, at: float) -> None:
        instance = self._find(event.task)
        instance.stopping = event.reason
        instance.failure = event.failure or instance.failure
        self.touched[instance.number] = instance
        if instance.loop is not None:
            instance.loop.cancelled = True
            if instance.loop.is_done:
                self.ended(instance)
        if instance.child is not None:
            end = instance.child.end
            self._cancel_scope(instance.child if end is None or end.section is None else end.sections[end.section])

    def _cancel_scope(self, scope: Scope) -> None:
        if not scope.cancelled:
            scope.cancelled = True
            if scope.left and scope.active == 0:
                self.ended(scope.owner)

    def _attempt_cancelled(self, event: m.AttemptCancelled, at: float) -> None:
        instance = self._find(event.task)
        self.leave_slot(instance)
        instance.reason = event.reason or None
        if event.usage:
            self.spent.add(instance.node.path, event.usage, failed=True)
        self._end(instance, _S.CANCELLED, at)

    def _state_set(self, event: m.StateSet, at: float) -> None:
        if event.value is m.ABSENT:
            self.keyed.pop(event.key, None)
        else:
            self.keyed[event.key] = bytes(event.value)

    def _noted(self, event: m.Event, at: float) -> None:
        """A fact for the record only."""

    @property
    def usage(self) -> dict[str, Any]:
        """What was used of models in all."""
        return self.spent.total

    def add_usage_of(self, instance: Instance, failure: Failure) -> None:
        usage = (failure.details or {}).get("usage")
        if isinstance(usage, dict):
            self.spent.add(instance.node.path, usage, failed=True)

    # ----------------------------------------------------------------------------------------------------- tasks

    def _task_skipped(self, event: m.TaskSkipped, at: float) -> None:
        instance = self._about or self._find(event.task)
        instance.reason = event.reason
        instance.upstream_failed = event.upstream_failed
        if instance.is_unheard_of:
            self._end_at_once(instance, _S.SKIPPED, at)
        else:
            self._end(instance, _S.SKIPPED, at)

    def _task_failed(self, event: m.TaskFailed, at: float) -> None:
        instance = self._find(event.task)
        instance.failure = event.failure
        failed = _S.TIMEOUT if event.timeout else _S.FAILED
        if event.final is not None:
            self.move(instance, failed, at)
        self._end(instance, TaskStatus(event.final) if event.final else failed, at)

    def _task_succeeded(self, event: m.TaskSucceeded, at: float) -> None:
        instance = self._about or self._find(event.task)
        if instance.status is _PENDING:  # a decision: it begins and ends at once
            if instance.is_unheard_of and instance.node.rollback is None:
                instance.began = self.completed
                instance.started_at = at
                instance.result = event.blob or bytes(event.result)
                self._end_at_once(instance, _SUCCEEDED, at)
                return
            self.begin(instance, at)
        if event.blob is not None:
            instance.result = event.blob
        elif event.result is not m.ABSENT:
            instance.result = bytes(event.result)
        if event.collected_blob is not None or event.collected is not m.ABSENT:
            instance.collected = event.collected_blob or bytes(event.collected)
        if instance.child is not None:
            ending_calls.give_result(instance)
        self._end(instance, _SUCCEEDED, at)
        if instance.node.rollback is not None and instance.loop is None:
            undoing.remember(self, instance)

    def _task_degraded(self, event: m.TaskDegraded, at: float) -> None:
        instance = self._find(event.task)
        if instance.status is not _RUNNING:
            self.begin(instance, at)
        self.leave_slot(instance)
        instance.failure = event.failure
        if not instance.is_replaced:  # else that was counted when it failed
            self.add_usage_of(instance, event.failure)
        instance.result = event.blob or bytes(event.result)
        self._end(instance, _SUCCEEDED, at)

    def _task_terminated(self, event: m.TaskTerminated, at: float) -> None:
        instance = self._find(event.task)
        instance.reason = event.reason or None
        self._end(instance, _S.TERMINATED, at)

    def _task_cancelled(self, event: m.TaskCancelled, at: float) -> None:
        self._end(self._find(event.task), _S.CANCELLED, at)

    def _group_started(self, event: m.GroupStarted, at: float) -> None:
        instance = self._find(event.task)
        plan = groups.plan_of(self.graph, instance)
        if plan is None:
            raise EngineError(f"{event.task!r} is no group", code="unknown-instance")
        reopened = instance.child
        self.begin(instance, at)
        instance.attempt = 1
        instance.first_at = at
        if reopened is None:
            scope = Scope(plan, f"{instance.id}.", instance, self.graph.callees.get(instance.node.callee or ""))
            if event.chosen is not None:
                scope.chosen, scope.left = plan.names[event.chosen], 1
            self.open(scope, instance)
        else:
            self._scopes[reopened.prefix] = reopened
            reopening.reopen_scope(self, reopened, at)
        self.set_deadline(instance, at)

    def open(self, scope: Scope, owner: Instance | None) -> None:
        """Open a scope: the tasks in it that wait for nothing are to be decided on."""
        self._scopes[scope.prefix] = scope
        if owner is not None:
            owner.child = scope
        if scope.chosen is None:
            self._candidates.append(scope.starters())
        else:
            self._candidates.append(scope.instance(scope.chosen))
        if scope.left == 0:
            self.ended(owner)

    def _loop_started(self, event: m.LoopStarted, at: float) -> None:
        instance = self._find(event.task)
        self.begin(instance, at)
        plan = instance.node.loop
        loop = instance.loop = LoopState(event.total, event.source, plan.repeat if plan is not None else None)
        loop.since = self._numbered
        if loop.is_done:
            self.ended(instance)
        elif loop.has_next:
            self._ready.push(instance)

    def _section_started(self, event: m.SectionStarted, at: float) -> None:
        if event.task:
            ending_calls.section_began(self, self._find(event.task), event.section, at)
        else:
            ending.section_began(self, event, at)

    def _iteration_delayed(self, event: m.IterationDelayed, at: float) -> None:
        instance = self._find(event.task)
        instance.due = event.due
        self.set_timer(event.due, ITERATION, instance)
        self.touched[instance.number] = instance

    def _items_read(self, event: m.ItemsRead, at: float) -> None:
        instance = self._find(event.task)
        loop = instance.loop
        if loop is None or event.first != loop.count:
            raise EngineError(f"items of {event.task!r} arrived out of turn", code="unknown-instance")
        loop.window.update(enumerate(event.items, event.first))
        loop.count += len(event.items)
        loop.exhausted = event.last
        loop.reading = False
        if loop.is_done:
            self.ended(instance)
        elif loop.has_next:
            self._ready.push(instance)

    # ------------------------------------------------------------------------------------------------------- run

    def _run_created(self, event: m.RunCreated, at: float) -> None:
        self.created = event

    def _run_started(self, event: m.RunStarted, at: float) -> None:
        self.status = step_run(self.status, RunStatus.RUNNING)
        self.started_at = at
        self.open(self.root, None)

    def _run_recovered(self, event: m.RunRecovered, at: float) -> None:
        self._timers = [timer for timer in self._timers if timer[1] != DEADLINE]
        heapify(self._timers)
        for instance in self._active.values():
            if instance.id in self._running or instance.child is not None:
                self.set_deadline(instance, at)
        for instance in self._running.values():
            instance.recovered += 1
            if instance.attempt - instance.attempts_before <= 1:  # while nobody drove the run, it did not run
                instance.started_at = at

    def _run_paused(self, event: m.RunPaused, at: float) -> None:
        self.pause_reason = event.reason
        self.status = step_run(self.status, RunStatus.PAUSED)

    def _run_resumed(self, event: m.RunResumed, at: float) -> None:
        self.pause_reason = ""
        is_cancelled = self.ending is not None and self.ending.status is RunStatus.CANCELLED
        self.status = step_run(self.status, RunStatus.CANCELLING if is_cancelled else RunStatus.RUNNING)

    def _run_cancelling(self, event: m.RunCancelling, at: float) -> None:
        self.cancel_reason = self.cancel_reason or event.reason
        if self.status is not RunStatus.CANCELLING:
            self.status = step_run(self.status, RunStatus.CANCELLING)
        scope = self.root
        if self.ending is not None:
            self.ending.status = RunStatus.CANCELLED
            if self.ending.section is None or event.spares:
                return
            scope = self.sections[self.ending.section]
        self._cancel_scope(scope)

    def _run_cancelled(self, event: m.RunCancelled, at: float) -> None:
        self.failure = event.failure
        self._run_ended(RunStatus.CANCELLED, at)

    def _run_succeeded(self, event: m.RunSucceeded, at: float) -> None:
        if self.ending is None:
            self.outputs = event.blob or bytes(event.outputs)
        self._run_ended(RunStatus.SUCCEEDED, at)

    def _run_failed(self, event: m.RunFailed, at: float) -> None:
        self.failure = event.failure
        self._run_ended(RunStatus.FAILED, at)

    def _run_ended(self, status: RunStatus, at: float) -> None:
        self.status = step_run(self.status, status)
        self.ended_at = at
        self._closing.clear()

    def _run_reopened(self, event: m.RunReopened, at: float) -> None:
        self.status = step_run(self.status, RunStatus.RUNNING)
        self.failure = self.ending = self.outputs = None
        self.cancel_reason = ""
        self.ended_at = None
        self.stuck.clear()
        self._candidates.clear()
        self._timers.clear()
        self._ready.clear()
        for scope in self.sections.values():
            reopening.clear_scope(self, scope)
        reopening.reopen_scope(self, self.root, at, reopening.choose(self.graph.root, event.tasks))
        undoing.take_up(self)

    def _definition_changed(self, event: m.DefinitionChanged, at: float) -> None:
        if self.compile is None:
            raise EngineError(
                "the run goes on by a changed definition, which nobody compiles", code="invalid-transition"
            )
        adopting.adopt(self, event, self.compile(self.load(event.definition)), at)

    def take_graph(self, graph: Graph) -> list[Instance]:
        """Go by another graph, whose nodes the instances already have; return what waited for a slot, in order."""
        self.graph = graph
        self.max_parallel = graph.workflow.max_parallel
        self._timers = [timer for timer in self._timers if self._is_live(timer)]
        heapify(self._timers)
        waiting = self._ready.drain()
        self._ready = ReadyQueues(graph.pools, graph.workflow.schedule)
        for instance in self._running.values():
            self._ready.take(instance)
        return waiting

    def spell_out(self) -> None:
        """Name what is to be decided task by task: the plans of its scopes are about to change."""
        entries = ((each,) if isinstance(each, Instance) else each for each in self._candidates)
        self._candidates = deque(instance for entry in entries for instance in entry)

    def decide_of(self, is_there: Callable[[Instance], bool]) -> None:
        """Leave undecided what is no longer there."""
        self.spell_out()
        self._candidates = deque(each for each in self._candidates if isinstance(each, Instance) and is_there(each))

    # ------------------------------------------------------------------------------------------ what is to be decided

    def unblock(self, instance: Instance) -> None:
        """Note that it must be decided whether a task runs."""
        self._candidates.append(instance)

    def ended(self, owner: Instance | None) -> None:
        """Note that the parts of a group, a loop or (None) the run have ended."""
        if not self._closing or self._closing[-1] is not owner:
            self._closing.append(owner)

    def ready(self, instance: Instance) -> None:
        """Let a task, or a loop's next item, wait for its slot."""
        self._ready.push(instance)

    def remember(self, scope: Scope) -> None:
        """Take up a scope again that had ended."""
        self._scopes[scope.prefix] = scope

    def scope_of(self, task_id: str) -> Scope:
        """Return what a group that has begun has inside; the root for no name. Raises EngineError."""
        scope = self._active[task_id].child if task_id in self._active else None
        if task_id and scope is None:
            raise EngineError(f"{task_id!r} is no group", code="unknown-instance")
        return scope or self.root

    def forget(self, scope: Scope) -> None:
        """Drop a scope that is over, or will be opened anew, and what ran at its end."""
        self._scopes.pop(scope.prefix, None)
        for section in scope.end.sections.values() if scope.end is not None else ():
            self._scopes.pop(section.prefix, None)

    # ---------------------------------------------------------------------------------------------------- timers

    def set_deadline(self, instance: Instance, at: float) -> None:
        """Let the time of what begins at ``at`` run out, if it has a timeout."""
        if instance.node.timeout is not None:
            spent = 0.0 if instance.held is None else instance.held.spent
            instance.deadline = at + instance.node.timeout - spent
            self.set_timer(instance.deadline, DEADLINE, instance)

    def set_timer(self, due: float, kind: int, instance: Instance) -> None:
        """Let an instance be looked at when ``due`` has come."""
        timers = self._timers
        if len(timers) > 1024 and len(timers) > 4 * len(self._active):
            self._timers = timers = [timer for timer in timers if self._is_live(timer)]
            heapify(timers)
        heappush(timers, (due, kind, instance.id, instance.attempt))

    def _is_live(self, timer: tuple[float, int, str, int]) -> bool:
        """Return whether a timer still means anything."""
        due, kind, task_id, attempt = timer
        instance = self._active.get(task_id)
        if instance is None or instance.attempt != attempt:
            return False
        if kind == DEADLINE:
            return instance.status is _RUNNING and due == instance.deadline
        waits = _S.RETRYING if kind == RETRY else _S.PAUSED if kind == WAKE else _RUNNING
        return instance.status is waits and due == instance.due

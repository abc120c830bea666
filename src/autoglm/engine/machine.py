"""The machine: stimuli in, events and commands out.

Rules:

1. ``handle(stimuli, now)`` decides; each event it makes is applied at once by ``RunState.apply`` and nothing else
   changes state. Journal the events, then do the commands, then come back with what they gave.
2. A failure of the author's (an expression, a result that is no JSON) is an event. An ``EngineError`` is ours: the
   caller discards this run and replays it.
3. A task runs when its upstreams allow it (``joins.py``), its ``when`` holds, and its pools have room. Inputs are built
   when it starts, and not kept: ``outstanding`` builds them again from the same facts.
4. Loops are turns: a loop that may start an item stands in the ready queue itself, so an item costs nothing before
   its turn. At most ``loops.OPEN_ITEMS`` items (``max_parallel`` of a group's) are open at a time.
5. Told to stop, an attempt holds its slot until the runtime says that it has stopped.
6. A decision ends at about ``MOST_EVENTS`` events. What is left then stands in the state, so a replay finds it too, and
   ``is_unsettled`` asks for the next ``handle``.

What a decision is about has a module of its own each; who decides when, in which order, is read here in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heappop
from typing import Any, assert_never

import msgspec

from autoglm.base import jsonvalue
from autoglm.base.errors import EngineError, Failure
from autoglm.base.redaction import redact
from autoglm.engine import (
    adopting,
    closing,
    decisions,
    ending,
    ending_calls,
    groups,
    loops,
    parking,
    repeats,
    retry,
    standing_in,
    steps,
    stopping,
    undoing,
    waiting,
)
from autoglm.engine import messages as m
from autoglm.engine.joins import Judgement, Verdict, judge
from autoglm.engine.names import OF_RUN, Names, Upstream, World
from autoglm.engine.run_state import RunState
from autoglm.engine.snapshot import snapshot
from autoglm.engine.state import DEADLINE, ITERATION, Instance, LoadBlob
from autoglm.engine.states import RUN_FINAL, RunStatus, TaskStatus
from autoglm.engine.values import boxed, timed_out
from autoglm.graph.model import Graph, NodeKind
from autoglm.spec.expressions import ExpressionError, Template
from autoglm.spec.model import Effects

_S = TaskStatus
_PENDING = _S.PENDING
_WORK, _WAITING, _DECISION = NodeKind.WORK, NodeKind.WAIT, NodeKind.DECISION
_STARTING = (RunStatus.RUNNING, RunStatus.CANCELLING)
"""Where attempts may start: of a run that is cancelled, rollbacks and ``finally`` only."""
_DISCARD_LATE = "it came back after the attempt had been given up"
MOST_EVENTS = 20_000
"""Events of one decision, about. What is left to decide waits for the next: a record must not grow without bound."""


class Run(RunState):
    """One run. Pure: the same journal and the same stimuli give the same events and commands."""

    __slots__ = (
        "_blobs",
        "_commands",
        "_events",
        "_load_stored",
        "_now",
        "_secret_inputs",
        "_secrets",
        "_unsaved",
        "is_unsettled",
        "most_events",
        "scrub",
        "world",
    )

    def __init__(self, graph: Graph, load: LoadBlob, secrets: Mapping[str, Any] | None = None) -> None:
        RunState.__init__(self, graph, self._load_blob)
        self._load_stored = load
        self._unsaved: dict[str, bytes] = {}
        self.most_events = MOST_EVENTS
        self.is_unsettled = False
        """There is more to decide: :meth:`handle` wants to be called again, also without news."""
        self.scrub: Callable[[str], str] = str
        """Takes secret values out of a text: what an expression complains about may name them."""
        self.world = World(
            {"inputs": {}, "vars": {}},
            self.result_of,
            self.output_of,
            lambda owner: loops.items(self, owner),
            lambda owner: repeats.previous(self, owner),
            lambda frame: groups.values_of(self, frame),
            lambda section: ending_calls.names(self, section),
        )
        self._secrets = secrets if secrets is not None else {}
        self._secret_inputs: Mapping[str, Any] = {}
        self._now = 0.0
        self._events: list[m.Event] = []
        self._commands: list[m.Command] = []
        self._blobs: dict[str, bytes] = {}

    def provide(self, secret_inputs: Mapping[str, Any]) -> None:
        """Give the values of the secret inputs, which the journal holds as names only."""
        self._secret_inputs = secret_inputs
        self._build_world()

    def secret_values(self) -> list[str]:
        """Return the values of the secret inputs, for redaction."""
        return [str(value) for value in self._secret_inputs.values()]

    def reads_secrets(self) -> bool:
        """Return whether any template of the workflow can give a secret."""
        workflows = (self.graph.workflow, *(callee.workflow for callee in self.graph.callees.values()))
        if self._secret_inputs or any(spec.secret for workflow in workflows for spec in workflow.inputs.values()):
            return True
        return "secrets" in self.graph.reads

    def _run_created(self, event: m.RunCreated, at: float) -> None:
        super()._run_created(event, at)
        self._build_world()

    def _build_world(self) -> None:
        created = self.created
        if created is None:
            return
        workflow = self.graph.workflow
        self.world.values |= {
            "inputs": {**created.inputs, **self._secret_inputs},
            "vars": workflow.vars,
            "config": created.config,
            "env": created.env,
            "secrets": self._secrets,
            "run": {
                "id": created.run_id,
                "workflow": created.workflow,
                "namespace": workflow.namespace,
                "offline": created.offline,
                "environment": created.environment,
            },
        }

    # ---------------------------------------------------------------------------------------------------- handle

    def handle(self, stimuli: Sequence[m.Stimulus], now: float) -> m.Decision:
        """Take news in, in order, and return what must be committed and then done."""
        self._now = now
        self._events, self._commands, self._blobs = [], [], {}
        for stimulus in stimuli:
            self._take(stimulus)
        self._fire(now)
        self._settle()
        return m.Decision(self._events, self._commands, self._blobs)

    def note(self, stimulus: m.Stimulus, now: float) -> m.Decision:
        """Take one piece of news in and decide nothing else: what follows is left to the next :meth:`handle`."""
        self._now = now
        self._events, self._commands, self._blobs = [], [], {}
        self._take(stimulus)
        return m.Decision(self._events, self._commands, self._blobs)

    def saved(self, blobs: Mapping[str, bytes]) -> None:
        """Take note that the blobs of a decision are committed: from now on the store gives them."""
        for digest in blobs:
            self._unsaved.pop(digest, None)

    def as_failure(self, error: ExpressionError, *, code: str | None = None) -> Failure:
        """Return what an expression raised, as data, without secrets. Trying again would give the same."""
        hint = None if error.hint is None else self.scrub(error.hint)
        return Failure(code or error.code, self.scrub(error.message), (error.code,), retryable=False, hint=hint)

    def boxed(self, text: bytes) -> tuple[msgspec.Raw, m.Blob | None]:
        """Return JSON text as an event holds it: inline, or as a blob that this decision brings along."""
        raw, blob = boxed(text, self._blobs)
        if blob is not None:
            self._unsaved[blob.digest] = text
        return raw, blob

    def _load_blob(self, blob: m.Blob) -> bytes:
        """Return a blob's text. Decisions run ahead of their commits, so the newest are not in the store yet."""
        text = self._unsaved.get(blob.digest)
        return self._load_stored(blob) if text is None else text

    def emit(self, event: m.Event, about: Instance | None = None) -> None:
        """Make an event a fact of this decision. ``about`` is the instance it names, where that is at hand."""
        self._events.append(event)
        self._about = about
        self._apply[type(event)](event, self._now)  # as ``apply`` does, without a call more for each event
        self._about = None

    def command(self, command: m.Command) -> None:
        """Ask the runtime for something, once the events of this decision are committed."""
        self._commands.append(command)

    def outstanding(self) -> list[m.Command]:
        """Return the commands that a recovered run owes: what was decided and has not been answered."""
        if self.is_final:
            return []
        owed: list[m.Command] = []
        for instance in self._running.values():
            if instance.stopping is not None:
                owed.append(m.StopAttempt(instance.id, instance.attempt, instance.stopping))
            else:
                owed.append(self.start_command(instance))
        owed.extend(loops.reads_owed(list(self._active.values())))
        return owed

    def _take(self, stimulus: m.Stimulus) -> None:
        match stimulus:
            case m.AttemptReturned():
                self._returned(stimulus)
            case m.AttemptRaised():
                self._raised(stimulus)
            case m.AttemptStopped():
                self._stopped(stimulus)
            case m.AttemptParked():
                parking.park(self, self._current(stimulus.task, stimulus.attempt), stimulus)
            case m.StepDone():
                steps.done(self, self._running.get(stimulus.task), stimulus)
            case m.ItemsArrived():
                loops.items_arrived(self, self._active.get(stimulus.task), stimulus)
            case m.ItemsFailed():
                loops.items_failed(self, self._active.get(stimulus.task), stimulus.failure)
            case _:
                self._take_control(stimulus)

    def _take_control(self, stimulus: m.Stimulus) -> None:
        match stimulus:
            case m.StateWritten():
                self.emit(m.StateSet(stimulus.key, m.ABSENT if stimulus.value is None else msgspec.Raw(stimulus.value)))
            case m.Tick():
                pass
            case m.Wake() | m.Answer() | m.SignalGiven():
                waiting.take(self, stimulus)
            case m.Create():
                self._blobs[stimulus.event.definition.digest] = stimulus.definition
                self.emit(stimulus.event)
            case m.Adopt():
                self._adopt(stimulus)
            case m.Begin():
                self._begin_run()
            case m.Pause():
                if self.status is RunStatus.RUNNING or (
                    self.status is RunStatus.CANCELLING and self.ending is not None
                ):
                    self.emit(m.RunPaused(stimulus.reason))
            case m.Resume():
                if self.status is RunStatus.PAUSED:
                    self.emit(m.RunResumed())
            case m.Cancel():
                ending.cancel(self, stimulus)
            case m.Reopen():
                self._reopen(stimulus.tasks)
            case _:
                assert_never(stimulus)  # type: ignore[arg-type]

    def _reopen(self, tasks: tuple[str, ...]) -> None:
        if self.is_final:
            self.emit(m.RunReopened(tasks))
            for command in loops.reads_owed(list(self._active.values())):
                self.command(command)

    def _begin_run(self) -> None:
        if self.status is RunStatus.PENDING:
            self.emit(m.RunStarted())
            return
        if self.is_final:
            return
        self.emit(m.RunRecovered())
        for instance in list(self._running.values()):
            if instance.stopping is not None:
                self.command(m.StopAttempt(instance.id, instance.attempt, instance.stopping))
                continue
            if instance.node.task.effects is Effects.GUARDED:
                waiting.ask_what_became(self, instance)
                continue
            try:
                self.command(self.start_command(instance))
            except ExpressionError as error:  # what it could read then, such as a secret, is gone
                self.fail_attempt(instance, self.as_failure(error), timeout=False)
        for command in loops.reads_owed(list(self._active.values())):
            self.command(command)

    def _adopt(self, stimulus: m.Adopt) -> None:
        """Go on by a changed definition."""
        if self.compile is None or not adopting.can_adopt(self):
            return
        event = stimulus.event
        self._blobs[event.definition.digest] = self._unsaved[event.definition.digest] = stimulus.definition
        adopting.give_up(self, self.compile(stimulus.definition), event.redo)
        self.emit(event)

    def _definition_changed(self, event: m.DefinitionChanged, at: float) -> None:
        super()._definition_changed(event, at)
        self._build_world()

    # -------------------------------------------------------------------------------------------------- attempts

    def _current(self, task: str, attempt: int) -> Instance | None:
        """Return the instance whose running attempt this is; None when it is no longer running."""
        instance = self._running.get(task)
        if instance is None or instance.attempt != attempt:
            if not self.is_final:
                self.emit(m.ResultDiscarded(task, attempt, _DISCARD_LATE))
            return None
        return instance

    def _returned(self, news: m.AttemptReturned) -> None:
        instance = self._current(news.task, news.attempt)
        if instance is None:
            return
        if instance.stopping == "timeout":
            self.emit(m.ResultDiscarded(news.task, news.attempt, "it came back after its time was up"))
            self.fail_attempt(instance, timed_out(instance), timeout=True)
            return
        self.succeed(instance, news)

    def succeed(self, instance: Instance, news: m.AttemptReturned) -> None:
        """Take what an attempt gave as its result, mapped as its task says."""
        node = instance.node
        is_plain = node.result is None and node.decider is None and (node.loop is None or node.loop.collect is None)
        if is_plain and len(news.output) <= m.INLINE_LIMIT:
            raw = msgspec.Raw(news.output)
            self.emit(m.AttemptSucceeded(news.task, news.attempt, raw, usage=news.usage or None), instance)
            return
        try:
            self.emit(self._success(instance, news))
        except ExpressionError as error:
            self.fail_attempt(instance, self.as_failure(error), timeout=False)

    def _success(self, instance: Instance, news: m.AttemptReturned) -> m.AttemptSucceeded:
        """Map the output by the task's ``result:`` or its rules, and an item's result by its loop's ``collect``."""
        node = instance.node
        output, output_blob = self.boxed(news.output)
        result, blob = output, output_blob
        mapped = node.result is not None
        text = news.output
        if node.decider is not None:
            text, mapped = decisions.outcome_of(self, instance, msgspec.json.decode(news.output)), True
            result, blob = self.boxed(text)
        elif node.result is not None:
            own = msgspec.json.decode(news.output)
            text = self.evaluate_text(node.result, instance, {"output": own, "result": own})
            result, blob = self.boxed(text)
        return m.AttemptSucceeded(
            news.task,
            news.attempt,
            result,
            blob,
            output if mapped and output_blob is None else m.ABSENT,
            output_blob if mapped else None,
            *closing.collected(self, instance, text),
            news.usage or None,
        )

    def _raised(self, news: m.AttemptRaised) -> None:
        instance = self._current(news.task, news.attempt)
        if instance is None:
            return
        if instance.stopping == "timeout":
            self.fail_attempt(instance, timed_out(instance), timeout=True)
        else:
            self.fail_attempt(instance, news.failure, timeout=False)

    def _stopped(self, news: m.AttemptStopped) -> None:
        instance = self._running.get(news.task)
        if instance is None or instance.attempt != news.attempt or instance.stopping is None:
            return
        if instance.stopping == "timeout":
            failure = timed_out(instance, abandoned=news.abandoned, usage=news.usage)
            self.fail_attempt(instance, failure, timeout=True, abandoned=news.abandoned)
        else:
            why = instance.stopping
            self.emit(m.AttemptCancelled(news.task, news.attempt, why, news.abandoned, news.usage or None))

    def fail_attempt(self, instance: Instance, failure: Failure, *, timeout: bool, abandoned: bool = False) -> None:
        """Retry, degrade, or let it fail."""
        policy = instance.node.retry
        due = None
        final = None
        if policy is not None and self._may_retry(instance):
            made = instance.attempt - instance.attempts_before
            draw = retry.chance(self._run_id, instance.id, instance.attempt)
            first = instance.first_at if instance.first_at is not None else self._now
            due = retry.retry_at(policy, made, first, self._now, draw, failure)
            if due is None and made > 1 and retry.covers(policy, failure):
                final = _S.TERMINATED
        ends = final or (_S.TIMEOUT if timeout else _S.FAILED)
        if due is None and (self._degrade(instance, failure) or standing_in.call(self, instance, failure, ends)):
            return
        self.emit(m.AttemptFailed(instance.id, instance.attempt, failure, timeout, due, final, abandoned))
        if due is None:
            stopping.fail_fast(self, instance)

    def _may_retry(self, instance: Instance) -> bool:
        if instance.undoes is not None:
            return True
        if instance.stopping in ("cancelled", "fail_fast"):
            return False
        if instance.index is not None and self.owner_of(instance).stopping is not None:
            return False
        return not instance.is_given_up

    def _degrade(self, instance: Instance, failure: Failure) -> bool:
        """Succeed with the value that ``on_error: {degrade: …}`` gives; False when it cannot be had."""
        template = instance.node.degrade
        if template is None or instance.stopping == "cancelled":
            return False
        try:
            error = {"code": failure.code, "message": failure.message}
            text = self.evaluate_text(template, instance, {"error": error})
        except ExpressionError:
            return False
        raw, blob = self.boxed(text)
        self.emit(m.TaskDegraded(instance.id, failure, raw, blob))
        return True

    def fail(self, instance: Instance, failure: Failure, *, timeout: bool = False) -> None:
        """End an instance that has no running attempt as failed."""
        final = _S.TIMEOUT if timeout else _S.FAILED
        if not self._degrade(instance, failure) and not standing_in.call(self, instance, failure, final):
            self.emit(m.TaskFailed(instance.id, failure, timeout))
            stopping.fail_fast(self, instance)

    def _fire(self, now: float) -> None:
        """Take what is due from the timers."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            timer = heappop(timers)
            if not self._is_live(timer):
                continue
            instance = self._active[timer[2]]
            if timer[1] == ITERATION:
                repeats.go_on(self, instance)
            elif instance.held is not None and instance.held.question is not None:
                waiting.due(self, instance, instance.held.question)
            elif timer[1] != DEADLINE:
                self._due(instance)
            elif instance.stopping is None and not stopping.ends_by_itself(instance):
                stopping.stop(self, instance, "timeout")
            timers = self._timers

    def _due(self, instance: Instance) -> None:
        """Let a task have its next attempt; an item waits for its loop's turn, whose limit holds for it too."""
        if instance.index is None:
            self._ready.push(instance)
            return
        owner = self.owner_of(instance)
        owner.loop.retries.append(instance)  # type: ignore[union-attr]
        self._ready.push(owner)

    # ---------------------------------------------------------------------------------------------------- settling

    def _settle(self) -> None:
        """Decide until nothing is left, or it is enough: what has ended, what is unblocked, what can start."""
        events, most = self._events, self.most_events
        while len(events) < most:
            while self.unfed:
                loops.pump(self, self.unfed.pop())
            while self._candidates and len(events) < most:
                candidate = self._candidates.popleft()
                if isinstance(candidate, Instance):
                    self._unblocked(candidate)
                else:
                    self._begin_scope(candidate)
            if self._candidates:
                break
            if self._closing:
                closing.close(self, self._closing.popleft())
                continue
            if self.status in _STARTING and self._start_ready():
                continue
            if not (self._candidates or self._closing or len(events) >= most):
                self.is_unsettled = False
                return
        self.is_unsettled = not self.is_final

    def _begin_scope(self, starters: Iterator[Instance]) -> None:
        """Decide on the tasks of a scope that wait for nothing, as far as one decision goes."""
        for instance in starters:
            self._unblocked(instance)
            if len(self._events) >= self.most_events:
                self._candidates.appendleft(starters)
                return

    def _unblocked(self, instance: Instance) -> None:
        if instance.status is not _PENDING or instance.queued or instance.scope.cancelled or self.status in RUN_FINAL:
            return
        node = instance.node
        if node.edges and not self._is_let_run(instance, judge(node, instance.scope)):
            return
        if node.spare is not None:
            self.emit(m.TaskSkipped(instance.id, f"it stands in for `{node.spare}`, only if that fails"))
            return
        if node.when is not None and not node.when_each and not self.condition_holds(instance):
            return
        kind = node.kind
        if kind is _DECISION:
            decisions.decide(self, instance)
        elif kind is _WAITING and node.loop is None:
            waiting.ask(self, instance)
        elif node.loop is not None:
            loops.start(self, instance)
        elif kind is _WORK:
            self._ready.push(instance)
        else:
            groups.start(self, instance)

    def _is_let_run(self, instance: Instance, judgement: Judgement) -> bool:
        if judgement.verdict is Verdict.SKIP:
            self.emit(m.TaskSkipped(instance.id, judgement.reason, judgement.upstream_failed), instance)
        return judgement.verdict is Verdict.RUN

    def condition_holds(self, instance: Instance) -> bool:
        """Ask ``when``; where it is false, or cannot be asked, the instance ends here."""
        when = instance.node.when
        if when is None:
            return True
        is_plain = instance.scope is self.root and instance.index is None and when.names <= OF_RUN
        try:
            holds = when.evaluate(self.world.of_run if is_plain else Names(self.world, instance))
        except ExpressionError as error:
            self.fail(instance, self.as_failure(error))
            return False
        if not holds:
            reason = f"`when` is false: {instance.node.task.when}"
            self.emit(m.TaskSkipped(instance.id, reason), instance if instance.index is None else None)
        return bool(holds)

    def _start_ready(self) -> bool:
        """Start what is ready while there is room; return whether anything happened that must be settled."""
        ready = self._ready
        limit = self.max_parallel
        while (limit is None or len(self._running) < limit) and len(self._events) < self.most_events:
            instance = ready.pop()
            if instance is None:
                return False
            if instance.undoes is None and instance.is_given_up:
                continue
            if instance.loop is not None:
                self._turn(instance)
            elif instance.status is _PENDING or instance.status is _S.RETRYING:
                self.start_attempt(instance)
            elif parking.is_due(instance, self._now):
                parking.go_on(self, instance)
            if self._candidates or self._closing:
                return True
        return False

    def _turn(self, owner: Instance) -> None:
        """Start items of a loop: all it may when nothing else waits, else one."""
        node = owner.node
        loop = owner.loop
        while loop is not None and loops.may_start_item(owner):
            if node.opens_scope or self._ready.has_room(node.pools):
                loops.start_item(self, owner)
            else:
                break
            if self._candidates or self._closing or not self._ready.is_alone():
                break
            if self.max_parallel is not None and len(self._running) >= self.max_parallel:
                break
            if len(self._events) >= self.most_events:
                break
        loops.pump(self, owner)
        if loop is not None and loops.may_start_item(owner):
            self._ready.push(owner)

    def start_attempt(self, instance: Instance) -> None:
        """Build the inputs and start the next attempt; it fails here when they cannot be built."""
        if instance.node.kind is _WAITING:
            waiting.ask(self, instance)
            return
        attempt = instance.attempt + 1
        try:
            command = self.start_command(instance, attempt)
        except ExpressionError as error:
            if instance.status is _S.RETRYING:
                self.emit(m.TaskTerminated(instance.id, str(error)))
            else:
                self.fail(instance, self.as_failure(error))
            return
        self.emit(m.AttemptStarted(instance.id, attempt), instance if instance.index is None else None)
        self.command(command)

    def start_command(self, instance: Instance, attempt: int | None = None) -> m.StartAttempt:
        """Return what starts an attempt, the present one when none is given. Raises ExpressionError."""
        node = instance.node
        if node.arguments.is_constant and node.options.is_constant and node.env.is_constant:
            arguments, options, env = node.arguments.source, node.options.source, node.env.source
        else:
            names = self._names(instance)
            arguments = names.arguments = node.arguments.evaluate(names)
            options = node.options.evaluate(names)
            env = node.env.evaluate(names)
        number = instance.attempt if attempt is None else attempt
        memo = parking.memo(self, instance) if attempt is None else None
        lost = instance.recovered if attempt is None else 0
        return m.StartAttempt(instance.id, number, node.index, options, arguments, env, instance.index, memo, lost)

    def _names(self, instance: Instance) -> Names:
        undone = instance.undoes
        if instance.stands_for is not None:
            return Names(self.world, instance, standing_in.seen(instance))
        return Names(self.world, instance, None if undone is None else undoing.Outcome(undone, self.world))

    # ---------------------------------------------------------------------------------------------------- values

    @property
    def now(self) -> float:
        """When this decision is made."""
        return self._now

    @property
    def _run_id(self) -> str:
        return self.created.run_id if self.created is not None else ""

    def make_item(self, owner: Instance, index: int) -> Instance:
        """Return the instance of a loop's next item; it counts once an event says that it does."""
        self._made = made = Instance.of_item(owner, index)
        return made

    def instance(self, task_id: str) -> Instance:
        """Return an instance that has begun and not ended. Raises EngineError when there is none."""
        found = self._active.get(task_id)
        if found is None:
            raise EngineError(f"{task_id!r} is not running", code="unknown-instance")
        return found

    def find(self, task_id: str) -> Instance | None:
        """Return an instance that is still in memory: one that runs, or has ended in a scope that is kept."""
        if task_id in self._active:
            return self._active[task_id]
        head, dot, leaf = task_id.rpartition(".")
        scope = self._scopes.get(f"{head}{dot}")
        local = None if scope is None else scope.plan.names.get(leaf)
        return None if scope is None or local is None else scope.instances[local]

    def upstream_of(self, instance: Instance) -> Upstream:
        """Return the results of the direct upstreams by task name, each decoded when asked for."""
        return Upstream(instance, self.world)

    def inputs_of(self, instance: Instance) -> Mapping[str, Any]:
        """Return the inputs that an instance sees: the run's, or those of the call that it lies in."""
        frame = instance.scope.frame
        inputs: Mapping[str, Any] = (self.world.values if frame is None else groups.values_of(self, frame))["inputs"]
        return inputs

    def item_of(self, instance: Instance) -> Any:
        """Return the loop item that an instance is about, None outside of a loop."""
        return None if instance.index is None else Names(self.world, instance).item(instance)

    def previous_of(self, item: Instance) -> Any:
        """Return the result of the iteration before, None where the loop goes over a list."""
        return repeats.previous(self, self.owner_of(item))

    def evaluate(self, template: Template, instance: Instance, own: Mapping[str, Any] | None = None) -> Any:
        """Return what a template gives in the place of ``instance``. Raises ExpressionError."""
        return template.evaluate(Names(self.world, instance, own))

    def evaluate_items(self, template: Template, instance: Instance) -> Any:
        """Return the same for a list to loop over: a ``range`` stays one. Raises ExpressionError."""
        return template.evaluate_items(Names(self.world, instance))

    def evaluate_text(self, template: Template, instance: Instance, own: Mapping[str, Any] | None = None) -> bytes:
        """Return the same as JSON text, secrets redacted. Raises ExpressionError."""
        try:
            return jsonvalue.encode(redact(self.evaluate(template, instance, own)))
        except jsonvalue.NotJson as error:
            raise ExpressionError(str(error), code="not-json", hint=error.hint) from None

    def snapshot(self) -> dict[str, Any]:
        """Return everything that counts as state, as plain data: two runs are equal when these are."""
        return snapshot(self)

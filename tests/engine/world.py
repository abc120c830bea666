"""A world for the engine without a world: a virtual clock, scripted outcomes, a journal in a list.

It keeps its own account of what is running, so that the engine's can be held against it.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from random import Random
from typing import Any

import msgspec

from autoglm.base.errors import Failure
from autoglm.engine import messages as m
from autoglm.engine import parcels, parking, steps
from autoglm.engine.codec import decode_record, encode_record
from autoglm.engine.machine import MOST_EVENTS, Run
from autoglm.engine.states import TaskStatus
from autoglm.graph.compile import compile_graph
from autoglm.graph.model import Graph
from autoglm.spec.catalog import Catalog
from autoglm.spec.changes import Definition, Kind, compare
from autoglm.spec.model import Effects, Workflow

CATALOG = Catalog(executor_limits={"inline": 6, "thread": 3})
TERMINAL = (m.TaskSkipped, m.TaskFailed, m.TaskSucceeded, m.TaskDegraded, m.TaskCancelled, m.TaskTerminated)
RUN_ENDS = (m.RunSucceeded, m.RunFailed, m.RunCancelled)


def is_end(event: m.Event) -> bool:
    """Return whether an event ends a task instance."""
    if isinstance(event, m.AttemptFailed):
        return event.retry_at is None
    return isinstance(event, (*TERMINAL, m.AttemptSucceeded, m.AttemptCancelled))


def compiled(text: bytes) -> Graph:
    """Return the graph of a workflow's JSON text."""
    return compile_graph(Workflow.model_validate_json(text), CATALOG)


class Compensations:
    """An account of what was completed and undone, kept by event numbers alone, to hold the engine's order against."""

    def __init__(self) -> None:
        self.number = 0
        self.began: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        self.could: set[str] = set()
        """What had a rollback when it completed: one that a changed file adds later does not reach back."""
        self.domains: list[str] = []
        """Prefixes of the scopes that were rolled back, latest last."""
        self.undone: dict[str, str] = {}
        """Each undo that has begun, by its task: ``running``, ``done`` or ``stuck``."""

    def take(self, event: m.Event, run: Run) -> None:
        self.number += 1
        task = getattr(event, "task", None) or ""
        match event:
            case m.RollbackStarted():
                self.domains.append(f"{task}." if task else "")
            case m.RunReopened():
                self.domains.clear()
                self.undone.clear()
                stands = {told[0] for told in run.snapshot()["undo"][-1]}
                self.ended = {task: number for task, number in self.ended.items() if task in stands}
                self.began = {task: number for task, number in self.began.items() if task in stands}
            case m.DefinitionChanged():  # what it sets back has not completed any more
                stands = {told[0] for told in run.snapshot()["undo"][-1]}
                for task in [task for task in self.ended if task not in stands and not _has_succeeded(run, task)]:
                    del self.ended[task]
                    self.began.pop(task, None)
            case m.AttemptStarted() if task.endswith("~rollback"):
                undone = task.removesuffix("~rollback")
                if self.undone.get(undone) != "running":
                    self._may_begin(undone, run)
                self.undone[undone] = "running"
            case m.AttemptStarted() | m.GroupStarted():
                self.began.setdefault(task, self.number)
            case m.AttemptSucceeded() | m.TaskSucceeded():
                undone = task.removesuffix("~rollback")
                if undone == task:
                    self.ended[task] = self.number
                    (self.could.add if undoable(run, task) else self.could.discard)(task)
                else:
                    self.undone[undone] = "done"
            case m.AttemptFailed(retry_at=None) | m.TaskFailed() if task.endswith("~rollback"):
                self.undone[task.removesuffix("~rollback")] = "stuck"

    def _may_begin(self, task: str, run: Run) -> None:
        assert task in self.ended, f"{task} is undone and had not completed"
        assert task not in self.undone, f"{task} is undone twice"
        domain = next(prefix for prefix in reversed(self.domains) if task.startswith(prefix))
        for other, began in self.began.items():
            if not other.startswith(domain) or began < self.ended[task]:
                continue
            can = other in self.could and undoable(run, other)
            waits = other in self.ended and other not in self.undone and can
            assert not waits, f"{task} is undone before {other}, which began after it had completed"
            assert self.undone.get(other) != "running", f"{task} is undone while {other} is, which began after it"

    def check_end(self, run: Run) -> None:
        """Everything that completed in a scope that was given up is undone, or the run says that it is not."""
        assert "running" not in self.undone.values()
        stuck = {task for task, how in self.undone.items() if how == "stuck"}
        assert stuck == run.stuck.keys()
        if stuck and run.failure is not None:
            assert "rollback-failed" in run.failure.classes
        assert not stuck or run.failure is not None
        for task in self.ended:
            can = task in self.could and undoable(run, task)
            if can and any(task.startswith(domain) for domain in self.domains):
                assert task in self.undone, f"{task} was left as it was"


def _has_succeeded(run: Run, task: str) -> bool:
    found = run.find(task)
    return found is not None and str(found.status) == "succeeded"


def undoable(run: Run, task: str) -> bool:
    """Return whether a task has a rollback, and is no loop as a whole."""
    plan = run.graph.root
    node = None
    parts = task.split(".")
    for part in parts:
        node = plan.nodes[plan.names[part.partition("[")[0]]] if part.partition("[")[0] in plan.names else None
        if node is None:
            return False
        plan = run.graph.callees[node.callee].plan if node.callee is not None else node.body or plan
    assert node is not None
    return node.rollback is not None and (node.loop is None or parts[-1].endswith("]"))


class World:
    """One run of ``workflow``, driven step by step."""

    most_events = MOST_EVENTS
    """Events of one decision."""

    def __init__(self, workflow: Workflow, **inputs: object) -> None:
        self.first = compile_graph(workflow, CATALOG)
        self.blobs: dict[str, bytes] = {}
        self.run = self._new_run()
        self.now = 1000.0
        self.journal: list[bytes] = []
        self.events: list[m.Event] = []
        self.running: dict[tuple[str, int], m.StartAttempt | None] = {}
        self.stopping: set[tuple[str, int]] = set()
        self.reading: dict[str, m.ReadItems] = {}
        self.started: Counter[tuple[str, int]] = Counter()
        self.memo: dict[tuple[str, int], object] = {}
        self.steps: dict[str, dict[str, bytes]] = {}
        """Steps that were recorded, by task and key, as long as the task has not ended."""
        self.stepping: set[tuple[str, int, str]] = set()
        """Steps that have not been told that they are recorded."""
        self.rows: dict[int, tuple[str, str]] = {}
        """Task id and status by number, as a store has them."""
        self.compensations = Compensations()
        created = m.RunCreated("run-1", workflow.name, m.Blob("0" * 64, 1), dict(inputs))
        self.handle(m.Create(created, b"{}"), m.Begin())

    def _new_run(self) -> Run:
        run = Run(self.first, lambda blob: self.blobs[blob.digest])
        run.compile = compiled
        run.most_events = self.most_events
        return run

    @property
    def graph(self) -> Graph:
        """The graph by which the run goes."""
        return self.run.graph

    def handle(self, *stimuli: m.Stimulus) -> list[m.Event]:
        """Let the engine decide, commit, and note what it commands."""
        decision = self.run.handle(stimuli, self.now)
        if decision.events:
            self.journal.append(encode_record(self.now, decision.events))
        self.blobs.update(decision.blobs)
        self.events += decision.events
        for event in decision.events:
            if isinstance(event, m.AttemptStarted):
                self.memo.pop((event.task, event.attempt), None)
            elif isinstance(event, m.StepRecorded):
                recorded = self.steps.setdefault(event.task, {})
                assert event.key not in recorded, f"{event.task} did {event.key!r} twice"
                recorded[event.key] = bytes(event.value)
            elif is_end(event) or isinstance(event, m.StandInCalled):
                self.steps.pop(event.task, None)
            self.compensations.take(event, self.run)
        self._show()
        for command in decision.commands:
            match command:
                case m.StartAttempt():
                    key = (command.task, command.attempt)
                    assert key not in self.running, f"{key} was started while it ran"
                    self.running[key] = command
                    self.started[key] += 1
                    assert self.memo.get(key) == command.memo, f"{key} did not get its memo back"
                case m.StopAttempt():
                    key = (command.task, command.attempt)
                    self.stopping.add(key)
                    self.running.setdefault(
                        key, None
                    )  # after a crash nothing by that name runs; it is answered all the same
                case m.GoOnAfterStep():
                    self.stepping.remove((command.task, command.attempt, command.key))
                case m.ReadItems():
                    assert command.task not in self.reading
                    self.reading[command.task] = command
        return decision.events

    def _show(self) -> None:
        """Keep the rows that people see as a store would."""
        gone = set(self.run.dropped)
        below = tuple(each for each in gone if each[-1] in ".[]")
        self.rows = {n: row for n, row in self.rows.items() if row[0] not in gone and not row[0].startswith(below)}
        self.rows |= {number: (each.id, str(each.status)) for number, each in self.run.touched.items()}
        self.run.dropped.clear()
        self.run.touched.clear()
        parcels.pack(self.run)  # a replay does not: whether an item is packed must not matter

    # ---------------------------------------------------------------------------------------------- what can happen

    def succeed(self, task: str, output: bytes = b"1") -> list[m.Event]:
        key = self._key(task)
        del self.running[key]
        self.stopping.discard(key)
        return self.handle(m.AttemptReturned(*key, output))

    def fail(self, task: str, code: str = "boom", *, retryable: bool = True, **details: object) -> list[m.Event]:
        key = self._key(task)
        del self.running[key]
        self.stopping.discard(key)
        return self.handle(
            m.AttemptRaised(*key, Failure(code, "it went wrong", (code,), retryable, None, details or None))
        )

    def park(
        self, task: str, until: float | None = None, memo: bytes = b"null", *, aside: bool = False, **used: object
    ) -> list[m.Event]:
        key = self._key(task)
        del self.running[key]
        self.stopping.discard(key)
        news = m.AttemptParked(*key, until, "it waits", memo, used or None, aside)
        self.memo[key] = msgspec.json.decode(memo)
        return self.handle(news)

    def step(self, task: str, key: str, value: bytes = b"1") -> list[m.Event]:
        """Do a step of a running attempt, unless it is recorded."""
        instance = self.run.find(task)
        assert instance is not None
        if steps.is_recorded(instance, key):
            assert key in self.steps[task]
            return []
        attempt = self._key(task)[1]
        self.stepping.add((task, attempt, key))
        events = self.handle(m.StepDone(task, attempt, key, value))
        assert not self.stepping, "a step was not told that it is recorded"
        return events

    def answer(self, task: str, approved: bool = True, by: str = "ann", **more: Any) -> list[m.Event]:
        data = more.pop("data", None)
        text = None if data is None else msgspec.json.encode(data)
        return self.handle(m.Answer(task, approved, by, text, **more))

    def signal(self, name: str, data: object = None) -> list[m.Event]:
        return self.handle(m.SignalGiven(name, msgspec.json.encode(data), "ann"))

    def parked(self) -> list[str]:
        """Return what is parked and is not due."""
        run = self.run
        paused = [i for i in run.active if i.status is TaskStatus.PAUSED and i.id not in run.questions]
        return sorted(i.id for i in paused if not parking.is_due(i, self.now))

    def stopped(self, task: str, *, abandoned: bool = False, **used: object) -> list[m.Event]:
        key = self._key(task)
        del self.running[key]
        self.stopping.discard(key)
        return self.handle(m.AttemptStopped(*key, abandoned, used or None))

    def items(self, task: str, items: list[object], *, last: bool) -> list[m.Event]:
        command = self.reading.pop(task)
        return self.handle(m.ItemsArrived(task, command.first, items, last))

    def pass_time(self, seconds: float) -> list[m.Event]:
        self.now += seconds
        return self.handle(m.Tick())

    def crash(self) -> None:
        """Lose the process: nothing is left but the journal. Another one takes over."""
        self.run = self.replayed()
        self.running, self.stopping, self.reading = {}, set(), {}
        lost = {i.id for i in self.run.running if i.node.task.effects is Effects.GUARDED and i.stopping is None}
        self.handle(m.Begin())
        assert lost <= set(self.run.questions), "what nobody knows the outcome of is not asked about"

    def adopt(self, workflow: Workflow) -> list[m.Event]:
        """Let another process go on by a changed definition; return the events that say so."""
        text = workflow.model_dump_json(by_alias=True, exclude_defaults=True).encode()
        changes = compare(Definition(self.graph.workflow), Definition(workflow))
        redo = tuple(change.path for change in changes if change.kind in (Kind.NEW, Kind.CHANGED))
        gone = tuple(change.path for change in changes if change.kind is Kind.GONE)
        self.run = self.replayed()
        self.running, self.stopping, self.reading = {}, set(), {}
        created = self.run.created
        assert created is not None
        event = m.DefinitionChanged(m.Blob(sha256(text).hexdigest(), len(text)), redo, gone, created.inputs)
        reopen = [m.Reopen(redo)] if self.run.is_final else []
        events = self.handle(m.Adopt(event, text), *reopen)
        self.crash()  # what it commanded is owed
        return events

    def _key(self, task: str) -> tuple[str, int]:
        return next(key for key in self.running if key[0] == task)

    # ------------------------------------------------------------------------------------------------- what must hold

    def replayed(self) -> Run:
        run = self._new_run()
        for payload in self.journal:
            record = decode_record(payload)
            for event in record.events:
                run.apply(event, record.at)
        run.touched.clear()
        run.dropped.clear()
        return run

    def check(self) -> None:
        """Hold the engine's account against this world's."""
        run = self.run
        assert self.replayed().snapshot() == run.snapshot(), "replay differs from the live state"
        attempts = {(i.id, i.attempt) for i in run.running}
        assert attempts == set(self.running), "the engine and the world disagree about what runs"
        assert self.stopping <= attempts
        asking = {i.id for i in run.active if i.held is not None and i.held.question is not None}
        assert asking == set(run.questions), "questions are lost, or kept too long"
        assert not asking & {task for task, _ in attempts}, "what asks runs"
        held = {i.id: set(i.held.steps) for i in run.active if i.held is not None and i.held.steps}
        assert held == {task: set(kept) for task, kept in self.steps.items()}, "steps were lost, or kept too long"
        ids = Counter(task for task, _ in self.rows.values())
        assert not ids or max(ids.values()) == 1, f"{ids.most_common(1)} has several rows"
        shown = Counter(status for task, status in self.rows.values() if not task.endswith(("~rollback", "~fallback")))
        assert shown == {str(status): count for status, count in run.counts.items() if count}, "rows are miscounted"
        if not run.is_final:
            self._check_outstanding()
        limit = run.max_parallel
        assert limit is None or len(attempts) <= limit
        items = Counter(task.rpartition("[")[0] for task, _ in attempts if task.endswith("]"))
        for loop, count in items.items():
            owner = run.find(loop)
            assert owner is not None
            assert owner.node.loop is not None
            at_most = owner.node.loop.max_parallel
            assert at_most is None or count <= at_most, f"{loop} is over its max_parallel"
        if run.is_final:
            self.compensations.check_end(run)
        for pool, holders in zip(self.graph.pools, run.snapshot()["pools"], strict=True):
            assert len(holders) <= pool.limit, f"{pool} is over its limit"
            assert set(holders) <= {task for task, _ in attempts}, f"{pool} has leaked a slot"

    def _check_outstanding(self) -> None:
        starts, stops, reads = set(), set(), set()
        replayed = self.replayed()
        for command in replayed.outstanding():
            match command:
                case m.StartAttempt():
                    starts.add((command.task, command.attempt))
                case m.StopAttempt():
                    stops.add((command.task, command.attempt))
                case m.ReadItems():
                    reads.add((command.task, command.first))
        assert stops == self.stopping, "owed stops"
        assert starts == set(self.running) - self.stopping, "owed starts"
        assert reads == {(c.task, c.first) for c in self.reading.values() if self._is_wanted(c)}, "owed reads"

    def _is_wanted(self, command: m.ReadItems) -> bool:
        """Tell whether a read that is under way still is for anything: its loop may have been stopped since."""
        owner = self.run.find(command.task)
        return owner is not None and owner.loop is not None and not owner.is_final and not owner.loop.cancelled

    def check_history(self, reopened: bool = False) -> None:
        """Each task instance has one terminal event, and the run has one end."""
        if reopened:
            return
        ends: Counter[str] = Counter()
        for event in self.events:
            if is_end(event):
                ends[event.task] += 1
        assert not [task for task, count in ends.items() if count > 1]
        assert sum(isinstance(event, RUN_ENDS) for event in self.events) == 1

    def settle(self, random: Random, *, faults: float = 0.2, crashes: float = 0.05) -> None:
        """Let everything happen, in any order, until the run has ended."""
        for _ in range(5000):
            self.check()
            if self.run.is_final:
                self.reading.clear()
                return
            self._something(random, faults, crashes)
        raise AssertionError("the run does not end")

    def _something(self, random: Random, faults: float, crashes: float, parks: float = 0.15) -> None:
        if random.random() < crashes:
            self.crash()
        elif self.run.is_unsettled and random.random() < 0.8:
            self.handle()
        elif self.stopping and random.random() < 0.5:
            key = random.choice(sorted(self.stopping))
            self.stopped(key[0], abandoned=random.random() < 0.3)
        elif self.reading and random.random() < 0.5:
            self._read(random)
        elif self.running and random.random() < 0.9:
            key = random.choice(sorted(self.running))
            if random.random() < parks:
                self.step(key[0], random.choice(["one", "two", "three"]))
            elif random.random() < parks:
                until = None if random.random() < 0.3 else self.now + 3 * random.random() - 0.5
                memo = random.choice([b"null", b'{"cursor":1}'])
                self.park(key[0], until, memo, aside=until is not None and until > self.now + 1)
            elif random.random() < faults:
                self.fail(key[0], random.choice(["boom", "bang"]), retryable=random.random() < 0.8)
            else:
                self.succeed(key[0], random.choice([b"1", b"null", b'{"x":[1,2]}', b'"text"', b"[1,2,3]"]))
        elif self.run.questions and random.random() < 0.6:
            self._answer(random, random.choice(sorted(self.run.questions)))
        elif self.parked() and random.random() < 0.3:
            self.handle(m.Wake(random.choice(self.parked())))
        else:
            due = self.run.next_due()
            self.pass_time(max(0.0, due - self.now) + random.random() if due is not None else 1.0)

    def _answer(self, random: Random, task: str) -> None:
        held = self.run.questions[task].held
        assert held is not None
        assert held.question is not None
        question = held.question
        if question.kind == "signal":
            self.signal(str(question.signal), random.choice([None, 1, {"x": 1}]))
        elif question.kind == "effects":
            self.answer(task, random.random() < 0.7, data=random.choice([None, None, {"x": 1}]))
        elif question.kind == "approval":
            self.answer(task, random.random() < 0.7, by=random.choice(["ann", "bob"]))
        elif question.deadline is not None:
            self.pass_time(max(0.0, question.deadline - self.now))

    def _read(self, random: Random) -> None:
        task, command = random.choice(sorted(self.reading.items()))
        total = 5
        end = min(total, command.first + random.randrange(4))  # a reader may give fewer than were asked for
        self.items(task, list(range(command.first, end)), last=end == total)


class Hurried(World):
    """Its engine decides on little at a time."""

    most_events = 2

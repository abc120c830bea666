"""What a run is made of while it lives: scopes, task instances, loops. Plain data; only ``Run.apply`` changes it.

A task instance is created when its first upstream news arrives, or when it is decided on if it waits for nothing; one
of a loop is dropped when it has succeeded: what stays of a finished item is its result. Instances, scopes and loops
refer to one another, so they stand in one file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from autoglm.base import jsonvalue
from autoglm.base.errors import Failure
from autoglm.engine.messages import Blob, Question
from autoglm.engine.states import BAD_ENDS, FINAL, TaskStatus
from autoglm.graph.model import Callee, Node, Repeat, ScopePlan

if TYPE_CHECKING:
    from autoglm.engine.ending_calls import CallEnd
    from autoglm.engine.parcels import Done
    from autoglm.engine.undoing import Undoing

Stored = bytes | Blob
"""A result as it is held: JSON text, or a reference to a blob."""
LoadBlob = Callable[[Blob], bytes]
"""Gives a blob's JSON text. Content-addressed, so the same argument always gives the same text."""

RETRY = 0
"""A timer's kind: the next attempt is due."""
DEADLINE = 1
"""A timer's kind: the attempt, or the group, has run for too long."""
WAKE = 2
"""A timer's kind: what is parked goes on."""
ITERATION = 3
"""A timer's kind: the next iteration of a loop is due."""

_PENDING = TaskStatus.PENDING


class Instance:
    """A task instance: a node in a scope instance, or one item of a loop."""

    __slots__ = (
        "attempt",
        "attempts_before",
        "began",
        "child",
        "collected",
        "deadline",
        "due",
        "ended_at",
        "failure",
        "first_at",
        "held",
        "id",
        "index",
        "lives",
        "loop",
        "node",
        "number",
        "order",
        "output",
        "queued",
        "reason",
        "record",
        "recovered",
        "result",
        "scope",
        "stand_in",
        "stands_for",
        "started_at",
        "status",
        "stopping",
        "undo",
        "undoes",
        "upstream_failed",
        "value",
    )

    def __init__(self, task_id: str, node: Node, scope: Scope, index: int | None = None) -> None:
        self.id = task_id
        self.node = node
        self.scope = scope
        self.index = index
        self.number = 0
        self.status = _PENDING
        self.attempt = 0
        self.attempts_before = 0
        """Attempts made before the run was reopened: they do not count against ``max_attempts``."""
        self.stopping: str | None = None
        self.result: Stored | None = None
        self.output: Stored | None = None
        self.collected: Stored | None = None
        """What an item adds to its loop's list, where that is not its result."""
        self.failure: Failure | None = None
        self.reason: str | None = None
        self.upstream_failed = False
        self.due: float | None = None
        self.deadline: float | None = None
        """When its time is up, while it runs and has a ``timeout``."""
        self.first_at: float | None = None
        self.started_at: float | None = None
        """When it began: with its first attempt since it was last set back."""
        self.ended_at: float | None = None
        self.loop: LoopState | None = None
        self.child: Scope | None = None
        self.held: Held | None = None
        self.queued = False
        self.record = 0
        self.recovered = 0
        """How often its attempt was started again after the process that ran it was gone."""
        self.value: Any = UNREAD
        self.began = 0
        """How many of what can be undone had completed when it began, and itself (``order``) when it completed."""
        self.order = 0
        self.lives = 0
        """How often it was undone and set back: each life's effects are its own, and so is its idempotency key."""
        self.undo: Instance | None = None
        """What undoes it, once that has been called for."""
        self.undoes: Instance | None = None
        """What it undoes, for a rollback."""
        self.stand_in: StandIn | None = None
        """What stands in for it, once that has been called for."""
        self.stands_for: Instance | None = None
        """The failed task that it stands in for."""

    @classmethod
    def of_item(cls, owner: Instance, index: int) -> Instance:
        """Return a new instance for item ``index`` of a loop."""
        item = cls(f"{owner.id}[{index}]", owner.node, owner.scope, index)
        item.lives = owner.lives
        return item

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def is_unheard_of(self) -> bool:
        """It is a task of its scope, and no event has been about it."""
        return self.number == 0 and self.index is None and self.undoes is None and self.stands_for is None

    @property
    def is_failure(self) -> bool:
        """It ended badly: it failed, was cancelled, or was skipped because something before it failed."""
        return self.status in BAD_ENDS or self.upstream_failed

    @property
    def stem(self) -> Instance:
        """The task that it belongs to: what it undoes or stands in for, else itself."""
        return self.undoes or self.stands_for or self

    @property
    def is_beside(self) -> bool:
        """It is no task of its scope: it undoes one, or stands in for one."""
        return self.undoes is not None or self.stands_for is not None

    @property
    def is_replaced(self) -> bool:
        """It has failed for good, and what stands in for it is under way."""
        return self.stand_in is not None and self.stand_in.is_open

    @property
    def is_given_up(self) -> bool:
        """Something that it lies in was told to stop. What runs at the end of a call goes on whatever is around it."""
        at: Instance | None = self.stem
        while at is not None:
            scope = at.scope
            if scope.cancelled:
                return True
            at = None if scope.is_section else scope.owner
        return False

    @property
    def is_composite(self) -> bool:
        """It has parts of its own (items, or a scope) instead of attempts."""
        return self.loop is not None or self.child is not None

    def near(self) -> Iterator[Instance]:
        """Yield the same as far as templates see: up to the call of another workflow that it lies in."""
        at: Instance | None = self.stem
        while at is not None:
            yield at
            at = None if at.scope.opens_frame else at.scope.owner

    def path(self) -> Iterator[Instance]:
        """Yield this instance, then the ones it lies in, outwards."""
        at: Instance | None = self.stem
        while at is not None:
            yield at
            at = at.scope.owner


class Held:
    """What a few instances hold while they live: those that have parked, or whose work goes by steps."""

    __slots__ = ("memo", "question", "reason", "spent", "steps")

    def __init__(self) -> None:
        self.reason = ""
        """Why it is parked, for people; empty while it runs."""
        self.memo: Stored | None = None
        """What the present attempt left for itself when it parked."""
        self.question: Question | None = None
        """What it waits for, when that is an answer, a signal or a time of its own."""
        self.steps: dict[str, Stored] = {}
        """Values of the steps that are done, by key. They are the instance's: its next attempt sees them too."""
        self.spent = 0.0
        """Seconds of its ``timeout`` that the present attempt had used up when it parked."""


class StandIn:
    """What stands in for a task that failed for good."""

    __slots__ = ("final", "is_open", "work")

    def __init__(self, work: Instance) -> None:
        self.work = work
        self.final = TaskStatus.FAILED
        """How its task ends when it fails too."""
        self.is_open = False
        """Its task has failed and waits for it."""


UNREAD: Any = object()
"""Marks a value that has not been decoded yet; None is a value."""


class Frame:
    """What templates see within a call of another workflow, instead of what is seen around it."""

    __slots__ = ("callee", "depth", "owner", "values")

    def __init__(self, callee: Callee, owner: Instance) -> None:
        around: Frame | None = owner.scope.frame
        self.callee = callee
        self.owner = owner
        self.depth: int = 1 if around is None else around.depth + 1
        """How many calls it lies in, itself counted."""
        self.values: dict[str, Any] | None = None
        """``inputs``, ``vars`` …; derived from the call's ``with`` when first asked for."""


class Scope:
    """An instance of a scope plan: the root, the inside of a group, of a call, or of one item of these."""

    __slots__ = (
        "active",
        "beyond",
        "cancelled",
        "chosen",
        "done",
        "end",
        "failed",
        "frame",
        "in_loop",
        "instances",
        "left",
        "opens_frame",
        "owner",
        "plan",
        "prefix",
        "undoing",
        "unmet",
    )

    def __init__(self, plan: ScopePlan, prefix: str, owner: Instance | None, callee: Callee | None = None) -> None:
        self.frame: Frame | None = owner.scope.frame if owner is not None else None
        self.opens_frame = callee is not None and owner is not None
        if callee is not None and owner is not None:
            self.frame = Frame(callee, owner)
        self.in_loop: bool = (
            owner is not None and not self.opens_frame and (owner.index is not None or owner.scope.in_loop)
        )
        """A loop around it binds names that are seen in it."""
        self.chosen: int | None = None
        """The one task that runs, where the scope is a choice's."""
        self.plan = plan
        self.prefix = prefix
        self.owner = owner
        self.instances: list[Instance | None] = [None] * len(plan.nodes)
        self.unmet = list(plan.unmet)
        self.left = len(plan.nodes)
        """Nodes that have not ended."""
        self.active = 0
        """Instances that have begun and not ended."""
        self.failed: list[str] = []
        """Names of the tasks whose failure is this scope's failure, in order."""
        self.cancelled = False
        self.beyond: Scope | None = owner.scope if owner is not None and not self.opens_frame else None
        """The scope around it, whose tasks it may read too; for what runs at the end of one, that scope."""
        self.end: CallEnd | None = None
        """What is done at the end of a call whose tasks have ended."""
        self.done: list[Done] = []
        """What completed in it, at any depth, and can be undone."""
        self.undoing: Undoing | None = None

    @property
    def is_done(self) -> bool:
        return self.left == 0 or (self.cancelled and self.active == 0)

    @property
    def is_section(self) -> bool:
        """It is ``on_error`` or ``finally``: of the run, or of the called workflow that its owner calls."""
        return self.beyond is not None and (self.opens_frame or self.owner is None)

    @property
    def is_in_place(self) -> bool:
        """What owns it still goes by it."""
        child = None if self.owner is None else self.owner.child
        if self.owner is None or child is self:
            return True
        return child is not None and child.end is not None and self in child.end.sections.values()

    def instance(self, local: int) -> Instance:
        """Return the instance of node ``local``, made when there is none yet."""
        found = self.instances[local]
        if found is None:
            node = self.plan.nodes[local]
            found = self.instances[local] = Instance(self.prefix + node.name, node, self)
            found.lives = 0 if self.owner is None else self.owner.lives
        return found

    def starters(self) -> Iterator[Instance]:
        """Return the tasks that wait for nothing now; each is made when its turn comes, to be decided on at once."""
        return map(self.instance, [local for local, unmet in enumerate(self.unmet) if unmet == 0])


class Items:
    """What a loop goes over, one item at a time: a sequence, the product of a matrix, or a window of a source."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError


class Matrix(Items):
    """The cartesian product of the axes, computed item by item; the last axis turns fastest."""

    def __init__(self, axes: Mapping[str, Sequence[Any]]) -> None:
        self.axes = dict(axes)
        self._total = 1
        for values in self.axes.values():
            self._total *= len(values)

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self._total:
            raise IndexError(index)
        picked = {}
        for axis, values in reversed(self.axes.items()):
            index, place = divmod(index, len(values))
            picked[axis] = values[place]
        return dict(reversed(picked.items()))


class LoopState:
    """A loop that has started: where it stands, and what came of its items."""

    __slots__ = (
        "aside",
        "before",
        "cancelled",
        "count",
        "earlier",
        "exhausted",
        "first_failure",
        "goes_on",
        "inside",
        "items",
        "kept",
        "last",
        "next",
        "open",
        "plan",
        "reading",
        "redo",
        "results",
        "retries",
        "running",
        "since",
        "skips",
        "source",
        "total",
        "undone",
        "window",
    )

    def __init__(self, total: int | None, source: str | None, plan: Repeat | None = None) -> None:
        self.total = total
        self.plan = plan
        """Set for a loop that goes on until something is true: its iterations follow one another."""
        self.last: Stored | None = None
        """Such a loop's newest result: what ``previous`` is in the next iteration."""
        self.earlier: Stored | None = None
        """The one before it: what ``previous`` was when the newest came about."""
        self.goes_on = False
        """It was decided that another iteration follows. Derived: it is asked again when nobody remembers."""
        self.before = 0
        """Iterations made before the run was reopened: they do not count against ``max_iterations``."""
        self.source = source
        """The file it reads from; items then arrive in chunks and leave memory with their iteration."""
        self.items: Sequence[Any] | Items | None = None
        self.window: dict[int, Any] = {}
        """Items of a source that were read and are still needed."""
        self.count = 0
        """Items read from a source so far."""
        self.exhausted = source is None
        self.reading = False
        self.next = 0
        self.redo: list[int] = []
        """Items to be done again after the run was reopened, smallest last."""
        self.open: dict[int, Instance] = {}
        self.aside: set[int] = set()
        """Those that are parked, and do not count against how many may be open."""
        self.retries: deque[Instance] = deque()
        """Items that were retrying or parked, are due and wait for their turn; those that moved on meanwhile are
        dropped then."""
        self.running: set[int] = set()
        self.results: list[Stored | None] = []
        self.skips = 0
        """Items that were skipped."""
        self.inside: list[tuple[tuple[TaskStatus, int], ...]] = []
        """How many instances in which status were inside each item that has left memory."""
        self.kept: dict[int, Instance] = {}
        """Items that failed or were cancelled, kept so that they can be done again."""
        self.first_failure: str | None = None
        self.cancelled = False
        self.undone = False
        """Something in it was rolled back."""
        self.since = 0
        """The last instance's number when it began."""

    @property
    def size(self) -> int | None:
        """Number of items, None while a source has not been read to its end."""
        if self.total is not None:
            return self.total
        return self.count if self.exhausted and self.plan is None else None

    @property
    def has_next(self) -> bool:
        """An item can be started now."""
        if self.cancelled:
            return False
        if self.retries:
            return True
        if self.plan is not None:
            return not self.open and (bool(self.redo) or self.goes_on)
        if self.redo:
            return True
        return self.next < (self.count if self.total is None else self.total)

    @property
    def is_done(self) -> bool:
        if self.open:
            return False
        if self.plan is not None:  # an iteration has ended, and it must be asked whether another follows
            return self.cancelled or not self.redo
        return self.cancelled or (not self.redo and self.size is not None and self.next >= self.size)

    @property
    def ended(self) -> int:
        return self.next - len(self.open) - len(self.redo)

    def note_result(self, result: Stored) -> None:
        """Take the result of an iteration for the next one's ``previous``; older ones leave memory."""
        self.earlier, self.last = self.last, result

    def keep_result(self, index: int, result: Stored | None) -> None:
        """Put a finished item's result in its place."""
        results = self.results
        if index == len(results):
            results.append(result)
            return
        if index > len(results):
            results.extend([None] * (index + 1 - len(results)))
        results[index] = result

    def text(self, load: LoadBlob) -> bytes:
        """Return the results in item order as one JSON list; failed and skipped items are null."""
        total = self.next if self.size is None else self.size
        parts = [stored_text(result, load) for result in islice(self.results, total)]
        parts.extend([b"null"] * (total - len(parts)))
        if not parts:
            return b"[]"
        parts[0] = b"[" + parts[0]
        parts[-1] += b"]"
        return b",".join(parts)  # the whole list, which may be large, is made once and never copied


def stored_text(stored: Stored | None, load: LoadBlob) -> bytes:
    """Return the JSON text of a result, wherever it is held."""
    if stored is None:
        return b"null"
    return load(stored) if isinstance(stored, Blob) else stored


def scope_text(scope: Scope, load: LoadBlob) -> bytes:
    """Return a scope's result where it does not say: its only sink's, else sinks by name."""
    if scope.chosen is not None:
        return result_text(scope.instances[scope.chosen], load)
    ends = [(scope.plan.nodes[local].name, scope.instances[local]) for local in scope.plan.sinks]
    if len(ends) == 1:
        return result_text(ends[0][1], load)
    return b"{" + b",".join(jsonvalue.encode(name) + b":" + result_text(end, load) for name, end in ends) + b"}"


def result_text(instance: Instance | None, load: LoadBlob) -> bytes:
    """Return the JSON text of an instance's result; null when it has none."""
    if instance is None:
        return b"null"
    if instance.result is None and instance.status in (TaskStatus.SUCCEEDED, TaskStatus.ROLLED_BACK):
        if instance.loop is not None:
            if instance.loop.plan is not None and not instance.node.collects:
                return stored_text(instance.loop.last, load)
            return instance.loop.text(load)
        if instance.child is not None:
            return scope_text(instance.child, load)
    return stored_text(instance.result, load)

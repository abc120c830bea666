"""Rolling back: what had completed is undone, last completed first.

Rules:

1. A task that truly succeeded and has a ``rollback`` is remembered by the scope it lies in. What a group remembers goes
   to the scope around it when the group succeeds, or is given up together with that scope.
2. When a group fails for good, or the run fails or is cancelled, what its scope remembers is undone before it ends.
3. Each undo is an instance of its own, ``TASK~rollback``: it has attempts, retries and slots like any task's work, and
   is never cancelled. When it has succeeded, its task is ROLLED_BACK, and so is every group or loop around that task
   which had succeeded.
4. An undo starts when those of everything that began after its task had completed are over. What ran side by side is
   undone side by side. With tasks ordered by completion that asks for one comparison: of all undos that are under way,
   the latest beginning must not be after the completion of the next. A heap gives it: O(log n) a step.

The pattern is the saga of Garcia-Molina and Salem, "Sagas" (SIGMOD 1987): compensations in reverse order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from autoglm.base.errors import Failure
from autoglm.engine import forgetting, parcels
from autoglm.engine import messages as m
from autoglm.engine.parcels import Done
from autoglm.engine.state import Instance, Scope
from autoglm.engine.states import TaskStatus

if TYPE_CHECKING:
    from autoglm.engine.machine import Run
    from autoglm.engine.names import World
    from autoglm.engine.run_state import RunState

SUFFIX: Final = "~rollback"
"""What the id of an undo ends with, after its task's; no name of a task has such a character."""
OPEN_UNDOS: Final = 1024
"""How many undos of one scope may wait or run at once."""


class Undoing:
    """The rolling back of one scope, while it goes on."""

    __slots__ = ("failure", "open", "stack", "starts", "stuck")

    def __init__(self, stack: list[Done], failure: Failure | None = None) -> None:
        self.failure = failure
        """What a group then fails with, where its tasks do not tell."""
        self.stack = stack
        """What is still to be undone, last completed last."""
        self.open: dict[str, Instance] = {}
        """Undos that wait or run, by id."""
        self.starts: list[tuple[int, str]] = []
        """Heap of (minus the beginning of its task, id), with those that are over still in it."""
        self.stuck: list[Instance] = []
        """What could not be undone."""

    @property
    def is_over(self) -> bool:
        return not self.stack and not self.open

    def may_undo_next(self) -> bool:
        """Return whether the last completed may be undone now."""
        if not self.stack or len(self.open) >= OPEN_UNDOS:
            return False
        while self.starts and self.starts[0][1] not in self.open:
            heappop(self.starts)
        return not self.starts or -self.starts[0][0] < self.stack[-1].order


# ------------------------------------------------------------------------------------------- what ``apply`` notes


def remember(state: RunState, instance: Instance) -> None:
    """Note that something completed that can be undone."""
    if instance.child is not None:  # a group as a whole counts as made when it ended: it is undone before its parts
        instance.began = state.completed
    state.completed += 1
    instance.order = state.completed
    instance.scope.done.append(instance)


def hand_over(state: RunState, instance: Instance) -> None:
    """Let the scope around an ended group remember what is to be undone with it."""
    child = instance.child
    if child is None or not child.done:
        return
    if child.undoing is not None:  # it was tried, and is not tried again before the run is reopened
        state.left_over.append(child)
        return
    is_item = instance.index is not None and instance.status is TaskStatus.SUCCEEDED
    may_pack = is_item and instance.node.rollback is None
    instance.scope.done.extend(parcels.wrapped(state, instance, child.done) if may_pack else child.done)
    child.done = []


def take_up(state: RunState) -> None:
    """Let what could not be undone be tried again, right after a run was reopened, though its group is not."""
    for scope in state.left_over:
        owner = scope.owner
        if owner is None or not owner.is_final:
            continue
        around = owner.scope
        while around.owner is not None and around.owner.is_final:
            around = around.owner.scope
        around.done.extend(instance for instance in scope.done if still_stands(instance))
        scope.done = []
    state.left_over = []


def still_stands(done: Done) -> bool:
    """Return whether something remembered is still what its run goes by, right after a run was reopened."""
    if done.status is not TaskStatus.SUCCEEDED:
        return False
    if isinstance(done, Instance):
        return _is_in_place(done)
    if done.parcel.item is not None:
        instance = parcels.found(done)
        return instance is not None and _is_in_place(instance)
    loop = done.parcel.owner.loop
    if loop is None or done.parcel.number <= loop.since or done.parcel.index in loop.redo:
        return False
    return _is_in_place(done.parcel.owner)


def _is_in_place(instance: Instance) -> bool:
    for at in instance.path():
        found = at.scope.instances[at.node.local]
        if at.index is None:
            if found is not at:
                return False
        else:
            loop = None if found is None else found.loop
            if loop is None or at.number <= loop.since or at.index in loop.redo:
                return False
        owner = at.scope.owner
        if owner is not None and owner.child is not at.scope:
            return False
    return True


def began(state: RunState, event: m.RollbackStarted, at: float) -> None:
    """Begin to roll back the run, or a group."""
    scope = state.scope_of(event.task)
    last = {instance.id: instance for instance in scope.done if instance.status is TaskStatus.SUCCEEDED}
    scope.done = []
    scope.undoing = Undoing(sorted(last.values(), key=lambda instance: instance.order), event.failure)
    go_on(state, scope, scope.undoing)


def go_on(state: RunState, scope: Scope, undoing: Undoing) -> None:
    """Let the next ones wait for their slots; when all are over, the scope may end."""
    while undoing.may_undo_next():
        task = parcels.instance_of(state, undoing.stack.pop())
        undo = _undo_of(state, task)
        undoing.open[undo.id] = undo
        heappush(undoing.starts, (-task.began, undo.id))
        state.undos[undo.id] = scope
        state.ready(undo)
    if undoing.is_over:
        scope.done = list(undoing.stuck)
        state.ended(scope.owner)


def _undo_of(state: RunState, task: Instance) -> Instance:
    """Return the instance that undoes a task; after a retry of the run it is the one that did so before."""
    node = task.node.rollback
    assert node is not None
    undo = task.undo
    if undo is None:
        undo = task.undo = Instance(f"{task.id}{SUFFIX}", node, task.scope)
        undo.undoes = task
    else:
        set_back(state, undo)
    undo.lives = task.lives
    return undo


def set_back(state: RunState, undo: Instance | None) -> None:
    """Let what undoes a task wait to be called again, if it was."""
    if undo is None or undo.status is TaskStatus.PENDING:
        return
    forgetting.unlist(state, undo)
    undo.attempts_before = undo.attempt
    undo.failure = undo.result = undo.reason = undo.first_at = None
    undo.started_at = undo.ended_at = None


def ended(state: RunState, undo: Instance, at: float) -> None:
    """Note that an undo is over, well or not."""
    scope = state.undos.pop(undo.id)
    undoing, task = scope.undoing, undo.undoes
    assert undoing is not None
    assert task is not None
    del undoing.open[undo.id]
    if undo.status is TaskStatus.SUCCEEDED:
        _mark(state, task, at)
    else:
        undoing.stuck.append(task)
        state.stuck[task.id] = undo.failure
    go_on(state, scope, undoing)


def _mark(state: RunState, task: Instance, at: float) -> None:
    """Mark a task as rolled back, and what succeeded around it: none of that can be counted on any more."""
    state.stuck.pop(task.id, None)
    state.move(task, TaskStatus.ROLLED_BACK, at)
    inner = task
    while True:
        if inner.index is not None:
            owner = state.owner_of(inner)
            if owner.loop is not None:
                owner.loop.undone = True
                owner.loop.kept[inner.index] = inner
                if inner.index < len(owner.loop.inside):
                    owner.loop.inside[inner.index] = ()  # what is in it is counted where it is, from here on
            if owner.status is TaskStatus.SUCCEEDED:
                state.move(owner, TaskStatus.ROLLED_BACK, at)
        above = inner.scope.owner
        if above is None:
            return
        if above.status is TaskStatus.SUCCEEDED:
            state.move(above, TaskStatus.ROLLED_BACK, at)
        else:
            return
        inner = above


# ----------------------------------------------------------------------------------------------- what is decided


def must_wait(run: Run, scope: Scope, failure: Failure | None = None) -> bool:
    """Roll back what a group's scope remembers; return whether the group's end must wait for that.

    Something around it that is given up too takes care of what is in it, in the order that holds there.
    """
    if scope.undoing is not None:
        return not scope.undoing.is_over
    owner = scope.owner
    if owner is None or not scope.done or owner.is_given_up:
        return False
    run.emit(m.RollbackStarted(owner.id, failure))
    return True


class Outcome(Mapping[str, Any]):
    """``output`` and ``result`` of the task that a rollback undoes, decoded when asked for."""

    __slots__ = ("_task", "_world")

    def __init__(self, task: Instance, world: World) -> None:
        self._task = task
        self._world = world

    def __getitem__(self, key: str) -> Any:
        if key == "result":
            return self._world.result(self._task)
        if key == "output":
            return self._world.output(self._task)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(("output", "result"))

    def __len__(self) -> int:
        return 2


def scopes_within(scope: Scope) -> Iterator[tuple[str, Scope]]:
    """Yield a scope and those inside it that are in memory, by prefix."""
    yield scope.prefix, scope
    for instance in scope.instances:
        if instance is None:
            continue
        items = [] if instance.loop is None else [*instance.loop.open.values(), *instance.loop.kept.values()]
        for child in [instance.child, *(item.child for item in items)]:
            if child is not None:
                yield from scopes_within(child)


def remembered(scope: Scope) -> Iterator[Done]:
    """Yield what a scope remembers of what can be undone, also while that is under way."""
    yield from scope.done
    if scope.undoing is not None and not scope.undoing.is_over:
        yield from scope.undoing.stack
        yield from (undo.undoes for undo in scope.undoing.open.values() if undo.undoes is not None)


def snapshot(scope: Scope) -> Any:
    """Return what a scope remembers, as plain data."""
    undoing = scope.undoing
    done = parcels.snapshot(scope.done)
    if undoing is None:
        return done
    return done, [each.id for each in undoing.stack], sorted(undoing.open), [each.id for each in undoing.stuck]

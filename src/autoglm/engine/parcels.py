"""Items of loops that have ended and may have to be undone: kept as a few bytes until that is called for.

Rules:

1. What completed inside of an item is remembered as :class:`Remembered`, which knows what the order of undoing asks
   for. The item itself, with its scope and what is in it, becomes a :class:`Parcel`.
2. A parcel is packed once the record of its item's end has been noted (:func:`pack`). It is a matter of memory alone:
   nothing that is decided depends on whether it is packed.
3. It is unpacked as a whole when the first thing in it is to be undone, and stays so: from then on the item is one
   that its loop keeps.
4. Only what is plain is packed: an item with loops, stand-ins or ends of calls inside stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from autoglm.base.errors import EngineError, Failure
from autoglm.engine import groups
from autoglm.engine.messages import Blob
from autoglm.engine.state import Instance, Scope
from autoglm.engine.states import TaskStatus

if TYPE_CHECKING:
    from autoglm.engine.run_state import RunState


class _Packed(msgspec.Struct, array_like=True, omit_defaults=True):
    """A task instance as it is packed, with what is inside of it."""

    name: str
    number: int
    status: str
    attempt: int = 0
    result: bytes | Blob | None = None
    started_at: float | None = None
    ended_at: float | None = None
    record: int = 0
    began: int = 0
    order: int = 0
    lives: int = 0
    inside: list[_Packed] | None = None
    chosen: int | None = None
    first_at: float | None = None
    output: bytes | Blob | None = None
    attempts_before: int = 0
    failure: Failure | None = None
    reason: str | None = None
    upstream_failed: bool = False
    collected: bytes | Blob | None = None
    stopping: str | None = None
    recovered: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


class Parcel:
    """An item of a loop that has succeeded: itself, or packed."""

    __slots__ = ("data", "index", "item", "number", "owner")

    def __init__(self, item: Instance, owner: Instance) -> None:
        self.owner = owner
        self.index = item.index
        self.number = item.number
        self.item: Instance | None = item
        self.data = b""


class Remembered:
    """Something that completed inside of an item and can be undone, with what the order of undoing asks for."""

    __slots__ = ("began", "number", "order", "parcel", "path")

    def __init__(self, instance: Instance, parcel: Parcel, path: str) -> None:
        self.parcel = parcel
        self.path = path
        """Where it is in the item: ``reserve``, ``outer.reserve``."""
        self.began = instance.began
        self.order = instance.order
        self.number = instance.number

    @property
    def id(self) -> str:
        return f"{self.parcel.owner.id}[{self.parcel.index}].{self.path}"

    @property
    def status(self) -> TaskStatus:
        """How it stands; what is packed has not been touched since it succeeded, and what has gone is cancelled."""
        if self.parcel.item is None:
            return TaskStatus.SUCCEEDED
        instance = found(self)
        return TaskStatus.CANCELLED if instance is None else instance.status


Done = Instance | Remembered
"""What completed and can be undone."""


def wrapped(state: RunState, item: Instance, done: Iterable[Done]) -> list[Done]:
    """Return what an item that has succeeded hands over, so that it can be packed."""
    parcel = Parcel(item, state.owner_of(item))
    state.parcels.append(parcel)
    beginning = len(item.id) + 1
    paths = state.paths
    found: list[Done] = []
    for each in done:
        if isinstance(each, Remembered) or "[" in (path := each.id[beginning:]):  # within a loop: not plain
            found.append(each)
        else:
            found.append(Remembered(each, parcel, paths.setdefault(path, path)))
    return found


def instance_of(state: RunState, done: Done) -> Instance:
    """Return the task instance that is remembered, unpacked if need be."""
    if isinstance(done, Instance):
        return done
    parcel = done.parcel
    if parcel.item is None:
        parcel.item = _unpacked(state, parcel)
        parcel.data = b""
    instance = found(done)
    if instance is None:
        raise EngineError(f"{done.id} is to be undone and is no more", code="unknown-instance")
    return instance


def found(done: Remembered) -> Instance | None:
    """Return what is remembered of an item that is not packed; None when a changed file has dropped it."""
    at = done.parcel.item
    for name in done.path.split("."):
        scope = None if at is None else at.child
        local = None if scope is None else scope.plan.names.get(name)
        at = None if scope is None or local is None else scope.instances[local]
    return at


def pack(state: RunState) -> None:
    """Pack the items that have ended, whose records have been noted."""
    for parcel in state.parcels:
        item = parcel.item
        if item is not None and _is_plain(item):
            parcel.data = _encode(_packed(item))
            parcel.item = None
    state.parcels.clear()


def _is_plain(instance: Instance) -> bool:
    if instance.loop is not None or instance.stand_in is not None or instance.undo is not None:
        return False
    if instance.held is not None or instance.status not in (TaskStatus.SUCCEEDED, TaskStatus.SKIPPED):
        return False
    child = instance.child
    if child is None:
        return True
    if child.undoing is not None or child.end is not None or child.failed or child.done:
        return False
    return all(inner is None or _is_plain(inner) for inner in child.instances)


def _packed(instance: Instance) -> _Packed:
    child = instance.child
    inside = None if child is None else [_packed(each) for each in child.instances if each is not None]
    return _Packed(
        instance.node.name,
        instance.number,
        str(instance.status),
        instance.attempt,
        instance.result,
        instance.started_at,
        instance.ended_at,
        instance.record,
        instance.began,
        instance.order,
        instance.lives,
        inside,
        None if child is None else child.chosen,
        instance.first_at,
        instance.output,
        instance.attempts_before,
        instance.failure,
        instance.reason,
        instance.upstream_failed,
        instance.collected,
        instance.stopping,
        instance.recovered,
    )


def _unpacked(state: RunState, parcel: Parcel) -> Instance:
    item = Instance.of_item(parcel.owner, parcel.index or 0)
    _restore(state, item, _decode(parcel.data))
    return item


_SAME: tuple[str, ...] = (
    "number", "attempt", "result", "started_at", "ended_at", "record", "began", "order", "lives", "first_at", "output",
    "attempts_before", "failure", "reason", "upstream_failed", "collected", "stopping",
    "recovered",
)  # fmt: skip


def _restore(state: RunState, instance: Instance, packed: _Packed) -> None:
    instance.status = TaskStatus(packed.status)
    for name in _SAME:
        setattr(instance, name, getattr(packed, name))
    plan = groups.plan_of(state.graph, instance)
    if packed.inside is None or plan is None:
        return
    callee = state.graph.callees.get(instance.node.callee or "")
    scope = instance.child = Scope(plan, f"{instance.id}.", instance, callee)
    scope.chosen, scope.left = packed.chosen, 0
    scope.unmet = [0] * len(plan.nodes)
    for each in packed.inside:
        local = plan.names.get(each.name)
        if local is not None:
            _restore(state, scope.instance(local), each)


def snapshot(done: Iterable[Done]) -> list[Any]:
    """Return what is remembered as plain data."""
    return [(each.id, str(each.status), each.began, each.order) for each in done]

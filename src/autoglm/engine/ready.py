"""The tasks that could start, by the limits they need: one heap for each combination of pools.

The next one is the smallest key among the heaps whose pools all have room. There are as many heaps as there are
combinations in the file (a handful), so a blocked pool never makes anybody look through what waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

from autoglm.engine.state import Instance
from autoglm.graph.model import Pool
from autoglm.spec.model import Schedule

Key = tuple[int, int, int]


class ReadyQueues:
    """What is ready, ordered by schedule. Holders of a pool are a set: its size *is* the number of taken slots."""

    def __init__(self, pools: Sequence[Pool], schedule: Schedule) -> None:
        self._limits = [pool.limit for pool in pools]
        self.holders: list[set[str]] = [set() for _ in pools]
        self._by_priority = schedule is Schedule.PRIORITY
        self._heaps: dict[tuple[int, ...], list[tuple[Key, Instance]]] = {}
        self._arrivals = 0

    def push(self, instance: Instance) -> None:
        """Add a task that may start, or a loop that may start an item."""
        if instance.queued:
            return
        instance.queued = True
        self._arrivals += 1
        node = instance.node
        key = (-node.priority, -node.rank, self._arrivals) if self._by_priority else (0, 0, self._arrivals)
        heap = self._heaps.get(node.pools)
        if heap is None:
            heap = self._heaps[node.pools] = []
        heappush(heap, (key, instance))

    def pop(self) -> Instance | None:
        """Remove and return the next one whose pools have room, None when there is none."""
        best: list[tuple[Key, Instance]] | None = None
        for pools, heap in self._heaps.items():
            if heap and (best is None or heap[0][0] < best[0][0]) and self.has_room(pools):
                best = heap
        if best is None:
            return None
        instance = heappop(best)[1]
        instance.queued = False
        return instance

    def clear(self) -> None:
        """Forget everything that waits."""
        for instance in self:
            instance.queued = False
        self._heaps.clear()

    def drain(self) -> list[Instance]:
        """Forget everything that waits, and return it, first things first."""
        waiting = sorted((entry for heap in self._heaps.values() for entry in heap), key=lambda entry: entry[0])
        self.clear()
        return [instance for _, instance in waiting]

    def has_room(self, pools: tuple[int, ...]) -> bool:
        """Return whether each of the pools has a free slot."""
        for pool in pools:  # noqa: SIM110  # a generator costs more than the loop, and this is asked for each start
            if len(self.holders[pool]) >= self._limits[pool]:
                return False
        return True

    def is_alone(self) -> bool:
        """Return whether nothing waits."""
        return not any(self._heaps.values())

    def take(self, instance: Instance) -> None:
        """Note that an attempt of ``instance`` runs."""
        for pool in instance.node.pools:
            self.holders[pool].add(instance.id)

    def give(self, instance: Instance) -> None:
        """Note that it does not run any more."""
        for pool in instance.node.pools:
            self.holders[pool].discard(instance.id)

    def __iter__(self) -> Iterator[Instance]:
        for heap in self._heaps.values():
            for _, instance in heap:
                yield instance

"""What a run has used of models: in all, by task, and by the arm of a split that was taken.

A usage record is what an attempt hands in: numbers are summed, ``True`` stays. ``arm`` names the arm of a split.
"""

from __future__ import annotations

from typing import Any


class Spent:
    """Sums of usage records, by the static path of the task they came from."""

    __slots__ = ("arms", "tasks", "total")

    def __init__(self) -> None:
        self.total: dict[str, Any] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.arms: dict[str, dict[str, dict[str, Any]]] = {}
        """Task path → arm → sums, with ``attempts`` and ``failed`` among them."""

    def add(self, path: str, usage: dict[str, Any], *, failed: bool = False, ended: bool = True) -> None:
        """Add one record; ``ended`` is False for what an attempt used before it parked."""
        add(self.total, usage)
        add(self.tasks.setdefault(path, {}), usage)
        arm = usage.get("arm")
        if isinstance(arm, str) and arm:
            sums = self.arms.setdefault(path, {}).setdefault(arm, {})
            add(sums, {**usage, "attempts": int(ended), "failed": int(failed)})

    def snapshot(self) -> dict[str, Any]:
        """Return everything, as plain data."""
        return {"total": self.total, "tasks": self.tasks, "arms": self.arms}


def add(sums: dict[str, Any], usage: dict[str, Any]) -> None:
    """Add a usage record to sums."""
    for name, amount in usage.items():
        if isinstance(amount, int | float) and not isinstance(amount, bool):
            sums[name] = sums.get(name, 0) + amount
        elif amount is True:
            sums[name] = True

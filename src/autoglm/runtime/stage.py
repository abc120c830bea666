"""What stands in for the world when a run is tried out rather than run: how time passes, and who does the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoglm.graph.model import Node
from autoglm.runtime.timers import Timers
from autoglm.tasks.protocol import TaskType


@dataclass(frozen=True, slots=True)
class Stage:
    """Given to a session, holds for its runs; the engine, the runner and the store are the real ones."""

    timers: Timers
    cast: Callable[[Node, Callable[[str], TaskType]], TaskType]
    """Who does the work of a node; the second argument gives task types by name."""
    refuses_models: bool = True
    """A model that would be asked fails its task instead."""

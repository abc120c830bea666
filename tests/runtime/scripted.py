"""A task type whose work is a function of the test, which gets the attempt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from autoglm.executors.protocol import Coroutine
from autoglm.spec.catalog import TaskTypeInfo
from autoglm.spec.model import PoolSpec, Task, Workflow
from autoglm.stores.memory import MemoryStore
from autoglm.stores.protocol import Store
from autoglm.tasks.protocol import Attempt

from .house import Bench

Work = Callable[[Attempt], Awaitable[Any]]


class Script:
    """A task type whose work is a function of the test."""

    def __init__(self, work: Work) -> None:
        self.info = TaskTypeInfo(name="script", options={}, executor="inline", executors=("inline",), description="")
        self._work = work

    def check(self, task: Task, catalog: Any) -> list[Any]:
        return []

    async def run(self, attempt: Attempt) -> Any:
        return await attempt.execute(Coroutine(self._work, {"attempt": attempt}))

    async def close(self) -> None:
        pass


def bench(tmp_path: Path, work: Work, store: Store | None = None, **fields: Any) -> Bench:
    """Return a bench for one task ``a`` that does ``work``."""
    pools = {"one": PoolSpec(limit=1)}
    task = Task(**{"name": "a", "type": "scripted", "executor": "inline", **fields})
    made = Bench(store or MemoryStore(), Workflow(name="flow", tasks=(task,), pools=pools), tmp_path)
    made.task_types["scripted"] = Script(work)
    return made

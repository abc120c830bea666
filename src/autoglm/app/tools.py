"""What a run works with: task types and executors, each made when first needed, closed together."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from autoglm.app.plugins import find_plugin, load_executors, load_task_types
from autoglm.executors.protocol import Executor
from autoglm.tasks.protocol import TaskType

if TYPE_CHECKING:
    from autoglm.tasks.account import Account


class Tools:
    """Task types and executors by name, and the run's account: most runs ask no model and need none."""

    def __init__(
        self,
        executor_limits: Mapping[str, int],
        handlers: Mapping[str, Callable[..., Any]],
        open_account: Callable[[], Account] | None = None,
    ) -> None:
        self._limits = executor_limits
        self._handlers = handlers
        self._task_types: dict[str, TaskType] = {}
        self._executors: dict[str, Executor] = {}
        self._open_account = open_account
        self._account: Account | None = None

    def task_type(self, name: str) -> TaskType:
        """Return the task type. Raises UsageError for one that is not installed or cannot be loaded."""
        found = self._task_types.get(name)
        if found is None:
            factory = find_plugin(load_task_types(), name, "task type").load()
            found = factory(extra=self._handlers) if name == "function" and self._handlers else factory()
            self._task_types[name] = found
        return found

    def executor(self, name: str) -> Executor:
        """Return the executor. Raises UsageError for one that is not installed or cannot be loaded."""
        found = self._executors.get(name)
        if found is None:
            factory = find_plugin(load_executors(), name, "executor").load()
            limit = self._limits.get(name)
            takes_limit = limit is not None and "limit" in inspect.signature(factory).parameters
            found = factory(limit=limit) if takes_limit else factory()
            self._executors[name] = found
        return found

    def account(self) -> Account | None:
        """Return what the run's model calls share; None outside of a run."""
        if self._account is None and self._open_account is not None:
            self._account = self._open_account()
        return self._account

    async def close(self) -> None:
        """Close everything that was made."""
        for task_type in self._task_types.values():
            await task_type.close()
        for executor in self._executors.values():
            await executor.close()
        if self._account is not None:
            await asyncio.to_thread(self._account.close)
            self._account = None
        self._task_types.clear()
        self._executors.clear()

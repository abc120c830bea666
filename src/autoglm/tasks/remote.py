"""A handler called in another process: found anew by its reference, with a context of its own.

:func:`invoke` is what the ``process`` executor runs there; its arguments are all JSON data.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoglm.executors._worker_child import log
from autoglm.tasks.handlers import Handlers
from autoglm.tasks.protocol import TaskContext

REFERENCE = f"{__name__}:invoke"

CONTEXT_FIELDS = ("task_id", "run_id", "attempt", "input_data", "config", "status", "life")
"""What of the context travels; ``dependencies`` and ``state`` do not."""

_projects: dict[str, Handlers] = {}


async def invoke(
    root: str,
    reference: str,
    arguments: Mapping[str, Any],
    context_names: list[str],
    context: Mapping[str, Any],
    env: Mapping[str, str],
) -> Any:
    """Call the handler ``reference`` of the project at ``root``; ``env`` is set while it runs."""
    handlers = _projects.setdefault(root, Handlers(Path(root)))
    with _environment(env):
        handler = handlers.get(reference)
        if context_names:
            arguments = {**arguments, **dict.fromkeys(context_names, TaskContext(**context, log=log))}
        value = handler.function(**arguments)
        return await value if inspect.isawaitable(value) else value


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

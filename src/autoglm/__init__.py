"""Open-AutoGLM: durable orchestration of AI work from one declarative file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from autoglm.app.api import Run as Run
    from autoglm.app.api import Workflow as Workflow
    from autoglm.app.api import WorkflowBuilder as WorkflowBuilder
    from autoglm.app.api import load as load
    from autoglm.base.errors import AutoglmError as AutoglmError
    from autoglm.base.errors import SpecError as SpecError
    from autoglm.base.errors import TaskError as TaskError
    from autoglm.tasks.handlers import service as service
    from autoglm.tasks.handlers import task as task
    from autoglm.tasks.protocol import TaskContext as TaskContext

_EXPORTS = {
    "AutoglmError": "autoglm.base.errors",
    "Run": "autoglm.app.api",
    "SpecError": "autoglm.base.errors",
    "TaskContext": "autoglm.tasks.protocol",
    "TaskError": "autoglm.base.errors",
    "Workflow": "autoglm.app.api",
    "WorkflowBuilder": "autoglm.app.api",
    "load": "autoglm.app.api",
    "service": "autoglm.tasks.handlers",
    "task": "autoglm.tasks.handlers",
}

__all__ = [
    "AutoglmError",
    "Run",
    "SpecError",
    "TaskContext",
    "TaskError",
    "Workflow",
    "WorkflowBuilder",
    "__version__",
    "load",
    "service",
    "task",
]


def __getattr__(name: str) -> Any:
    """Import public names when first used: ``import autoglm`` alone costs next to nothing."""
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'autoglm' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)

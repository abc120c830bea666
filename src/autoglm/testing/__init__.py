"""What tests are made with: workflows run with stand-ins, and one conformance suite for each port of extensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoglm.testing.cases import Answer as Answer
    from autoglm.testing.executors import ExecutorTests as ExecutorTests
    from autoglm.testing.stores import StoreTests as StoreTests
    from autoglm.testing.workflows import TestedRun as TestedRun
    from autoglm.testing.workflows import failing as failing
    from autoglm.testing.workflows import mock as mock
    from autoglm.testing.workflows import run_workflow as run_workflow

_EXPORTS = {
    "Answer": "autoglm.testing.cases",
    "ExecutorTests": "autoglm.testing.executors",
    "StoreTests": "autoglm.testing.stores",
    "TestedRun": "autoglm.testing.workflows",
    "failing": "autoglm.testing.workflows",
    "mock": "autoglm.testing.workflows",
    "run_workflow": "autoglm.testing.workflows",
}

__all__ = ["Answer", "ExecutorTests", "StoreTests", "TestedRun", "failing", "mock", "run_workflow"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when first used: a suite needs pytest, and only its own port."""
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'autoglm.testing' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name)

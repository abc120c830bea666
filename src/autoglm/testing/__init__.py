"""What extensions are tested with: one conformance suite for each port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoglm.testing.executors import ExecutorTests as ExecutorTests
    from autoglm.testing.stores import StoreTests as StoreTests

_EXPORTS = {
    "ExecutorTests": "autoglm.testing.executors",
    "StoreTests": "autoglm.testing.stores",
}

__all__ = ["ExecutorTests", "StoreTests"]


def __getattr__(name: str) -> Any:
    """Import a suite when first used: each needs pytest, and only its own port."""
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'autoglm.testing' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name)

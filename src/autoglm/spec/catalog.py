"""What the checks must know about the world outside the file, as plain data.

``app`` builds a :class:`Catalog` from the installed plugins and the project's folder (reading names only: no code of
the author's is imported or run); ``spec`` and ``graph`` read it and stay pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from autoglm.spec.model import ModelSpec


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """One option that a task type declares."""

    name: str
    schema: Mapping[str, Any]
    """JSON Schema of the value."""
    required: bool = False
    templated: bool = True
    """False for what must be known before anything runs."""
    late: bool = False
    """True when the task type renders it itself, after ``arguments`` are known."""


@dataclass(frozen=True, slots=True)
class TaskTypeInfo:
    """A task type as the checks see it."""

    name: str
    options: Mapping[str, OptionInfo] = field(default_factory=dict)
    signature_keys: tuple[str, ...] = ()
    """Any of these keys in a task without ``type`` means this type."""
    executor: str = "inline"
    """Where it runs unless the task says otherwise; ``function`` depends on the handler, see :class:`FunctionInfo`."""
    executors: tuple[str, ...] = ("inline",)
    """Where it can run."""
    description: str = ""
    caches: bool = False
    """It asks models, and so knows the fields ``cache`` and ``budget``."""


@dataclass(frozen=True, slots=True)
class FunctionInfo:
    """A handler as far as its source text tells, without importing it."""

    name: str
    origin: str
    """``tasks/clean.py:12`` or ``package.module:name``."""
    parameters: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    """Parameters without a default, the context parameter left out."""
    accepts_any: bool = False
    """True when it takes ``**kwargs`` or cannot be read."""
    is_async: bool = False
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that names in a file can refer to."""

    task_types: Mapping[str, TaskTypeInfo] = field(default_factory=dict)
    signatures: Mapping[str, str] = field(default_factory=dict)
    """Keys that tell the type of a task which does not name it, for types beside the built-in ones."""
    functions: Mapping[str, FunctionInfo] = field(default_factory=dict)
    """By name; those of the project also by reference (``package.module:name``), which going over them leaves out."""
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    """Models of the project's settings and the built-in ones; a file's own ``models`` come before these."""
    executors: frozenset[str] = frozenset({"inline", "thread", "subprocess", "process"})
    executor_limits: Mapping[str, int] = field(default_factory=dict)
    """How many attempts each executor runs at once; the engine holds them as pools."""
    files: AbstractSet[str] | None = None
    """Paths below the project root, ``/``-separated, that scripts may name; None when unknown (no check then).

    ``in`` is cheap, and right for any spelling of a path; going over all of them is for suggestions only.
    """
    config: Mapping[str, Any] = field(default_factory=dict)
    mcp_servers: AbstractSet[str] = frozenset()
    """Names of the MCP servers that the settings declare."""
    env: frozenset[str] = frozenset()
    """Names of environment variables that templates may read."""
    raised: AbstractSet[str] = frozenset()
    """What the project's own code could fail with: ``in`` says so of any name, going over them is for suggestions."""

    def names(self) -> Iterable[str]:
        """Every name that a shorthand key may use."""
        yield from self.task_types
        yield from self.functions

"""What names in a workflow file can refer to: plugins, the project's functions and files, models, executors.

Nothing of the author's is imported or run, and nothing is searched that no name asks for.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from autoglm.app.plugins import Plugin, load_executors, load_task_types
from autoglm.app.waiting import APPROVAL, WAIT
from autoglm.base.diagnostics import Diagnostic, Severity, did_you_mean
from autoglm.base.errors import UsageError
from autoglm.config.project import Project
from autoglm.llm.models import BUILT_IN
from autoglm.spec.catalog import Catalog, FunctionInfo, OptionInfo, TaskTypeInfo
from autoglm.tasks.discover import discover, resolve_reference
from autoglm.tasks.raised import Raised

GROUP: Final = TaskTypeInfo(
    name="group",
    options={
        "choose": OptionInfo(
            "choose", {"type": "string", "description": "which one of `allow` runs: a template that gives its name"}
        ),
        "allow": OptionInfo(
            "allow",
            {"type": ["object", "array"], "description": "the tasks that `choose` may name, each like any other"},
        ),
    },
    signature_keys=("tasks", "choose", "allow"),
    executor="",
    executors=(),
    description="Run the inline `tasks` as one, or the one of `allow` that `choose` names; with `loop`, once per item.",
)
WORKFLOW: Final = TaskTypeInfo(
    name="workflow",
    options={
        "workflow": OptionInfo(
            "workflow",
            {"type": "string", "minLength": 1, "description": "the workflow file, relative to the one that calls it"},
            required=True,
            templated=False,
        ),
        "max_depth": OptionInfo(
            "max_depth",
            {"type": "integer", "minimum": 1, "description": "how deep calls may lie in one another; default 16"},
            templated=False,
        ),
    },
    signature_keys=("workflow",),
    executor="",
    executors=(),
    description="Run another workflow file; `with` gives its inputs, its outputs are the result.",
)
"""Groups and calls are the engine's own: nothing is executed for them, as for a decision by rules."""

_MAX_FILES: Final = 20_000
_SKIPPED_FOLDERS: Final = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})


def build_catalog(
    project: Project, *, extra_functions: Mapping[str, FunctionInfo] | None = None
) -> tuple[Catalog, list[Diagnostic]]:
    """Return the catalog of ``project``, and what is wrong with its plugins and handlers.

    ``extra_functions`` are functions that were given directly; they come before the project's own. A plugin that cannot
    be loaded is a warning: it matters only to a file that uses it, which is then told that the type does not exist.
    """
    diagnostics: list[Diagnostic] = []
    discovery = discover(project.tasks_dir, project.root)
    diagnostics += discovery.diagnostics
    executors = frozenset(load_executors())
    diagnostics += _unknown_executors(project, executors)
    task_types = TaskTypes(load_task_types())
    diagnostics += task_types.diagnostics
    catalog = Catalog(
        task_types=task_types,
        signatures=task_types.signatures,
        functions=Functions({**discovery.functions, **(extra_functions or {})}, project.root),
        models={**BUILT_IN, **project.settings.models},
        executors=executors,
        executor_limits=project.settings.executor_limits,
        files=ProjectFiles(project.root),
        config=project.settings.config,
        mcp_servers=frozenset(project.settings.mcp),
        env=frozenset(project.settings.env),
        raised=Raised(project.tasks_dir),
    )
    return catalog, diagnostics


class TaskTypes(Mapping[str, TaskTypeInfo]):
    """Task types by name; our own are imported when asked for, so a run without a model is spared what calls need."""

    def __init__(self, plugins: Mapping[str, Plugin]) -> None:
        self.diagnostics: list[Diagnostic] = []
        self.signatures: dict[str, str] = {}
        self._ours = {name: plugin for name, plugin in plugins.items() if plugin.is_built_in}
        self._found = {info.name: info for info in (GROUP, WORKFLOW, APPROVAL, WAIT)}
        for name, plugin in plugins.items():
            if name in self._ours:
                continue
            try:
                info = self._found.setdefault(name, _info_of(plugin))
            except UsageError as error:
                problem = Diagnostic(error.code, error.message, hint=error.hint, severity=Severity.WARNING)
                self.diagnostics.append(problem)
            else:
                self.signatures |= dict.fromkeys(info.signature_keys, name)

    def __getitem__(self, name: str) -> TaskTypeInfo:
        if name not in self._found:
            self._found[name] = _info_of(self._ours[name])
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found | self._ours)

    def __len__(self) -> int:
        return len(self._found | self._ours)


def _info_of(plugin: Plugin) -> TaskTypeInfo:
    info = getattr(plugin.load(), "info", None)
    if not isinstance(info, TaskTypeInfo):
        raise plugin.broken("its `info` is not a TaskTypeInfo")
    return info


class Functions(Mapping[str, FunctionInfo]):
    """Functions by name. ``package.module:function`` is looked up when it is asked for, and not among the names."""

    def __init__(self, named: Mapping[str, FunctionInfo], root: Path) -> None:
        self._named = dict(named)
        self._root = root
        self._references: dict[str, FunctionInfo | None] = {}

    def __getitem__(self, name: str) -> FunctionInfo:
        found = self._named.get(name)
        if found is None and ":" in name:
            if name not in self._references:
                self._references[name] = resolve_reference(name, self._root)
            found = self._references[name]
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)


class ProjectFiles(AbstractSet[str]):
    """The files below a folder. ``in`` asks the disk about one path; only going over them all walks the folder.

    The walk leaves out hidden folders and installed packages, follows no links to folders, and ends at 20,000 files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._all: tuple[str, ...] | None = None

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and (self.root / name).is_file()
        except (OSError, ValueError):
            return False

    def __iter__(self) -> Iterator[str]:
        if self._all is None:
            self._all = tuple(self._walk())
        return iter(self._all)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @classmethod
    def _from_iterable(cls, names: object) -> frozenset[str]:  # type: ignore[override]
        """Return what set operations give: they lose the folder."""
        return frozenset(names)  # type: ignore[call-overload,no-any-return]

    def _walk(self) -> Iterator[str]:
        folders, count = deque([""]), 0
        while folders and count < _MAX_FILES:
            folder = folders.popleft()
            try:
                entries = sorted(os.scandir(self.root / folder), key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in entries:
                path = f"{folder}{entry.name}"
                if entry.name.startswith(".") or entry.name in _SKIPPED_FOLDERS:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{path}/")
                elif count < _MAX_FILES:
                    count += 1
                    yield path


def _unknown_executors(project: Project, installed: frozenset[str]) -> Iterator[Diagnostic]:
    for name in project.settings.executors:
        if name not in installed:
            near = did_you_mean(name, installed)
            hint = f"did you mean `{near}`?" if near else f"installed are: {', '.join(sorted(installed))}"
            yield Diagnostic(
                "setting-unknown", f"the settings speak of an executor `{name}`, which is not there", hint=hint
            )

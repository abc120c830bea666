"""What is installed under our entry points: task types, executors and stores, built-ins and everyone else's alike.

Finding plugins reads no more than the entry point files that name us, and importing one waits until it is used.
"""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from autoglm.base.diagnostics import did_you_mean
from autoglm.base.errors import UsageError

TASK_TYPES: Final = "autoglm.task_types"
EXECUTORS: Final = "autoglm.executors"
STORES: Final = "autoglm.stores"
_OURS: Final = "open-autoglm"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point. ``distribution`` is the installed package that it comes from."""

    group: str
    name: str
    target: str
    """``module:attribute``."""
    distribution: str
    rivals: tuple[str, ...] = ()
    """Other packages that claim the same name: then nobody gets it."""

    @property
    def is_built_in(self) -> bool:
        return self.distribution == _OURS and not self.rivals

    def load(self) -> Callable[..., Any]:
        """Import the plugin and return its class (or factory).

        Raises:
            UsageError: ``plugin-duplicate``, naming every claimant, or ``plugin-broken``, naming the package.
        """
        if self.rivals:
            raise UsageError(
                f"{self._what} is claimed by {' and by '.join((self.distribution, *self.rivals))}",
                code="plugin-duplicate",
                hint=f"uninstall one: pip uninstall {self.rivals[0]}",
            )
        entry = importlib.metadata.EntryPoint(self.name, self.target, self.group)
        try:
            loaded = entry.load()
        except (Exception, SystemExit) as error:
            raise self.broken(f"{type(error).__name__}: {error}") from error
        if not callable(loaded):
            raise self.broken(f"{self.target} is not a class or a function")
        return loaded  # type: ignore[no-any-return]

    def broken(self, reason: str) -> UsageError:
        """Return the error for a plugin that is not what its entry point promises."""
        first = reason.strip().splitlines()[0][:300]
        return UsageError(
            f"{self._what} of the package {self.distribution} cannot be loaded: {first}",
            code="plugin-broken",
            hint=f"reinstall it, or uninstall it: pip uninstall {self.distribution}",
        )

    @property
    def _what(self) -> str:
        return f"the {self.group.removeprefix('autoglm.').replace('_', ' ').removesuffix('s')} `{self.name}`"


def load_task_types() -> Mapping[str, Plugin]:
    """Return the installed task types by name; none is imported before its :meth:`Plugin.load`."""
    return _installed(TASK_TYPES)


def load_executors() -> Mapping[str, Plugin]:
    """Return the installed executors by name; none is imported before its :meth:`Plugin.load`."""
    return _installed(EXECUTORS)


def load_stores() -> Mapping[str, Plugin]:
    """Return the installed stores by name; none is imported before its :meth:`Plugin.load`."""
    return _installed(STORES)


def find_plugin(plugins: Mapping[str, Plugin], name: str, what: str) -> Plugin:
    """Return the plugin ``name``; ``what`` it is goes into the error. Raises UsageError ``plugin-unknown``."""
    plugin = plugins.get(name)
    if plugin is None:
        near = did_you_mean(name, plugins)
        hint = f"did you mean `{near}`?" if near else f"installed are: {', '.join(sorted(plugins)) or 'none'}"
        raise UsageError(f"there is no {what} `{name}`", code="plugin-unknown", hint=hint)
    return plugin


def _installed(group: str) -> Mapping[str, Plugin]:
    return _scan(tuple(sys.path)).get(group, {})


@functools.lru_cache(maxsize=4)
def _scan(path: tuple[str, ...]) -> Mapping[str, Mapping[str, Plugin]]:
    """Read the entry points that name us: group → name → plugin.

    Of a package that is found twice on the path the first counts, as for imports.
    """
    found: dict[str, dict[str, Plugin]] = {}
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions(path=list(path)):
        try:
            text = distribution.read_text("entry_points.txt")
        except (OSError, ValueError):
            continue  # a damaged neighbour is not our concern
        if not text or "autoglm." not in text:  # spares parsing everybody else's
            continue
        package = distribution.name or "?"
        if package.lower() in seen:
            continue
        seen.add(package.lower())
        for entry in distribution.entry_points:
            if entry.group in (TASK_TYPES, EXECUTORS, STORES):
                group = found.setdefault(entry.group, {})
                group[entry.name] = _claimed(group.get(entry.name), entry, package)
    return found


def _claimed(first: Plugin | None, entry: importlib.metadata.EntryPoint, package: str) -> Plugin:
    if first is None:
        return Plugin(entry.group, entry.name, entry.value, package)
    rivals = (*first.rivals, package)
    return Plugin(first.group, first.name, first.target, first.distribution, rivals)

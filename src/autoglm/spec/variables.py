"""The variables of a workflow file: inline, from files, and from what the chosen environment adds.

Later ones win, and those of the environment last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autoglm.base.diagnostics import did_you_mean
from autoglm.base.errors import AutoglmError, SpecError
from autoglm.spec.document import read_document
from autoglm.spec.model import Path
from autoglm.spec.tree import shorten
from autoglm.spec.values import Values

ReadFile = Callable[[str], str]
"""Gives a file's text by its name; may raise OSError, ValueError or AutoglmError."""
_RESERVED = ("files", "environments")


class Variables:
    """Reads ``vars``."""

    def __init__(self, values: Values, read_file: ReadFile) -> None:
        self.values = values
        self.read_file = read_file
        self.merged: dict[str, Any] = {}
        self.environments: dict[str, list[tuple[Any, Path]]] = {}
        """What each environment adds, and what holds it."""
        self.environment: str | None = None
        """The one that was chosen, where the file has it."""

    def read(self, written: Any) -> None:
        """Take in what the file says."""
        if isinstance(written, dict) or not isinstance(written, str | list):
            hint = "write `vars: {x: 1}` or `vars: {files: [vars.yaml]}`"
            self._take_mapping(self.values.mapping(written, (), "vars", hint) or {}, ("vars",))
        else:
            self._take(written, (), "vars")

    def choose(self, environment: str | None) -> None:
        """Add what an environment adds; a file that declares none has the same variables in all."""
        if environment is None or not self.environments:
            return
        if environment not in self.environments:
            close = did_you_mean(environment, self.environments)
            listed = ", ".join(self.environments)
            hint = f"did you mean `{close}`?" if close else f"the environments are: {listed}"
            message = f"there is no environment `{shorten(environment)}`"
            path = next(iter(self.environments.values()))[0][1]
            self.values.error("unknown-environment", message, path, key=True, hint=hint)
            return
        self.environment = environment
        for written, path in self.environments[environment]:
            self._take(written, path, environment)

    def _take(self, written: Any, path: Path, key: str | int) -> None:
        """Take in a file's name, a mapping, or a list of both."""
        if isinstance(written, dict):
            self._take_mapping(written, (*path, key))
        elif isinstance(written, list):
            for index, item in enumerate(written):
                if isinstance(item, str | dict):
                    self._take(item, (*path, key), index)
                else:
                    self.values.wrong(item, (*path, key), index, "a file's name or a mapping")
        elif isinstance(written, str):
            self.merged.update(self._file(written, path, key))
        else:
            self.values.wrong(written, path, key, "a file's name, a mapping of variables, or a list of both")

    def _take_mapping(self, mapping: dict[str, Any], path: Path) -> None:
        files = mapping.get("files", [])
        if isinstance(files, str):
            self.merged.update(self._file(files, path, "files"))
        elif isinstance(files, list):
            for index, name in enumerate(files):
                self.merged.update(self._file(name, (*path, "files"), index))
        else:
            self.values.wrong(files, path, "files", "a file's name or a list of them")
        self.merged.update({name: value for name, value in mapping.items() if name not in _RESERVED})
        if "environments" in mapping:
            hint = "write `environments: {prod: vars.prod.yaml}`"
            named = self.values.mapping(mapping["environments"], path, "environments", hint) or {}
            for name, written in named.items():
                self.environments.setdefault(name, []).append((written, (*path, "environments")))

    def _file(self, name: Any, path: Path, key: str | int) -> dict[str, Any]:
        values = self.values
        file = values.filled_text(name, path, key)
        if file is None:
            return {}
        where = (*path, key)
        try:
            document = read_document(self.read_file(file), file)
        except SpecError as error:
            values.diagnostics.extend(error.diagnostics)
            return {}
        except (OSError, ValueError, AutoglmError) as error:
            hint = getattr(error, "hint", None) or "name a YAML or JSON file, relative to the project's folder"
            reason = getattr(error, "strerror", None) or str(error)
            message = f"the file `{shorten(file)}` cannot be read: {shorten(reason, 200)}"
            values.error("vars-file", message, where, hint=hint)
            return {}
        if isinstance(document.data, dict):
            return document.data
        values.error("vars-file", f"`{shorten(file)}` holds a list, and variables need a mapping", where)
        return {}

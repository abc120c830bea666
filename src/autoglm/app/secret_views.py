"""A project's secrets as templates and model calls see them: whatever is read is noted for redaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autoglm.base.errors import TaskError
from autoglm.base.redaction import Redactor, Secret
from autoglm.config.project import Project
from autoglm.spec.expressions import ExpressionError


class SecretView(Mapping[str, Any]):
    """``secrets`` as templates see it: every value that is read is noted for redaction."""

    def __init__(self, project: Project, redactor: Redactor) -> None:
        self._secrets = project.secrets
        self._redactor = redactor

    def __getitem__(self, name: str) -> Secret:
        try:
            value = self._secrets[name]
        except TaskError as error:
            raise ExpressionError(error.message, code=error.code, hint=error.hint) from None
        self._redactor.add(value)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def __len__(self) -> int:
        return len(self._secrets)


class Environment(Mapping[str, str]):
    """Where model keys are looked up: the process environment, then the project's ``.env``."""

    def __init__(self, project: Project, redactor: Redactor) -> None:
        self._secrets = project.secrets
        self._environ = project.environ
        self._redactor = redactor

    def __getitem__(self, name: str) -> str:
        if name not in self._secrets:
            raise KeyError(name)
        value = self._secrets[name]
        if name.upper().endswith(("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")):
            self._redactor.add(value)
        return str(value)

    def __iter__(self) -> Iterator[str]:
        return iter({*self._environ, *self._secrets})

    def __len__(self) -> int:
        return len(set(self))

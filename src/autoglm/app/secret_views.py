"""A project's secrets as templates and model calls see them: whatever is read is noted for redaction."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from autoglm.base.errors import TaskError
from autoglm.base.redaction import Redactor, Secret
from autoglm.config.project import Project
from autoglm.spec.expressions import ExpressionError
from autoglm.spec.given import as_secret, default_of

if TYPE_CHECKING:
    from autoglm.engine.machine import Run


_SENSITIVE: Final = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
_NAMED: Final = re.compile(r"\bsecrets(?:\.(\w+)|\[\\?[\"']([\w-]+))")
INPUT_PREFIX: Final = "AUTOGLM_INPUT_"
"""What a variable is called that gives a secret input again, before the input's name."""


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


def known_secrets(project: Project, run: Run) -> Redactor:
    """Return what hides the secrets that may come up in a run which nobody drives.

    Those are the project's own, those that the run's workflow names, its keys for models, and its secret inputs as far
    as their defaults or the environment give them. Raises TaskError when ``.env`` cannot be read.
    """
    redactor = Redactor()
    workflow = run.graph.workflow
    text = workflow.model_dump_json(by_alias=True) if run.reads_secrets() else ""
    named = {one or other for one, other in _NAMED.findall(text)}
    for name in {*project.secrets, *named}:
        redactor.add(project.secrets.get(name, ""))
    for name, value in project.environ.items():
        if name.upper().endswith(_SENSITIVE):
            redactor.add(value)
    for name in run.created.secret_inputs if run.created is not None else ():
        redactor.add(project.environ.get(INPUT_PREFIX + name.upper(), ""))
    redactor.add_all([*secret_defaults(run).values()])
    for callee in run.graph.callees.values():
        redactor.add_all([default_of(spec) for spec in callee.workflow.inputs.values()])
    return redactor


def secret_defaults(run: Run) -> dict[str, Secret]:
    """Return the secret inputs of a run that were not given, as its definition has them."""
    names = run.created.secret_defaults if run.created is not None else ()
    inputs = run.graph.workflow.inputs
    return {name: as_secret(inputs[name].default) for name in names if name in inputs}


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
        if name.upper().endswith(_SENSITIVE):
            self._redactor.add(value)
        return str(value)

    def __iter__(self) -> Iterator[str]:
        return iter({*self._environ, *self._secrets})

    def __len__(self) -> int:
        return len(set(self))

"""The project's settings: ``autoglm.yaml`` at its root, with scalars overridden by ``AUTOGLM_<SETTING>``.

Every setting is described, with an example, in ``docs/settings.md``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, JsonValue, ValidationError

from autoglm.base.diagnostics import Diagnostic, Place, did_you_mean, sort_diagnostics
from autoglm.base.errors import SpecError
from autoglm.spec.model import Budget, Durability, McpServer, Model, ModelLimits, ModelSpec, Retry, Seconds

if TYPE_CHECKING:
    from autoglm.spec.document import Document

FILE_NAME: Final = "autoglm.yaml"
DEFAULT_STORE: Final = ".autoglm/autoglm.db"
OVERRIDABLE: Final = ("store", "durability", "max_parallel", "retention", "environment")
"""Settings that ``AUTOGLM_STORE``, ``AUTOGLM_DURABILITY`` … override."""

_COMMENTS_ONLY: Final = re.compile(r"\ufeff?(?:\s*(?:#[^\n]*)?(?:\n|$))*")
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://")


def _variable_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"{name!r} is not the name of an environment variable")
    return name


def _day_budget(budget: Budget) -> Budget:
    if budget.wall_time is not None:
        raise ValueError("a day's budget has no `wall_time`")
    if budget.tokens is budget.cost is budget.calls is None:
        raise ValueError("it says nothing: give `tokens`, `cost` or `calls`")
    return budget


class ExecutorSettings(Model):
    """One executor's settings."""

    limit: int = Field(ge=1)
    """How many attempts it runs at once, over all tasks of a run."""


class SecretsSettings(Model):
    """Where secrets come from, besides the environment."""

    file: str | None = ".env"
    """A file of ``NAME=value`` lines, relative to the project root; null for none."""


class TelemetrySettings(Model):
    """To whom runs are told of in OpenTelemetry's terms. Addresses are in the standard ``OTEL_*`` variables."""

    exporter: Literal["otlp", "console", "none"] | None = None
    """Default: ``otlp`` when ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set, else nobody is told."""
    content: bool = False
    """Whether spans of model calls hold prompts and answers."""


class PriceSettings(Model):
    """What a million tokens of one model cost, in US dollars."""

    input: float = Field(ge=0)
    output: float = Field(default=0.0, ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    """Input out of the provider's own cache; as much as other input when it is not given."""


class TaskDefaults(Model):
    """What tasks get that do not say otherwise, in their own fields or in their file's ``defaults``."""

    retry: Retry | None = None
    timeout: Seconds | None = None
    model: str | None = None
    """For task types that call a model."""

    def as_fields(self) -> dict[str, Any]:
        """Return the defaults that were given, as task fields of a workflow file."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


class Settings(Model):
    """Everything that ``autoglm.yaml`` may say."""

    models: dict[str, ModelSpec] = Field(default_factory=dict)
    env: tuple[Annotated[str, AfterValidator(_variable_name)], ...] = ()
    """Environment variables that templates may read as ``env.NAME``."""
    config: dict[str, JsonValue] = Field(default_factory=dict)
    """What templates read as ``config.NAME`` and handlers as ``ctx.config``."""
    store: str = Field(default=DEFAULT_STORE, min_length=1)
    """Path of a SQLite file, ``memory``, or ``NAME://…`` for the store plugin NAME."""
    durability: Durability = Durability.FULL
    environment: str | None = Field(default=None, min_length=1)
    """Which of the ``environments`` of a file's ``vars`` holds, unless the call says."""
    max_parallel: int | None = Field(default=None, ge=1)
    executors: dict[str, ExecutorSettings] = Field(default_factory=dict)
    secrets: SecretsSettings = Field(default_factory=SecretsSettings)
    retention: Seconds | None = 30 * 86400.0
    """Age of ended runs that ``autoglm prune`` deletes; null keeps all."""
    defaults: TaskDefaults = Field(default_factory=TaskDefaults)
    mcp: dict[str, McpServer] = Field(default_factory=dict)
    """MCP servers whose tools agents may call."""
    prices: dict[str, PriceSettings] = Field(default_factory=dict)
    """By the name of a model, ``provider/model``, or what the server calls it; before the shipped ones."""
    budgets: dict[str, Annotated[Budget, AfterValidator(_day_budget)]] = Field(default_factory=dict)
    """What all runs of a namespace together may use on a day (UTC); ``*`` is any other namespace."""
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)

    @property
    def store_plugin(self) -> str:
        """Name of the store plugin that ``store`` asks for."""
        if self.store == "memory":
            return "memory"
        scheme = _SCHEME.match(self.store)
        return scheme[1] if scheme else "sqlite"

    @property
    def executor_limits(self) -> dict[str, int]:
        """How many attempts each executor runs at once: the defaults for this machine, with ``executors`` over them."""
        cores = _core_count()
        limits = {"inline": 1000, "thread": 64, "subprocess": max(4, 2 * cores), "process": cores}
        return limits | {name: executor.limit for name, executor in self.executors.items()}


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings of the file ``path`` (None: of no file) with overrides from ``environ``.

    Raises:
        SpecError: the file cannot be read or says what no setting may, with every problem found.
    """
    text = _read(path) if path is not None else ""
    if path is None or _COMMENTS_ONLY.fullmatch(text):
        return _with_overrides({}, None, environ)
    from autoglm.spec.document import read_document  # loads the YAML reader, which a project without settings needs not

    document = read_document(text, str(path))
    if not isinstance(document.data, dict):
        what = "settings are a mapping of names to values, not a list"
        raise SpecError([document.diagnostic("setting-invalid", what, (), hint="write `store: …`, `models: …` …")])
    return _with_overrides(document.data, document, environ)


def _with_overrides(data: dict[str, Any], document: Document | None, environ: Mapping[str, str]) -> Settings:
    overrides = {name: environ[_variable(name)] for name in OVERRIDABLE if environ.get(_variable(name))}
    if not data and not overrides:
        return Settings.model_construct()  # nothing to check, and no validators to build for it
    try:
        settings = Settings.model_validate({**data, **overrides})
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        diagnostics = [_diagnosed(each["loc"], each["type"], each["msg"], document, overrides) for each in problems]
    else:
        diagnostics = [
            _literal_key(name, document)
            for name, model in settings.models.items()
            if document is not None and model.api_key is not None and "{{" not in model.api_key
        ]
        if not diagnostics:
            return settings
    raise SpecError(sort_diagnostics(diagnostics))


def _diagnosed(
    loc: tuple[int | str, ...], kind: str, reason: str, document: Document | None, overrides: Mapping[str, str]
) -> Diagnostic:
    name = ".".join(str(part) for part in loc)
    sentence = reason.removeprefix("Value error, ")
    sentence = sentence[:1].lower() + sentence[1:]
    if document is None or loc[0] in overrides:
        message = f"the environment variable {_variable(str(loc[0]))} is no value for `{name}`: {sentence}"
        return Diagnostic("setting-invalid", message)
    if kind == "extra_forbidden":
        known = _known_names(loc[:-1])
        near = did_you_mean(str(loc[-1]), known)
        hint = f"did you mean `{near}`?" if near else f"known here: {', '.join(sorted(known))}"
        where = f" of `{'.'.join(map(str, loc[:-1]))}`" if len(loc) > 1 else ""
        return document.diagnostic("setting-unknown", f"`{loc[-1]}` is not a setting{where}", loc, key=True, hint=hint)
    hint = f"see `{loc[0]}` in docs/settings.md"
    return document.diagnostic("setting-invalid", f"`{name}` is wrong: {sentence}", loc, hint=hint)


def _literal_key(model: str, document: Document) -> Diagnostic:
    # No excerpt: the line holds the key.
    return Diagnostic(
        "setting-literal-key",
        f"the `api_key` of the model `{model}` is written out",
        document.place(("models", model, "api_key")),
        hint='write `api_key: "{{ secrets.MY_KEY }}"`, and the key itself into the environment or .env',
    )


def _known_names(loc: tuple[int | str, ...]) -> Iterable[str]:
    """Return the setting names that may stand at ``loc``."""
    model: type[BaseModel]
    match loc:
        case ("models", _):
            model = ModelSpec
        case ("models", _, "limits"):
            model = ModelLimits
        case ("prices", _):
            model = PriceSettings
        case ("budgets", _):
            model = Budget
        case ("executors", _):
            model = ExecutorSettings
        case ("secrets",):
            model = SecretsSettings
        case ("mcp", _):
            model = McpServer
        case ("telemetry",):
            model = TelemetrySettings
        case ("defaults",):
            model = TaskDefaults
        case ("defaults", "retry"):
            model = Retry
        case _:
            model = Settings
    return model.model_fields


def _read(path: Path) -> str:
    place = Place(str(path), 1, 1, 1, 1)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    hint = "it is a file of UTF-8 text, which the user who runs autoglm may read"
    raise SpecError([Diagnostic("settings-unreadable", f"the settings cannot be read: {reason}", place, hint)])


def _variable(name: str) -> str:
    return f"AUTOGLM_{name.upper()}"


def _core_count() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on Linux
        return os.cpu_count() or 1

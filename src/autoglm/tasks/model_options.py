"""What every task that asks a model may say: which model, with which parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from autoglm.base.diagnostics import Diagnostic
from autoglm.base.errors import TaskError
from autoglm.llm.lint import contradictions
from autoglm.llm.models import known_model, suggest_model
from autoglm.llm.routing import faults, names_in
from autoglm.spec.catalog import Catalog, OptionInfo
from autoglm.spec.model import Task
from autoglm.spec.schema import DURATION

Problem = Diagnostic | tuple[tuple[str | int, ...], Diagnostic]

_OURS: Final = frozenset({"model", "messages", "stream", "n"})
"""What ``parameters`` may not set: the task has other words for it."""
CALL_PARAMETERS: Final = ("temperature", "top_p", "max_tokens", "stop", "seed")
"""Options that are parameters of the call under the same name."""

MODEL_OPTIONS: Final = (
    OptionInfo(
        "model",
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "object", "required": ["split"]},
            ],
            "description": "a name under `models:`, a built-in one, or `ollama/qwen3`; of a list, the first to answer",
        },
    ),
    OptionInfo("temperature", {"type": "number", "minimum": 0}),
    OptionInfo("top_p", {"type": "number", "minimum": 0, "maximum": 1}),
    OptionInfo("max_tokens", {"type": "integer", "minimum": 1}),
    OptionInfo("stop", {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
    OptionInfo("seed", {"type": "integer"}),
    OptionInfo("parameters", {"type": "object", "description": "whatever else the server takes, passed on as it is"}),
    OptionInfo(
        "execution",
        {"enum": ["online", "batch"], "description": "`batch`: through the provider's batch API, later and cheaper"},
    ),
    OptionInfo(
        "batch",
        {
            "type": "object",
            "properties": {
                "gather": DURATION,
                "poll": DURATION,
                "deadline": DURATION,
                "calls": {"type": "integer", "minimum": 1},
            },
            "additionalProperties": False,
            "description": "how calls are batched: gathered for so long, looked after so often, given up after so "
            "long, and so many in one batch at most",
        },
    ),
    OptionInfo(
        "corrections",
        {"type": "integer", "minimum": 0, "description": "how often an answer that does not fit is sent back (2)"},
    ),
)
T = TypeVar("T", bound="ModelOptions")


class ModelOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The options of one attempt, rendered; numbers may come as text out of a template."""

    model: str | list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    parameters: dict[str, Any] | None = None
    execution: str | None = None
    batch: dict[str, Any] | None = None
    corrections: int | None = None

    def call_parameters(self) -> dict[str, Any]:
        """Return what the server is told besides model and messages."""
        found = {name: value for name in CALL_PARAMETERS if (value := getattr(self, name)) is not None}
        return {**found, **self.parameters} if self.parameters else found

    @property
    def models(self) -> list[str | None]:
        """The models to ask, the first one first; None stands for the default."""
        return [self.model] if self.model is None or isinstance(self.model, str) else [*self.model]


def read_options(kind: type[T], rendered: Mapping[str, Any]) -> T:
    """Return the options of an attempt. Raises TaskError ``llm-option-invalid``."""
    try:
        options = msgspec.convert(dict(rendered), kind, strict=False)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at ")
        name = place.strip("`").removeprefix("$.")
        of = f"`{name}`" if name else "an option of the task"
        raise invalid_option(f"{of} has the wrong form: {said[:1].lower()}{said[1:]}") from None
    if options.parameters:
        for name in sorted(_OURS & options.parameters.keys()):
            raise invalid_option(_reserved(name))
    if options.model == []:
        raise invalid_option("`model` is an empty list")
    return options


def check_model_options(task: Task, catalog: Catalog) -> Iterable[Problem]:
    """Yield what is wrong with the options that all model tasks share, as far as they are no templates."""
    model = task.options.get("model")
    # Declared names are checked with the file, which knows its own; what a prefix may be is known here.
    for path, name in names_in(model):
        if "/" in name and "{{" not in name and not known_model(name, {}, catalog.models):
            hint = suggest_model(name, {}, catalog.models)
            yield ("model", *path), Diagnostic("unknown-model", f"there is no model `{name}`", hint=hint)
    kind = catalog.task_types.get(task.type)
    for fault in faults(model, tuple(kind.options) if kind is not None else ()):
        yield ("model", *fault.path), Diagnostic("model-split-invalid", fault.message, hint=fault.hint)
    parameters = task.options.get("parameters")
    if isinstance(parameters, dict):
        for name in sorted(_OURS & parameters.keys()):
            yield ("parameters", name), Diagnostic("llm-option-invalid", _reserved(name))
    yield from check_schema(task.output_schema, ("output_schema",))


def check_schema(schema: Any, path: tuple[str | int, ...]) -> Iterable[Problem]:
    """Yield where a schema asks for what no answer can be: it would be paid for again and again."""
    for inner, sentence in contradictions(schema):
        hint = "no answer can fit it; mend the schema before a model is asked"
        yield (
            (*path, *inner),
            Diagnostic("schema-impossible", f"the schema asks for the impossible: {sentence}", hint=hint),
        )


def is_blank(value: Any) -> bool:
    """Tell whether there is nothing in a text."""
    return value is None or (isinstance(value, str) and not value.strip())


def _reserved(name: str) -> str:
    return f"`parameters` cannot set `{name}`: write `{name}` as an option of the task"


def invalid_option(message: str, hint: str = "see docs/models.md") -> TaskError:
    """Return the failure for an option whose value only shows at run time to be wrong."""
    return TaskError(message, code="llm-option-invalid", retryable=False, hint=hint)

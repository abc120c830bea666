"""``llm_embed``: texts as vectors, many in one call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from autoglm.base.diagnostics import Diagnostic
from autoglm.base.errors import TaskError
from autoglm.llm.models import BUILT_IN
from autoglm.spec.catalog import Catalog, OptionInfo, TaskTypeInfo
from autoglm.spec.model import Task
from autoglm.tasks.caller import Caller
from autoglm.tasks.conversation import as_text
from autoglm.tasks.ladder import embed_part, together
from autoglm.tasks.llm_task import LlmTask
from autoglm.tasks.model_options import MODEL_OPTIONS, ModelOptions, Problem, read_options
from autoglm.tasks.protocol import Attempt

BATCH: Final = 64
"""Texts of one call where nothing else is said; some servers take no more."""
_SHARED: Final = ("model", "parameters")
_OPTIONS: Final = (
    *(option for option in MODEL_OPTIONS if option.name in _SHARED),
    OptionInfo(
        "texts",
        {
            "anyOf": [{"type": "string"}, {"type": "array", "minItems": 1}],
            "description": "a text, or a list of them; what is not text is embedded as JSON",
        },
        required=True,
    ),
    OptionInfo("dimensions", {"type": "integer", "minimum": 1, "description": "the length of a vector"}),
    OptionInfo("batch_size", {"type": "integer", "minimum": 1, "description": "texts of one call (64)"}),
    OptionInfo("batches_at_once", {"type": "integer", "minimum": 1, "description": "calls made at once (4)"}),
)


class _Options(ModelOptions, kw_only=True):
    texts: Any
    dimensions: int | None = None
    batch_size: int = BATCH
    batches_at_once: int = 4


class LlmEmbedTask(LlmTask):
    """Embeds texts."""

    info = TaskTypeInfo(
        name="llm_embed",
        options={option.name: option for option in _OPTIONS},
        executor="inline",
        executors=("inline",),
        caches=True,
        description="turn texts into vectors; the result is a list of them, of one text its vector",
    )

    def check(self, task: Task, catalog: Catalog) -> Iterable[Problem]:
        """Yield what is wrong with the options, as far as they are no templates."""
        yield from super().check(task, catalog)
        model = task.options.get("model")
        if model is None and catalog.models.keys() <= BUILT_IN.keys():  # else the file's only one is the default
            hint = "name one that embeds, such as `openai/text-embedding-3-small` or `ollama/nomic-embed-text`"
            yield Diagnostic("missing-option", f"`{task.name}` names no `model`", hint=hint)
        texts = task.options.get("texts")
        for at, text in enumerate(texts if isinstance(texts, list) else [texts]):
            if isinstance(text, str) and not text.strip():
                path = ("texts", at) if isinstance(texts, list) else ("texts",)
                yield path, Diagnostic("prompt-empty", "this text is empty", hint="servers refuse empty texts")

    async def answer(self, caller: Caller, attempt: Attempt) -> Any:
        """Return the vectors in the order of the texts; of a single text its vector."""
        options = read_options(_Options, attempt.options)
        written = options.texts if isinstance(options.texts, list) else [options.texts]
        texts = [as_text(text) for text in written]
        empty = next((at for at, text in enumerate(texts) if not text.strip()), None)
        if empty is not None:
            raise TaskError(
                f"text {empty + 1} of {len(texts)} is empty",
                code="prompt-empty",
                retryable=False,
                hint="leave empty texts out before they are embedded: servers refuse them",
            )
        parameters = options.parameters or {}
        if options.dimensions is not None:
            parameters = {**parameters, "dimensions": options.dimensions}
        starts = range(0, len(texts), options.batch_size)
        parts = await together(
            [
                embed_part(
                    caller, attempt, options.models, texts[at : at + options.batch_size], parameters, f"batch-{at}"
                )
                for at in starts
            ],
            options.batches_at_once,
        )
        vectors = [vector for part in parts for vector in part]
        return vectors if isinstance(options.texts, list) else vectors[0]

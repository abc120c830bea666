"""``decision``: what a trained or a language model says, for the engine to decide on.

A decision by rules alone never comes here. What comes back is the model's answer; the rules, the branches and what is
recorded are the engine's (``engine/decisions.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from autoglm.base.diagnostics import Diagnostic
from autoglm.base.errors import TaskError
from autoglm.executors.protocol import Call
from autoglm.spec.catalog import Catalog, OptionInfo, TaskTypeInfo
from autoglm.spec.faults import kind_of
from autoglm.spec.model import Task
from autoglm.tasks.classifiers import Classifiers
from autoglm.tasks.llm_generate import LlmGenerateTask
from autoglm.tasks.protocol import Attempt, TaskType

_RULES: Final = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"rule": {"type": ["string", "boolean"]}, "action": {"type": "string"}},
        "required": ["rule", "action"],
        "additionalProperties": False,
    },
    "description": "Rules in order, each with the task or function that follows when it is true.",
}
_LABELS: Final = {
    "anyOf": [
        {"type": "array", "minItems": 2, "items": {"type": "string"}},
        {"type": "object", "minProperties": 2, "additionalProperties": {"type": "string"}},
    ],
    "description": "What the language model may answer: tasks, or labels with the task that follows each.",
}
_OPTIONS: Final = (
    OptionInfo("conditions", _RULES, templated=False),
    OptionInfo(
        "default",
        {"type": "string", "description": "The task or function that follows when no rule is true."},
        templated=False,
    ),
    OptionInfo(
        "mode",
        {"enum": ["first", "all"], "description": "Follow the first true rule (the default), or all of them."},
        templated=False,
    ),
    OptionInfo(
        "model",
        {"type": "string", "description": "A trained model, `.skops` or `.onnx`, whose `prediction` the rules read."},
        templated=False,
    ),
    OptionInfo("features", {"type": ["array", "object"], "description": "What the trained model is given."}),
    OptionInfo(
        "trusted",
        {"type": "array", "items": {"type": "string"}, "description": "Further types that a `.skops` file may hold."},
        templated=False,
    ),
    OptionInfo(
        "llm", {"type": ["string", "object"], "description": "A language model that picks one of the `branches`."}
    ),
    OptionInfo("branches", _LABELS, templated=False),
    OptionInfo("prompt", {"description": "What the language model must judge."}),
    OptionInfo("prompt_template", {"type": "string", "description": "The same, with the task's `with` as variables."}),
    OptionInfo("system", {"type": "string", "description": "The system message."}),
    OptionInfo(
        "min_confidence",
        {"type": "number", "minimum": 0, "maximum": 1, "description": "Below it, `fallback` follows."},
        templated=False,
    ),
    OptionInfo(
        "fallback",
        {"type": "string", "description": "What follows when the language model is not sure enough."},
        templated=False,
    ),
)
_ASK: Final = (
    "Decide. Answer with one label, exactly as it is written here: {labels}. "
    "`confidence` says how sure you are, from 0 (a guess) to 1 (certain)."
)


class DecisionTask:
    """Decides which tasks follow: by rules, by what a trained model predicts, or by a language model's choice."""

    info = TaskTypeInfo(
        name="decision",
        options={option.name: option for option in _OPTIONS},
        signature_keys=("conditions",),
        executor="inline",
        executors=("inline", "thread"),
        description="Choose which tasks follow: by rules, by a trained model, or by a language model.",
    )

    def __init__(self) -> None:
        self._classifiers = Classifiers()
        self._llm: TaskType = LlmGenerateTask()

    def check(self, task: Task, catalog: Catalog) -> Iterable[Diagnostic]:
        """Yield nothing: all of a decision is checked where the file is read."""
        return ()

    async def run(self, attempt: Attempt) -> Any:
        """Return ``{prediction, probability, probabilities}``, or ``{label, confidence}``. Raises TaskError."""
        if "model" in attempt.options:
            return await attempt.execute(Call(self._predict, {"options": attempt.options, "root": attempt.root}))
        attempt.output_schema = _schema(tuple(str(label) for label in attempt.options["branches"]))
        attempt.options = _question(attempt.options)
        return await self._llm.run(attempt)

    async def close(self) -> None:
        """Close the connections to models. Idempotent."""
        await self._llm.close()

    def _predict(self, options: Mapping[str, Any], root: Path) -> Any:
        trusted = tuple(options.get("trusted") or ())
        classifier = self._classifiers.get(root / str(options["model"]), str(options["model"]), trusted)
        features = options.get("features")
        if not isinstance(features, list | dict) or not features:
            given = "an empty one" if isinstance(features, list | dict) else kind_of(features)
            raise TaskError(
                f"`features` must give a list or a mapping, and gives {given}",
                code="features-invalid",
                retryable=False,
                hint="look at what the templates in it refer to",
            )
        return classifier.predict(features)


def _question(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the model call that asks for a label."""
    llm = options["llm"]
    asked: dict[str, Any] = dict(llm) if isinstance(llm, Mapping) else {"model": llm}
    labels = [str(label) for label in options["branches"]]
    demand = _ASK.format(labels=", ".join(f"`{label}`" for label in labels))
    system = options.get("system")
    asked["system"] = f"{system}\n\n{demand}" if system else demand
    asked |= {name: options[name] for name in ("prompt", "prompt_template") if name in options}
    return asked


@lru_cache(maxsize=256)
def _schema(labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the schema of an answer: one and the same for all calls of a loop, so that it is compiled once."""
    return {
        "type": "object",
        "properties": {
            "label": {"type": "string", "enum": list(labels)},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        },
        "required": ["label", "confidence"],
        "additionalProperties": False,
    }

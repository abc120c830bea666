"""The options of a ``decision`` task: who decides, by what rules, and what each answer leads to."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, Final

from autoglm.spec.model import Path, Task
from autoglm.spec.tree import shorten
from autoglm.spec.values import Values, describe, is_template

RULES: Final = ("conditions", "default", "mode")
MODEL: Final = ("model", "features", "trusted")
LLM: Final = ("llm", "prompt", "prompt_template", "system", "branches", "min_confidence", "fallback")
OPTIONS: dict[str, Any] = dict.fromkeys((*RULES, *MODEL, *LLM))
TEMPLATED: Final = ("features", "llm", "prompt", "prompt_template", "system")
"""Options whose texts may be templates."""
PREDICTED: Final = frozenset({"prediction", "probability", "probabilities"})
"""What rules may read of a trained model's answer."""
_RULE_FIELDS = ("rule", "action")
_LLM_FIELDS = ("model", "temperature", "top_p", "max_tokens", "stop", "seed", "parameters")
_PICKLED = (".pkl", ".pickle", ".joblib", ".pt", ".pth")


def worked_options(task: Task) -> dict[str, Any]:
    """Return the options that an attempt of the task is given: of a decision, those that its rules do not need."""
    if task.type != "decision":
        return task.options
    if "model" not in task.options and "llm" not in task.options:
        return {}
    return {name: value for name, value in task.options.items() if name not in RULES}


def decision_actions(task: Task) -> Iterator[tuple[str, Path]]:
    """Yield the targets that a decision may choose, and where they stand."""
    return actions_in(task.options)


def actions_in(options: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield the same from a decision's options, which need not be right."""
    conditions = options.get("conditions")
    for number, condition in enumerate(conditions if isinstance(conditions, list) else ()):
        action = condition.get("action") if isinstance(condition, dict) else None
        if isinstance(action, str):
            yield action, ("options", "conditions", number, "action")
    if "branches" in options:
        labels = options["branches"]
        listed = labels if isinstance(labels, list) else ()
        for key, action in labels.items() if isinstance(labels, dict) else enumerate(listed):
            if isinstance(action, str):
                yield action, ("options", "branches", key)
    for name in ("default", "fallback"):
        if name in options and isinstance(action := options[name], str):
            yield action, ("options", name)


def has_called(tasks: Iterable[Task], functions: Container[str]) -> bool:
    """Return whether a decision among the tasks, or within them, names a function."""
    return any(
        (task.type == "decision" and any(action in functions for action, _ in decision_actions(task)))
        or has_called(task.tasks, functions)
        for task in tasks
    )


def with_called_functions(tasks: Iterable[Task], functions: Container[str]) -> Iterator[Task]:
    """Yield the tasks of a scope, and after each decision those that call the functions it names as actions."""
    tasks = tuple(tasks)
    known = {task.name for task in tasks}
    for task in tasks:
        yield task
        if task.type != "decision":
            continue
        for action, _ in decision_actions(task):
            if action not in known and action in functions:
                known.add(action)
                yield Task.model_construct(
                    name=action, type="function", options={"handler": action}, source=task.source
                )


def with_all_called_functions(tasks: Iterable[Task], functions: Container[str]) -> tuple[Task, ...]:
    """Return the same for a scope and all scopes in it."""
    return tuple(
        task.model_copy(update={"tasks": with_all_called_functions(task.tasks, functions)}) if task.tasks else task
        for task in with_called_functions(tasks, functions)
    )


def check(values: Values, options: dict[str, Any], path: Path, body: dict[str, Any]) -> None:
    """Report what is wrong with a decision."""
    reader = _Reader(values, options, path, body)
    if "llm" in options:
        reader.by_language_model()
    else:
        if "model" in options:
            reader.by_trained_model()
        reader.stray(LLM, "a decision by a language model", "add `llm: NAME`")
        reader.rules()


class _Reader:
    """Checks one decision's options, wherever they stand: flat, or in ``with``."""

    def __init__(self, values: Values, options: dict[str, Any], path: Path, body: dict[str, Any]) -> None:
        self.values = values
        self.options = options
        self.path = path
        self.body = body

    def at(self, name: str) -> Path:
        """Return the path of what holds an option."""
        inside = self.body.get("with")
        is_inside = name not in self.body and isinstance(inside, dict) and name in inside
        return (*self.path, "with") if is_inside else self.path

    def error(self, code: str, message: str, name: str, hint: str | None = None, *, key: bool = False) -> None:
        self.values.error(code, message, (*self.at(name), name), hint=hint, key=key)

    def wrong(self, name: str, expected: str, hint: str | None = None) -> None:
        self.values.wrong(self.options[name], self.at(name), name, expected, hint)

    # ----------------------------------------------------------------------------------------------------- rules

    def rules(self) -> None:
        options, values = self.options, self.values
        if "model" not in options:
            self.stray(MODEL, "a decision by a trained model", "add `model: FILE.skops`")
        conditions = options.get("conditions")
        if "conditions" not in options:
            hint = "add `conditions: [{rule: EXPRESSION, action: TASK}]`"
            values.error("no-conditions", "this decision has no `conditions`", self.path, hint=hint)
        elif not isinstance(conditions, list) or not conditions:
            self.wrong("conditions", "a list of `{rule: EXPRESSION, action: TASK}`")
        else:
            for index, condition in enumerate(conditions):
                _check_condition(values, condition, (*self.at("conditions"), "conditions", index))
            self._one_default(conditions)
        if options.get("default") is not None:
            values.filled_text(options["default"], self.at("default"), "default")
        if options.get("mode", "first") not in ("first", "all"):
            self.wrong("mode", "`first` or `all`")

    def _one_default(self, conditions: list[Any]) -> None:
        """Report what follows in any case twice: a rule that is always true is a default."""
        always = [
            number for number, each in enumerate(conditions) if isinstance(each, dict) and _is_true(each.get("rule"))
        ]
        if not always:
            return
        place = (*self.at("conditions"), "conditions", always[-1], "rule")
        if self.options.get("default") is not None:
            message = "this rule is always true, so `default` is never taken: the decision has two defaults"
            self.values.error("two-defaults", message, place, hint="remove one of them")
        elif len(always) > 1 and self.options.get("mode", "first") == "first":
            message = "a rule before this one is always true too: the decision has two defaults"
            self.values.error("two-defaults", message, place, hint="remove one of them")

    def stray(self, names: tuple[str, ...], where: str, hint: str) -> None:
        """Report options that belong to another way of deciding."""
        for name in names:
            if name in self.options:
                self.error("decision-option", f"`{name}` belongs to {where}", name, f"{hint}, or remove it", key=True)

    # ---------------------------------------------------------------------------------------------------- models

    def by_trained_model(self) -> None:
        file = self.options["model"]
        if not isinstance(file, str) or not file.strip() or is_template(file):
            self.wrong("model", "the path of a `.skops` or `.onnx` file")
        elif file.lower().endswith(_PICKLED):
            message = f"`{shorten(file)}` is a pickle: whoever opens one runs whatever code is in it, so none is opened"
            hint = "save the model with `skops.io.dump(model, 'model.skops')`, or convert it to ONNX"
            self.error("model-file-pickle", message, "model", hint)
        elif not file.lower().endswith((".skops", ".onnx")):
            message = f"`{shorten(file)}` is no model file that is known here"
            hint = (
                "a scikit-learn model saved by skops (`.skops`), or an ONNX model (`.onnx`); a language model is `llm:`"
            )
            self.error("model-file-unsupported", message, "model", hint)
        features = self.options.get("features")
        if "features" not in self.options:
            hint = 'add `features: ["{{ … }}"]`, or a mapping by the features\' names'
            self.values.error("missing-key", "a decision by a model has no `features`", self.path, hint=hint)
        elif not is_template(features) and not (isinstance(features, list | dict) and features):
            self.wrong("features", "a list of values, or a mapping from the features' names to values")
        trusted = self.options.get("trusted")
        if trusted is not None and not (isinstance(trusted, list) and all(isinstance(each, str) for each in trusted)):
            self.wrong("trusted", "a list of types such as `my_package.MyModel`")

    def by_language_model(self) -> None:
        self.stray(
            ("conditions", "default", "mode"), "a decision by rules", "with `llm` the model picks: use `branches`"
        )
        self.stray(MODEL, "a decision by a trained model", "keep either `llm` or `model`")
        llm = self.options["llm"]
        if isinstance(llm, dict):
            self.values.check_keys(llm, (*self.at("llm"), "llm"), _LLM_FIELDS, "`llm`")
        elif not isinstance(llm, str) or not llm.strip():
            self.wrong("llm", "the name of a model, or `{model: NAME, temperature: 0}`")
        self._labels()
        asked = [name for name in ("prompt", "prompt_template") if name in self.options]
        if len(asked) != 1:
            said = "both `prompt` and `prompt_template`" if asked else "no `prompt`"
            hint = "keep one of them" if asked else "add `prompt:` with what the model must judge"
            self.values.error("prompt-missing", f"this decision has {said}", self.path, hint=hint)
        floor = self.options.get("min_confidence")
        if floor is not None and not (
            isinstance(floor, int | float) and not isinstance(floor, bool) and 0 <= floor <= 1
        ):
            self.wrong("min_confidence", "a number from 0 to 1")
        if self.options.get("fallback") is not None:
            self.values.filled_text(self.options["fallback"], self.at("fallback"), "fallback")
            if floor is None:
                message = "`fallback` is taken below `min_confidence`, and there is none"
                self.error("decision-option", message, "fallback", "add `min_confidence: 0.8`", key=True)

    def _labels(self) -> None:
        labels = self.options.get("branches")
        if "branches" not in self.options:
            hint = "add `branches: [TASK, TASK]`, or `branches: {LABEL: TASK}`"
            self.values.error("missing-key", "a decision by a language model has no `branches`", self.path, hint=hint)
            return
        actions = list(labels.values()) if isinstance(labels, dict) else labels
        if (
            not isinstance(actions, list)
            or len(actions) < 2
            or not all(isinstance(each, str) and each for each in actions)
        ):
            self.wrong("branches", "two labels or more: a list of tasks, or a mapping from label to task")


def _is_true(rule: Any) -> bool:
    return rule is True or (isinstance(rule, str) and rule.strip() == "true")


def _check_condition(values: Values, condition: Any, path: Path) -> None:
    if not isinstance(condition, dict):
        message = (
            f"a condition must be a mapping `{{rule: EXPRESSION, action: TASK}}`, but this is {describe(condition)}"
        )
        values.error("wrong-kind", message, path)
        return
    values.check_keys(condition, path, _RULE_FIELDS, "a condition")
    for key in _RULE_FIELDS:
        if key not in condition:
            values.error("missing-key", f"this condition has no `{key}`", path, hint=f"add `{key}: …`")
    if "rule" in condition and not isinstance(condition["rule"], bool):
        values.filled_text(condition["rule"], path, "rule")
    if "action" in condition:
        values.filled_text(condition["action"], path, "action")

"""The options of a ``decision`` task: rules in order, each with the action it picks."""

from __future__ import annotations

from typing import Any

from autoglm.spec.model import Path
from autoglm.spec.values import Values, describe

OPTIONS: dict[str, Any] = dict.fromkeys(("conditions", "default", "mode", "model", "llm"))
_RULE_FIELDS = ("rule", "action")


def check(values: Values, options: dict[str, Any], path: Path, body: dict[str, Any]) -> None:
    """Report what is wrong with a decision's ``conditions``, ``default`` and ``mode``."""
    holder = path if "conditions" in body or not isinstance(body.get("with"), dict) else (*path, "with")
    conditions = options.get("conditions")
    if "conditions" not in options:
        if not options.keys() & {"model", "llm"}:
            hint = "add `conditions: [{rule: EXPRESSION, action: TASK}]`"
            values.error("no-conditions", "this decision has no `conditions`", path, hint=hint)
    elif not isinstance(conditions, list) or not conditions:
        values.wrong(conditions, holder, "conditions", "a list of `{rule: EXPRESSION, action: TASK}`")
    else:
        for index, condition in enumerate(conditions):
            _check_condition(values, condition, (*holder, "conditions", index))
    if options.get("default") is not None:
        values.filled_text(options["default"], holder, "default")
    if options.get("mode", "first") not in ("first", "all"):
        values.wrong(options["mode"], holder, "mode", "`first` or `all`")


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

"""Decisions: the rules in order, the branches that follow, and what it was decided on.

A decision by rules costs no attempt. One by a model has an attempt, whose output the rules then read (a classifier's
prediction), or which is itself the answer (a language model's label). What is recorded is the same for all: the
branches taken, the rules that held, the values that the rules looked at, and the branches not taken. Functions of the
machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from autoglm.base import jsonvalue
from autoglm.base.redaction import redact
from autoglm.engine import messages as m
from autoglm.engine.names import OF_RUN, Names
from autoglm.engine.state import Instance
from autoglm.graph.model import Decider, Node
from autoglm.spec.expressions import UNTOLD, ExpressionError
from autoglm.spec.paths import Scope

if TYPE_CHECKING:
    from autoglm.engine.machine import Run

_encode = msgspec.json.Encoder().encode
_PLAIN: Final = frozenset({int, float, bool, type(None)})
_OPERANDS: Final = 20
"""How many operands are recorded."""
_LONG: Final = 200
"""Characters of an operand; of a longer text only these are recorded, of a larger list or mapping its size."""
_MANY: Final = 20
"""Entries of a list or mapping above which it is not even looked at how long it is."""


class _Outcome(msgspec.Struct):
    """What was decided, as it is recorded."""

    branches: list[str]
    rules: list[str]
    operands: dict[str, Any]
    not_taken: Sequence[str]


def decide(run: Run, instance: Instance) -> None:
    """Decide by rules alone."""
    try:
        outcome = _by_rules(run, instance, None)
    except ExpressionError as error:
        run.fail(instance, run.as_failure(error))
        return
    run.emit(m.TaskSucceeded(instance.id, msgspec.Raw(_encode(outcome))), instance)


def outcome_of(run: Run, instance: Instance, output: Any) -> bytes:
    """Return what a decision comes to whose attempt gave ``output``. Raises ExpressionError."""
    if instance.node.decider is Decider.LLM:
        return jsonvalue.encode(_by_label(instance.node, output))
    given = output if isinstance(output, Mapping) else {"prediction": output}
    own = {name: given.get(name) for name in ("prediction", "probability", "probabilities")}
    return jsonvalue.encode({**msgspec.structs.asdict(_by_rules(run, instance, own)), **own})


def _by_rules(run: Run, instance: Instance, own: Mapping[str, Any] | None) -> _Outcome:
    """Try the rules in order; ``own`` is what a model said, for rules to read."""
    node = instance.node
    names: Names | None = None
    is_plain = own is None and instance.scope is run.root
    branches: list[str] = []
    rules: list[str] = []
    operands: dict[str, Any] = {}
    for rule in node.rules:
        if rule.when is None:
            if branches:
                break
        else:
            if is_plain and rule.when.names <= OF_RUN:
                scope: Scope = run.world.of_run
            else:
                scope = names = names or Names(run.world, instance, own)
            holds, compared = rule.when.weigh(scope)
            if compared is UNTOLD or len(rule.operands) != 1:
                _note(operands, rule.operands, scope)
            elif len(operands) < _OPERANDS:
                operands.setdefault(rule.operands[0][0], compared if type(compared) in _PLAIN else _shortened(compared))
            if not holds:
                continue
        if rule.action not in branches:
            branches.append(rule.action)
        rules.append(rule.source)
        if not node.takes_all:
            break
    not_taken = [action for action in node.targets if action not in branches] if branches else node.targets
    return _Outcome(branches, rules, operands, not_taken)


def _by_label(node: Node, output: Any) -> dict[str, Any]:
    """Follow the label that a language model gave, or the fallback when it was not sure enough."""
    options = node.task.options
    label = output.get("label") if isinstance(output, Mapping) else None
    confidence = output.get("confidence") if isinstance(output, Mapping) else None
    labels = label_actions(options.get("branches"))
    action = labels.get(str(label))
    floor = options.get("min_confidence")
    rule = f"label == {label}"
    if isinstance(floor, int | float) and not (isinstance(confidence, int | float) and confidence >= floor):
        fallback = options.get("fallback")
        if fallback is None:
            message = f"the model is {confidence} sure of `{label}`, and {floor} is the least (`min_confidence`)"
            hint = "write `fallback: BRANCH` for what follows then"
            raise ExpressionError(message, code="decision-unsure", hint=hint)
        action, rule = str(fallback), f"confidence < {floor}"
    if action is None:
        message = f"the model answered `{label}`, which is not one of the labels"
        raise ExpressionError(message, code="decision-unsure", hint=f"the labels are: {', '.join(labels)}")
    said = {"label": label, "confidence": confidence}
    others = [each for each in node.targets if each != action]
    return {"branches": [action], "rules": [rule], "operands": said, "not_taken": others, **said}


def label_actions(labels: Any) -> dict[str, str]:
    """Return the action of each label: ``branches`` maps labels to actions, or lists those that are both."""
    if isinstance(labels, Mapping):
        return {str(label): str(action) for label, action in labels.items()}
    return {str(label): str(label) for label in labels or ()}


def _note(operands: dict[str, Any], read: tuple[tuple[str, Any], ...], names: Scope) -> None:
    """Note the values of what a rule reads."""
    for name, template in read:
        if name in operands or len(operands) >= _OPERANDS:
            continue
        try:
            value = template.evaluate(names)
            operands[name] = value if type(value) in _PLAIN else _shortened(redact(value))
        except ExpressionError:  # the rule allowed for its being missing
            continue


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _LONG else value[:_LONG] + "…"
    if isinstance(value, list | dict):
        what = "a list" if isinstance(value, list) else "a mapping"
        if len(value) > _MANY or len(jsonvalue.encode(value)) > _LONG:
            return f"{what} of {len(value)}"
    return value

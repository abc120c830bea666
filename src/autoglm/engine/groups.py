"""Scopes that tasks open: a group's, a called workflow's, and that of a choice, in which one task runs of several.

A call sees nothing of what is around it but what its ``with`` gives: its scope has a frame of its own, whose values
follow from the same facts whenever they are asked for. Functions of the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from autoglm.base.diagnostics import did_you_mean
from autoglm.base.errors import Failure
from autoglm.engine import messages as m
from autoglm.engine.state import Frame, Instance
from autoglm.graph.model import Graph, NodeKind, ScopePlan
from autoglm.spec.expressions import ExpressionError
from autoglm.spec.given import bind_inputs

if TYPE_CHECKING:
    from autoglm.engine.machine import Run

MAX_DEPTH: Final = 16
"""How many calls may lie in one another, unless the task says otherwise."""
_SHOWN: Final = 20


def start(run: Run, instance: Instance) -> None:
    """Open the scope of a group, a call or a choice; it fails here when what it needs cannot be had."""
    try:
        if instance.node.kind is NodeKind.CALL:
            _call(run, instance)
        elif instance.node.choose is not None:
            _choose(run, instance)
        else:
            run.emit(m.GroupStarted(instance.id))
    except ExpressionError as error:
        run.fail(instance, run.as_failure(error))


def plan_of(graph: Graph, instance: Instance) -> ScopePlan | None:
    """Return the plan of the scope that an instance opens."""
    callee = graph.callees.get(instance.node.callee or "")
    return callee.plan if callee is not None else instance.node.body


# -------------------------------------------------------------------------------------------------------------- calls


def _call(run: Run, instance: Instance) -> None:
    callee = run.graph.callees[instance.node.callee or ""]
    frame = Frame(callee, instance)
    limit = instance.node.task.options.get("max_depth") or MAX_DEPTH
    if isinstance(limit, int) and frame.depth > limit:
        message = f"{callee.workflow.name} is called {frame.depth} deep, and {limit} is the limit (`max_depth`)"
        hint = "let a `when` end the recursion earlier, or raise `max_depth`"
        run.fail(instance, _refusal("call-too-deep", message, hint))
        return
    inputs, faults = _inputs(run, frame)
    if faults:
        message = f"{callee.workflow.name} cannot be called: {'; '.join(faults)}"
        run.fail(instance, _refusal("bad-inputs", run.scrub(message), None))
        return
    run.emit(m.GroupStarted(instance.id))
    if instance.child is not None and instance.child.frame is not None:
        instance.child.frame.values = _values(run, frame, inputs)


def values_of(run: Run, frame: Frame) -> dict[str, Any]:
    """Return what templates see in a call; worked out when first asked for. Raises ExpressionError."""
    if frame.values is None:
        inputs, faults = _inputs(run, frame)
        if faults:
            raise ExpressionError("; ".join(faults), code="bad-inputs")
        frame.values = _values(run, frame, inputs)
    return frame.values


def _inputs(run: Run, frame: Frame) -> tuple[dict[str, Any], list[str]]:
    given = run.evaluate(frame.owner.node.arguments, frame.owner)
    return bind_inputs(frame.callee.workflow, given)


def _values(run: Run, frame: Frame, inputs: dict[str, Any]) -> dict[str, Any]:
    values = run.world.values
    about = {**values.get("run", {}), "workflow": frame.callee.workflow.name}
    return {**values, "inputs": inputs, "vars": frame.callee.workflow.vars, "run": about}


# ------------------------------------------------------------------------------------------------------------ choices


def _choose(run: Run, instance: Instance) -> None:
    node = instance.node
    if node.choose is None or node.body is None:
        return
    value = run.evaluate(node.choose, instance)
    allowed = [inner.name for inner in node.body.nodes]
    if isinstance(value, str) and value in allowed:
        run.emit(m.GroupStarted(instance.id, value))
        return
    shown = run.scrub(str(value))[:80]
    close = did_you_mean(value, allowed) if isinstance(value, str) else None
    listed = ", ".join(allowed[:_SHOWN]) + (f" and {len(allowed) - _SHOWN} more" if len(allowed) > _SHOWN else "")
    hint = f"did you mean `{close}`? allowed are: {listed}" if close else f"allowed are: {listed}"
    run.fail(instance, _refusal("not-allowed", f"`choose` gives `{shown}`, which is not in `allow`", hint))


def _refusal(code: str, message: str, hint: str | None) -> Failure:
    return Failure(code, message, (code,), retryable=False, hint=hint)

"""Show what a run would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm.base.redaction import MASK
from autoglm.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from autoglm.app.estimating import Estimate, Range
    from autoglm.app.loading import Loaded
    from autoglm.app.planning import Plan, Planned
    from autoglm.base.diagnostics import Diagnostic
    from autoglm.spec.model import InputSpec

_SHOWN_PATH = 20


def plan(
    file: options.File,
    inputs: options.Inputs = None,
    json: options.Json = False,
    environment: options.Environment = None,
) -> int:
    """Show what a run would do; run nothing."""
    import msgspec

    from autoglm.app.accounts import own_prices
    from autoglm.app.estimating import estimate
    from autoglm.app.inputs import check_given
    from autoglm.app.planning import plan_of
    from autoglm.app.preflight import look_at
    from autoglm.app.session import Session
    from autoglm.cli.given import read_inputs
    from autoglm.cli.output import say_json

    with Session.open(file, environment=environment) as session:
        loaded = session.load(file)
        given = read_inputs(loaded.workflow, inputs or [], None)
        check_given(loaded.workflow, given)
        config = session.project.settings.config
        found = plan_of(loaded, session.catalog, session.project.root, given, config)
        doubts = [*loaded.diagnostics, *look_at(session, file, loaded.workflow, given)]
        settings = session.project.settings
        used = estimate(loaded, found, settings.models, own_prices(settings))
    if json:
        say_json(_data(loaded, found, given) | {"estimate": msgspec.to_builtins(used)})
    else:
        _say(loaded, found, given, used, doubts)
    return 0


def _data(loaded: Loaded, plan: Plan, given: dict[str, Any]) -> dict[str, Any]:
    import msgspec

    workflow = loaded.workflow
    tasks = {}
    for task in plan.tasks:
        data = msgspec.to_builtins(task)
        del data["path"]
        tasks[task.path] = data
    return {
        "workflow": workflow.name,
        "inputs": {name: _declared(name, spec, given) for name, spec in workflow.inputs.items()},
        "levels": plan.waves,
        "critical_path": plan.critical_path,
        "model_calls": msgspec.to_builtins(plan.model_calls),
        "tasks": tasks,
        "limits": plan.limits,
    }


def _declared(name: str, spec: InputSpec, given: dict[str, Any]) -> dict[str, Any]:
    """Return an input's declaration as data, with what is given for it, and without the values of a secret one."""
    data = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"required": spec.required}
    data |= {"given": given[name]} if name in given else {}
    return data | {key: MASK for key in ("default", "given") if spec.secret and key in data}


def _say(loaded: Loaded, plan: Plan, given: dict[str, Any], used: Estimate, doubts: list[Diagnostic]) -> None:
    from autoglm.cli.measure import harmless
    from autoglm.cli.output import say, warn
    from autoglm.cli.tables import say_table
    from autoglm.cli.usage import money

    for doubt in doubts:
        warn(str(doubt))
    workflow = loaded.workflow
    say(f"{harmless(workflow.name)}: {loaded.graph.own:,} tasks, nothing has been run")
    if workflow.inputs:
        say()
        _say_inputs(workflow.inputs, given)
    say()
    rows = [
        [f"{task.wave}" if not task.depth else "", _name(task), task.type, task.executor, str(task.runs), _notes(task)]
        for task in plan.tasks
    ]
    say_table(["WAVE", "TASK", "TYPE", "EXECUTOR", "RUNS", "NOTES"], rows)
    path = [harmless(name) for name in plan.critical_path]
    more = f" → … {len(path) - _SHOWN_PATH:,} more" if len(path) > _SHOWN_PATH else ""
    say()
    say(f"longest path: {len(path)} tasks: {' → '.join(path[:_SHOWN_PATH])}{more}")
    if any(task.calls is not None for task in plan.tasks):
        say(f"model calls: {plan.model_calls}{_cached(plan)}")
        say(f"about {_between(used.tokens, _whole)} tokens, {_between(used.cost, money)}{_unpriced(used)}")
    limits = [f"{name} {limit}" for name, limit in plan.limits.items() if limit is not None and name != "max_parallel"]
    if workflow.max_parallel is not None:
        limits.insert(0, f"whole run {workflow.max_parallel}")
    if limits:
        say(f"at once at most: {', '.join(limits)}")


def _say_inputs(inputs: Mapping[str, InputSpec], given: dict[str, Any]) -> None:
    from autoglm.cli.tables import say_table

    rows = [[name, _kind(spec), _default(spec), spec.description or ""] for name, spec in inputs.items()]
    heads = ["INPUT", "TYPE", "DEFAULT", "DESCRIPTION"]
    if given:
        heads.insert(3, "GIVEN")
        for row, (name, spec) in zip(rows, inputs.items(), strict=True):
            row.insert(3, _value(spec, given[name]) if name in given else "")
    say_table(heads, rows)


def _between(found: Range, shown: Callable[[float], str]) -> str:
    if found.most is None:
        return f"{shown(found.least)} or more" if found.least else "an unknown number of"
    return shown(found.most) if found.least == found.most else f"{shown(found.least)} to {shown(found.most)}"


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def _unpriced(used: Estimate) -> str:
    return f"; nobody knows what {', '.join(used.unpriced)} costs" if used.unpriced else ""


def _name(task: Planned) -> str:
    """Return a task's name below what it lies in; of one that runs at an end, with its section."""
    parts = task.path.split(".")
    is_at_end = len(parts) > 1 and parts[-2] in ("on_error", "finally")
    return f"{'  ' * task.depth}{'.'.join(parts[-2:] if is_at_end else parts[-1:])}"


def _cached(plan: Plan) -> str:
    cached = [task.path for task in plan.tasks if task.cached]
    return f", fewer where answers are cached ({', '.join(cached)})" if cached else ""


def _notes(task: Planned) -> str:
    notes = []
    if task.loop:
        notes.append(f"loop of {task.items}" if task.items.least or task.items.most is not None else "loop")
    if task.inside:
        notes.append(f"group of {task.inside}" if task.type == "group" else f"{task.inside} tasks")
    if task.when is not None:
        notes.append(f"when {task.when}")
    if task.model is not None:
        notes.append(f"model {task.model}")
    if task.cached:
        notes.append("cached")
    if task.max_attempts > 1:
        notes.append(f"up to {task.max_attempts} attempts")
    if task.timeout is not None:
        from autoglm.base.durations import format_duration

        notes.append(f"timeout {format_duration(task.timeout)}")
    return ", ".join(notes)


def _kind(spec: Any) -> str:
    kind = spec.type if isinstance(spec.type, str) else " or ".join(spec.type)
    return f"{kind}, secret" if spec.secret else kind


def _default(spec: InputSpec) -> str:
    return "(required)" if spec.required else _value(spec, spec.default)


def _value(spec: InputSpec, value: Any) -> str:
    import json

    return MASK if spec.secret else json.dumps(value, ensure_ascii=False)

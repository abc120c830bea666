"""The fields that every task type shares: one reader each, from what the author wrote to what the model holds.

A reader takes (values, value, path of the task, key) and returns None after a complaint.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from autoglm.base.diagnostics import Severity, did_you_mean
from autoglm.base.sizes import parse_size
from autoglm.spec import budgets
from autoglm.spec.model import Degrade, Effects, Join, Loop, OnError, Outcome, Path, Retry, StandIn
from autoglm.spec.tree import shorten
from autoglm.spec.values import Values, build, describe, is_template, one_of

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_OTHER_OUTCOMES = {
    "success": Outcome.SUCCEEDED,
    "successful": Outcome.SUCCEEDED,
    "failure": Outcome.FAILED,
    "error": Outcome.FAILED,
    "timeout": Outcome.FAILED,
    "skip": Outcome.SKIPPED,
    "canceled": Outcome.CANCELLED,
}
_RETRY_DEFAULTS = {name: field.default for name, field in Retry.model_fields.items()}
_LOOP_DEFAULTS = {name: field.default for name, field in Loop.model_fields.items()}
_LOOP_SOURCES = ("over", "file", "matrix", "until", "while")
_LOOP_OF_ITEMS = ("max_parallel", "fail_fast", "min_success")
_LOOP_REPEATS = ("max_iterations", "initial", "delay", "on_limit")
_LOOP_FIELDS = (*_LOOP_SOURCES, *_LOOP_REPEATS, *_LOOP_OF_ITEMS, "as", "collect")
_SIZES = frozenset({"memory", "disk", "gpu_memory"})

Upstreams = dict[str, tuple[Outcome, ...] | None]


def depends_on(values: Values, value: Any, path: Path, key: str) -> Upstreams:
    if isinstance(value, list):
        upstreams: Upstreams = {}
        for index, name in enumerate(value):
            if name.__class__ is str and name:
                upstreams[name] = None
            else:
                hint = f"for outcomes write a mapping: `{key}: {{fetch: failed}}`" if isinstance(name, dict) else None
                values.wrong(name, (*path, key), index, "a task's name", hint)
        return upstreams
    if isinstance(value, str) and value.strip():
        return {value: None}
    if isinstance(value, dict):
        return {name: _outcomes(values, outcome, (*path, key), name) for name, outcome in value.items()}
    if value is not None:
        values.wrong(value, path, key, "a task's name, a list of names, or a mapping from name to outcomes")
    return {}


def _outcomes(values: Values, value: Any, path: Path, name: str) -> tuple[Outcome, ...] | None:
    if value is None:
        return None
    items = value if isinstance(value, list) else [value]
    found: list[Outcome] = []
    for index, item in enumerate(items):
        place = (*path, name, index) if isinstance(value, list) else (*path, name)
        if isinstance(item, str) and item in _OUTCOMES:
            found.append(_OUTCOMES[item])
        elif isinstance(item, str) and item.lower() in _OTHER_OUTCOMES:
            meant = _OTHER_OUTCOMES[item.lower()]
            values.error(
                "outcome-spelling",
                f"the outcome `{item}` is written `{meant}`",
                place,
                hint=f"write `{meant}`",
                severity=Severity.WARNING,
            )
            found.append(meant)
        else:
            guess = did_you_mean(item, _OUTCOMES) if isinstance(item, str) else None
            values.error(
                "unknown-outcome",
                f"the outcome of `{name}` must be {one_of(_OUTCOMES)}, but it is {describe(item)}",
                place,
                hint=f"did you mean `{guess}`?" if guess else None,
            )
    return tuple(dict.fromkeys(found)) or None


def when(values: Values, value: Any, path: Path, key: str) -> str | bool | None:
    if value is None or isinstance(value, bool) or (isinstance(value, str) and value.strip()):
        return value
    values.wrong(value, path, key, "an expression, `true` or `false`")
    return None


def effects(values: Values, value: Any, path: Path, key: str) -> Effects | None:
    return values.choice(value, path, key, Effects)


def join(values: Values, value: Any, path: Path, key: str) -> Join | None:
    return values.choice(value, path, key, Join)


def retry_fields(values: Values, value: Any, path: Path, key: str) -> dict[str, Any]:
    """Return only those fields of a ``retry`` mapping that were written and are right."""
    if not isinstance(value, dict):
        hint = f"write `retries: {value}`, or `retry: {{max_attempts: {value + 1}}}`" if type(value) is int else None
        values.wrong(value, path, key, "a mapping such as `{max_attempts: 4, delay: 1s}`", hint)
        return {}
    here = (*path, key)
    fields: dict[str, Any] = {}
    for name, item in value.items():
        read: Any
        if name == "max_attempts":
            read = values.integer(item, here, name, minimum=1)
        elif name in ("delay", "max_delay", "max_elapsed"):
            read = None if item is None else values.duration(item, here, name)
        elif name == "factor":
            read = values.number(item, here, name, minimum=1)
        elif name == "on":
            read = values.texts(item, here, name)
        elif name == "jitter":
            read = item if item in ("full", "none") else None
            if read is None:
                values.wrong(item, here, name, "`full` or `none`")
        else:
            values.unknown_key(name, here, _RETRY_DEFAULTS, "`retry`")
            continue
        if read is not None:
            fields[name] = read
    return fields


def retry(values: Values, body: Mapping[str, Any], path: Path, default: Mapping[str, Any]) -> Retry | None:
    """Return the policy that ``retry``, ``retries`` and the file's defaults make together."""
    fields = dict(default)
    if "retry" in body:
        if body["retry"] is None or body["retry"] is False:
            fields = {}
        else:
            written = retry_fields(values, body["retry"], path, "retry")
            fields = {**fields, **written, **({} if written or fields else {"max_attempts": 3})}
    if "retries" in body:
        retries = values.integer(body["retries"], path, "retries", minimum=0)
        if isinstance(body.get("retry"), dict) and "max_attempts" in body["retry"]:
            message = "`retries` and `retry.max_attempts` say the same; write one of them"
            values.error("key-twice", message, (*path, "retries"), key=True)
        elif retries is not None:
            fields["max_attempts"] = retries + 1
    return build(Retry, {**_RETRY_DEFAULTS, **fields}) if fields else None


def timeout(values: Values, value: Any, path: Path, key: str) -> float | None:
    return None if value is None else values.duration(value, path, key)


def loop(values: Values, value: Any, path: Path, key: str) -> Loop | None:
    if value is None:
        return None
    if isinstance(value, dict):
        return _loop_mapping(values, value, (*path, key))
    over = _over(values, value, path, key)
    return build(Loop, {**_LOOP_DEFAULTS, "over": over}) if over is not None else None


def _over(values: Values, value: Any, path: Path, key: str) -> Any:
    if isinstance(value, list) or is_template(value):
        return value
    hint = None
    if isinstance(value, str) and value.strip():
        ending = value.split("#")[0].rpartition(".")[2].lower()
        is_file = ending in ("yaml", "yml", "json", "jsonl", "csv", "parquet")
        hint = f"write `loop: {{file: {value}}}`" if is_file else f'an expression needs braces: "{{{{ {value} }}}}"'
    values.wrong(value, path, key, "a list, or a template that gives one", hint)
    return None


def _loop_mapping(values: Values, value: dict[str, Any], path: Path) -> Loop | None:
    values.check_keys(value, path, _LOOP_FIELDS, "`loop`")
    sources = [name for name in _LOOP_SOURCES if name in value]
    if len(sources) != 1:
        said = f"{one_of(sources).replace(' or ', ' and ')} together" if sources else "none of them"
        place, key = ((*path, sources[1]), True) if sources else (path, False)
        message = f"`loop` needs one of {one_of(_LOOP_SOURCES)}, and has {said}"
        values.error("loop-source", message, place, key=key)
        return None
    fields: dict[str, Any] = dict(_LOOP_DEFAULTS)
    for name, item in value.items():
        if name in _LOOP_READERS:
            read = _LOOP_READERS[name](values, item, path, name)
            if read is not None:
                fields[_LOOP_NAMES.get(name, name)] = read
    _check_repeats(values, value, path, sources[0])
    return build(Loop, fields)


def _check_repeats(values: Values, value: dict[str, Any], path: Path, source: str) -> None:
    """Report what does not go with a loop over items, or with one that goes on until something is true."""
    repeats = source in ("until", "while")
    if repeats and "max_iterations" not in value:
        message = f"a loop with `{source}` needs `max_iterations`, so that it ends in any case"
        values.error("loop-without-end", message, (*path, source), key=True, hint="add `max_iterations: 100`")
    for name in _LOOP_OF_ITEMS if repeats else _LOOP_REPEATS:
        if name not in value:
            continue
        if repeats:
            message = f"`{name}` is for loops over items; with `{source}` one iteration follows the other"
        else:
            message = f"`{name}` belongs to a loop with `until` or `while`, and this one goes over items"
        values.error("loop-option", message, (*path, name), key=True, hint="remove it")


def _matrix(values: Values, value: Any, path: Path, key: str) -> dict[str, Any] | None:
    axes = values.mapping(value, path, key)
    if axes is None:
        return None
    if not axes:
        values.wrong(axes, path, key, "a mapping from axis name to its list, with one axis at least")
    return {axis: _over(values, items, (*path, key), axis) for axis, items in axes.items()}


def _loop_name(values: Values, value: Any, path: Path, key: str) -> str | None:
    name = values.filled_text(value, path, key)
    if name is not None and not name.isidentifier():
        message = f"`{shorten(name)}` cannot name the loop's item"
        hint = "a name that expressions use has letters, digits and `_`, and no digit first"
        values.error("bad-name", message, (*path, key), hint=hint)
        return None
    return name


def _min_success(values: Values, value: Any, path: Path, key: str) -> float | None:
    share = value
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            share = float(value.strip()[:-1]) / 100
        except ValueError:
            share = None
    if isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1:
        return float(share)
    hint = f"write `{value}%`" if isinstance(value, int | float) and 1 < value <= 100 else None
    values.wrong(value, path, key, "a share such as `95%` or 0.95", hint)
    return None


def _as_written(_values: Values, value: Any, _path: Path, _key: str) -> Any:
    return value


def _condition(values: Values, value: Any, path: Path, key: str) -> str | bool | None:
    return value if isinstance(value, bool) else values.filled_text(value, path, key)


def _on_limit(values: Values, value: Any, path: Path, key: str) -> str | None:
    if value in ("fail", "succeed"):
        return str(value)
    hint = "write `succeed`" if value in ("continue", "success", "ok") else None
    values.wrong(value, path, key, "`fail` or `succeed`", hint)
    return None


def _count(values: Values, value: Any, path: Path, key: str) -> int | None:
    return None if value is None else values.integer(value, path, key, minimum=1)


_LOOP_NAMES = {"as": "as_", "while": "while_"}
_LOOP_READERS: dict[str, Callable[[Values, Any, Path, str], Any]] = {
    "over": _over,
    "file": Values.filled_text,
    "matrix": _matrix,
    "until": _condition,
    "while": _condition,
    "max_iterations": _count,
    "initial": _as_written,
    "delay": timeout,
    "on_limit": _on_limit,
    "as": _loop_name,
    "max_parallel": _count,
    "fail_fast": Values.boolean,
    "min_success": _min_success,
    "collect": Values.filled_text,
}


_NO_PLAIN_VALUE = frozenset({"value", "task", "model"})
"""Keys that a value below ``degrade`` has only when it is written as ``{value: …}``."""
STANDS_IN = frozenset(
    {"handler", "action", "script", "prompt", "prompt_template", "prompt_file", "workflow", "tasks", "conditions"}
)
"""Keys that make a mapping below ``degrade`` a task that runs instead."""


def body_below(written: Any, types: Collection[str] = ()) -> dict[str, Any] | None:
    """Return the task that is written below ``on_error: {degrade: …}``, None where that is something else.

    ``types`` are the task types that a ``type`` in it may name; another one makes it a value.
    """
    degrade = written.get("degrade") if isinstance(written, dict) and set(written) == {"degrade"} else None
    if not isinstance(degrade, dict) or set(degrade) == {"value"}:
        return None
    kind = degrade.get("type")
    is_task = bool(degrade.keys() & STANDS_IN) or (isinstance(kind, str) and kind in types)
    return degrade if is_task else None


def on_error(values: Values, value: Any, path: Path, key: str) -> OnError | Degrade | StandIn | None:
    if isinstance(value, dict) and set(value) == {"degrade"}:
        if path == ("defaults",) and _is_work(value):
            message = "what stands in for a task stands at the task itself; the file's defaults can give a value only"
            what = "write it at the tasks, or `{degrade: {value: …}}` here"
            values.error("degrade-unclear", message, (*path, key, "degrade"), key=True, hint=what)
            return None
        return _degrade(values, value["degrade"], (*path, key))
    if isinstance(value, str) and value in ("fail", "continue"):
        return OnError(value)
    hint = {"ignore": "write `continue`", "stop": "write `fail`", "abort": "write `fail`"}.get(str(value))
    if value == "retry":
        hint = "write `retries: 3`"
    values.wrong(value, path, key, "`fail`, `continue` or `{degrade: …}`", hint)
    return None


def _is_work(value: dict[str, Any]) -> bool:
    below = value["degrade"]
    return body_below(value) is not None or (isinstance(below, dict) and set(below) in ({"task"}, {"model"}))


def _degrade(values: Values, value: Any, path: Path) -> Degrade | StandIn | None:
    """Return what stands in for a failed task's result: a value, plain or below ``value``, a task or a model."""
    if isinstance(value, dict):
        for key in ("task", "model"):
            if value.keys() == {key}:
                named = values.filled_text(value[key], (*path, "degrade"), key)
                return None if named is None else build(StandIn, {"task": None, "model": None, key: named})
        if set(value) == {"value"}:
            return build(Degrade, {"degrade": value["value"]})
        unclear = [key for key in value if key in _NO_PLAIN_VALUE]
        if unclear:
            message = f"with `{unclear[0]}` and more in it, this could be a value or name what runs instead"
            hint = f"write `{{degrade: {{value: …}}}}` for a value, or `{unclear[0]}` alone"
            values.error("degrade-unclear", message, (*path, "degrade", unclear[0]), key=True, hint=hint)
            return None
    return build(Degrade, {"degrade": value})


def resources(values: Values, value: Any, path: Path, key: str) -> dict[str, Any] | None:
    """Return what the task needs; sizes (``memory: 2GiB``) in bytes."""
    mapping = values.mapping(value, path, key)
    if mapping is None:
        return None
    read: dict[str, Any] = {}
    for name, item in mapping.items():
        if name in _SIZES and not is_template(item):
            try:
                read[name] = parse_size(item)
            except ValueError:
                values.wrong(item, (*path, key), name, "a size such as 512MB, 2GiB or a number of bytes")
        else:
            read[name] = item
    return read


def output_schema(values: Values, value: Any, path: Path, key: str) -> dict[str, Any] | None:
    return None if value is None else values.mapping(value, path, key, "write a JSON Schema: `{type: object, …}`")


def _optional_name(values: Values, value: Any, path: Path, key: str) -> str | None:
    return None if value is None else values.filled_text(value, path, key)


READERS: dict[str, Callable[[Values, Any, Path, str], Any]] = {
    "description": Values.optional_text,
    "when": when,
    "join": join,
    "result": _as_written,
    "output_schema": output_schema,
    "loop": loop,
    "timeout": timeout,
    "cache": budgets.cache,
    "budget": budgets.budget,
    "effects": effects,
    "priority": Values.integer,
    "resources": resources,
    "pool": Values.texts,
    "executor": _optional_name,
    "env": Values.text_mapping,
    "on_error": on_error,
    "labels": Values.text_mapping,
}
"""Fields that are read by themselves; the others (name, type, with, tasks …) need more than their own value."""

OTHER_WORDS = {
    "after": "depends_on",
    "depends": "depends_on",
    "dependencies": "depends_on",
    "dependency": "depends_on",
    "requires": "depends_on",
    "upstream": "depends_on",
    "condition": "when",
    "if": "when",
    "params": "with",
    "parameters": "with",
    "args": "with",
    "arguments": "with",
    "kwargs": "with",
    "inputs": "with",
    "foreach": "loop",
    "for_each": "loop",
    "with_items": "loop",
    "items": "loop",
    "retry_policy": "retry",
    "max_retries": "retries",
    "on_failure": "on_error",
    "trigger_rule": "join",
    "environment": "env",
    "function": "handler",
    "steps": "tasks",
    "tags": "labels",
    "output": "result",
}

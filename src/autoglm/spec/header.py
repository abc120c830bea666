"""The fields of a workflow beside its tasks: inputs, vars, models, pools and what else stands at the top of a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autoglm.base.diagnostics import did_you_mean
from autoglm.spec import budgets
from autoglm.spec.inputs import read_inputs
from autoglm.spec.model import Adapter, Durability, ModelLimits, ModelSpec, Path, PoolSpec, Schedule
from autoglm.spec.values import Values, build, is_template
from autoglm.spec.variables import ReadFile as ReadFile
from autoglm.spec.variables import Variables

_MODEL_DEFAULTS = {
    "model": None,
    "provider": None,
    "base_url": None,
    "api_key": None,
    "max_parallel": None,
    "limits": None,
    "timeout": None,
    "connect_timeout": None,
    "first_token_timeout": None,
    "proxy": None,
    "context_tokens": None,
    "adapter": None,
}
_VERSIONS = ("1.0", "1")


def read_header(
    values: Values, header: dict[str, Any], read_file: ReadFile, environment: str | None = None
) -> dict[str, Any]:
    """Return the workflow's fields but its tasks, each with its default where the file does not say."""
    variables = Variables(values, read_file)
    if "vars" in header:
        variables.read(header["vars"])
    variables.choose(environment)
    fields: dict[str, Any] = {
        "version": _version(values, header),
        "name": _name(values, header),
        "description": None,
        "namespace": "default",
        "labels": {},
        "inputs": read_inputs(values, header["inputs"]) if "inputs" in header else {},
        "inputs_inferred": False,
        "vars": variables.merged,
        "environments": tuple(variables.environments),
        "environment": variables.environment,
        "models": {},
        "pools": {},
        "max_parallel": None,
        "schedule": Schedule.FIFO,
        "durability": Durability.FULL,
        "budget": None,
        "triggers": None,
        "outputs": {},
        "callees": {},
        "on_error": (),
        "finally_": (),
    }
    for key, read in _READERS.items():
        if key in header:
            found = read(values, header[key], (), key)
            if found is not None:
                fields[key] = found
    return fields


def stem(file: str) -> str:
    """Return the name that a file gives a workflow: ``config/daily.yaml`` is ``daily``."""
    name = file.replace("\\", "/").rpartition("/")[2]
    return (name.rpartition(".")[0] or name).strip(" .<>") or "workflow"


def _name(values: Values, header: dict[str, Any]) -> str:
    name = values.filled_text(header["name"], (), "name") if "name" in header else None
    if name is not None and not name.isprintable():
        values.error("bad-name", "a workflow's name stands on one line, without control characters", ("name",))
    return name if name is not None else stem(values.document.file)


def _version(values: Values, header: dict[str, Any]) -> str:
    version = header.get("version", "1.0")
    if str(version).strip() not in _VERSIONS or isinstance(version, bool):
        hint = "write `version: 1.0`, or use a newer autoglm"
        values.error("unknown-version", f"this autoglm reads version 1.0, not `{version}`", ("version",), hint=hint)
    return "1.0"


def _models(values: Values, written: Any, path: Path, key: str) -> dict[str, ModelSpec] | None:
    mapping = values.mapping(written, path, key, "write `models: {small: openai/gpt-…}`")
    if mapping is None:
        return None
    here = (*path, key)
    return {name: _model(values, value, here, name) for name, value in mapping.items()}


def _model(values: Values, written: Any, path: Path, name: str) -> ModelSpec:
    fields: dict[str, Any] = {**_MODEL_DEFAULTS, "headers": {}, "parameters": {}}
    if isinstance(written, str) and written.strip():
        return build(ModelSpec, {**fields, "model": written})
    here = (*path, name)
    hint = "write `{model: …, base_url: …}` or just the model's name, such as `openai/gpt-…`"
    for key, value in (values.mapping(written, path, name, hint) or {}).items():
        if key in ("model", "provider", "base_url", "api_key", "proxy"):
            read: Any = values.filled_text(value, here, key)
        elif key == "headers":
            read = values.text_mapping(value, here, key)
        elif key == "parameters":
            read = values.mapping(value, here, key)
        elif key in ("max_parallel", "context_tokens"):
            read = values.integer(value, here, key, minimum=1)
        elif key == "limits":
            read = _limits(values, value, here, key)
        elif key in ("timeout", "connect_timeout", "first_token_timeout"):
            read = values.duration(value, here, key)
        elif key == "adapter":
            read = values.choice(value, here, key, Adapter)
        else:
            near = did_you_mean(key, fields)
            values.unknown_key(key, here, fields, "a model", None if near else f"write `parameters: {{{key}: …}}`")
            continue
        if key == "api_key" and read is not None and not is_template(read):
            advice = 'keep the key in the environment and write `api_key: "{{ secrets.MY_KEY }}"`'
            values.error("literal-key", "an API key cannot stand in the file", (*here, key), hint=advice)
        elif read is not None:
            fields[key] = read
    return build(ModelSpec, fields)


def _limits(values: Values, written: Any, path: Path, key: str) -> ModelLimits | None:
    mapping = values.mapping(written, path, key, "write `limits: {rpm: 600, tpm: 100000, max_parallel: 8}`")
    if mapping is None:
        return None
    here = (*path, key)
    values.check_keys(mapping, here, tuple(ModelLimits.model_fields), "`limits`")
    fields: dict[str, Any] = dict.fromkeys(ModelLimits.model_fields)
    for name, value in mapping.items():
        if name == "patience":
            fields[name] = 0.0 if value == 0 and value is not False else values.duration(value, here, name)
        elif name in fields:
            fields[name] = values.integer(value, here, name, minimum=1)
    return build(ModelLimits, fields)


def _pools(values: Values, written: Any, path: Path, key: str) -> dict[str, PoolSpec] | None:
    mapping = values.mapping(written, path, key, "write `pools: {database: 4}`")
    if mapping is None:
        return None
    here = (*path, key)
    pools: dict[str, PoolSpec] = {}
    for name, value in mapping.items():
        if isinstance(value, dict):
            values.check_keys(value, (*here, name), ("limit",), "a pool")
            if "limit" not in value:
                values.error("missing-key", f"the pool `{name}` has no `limit`", (*here, name), hint="add `limit: 4`")
                continue
            limit = values.integer(value["limit"], (*here, name), "limit", minimum=1)
        else:
            limit = values.integer(value, here, name, minimum=1)
        if limit is not None:
            pools[name] = build(PoolSpec, {"limit": limit})
    return pools


def _count(values: Values, value: Any, path: Path, key: str) -> int | None:
    return None if value is None else values.integer(value, path, key, minimum=1)


def _schedule(values: Values, value: Any, path: Path, key: str) -> Schedule | None:
    return values.choice(value, path, key, Schedule)


def _durability(values: Values, value: Any, path: Path, key: str) -> Durability | None:
    return values.choice(value, path, key, Durability)


def _as_written(_values: Values, value: Any, _path: Path, _key: str) -> Any:
    return value


_READERS: dict[str, Callable[[Values, Any, Path, str], Any]] = {
    "description": Values.optional_text,
    "namespace": Values.filled_text,
    "labels": Values.text_mapping,
    "models": _models,
    "pools": _pools,
    "max_parallel": _count,
    "schedule": _schedule,
    "durability": _durability,
    "budget": budgets.budget,
    "triggers": _as_written,
    "outputs": Values.mapping,
}

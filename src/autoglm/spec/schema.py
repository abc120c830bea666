"""The JSON Schema of the workflow file, for editors: all spellings, the task types and their options.

Draft-07, which the YAML language server knows best. The schema describes what authors write, so it is more generous
than the model: short forms, templates wherever a value may be one, and free keys where a task may carry its function's
parameters. What it cannot say (names that must exist, cycles), the checks say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoglm.spec.catalog import Catalog, OptionInfo, TaskTypeInfo
from autoglm.spec.inputs import SCHEMA_KEYWORDS, TYPES
from autoglm.spec.model import (
    Adapter,
    CacheScope,
    Durability,
    Effects,
    Join,
    OnExhausted,
    OnUnpriced,
    Outcome,
    Schedule,
)
from autoglm.spec.task_fields import OTHER_WORDS

Schema = dict[str, Any]

_STRUCTURAL = ("group", "decision", "wait", "approval", "workflow")
_OTHER_SIGNS = ("type", "handler", "action", "conditions", "tasks", "decision_node", "llm", "features", "choose")
"""Keys that give a task its type before the signature keys of installed types do."""
_DURATION_PATTERN = (
    r"^\s*(\d+(\.\d+)?|(\d+(\.\d+)?(ms|s|m|h|d|w))+"
    r"|[Pp](?=[\dTt])(\d+(\.\d+)?[Ww])?(\d+(\.\d+)?[Dd])?([Tt](?=\d)(\d+(\.\d+)?[Hh])?(\d+(\.\d+)?[Mm])?(\d+(\.\d+)?[Ss])?)?)\s*$"
)
DURATION: Schema = {
    "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": _DURATION_PATTERN}],
    "description": "`250ms`, `30s`, `1h30m`, `PT30S`, or a number of seconds.",
}
_TEMPLATE: Schema = {"type": "string", "pattern": r"\{[{%]"}
_SCALAR: Schema = {"type": ["string", "number", "boolean"]}
_ANYTHING: Schema = {}


def workflow_schema(catalog: Catalog) -> Schema:
    """Return the JSON Schema (draft-07) of a workflow file, with the task types of ``catalog``."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Open-AutoGLM workflow",
        "description": "Tasks, what they depend on, and what they do.",
        "anyOf": [
            {"$ref": "#/definitions/workflow"},
            {"$ref": "#/definitions/playbook"},
            {"$ref": "#/definitions/decisionAlone"},
        ],
        "definitions": {
            "workflow": _workflow(),
            "playbook": _described(
                {"type": "array", "minItems": 1, "items": _named(_ref("task"))},
                "A playbook: each task follows the one before it.",
            ),
            "decisionAlone": _decision_alone(),
            "taskList": {"type": "array", "minItems": 1, "items": _named(_ref("task"))},
            "taskMapping": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": {"anyOf": [{"type": "null"}, _ref("task")]},
            },
            "task": _task(catalog),
            "defaults": _defaults(),
            "retry": _retry(),
            "loop": _loop(),
            "condition": _condition(),
            "input": _input(),
            "model": _model(),
            "budget": _budget(),
            "cache": _cache(),
            "duration": DURATION,
            "texts": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
            "textMapping": {"type": ["object", "null"], "additionalProperties": _SCALAR},
        },
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _described(schema: Schema, description: str) -> Schema:
    """Add a description; a ``$ref`` needs a wrapper, for draft-07 ignores what stands beside it."""
    if "$ref" in schema:
        return {"allOf": [schema], "description": description}
    return {**schema, "description": description}


def _named(task: Schema) -> Schema:
    return {"allOf": [task], "anyOf": [{"required": ["name"]}, {"required": ["decision_node"]}]}


def _closed(properties: Mapping[str, Schema], **keywords: Any) -> Schema:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False, **keywords}


def _tasks() -> Schema:
    return {"anyOf": [_ref("taskList"), _ref("taskMapping")]}


def _header() -> dict[str, Schema]:
    return {
        "version": _described({"enum": ["1.0", "1", 1]}, "The version of the file format."),
        "name": _described({"type": "string", "minLength": 1}, "The workflow's name; default: the file's."),
        "description": {"type": ["string", "null"]},
        "namespace": _described({"type": "string", "minLength": 1}, "Whose configuration and limits apply."),
        "labels": _ref("textMapping"),
        "inputs": _described(
            {"type": ["object", "null"], "additionalProperties": _ref("input")},
            "What a run is given. Without this field the free names of the templates are its inputs.",
        ),
        "vars": _described(
            {
                "anyOf": [
                    {"type": ["object", "null", "string"]},
                    {"type": "array", "items": {"type": ["string", "object"]}},
                ]
            },
            "Variables, inline, from files, and by environment: `{files: [vars.yaml], environments: {prod: …}, x: 1}`.",
        ),
        "models": _described({"type": ["object", "null"], "additionalProperties": _ref("model")}, "Models by name."),
        "pools": _described(
            {
                "type": ["object", "null"],
                "additionalProperties": {
                    "anyOf": [
                        {"type": "integer", "minimum": 1},
                        _closed({"limit": {"type": "integer", "minimum": 1}}, required=["limit"]),
                    ]
                },
            },
            "Concurrency limits that tasks share by naming them in `pool`.",
        ),
        "defaults": _described(_ref("defaults"), "Fields that every task has unless it says otherwise."),
        "max_parallel": _described(_count(), "How many attempts of the whole run may be running at once."),
        "schedule": {"enum": [item.value for item in Schedule]},
        "durability": _described(
            {"enum": [item.value for item in Durability]}, "`full` survives a power cut, `process` a killed process."
        ),
        "budget": _described(_ref("budget"), "What the run may use of models."),
        "triggers": _ANYTHING,
        "outputs": _described({"type": ["object", "null"]}, "What the run gives back, by name; templates."),
    }


def _count() -> Schema:
    return {"type": ["integer", "null"], "minimum": 1}


def _workflow() -> Schema:
    properties = {
        **_header(),
        "tasks": _described(_tasks(), "A list of tasks with names, or a mapping from name to task."),
        "task_graph": _described(_tasks(), "The same as `tasks`."),
        "on_error": _described(_tasks(), "Tasks that run once the run has failed."),
        "finally": _described(_tasks(), "Tasks that run last, however the run ended."),
    }
    return _closed(
        properties,
        patternProperties={"^x-": {}},
        oneOf=[{"required": ["tasks"]}, {"required": ["task_graph"]}],
    )


def _decision_alone() -> Schema:
    # The task's own shared fields may stand here too; editors still complete the header and the decision.
    return {
        "type": "object",
        "properties": {**_header(), **_decision_properties()},
        "required": ["decision_node"],
        "not": {"anyOf": [{"required": ["tasks"]}, {"required": ["task_graph"]}]},
    }


def _decision_properties() -> dict[str, Schema]:
    return {
        "decision_node": _described({"type": "string", "minLength": 1}, "The decision's name."),
        "conditions": _described(
            {"type": "array", "minItems": 1, "items": _ref("condition")}, "Tried in order; the first true rule decides."
        ),
        "default": _described({"type": ["string", "null"]}, "The task or function to take when no rule is true."),
        "mode": {"enum": ["first", "all"]},
    }


def _condition() -> Schema:
    return _closed(
        {
            "rule": _described({"type": ["string", "boolean"]}, "An expression over results, inputs and `config`."),
            "action": _described({"type": "string", "minLength": 1}, "A task of the graph, or a function to call."),
        },
        required=["rule", "action"],
    )


def _task(catalog: Catalog) -> Schema:
    """Return the schema of a task: the shared fields, its type's options, and keys that only its function knows."""
    options: dict[str, list[Schema]] = {}
    for info in catalog.task_types.values():
        for option in info.options.values():
            options.setdefault(option.name, []).append(_option(option))
    properties: dict[str, Schema] = {
        name: schemas[0] if all(item == schemas[0] for item in schemas) else {"anyOf": schemas}
        for name, schemas in options.items()
    }
    properties.update(_decision_properties())
    for name, shared in _shared_fields(catalog).items():
        # A type may have an option of a shared field's name, and then means that.
        properties[name] = {"anyOf": [shared, *options[name]]} if name in options else shared
    properties["allow"] = _described(_tasks(), "The tasks that `choose` may name, each like any other.")
    properties["action"] = {
        "type": "string",
        "minLength": 1,
        "description": "The function to call; the same as `handler`.",
    }
    # A misspelt field must not pass as a function's parameter: these words are never one of ours.
    parameters = _parameters(catalog)
    wrong_words = sorted(word for word in OTHER_WORDS if word not in properties and word not in parameters)
    by_type = [_of_type(info, parameters) for info in catalog.task_types.values() if info.name != "function"]
    return {
        "type": "object",
        "properties": {**properties, **dict.fromkeys(wrong_words, False)},
        "allOf": [{}, *by_type],  # draft-07 wants one at least
    }


def _of_type(info: TaskTypeInfo, parameters: set[str]) -> Schema:
    """Return: where the type is plain, only its options may stand beside the shared fields, and all it requires must.

    A key that some function takes as a parameter does not make it plain.
    """
    written: Schema = {"properties": {"type": {"const": info.name}}, "required": ["type"]}
    signs = [{"required": [key]} for key in info.signature_keys if key not in parameters]
    elsewhere = [{"required": [key]} for key in _OTHER_SIGNS]
    signed: Schema = {"anyOf": signs, "not": {"anyOf": elsewhere}}
    required = [option.name for option in info.options.values() if option.required]
    inner = set() if info.name == "group" else {"tasks"}
    then: Schema = {"propertyNames": {"enum": sorted({*_shared_fields(Catalog()), *info.options} - inner)}}
    if required:
        then["anyOf"] = [{"required": required}, {"required": ["with"]}]
    return {"if": {"anyOf": [written, signed]} if signs else written, "then": then}


def _parameters(catalog: Catalog) -> set[str]:
    return {name for function in catalog.functions.values() for name in function.parameters}


def _option(option: OptionInfo) -> Schema:
    schema = dict(option.schema)
    if not option.templated or not schema or "string" in _type_names(schema):
        return schema
    description = schema.pop("description", None)
    either: Schema = {"anyOf": [schema, _TEMPLATE]}
    return {**either, "description": description} if description else either


def _type_names(schema: Mapping[str, Any]) -> tuple[str, ...]:
    types = schema.get("type")
    return (types,) if isinstance(types, str) and "enum" not in schema and "pattern" not in schema else ()


def _shared_fields(catalog: Catalog) -> dict[str, Schema]:
    types = list(dict.fromkeys([*catalog.task_types, *_STRUCTURAL]))
    return {
        "name": _described({"type": "string", "minLength": 1, "maxLength": 200}, "How other tasks refer to it."),
        "type": _described(
            {"enum": types}, "What runs. May be left out where another key tells, such as `script` or `prompt`."
        ),
        "description": {"type": ["string", "null"]},
        "depends_on": _upstreams("The tasks that must end before this one begins."),
        "needs": _upstreams("The same as `depends_on`."),
        "when": _described(
            {"type": ["string", "boolean", "null"]}, "An expression; when it is false, the task is skipped."
        ),
        "join": _described({"enum": [item.value for item in Join]}, "How its upstreams must have ended for it to run."),
        "with": _described({"type": ["object", "null"]}, "Parameters: a function's arguments, a script's input."),
        "result": _described(_ANYTHING, "A template over `output` that makes the task's result of what came back."),
        "output_schema": _described({"type": ["object", "null"]}, "A JSON Schema that the result must satisfy."),
        "loop": _described(_ref("loop"), "Repeat the task over a list, a file, a matrix, or until something is true."),
        "retry": _described(_ref("retry"), "When and how often an attempt that failed is repeated."),
        "retries": _described({"type": "integer", "minimum": 0}, "Attempts after the first: `retries: 3` is four."),
        "timeout": _described({"anyOf": [_ref("duration"), {"type": "null"}]}, "How long an attempt may take."),
        "cache": _described(_ref("cache"), "Ask the same question of the same model once."),
        "budget": _described(_ref("budget"), "What all attempts and items of the task may use of models."),
        "effects": _described(
            {"enum": [item.value for item in Effects]},
            "`guarded`: after a crash nobody runs it again before a person has said so.",
        ),
        "priority": _described({"type": "integer"}, "Higher runs first, with `schedule: priority`."),
        "resources": {"type": ["object", "null"]},
        "pool": _described(_ref("texts"), "The concurrency limits, of `pools`, that it counts against."),
        "executor": _described({"enum": [*sorted(catalog.executors), None]}, "Where it runs."),
        "env": _described(_ref("textMapping"), "Environment variables."),
        "on_error": _described(
            {"anyOf": [{"enum": ["fail", "continue"]}, _closed({"degrade": {}}, required=["degrade"])]},
            "What a failure means to the run.",
        ),
        "rollback": _described(_ref("task"), "A task that undoes this one when the run fails or is cancelled."),
        "labels": _ref("textMapping"),
        "tasks": _described(_tasks(), "An inline group: these tasks run as one."),
    }


def _upstreams(description: str) -> Schema:
    outcome: Schema = {"enum": [item.value for item in Outcome]}
    accepted = {"anyOf": [outcome, {"type": "null"}, {"type": "array", "items": outcome}]}
    forms: list[Schema] = [
        {"type": ["string", "null"]},
        {"type": "array", "items": {"type": "string", "minLength": 1}},
        {"type": "object", "additionalProperties": accepted},
    ]
    return {"anyOf": forms, "description": description}


def _defaults() -> Schema:
    return _closed(
        {
            "retry": _ref("retry"),
            "retries": {"type": "integer", "minimum": 0},
            "timeout": {"anyOf": [_ref("duration"), {"type": "null"}]},
            "executor": {"type": ["string", "null"]},
            "on_error": {"anyOf": [{"enum": ["fail", "continue"]}, _closed({"degrade": {}}, required=["degrade"])]},
            "pool": _ref("texts"),
            "env": _ref("textMapping"),
            "labels": _ref("textMapping"),
            "resources": {"type": ["object", "null"]},
            "priority": {"type": "integer"},
            "cache": _ref("cache"),
        },
        type=["object", "null"],
    )


def _retry() -> Schema:
    mapping = _closed(
        {
            "max_attempts": _described({"type": "integer", "minimum": 1}, "All attempts, the first counted."),
            "delay": _described(_ref("duration"), "The wait before the second attempt."),
            "factor": _described({"type": "number", "minimum": 1}, "How much longer each wait is than the one before."),
            "max_delay": _ref("duration"),
            "jitter": {"enum": ["full", "none"]},
            "max_elapsed": {"anyOf": [_ref("duration"), {"type": "null"}]},
            "on": _described(_ref("texts"), "Classes of failure that are retried: `timeout`, `http_5xx` …"),
        }
    )
    return {"anyOf": [mapping, {"type": "null"}, {"const": False}]}


def _budget() -> Schema:
    return _closed(
        {
            "tokens": _described(_count(), "In and out together."),
            "cost": _described({"type": ["number", "null"], "exclusiveMinimum": 0}, "US dollars."),
            "calls": _count(),
            "wall_time": {"anyOf": [_ref("duration"), {"type": "null"}]},
            "on_exhausted": _described(
                {
                    "anyOf": [
                        {"enum": [item.value for item in OnExhausted]},
                        _closed({"degrade": {"type": "string", "minLength": 1}}, required=["degrade"]),
                    ]
                },
                "What happens when the next call is not allowed.",
            ),
            "on_unpriced": {"enum": [item.value for item in OnUnpriced]},
        },
        type=["object", "null"],
    )


def _cache() -> Schema:
    mapping = _closed(
        {
            "ttl": _described({"anyOf": [_ref("duration"), {"type": "null"}]}, "How long an answer is kept."),
            "scope": _described({"enum": [item.value for item in CacheScope]}, "Who may be given it."),
        }
    )
    return {"anyOf": [{"type": ["boolean", "null"]}, mapping]}


def _loop() -> Schema:
    items: Schema = {"anyOf": [{"type": "array"}, _TEMPLATE]}
    mapping = _closed(
        {
            "over": _described(items, "A list, or a template that gives one."),
            "file": _described(
                {"type": "string", "minLength": 1}, "`users.yaml#path`, `rows.jsonl`, `rows.csv`: streamed."
            ),
            "matrix": _described(
                {"type": "object", "minProperties": 1, "additionalProperties": items}, "Every combination of the axes."
            ),
            "until": _described(
                {"type": ["string", "boolean"], "minLength": 1},
                "Asked after each iteration, over its `result`; the loop ends when it is true.",
            ),
            "while": _described(
                {"type": ["string", "boolean"], "minLength": 1},
                "Asked before each iteration, over `previous`; the loop ends when it is false.",
            ),
            "max_iterations": _described(
                {"type": "integer", "minimum": 1}, "The most iterations of a loop with `until` or `while`."
            ),
            "initial": _described(_ANYTHING, "What `previous` is in the first iteration."),
            "delay": _described(
                {"anyOf": [_ref("duration"), {"type": "null"}]}, "The wait between iterations; it holds no slot."
            ),
            "on_limit": _described(
                {"enum": ["fail", "succeed"]}, "What comes of the loop when `max_iterations` is reached first."
            ),
            "as": _described({"type": "string", "pattern": r"^[^\W\d]\w*$"}, "The item's name in templates."),
            "max_parallel": _count(),
            "fail_fast": {"type": "boolean"},
            "min_success": _described(
                {
                    "anyOf": [
                        {"type": "number", "minimum": 0, "maximum": 1},
                        {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*%\s*$"},
                    ]
                },
                "The share of the items that must succeed: `95%`.",
            ),
            "collect": _described(
                {"type": "string", "minLength": 1}, "An expression that gives each item of the result."
            ),
        },
        oneOf=[{"required": [name]} for name in ("over", "file", "matrix", "until", "while")],
        dependencies={"until": ["max_iterations"], "while": ["max_iterations"]},
    )
    return {"anyOf": [{"type": "array"}, _TEMPLATE, {"type": "null"}, mapping]}


def _input() -> Schema:
    type_name: Schema = {"enum": list(TYPES)}
    types: Schema = {"anyOf": [type_name, {"type": "array", "minItems": 1, "items": type_name}]}
    keywords: dict[str, Schema] = {name: {} for name in sorted(SCHEMA_KEYWORDS)}
    mapping = _closed(
        {
            **keywords,
            "type": types,
            "description": {"type": ["string", "null"]},
            "default": {},
            "required": {"type": ["boolean", "array"]},
            "enum": {"type": "array", "minItems": 1},
            "secret": _described(
                {"type": "boolean"}, "Never written down: journaled as a reference, redacted elsewhere."
            ),
            "schema": {"type": ["object", "null"]},
        }
    )
    return {"anyOf": [types, {"type": "null"}, mapping]}


def _model() -> Schema:
    mapping = _closed(
        {
            "model": _described({"type": "string"}, "The name the server knows, or `provider/name`."),
            "provider": {"type": "string"},
            "base_url": {"type": "string"},
            "api_key": _described(_TEMPLATE, "A reference: `{{ secrets.MY_KEY }}`."),
            "headers": _ref("textMapping"),
            "parameters": {"type": ["object", "null"]},
            "max_parallel": {"type": "integer", "minimum": 1},
            "limits": _described(
                _closed(
                    {name: {"type": "integer", "minimum": 1} for name in ("rpm", "tpm", "max_parallel")}
                    | {"patience": {"anyOf": [_ref("duration"), {"const": 0}]}}
                ),
                "Requests and tokens a minute and calls under way that the server allows; all runs share them.",
            ),
            "timeout": _described(_ref("duration"), "Of a whole call."),
            "connect_timeout": _ref("duration"),
            "first_token_timeout": _described(_ref("duration"), "How long a stream may be silent."),
            "proxy": _described({"type": "string"}, "Instead of the environment's."),
            "context_tokens": _described({"type": "integer", "minimum": 1}, "How long prompt and answer may be."),
            "adapter": _described({"enum": [each.value for each in Adapter]}, "A client library to call it with."),
        }
    )
    return {"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}, mapping]}

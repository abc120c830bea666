"""What an agent may call: functions of the project, tasks written below ``tools``, and MCP servers' tools.

Rules:

1. A tool is declared by the author, never by a model: a name that is not declared is refused, and told so.
2. What a model gives as arguments is data: it is checked against the tool's parameters and handed over; no template
   reads it.
3. A tool's failure is an answer to the model, as far as it may have another try; only what is ours to mend (a server
   that is not configured, a handler that cannot be imported) fails the task.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from autoglm.base.diagnostics import Diagnostic, did_you_mean
from autoglm.spec.catalog import Catalog

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What servers take as a function's name."""
_OWN: Final = frozenset({"name", "description", "parameters", "type", "mcp", "only"})
_SIGNATURES: Final = {"handler": "function", "script": "script", "prompt": "llm_generate", "url": "http"}
_UNFIT: Final = frozenset({"group", "decision", "llm_agent", "llm_extract", "approval", "wait", "workflow"})
"""Types that need the engine or a schema of their results, or would be an agent in an agent."""
ANY_OBJECT: Final[Mapping[str, Any]] = {"type": "object", "additionalProperties": True}

Problem = tuple[tuple[str | int, ...], Diagnostic]


@dataclass(frozen=True, slots=True)
class Tool:
    """One thing that the model may call."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of its arguments, an object."""
    call: Callable[[dict[str, Any], str], Awaitable[Any]]
    """Take arguments, and the name of the step that this call is; give JSON data. Raises TaskError."""

    def as_sent(self) -> dict[str, Any]:
        """Return the tool as the chat call carries it."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the author declared it: a task of a type with options, or the tools of an MCP server."""

    name: str
    type: str = ""
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    server: str | None = None
    """An MCP server of the settings; the tool is then all of its tools, or those that ``only`` names."""
    only: tuple[str, ...] | None = None


def read_tool(written: Any) -> ToolSpec:
    """Return what one entry of ``tools`` declares; it was found right by :func:`check_tools`."""
    if isinstance(written, str):
        return ToolSpec(written, "function", options={"handler": written})
    if "mcp" in written:
        only = written.get("only")
        return ToolSpec(written["mcp"], server=written["mcp"], only=None if only is None else tuple(only))
    kind = _type_of(written)
    options = {name: value for name, value in written.items() if name not in _OWN}
    name = written.get("name") or str(options.get("handler") or "")
    if kind == "function":
        options.setdefault("handler", name)
    return ToolSpec(name, kind, written.get("description", ""), written.get("parameters"), options)


def _type_of(written: Mapping[str, Any]) -> str:
    if "type" in written:
        return str(written["type"])
    return next((kind for key, kind in _SIGNATURES.items() if key in written), "function")


# ------------------------------------------------------------------------------------------------------------- checks


def check_tools(written: Any, catalog: Catalog) -> Iterable[Problem]:
    """Yield what is wrong with ``tools``, as far as it can be known before anything runs."""
    seen: set[str] = set()
    for number, entry in enumerate(written if isinstance(written, list) else ()):
        path: tuple[str | int, ...] = ("tools", number)
        if isinstance(entry, dict) and "mcp" in entry:
            yield from _check_server(entry, path, catalog)
        elif isinstance(entry, dict | str):  # of anything else the option's schema says that it is wrong
            yield from _check_tool(entry, path, catalog, seen)


def _check_server(entry: Mapping[str, Any], path: tuple[str | int, ...], catalog: Catalog) -> Iterable[Problem]:
    name = entry["mcp"]
    if name not in catalog.mcp_servers:
        close = did_you_mean(str(name), catalog.mcp_servers)
        hint = f"did you mean `{close}`?" if close else "declare it in autoglm.yaml: `mcp: {NAME: {command: […]}}`"
        message = f"the settings declare no MCP server `{name}`"
        yield (*path, "mcp"), Diagnostic("unknown-mcp-server", message, hint=hint)
    only = entry.get("only")
    if only is not None and not (isinstance(only, list) and all(isinstance(each, str) for each in only)):
        hint = "write `only: [NAME, …]`"
        yield (*path, "only"), Diagnostic("agent-tools", "`only` is a list of the server's tool names", hint=hint)
    for key in sorted(set(entry) - {"mcp", "only"}):
        hint = "take it out: beside `mcp` there may be `only`"
        yield (*path, key), Diagnostic("agent-tools", f"`{key}` says nothing about an MCP server's tools", hint=hint)


def _check_tool(
    entry: Mapping[str, Any] | str, path: tuple[str | int, ...], catalog: Catalog, seen: set[str]
) -> Iterable[Problem]:
    spec = read_tool(entry)
    if not spec.name:
        hint = "write the name of a function, or `{name: …, script: …}`, or `{mcp: SERVER}`"
        yield path, Diagnostic("agent-tools", "this tool has no name", hint=hint)
        return
    if not NAME.fullmatch(spec.name):
        hint = "a tool's name has letters, digits, `_` and `-`, 64 at most: add `name:`"
        yield path, Diagnostic("agent-tools", f"`{spec.name}` cannot be a tool's name", hint=hint)
    if spec.name in seen:
        yield path, Diagnostic("agent-tools", f"there are two tools called `{spec.name}`", hint="rename one")
    seen.add(spec.name)
    info = catalog.task_types.get(spec.type)
    if info is None or spec.type in _UNFIT:
        message = f"a task of type `{spec.type}` cannot be a tool"
        yield path, Diagnostic("agent-tools", message, hint="use a function or a script")
        return
    if spec.type == "function" and spec.options["handler"] not in catalog.functions:
        handler = str(spec.options["handler"])
        close = did_you_mean(handler, catalog.functions)
        hint = f"did you mean `{close}`?" if close else "define it in tasks/*.py"
        yield path, Diagnostic("unknown-handler", f"there is no function `{handler}`", hint=hint)
    for key in sorted(set(spec.options) - set(info.options)):
        near = did_you_mean(key, [*_OWN, *info.options])
        yield (
            (*path, key),
            Diagnostic(
                "agent-tools", f"`{key}` is nothing that this tool knows", hint=near and f"did you mean `{near}`?"
            ),
        )
    script = spec.options.get("script")
    if spec.type == "script" and isinstance(script, str) and catalog.files is not None and script not in catalog.files:
        close = did_you_mean(script, catalog.files)
        hint = f"did you mean `{close}`?" if close else "scripts are relative to the project's root"
        yield (*path, "script"), Diagnostic("missing-file", f"the script `{script}` does not exist", hint=hint)
    if spec.type != "function" and spec.parameters is None:
        message = f"the tool `{spec.name}` does not say what it takes"
        hint = "add `parameters: {type: object, properties: {…}}`, a JSON Schema"
        yield path, Diagnostic("agent-tools", message, hint=hint)


# ------------------------------------------------------------------------------------------------------------ schemas


def schema_of(function: Callable[..., Any], hidden: Iterable[str]) -> dict[str, Any]:
    """Return the JSON Schema of a function's parameters, from its annotations; ``hidden`` ones are not the model's."""
    from pydantic import ConfigDict, create_model

    try:
        hints = typing.get_type_hints(function)
    except Exception:  # noqa: BLE001  # an annotation that cannot be read tells nothing, and is no error of a tool
        hints = {}
    fields: dict[str, Any] = {}
    open_ended = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind is not parameter.VAR_POSITIONAL and parameter.name not in hidden:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (hints.get(parameter.name, Any), default)
    config = ConfigDict(extra="allow" if open_ended else "forbid", arbitrary_types_allowed=True)
    try:
        schema = create_model("Arguments", __config__=config, **fields).model_json_schema()
    except Exception:  # noqa: BLE001  # a type of the author's that has no schema: the names are still worth telling
        named: dict[str, Any] = {name: {} for name in fields}
        required = [name for name, (_, default) in fields.items() if default is ...]
        return {"type": "object", "properties": named, "required": required}
    return {key: value for key, value in schema.items() if key != "title"}

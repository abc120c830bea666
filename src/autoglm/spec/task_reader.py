"""Tasks from what their authors wrote: the type, the shared fields, and which of the rest are options or arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoglm.base.diagnostics import did_you_mean
from autoglm.spec import choices, decisions, task_fields
from autoglm.spec.catalog import Catalog, FunctionInfo
from autoglm.spec.defaults import Defaults
from autoglm.spec.model import Effects, Join, OnError, Path, Task
from autoglm.spec.prompt_files import ReadFile, expand_arms, expand_prompt
from autoglm.spec.spellings import Entry, read_task_field
from autoglm.spec.tree import shorten
from autoglm.spec.values import Values, build

# The first of these keys that a task has gives its type, before those that the catalog's types declare.
_SIGNATURES = (
    ("decision_node", "decision"),
    ("conditions", "decision"),
    ("llm", "decision"),
    ("features", "decision"),
    ("tasks", "group"),
    ("choose", "group"),
    ("allow", "group"),
    ("handler", "function"),
    ("action", "function"),
    ("script", "script"),
    ("prompt", "llm_generate"),
    ("prompt_template", "llm_generate"),
    ("prompt_file", "llm_generate"),
    ("workflow", "workflow"),
    ("url", "http"),
    ("image", "container"),
)
_OWN_KEYS = ("name", "type", "depends_on", "needs", "with", "retry", "retries", "rollback", "decision_node")
_OFTEN_OPTIONS = frozenset({"labels"})
"""Shared fields that some types have an option of the same name for: then it is the option that is meant."""
TASK_FIELDS = frozenset((*task_fields.READERS, *_OWN_KEYS))
_OFTEN_EMPTY = frozenset({"depends_on", "arguments", "retry", "resources", "env", "labels"})
"""Fields that are set for every task, mostly to nothing, as they are by default."""
_NO_ORDER = "it runs when what it undoes must be undone"
_NOT_IN_ROLLBACK = {
    "depends_on": _NO_ORDER,
    "needs": _NO_ORDER,
    "join": _NO_ORDER,
    "when": "let the work itself see whether there is anything to undo",
    "loop": "each item of a loop is undone by itself",
    "on_error": "it is only retried; when it fails for good, the run says so",
    "tasks": "give the tasks of the group a rollback each",
    "conditions": "name what is to be done",
    "cache": "an undo is never saved",
}
"""What a rollback cannot have, and what to do instead."""
_NO_ORDER_THERE = "it runs when the task that it stands in for has failed for good"
_NOT_IN_FALLBACK = {
    "depends_on": _NO_ORDER_THERE,
    "needs": _NO_ORDER_THERE,
    "join": _NO_ORDER_THERE,
    "when": "let the work itself see what is to be done",
    "loop": "in a loop it stands in for an item",
    "on_error": "when it fails too, the task fails",
    "rollback": "a task whose stand-in succeeded is not rolled back",
    "tasks": "let one task do it",
    "workflow": "let one task do it",
    "conditions": "name what is to be done",
}
"""What a stand-in cannot have, and what to do instead."""
_FRAME: dict[str, Any] = {
    "description": None,
    "when": None,
    "join": Join.NONE_FAILED,
    "result": None,
    "output_schema": None,
    "loop": None,
    "retry": None,
    "timeout": None,
    "cache": None,
    "budget": None,
    "effects": Effects.REPEATABLE,
    "priority": 0,
    "pool": (),
    "executor": None,
    "on_error": OnError.FAIL,
    "fallback": None,
    "rollback": None,
    "tasks": (),
}


@dataclass(slots=True)
class _Draft:
    """A task whose parameters are being sorted."""

    name: str
    type: str
    body: dict[str, Any]
    path: Path
    shorthand: str | None
    known_options: Mapping[str, Any] | None
    """None for a type that nobody here knows: all its keys are taken as options."""
    options: dict[str, Any]
    arguments: dict[str, Any]


class TaskReader:
    """Reads tasks of one file."""

    def __init__(self, values: Values, catalog: Catalog, defaults: Defaults, read_file: ReadFile) -> None:
        self.values = values
        self.read_file = read_file
        self.catalog = catalog
        self.defaults = defaults
        self._signatures = {**catalog.signatures, **dict(_SIGNATURES)}

    def read_all(self, entries: list[Entry]) -> tuple[Task, ...]:
        return tuple([self.read(entry) for entry in entries])

    def read(self, entry: Entry, *, rollback_of: str | None = None) -> Task:
        """Return the task; what of it is wrong has been reported and left out."""
        values, body, path = self.values, entry.body, entry.path
        kind, shorthand = self._type(entry)
        draft = _Draft(entry.name, kind, body, path, shorthand, self._options_of(kind), {}, {})
        fields: dict[str, Any] = {}
        instead = task_fields.body_below(body.get("on_error"), self.catalog.task_types)
        leftover: list[str] = []
        for key, value in body.items():
            reader = task_fields.READERS.get(key)
            if key in _OFTEN_OPTIONS and key in (draft.known_options or ()):
                leftover.append(key)
            elif key == "on_error" and instead is not None:
                fields["fallback"] = None if rollback_of is not None else self._fallback(instead, entry)
            elif reader is not None:
                read = reader(values, value, path, key)
                if read is not None:
                    fields[key] = read
            elif key not in TASK_FIELDS:
                leftover.append(key)
        self._sort_parameters(draft, leftover)
        if draft.known_options is not None and "prompt_file" in draft.known_options:
            expand_prompt(values, self.read_file, draft.options, draft.known_options, fields, path)
            expand_arms(values, self.read_file, draft.options, draft.known_options, path)
        fields.update(
            name=entry.name,
            type=kind,
            depends_on=self._upstreams(entry),
            options=draft.options,
            arguments=draft.arguments,
            source=path,
            written=body,
        )
        for key in ("resources", "env", "labels"):
            if key not in fields:
                fields[key] = {}
        fields["retry"] = task_fields.retry(values, body, path, self.defaults.retry_for(kind))
        self.defaults.apply(fields, body, self.catalog.task_types.get(kind))
        if kind == "group" and body.keys() & choices.OPTIONS.keys():
            fields["tasks"] = self.read_all(choices.bodies(values, draft.options, path))
        elif "tasks" in body and kind == "group":
            fields["tasks"] = self.read_all(read_task_field(values, body["tasks"], (*path, "tasks")))
        if "rollback" in body:
            fields["rollback"] = self._rollback(body["rollback"], entry, rollback_of)
        told = [key for key, value in fields.items() if key not in _OFTEN_EMPTY or value]
        return build(Task, {**_FRAME, **fields}, told)

    def _upstreams(self, entry: Entry) -> task_fields.Upstreams:
        body = entry.body
        upstreams: task_fields.Upstreams = {}
        if "depends_on" in body:
            upstreams = task_fields.depends_on(self.values, body["depends_on"], entry.path, "depends_on")
        if "needs" in body:
            if "depends_on" in body:
                message = "`needs` and `depends_on` say the same; write one of them"
                self.values.error("key-twice", message, (*entry.path, "needs"), key=True)
            else:
                upstreams = task_fields.depends_on(self.values, body["needs"], entry.path, "needs")
        for name in (*entry.after, *(name for name in entry.after_called if name in self.catalog.functions)):
            upstreams.setdefault(name, None)
        return upstreams

    def _type(self, entry: Entry) -> tuple[str, str | None]:
        """Return the task's type and, where a shorthand gave it, the shorthand's key."""
        body = entry.body
        if "type" in body:
            kind = self.values.filled_text(body["type"], entry.path, "type") or "function"
            shorthand = (
                self._shorthand(body) if kind == "function" and not body.keys() & {"handler", "action"} else None
            )
            is_function = shorthand is not None and shorthand in self.catalog.functions
            return kind, shorthand if is_function else None
        own = self.catalog.functions.get(entry.name)
        for key, kind in self._signatures.items():
            if key in body and not (own is not None and key in own.parameters):
                return kind, None
        shorthand = self._shorthand(body)
        if shorthand is not None and not (own is not None and shorthand in own.parameters):
            return ("function" if shorthand in self.catalog.functions else shorthand), shorthand
        return "function", None

    def _shorthand(self, body: Mapping[str, Any]) -> str | None:
        """Return the key that names a function or a task type, where there is exactly one such."""
        catalog = self.catalog
        found = [
            key for key in body if key not in TASK_FIELDS and (key in catalog.functions or key in catalog.task_types)
        ]
        return found[0] if len(found) == 1 else None

    def _options_of(self, kind: str) -> Mapping[str, Any] | None:
        info = self.catalog.task_types.get(kind)
        if kind == "decision":
            return {**decisions.OPTIONS, **(info.options if info else {})}
        if kind == "group":
            return {"tasks": None, **choices.OPTIONS}
        if info is not None:
            return info.options
        return {"handler": None} if kind == "function" else None

    def _sort_parameters(self, draft: _Draft, leftover: list[str]) -> None:
        """Divide what is not a shared field between the type's options and the task's arguments."""
        body, path = draft.body, draft.path
        if draft.type == "function":
            self._find_handler(draft, leftover)
        for key in leftover:
            if key == draft.shorthand or (draft.type == "group" and key == "tasks"):
                continue
            if draft.known_options is None or key in draft.known_options:
                draft.options[key] = body[key]
            elif draft.type == "function" and self._is_argument(draft, key):
                draft.arguments[key] = body[key]
            else:
                self._unknown_key(draft, key)
        if "with" in body:
            self._take_parameters(draft, self.values.mapping(body["with"], path, "with") or {}, (*path, "with"))
        if draft.shorthand is not None:
            hint = f"write `{draft.shorthand}: {{…}}`"
            parameters = self.values.mapping(body[draft.shorthand], path, draft.shorthand, hint) or {}
            self._take_parameters(draft, parameters, (*path, draft.shorthand))
        if draft.type == "decision":
            decisions.check(self.values, draft.options, path, draft.body)

    def _find_handler(self, draft: _Draft, leftover: list[str]) -> None:
        """Settle which function is called: as named, by shorthand, or the one of the task's own name."""
        body, path = draft.body, draft.path
        named = [key for key in ("handler", "action") if key in body]
        if len(named) == 2:
            message = "`handler` and `action` say the same; write one of them"
            self.values.error("key-twice", message, (*path, "action"), key=True)
        handler = None
        for key in named[:1]:
            handler = self.values.filled_text(body[key], path, key)
        parameters = body.get("with")
        if handler is None and not named and isinstance(parameters, dict):
            inside = parameters.get("handler")
            own = self.catalog.functions.get(draft.shorthand or draft.name)
            if isinstance(inside, str) and not (own is not None and "handler" in own.parameters):
                return
        draft.options["handler"] = handler or draft.shorthand or draft.name
        leftover[:] = [key for key in leftover if key not in named]

    def _take_parameters(self, draft: _Draft, parameters: Mapping[str, Any], path: Path) -> None:
        for key, value in parameters.items():
            if draft.known_options is not None and key in draft.known_options and key not in draft.options:
                draft.options[key] = value
            elif key in draft.arguments:
                self.values.error("key-twice", f"`{key}` is written beside this already", (*path, key), key=True)
            else:
                draft.arguments[key] = value

    def _is_argument(self, draft: _Draft, key: str) -> bool:
        """Return whether a flat key is a parameter of the task's function, as far as one can tell."""
        function: FunctionInfo | None = self.catalog.functions.get(str(draft.options.get("handler")))
        if function is not None and not function.accepts_any:
            return key in function.parameters
        if function is not None and key in function.parameters:
            return True
        # Nobody knows its parameters: what looks like a misspelt field or shorthand is more likely that.
        known: set[str] = {*TASK_FIELDS}
        if function is None and not draft.body.keys() & {"handler", "action", "type"}:
            known |= set(self.catalog.names())
        return key not in task_fields.OTHER_WORDS and did_you_mean(key, known) is None

    def _unknown_key(self, draft: _Draft, key: str) -> None:
        if self.values.is_full:
            return
        kind = draft.type
        known: set[str] = {*TASK_FIELDS, *(draft.known_options or ())}
        hint = None
        what = "a decision" if kind == "decision" else f"a task of type `{shorten(kind)}`"
        if kind == "function":
            handler = str(draft.options.get("handler", draft.name))
            function = self.catalog.functions.get(handler)
            if function is not None:
                known |= set(function.parameters)
                what = f"a task, nor a parameter of the function `{shorten(handler)}`"
        guess = did_you_mean(key, known)
        word = task_fields.OTHER_WORDS.get(key)
        if guess is None and word is not None:
            hint = f"write `{word}`"
        elif guess is None and key in self._signatures:
            hint = f"`{key}` belongs to a task of type `{self._signatures[key]}`"
        elif guess is None and kind not in ("group", "decision", "function"):
            hint = "parameters of the author's own go below `with`"
        elif guess is None and "type" not in draft.body:
            near = did_you_mean(key, self.catalog.names())
            hint = f"did you mean `{near}`?" if near else None
        self.values.unknown_key(key, draft.path, known, what, hint)

    def _rollback(self, value: Any, entry: Entry, rollback_of: str | None) -> Task | None:
        path = (*entry.path, "rollback")
        if rollback_of is not None:
            message = f"the rollback of `{rollback_of}` has a rollback of its own"
            self.values.error("nested-rollback", message, path, key=True, hint="remove it; a rollback is only retried")
            return None
        body = self.values.mapping(value, entry.path, "rollback", "write a task: `rollback: {handler: undo}`")
        if body is None:
            return None
        named = body.get("name")
        name = named if isinstance(named, str) and named else entry.name
        has_work = "type" in body or self._shorthand(body) or any(key in self._signatures for key in body) or named
        if not has_work:
            message = f"the rollback of `{entry.name}` does not say what to do"
            self.values.error("empty-rollback", message, path, key=True, hint="add `handler:` or `script:`")
            return None
        allowed = self._allowed(body, f"the rollback of `{entry.name}`", path, _NOT_IN_ROLLBACK, "rollback-field")
        return self.read(Entry(name, allowed, path, path, name_is_key=named is None), rollback_of=entry.name)

    def _fallback(self, body: dict[str, Any], entry: Entry) -> Task:
        """Return the task that stands in for another one that failed for good."""
        path = (*entry.path, "on_error", "degrade")
        named = body.get("name")
        name = named if isinstance(named, str) and named else entry.name
        what = f"what stands in for `{entry.name}`"
        allowed = self._allowed(body, what, path, _NOT_IN_FALLBACK, "fallback-field")
        task = self.read(Entry(name, allowed, path, path, name_is_key=named is None), rollback_of=entry.name)
        if task.type in ("group", "workflow", "decision"):
            message = f"{what} is one piece of work, and no task of type `{task.type}`"
            self.values.error("fallback-field", message, (*path, "type"), hint="let one task do it")
        return task.model_copy(update={"on_error": OnError.FAIL})

    def _allowed(
        self, body: Mapping[str, Any], what: str, path: Path, refused: Mapping[str, str], code: str
    ) -> dict[str, Any]:
        """Return the fields of work that stands beside a task; what it cannot have has been reported."""
        allowed = {}
        for key, part in body.items():
            if key in refused:
                message = f"{what} is one piece of work, and has no `{key}`"
                self.values.error(code, message, (*path, key), key=True, hint=refused[key])
            else:
                allowed[key] = part
        return allowed

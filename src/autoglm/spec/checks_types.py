"""Checks against the installation: task types and their options, handlers, models, executors, pools, files, schemas."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from autoglm.base.diagnostics import did_you_mean
from autoglm.base.jsonvalue import NotJson, canonical, is_of_type
from autoglm.spec.catalog import Catalog, FunctionInfo, OptionInfo, TaskTypeInfo
from autoglm.spec.faults import kind_of, suggest
from autoglm.spec.model import Budget, DegradeTo, Path, StandIn, Task, Workflow
from autoglm.spec.names import OWN, alias, loop_names
from autoglm.spec.report import Report
from autoglm.spec.schemas import has_field
from autoglm.spec.scopes import ScopeInfo, TaskInfo, Upstream

_STRUCTURAL: Final = frozenset({"group", "decision", "workflow", "approval", "wait"})
"""Types that the engine knows itself."""
_CONTEXT: Final = frozenset({"ctx", "context"})
_SCRIPT: Final = re.compile(r"[\w./-]+\.(?:py|sh|bash|js|ts|rb|pl|r|R)|\.{0,2}/?[\w.-]+(?:/[\w.-]+)+")
_EASY_KEYWORDS: Final = frozenset(
    {"type", "description", "title", "default", "examples", "enum", "$comment", "minLength", "minItems", "minimum"}
)
"""What is checked without the library for the rest: importing that costs more than checking a small file."""


def check_types(workflow: Workflow, scopes: Iterable[ScopeInfo], catalog: Catalog, report: Report) -> None:
    """Check every task against what is installed, and the workflow's models."""
    checker = _Checker(workflow, catalog, report)
    for scope in scopes:
        for info in scope.tasks:
            checker.task(info)
    if workflow.budget is not None:
        checker._degrade_model(workflow.budget, report.workflow)
    for name, spec in workflow.models.items():
        if spec.api_key is not None and not _holds_template(spec.api_key):
            checker.literal_key(("models", name, "api_key"), None, f"the key of the model `{name}`")
    for name, declared in workflow.inputs.items():
        if declared.secret and declared.default not in (None, ""):
            checker.literal_default(name)


class _Checker:
    def __init__(self, workflow: Workflow, catalog: Catalog, report: Report) -> None:
        self.workflow = workflow
        self.catalog = catalog
        self.report = report
        self.schemas: dict[bytes, tuple[Path, str] | None] = {}
        """Checked schemas by their canonical text: where and what is wrong with them."""
        self.validators: dict[tuple[str, str], Any] = {}

    def task(self, info: TaskInfo) -> None:
        """Check one task, and the work that stands beside it."""
        task = info.task
        self._beside(info)
        kind = self._type(task)
        if kind is not None:
            self._options(task, kind)
            self._executor(task, kind)
            if task.type == "function":
                self._function(info)
            elif task.type == "script":
                self._script(task)
        for name in task.pool:
            if name not in self.workflow.pools:
                hint = suggest(name, self.workflow.pools, what="the pools are") or "declare it under `pools`"
                self._say(task, ("pool",), "unknown-pool", f"there is no pool `{name}`", hint, name)
        if task.type in ("group", "workflow") and task.retry is not None:
            hint = "give the tasks in it a `retry`"
            what = f"the {'group' if task.type == 'group' else 'workflow that is called by'} `{task.name}`"
            self._say(task, ("retry",), "retry-on-group", f"{what} cannot be retried as a whole", hint)
        if task.output_schema is not None:
            self._schema(task, task.output_schema)
        if kind is not None and not kind.caches and task.cache is not None:
            hint = "leave `cache` out; it is for tasks that ask a model"
            message = f"a task of type `{task.type}` cannot be cached"
            self._say(task, ("cache",), "cache-not-available", message, hint, key=True)
        if task.budget is not None:
            asks = task.type == "group" or (kind is not None and kind.caches)
            if not asks:
                hint = "leave `budget` out; it is for tasks that ask a model, and for groups of such"
                message = f"a task of type `{task.type}` asks no model"
                self._say(task, ("budget",), "budget-not-available", message, hint, key=True)
            self._degrade_model(task.budget, lambda *args, **more: self._say(task, *args, **more))
        loop = task.loop
        if loop is not None and loop.file is not None:
            self._file(task, ("loop", "file"), loop.file.partition("#")[0])

    def _beside(self, info: TaskInfo) -> None:
        """Check what undoes a task, and what stands in for it."""
        task = info.task
        if task.rollback is not None:
            undone = {info.index: Upstream(("rollback",))}  # its result is at hand as an upstream's is
            self.task(TaskInfo(task.rollback, info.index, info.scope, upstreams=undone))
        if task.fallback is not None:
            beside = TaskInfo(task.fallback, info.index, info.scope, upstreams=info.upstreams)
            beside.fails_over = [info]
            self.task(beside)
        if isinstance(task.on_error, StandIn) and task.on_error.model is not None:
            self._other_model(task, task.on_error.model)

    def _say(
        self,
        task: Task,
        path: Path,
        code: str,
        message: str,
        hint: str | None = None,
        word: str | None = None,
        *,
        key: bool = False,
        warning: bool = False,
    ) -> None:
        self.report.task(task, path, code, message, hint=hint, word=word, key=key, warning=warning)

    # -------------------------------------------------------------------------------------------------- the type

    def _type(self, task: Task) -> TaskTypeInfo | None:
        kind = self.catalog.task_types.get(task.type)
        if kind is None and task.type not in _STRUCTURAL:
            types = [*self.catalog.task_types, *_STRUCTURAL]
            hint = suggest(task.type, types, what="the types are")
            self._say(task, ("type",), "unknown-type", f"there is no task type `{task.type}`", hint, task.type)
        return kind

    def _executor(self, task: Task, kind: TaskTypeInfo) -> None:
        name = task.executor
        if name is None:
            return
        if name not in self.catalog.executors:
            hint = suggest(name, self.catalog.executors, what="the executors are")
            self._say(task, ("executor",), "unknown-executor", f"there is no executor `{name}`", hint, name)
        elif kind.executors and name not in kind.executors:
            message = f"a task of type `{task.type}` cannot run in the executor `{name}`"
            hint = "it runs in: " + ", ".join(kind.executors)
            self._say(task, ("executor",), "wrong-executor", message, hint, name)

    def _options(self, task: Task, kind: TaskTypeInfo) -> None:
        for name, option in kind.options.items():
            if name not in task.options:
                if option.required:
                    message = f"`{task.name}` has no `{name}`, which a task of type `{task.type}` needs"
                    self._say(task, (), "missing-option", message, f"write `{name}: …`")
            elif (held := _template_in(_values(task, name))) is None:
                if task.type != "decision" or name in _READ_UNCHECKED:  # the others' reader says it in better words
                    self._option(task, option, task.options[name])
            elif not option.templated:
                message = f"`{name}` must be known before anything runs, so it cannot hold a template"
                path = ("options", name, *held)
                self._say(task, path, "template-not-allowed", message, "write the value itself")
        if kind.options:
            for name in task.options:
                if name not in kind.options:
                    message = f"a task of type `{task.type}` has no option `{name}`"
                    hint = suggest(name, kind.options, what="its options are")
                    self._say(task, ("options", name), "unknown-option", message, hint, key=True)
        if isinstance(task.options.get("api_key"), str) and not _holds_template(task.options["api_key"]):
            self.literal_key(("options", "api_key"), task, f"the key of `{task.name}`")
        if task.type == "decision":
            self._deciding_model(task)
        elif "model" in kind.options:
            self._model(task, task.options.get("model"), ("options", "model"))

    def literal_key(self, path: Path, task: Task | None, what: str) -> None:
        """Report a key that stands in the file itself."""
        message = f"{what} stands in the file, where everybody who reads the file can read it"
        hint = "write `{{ secrets.NAME }}` and give NAME in the environment or in `.env`"
        if task is None:
            self.report.workflow(path, "literal-secret", message, hint=hint)
        else:
            self._say(task, path, "literal-secret", message, hint)

    def literal_default(self, name: str) -> None:
        """Warn of a secret input whose value stands in the file itself, without showing the line that holds it."""
        message = (
            f"the default of the secret input `{name}` stands in the file, and so in what each run keeps of the file"
        )
        hint = "leave the default out and give the input, or read `{{ secrets.NAME }}` instead"
        self.report.workflow(("inputs", name, "default"), "literal-secret", message, hint=hint, key=True, warning=True)
        self.report.found[-1] = replace(self.report.found[-1], excerpt=None)

    def _degrade_model(self, budget: Budget, say: Callable[..., None]) -> None:
        """Check that the model exists that is asked when a budget is used up."""
        if isinstance(budget.on_exhausted, DegradeTo):
            name = budget.on_exhausted.degrade
            if "/" not in name and name not in {**self.catalog.models, **self.workflow.models}:
                known = {**self.catalog.models, **self.workflow.models}
                hint = suggest(name, known, what="the models are") or "declare it under `models`"
                path = ("budget", "on_exhausted", "degrade")
                say(path, "unknown-model", f"there is no model `{name}`", hint=hint, word=name)

    def _other_model(self, task: Task, name: str) -> None:
        """Check that the task can ask another model, and that there is that model."""
        kind = self.catalog.task_types.get(task.type)
        place = ("on_error", "degrade", "model")
        if kind is not None and (task.type == "decision" or "model" not in kind.options):
            hint = "write `{degrade: {task: NAME}}`, or a value"
            message = f"a task of type `{task.type}` asks no model, so it cannot ask another one instead"
            self._say(task, place, "fallback-model", message, hint, key=True)
            return
        known = {**self.catalog.models, **self.workflow.models}
        if "/" not in name and name not in known:
            hint = suggest(name, known, what="the models are") or "declare it under `models`"
            self._say(task, place, "unknown-model", f"there is no model `{name}`", hint, name)

    def _deciding_model(self, task: Task) -> None:
        llm = task.options.get("llm")
        if isinstance(llm, dict):
            self._model(task, llm.get("model"), ("options", "llm", "model"))
        else:
            self._model(task, llm, ("options", "llm"))
        file = task.options.get("model")
        if isinstance(file, str):
            self._file(task, ("options", "model"), file)

    def _model(self, task: Task, written: Any, path: Path) -> None:
        if "base_url" in task.options:
            return
        if isinstance(written, dict) and isinstance(written.get("split"), dict):
            for arm, options in written["split"].items():
                if isinstance(options, dict) and isinstance(options.get("model"), str):
                    self._model(task, options["model"], (*path, "split", arm, "model"))
        for at, name in enumerate(written if isinstance(written, list) else [written]):
            if isinstance(name, str) and "/" not in name and not _holds_template(name):
                self._model_name(task, name, (*path, at) if written is not name else path)

    def _model_name(self, task: Task, name: str, path: Path) -> None:
        known = {**self.catalog.models, **self.workflow.models}
        if name not in known:
            hint = suggest(name, known, what="the models are") or "declare it under `models`"
            self._say(task, path, "unknown-model", f"there is no model `{name}`", hint, name)

    # -------------------------------------------------------------------------------------------------- functions

    def _function(self, info: TaskInfo) -> None:
        task = info.task
        handler = task.options.get("handler", task.name)
        if not isinstance(handler, str) or _holds_template(handler):
            return
        function = self.catalog.functions.get(handler)
        if function is not None:
            self._parameters(info, function)
        elif ":" not in handler:
            path: Path = ("options", "handler") if "handler" in task.options else ()
            close = did_you_mean(handler, self.catalog.functions)
            hint = f"did you mean `{close}`?" if close else f"define `def {alias(handler)}(…)` in a file of `tasks/`"
            self._say(task, path, "unknown-function", f"there is no function `{handler}`", hint, handler)

    def _parameters(self, info: TaskInfo, function: FunctionInfo) -> None:
        task = info.task
        takes_more = function.accepts_any or not _CONTEXT.isdisjoint(function.parameters)
        shown = f"`{function.name}`" + (f" ({function.origin})" if function.origin != function.name else "")
        for name in task.arguments:
            if name not in function.parameters and not takes_more:
                hint = suggest(name, function.parameters, what="it takes") or "it takes none"
                message = f"{shown} has no parameter `{name}`"
                self._say(task, ("arguments", name), "unknown-parameter", message, hint, key=True)
        missing = [name for name in function.required if not self._is_filled(info, name)]
        if info.unknown:
            return  # a misspelt upstream may give them: one error is enough
        if len(missing) == 1 and (task.loop is not None or len(info.given) == 1):
            return  # a lone parameter without a value gets the loop's item, or the single upstream's result
        for name in missing:
            message = f"{shown} needs `{name}`, and nothing gives it"
            hint = f"write `with: {{{name}: …}}`, or declare an input `{name}`"
            if info.is_called_by_decision:
                hint = f"give it a task that says more: `{{name: {task.name}, with: {{{name}: …}}}}`"
            self._say(task, (), "missing-parameter", message, hint)

    def _is_filled(self, info: TaskInfo, name: str) -> bool:
        """Tell whether something fills the parameter, or may do so when the upstreams' results are known."""
        task = info.task
        if info.index in info.upstreams and name in OWN:  # of what a rollback undoes
            return True
        if name in task.arguments or name in self.workflow.inputs or name in loop_names(task) | info.names_around:
            return True
        names = (info.scope.tasks[index].task.name for index in info.upstreams)
        if any(name in (each, alias(each)) for each in names):
            return True
        for upstream in info.given:
            if name in (upstream.task.name, alias(upstream.task.name)):
                return True
            if has_field(upstream.result_schema(), name) is not False:
                return True
        return False

    # ------------------------------------------------------------------------------------------ files and schemas

    def _script(self, task: Task) -> None:
        script = task.options.get("script")
        if isinstance(script, str) and _SCRIPT.fullmatch(script) and not script.startswith("/"):
            self._file(task, ("options", "script"), script, code="missing-script", what="script")

    def _file(self, task: Task, path: Path, name: str, code: str = "missing-file", what: str = "file") -> None:
        files = self.catalog.files
        if files is None or _holds_template(name) or name.startswith("/"):
            return
        clean = "/".join(part for part in name.split("/") if part not in ("", "."))
        if clean in files or ".." in clean.split("/"):
            return
        # A script is needed as it stands; a file of items may still be written by a task before.
        close = did_you_mean(clean, files)
        hint = f"did you mean `{close}`?" if close else "its path is relative to the project's root"
        is_folder = any(file.startswith(f"{clean}/") for file in files)
        message = f"the {what} `{name}` is a folder" if is_folder else f"the {what} `{name}` does not exist"
        self._say(task, path, code, message, hint, name, warning=code == "missing-file")

    def _schema(self, task: Task, schema: dict[str, Any]) -> None:
        try:
            key = canonical(schema)
        except NotJson as error:
            self._say(task, ("output_schema",), "invalid-schema", str(error), error.hint)
            return
        if key not in self.schemas:
            self.schemas[key] = schema_fault(schema)
        fault = self.schemas[key]
        if fault is not None:
            path, message = fault
            self._say(task, ("output_schema", *path), "invalid-schema", f"this is no JSON Schema: {message}")

    def _option(self, task: Task, option: OptionInfo, value: Any) -> None:
        fault = _type_fault(option.schema, value)
        path: Path = ()
        if fault is None and not option.schema.keys() <= _EASY_KEYWORDS:
            key = (task.type, option.name)
            if key not in self.validators:
                import jsonschema

                self.validators[key] = jsonschema.Draft202012Validator(option.schema)
            import jsonschema.exceptions

            error = jsonschema.exceptions.best_match(self.validators[key].iter_errors(value))
            if error is not None:
                path, fault = tuple(error.absolute_path), _shortened(error.message)
        if fault is not None:
            message = f"`{option.name}` of `{task.name}`: {fault}"
            self._say(task, ("options", option.name, *path), "invalid-option", message, _expected(option.schema))


def _type_fault(schema: Mapping[str, Any], value: Any) -> str | None:
    """Check what nearly every option's schema says, ``type`` and ``enum``, without the library for the rest."""
    types = schema.get("type")
    if types is not None:
        names = [types] if isinstance(types, str) else list(types)
        if not any(is_of_type(value, name) for name in names):
            return f"{kind_of(value)} stands where {' or '.join(names)} is expected"
    if isinstance(value, str | list) and len(value) < schema.get(
        "minLength" if isinstance(value, str) else "minItems", 0
    ):
        return f"{kind_of(value)} is too short" if value else f"{kind_of(value)} must not be empty"
    if isinstance(value, int | float) and value < schema.get("minimum", value):
        return f"{value} is less than {schema['minimum']}"
    allowed = schema.get("enum")
    if isinstance(allowed, list | tuple) and value not in allowed:
        close = did_you_mean(str(value), map(str, allowed))
        return f"{value!r} is none of {', '.join(map(str, allowed))}" + (f"; did you mean `{close}`?" if close else "")
    return None


def _expected(schema: Mapping[str, Any]) -> str | None:
    description = schema.get("description")
    return str(description) if description else None


def schema_fault(schema: dict[str, Any]) -> tuple[Path, str] | None:
    """Return where and how this is no JSON Schema, None when it is one."""
    import jsonschema

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        error = jsonschema.exceptions.best_match(kind(kind.META_SCHEMA).iter_errors(schema))
    except RecursionError:
        return (), "it nests too deeply"
    if error is None:
        return None
    path = tuple(error.absolute_path)
    if path and path[-1] == "type" and isinstance(error.instance, str):
        types = "string, integer, number, boolean, array, object and null"
        return path, _shortened(f"`{error.instance}` is none of its types, which are {types}")
    return path, _shortened(error.message)


def _shortened(message: str) -> str:
    return message if len(message) <= 200 else message[:199] + "…"


def _holds_template(value: Any) -> bool:
    return _template_in(value) is not None


_READ_UNCHECKED = frozenset({"prompt", "prompt_template", "system"})
"""Options of a decision whose kind its reader does not look at."""


def _values(task: Task, name: str) -> Any:
    """Return an option without what is an expression anyway, with or without braces: the rules of a decision."""
    value = task.options[name]
    if task.type != "decision" or name != "conditions" or not isinstance(value, list):
        return value
    return [each if not isinstance(each, dict) else {**each, "rule": None} for each in value]


def _template_in(value: Any) -> Path | None:
    """Return where in a value its first template stands, None when it holds none."""
    if isinstance(value, str):
        return () if "{{" in value or "{%" in value else None
    entries: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list | tuple):
        entries = enumerate(value)
    found = ((key, _template_in(entry)) for key, entry in entries)
    return next(((key, *below) for key, below in found if below is not None), None)

"""Checks of what templates read: names that nothing binds, and fields that are not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autoglm.base.diagnostics import did_you_mean
from autoglm.spec.catalog import Catalog
from autoglm.spec.faults import suggest
from autoglm.spec.model import InputSpec, Task, Workflow
from autoglm.spec.names import OWN, SPECIAL, VIEW, Fault, Kind, Reading, nearer_names, read_outputs, repeats
from autoglm.spec.report import Report
from autoglm.spec.schemas import fields_of, has_field, step
from autoglm.spec.scopes import ScopeInfo, TaskInfo

_ERROR_FIELDS = ("code", "message")


def check_names(workflow: Workflow, scopes: Iterable[ScopeInfo], catalog: Catalog, report: Report) -> None:
    """Check every template of the workflow."""
    scopes = list(scopes)
    checker = _Checker(workflow, catalog, report)
    for scope in scopes:
        for info in scope.tasks:
            checker.task(info)
    checker.outputs(scopes[0])


def check_unused_inputs(workflow: Workflow, scopes: Iterable[ScopeInfo], catalog: Catalog, report: Report) -> None:
    """Warn of declared inputs that nothing reads."""
    if workflow.inputs_inferred or not workflow.inputs:
        return
    unused = dict(workflow.inputs)
    infos = [info for scope in scopes for info in scope.tasks]
    chains = [chain for info in infos for reading in info.readings for chain in reading.template.paths]
    chains += [chain for reading in read_outputs(workflow)[0] for chain in reading.template.paths]
    for chain in chains:
        if chain == ("inputs",):
            return
        unused.pop(chain[1] if chain[0] == "inputs" else chain[0], None)
    works = [work for info in infos for work in (info.task, info.task.rollback, info.task.fallback) if work is not None]
    for task in works:
        if task.type in ("group", "decision", "script") or task.type.startswith("llm_"):
            continue
        function = catalog.functions.get(str(task.options.get("handler", task.name)))
        if task.type != "function" or function is None or function.accepts_any:
            return  # it may read any of them
        for name in function.parameters:
            unused.pop(name, None)
    for name in unused:
        message = f"the input `{name}` is never used"
        report.workflow(
            ("inputs", name), "unused-input", message, hint="take it out, or read it", warning=True, key=True
        )


class _Checker:
    def __init__(self, workflow: Workflow, catalog: Catalog, report: Report) -> None:
        self.workflow = workflow
        self.catalog = catalog
        self.report = report
        self.globals = SPECIAL | workflow.inputs.keys() | workflow.vars.keys()

    def task(self, info: TaskInfo) -> None:
        """Check the templates of one task."""
        for fault in info.faults:
            self._fault(info.task, fault)
        for reading in info.readings:
            nearer = nearer_names(info.task, reading.kind, info.names_around)
            for chain in reading.template.paths:
                self._chain(_Where(info.task, info.scope, info, reading), chain, nearer)

    def outputs(self, root: ScopeInfo) -> None:
        """Check the workflow's ``outputs``."""
        readings, faults = read_outputs(self.workflow)
        for fault in faults:
            self._fault(None, fault)
        for reading in readings:
            for chain in reading.template.paths:
                self._chain(_Where(None, root, None, reading), chain, frozenset())

    # -------------------------------------------------------------------------------------------------- one chain

    def _chain(self, where: _Where, chain: tuple[str, ...], nearer: frozenset[str]) -> None:
        root = chain[0]
        if root in nearer:
            return
        if root == "tasks":
            self._task_chain(where, chain)
        elif root in OWN:
            self._own_chain(where, chain)
        elif root in SPECIAL:
            self._special_chain(where, chain)
        elif root in self.workflow.inputs:
            self._schema_chain(where, chain, 1, input_schema(self.workflow.inputs[root]))
        elif root in self.workflow.vars:
            self._data_chain(where, chain, 1, self.workflow.vars[root])
        elif not where.is_guarded(chain):
            self._free_name(where, chain, nearer)

    def _task_chain(self, where: _Where, chain: tuple[str, ...]) -> None:
        if len(chain) == 1:
            advice = "write `tasks.NAME`, or `tasks['NAME']`: what a task reads must be known before it runs"
            message = "`tasks` is read without a literal name"
            self._say(where, "dynamic-task-reference", message, advice, "tasks")
            return
        name = chain[1]
        target = where.scope.find(name)
        if target is None:
            tasks = [info.task for info in where.scope.tasks if info is not where.info]
            hint = self.report.did_you_mean(name, tasks) or suggest(name, where.scope.visible(), what="there are")
            self._say(where, "unknown-task", f"`tasks.{name}` does not exist", hint, name)
            return
        if target is where.info and where.reading.kind is not Kind.DEGRADE:
            self._say(
                where, "self-dependency", f"`tasks.{name}` is the task itself", "its own outcome is `output`", name
            )
            return
        if len(chain) == 2:
            return
        field = chain[2]
        if field not in VIEW:
            close = did_you_mean(field, VIEW)
            hint = f"did you mean `{close}`?" if close else f"write `tasks.{name}.result.{field}`"
            self._say(where, "unknown-field", f"`tasks.{name}` has no `{field}`; it has {', '.join(VIEW)}", hint, field)
        elif field == "result":
            self._schema_chain(where, chain, 3, target.result_schema())
        elif field == "error" and len(chain) > 3 and chain[3] not in _ERROR_FIELDS:
            message = f"`tasks.{name}.error` has no `{chain[3]}`; it has {', '.join(_ERROR_FIELDS)}"
            self._say(where, "unknown-field", message, None, chain[3])

    def _own_chain(self, where: _Where, chain: tuple[str, ...]) -> None:
        """``result`` and ``output`` outside of the task's own fields: those of its single upstream."""
        root = chain[0]
        if where.is_guarded(chain) or root in self.workflow.inputs or root in self.workflow.vars:
            return
        upstreams = _upstream_names(where.info)
        if len(upstreams) > 1:
            choices = " or ".join(f"`tasks.{name}.{root}`" for name in upstreams[:3])
            message = f"`{root}` could be that of any of {len(upstreams)} upstreams"
            self._say(where, "ambiguous-result", message, f"name one: {choices}", root)
        elif not upstreams:
            message = f"there is no upstream whose `{root}` this could be"
            hint = "write `tasks.NAME.result`, or `depends_on`; in `result:` it is the task's own"
            if where.reading.kind is Kind.WHILE:
                hint = "it is asked before the iteration: write `previous`"
            self._say(where, "unknown-name", message, hint, root)
        elif root == "result" and where.info is not None and where.info.single_upstream is not None:
            self._schema_chain(where, chain, 1, where.info.single_upstream.result_schema())

    def _special_chain(self, where: _Where, chain: tuple[str, ...]) -> None:
        if len(chain) == 1:
            return
        root, name = chain[0], chain[1]
        if root == "inputs":
            if name in self.workflow.inputs:
                self._schema_chain(where, chain, 2, input_schema(self.workflow.inputs[name]))
            elif not where.is_guarded(chain):
                hint = suggest(name, self.workflow.inputs, what="the inputs are") or "declare it under `inputs`"
                self._say(where, "unknown-name", f"there is no input `{name}`", hint, name)
        elif root == "vars":
            self._data_chain(where, chain, 1, self.workflow.vars)
        elif root == "config" and self.catalog.config:
            self._data_chain(where, chain, 1, self.catalog.config)
        elif root == "env" and self.catalog.env and name not in self.catalog.env and not where.is_guarded(chain):
            allowed = suggest(name, self.catalog.env, what="templates may read")
            self._say(where, "unknown-name", f"templates may not read the variable `{name}`", allowed, name)

    def _free_name(self, where: _Where, chain: tuple[str, ...], nearer: frozenset[str]) -> None:
        """A name that only the single upstream's result can give, if anything does."""
        name = chain[0]
        upstream = where.info.single_upstream if where.info is not None else None
        fields: list[str] = []
        if upstream is not None:
            schema = upstream.result_schema()
            known = has_field(schema, name)
            if known is not False:
                if known:
                    self._schema_chain(where, chain, 0, schema)
                return
            fields = fields_of(schema)
        if name == "previous":
            message = "`previous` is the result of the iteration before, and there is no `until` loop here"
            hint = "write `loop: {until: …, max_iterations: …}`"
            if where.info is not None and repeats(where.info.task):
                message = "`previous` is the result of the iteration before, and this is asked before there is any"
                hint = "`while` is asked before each iteration"
            self._say(where, "previous-outside-until", message, hint, name)
            return
        self._say(where, "unknown-name", f"`{name}` is not known here", self._hint(where, name, nearer, fields), name)

    def _hint(self, where: _Where, name: str, nearer: frozenset[str], fields: list[str]) -> str | None:
        in_scope = [*nearer, *self.workflow.inputs, *self.workflow.vars, *fields]
        close = did_you_mean(name, in_scope)
        if close:
            return f"did you mean `{close}`?"
        if name in ("item", "index"):
            return "there is no loop around this; a loop's own source is read before it has items"
        if name == "error":
            return "what failed is known to the tasks of `on_error` and `finally`, and to what `degrade` gives"
        if where.scope.find(name) is not None:
            return f"write `tasks.{name}.result`"
        upstreams = _upstream_names(where.info)
        if len(upstreams) > 1:
            return f"with several upstreams write `tasks.{upstreams[0]}.result.{name}`"
        return suggest(name, [*in_scope, *SPECIAL])

    # ---------------------------------------------------------------------------------------------------- deeper

    def _schema_chain(self, where: _Where, chain: tuple[str, ...], first: int, schema: Any) -> None:
        """Follow the chain's keys from number ``first`` down a schema."""
        for number in range(first, len(chain)):
            below = step(schema, chain[number])
            if below is None:
                return
            if below is False:
                if not where.is_guarded(chain):
                    known = fields_of(schema)
                    what = "" if known else "; by its schema it has no fields"
                    message = f"`{_written(chain[:number])}` has no field `{chain[number]}`{what}"
                    hint = suggest(chain[number], known, what="its schema has")
                    self._say(where, "unknown-field", message, hint, chain[number])
                return
            schema = below

    def _data_chain(self, where: _Where, chain: tuple[str, ...], first: int, data: Any) -> None:
        """Follow the chain's keys from number ``first`` down a value that is known already."""
        for number in range(first, len(chain)):
            key = chain[number]
            if isinstance(data, Mapping):
                if key not in data:
                    if not where.is_guarded(chain):
                        message = f"`{_written(chain[:number])}` has no field `{key}`"
                        self._say(where, "unknown-field", message, suggest(key, data, what="it has"), key)
                    return
                data = data[key]
            elif isinstance(data, list) and key.lstrip("-").isdigit() and -len(data) <= int(key) < len(data):
                data = data[int(key)]
            else:
                return

    # ---------------------------------------------------------------------------------------------------- saying

    def _say(self, where: _Where, code: str, message: str, hint: str | None, word: str) -> None:
        if where.task is None:
            self.report.workflow(where.reading.path, code, message, hint=hint, word=word)
        else:
            self.report.task(where.task, where.reading.path, code, message, hint=hint, word=word)

    def _fault(self, task: Task | None, fault: Fault) -> None:
        error = fault.error
        if task is None:
            self.report.workflow(fault.path, error.code, error.message, hint=error.hint)
        else:
            self.report.task(task, fault.path, error.code, error.message, hint=error.hint, offset=error.offset)


class _Where:
    """The template that is being checked."""

    __slots__ = ("info", "reading", "scope", "task")

    def __init__(self, task: Task | None, scope: ScopeInfo, info: TaskInfo | None, reading: Reading) -> None:
        self.task = task
        self.scope = scope
        self.info = info
        self.reading = reading

    def is_guarded(self, chain: tuple[str, ...]) -> bool:
        """Tell whether the template asks first whether the value is there."""
        return chain in self.reading.template.guarded


def input_schema(spec: InputSpec) -> Mapping[str, Any]:
    """Return the JSON Schema of an input."""
    schema = dict(spec.json_schema)
    if spec.type != "any":
        schema.setdefault("type", list(spec.type) if isinstance(spec.type, tuple) else spec.type)
    return schema


def _upstream_names(info: TaskInfo | None) -> list[str]:
    return [info.scope.tasks[index].task.name for index in info.upstreams] if info is not None else []


def _written(chain: tuple[str, ...]) -> str:
    text = chain[0]
    for key in chain[1:]:
        text += f"[{key}]" if key.lstrip("-").isdigit() else f".{key}"
    return text

"""Which models the tasks of a workflow can ask, as far as that can be told before anything runs.

Counted is every model that any task may come to: those of a list and of the arms of a split, what a budget degrades
to, stand-ins and rollbacks, what runs at a run's end, the files that are called, a deciding model, and an agent's
tools. A name that a template makes counts when the template reads only what is known already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from autoglm.llm.models import DEFAULT_MODEL
from autoglm.llm.routing import names_in
from autoglm.spec.catalog import Catalog
from autoglm.spec.expressions import ExpressionError, Template, compile_template
from autoglm.spec.model import DegradeTo, Path, StandIn, Task, Workflow
from autoglm.tasks.agent_tools import read_tool

_LOOP_NAMES: Final = ("index", "previous")


@dataclass(frozen=True, slots=True)
class Asking:
    """A task that asks models, with what is known of its options."""

    file: str
    """The key of its file; empty for the one that is run."""
    top: str
    """The task of the file's own level that it is, or lies in; with the name of its section for a run's end."""
    path: str
    """Its static path."""
    task: Task
    options: Mapping[str, Any]
    """Its options: those whose templates read only what is known are filled."""
    models: tuple[tuple[Path, str], ...]
    """The models that it can ask, each with where it is named: below the task, or after an empty step in the file."""
    is_list: bool = False
    """The models are asked one after the other until one answers."""

    @property
    def is_filled(self) -> bool:
        """Whether anything is known that the file does not say."""
        return self.options is not self.task.options


@dataclass(slots=True)
class _Walk:
    """One file on the way through it."""

    key: str
    workflow: Workflow
    catalog: Catalog
    known: Mapping[str, Any]
    inputs: Mapping[str, Any]

    @property
    def default(self) -> str:
        models = self.workflow.models
        return next(iter(models)) if len(models) == 1 else DEFAULT_MODEL

    def tasks(
        self, tasks: tuple[Task, ...], around: str, hidden: frozenset[str], degrades: tuple[tuple[Path, str], ...]
    ) -> Iterator[Asking]:
        for task in tasks:
            path = f"{around}{task.name}"
            names = hidden | _names_of(task)
            own = degrades
            if task.budget is not None and isinstance(task.budget.on_exhausted, DegradeTo):
                own = (*degrades, (("budget", "on_exhausted", "degrade"), task.budget.on_exhausted.degrade))
            yield from self._own(task, path, names, own)
            for other in (task.rollback, task.fallback):
                if other is not None:
                    yield from self._own(other, path, names | _names_of(other), own)
            yield from self.tasks(task.tasks, f"{path}.", names, own)

    def _own(
        self, task: Task, path: str, hidden: frozenset[str], degrades: tuple[tuple[Path, str], ...]
    ) -> Iterator[Asking]:
        kind = self.catalog.task_types.get(task.type)
        top = path.partition(".")[0]
        if kind is not None and kind.caches:
            options = self._filled(task.options, hidden)
            models = tuple((("options", "model", *at), name) for at, name in self._models(options.get("model")))
            if isinstance(task.on_error, StandIn) and task.on_error.model is not None:
                models = (*models, (("on_error", "degrade", "model"), task.on_error.model))
            is_list = isinstance(options.get("model"), list) and len(models) > 1
            yield Asking(self.key, top, path, task, options, (*models, *degrades), is_list)
            if task.type == "llm_agent":
                yield from self._tools(task, path, top)
        elif task.type == "decision" and task.options.get("llm") is not None:
            llm = task.options["llm"]
            written = llm.get("model") if isinstance(llm, Mapping) else llm
            models = tuple((("options", "llm"), name) for _, name in self._models(written))
            yield Asking(self.key, top, path, task, task.options, (*models, *degrades))

    def _tools(self, task: Task, path: str, top: str) -> Iterator[Asking]:
        """Yield the tools of an agent that ask models themselves."""
        tools = task.options.get("tools")
        for at, written in enumerate(tools if isinstance(tools, list) else ()):
            if not isinstance(written, str | Mapping):
                continue
            tool = read_tool(written)
            kind = self.catalog.task_types.get(tool.type)
            if tool.server is None and kind is not None and kind.caches:
                where: Path = ("options", "tools", at)
                models = tuple((where, name) for _, name in self._models(tool.options.get("model")))
                yield Asking(self.key, top, f"{path}.{tool.name}", task, task.options, models)

    def _models(self, written: Any) -> Iterator[tuple[Path, str]]:
        """Yield the models of a ``model`` option; an arm of a split that names none asks the default one."""
        if written is None:
            yield (), self.default
        for at, name in names_in(written):
            if "{{" not in name and "{%" not in name:
                yield at, name
        arms = written.get("split") if isinstance(written, Mapping) else None
        for arm, options in arms.items() if isinstance(arms, Mapping) else ():
            if isinstance(options, Mapping) and "model" not in options:
                yield ("split", str(arm)), self.default

    def _filled(self, options: Mapping[str, Any], hidden: frozenset[str]) -> Mapping[str, Any]:
        """Return the options with those templates filled that read only what is known."""
        filled: dict[str, Any] = {}
        for name, written in options.items():
            if not isinstance(written, str | list | dict):
                continue
            try:
                template = compile_template(written)
                if not template.is_constant and self._is_known(template, hidden):
                    filled[name] = template.evaluate(self.known.__getitem__)
            except (ExpressionError, KeyError):
                continue  # its own check, or the run, tells
        return {**options, **filled} if filled else options

    def _is_known(self, template: Template, hidden: frozenset[str]) -> bool:
        if template.names & hidden or not template.names <= self.known.keys():
            return False
        read = [path[1] if len(path) > 1 else None for path in template.paths if path[0] == "inputs"]
        return all(name in self.inputs for name in read)


def _names_of(task: Task) -> frozenset[str]:
    """Return the names that a task puts before those of the whole run."""
    loop = task.loop
    return frozenset((*task.arguments, *(() if loop is None else (loop.as_, *_LOOP_NAMES))))


def asking_tasks(
    workflow: Workflow, catalog: Catalog, values: Mapping[str, Any], inputs: Mapping[str, Any], day: str | None = None
) -> Iterator[Asking]:
    """Yield the tasks that ask models, those of called files too.

    ``values`` are ``config`` and ``env``; ``inputs`` those of the run that are known. ``day`` is the model that the
    budget of a day degrades to.
    """
    around = _degrades(workflow, ("", "budget", "on_exhausted", "degrade"))
    if day is not None:
        around = (*around, (("options",), day))
    unknown = [name for name in workflow.inputs if name not in inputs]
    own = {**workflow.vars, **inputs}
    for name in unknown:
        own.pop(name, None)
    own = {**own, **values, "inputs": inputs, "vars": workflow.vars}
    walk = _Walk("", workflow, catalog, own, inputs)
    yield from walk.tasks(workflow.tasks, "", frozenset(), around)
    for section, tasks in workflow.sections().items():
        yield from walk.tasks(tasks, f"{section}.", frozenset(), around)
    far = tuple((("options",), name) for _, name in around)  # their budget stands in another file
    for key, each in workflow.callees.items():
        known = {**each.vars, **values, "vars": each.vars}
        for name in each.inputs:
            known.pop(name, None)
        budget = _degrades(each, ("", "budget", "on_exhausted", "degrade"))
        yield from _Walk(key, each, catalog, known, {}).tasks(each.tasks, "", frozenset(), (*far, *budget))


def _degrades(workflow: Workflow, path: Path) -> tuple[tuple[Path, str], ...]:
    budget = workflow.budget
    if budget is None or not isinstance(budget.on_exhausted, DegradeTo):
        return ()
    return ((path, budget.on_exhausted.degrade),)

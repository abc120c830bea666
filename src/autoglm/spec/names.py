"""What a task's templates read, and what the names in them mean, told from the file alone.

Nearest wins: the loops around a task, its own ``with``, the fixed names, the run's inputs, its variables, and last the
fields of its single upstream's result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from autoglm.spec.decisions import PREDICTED, TEMPLATED
from autoglm.spec.expressions import (
    ExpressionError,
    Template,
    are_plain,
    compile_condition,
    compile_expression,
    compile_template,
)
from autoglm.spec.model import Degrade, InputSpec, Loop, Path, Task, Workflow

SPECIAL: Final = frozenset({"inputs", "tasks", "vars", "config", "env", "secrets", "run"})
"""Names that mean the same everywhere."""
OWN: Final = frozenset({"output", "result"})
"""A task's own outcome in its ``result``, elsewhere that of its single upstream."""
BOUND: Final = frozenset({"item", "index", "previous", "error"})
"""Names that a loop binds, or what runs after a failure: where nothing does, they are mistakes, and no inputs."""
VIEW: Final = ("output", "result", "status", "error")
"""What ``tasks.NAME`` has."""


class Kind(StrEnum):
    """Which field a template stands in, as far as that decides what its names mean."""

    VALUE = "value"
    """``options`` and ``env``: they also see the task's ``with``."""
    ARGUMENT = "argument"
    WHEN = "when"
    RULE = "rule"
    LOOP = "loop"
    """``over``, ``file``, ``matrix``, ``initial``: read before there are items."""
    UNTIL = "until"
    WHILE = "while"
    COLLECT = "collect"
    RESULT = "result"
    DEGRADE = "degrade"
    ROLLBACK = "rollback"
    FALLBACK = "fallback"
    OUTPUT = "output"
    """The workflow's ``outputs``."""


_SEES_OWN: Final = frozenset({Kind.RESULT, Kind.COLLECT, Kind.UNTIL, Kind.ROLLBACK})


@dataclass(frozen=True, slots=True)
class Reading:
    """A templated text of a task, where it stands (as ``spec.places`` names fields), and what it was compiled to."""

    path: Path
    kind: Kind
    template: Template


@dataclass(frozen=True, slots=True)
class Fault:
    """A templated text that cannot be read."""

    path: Path
    error: ExpressionError


def task_templates(task: Task) -> Iterator[tuple[Path, Template, Kind]]:
    """Yield every text of ``task`` that is an expression or holds one: where it stands, its template, its kind.

    The tasks of a group are not its fields. Raises ExpressionError ``template-syntax``.
    """
    for path, value, kind in templated_texts(task):
        yield path, compile_text(value, kind), kind


def read_templates(task: Task) -> tuple[list[Reading], list[Fault]]:
    """Return what :func:`task_templates` yields, and apart from it what cannot be read."""
    return _read(templated_texts(task))


def read_outputs(workflow: Workflow) -> tuple[list[Reading], list[Fault]]:
    """Return the templates of the workflow's ``outputs``, and what of them cannot be read."""
    return _read((path, text, Kind.OUTPUT) for path, text in _texts(dict(workflow.outputs), ("outputs",)))


def _read(texts: Iterable[tuple[Path, Any, Kind]]) -> tuple[list[Reading], list[Fault]]:
    readings: list[Reading] = []
    faults: list[Fault] = []
    for path, value, kind in texts:
        try:
            readings.append(Reading(path, kind, compile_text(value, kind)))
        except ExpressionError as error:
            faults.append(Fault(path, error))
    return readings, faults


def compile_text(value: Any, kind: Kind) -> Template:
    """Compile one templated text the way its field is read. Raises ExpressionError ``template-syntax``."""
    if kind in (Kind.WHEN, Kind.RULE, Kind.UNTIL, Kind.WHILE):
        return compile_condition(value)
    return compile_expression(value) if kind is Kind.COLLECT else compile_template(value)


def templated_texts(task: Task) -> Iterator[tuple[Path, Any, Kind]]:
    """Yield the texts of ``task`` that are expressions or hold one, not compiled yet."""
    if task.when is not None:
        yield ("when",), task.when, Kind.WHEN
    if task.arguments and not are_plain(task.arguments.values()):
        yield from _with_kind(task.arguments, ("arguments",), Kind.ARGUMENT)
    if task.options and not are_plain(task.options.values()):
        if task.type == "decision":
            yield from _rules(task.options.get("conditions"))
            templated = {name: task.options[name] for name in TEMPLATED if name in task.options}
            yield from _with_kind(templated, ("options",), Kind.VALUE)
        else:
            yield from _with_kind(task.options, ("options",), Kind.VALUE)
    if task.env:
        yield from _with_kind(task.env, ("env",), Kind.VALUE)
    if task.result is not None:
        yield from _with_kind(task.result, ("result",), Kind.RESULT)
    if isinstance(task.on_error, Degrade):
        yield from _with_kind(task.on_error.degrade, _degrade_path(task), Kind.DEGRADE)
    if task.loop is not None:
        yield from _loop_texts(task.loop)
    if task.rollback is not None:
        for path, value, _ in templated_texts(task.rollback):
            yield ("rollback", *path), value, Kind.ROLLBACK

    if task.fallback is not None:
        for path, value, _ in templated_texts(task.fallback):
            yield ("fallback", *path), value, Kind.FALLBACK


def _loop_texts(loop: Loop) -> Iterator[tuple[Path, Any, Kind]]:
    for name, value in (("over", loop.over), ("file", loop.file), ("matrix", loop.matrix), ("initial", loop.initial)):
        if value is not None:
            yield from _with_kind(value, ("loop", name), Kind.LOOP)
    if loop.until is not None:
        yield ("loop", "until"), loop.until, Kind.UNTIL
    if loop.while_ is not None:
        yield ("loop", "while_"), loop.while_, Kind.WHILE
    if loop.collect is not None:
        yield ("loop", "collect"), loop.collect, Kind.COLLECT


def _rules(conditions: Any) -> Iterator[tuple[Path, Any, Kind]]:
    for number, condition in enumerate(conditions if isinstance(conditions, list | tuple) else ()):
        rule = condition.get("rule") if isinstance(condition, dict) else None
        if isinstance(rule, str | bool):
            yield ("options", "conditions", number, "rule"), rule, Kind.RULE


def _degrade_path(task: Task) -> Path:
    written = task.written.get("on_error")
    degrade = written.get("degrade") if isinstance(written, dict) else None
    is_explicit = isinstance(degrade, dict) and set(degrade) == {"value"}
    return ("on_error", "degrade", "value") if is_explicit else ("on_error", "degrade")


def _with_kind(value: Any, path: Path, kind: Kind) -> Iterator[tuple[Path, Any, Kind]]:
    for place, text in _texts(value, path):
        yield place, text, kind


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        if "{{" in value or "{%" in value:
            yield path, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            if isinstance(entry, str | dict | list | tuple):
                yield from _texts(entry, (*path, key))
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            if isinstance(entry, str | dict | list | tuple):
                yield from _texts(entry, (*path, number))


# ---------------------------------------------------------------------------------------------------------- meaning


def alias(name: str) -> str:
    """Return a task's name as a template may write it: ``fetch-page`` is ``tasks.fetch_page``."""
    return name.replace("-", "_").replace(" ", "_")


def loop_names(task: Task) -> frozenset[str]:
    """Return the names that the task's own loop binds."""
    if task.loop is None:
        return frozenset()
    names = {task.loop.as_, "item", "index"}
    return frozenset(names | {"previous"} if repeats(task) else names)


def repeats(task: Task) -> bool:
    """Tell whether the task's loop goes on until something is true, instead of over items."""
    return task.loop is not None and (task.loop.until is not None or task.loop.while_ is not None)


def nearer_names(task: Task, kind: Kind, outer: frozenset[str]) -> frozenset[str]:
    """Return the names that are bound nearer than the workflow's inputs; ``outer`` are those of the loops around."""
    names = outer
    if task.loop is not None and kind is not Kind.LOOP and not (kind is Kind.WHEN and repeats(task)):
        names |= loop_names(task)
    if task.arguments and kind is Kind.VALUE:
        names |= task.arguments.keys()
    if kind is Kind.RULE and "model" in task.options:
        names |= PREDICTED
    if task.rollback is not None and kind is Kind.ROLLBACK:
        names |= task.rollback.arguments.keys()
    if task.fallback is not None and kind is Kind.FALLBACK:
        names |= task.fallback.arguments.keys()
    if kind in _SEES_OWN:
        names |= OWN
    return names | {"error"} if kind in (Kind.DEGRADE, Kind.FALLBACK) else names


def data_dependencies(task: Task) -> dict[str, Path]:
    """Return the tasks that the templates of ``task`` read, as written there, and the first field that does.

    A group also depends on what its tasks read outside of it. Templates that cannot be read are left out.
    """
    found: dict[str, Path] = {}
    for reading in read_templates(task)[0]:
        for chain in reading.template.paths:
            if chain[0] == "tasks" and len(chain) > 1:
                found.setdefault(chain[1], reading.path)
    inner = {name for child in task.tasks for name in (child.name, alias(child.name))}
    for number, child in enumerate(task.tasks):
        for name, path in data_dependencies(child).items():
            if name not in inner:
                found.setdefault(name, ("tasks", number, *path))
    return found


# --------------------------------------------------------------------------------------------------- inferred inputs


def infer_inputs(workflow: Workflow) -> dict[str, InputSpec]:
    """Return the inputs of a file that declares none: the free names of its templates, of any type.

    A name that may also be a field of a task's single upstream is not required: the input wins when it is given.
    """
    from autoglm.spec.scopes import all_scopes, take_apart

    required: dict[str, bool] = {}

    def note(reading: Reading, name: str, *, is_needed: bool) -> None:
        required[name] = required.get(name, False) or (is_needed and not _is_guarded(reading, name))

    scopes = all_scopes(workflow)
    for scope in scopes:
        for info in scope.tasks:
            for reading in info.readings:
                bound = nearer_names(info.task, reading.kind, info.names_around)
                for name in _free_names(reading, bound, workflow):
                    needed = info.needs_input(name)
                    if needed is not None:
                        note(reading, name, is_needed=needed)
                _note_inputs(reading, required)
    take_apart(scopes)
    for reading in read_outputs(workflow)[0]:
        for name in _free_names(reading, frozenset(), workflow):
            note(reading, name, is_needed=True)
        _note_inputs(reading, required)
    return {name: InputSpec(required=needed) for name, needed in required.items()}


def _note_inputs(reading: Reading, required: dict[str, bool]) -> None:
    """Note what is read as ``inputs.x``."""
    for chain in reading.template.paths:
        if chain[0] == "inputs" and len(chain) > 1:
            required[chain[1]] = required.get(chain[1], False) or chain not in reading.template.guarded


def _free_names(reading: Reading, bound: frozenset[str], workflow: Workflow) -> list[str]:
    """Return the names that nothing nearer binds, in the order in which they stand there."""
    roots = dict.fromkeys(chain[0] for chain in reading.template.paths)
    taken = bound | SPECIAL | OWN | BOUND
    return [name for name in roots if name not in taken and name not in workflow.vars]


def _is_guarded(reading: Reading, name: str) -> bool:
    return all(chain in reading.template.guarded for chain in reading.template.paths if chain[0] == name)

"""What is wrong with a run's model calls and can be known before anything is spent: all of it at once.

Nothing is sent: whether a server is there, takes the key and has the model shows when it is first asked. What hangs on
this machine (a key, an installed library) is told apart from what is wrong in the file, for ``validate`` and ``plan``,
which must be of use on a machine without keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from autoglm.app.loading import diagnose, read_source
from autoglm.app.model_uses import Asking, asking_tasks
from autoglm.app.models import Models
from autoglm.app.plugins import load_task_types
from autoglm.app.secret_views import Environment, SecretView
from autoglm.base.diagnostics import Diagnostic, Severity, sort_diagnostics
from autoglm.base.errors import AutoglmError, SpecError, TaskError
from autoglm.base.redaction import Redactor
from autoglm.engine.states import TaskStatus
from autoglm.llm.chat import check_parameter
from autoglm.llm.lint import check_usable
from autoglm.llm.models import Endpoint, resolve_model
from autoglm.llm.tokens import least_tokens
from autoglm.runtime.recovery import decode_definition
from autoglm.spec import model as spec
from autoglm.spec.document import Document, read_document
from autoglm.spec.model import DegradeTo, Workflow
from autoglm.spec.places import field_place
from autoglm.tasks.caller import replay_environment
from autoglm.tasks.images import check_file
from autoglm.tasks.model_options import CALL_PARAMETERS

if TYPE_CHECKING:
    from autoglm.app.loading import Loaded
    from autoglm.app.session import Session
    from autoglm.engine.machine import Run
    from autoglm.engine.messages import RunCreated
    from autoglm.engine.redoing import Again
    from autoglm.spec.catalog import Catalog
    from autoglm.tasks.cassettes import Cassette

OF_MACHINE: Final = frozenset(
    {"model-key-missing", "secret-missing", "adapter-missing", "dotenv-syntax", "dotenv-unreadable"}
)
"""What another machine, or another environment, may have: for who only looks at a file, a warning."""
_SAID: Final = ("system", "prompt", "prompt_template", "messages", "instructions", "rubric", "subject", "text")
"""Options that go into one call as they are."""
_SLOTS: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_NAMED: Final = 3
"""Tasks that a message names."""


Check = Callable[[spec.Task, "Catalog"], Iterable[Any]]
Texts = Callable[[str], tuple[str, str]]
"""Gives the text and the name of a file, by its key. Raises AutoglmError."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked at, and what is known of the run."""

    session: Session
    workflow: Workflow
    texts: Texts
    inputs: Mapping[str, Any]
    cassette: Cassette | None = None
    offline: bool = False
    done: frozenset[str] = frozenset()
    """Tasks of the file's own level that have ended well: what they asked is paid for."""


def check_start(
    session: Session, loaded: Loaded, inputs: Mapping[str, Any], cassette: Cassette | None = None, *, offline: bool
) -> None:
    """Look before a run begins. Raises SpecError with everything that is known to be wrong."""
    question = Question(session, loaded.workflow, _texts_of(loaded), inputs, cassette, offline)
    found = examine(question)
    if any(each.is_error for each in found):
        raise SpecError(found)


def check_continue(session: Session, run: Run, again: Sequence[Again], changed: Loaded | None = None) -> None:
    """Look before a run goes on: at what has not ended well, and at what is done again.

    ``changed`` is the file by which it is to go on. Raises SpecError with everything that is known to be wrong.
    """
    created = run.created
    if created is None or created.offline:
        return
    anew = {re.split(r"[.\[~]", each.task, maxsplit=1)[0] for each in again}
    instances = [each for each in run.root.instances if each is not None]
    ended = {each.node.name for each in instances if each.status in (TaskStatus.SUCCEEDED, TaskStatus.SKIPPED)}
    done = frozenset(ended - anew)
    if changed is not None:
        question = Question(session, changed.workflow, _texts_of(changed), created.inputs, done=done)
    else:
        question = Question(session, run.graph.workflow, _no_text, created.inputs, done=done)
    found = examine(question)
    if changed is None and found:
        found = examine(_placed_anew(question, created))
    if any(each.is_error for each in found):
        raise SpecError(found)


def _placed_anew(question: Question, created: RunCreated) -> Question:
    """Return the question with the places of a run's file, which its definition does not keep."""
    session, project = question.session, question.session.project
    _, definition = decode_definition(session.store.get_blob(created.definition.digest))
    if not definition.path:
        return question
    file, defaults = str(project.root / definition.path), project.settings.defaults.as_fields()
    try:
        read, _ = diagnose(
            definition.source, file, session.catalog, project.root, defaults, environment=created.environment
        )
    except AutoglmError:
        read = None
    if read is None:
        return question
    texts = {"": (definition.source, file), **_called(file, definition.sources)}
    return replace(question, workflow=read, texts=texts.__getitem__)


def _texts_of(loaded: Loaded) -> Texts:
    return {"": (loaded.source, loaded.file), **_called(loaded.file, loaded.sources)}.__getitem__


def _called(file: str, sources: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {key: (text, str(Path(file).parent / key)) for key, text in sources.items()}


def _no_text(key: str) -> tuple[str, str]:
    raise LookupError(key)


def examine(question: Question) -> list[Diagnostic]:
    """Return everything that is known to be wrong, sorted by place."""
    try:
        return sort_diagnostics(_Examination(question).found())
    except TaskError as error:  # a `.env` that cannot be read
        return [Diagnostic(error.code, error.message, hint=error.hint)]


def look_at(
    session: Session, file: Path, workflow: Workflow, inputs: Mapping[str, Any] | None = None
) -> list[Diagnostic]:
    """Return what is wrong in a file that nobody is about to run; what only this machine lacks is a warning."""
    found = examine(Question(session, workflow, lambda key: _text(file, key), inputs or {}))
    return [replace(each, severity=Severity.WARNING) if each.code in OF_MACHINE else each for each in found]


def _text(file: Path, key: str) -> tuple[str, str]:
    path = file.parent / key if key else file
    return read_source(path), str(path)


class _Examination:
    def __init__(self, question: Question) -> None:
        self.asked = question
        project, workflow = question.session.project, question.workflow
        redactor = Redactor()
        settings = project.settings
        self._values: dict[str, Any] = {"config": settings.config, "env": project.env()}
        more = {"secrets": SecretView(project, redactor), "inputs": question.inputs, "run": {}}
        keyed = {**self._values, **more}
        cassette = question.cassette
        replays = cassette is not None and cassette.is_replayed
        self._environment: Mapping[str, str] = Environment(project, redactor)
        if replays:
            self._environment = replay_environment(self._environment)
        self._models = {
            key: Models(without_keys(each.models) if replays else each.models, {**keyed, "vars": each.vars})
            for key, each in {"": workflow, **workflow.callees}.items()
        }
        shared = without_keys(settings.models) if replays else settings.models
        self._project_models = Models(shared, {**keyed, "vars": workflow.vars})
        self._ends: dict[tuple[str, str], Endpoint | TaskError] = {}
        self._documents: dict[str, Document | None] = {}
        self._likely: dict[tuple[str, str], Endpoint] = {}
        """Models that lack nothing but their key."""
        self._asking: dict[tuple[str, str], list[Asking]] = {}
        """The tasks that ask a model that cannot be had, by (file, model)."""
        self._schemas: set[int] = set()
        self._checks: dict[str, Check | None] = {}
        self._catalogs: dict[str, Catalog] = {}
        self._named: dict[tuple[str, str], spec.Path] = {}

    def found(self) -> Iterator[Diagnostic]:
        settings = self.asked.session.project.settings
        whole = settings.budgets.get(self.asked.workflow.namespace, settings.budgets.get("*"))
        on_exhausted = None if whole is None else whole.on_exhausted
        day = on_exhausted.degrade if isinstance(on_exhausted, DegradeTo) else None
        catalog = self.asked.session.catalog
        for each in asking_tasks(self.asked.workflow, catalog, self._values, self.asked.inputs, day):
            if each.file or each.top not in self.asked.done:
                yield from self._task(each)
        for (file, name), asking in self._asking.items():
            error = self._ends[file, name]
            assert isinstance(error, TaskError)
            yield self._unreachable(file, name, asking, error)

    # ------------------------------------------------------------------------------------------------- one task

    def _task(self, each: Asking) -> Iterator[Diagnostic]:
        yield from self._by_type(each)
        yield from self._images(each)
        if self.asked.offline:
            return
        yield from self._schema(each)
        ends: list[Endpoint] = []
        for path, name in each.models:
            found = self._end(each.file, name)
            if isinstance(found, Endpoint):
                ends.append(found)
                continue
            self._asking.setdefault((each.file, name), []).append(each)
            self._named.setdefault((each.file, name), path)
            ends += filter(None, [self._likely.get((each.file, name))])
        problems = [self._misfit(each, end) for end in ends]
        if each.is_list and not all(problems):
            return  # another model of the list may do what one cannot
        for option, error in filter(None, problems):
            problem = Diagnostic(error.code, error.message, hint=error.hint)
            yield self._at(each, ("options", option), problem)  # the same twice is told once

    def _by_type(self, each: Asking) -> Iterator[Diagnostic]:
        """Have the type check what only now is known."""
        if not each.is_filled:
            return
        check = self._check_of(each.task.type)
        if check is None:
            return
        task = each.task.model_copy(update={"options": dict(each.options)})
        for problem in check(task, self._catalog_of(each.file)):
            path, found = problem if isinstance(problem, tuple) else ((), problem)
            yield self._at(each, ("options", *path) if path and path[0] in each.options else path, found)

    def _check_of(self, name: str) -> Check | None:
        """Return what a type finds wrong with its tasks."""
        if name not in self._checks:
            plugin = load_task_types().get(name)
            self._checks[name] = None if plugin is None else plugin.load()().check
        return self._checks[name]

    def _catalog_of(self, file: str) -> Catalog:
        """Return the catalog with the models of a file."""
        if file not in self._catalogs:
            catalog, workflow = self.asked.session.catalog, self.asked.workflow
            models = workflow.models if not file else workflow.callees[file].models
            self._catalogs[file] = replace(catalog, models={**catalog.models, **models})
        return self._catalogs[file]

    def _images(self, each: Asking) -> Iterator[Diagnostic]:
        images = each.options.get("images")
        for at, image in enumerate(images if isinstance(images, list) else [images]):
            if isinstance(image, str) and "{{" not in image and not image.startswith(("http://", "https://")):
                path = ("options", "images", at) if isinstance(images, list) else ("options", "images")
                try:
                    check_file(image, self.asked.session.project.root)
                except TaskError as error:
                    yield self._at(each, path, Diagnostic(error.code, error.message, hint=error.hint))

    def _schema(self, each: Asking) -> Iterator[Diagnostic]:
        schema = each.task.output_schema
        if schema is None or id(schema) in self._schemas:
            return
        self._schemas.add(id(schema))
        try:
            check_usable(schema)
        except TaskError as error:
            yield self._at(each, ("output_schema",), Diagnostic(error.code, error.message, hint=error.hint))

    def _misfit(self, each: Asking, end: Endpoint) -> tuple[str, TaskError] | None:
        """Return why a model cannot do what a task asks of it, and the option that asks it."""
        if each.options.get("execution") == "batch" and end.profile.batching is None:
            from autoglm.tasks.batching import no_batches

            return "execution", no_batches(end)
        given = each.options.get("parameters")
        own = {name: each.options[name] for name in CALL_PARAMETERS if name in each.options}
        parameters = {**end.parameters, **own, **(given if isinstance(given, dict) else {})}
        for name, value in parameters.items():
            try:
                check_parameter(end, name, value)
            except TaskError as error:
                return name if name in own else "parameters", error
        return self._too_long(each, end)

    def _too_long(self, each: Asking, end: Endpoint) -> tuple[str, TaskError] | None:
        if end.context_tokens is None:
            return None
        from autoglm.tasks.caller import too_long

        texts = [_SLOTS.sub("", text) for name in _SAID for text in _texts(each.options.get(name))]
        least = least_tokens([{"content": text} for text in texts])
        if least <= end.context_tokens:
            return None
        return next(name for name in _SAID if name in each.options), too_long(end, least)

    # ------------------------------------------------------------------------------------------------- the models

    def _end(self, file: str, name: str) -> Endpoint | TaskError:
        """Return where a model is, or why it cannot be called."""
        key = (file, name)
        if key not in self._ends:
            try:
                end = resolve_model(name, self._models[file], self._project_models, self._environment)
                if end.adapter is not None and find_spec(end.adapter) is None:
                    from autoglm.llm.adapters import not_installed

                    raise not_installed(end.adapter)
                self._ends[key] = end
            except TaskError as error:
                self._ends[key] = error
                if error.code == "model-key-missing":  # what it can do is known all the same
                    keyed = replay_environment(self._environment)
                    self._likely[key] = resolve_model(name, self._models[file], self._project_models, keyed)
        return self._ends[key]

    def _unreachable(self, file: str, name: str, asking: list[Asking], error: TaskError) -> Diagnostic:
        tasks = list(dict.fromkeys(f"`{each.path}`" for each in asking))
        more = f" and {len(tasks) - _NAMED} more" if len(tasks) > _NAMED else ""
        verb = "asks" if len(tasks) == 1 else "ask"
        message = f"{error.message}; {', '.join(tasks[:_NAMED])}{more} {verb} it"
        hint = error.hint
        if error.code in OF_MACHINE and error.code != "model-key-missing":
            ways = f"point `{name}` at another endpoint under `models:`; or rehearse without any model: `--offline`"
            hint = f"{hint}; or {ways}" if hint else ways
        found = Diagnostic(error.code, message, hint=hint)
        models = (self.asked.workflow if not file else self.asked.workflow.callees[file]).models
        wrong = _FIELDS.get(error.code)
        if wrong is not None and name in models and getattr(models[name], wrong) is not None:
            return self._placed(file, ("models", name, wrong), found)
        return self._at(asking[0], self._named[file, name], found)

    # --------------------------------------------------------------------------------------------------- places

    def _at(self, each: Asking, path: spec.Path, found: Diagnostic) -> Diagnostic:
        if path and path[0] == "":
            return self._placed(each.file, path[1:], found)
        document = self._document(each.file)
        if document is None or not (each.task.source or each.task.written):
            return found
        place = field_place(document, each.task, *path)
        return replace(found, place=place, excerpt=document.excerpt(place.line))

    def _placed(self, file: str, path: spec.Path, found: Diagnostic) -> Diagnostic:
        document = self._document(file)
        if document is None:
            return found
        place = document.place(path)
        return replace(found, place=place, excerpt=document.excerpt(place.line))

    def _document(self, file: str) -> Document | None:
        """Return a file with its places; it is read anew only where there is something to say of it."""
        if file not in self._documents:
            try:
                text, name = self.asked.texts(file)
                self._documents[file] = read_document(text, name, keep_going=True)
            except (AutoglmError, LookupError):
                self._documents[file] = None
        return self._documents[file]


_FIELDS: Final = {"model-address-invalid": "base_url", "secret-missing": "api_key"}
"""Where in a model's declaration the mistake is."""


def without_keys(models: Mapping[str, spec.ModelSpec]) -> dict[str, spec.ModelSpec]:
    """Return the declarations without their keys, for where nobody will be called."""
    return {name: each.model_copy(update={"api_key": None}) for name, each in models.items()}


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    return []

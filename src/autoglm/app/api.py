"""The Python API: load or build a workflow, run it, look at what came of it."""

from __future__ import annotations

import asyncio
import html
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from autoglm.app.correcting import File
from autoglm.app.loading import Loaded, check_document
from autoglm.app.report import RunReport, TaskReport
from autoglm.app.session import Session
from autoglm.base.errors import SpecError, UsageError
from autoglm.config.project import Project
from autoglm.engine.codec import decode_record
from autoglm.engine.messages import Event
from autoglm.spec.document import Document
from autoglm.stores.protocol import LogLine

T = TypeVar("T")
Handler = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Options:
    """How a workflow is run; see :meth:`Workflow.configure`."""

    offline: bool = False
    store: str | None = None
    max_parallel: int | None = None
    run_id: str | None = None
    labels: Mapping[str, str] | None = None


class Run:
    """What came of a run."""

    def __init__(self, result: RunReport, session: Session) -> None:
        self._report = result
        self._session = session

    @property
    def run_id(self) -> str:
        return self._report.run_id

    @property
    def status(self) -> str:
        """``succeeded``, ``failed``, ``cancelled``, or ``paused`` when it was interrupted."""
        return self._report.status

    @property
    def succeeded(self) -> bool:
        return self._report.succeeded

    @property
    def outputs(self) -> dict[str, Any]:
        """What the workflow's ``outputs`` give; empty unless it succeeded."""
        return self._report.outputs or {}

    @property
    def tasks(self) -> Mapping[str, TaskReport]:
        """The tasks of the workflow by name: status, attempts, result, error."""
        return self._report.tasks

    @property
    def usage(self) -> Mapping[str, Any]:
        """Model calls and tokens, summed over the run."""
        return self._report.usage

    @property
    def error(self) -> Mapping[str, Any] | None:
        """``{code, message}`` of a run that failed."""
        return self._report.error

    @property
    def events(self) -> list[Event]:
        """Everything that happened, in order, read from the journal."""
        return [
            event for stored in self._session.store.read(self.run_id) for event in decode_record(stored.payload).events
        ]

    @property
    def logs(self) -> list[LogLine]:
        """The lines that tasks wrote, oldest first."""
        return [line for _, line in self._session.store.list_logs(self.run_id, limit=100_000)]

    @property
    def questions(self) -> list[dict[str, Any]]:
        """What it waits for, in the order in which it was asked: ``{task, kind, message, form, who, deadline, …}``."""
        return [each.as_dict() for each in self._report.questions]

    def approve(self, task: str, *, by: str = "", data: Any = None, comment: str = "") -> None:
        """Approve what a task asks; of a guarded task: run it again, or take ``data`` as its result.

        Nothing is started: :meth:`Workflow.resume` continues the run. Raises UsageError with why it does not count.
        """
        run_sync(
            lambda: self._session.answer(self.run_id, task, approved=True, by=by, data=data, comment=comment),
        )

    def reject(self, task: str, *, by: str = "", comment: str = "") -> None:
        """Reject what a task asks; of a guarded task: it failed. Raises UsageError with why it does not count."""
        run_sync(lambda: self._session.answer(self.run_id, task, approved=False, by=by, comment=comment))

    def signal(self, name: str, *, data: Any = None, by: str = "") -> None:
        """Let the tasks that wait for a signal go on, ``data`` being their result. Raises UsageError when none does."""
        run_sync(lambda: self._session.signal(self.run_id, name, data=data, by=by))

    def as_dict(self) -> dict[str, Any]:
        """Return the document that ``autoglm run --json`` prints."""
        return self._report.as_dict()

    def __repr__(self) -> str:
        done = sum(task.status == "succeeded" for task in self.tasks.values())
        why = f": {self.error['message']}" if self.error else ""
        return f"<Run {self.run_id} of {self._report.workflow}: {self.status}, {done}/{len(self.tasks)} tasks{why}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{task.status}</td><td>{task.attempts}</td>"
            f"<td><code>{html.escape(_short(task))}</code></td></tr>"
            for name, task in list(self.tasks.items())[:100]
        )
        head = f"<b>{html.escape(self._report.workflow)}</b> {self.run_id}: {self.status}"
        columns = "<tr><th>task</th><th>status</th><th>attempts</th><th>result</th></tr>"
        return f"<div>{head}<table>{columns}{rows}</table></div>"


def _short(task: TaskReport) -> str:
    shown = task.error["message"] if task.error else repr(task.result)
    return shown if len(shown) <= 120 else shown[:119] + "…"


class Workflow:
    """A workflow that is fit to run."""

    def __init__(self, loaded: Loaded, root: Path, handlers: Mapping[str, Handler], options: Options) -> None:
        self._loaded = loaded
        self._root = root
        self._handlers = dict(handlers)
        self._options = options

    @classmethod
    def from_dependencies(
        cls,
        dependencies: Mapping[str, str | Sequence[str]],
        handlers: Mapping[str, Handler] | None = None,
        *,
        name: str = "workflow",
    ) -> Workflow:
        """Make a workflow from who depends on whom; a task calls the handler of its name.

        Names that stand only as dependencies become tasks without any of their own.

        Raises:
            SpecError: a handler is missing, a cycle …
        """
        names = dict.fromkeys([*dependencies, *(up for ups in dependencies.values() for up in _listed(ups))])
        tasks = {task: {"depends_on": list(_listed(dependencies.get(task, ())))} for task in names}
        return cls.from_data({"name": name, "tasks": tasks}, handlers)

    @classmethod
    def from_data(cls, data: Mapping[str, Any], handlers: Mapping[str, Handler] | None = None) -> Workflow:
        """Make a workflow from plain data, as a file would hold it. Its runs live in memory unless configured."""
        root = Path.cwd()
        with Session(Project.find(None, root), handlers=handlers, store="memory") as session:
            document = Document.from_data(dict(data), str(data.get("name", "workflow")))
            workflow, diagnostics = check_document(document, session.catalog, root)
            if workflow is None or any(d.is_error for d in diagnostics):
                raise SpecError(diagnostics)
            loaded = Loaded(workflow, session.catalog, "", "", diagnostics)
        return cls(loaded, root, handlers or {}, Options(store="memory"))

    @property
    def name(self) -> str:
        return self._loaded.workflow.name

    @property
    def model(self) -> Any:
        """The workflow as a :class:`autoglm.spec.model.Workflow`."""
        return self._loaded.workflow

    def configure(
        self,
        *,
        offline: bool | None = None,
        store: str | None = None,
        max_parallel: int | None = None,
        run_id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Workflow:
        """Return the same workflow, to be run otherwise.

        ``offline`` rehearses with a stand-in for models; ``store`` is ``memory`` or a path to a SQLite file.
        """
        given: dict[str, Any] = {
            "offline": offline,
            "store": store,
            "max_parallel": max_parallel,
            "run_id": run_id,
            "labels": labels,
        }
        options = replace(self._options, **{key: value for key, value in given.items() if value is not None})
        return Workflow(self._loaded, self._root, self._handlers, options)

    async def arun(self, **inputs: Any) -> Run:
        """Run the workflow and return what came of it; a run that fails is no exception.

        Raises:
            UsageError: the inputs are wrong.
            StoreError: the store cannot do its work.
        """
        session = self._session()
        options = self._options
        result = await session.run(
            self._loaded,
            inputs,
            offline=options.offline,
            run_id=options.run_id,
            labels=options.labels,
            max_parallel=options.max_parallel,
        )
        return Run(result, session)

    def run(self, **inputs: Any) -> Run:
        """Run the workflow to its end; works inside a running event loop (a notebook) too, on a thread of its own."""
        return run_sync(lambda: self.arun(**inputs))

    async def aresume(self, run_id: str, *, file: str = "refuse", **secret_inputs: Any) -> Run:
        """Continue an interrupted run of this workflow's project.

        ``file`` says what to do when the workflow file has changed since: ``refuse``, ``with_changes`` or
        ``as_recorded``.

        Raises:
            UsageError: it has ended, a secret input is missing, or the file has changed.
        """
        session = self._session()
        return Run(await session.resume(run_id, secret_inputs, file=File(file)), session)

    def resume(self, run_id: str, *, file: str = "refuse", **secret_inputs: Any) -> Run:
        """Continue an interrupted run of this workflow's project."""
        return run_sync(lambda: self.aresume(run_id, file=file, **secret_inputs))

    async def aretry(
        self, run_id: str, *, tasks: Sequence[str] = (), file: str = "refuse", **secret_inputs: Any
    ) -> Run:
        """Run again what failed in a run that has ended, ``tasks`` however they ended, and what hangs on either.

        Raises:
            UsageError: there is nothing to retry, no such task, or the file has changed (see :meth:`aresume`).
        """
        session = self._session()
        return Run(await session.retry(run_id, secret_inputs, tasks=tasks, file=File(file)), session)

    def retry(self, run_id: str, *, tasks: Sequence[str] = (), file: str = "refuse", **secret_inputs: Any) -> Run:
        """Run again what failed in a run that has ended, ``tasks`` however they ended, and what hangs on either."""
        return run_sync(lambda: self.aretry(run_id, tasks=tasks, file=file, **secret_inputs))

    def _session(self) -> Session:
        return Session(Project.find(None, self._root), store=self._options.store, handlers=self._handlers)

    def __repr__(self) -> str:
        return f"<Workflow {self.name}: {len(self.model.tasks)} tasks>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(task.name)}</td><td>{html.escape(task.type)}</td>"
            f"<td>{html.escape(', '.join(task.depends_on))}</td></tr>"
            for task in self.model.tasks[:100]
        )
        columns = "<tr><th>task</th><th>type</th><th>after</th></tr>"
        return f"<div><b>{html.escape(self.name)}</b><table>{columns}{rows}</table></div>"


def load(path: str | Path) -> Workflow:
    """Load and check a workflow file.

    Raises:
        SpecError: everything that is wrong with it.
        UsageError: it cannot be read.
    """
    with Session.open(path) as session:
        return Workflow(session.load(path), session.project.root, {}, Options())


class WorkflowBuilder:
    """Builds a workflow in Python, task by task::

    flow = WorkflowBuilder("report")
    flow.input("topic", type="string")
    pages = flow.task("fetch", fetch, topic="{{ inputs.topic }}")
    flow.task("clean", clean, after=pages, loop="{{ tasks.fetch.result }}")
    run = flow.build().run(topic="tides")
    """

    def __init__(self, name: str) -> None:
        self._data: dict[str, Any] = {"name": name, "tasks": {}}
        self._handlers: dict[str, Handler] = {}

    def input(self, name: str, **declaration: Any) -> WorkflowBuilder:
        """Declare an input: ``type``, ``default``, ``enum``, ``secret``, ``description`` …"""
        self._data.setdefault("inputs", {})[name] = declaration or "any"
        return self

    def output(self, name: str, template: Any) -> WorkflowBuilder:
        """Declare an output of the workflow."""
        self._data.setdefault("outputs", {})[name] = template
        return self

    def task(
        self,
        name: str,
        handler: Handler | str | None = None,
        *,
        after: str | Sequence[str] = (),
        fields: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> str:
        """Add a task that calls ``handler`` with ``arguments``, and return its name for others' ``after``.

        ``fields`` are further fields of the file format: ``loop``, ``when``, ``retry``, ``timeout``, ``type`` …
        """
        if name in self._data["tasks"]:
            raise UsageError(f"there is a task {name!r} already", code="duplicate-task", hint="give it another name")
        task: dict[str, Any] = {**(fields or {})}
        if after:
            task["depends_on"] = list(_listed(after))
        if callable(handler):
            self._handlers[name] = handler
            task["handler"] = name
        elif handler is not None:
            task["handler"] = handler
        if arguments:
            task["with"] = arguments
        self._data["tasks"][name] = task
        return name

    def build(self) -> Workflow:
        """Check everything and return the workflow. Raises SpecError."""
        return Workflow.from_data(self._data, self._handlers)


def run_sync(make: Callable[[], Awaitable[T]]) -> T:
    """Await what ``make`` gives, from code that is not async: here, or on a thread when a loop already runs here."""
    from autoglm.runtime.event_loop import run_to_end

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run_to_end(make)
    outcome: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(run_to_end(make))
        except BaseException as error:  # noqa: BLE001  # handed to the caller below
            failure.append(error)

    thread = threading.Thread(target=work, name="autoglm-run")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _listed(names: str | Sequence[str]) -> Iterator[str]:
    yield from ((names,) if isinstance(names, str) else names)

"""A small project to run things in: handlers are functions of the test, everything else is real."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autoglm.app.report import RunReport
from autoglm.app.session import Session
from autoglm.app.tools import Tools
from autoglm.base.redaction import Redactor
from autoglm.config.project import Project
from autoglm.engine import messages as m
from autoglm.engine.codec import decode_record
from autoglm.engine.machine import Run
from autoglm.engine.states import RunStatus
from autoglm.graph.compile import compile_graph
from autoglm.graph.model import Graph
from autoglm.runtime.dispatch import Toolbox
from autoglm.runtime.journal import Journal
from autoglm.runtime.recovery import loader, replay
from autoglm.runtime.runner import LEASE_SECONDS, Runner, last_signal
from autoglm.spec.catalog import Catalog
from autoglm.spec.model import Workflow
from autoglm.stores.protocol import Append, LogLine, RunRow, Store, StoreError
from autoglm.tasks.protocol import TaskType

Handler = Callable[..., Any]
CATALOG = Catalog(executor_limits={"inline": 50})


class House:
    """A project folder: write a workflow file, open sessions on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "autoglm.yaml").write_text("")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def session(self, store: str | None = "memory", **handlers: Handler) -> Session:
        return Session(Project.find(None, self.root), store=store, handlers=handlers)

    async def run(self, flow: str, inputs: dict[str, Any] | None = None, **handlers: Handler) -> RunReport:
        """Run a workflow that is written here, in memory, to its end."""
        with self.session(**handlers) as session:
            return await session.run(session.load(self.write("flow.yaml", flow)), inputs)


class Watcher:
    """Notes what was committed."""

    def __init__(self) -> None:
        self.events: list[m.Event] = []
        self.lines: list[LogLine] = []
        self.when: dict[type[m.Event], Callable[[], None]] = {}
        """What to do once such an event is committed."""

    def on_events(self, events: Sequence[m.Event], at: float) -> None:
        self.events += events
        for event in events:
            self.when.get(type(event), lambda: None)()

    def on_log(self, line: LogLine) -> None:
        self.lines.append(line)

    def succeeded(self) -> list[str]:
        return [event.task for event in self.events if isinstance(event, m.AttemptSucceeded)]


class Bench:
    """The runner alone: one workflow on one store, with a clock that stands still unless it is turned."""

    def __init__(self, store: Store, flow: Workflow, root: Path, **handlers: Handler) -> None:
        self.store = store
        self.root = root
        self.handlers = handlers
        self.graph: Graph = compile_graph(flow, CATALOG)
        self.now = 1000.0
        self.runner: Runner | None = None
        self.watcher = Watcher()
        self.task_types: dict[str, TaskType] = {}
        """Task types of the test, by name, before the installed ones."""
        self.redactor = Redactor()

    async def start(self) -> RunStatus:
        row = RunRow(run_id="r", workflow="flow", status="pending", created_at=self.now, updated_at=self.now)
        self.store.create_run(row)
        run = Run(self.graph, loader(self.store))
        created = m.RunCreated("r", "flow", m.Blob("0" * 64, 2))
        return await self._drive(run, 0, [m.Create(created, b"{}"), m.Begin()])

    async def resume(self, *stimuli: m.Stimulus) -> RunStatus:
        run, last = replay(self.store, "r", self.graph)
        return await self._drive(run, last, stimuli or [m.Begin(), m.Resume()])

    async def _drive(self, run: Run, last: int, stimuli: Sequence[m.Stimulus]) -> RunStatus:
        heard = last_signal(self.store, "r")
        lease = self.store.acquire("r", "me", self.now, LEASE_SECONDS)
        tools = Tools({}, self.handlers)
        journal = Journal(self.store)
        box = Toolbox(
            lambda name: self.task_types.get(name) or tools.task_type(name),
            tools.executor,
            self.root,
            redactor=self.redactor,
            clock=self.clock,
        )
        self.runner = Runner(run, journal, lease, last, box, self.clock, [self.watcher], heard)
        try:
            return await self.runner.drive(stimuli)
        finally:
            await journal.close()
            await tools.close()
            self.store.release(self.runner.lease)

    def clock(self) -> float:
        return self.now

    def journal(self) -> list[m.Event]:
        """Return every event that the store holds."""
        return [event for stored in self.store.read("r") for event in decode_record(stored.payload).events]


class Overheard:
    """A store in front of a real one that tells when some of its methods have returned."""

    def __init__(self, store: Store, **after: Callable[[], None]) -> None:
        self._store = store
        self._after = after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in self._after:
            return method

        def call(*arguments: Any, **named: Any) -> Any:
            found = method(*arguments, **named)
            self._after[name]()
            return found

        return call


class Faulty:
    """A store in front of a real one that fails at the appends whose numbers are given."""

    def __init__(self, store: Store, *failing: int) -> None:
        self._store = store
        self._failing = failing
        self.calls = 0

    def append(self, appends: Sequence[Append]) -> list[StoreError | None]:
        self.calls += 1
        if self.calls in self._failing:
            raise StoreError("the disk is full", code="store-full")
        return self._store.append(appends)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

"""A session: one project, its store and its tools, from which runs are started, resumed, retried and cancelled.

This is the composition root: the only place where settings, plugins, store, engine and runtime meet, and
so one file. The command and the Python API are thin faces over it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from autoglm.app import answering, correcting
from autoglm.app.catalog import build_catalog
from autoglm.app.definitions import adopt, blob_of, definition_text
from autoglm.app.equipment import Manner, equip
from autoglm.app.inputs import check_inputs
from autoglm.app.loading import Loaded, load_file
from autoglm.app.plugins import find_plugin, load_stores
from autoglm.app.report import RunReport, report
from autoglm.app.secret_views import INPUT_PREFIX, SecretView, secret_defaults
from autoglm.app.telemetry import open_telemetry
from autoglm.base.diagnostics import Diagnostic
from autoglm.base.errors import UsageError
from autoglm.base.ids import ENTROPY_BYTES, new_run_id
from autoglm.base.redaction import Redactor, Secret
from autoglm.config.project import Project
from autoglm.engine import messages as m
from autoglm.engine.machine import Run
from autoglm.engine.states import RUN_FINAL, RunStatus
from autoglm.graph.compile import compile_graph
from autoglm.graph.model import Decider, Graph
from autoglm.runtime.journal import Journal
from autoglm.runtime.owner import is_alive, this_process
from autoglm.runtime.recovery import loader, read_created, read_definition, replay
from autoglm.runtime.runner import LEASE_SECONDS, Runner, last_signal
from autoglm.runtime.stage import Stage
from autoglm.spec.catalog import Catalog, FunctionInfo
from autoglm.spec.model import Durability, Workflow
from autoglm.stores.protocol import Lease, LeaseHeld, RunRow, Store

if TYPE_CHECKING:
    from autoglm.app.correcting import Correction

"""``AUTOGLM_INPUT_TOKEN`` in the environment gives the secret input ``token`` again when a run is resumed."""


class Replayed(NamedTuple):
    """A run read from its journal, the number of its last record, and what scrubs its secrets."""

    run: Run
    last: int
    redactor: Redactor


class Session:
    """One project, opened. Close it with :meth:`close`, or use it as a context manager."""

    def __init__(
        self,
        project: Project,
        *,
        store: str | None = None,
        durability: Durability | None = None,
        environment: str | None = None,
        handlers: Mapping[str, Callable[..., Any]] | None = None,
        clock: Callable[[], float] = time.time,
        stage: Stage | None = None,
    ) -> None:
        self.project = project
        self._stage = stage
        self._store_name = store
        self._durability = durability
        self._environment = environment
        self.handlers = dict(handlers or {})
        self._clock = clock
        self._store: Store | None = None
        self._catalog: Catalog | None = None
        self.warnings: list[Diagnostic] = []
        """What is doubtful about the project itself, such as a handler file that cannot be read."""
        self._runner: Runner | None = None
        self._stop_asked: str | None = None

    @classmethod
    def open(
        cls,
        file: str | Path | None = None,
        *,
        cwd: Path | None = None,
        store: str | None = None,
        durability: Durability | None = None,
        environment: str | None = None,
    ) -> Session:
        """Open the project that ``file`` (or the folder ``cwd``) belongs to.

        ``store`` is a path to a SQLite file or ``memory``; default: what the settings say. ``environment`` chooses
        among the ``environments`` of a file's ``vars``.

        Raises:
            SpecError: the project's settings are wrong.
        """
        path = Path(file) if file is not None else None
        return cls(Project.find(path, cwd), store=store, durability=durability, environment=environment)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store. Idempotent."""
        if self._store is not None:
            self._store.close()
            self._store = None

    # ---------------------------------------------------------------------------------------------------- checking

    @property
    def catalog(self) -> Catalog:
        """What names in a workflow file can refer to."""
        if self._catalog is None:
            self._catalog, self.warnings = build_catalog(self.project, extra_functions=_described(self.handlers))
            self.warnings += self.project.secrets.warnings()
        return self._catalog

    @property
    def environment(self) -> str | None:
        """The environment that was asked for, else that of the settings."""
        return self._environment or self.project.settings.environment

    def load(self, path: str | Path, *, environment: str | None = None) -> Loaded:
        """Read and check a workflow file, with the variables of an environment (default: this session's).

        Raises:
            SpecError: everything that is wrong with it.
            UsageError: it cannot be read, or has no environments though one was asked for.
        """
        defaults = self.project.settings.defaults.as_fields()
        wanted = environment or self.environment
        loaded = load_file(Path(path), self.catalog, self.project.root, defaults, wanted)
        if self._environment is not None and not loaded.workflow.environments:
            message = f"{path} has no environments, and `{self._environment}` was asked for"
            hint = "declare them: `vars: {environments: {prod: vars.prod.yaml}}`"
            raise UsageError(message, code="unknown-environment", hint=hint)
        return loaded

    # ------------------------------------------------------------------------------------------------------- store

    @property
    def store(self) -> Store:
        """The store, opened at first use. Raises StoreError."""
        if self._store is None:
            self._store = self._open_store(self._durability or self.project.settings.durability)
        return self._store

    def _open_store(self, durability: Durability) -> Store:
        name = self._store_name or self.project.settings.store
        if name == "memory":
            return find_plugin(load_stores(), "memory", "store").load()()  # type: ignore[no-any-return]
        plugin, _, address = name.partition("://")
        if address:
            factory = find_plugin(load_stores(), plugin, "store").load()
            return factory(name, durability=durability.value)  # type: ignore[no-any-return]
        path = self.project.resolve(name)
        if self._store_name is None and path.parent == self.project.root / ".autoglm":
            path = self.project.state_dir / path.name
        factory = find_plugin(load_stores(), "sqlite", "store").load()
        return factory(path, durability=durability.value)  # type: ignore[no-any-return]

    def find_run(self, wanted: str) -> str:
        """Return the id of the run that ``wanted`` means: an id, the unique beginning of one, or ``last``.

        Raises:
            UsageError: ``run-not-found``, ``run-ambiguous``.
        """
        if wanted == "last":
            newest = self.store.list_runs(limit=1)
            if not newest:
                raise UsageError("there is no run yet", code="run-not-found", hint="start one with `autoglm run FILE`")
            return newest[0].run_id
        found = self.store.find_runs(wanted)
        if wanted in found:
            return wanted
        if not found:
            raise UsageError(f"there is no run {wanted!r}", code="run-not-found", hint="`autoglm list` shows the runs")
        if len(found) > 1:
            some = ", ".join(found[:4])
            raise UsageError(f"{wanted!r} may mean {some}", code="run-ambiguous", hint="give more of the id")
        return found[0]

    # -------------------------------------------------------------------------------------------------------- runs

    async def run(
        self,
        loaded: Loaded,
        inputs: Mapping[str, Any] | None = None,
        *,
        offline: bool = False,
        run_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        **manner: Unpack[Manner],
    ) -> RunReport:
        """Run a workflow to its end and return what came of it.

        Raises:
            UsageError: the inputs are wrong, or the run id is taken.
            SpecError: a model that it may ask cannot be called, or what else of its calls is known to be wrong.
            StoreError: the store cannot do its work; what was recorded stays, and the run is resumable.
        """
        workflow = loaded.workflow
        values, secret_inputs = check_inputs(workflow, inputs or {})
        if self._may_ask_models(loaded.graph):
            from autoglm.app.preflight import check_start

            check_start(self, loaded, values, manner.get("cassette"), offline=offline)
        if self._durability is None and "durability" in workflow.model_fields_set and self._store is None:
            self._store = self._open_store(workflow.durability)
        now = self._clock()
        run_id = run_id or new_run_id(now, os.urandom(ENTROPY_BYTES))
        definition = definition_text(self, loaded)
        event = m.RunCreated(
            run_id=run_id,
            workflow=workflow.name,
            definition=blob_of(definition),
            inputs=values,
            secret_inputs=tuple(sorted(secret_inputs)),
            config=dict(self.project.settings.config),
            env=self.project.env() if "env" in loaded.graph.reads else {},
            root=str(self.project.root),
            file=loaded.file,
            offline=offline,
            environment=workflow.environment,
            secret_defaults=tuple(sorted(secret_inputs.keys() - (inputs or {}).keys())),
        )
        lease = Lease(run_id=run_id, owner=this_process(), epoch=1, until=now + LEASE_SECONDS)
        row = RunRow(
            run_id=run_id,
            workflow=workflow.name,
            namespace=workflow.namespace,
            status=RunStatus.PENDING.value,
            file=loaded.file,
            created_at=now,
            updated_at=now,
            labels={**workflow.labels, **(labels or {})},
            epoch=lease.epoch,
            owner=lease.owner,
            lease_until=lease.until,
        )
        self.store.create_run(row)
        run = Run(loaded.graph, loader(self.store), SecretView(self.project, redactor := Redactor()))
        run.provide(secret_inputs)
        return await self._drive(run, lease, 0, 0, [m.Create(event, definition), m.Begin()], redactor, manner)

    async def resume(
        self,
        run_id: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        file: correcting.File = correcting.File.REFUSE,
        correction: Correction | None = None,
        **manner: Unpack[Manner],
    ) -> RunReport:
        """Continue an interrupted or paused run where its journal ends. ``inputs`` may give secret ones again.

        ``file`` says what to do when the workflow file has changed since. ``correction`` is what
        :func:`autoglm.app.correcting.plan_resume` found, so that it need not be found again.

        Raises:
            LeaseHeld: another process drives it.
            UsageError: it has already ended, a secret input is missing, or the file has changed.
        """
        if correction is None:
            correction = correcting.plan_resume(self, run_id, file)
        return await self._continue(run_id, [m.Begin(), m.Resume()], inputs, manner, correction=correction)

    async def retry(
        self,
        run_id: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        tasks: Sequence[str] = (),
        file: correcting.File = correcting.File.REFUSE,
        correction: Correction | None = None,
        **manner: Unpack[Manner],
    ) -> RunReport:
        """Run again what failed or was cancelled in an ended run, and what hangs on it; the rest keeps its results.

        ``tasks`` (ids or static paths) run again too, however they ended, with all that hangs on them. ``file`` and
        ``correction`` are as in :meth:`resume`.

        Raises:
            LeaseHeld: another process drives it.
            UsageError: it has not ended, it succeeded and nothing is asked for, there is no such task, or the file has
                changed.
        """
        if correction is None:
            correction = correcting.plan_retry(self, run_id, tasks, file)
        reopen = m.Reopen(correction.tasks)
        return await self._continue(run_id, [reopen], inputs, manner, correction=correction)

    async def cancel(self, run_id: str, reason: str = "", **manner: Unpack[Manner]) -> str:
        """Cancel a run: by a message to whoever drives it, or here when nobody does. Return its status then.

        ``manner`` is for what is still to be done here: its rollbacks, and its ``finally``.

        Raises:
            UsageError: it has already ended.
        """
        row = self.store.get_run(run_id)
        if row.status in RUN_FINAL:
            raise UsageError(f"run {run_id} has already ended: {row.status}", code="run-ended")
        was_cancelling = row.status == RunStatus.CANCELLING  # and its process is gone: what it stopped is owed again
        try:
            stimulus = m.Begin() if was_cancelling else m.Cancel(reason)
            done = await self._continue(run_id, [stimulus], None, manner, needs_secrets=False)
        except LeaseHeld:
            self.store.post_signal(run_id, "cancel", reason, self._clock())
            return "cancelling"
        return done.status

    async def answer(
        self, run_id: str, task: str, *, approved: bool, by: str = "", data: Any = None, comment: str = ""
    ) -> answering.Told:
        """Answer what a task of a run asks; ``data`` is JSON data for its form, or for the result of a guarded task.

        Raises:
            UsageError: ``run-ended``, ``not-asked``, ``already-answered``, ``answer-late``, ``answerer-not-allowed``,
                ``answer-misfit``.
        """
        return await answering.answer(self, run_id, task, approved=approved, by=by, data=data, comment=comment)

    async def signal(self, run_id: str, name: str, *, data: Any = None, by: str = "") -> answering.Told:
        """Let everything in a run that waits for the signal go on, with ``data`` as its result.

        Raises:
            UsageError: ``run-ended``, ``signal-not-awaited``, ``answer-late``.
        """
        return await answering.signal(self, run_id, name, data=data, by=by)

    def replayed(self, run_id: str) -> Replayed:
        """Return a run replayed from its journal, to go on with. Raises StoreError."""
        redactor = Redactor()
        return Replayed(*self._replay(run_id, SecretView(self.project, redactor)), redactor)

    def open_run(self, run_id: str) -> tuple[Run, Workflow, str]:
        """Return a run replayed from its journal, to look at; its workflow; and the text of its file."""
        run, _ = self._replay(run_id)
        workflow, source = read_definition(self.store, run.created or read_created(self.store, run_id))
        return run, workflow, source

    def _replay(self, run_id: str, secrets: SecretView | None = None) -> tuple[Run, int]:
        workflow, _ = read_definition(self.store, read_created(self.store, run_id))
        catalog = self.catalog
        graph = compile_graph(workflow, catalog)
        return replay(self.store, run_id, graph, secrets, lambda changed: compile_graph(changed, catalog))

    def drain(self) -> None:
        """Let the present run finish what runs, and start nothing more; it stays resumable."""
        self._stop_asked = "drain"
        if self._runner is not None:
            self._runner.drain()

    def post(self, stimulus: m.Stimulus) -> None:
        """Hand news to the present run, on the loop's thread; without one, it is lost."""
        if self._runner is not None:
            self._runner.post(stimulus)

    def abort(self) -> None:
        """Stop the present run's attempts now; it stays resumable."""
        self._stop_asked = "abort"
        if self._runner is not None:
            self._runner.abort()

    # ---------------------------------------------------------------------------------------------------- inner parts

    async def _continue(
        self,
        run_id: str,
        stimuli: Sequence[m.Stimulus],
        inputs: Mapping[str, Any] | None,
        manner: Manner,
        *,
        needs_secrets: bool = True,
        correction: Correction | None = None,
    ) -> RunReport:
        lease, heard = self.acquire(run_id)
        try:
            found = None if correction is None else correction.replayed
            if found is None or found.last != self.store.get_run(run_id).last_seq:
                found = self.replayed(run_id)
            run, last, redactor = found
            if needs_secrets:
                self._check_models(run, correction)
            if correction is not None and correction.change:
                last, secrets = adopt(self, found, lease, correction.change, correction.tasks, inputs or {})
                stimuli = [m.Begin(), m.Resume()]
            else:
                secrets = self._secrets_of(run, inputs or {}) if needs_secrets else {}
            run.provide(secrets)
        except BaseException:
            self.store.release(lease)
            raise
        return await self._drive(run, lease, heard, last, stimuli, redactor, manner)

    async def _drive(
        self,
        run: Run,
        lease: Lease,
        heard: int,
        last_seq: int,
        stimuli: Sequence[m.Stimulus],
        redactor: Redactor,
        manner: Manner,
    ) -> RunReport:
        try:
            is_staged = self._stage is not None  # what is only tried out is no news for anybody
            telemetry = None if is_staged else open_telemetry(self.project.settings.telemetry, os.environ)
            limit = manner.get("max_parallel") or self.project.settings.max_parallel
            if limit is not None:
                run.max_parallel = limit if run.max_parallel is None else min(limit, run.max_parallel)
            for value in run.secret_values():
                redactor.add(value)
            on_created = manner.get("on_created")
            if on_created is not None:
                on_created(run)
            equipment = equip(self, run, lease.run_id, redactor, telemetry, self._stage, manner)
        except BaseException:
            self.store.release(lease)
            raise
        timers = None if self._stage is None else self._stage.timers
        journal = Journal(self.store)
        self._runner = runner = Runner(
            run, journal, lease, last_seq, equipment.toolbox, self._clock, equipment.observers, heard, timers
        )
        if self._stop_asked is not None:
            runner.drain() if self._stop_asked == "drain" else runner.abort()
        try:
            await runner.drive(stimuli)
        finally:
            self._runner = self._stop_asked = None
            await journal.close()
            await equipment.close()
            self.store.release(runner.lease)
        told = report(run)
        if on_created is None and not is_staged:  # else somebody may still look at it
            run.clear()
        return told

    def _may_ask_models(self, graph: Graph) -> bool:
        """Return whether there is anything to know about model calls before a run begins or goes on."""
        if self._stage is not None:
            return False  # a test says itself what models answer
        known = self.catalog.task_types
        return any(by is Decider.LLM or (name in known and known[name].caches) for name, by in graph.kinds)

    def _check_models(self, run: Run, correction: Correction | None) -> None:
        changed = None if correction is None or not correction.change else correction.change.loaded
        if self._may_ask_models(run.graph if changed is None else changed.graph):
            from autoglm.app.preflight import check_continue

            check_continue(self, run, () if correction is None else correction.again, changed)

    def acquire(self, run_id: str) -> tuple[Lease, int]:
        """Return the lease, and the number of the last message that was for an earlier driver."""
        store, owner, now = self.store, this_process(), self._clock()
        held_by = store.get_run(run_id).owner
        alive = is_alive(held_by) if held_by is not None and held_by != owner else None
        heard = last_signal(store, run_id)
        return store.acquire(run_id, owner, now, LEASE_SECONDS, alive=alive), heard

    def now(self) -> float:
        """Return the time by the session's clock: seconds since the epoch."""
        return self._clock()

    def _secrets_of(self, run: Run, given: Mapping[str, Any]) -> dict[str, Secret]:
        """Return a run's secret inputs: given again, or the defaults with which it was started."""
        created = run.created
        if created is None:
            return {}
        defaults = secret_defaults(run)
        names = [name for name in created.secret_inputs if name in given or name not in defaults]
        return defaults | self.secret_inputs(names, given)

    def secret_inputs(self, names: Sequence[str], given: Mapping[str, Any]) -> dict[str, Secret]:
        """Return the secret inputs of these names, given again. Raises UsageError ``secret-input-missing``."""
        found: dict[str, Secret] = {}
        missing: list[str] = []
        for name in names:
            value = given.get(name, os.environ.get(INPUT_PREFIX + name.upper()))
            if value is None:
                missing.append(name)
            else:
                found[name] = Secret(value)
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            raise UsageError(
                f"the secret input {names} is not in the journal, and must be given again",
                code="secret-input-missing",
                hint=f"add -i {missing[0]}=… or set {INPUT_PREFIX}{missing[0].upper()}",
            )
        return found


def _described(handlers: Mapping[str, Callable[..., Any]]) -> dict[str, FunctionInfo] | None:
    """Return what the checks need to know of handlers that were given as functions."""
    if not handlers:
        return None
    from autoglm.tasks.handlers import Handler

    return {name: Handler(name, function, None).info() for name, function in handlers.items()}

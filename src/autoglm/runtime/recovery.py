"""A run from its journal: read, checked, replayed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from autoglm.base.errors import StoreError
from autoglm.engine import messages as m
from autoglm.engine.codec import decode_record
from autoglm.engine.machine import Run
from autoglm.graph.model import Graph
from autoglm.runtime.projection import note_records
from autoglm.spec.model import Workflow
from autoglm.stores.protocol import Store


class Definition(msgspec.Struct, frozen=True):
    """What a run was started with, as kept beside its journal."""

    workflow: msgspec.Raw
    """The workflow as :func:`autoglm.spec.saved.workflow_text` gives it."""
    source: str = ""
    """The text of the file, for people and for comparing."""
    sources: dict[str, str] = {}
    """The texts of the files that it calls, by their keys."""
    path: str = ""
    """Where the file is: relative to the project's folder when it lies in it. Empty: there was none."""
    code: dict[str, str] = {}
    """What the tasks use as code, to its digest; see :mod:`autoglm.spec.changes`."""
    functions: dict[str, str] = {}
    """Names of functions, as tasks give them, to the keys of ``code``; files are their own keys."""
    read: dict[str, str] = {}
    """Files that were read into the workflow (variables, prompts), relative to the project's folder, to a digest."""


def read_created(store: Store, run_id: str) -> m.RunCreated:
    """Return a run's first event. Raises StoreError ``run-not-started`` when it has none."""
    for stored in store.read(run_id):
        event = decode_record(stored.payload).events[0]
        if isinstance(event, m.RunCreated):
            return event
        break
    raise StoreError(
        f"run {run_id} was never started: its journal is empty",
        code="run-not-started",
        hint="start the workflow again with `autoglm run`",
    )


def read_definition(store: Store, created: m.RunCreated) -> tuple[Workflow, str]:
    """Return the workflow a run was started with, and its source text."""
    workflow, definition = decode_definition(store.get_blob(created.definition.digest))
    return workflow, definition.source


def read_current(store: Store, run_id: str) -> m.RunCreated:
    """Return a run's first event as it holds now: with the definition by which the run goes on. Raises StoreError."""
    created = read_created(store, run_id)
    for stored in store.read(run_id, after=1):
        if b'"definition_changed"' in stored.payload:
            for event in decode_record(stored.payload).events:
                if isinstance(event, m.DefinitionChanged):
                    created = msgspec.structs.replace(created, definition=event.definition, inputs=event.inputs)
    return created


def decode_definition(text: bytes) -> tuple[Workflow, Definition]:
    """Return the workflow of a definition's text, and what else it holds."""
    definition = msgspec.json.decode(text, type=Definition)
    return Workflow.model_validate_json(bytes(definition.workflow)), definition


def replay(
    store: Store,
    run_id: str,
    graph: Graph,
    secrets: Mapping[str, Any] | None = None,
    compile_workflow: Callable[[Workflow], Graph] | None = None,
) -> tuple[Run, int]:
    """Return the run as its journal tells it, and the number of its last record.

    ``compile_workflow`` is for a run that goes, or will go, by a changed definition.

    Raises:
        StoreError: ``journal-damaged``, ``journal-too-new``.
    """
    run = Run(graph, loader(store), secrets)
    if compile_workflow is not None:
        run.compile = lambda text: compile_workflow(decode_definition(text)[0])
    last = 0
    for stored in store.read(run_id):
        record = decode_record(stored.payload)
        for event in record.events:
            run.apply(event, record.at)
        last = stored.seq
        note_records(run, last)
    run.dropped.clear()
    return run, last


def loader(store: Store) -> Callable[[m.Blob], bytes]:
    """Return how the engine gets at a blob's text."""
    return lambda blob: store.get_blob(blob.digest)

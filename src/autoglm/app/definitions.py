"""The definition of a run: what is kept of its file and its code, and how today's file differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from autoglm.app.code import code_of
from autoglm.app.inputs import check_inputs
from autoglm.app.loading import digest_of, read_source
from autoglm.base.errors import SpecError, UsageError
from autoglm.base.redaction import Secret
from autoglm.engine import messages as m
from autoglm.engine.codec import encode_record
from autoglm.runtime.projection import run_update, take_dropped, take_rows
from autoglm.runtime.recovery import Definition
from autoglm.spec import changes as spec
from autoglm.stores.protocol import Append, Lease

if TYPE_CHECKING:
    from autoglm.app.loading import Loaded
    from autoglm.app.session import Replayed, Session
    from autoglm.engine.machine import Run


def definition_text(session: Session, loaded: Loaded) -> bytes:
    """Return what is kept of a workflow beside a run's journal, as JSON text."""
    code = code_of(loaded.graph, session.catalog, session.project.root, session.handlers)
    path = _kept_path(Path(loaded.file), session.project.root) if loaded.file else ""
    kept = Definition(
        msgspec.Raw(loaded.text), loaded.source, loaded.sources, path, code.pieces, code.functions, loaded.read
    )
    return msgspec.json.encode(kept)


def blob_of(text: bytes) -> m.Blob:
    """Return the reference to a definition's text."""
    return m.Blob(sha256(text).hexdigest(), len(text))


def _kept_path(path: Path, root: Path) -> str:
    whole = path.absolute().resolve()
    return str(whole.relative_to(root)) if whole.is_relative_to(root) else str(whole)


@dataclass(frozen=True, slots=True)
class Difference:
    """How today's file and code differ from a run's definition."""

    loaded: Loaded
    changes: list[spec.Change]
    of_workflow: list[str]
    """Fields of the workflow itself that differ."""
    files: list[str] = field(default_factory=list)
    """Files read into the workflow that differ, whatever that changes."""

    def __bool__(self) -> bool:
        return bool(self.changes or self.of_workflow)

    @property
    def redo(self) -> dict[str, spec.Change]:
        """What is new or has changed, by static path."""
        return {each.path: each for each in self.changes if each.kind in (spec.Kind.NEW, spec.Kind.CHANGED)}

    @property
    def gone(self) -> tuple[str, ...]:
        return tuple(each.path for each in self.changes if each.kind is spec.Kind.GONE)

    def lines(self) -> list[str]:
        """Return a line for each change, as people read it."""
        found = [f"{each.path}: {_words(each)}" for each in self.changes]
        found += [f"the workflow's `{name}`" for name in self.of_workflow]
        return [*found, *(f"the file `{name}`, which it reads" for name in self.files)] if found else []


def _words(change: spec.Change) -> str:
    match change.kind:
        case spec.Kind.NEW:
            return "new"
        case spec.Kind.GONE:
            return "no longer there"
        case spec.Kind.TUNED:
            return f"{change} (its result stays)"
        case spec.Kind.CHANGED:
            return f"{change} changed"


def differs_in_file(session: Session, run: Run) -> bool:
    """Return whether the file that a run was started from is there and reads otherwise now, or one that it uses does.

    Those are the files that it calls, and those that are read into them: variables and prompts.
    """
    path, definition = _file_of(session, run)
    if path is None:
        return False
    if _read_otherwise(session, definition):
        return True
    texts = {path: definition.source, **{path.parent / key: text for key, text in definition.sources.items()}}
    return any(_reads_otherwise(file, text) for file, text in texts.items())


def _read_otherwise(session: Session, definition: Definition) -> list[str]:
    """Return which of the files that were read into a workflow are not what they were."""
    found = []
    for name, digest in definition.read.items():
        try:
            is_same = digest_of(read_source(session.project.root / name)) == digest
        except (UsageError, SpecError):
            is_same = False
        if not is_same:
            found.append(name)
    return found


def _reads_otherwise(file: Path, text: str) -> bool:
    try:
        return read_source(file) != text
    except (UsageError, SpecError):
        return False


def difference(session: Session, run: Run, *, with_code: bool = True) -> Difference:
    """Return how today's file, and the code that it uses, differ from the definition by which a run goes.

    Raises:
        SpecError: the file as it is now has errors.
        UsageError: ``file-not-found``: it is no longer there.
    """
    path, definition = _file_of(session, run)
    created = run.created
    if path is None:
        named = definition.path or (created.file if created is not None else "")
        if not named:
            message, hint = "the run was started from Python: there is no file to go by", "leave out `--with-changes`"
        else:
            message = f"the file {named}, from which the run was started, is not there any more"
            hint = "put it back; or leave out `--with-changes`: the run then goes on by the file as it was"
        raise UsageError(message, code="file-not-found", hint=hint)
    loaded = session.load(path, environment=created.environment if created is not None else None)
    settings = session.project
    now = code_of(loaded.graph, session.catalog, settings.root, session.handlers) if with_code else None
    was = _recorded(run, definition)
    new = spec.Definition(
        loaded.workflow,
        now.pieces if now is not None else {},
        now.functions if now is not None else {},
        settings.settings.config if with_code else was.config,
        settings.env() if with_code else was.env,
    )
    files = _read_otherwise(session, definition)
    return Difference(loaded, spec.compare(was, new), spec.workflow_changes(was.workflow, new.workflow), files)


def fingerprint_of(session: Session, run: Run, path: str) -> str | None:
    """Return the fingerprint that a task of the file had when the run began, or went on by a changed file."""
    recorded = _recorded(run, _file_of(session, run)[1])
    name = path.partition(".")[0].partition("[")[0]
    task = next((each for each in recorded.workflow.tasks if each.name == name), None)
    return None if task is None else spec.fingerprint(recorded, task, name)


def _recorded(run: Run, definition: Definition) -> spec.Definition:
    created = run.created
    return spec.Definition(
        run.graph.workflow,
        definition.code,
        definition.functions,
        created.config if created is not None else {},
        created.env if created is not None else {},
    )


def refuse_changed(session: Session, run_id: str, run: Run, what: str) -> None:
    """Refuse to go on by the recorded definition when the file has changed. Raises UsageError ``workflow-changed``."""
    if not differs_in_file(session, run):
        return
    hint = (
        f"`autoglm {what} {run_id} --with-changes` goes on by the file as it is now, and does again what changed; "
        "`--as-recorded` by the file as it was"
    )
    try:
        found = difference(session, run, with_code=False)
    except SpecError as error:
        told = [f"it has an error now: {each}" for each in error.diagnostics[:3]]
    else:
        told = found.lines()
    if told:
        shown = "\n".join(f"  - {line}" for line in told[:20])
        more = f"\n  - and {len(told) - 20} more" if len(told) > 20 else ""
        message = f"the workflow file has changed since run {run_id} was started:\n{shown}{more}"
        raise UsageError(message, code="workflow-changed", hint=hint)


def _file_of(session: Session, run: Run) -> tuple[Path | None, Definition]:
    created = run.created
    if created is None:
        return None, Definition(msgspec.Raw(b"{}"))
    definition = msgspec.json.decode(session.store.get_blob(created.definition.digest), type=Definition)
    path = session.project.root / (definition.path or created.file) if definition.path or created.file else None
    return (path if path is not None and path.is_file() else None), definition


def adopt(
    session: Session,
    found: Replayed,
    lease: Lease,
    change: Difference,
    tasks: tuple[str, ...],
    given: Mapping[str, Any],
) -> tuple[int, Mapping[str, Secret]]:
    """Commit that a run goes on by today's definition; return its last record's number and its secret inputs.

    What the engine commands is left aside: the run is owed it when it begins again.

    Raises:
        UsageError: the inputs do not fit the new file, or a secret one is missing.
        StoreError: the commit failed.
    """
    run = found.run
    created = run.created
    if created is None:
        return found.last, {}
    event, text, secrets = _event(session, created, change, given)
    reopen = [m.Reopen((*tasks, *event.redo))] if run.is_final else []
    now = session.now()
    decision = run.handle([m.Adopt(event, text), *reopen], now)
    seq = found.last + 1
    append = Append(
        run_id=created.run_id,
        epoch=lease.epoch,
        seq=seq,
        payload=encode_record(now, decision.events),
        update=run_update(run, now),
        tasks=take_rows(run, seq),
        dropped=take_dropped(run),
        blobs=decision.blobs,
    )
    if (error := session.store.append([append])[0]) is not None:
        raise error
    run.saved(decision.blobs)
    return seq, secrets


def _event(
    session: Session, created: m.RunCreated, change: Difference, given: Mapping[str, Any]
) -> tuple[m.DefinitionChanged, bytes, Mapping[str, Secret]]:
    workflow = change.loaded.workflow
    known = workflow.inputs if workflow.inputs or not workflow.inputs_inferred else created.inputs
    again = [name for name in created.secret_inputs if name in known and name not in created.secret_defaults]
    secrets = session.secret_inputs(again, given)
    values = {name: value for name, value in created.inputs.items() if name in known}
    more = {name: value for name, value in given.items() if name not in secrets}
    all_given = {**values, **{n: str(s) for n, s in secrets.items()}, **more}
    inputs, new_secrets = check_inputs(workflow, all_given)
    text = definition_text(session, change.loaded)
    event = m.DefinitionChanged(
        definition=blob_of(text),
        redo=tuple(change.redo),
        gone=change.gone,
        inputs=inputs,
        secret_inputs=tuple(sorted(new_secrets)),
        config=dict(session.project.settings.config),
        env=session.project.env() if "env" in change.loaded.graph.reads else {},
        secret_defaults=tuple(sorted(new_secrets.keys() - all_given.keys())),
    )
    return event, text, new_secrets

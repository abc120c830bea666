"""Commands that look at runs: list, show, logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoglm.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoglm.app.questions import OpenQuestion
    from autoglm.app.session import Session
    from autoglm.stores.protocol import LogLine, RunRow, TaskRow

_PAGE = 500
_SHOWN_QUESTIONS = 20
_WAITING = "waiting"
"""A run of which nothing runs, and something waits; in the store it is running, or paused."""
_MOST_RUNS = 10_000


def list_runs(
    status: Annotated[str | None, typer.Option(metavar="STATUS", help="Only runs in this status.")] = None,
    workflow: Annotated[str | None, typer.Option(metavar="NAME", help="Only runs of this workflow.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="At most so many, newest first.")] = 20,
    json: options.Json = False,
    project: options.Project = None,
    store: options.Store = None,
) -> int:
    """List the project's runs, newest first."""
    from autoglm.cli.opening import open_session
    from autoglm.cli.output import say, say_json
    from autoglm.cli.tables import say_table
    from autoglm.engine.states import RunStatus

    _check_status(status, [*(each.value for each in RunStatus), _WAITING])
    with open_session(project, store) as session:
        if status == _WAITING:
            rows = _waiting(session, workflow)[:limit]
        else:
            rows = session.store.list_runs(status=status, workflow=workflow, limit=limit)
        if json:
            say_json({"runs": [run_data(row) for row in rows]})
        elif not rows:
            say("no runs")
        else:
            table = [
                [row.run_id, row.workflow, _shown_status(row), _when(row.created_at), _took(row), _counts(row)]
                for row in rows
            ]
            say_table(["RUN", "WORKFLOW", "STATUS", "STARTED", "TOOK", "TASKS"], table, status=2)
    return 0


def _shown_status(row: RunRow) -> str:
    """Return the status as lists tell it."""
    is_open = row.status in ("running", "paused")
    counts = row.counts
    return _WAITING if is_open and counts.get("paused") and not counts.get("running") else row.status


def _waiting(session: Session, workflow: str | None) -> list[RunRow]:
    """Return the runs that wait for a person, a signal or a time, newest first."""
    found: list[RunRow] = []
    for status in ("running", "paused"):
        found += session.store.list_runs(status=status, workflow=workflow, limit=_MOST_RUNS)
    waiting = [row for row in found if _shown_status(row) == _WAITING]
    return sorted(waiting, key=lambda row: row.created_at, reverse=True)


def show(
    run: options.RunId,
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="A task's id, such as `clean[12]`.")] = None,
    status: Annotated[str | None, typer.Option(metavar="STATUS", help="Only tasks in this status, items too.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="At most so many tasks.")] = 100,
    json: options.Json = False,
    project: options.Project = None,
    store: options.Store = None,
) -> int:
    """Show a run, or one task of it."""
    from autoglm.cli.opening import open_session
    from autoglm.engine.states import TaskStatus

    _check_status(status, [each.value for each in TaskStatus])
    with open_session(project, store) as session:
        run_id = session.find_run(run)
        row = session.store.get_run(run_id)
        if task is not None:
            _show_task(session, row, task, as_json=json)
        else:
            _show_run(session, row, _tasks(session, row, status, limit), as_json=json)
    return 0


def _tasks(session: Session, row: RunRow, status: str | None, limit: int) -> list[TaskRow]:
    """Return the tasks of the file (those in ``status``: every instance), not the items of its loops."""
    store = session.store
    if status is not None:
        return store.list_tasks(row.run_id, statuses=[status], limit=limit)
    from autoglm.engine import standing_in, undoing
    from autoglm.runtime.recovery import read_current, read_definition
    from autoglm.spec.model import StandIn

    workflow, _ = read_definition(store, read_current(store, row.run_id))
    found: list[TaskRow] = []
    alternatives: set[str] = set()
    sections = tuple(f"{name}." for name in workflow.sections())
    waiting = [(task, f"{name}.{task.name}") for name, tasks in workflow.sections().items() for task in tasks][::-1]
    waiting += [(task, task.name) for task in reversed(workflow.tasks)]
    while waiting and len(found) < limit:
        task, path = waiting.pop()
        known = store.get_task(row.run_id, path)
        if known is None and path in alternatives:  # another one was chosen, or none yet
            continue
        if known is not None or not path.startswith(sections):
            found.append(known if known is not None else _pending(path))
        suffixes = [standing_in.SUFFIX] if task.fallback is not None or isinstance(task.on_error, StandIn) else []
        suffixes += [undoing.SUFFIX] if task.rollback is not None else []
        beside = [store.get_task(row.run_id, f"{path}{suffix}") for suffix in suffixes]
        found.extend(each for each in beside if each is not None)
        if task.loop is None:
            inside = [(inner, f"{path}.{inner.name}") for inner in reversed(task.tasks)]
            waiting.extend(inside)
            alternatives |= {inner for _, inner in inside if "choose" in task.options}
    return found


def _pending(path: str) -> TaskRow:
    from autoglm.stores.protocol import TaskRow

    return TaskRow(0, path, path, "pending")


def _show_run(session: Session, row: RunRow, tasks: list[TaskRow], *, as_json: bool) -> None:
    from autoglm.cli.output import say, say_json
    from autoglm.cli.stored import run_facts
    from autoglm.cli.summary import clipped_json
    from autoglm.cli.tables import say_table
    from autoglm.cli.usage import used_text

    facts = run_facts(session.store, row.run_id)
    questions, paused = _open(session, row)
    if as_json:
        asked: dict[str, Any] = {"questions": [each.as_dict() for each in questions]} if questions else {}
        why = {"paused": paused} if paused else {}
        say_json({**run_data(row), **facts, "tasks": [task_data(each) for each in tasks], **why, **asked})
        return
    from autoglm.cli.measure import harmless

    say(f"run       {row.run_id}")
    say(f"workflow  {harmless(row.workflow)}  ({harmless(row.file)})" if row.file else f"workflow  {row.workflow}")
    say(f"status    {row.status}{_driven(row)}")
    if because := paused or facts.get("cancelled"):
        say(f"because   {harmless(because)}")
    say(f"started   {_when(row.created_at)}, took {_took(row)}")
    if row.error:
        say(f"error     {harmless(row.error)}")
    if used := used_text(row.usage.get("total", {})):
        say(f"used      {used}")
    if facts["offline"]:
        say("REHEARSAL (--offline): no model was asked.")
    for title in ("inputs", "outputs"):
        if facts[title]:
            say(f"{title}:")
            for line in clipped_json(facts[title], f"autoglm show {row.run_id} --json"):
                say(line)
    if tasks:
        say()
        table = [[t.task, t.status, str(t.attempts or "-"), _task_took(t), _error(t)] for t in tasks]
        say_table(["TASK", "STATUS", "ATTEMPTS", "TOOK", "ERROR"], table, status=1)
    _say_usage(row)
    _say_questions(session, row, questions)


def _open(session: Session, row: RunRow) -> tuple[tuple[OpenQuestion, ...], str]:
    """Return what the run waits for, and why it is paused as a whole; only a replay knows."""
    is_paused = row.status == "paused"
    if row.ended_at is not None or not (is_paused or row.counts.get("paused")):
        return (), ""
    from autoglm.app.questions import open_questions

    run = session.open_run(row.run_id)[0]
    return open_questions(run), run.pause_reason if is_paused else ""


def _say_questions(session: Session, row: RunRow, questions: Sequence[OpenQuestion]) -> None:
    from autoglm.base.instants import format_instant
    from autoglm.cli.answers import answer_command
    from autoglm.cli.measure import harmless
    from autoglm.cli.output import say
    from autoglm.cli.watch import where_option
    from autoglm.engine.waiting import in_words

    run = f"{row.run_id}{where_option(session)}"
    for each in questions[:_SHOWN_QUESTIONS]:
        question = each.question
        what = "" if question.kind in ("signal", "time") else "an answer: "
        say()
        say(f"‖ {harmless(each.task)} waits for {what}{harmless(in_words(question))}")
        if question.who:
            say(f"  who may answer: {harmless(', '.join(question.who))}")
        is_late = each.is_late(session.now())
        if question.deadline is not None and question.kind != "time":
            over = ": its time is up" if is_late else ""
            say(f"  until {format_instant(question.deadline)}, then: {question.on_deadline}{over}")
        if is_late:
            say(f"  autoglm resume {run}")
        elif question.kind != "time":
            say(f"  {answer_command(run, each.task, question)}")
    if len(questions) > _SHOWN_QUESTIONS:
        say(f"… and {len(questions) - _SHOWN_QUESTIONS:,} more open questions: --json lists all")


def _say_usage(row: RunRow) -> None:
    """Print what each task used of models, and what came of the arms of its split."""
    from autoglm.cli.output import say
    from autoglm.cli.tables import say_table
    from autoglm.cli.usage import arm_rows, task_rows

    if tasks := task_rows(row.usage.get("tasks", {})):
        say()
        say_table(["TASK", "CALLS", "TOKENS IN", "TOKENS OUT", "COST", "NOT PAID"], tasks)
    if arms := arm_rows(row.usage.get("arms", {})):
        say()
        say_table(["TASK", "ARM", "ATTEMPTS", "FAILED", "QUALITY", "COST EACH", "SECONDS EACH"], arms)


def check_task(session: Session, row: RunRow, task: str) -> TaskRow:
    """Return a task of the run, started or not. Raises UsageError ``task-not-found``."""
    from autoglm.base.diagnostics import did_you_mean
    from autoglm.base.errors import UsageError

    found = session.store.get_task(row.run_id, task)
    if found is not None:
        return found
    names = [each.task for each in _tasks(session, row, None, 1000)]
    if task in names:
        return _pending(task)
    close = did_you_mean(task, names)
    hint = f"did you mean `{close}`?" if close else f"`autoglm show {row.run_id}` lists them"
    raise UsageError(f"run {row.run_id} has no task {task!r}", code="task-not-found", hint=hint)


def _show_task(session: Session, row: RunRow, task: str, *, as_json: bool) -> None:
    from autoglm.cli.measure import harmless
    from autoglm.cli.output import say, say_json
    from autoglm.cli.stored import task_result
    from autoglm.cli.summary import clipped_json

    found = check_task(session, row, task)
    result = task_result(session, row.run_id, found)
    failure = result.failure
    if as_json:
        data = task_data(found)
        if failure is not None and data["error"] is not None:
            data["error"] |= {"hint": failure.hint, "details": failure.details}
        say_json({**data, "result": result.value, **({} if result.is_kept else {"result_kept": False})})
        return
    say(f"task      {harmless(found.task)}  (run {row.run_id})")
    say(f"status    {found.status}, {found.attempts} attempt{'s' if found.attempts != 1 else ''}")
    if found.started_at is not None:
        say(f"started   {_when(found.started_at)}, took {_task_took(found)}")
    if found.error:
        say(f"error     {_error(found)}")
    if failure is not None and failure.hint:
        say(f"hint      {harmless(failure.hint)}")
    if failure is not None and isinstance(trace := (failure.details or {}).get("traceback"), str):
        say("raised at:")
        for line in trace.split("\n"):
            say(harmless(line))
    if found.status == "succeeded" and not result.is_kept:
        say("result    not kept by itself: it went into what was made of it")
    elif found.status == "succeeded":
        say("result:")
        for line in clipped_json(result.value, f"autoglm show {row.run_id} '{found.task}' --json"):
            say(line)


def logs(
    run: options.RunId,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="Only this task's lines and of what is in it.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    project: options.Project = None,
    store: options.Store = None,
) -> int:
    """Print the lines that a run's tasks wrote."""
    import time

    from autoglm.cli.opening import open_session

    with open_session(project, store) as session:
        run_id = session.find_run(run)
        last = 0
        while True:
            is_over = not is_driven(session.store.get_run(run_id))
            while page := session.store.list_logs(run_id, task=task, after=last, limit=_PAGE):
                last = page[-1][0]
                for _, line in page:
                    _say_line(line, as_json=json)
            if not follow or is_over:
                if not last and task is not None:
                    check_task(session, session.store.get_run(run_id), task)
                return 0
            _flush()
            time.sleep(0.3)


def _say_line(line: LogLine, *, as_json: bool) -> None:
    import sys

    from autoglm.cli.measure import harmless
    from autoglm.cli.output import is_terminal, say, styled

    if as_json:
        import json

        data = {"at": line.at, "task": line.task, "attempt": line.attempt, "stream": line.stream, "text": line.text}
        say(json.dumps({**data, "level": line.level}))
        return
    text = harmless(line.text) if is_terminal(sys.stdout) else line.text
    style = "yellow" if line.stream == "stderr" else ""
    say(f"{_clock(line.at)} {styled(harmless(line.task), 'cyan', sys.stdout)} {styled(text, style, sys.stdout)}")


def _flush() -> None:
    import sys

    sys.stdout.flush()


def run_data(row: RunRow) -> dict[str, Any]:
    """Return a run's row as JSON data."""
    return {
        "run_id": row.run_id,
        "workflow": row.workflow,
        "namespace": row.namespace,
        "status": row.status,
        "file": row.file,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "ended_at": row.ended_at,
        "labels": row.labels,
        "counts": row.counts,
        "usage": row.usage.get("total", {}),
        "usage_by_task": row.usage.get("tasks", {}),
        "usage_by_arm": row.usage.get("arms", {}),
        "error": row.error,
        "driven_by": row.owner if is_driven(row) else None,
    }


def task_data(row: TaskRow) -> dict[str, Any]:
    """Return a task's row as JSON data."""
    error = None if row.error is None else {"code": row.error_code, "message": row.error}
    return {
        "task": row.task,
        "status": row.status,
        "attempts": row.attempts,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "error": error,
    }


def _check_status(status: str | None, known: list[str]) -> None:
    from autoglm.base.diagnostics import did_you_mean
    from autoglm.base.errors import UsageError

    if status is not None and status not in known:
        close = did_you_mean(status, known)
        hint = f"did you mean `{close}`?" if close else f"one of {', '.join(known)}"
        raise UsageError(f"{status!r} is no status", code="unknown-status", hint=hint)


def _driven(row: RunRow) -> str:
    if row.ended_at is not None:
        return ""
    if is_driven(row):
        return f", driven by {row.owner}"
    return ", driven by nobody: `autoglm resume` continues it"


def is_driven(row: RunRow) -> bool:
    """Return whether a process drives the run, as far as can be told from here: its name stays when it is killed."""
    from autoglm.runtime.owner import is_alive

    return row.owner is not None and is_alive(row.owner) is not False


def _counts(row: RunRow) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in row.counts.items() if count)


def _error(row: TaskRow) -> str:
    return ": ".join(part for part in (row.error_code, row.error) if part)


def _task_took(row: TaskRow) -> str:
    from autoglm.cli.measure import duration_of

    if row.started_at is None or row.ended_at is None:
        return "-"
    return duration_of(max(0.0, row.ended_at - row.started_at))


def _took(row: RunRow) -> str:
    from autoglm.cli.measure import duration_of

    end = row.ended_at if row.ended_at is not None else row.updated_at
    return duration_of(max(0.0, end - row.created_at))


def _when(at: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _clock(at: float) -> str:
    import time

    return time.strftime("%H:%M:%S", time.localtime(at))

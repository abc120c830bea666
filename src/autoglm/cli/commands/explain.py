"""Say why: of a run, or of one task of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoglm.cli import options

if TYPE_CHECKING:
    from autoglm.app.attempts import Asked, Tried
    from autoglm.app.explaining import Items, Link, TaskStory, Wait
    from autoglm.app.explaining_runs import RunStory
    from autoglm.app.session import Session
    from autoglm.engine.machine import Run
    from autoglm.stores.protocol import RunRow, TaskRow

_WIDTH = 200
_ATTEMPTS = 10
_ENDED = {
    "pending": "it has not begun",
    "skipped": "it was skipped",
    "cancelled": "it was cancelled",
    "terminated": "it was given up",
    "timeout": "its time was up",
    "rolled_back": "it succeeded and was rolled back",
}


def explain(
    run: options.RunId,
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="A task's id, such as `clean[12]`.")] = None,
    json: options.Json = False,
    project: options.Project = None,
    store: options.Store = None,
) -> int:
    """Say why a run, or a task of it, stands as it does."""
    from autoglm.cli.opening import open_session

    with open_session(project, store) as session:
        run_id = session.find_run(run)
        row = session.store.get_run(run_id)
        found, _, _ = session.open_run(run_id)
        if task is None:
            _explain_run(session, row, found, as_json=json)
        else:
            _explain_task(session, row, found, task, as_json=json)
    return 0


# ------------------------------------------------------------------------------------------------------------------ run


def _explain_run(session: Session, row: RunRow, run: Run, *, as_json: bool) -> None:
    import msgspec

    from autoglm.app.explaining_runs import explain_run
    from autoglm.cli.commands.look import is_driven
    from autoglm.cli.output import say_json

    story = explain_run(run)
    following = _answers(session, row, run, list(run.questions)[:3]) + _next_of_run(session, row, run, story)
    if as_json:
        data = msgspec.to_builtins(story)
        driven = row.owner if is_driven(row) else None
        say_json({"run_id": row.run_id, "workflow": row.workflow, **data, "driven_by": driven, "next": following})
    else:
        _say_run(row, story, following, session.now())


def _say_run(row: RunRow, story: RunStory, following: list[str], now: float) -> None:
    from autoglm.cli.commands.look import is_driven
    from autoglm.cli.measure import harmless
    from autoglm.cli.output import say

    say(f"run {row.run_id} of {harmless(row.workflow)}: {_tame(story.summary)}")
    counts = ", ".join(f"{count:,} {status}" for status, count in story.counts.items())
    say(f"tasks: {counts or 'none has begun'}")
    if story.first_failed:
        say("failed first:")
        _say_links(story.first_failed, story.failed)
    if story.not_rolled_back:
        say("could not be rolled back, still in place:")
        for link in story.not_rolled_back:
            say(f"  ✗ {harmless(link.task)}  {_tame(link.why)}")
        _say_more(story.not_undone - len(story.not_rolled_back))
    if story.hangs:
        more = f" and {story.hangs - len(story.hanging):,} more" if story.hangs > len(story.hanging) else ""
        say(f"hangs on what has not succeeded: {', '.join(harmless(each) for each in story.hanging)}{more}")
    is_lost = row.ended_at is None and not is_driven(row)
    if story.running:
        more = f" and {story.runs - len(story.running):,} more" if story.runs > len(story.running) else ""
        say(f"{'was running' if is_lost else 'running'}: {', '.join(harmless(each) for each in story.running)}{more}")
    for task, wait in story.waits:
        say(f"waits: {harmless(task)} for {_wait(wait, now)}")
    if is_lost:
        _say_undriven(row)
    _say_next(following)


def _say_undriven(row: RunRow) -> None:
    from autoglm.cli.output import say

    say(f"nothing drives the run: `autoglm resume {row.run_id}` continues it")


def _answers(session: Session, row: RunRow, run: Run, tasks: list[str]) -> list[str]:
    """Return the commands that answer what these tasks ask, as far as they ask anything."""
    from autoglm.app.questions import open_questions
    from autoglm.cli.answers import answer_command
    from autoglm.cli.watch import where_option

    where = f"{row.run_id}{where_option(session)}"
    asked = [
        each
        for each in open_questions(run)
        if each.task in tasks and each.question.kind != "time" and not each.is_late(session.now())
    ]
    return list(dict.fromkeys(answer_command(where, each.task, each.question) for each in asked))


def _next_of_run(session: Session, row: RunRow, run: Run, story: RunStory) -> list[str]:
    from autoglm.cli.commands.look import is_driven
    from autoglm.cli.watch import where_option
    from autoglm.engine.undoing import SUFFIX

    name = f"{row.run_id}{where_option(session)}"
    found = [f"autoglm explain {name} {_quoted(each.task)}" for each in story.first_failed[:1]]
    found += [f"autoglm explain {name} {_quoted(f'{each.task}{SUFFIX}')}" for each in story.not_rolled_back[:1]]
    if row.status in ("failed", "cancelled"):
        found += _going_on(session, run, f"autoglm retry {name}")
    elif row.ended_at is None and not is_driven(row):
        found += _going_on(session, run, f"autoglm resume {name}")
    elif row.ended_at is None:
        found.append(f"autoglm logs {name} --follow")
    else:
        found.append(f"autoglm show {name}")
    return found


def _going_on(session: Session, run: Run, command: str) -> list[str]:
    """Return the commands that go on with a run: by which file has to be said once that has changed."""
    from autoglm.app.definitions import differs_in_file

    if differs_in_file(session, run):
        return [f"{command} --with-changes", f"{command} --as-recorded"]
    return [command]


# ----------------------------------------------------------------------------------------------------------------- task


def _explain_task(session: Session, row: RunRow, run: Run, task: str, *, as_json: bool) -> None:
    import msgspec

    from autoglm.app.definitions import fingerprint_of
    from autoglm.cli.commands.look import is_driven
    from autoglm.cli.output import say_json

    tried, asked = _history(session, row.run_id, task)
    story = _with_answer(_story(session, row, run, task), asked)
    following = _answers(session, row, run, [task]) + _next_of_task(session, row, run, story, tried)
    if as_json:
        data = msgspec.to_builtins(story)
        history = msgspec.to_builtins(tried)
        fingerprint = fingerprint_of(session, run, task)
        say_json({"run_id": row.run_id, **data, "history": history, "fingerprint": fingerprint, "next": following})
    else:
        _say_task(row, story, tried, session.now(), is_driven=row.ended_at is not None or is_driven(row))
        _say_next(following)


def _story(session: Session, row: RunRow, run: Run, task: str) -> TaskStory:
    """Return why a task stands as it does, whether it is in memory, over, or has not begun."""
    from autoglm.app.explaining import explain_absent, explain_task, find_instance
    from autoglm.cli.commands.look import check_task

    known = session.store.get_task(row.run_id, task)
    instance = find_instance(run, task)
    if known is None and instance is None and (absent := explain_absent(run, task)) is not None:
        return absent
    known = check_task(session, row, task)
    return _of_row(session, row.run_id, known, run) if instance is None else explain_task(run, instance)


def _with_answer(story: TaskStory, asked: Asked | None) -> TaskStory:
    """Return a story that tells how what the task asked was answered."""
    import msgspec

    from autoglm.app.attempts import answered_in_words

    told = None if asked is None or story.status == "pending" else answered_in_words(asked)
    return story if told is None else msgspec.structs.replace(story, notes=[*story.notes, told])


def _of_row(session: Session, run_id: str, row: TaskRow, run: Run) -> TaskStory:
    """Return what is left to say of an item that is done, or of what was in one: it is no longer in memory."""
    from autoglm.app import decided
    from autoglm.app.explaining import TaskStory, find_node
    from autoglm.cli.stored import task_result

    node = find_node(run, row.task)
    if node is not None and node.targets and row.status == "succeeded":
        found = decided.read_decision(task_result(session, run_id, row).value)
        if found is not None:
            why = f"it decided: it {decided.in_words(found)}"
            said, notes = decided.operands_of(found), decided.more_of(found, node)
            return TaskStory(row.task, row.status, row.attempts, why, operands=said, notes=notes)
    ended = _ENDED.get(row.status, f"it {row.status}")
    why = ended if row.error is None else f"{ended}: {row.error}"
    rest = "" if row.status == "pending" else "; what lies inside a finished item is not kept"
    return TaskStory(row.task, row.status, row.attempts, f"{why}{rest}")


def _history(session: Session, run_id: str, task: str) -> tuple[list[Tried], Asked | None]:
    """Return a task's attempts and its newest question as the journal tells them; other records are not decoded."""
    import msgspec

    from autoglm.app.attempts import note_attempt, note_question
    from autoglm.engine.codec import decode_record

    mark = b'"task":' + msgspec.json.encode(task)
    tried: dict[int, Tried] = {}
    asked: Asked | None = None
    for stored in session.store.read(run_id):
        if mark in stored.payload:
            record = decode_record(stored.payload)
            for event in record.events:
                if getattr(event, "task", None) == task:
                    note_attempt(tried, event, record.at)
                    asked = note_question(asked, event, record.at)
    return [tried[number] for number in sorted(tried)], asked


def _say_task(row: RunRow, story: TaskStory, tried: list[Tried], now: float, *, is_driven: bool) -> None:
    from autoglm.cli.measure import harmless
    from autoglm.cli.output import say

    say(f"{harmless(story.task)} ({story.status}) of run {row.run_id}: {_tame(story.summary)}")
    if story.condition is not None:
        say(f"when: {_tame(story.condition)}")
    for operand in story.operands:
        say(f"  {harmless(operand.name)} = {_tame(operand.value)}")
    for note in story.notes:
        say(_tame(note))
    if story.upstreams:
        say("after:")
        _say_links(story.upstreams[:_ATTEMPTS], len(story.upstreams))
    if story.causes:
        say("because:")
        _say_links(story.causes, len(story.causes))
    for wait in story.waits:
        say(f"waits for {_wait(wait, now)}")
    if story.items is not None:
        _say_items(story.items)
    if tried:
        _say_tried(tried, story.max_attempts)
    if story.failure is not None and story.failure["hint"]:
        say(f"hint: {_tame(story.failure['hint'])}")
    if not is_driven:
        _say_undriven(row)


def _say_items(items: Items) -> None:
    from autoglm.cli.output import say

    total = "an unknown number of" if items.total is None else f"{items.total:,}"
    told = f"items: {items.ended:,} of {total} ended, {items.open:,} open, {items.failed:,} failed"
    say(f"{told}, {items.skipped:,} skipped")
    _say_links(items.first_failed, items.failed)


def _say_tried(tried: list[Tried], most: int) -> None:
    from autoglm.cli.measure import duration_of
    from autoglm.cli.output import say
    from autoglm.cli.tables import say_table

    rows = []
    for each in tried[-_ATTEMPTS:]:
        took = "-" if each.ended_at is None else duration_of(max(0.0, each.ended_at - each.started_at))
        why = ": ".join(part for part in (each.code, each.message) if part)
        following = ""
        if each.retry_at is not None and each.ended_at is not None:
            following = f"again after {duration_of(max(0.0, each.retry_at - each.ended_at))}"
        rows.append([str(each.attempt), each.outcome, took, following, _tame(why)])
    say(f"attempts: {len(tried)} made, up to {most} allowed each time it runs")
    say_table(["ATTEMPT", "OUTCOME", "TOOK", "THEN", "WHY"], rows, status=1)


def _next_of_task(session: Session, row: RunRow, run: Run, story: TaskStory, tried: list[Tried]) -> list[str]:
    from autoglm.cli.commands.look import is_driven
    from autoglm.cli.watch import where_option

    name, task = f"{row.run_id}{where_option(session)}", _quoted(story.task)
    found = []
    if story.causes:
        found.append(f"autoglm explain {name} {_quoted(story.causes[-1].task)}")
    if tried:
        found.append(f"autoglm logs {name} --task {task}")
    if row.ended_at is None:
        return found if is_driven(row) else found + _going_on(session, run, f"autoglm resume {name}")
    bad = ("failed", "timeout", "terminated", "cancelled")
    is_failure = story.status in bad or any(each.status in bad for each in story.causes)
    if row.status != "succeeded" and is_failure:
        return found + _going_on(session, run, f"autoglm retry {name}")
    again = _what_can_be_done_again(run, story.task)
    return found if again is None else found + _going_on(session, run, f"autoglm retry {name} --from {_quoted(again)}")


def _what_can_be_done_again(run: Run, task: str) -> str | None:
    """Return a task, or the loop of one whose items cannot be done again alone; None when nothing of it can."""
    from autoglm.app.correcting import check_tasks
    from autoglm.base.errors import UsageError

    while True:
        try:
            check_tasks(run, [task])
        except UsageError as error:
            if error.code != "item-not-kept":
                return None
            task = task.rpartition("[")[0]
        else:
            return task


# ---------------------------------------------------------------------------------------------------------------- words


def _say_links(links: list[Link], total: int) -> None:
    from autoglm.cli.icons import icon_of
    from autoglm.cli.measure import harmless
    from autoglm.cli.output import say

    for link in links:
        why = f"  {_tame(link.why)}" if link.why else ""
        tolerated = " (tolerated)" if link.tolerated else ""
        say(f"  {icon_of(link.status)} {harmless(link.task)} {link.status}{tolerated}{why}")
    _say_more(total - len(links))


def _say_more(more: int) -> None:
    from autoglm.cli.output import say

    if more > 0:
        say(f"  … and {more:,} more")


def _wait(wait: Wait, now: float) -> str:
    from autoglm.cli.measure import harmless

    match wait.what:
        case "upstream":
            return f"`{harmless(wait.name)}`, which is {wait.reason}"
        case "pool":
            holders = ", ".join(harmless(each) for each in wait.holders)
            return f"one of {wait.limit} slots of {harmless(wait.name)}, held by {holders}"
        case "run":
            return f"the run: {wait.reason}"
    reason = harmless(wait.reason) or "to be woken"
    if wait.due is None:
        return reason
    return f"{reason}, {'whose time was up' if wait.due <= now else 'due'} at {_clock(wait.due)}"


def _clock(at: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _say_next(following: list[str]) -> None:
    from autoglm.cli.output import say

    if following:
        say("next:")
    for command in following:
        say(f"  {command}")


def _tame(text: Any) -> str:
    from autoglm.cli.measure import clip, harmless

    return clip(harmless(" ".join(str(text).split())), _WIDTH)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)

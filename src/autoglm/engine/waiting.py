"""Tasks that wait for a person, a time or a signal, decided without an executor. Functions of the machine.

Rules:

1. What waits is PAUSED and holds nothing but its place in the state: its question, and a timer when it has a deadline.
2. The first answer counts; whatever is wrong with a later one is said by :func:`refusal`, which changes nothing.
3. A deadline that has passed is an answer too, by nobody: what it means is the task's ``on_deadline``.
4. An attempt whose outcome nobody knows (``effects: guarded``) waits in the same way; it runs again only when told to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from autoglm.base import jsonvalue
from autoglm.base.durations import parse_duration
from autoglm.base.errors import Failure
from autoglm.base.instants import format_instant, parse_instant
from autoglm.base.redaction import redact
from autoglm.engine import closing, parking
from autoglm.engine import messages as m
from autoglm.engine.state import WAKE, Held, Instance
from autoglm.engine.states import TaskStatus
from autoglm.graph.model import NodeKind
from autoglm.spec.expressions import ExpressionError

if TYPE_CHECKING:
    from autoglm.engine.machine import Run
    from autoglm.engine.run_state import RunState

PEOPLE = frozenset({"approval", "effects"})
"""Kinds of question that a person answers."""
_UNKNOWN_OUTCOME = "it was running when its process was lost, and may have had its effect: run it again?"


class Refusal(NamedTuple):
    """Why an answer does not count."""

    code: str
    message: str
    hint: str | None = None


# ------------------------------------------------------------------------------------------------------ part of apply


def asked(state: RunState, instance: Instance, event: m.QuestionAsked, at: float) -> None:
    """Note that a task waits for an answer."""
    question = event.question
    if instance.status is TaskStatus.PENDING:
        state.begin(instance, at)
    state.leave_slot(instance)
    state.move(instance, TaskStatus.PAUSED, at)
    if instance.held is None:
        instance.held = Held()
    instance.held.question = question
    instance.held.reason = in_words(question)
    instance.deadline = None
    instance.due = question.deadline
    if question.deadline is not None:
        state.set_timer(question.deadline, WAKE, instance)
    state.questions[instance.id] = instance
    if question.signal is not None:
        state.signals.setdefault(question.signal, {})[instance.id] = instance
    state.free_loop(instance)


def answered(state: RunState, instance: Instance, event: m.QuestionAnswered, at: float) -> None:
    """Note that it has been answered; one that is to run again is due now."""
    drop(state, instance)
    instance.due = None
    if event.again:
        instance.due = at
        state.set_timer(at, WAKE, instance)


def drop(state: RunState, instance: Instance) -> None:
    """Forget the question of an instance, if it has one."""
    held = instance.held
    if held is None or held.question is None:
        return
    state.questions.pop(instance.id, None)
    name = held.question.signal
    if name is not None and name in state.signals:
        state.signals[name].pop(instance.id, None)
        if not state.signals[name]:
            del state.signals[name]
    held.question = None
    held.reason = ""


def is_all_that_is_left(state: RunState) -> bool:
    """Return whether nothing goes on before somebody answers, or sends a signal."""
    counts = state.counts
    if not state.questions or state.attempts or counts.get(TaskStatus.RETRYING) or state.is_reading:
        return False
    asking = sum(1 for each in state.questions.values() if not each.is_beside)
    if counts.get(TaskStatus.PAUSED, 0) != asking or state.is_between_iterations:
        return False
    if not state.stand_ins.keys() <= state.questions.keys():
        return False
    held = [each.held for each in state.questions.values()]
    return all(each and each.question and each.question.kind != "time" for each in held)


# ------------------------------------------------------------------------------------------------------------- asking


def ask(run: Run, instance: Instance) -> None:
    """Let a task that waits begin to; it fails here when what it says cannot be made out."""
    try:
        options = redact(run.evaluate(instance.node.options, instance))
        question = _question(instance.node.task.type, options, run.now)
    except ExpressionError as error:
        run.fail(instance, run.as_failure(error))
        return
    run.emit(m.QuestionAsked(instance.id, question))


def ask_what_became(run: Run, instance: Instance) -> None:
    """Ask what to do about an attempt that nobody knows the outcome of."""
    run.emit(m.QuestionAsked(instance.id, m.Question("effects", _UNKNOWN_OUTCOME)))


def _question(kind: str, options: dict[str, Any], now: float) -> m.Question:
    deadline = _when(options["deadline"], now, "deadline") if options.get("deadline") is not None else None
    on_deadline = str(options.get("on_deadline") or "fail")
    if kind == "approval":
        who = options.get("who") or ()
        names = (who,) if isinstance(who, str) else tuple(str(name) for name in who)
        message = _text(options.get("message"))
        return m.Question("approval", message, options.get("form"), names, deadline, on_deadline)
    if options.get("signal") is not None:
        return m.Question("signal", deadline=deadline, on_deadline=on_deadline, signal=_text(options["signal"]))
    if options.get("until") is not None:
        return m.Question("time", deadline=_at(options["until"], "until"))
    return m.Question("time", deadline=now + _length(options.get("for"), "for"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else jsonvalue.encode(value).decode()


def _when(value: Any, now: float, name: str) -> float:
    """Return the time that a duration from now, or an instant, means."""
    try:
        return now + parse_duration(value)
    except ValueError:
        return _at(value, name, " or a duration such as 2h")


def _at(value: Any, name: str, otherwise: str = "") -> float:
    try:
        return parse_instant(value)
    except ValueError:
        message = f"`{name}` must be a point in time such as 2026-03-01T09:00:00Z{otherwise}, and it is {value!r}"
        raise ExpressionError(message, code="bad-instant") from None


def _length(value: Any, name: str) -> float:
    try:
        return parse_duration(value)
    except ValueError:
        message = f"`{name}` must be a duration such as 30s or 2h, and it is {value!r}"
        raise ExpressionError(message, code="bad-duration") from None


def in_words(question: m.Question) -> str:
    """Return what a question waits for, for people."""
    match question.kind:
        case "approval" | "effects":
            return question.message
        case "signal":
            return f"the signal `{question.signal}`"
        case _:
            return f"the time {format_instant(question.deadline or 0.0)}"


# ----------------------------------------------------------------------------------------------------------- answering


def take(run: Run, news: m.Wake | m.Answer | m.SignalGiven) -> None:
    """Take what somebody outside says to what waits."""
    match news:
        case m.Answer():
            answer(run, news)
        case m.SignalGiven():
            signal(run, news)
        case m.Wake():
            parking.cut(run, run.find(news.task))


def answer(run: Run, news: m.Answer) -> None:
    """Take a person's answer, or note why it does not count."""
    instance = run.questions.get(news.task)
    refused = refusal(run, news, run.now)
    if instance is None or refused is not None:
        if refused is not None and not run.is_final:
            run.emit(m.AnswerRefused(news.task, refused.code, refused.message, news.by, news.ref))
        return
    held = instance.held
    is_about_effects = held is not None and held.question is not None and held.question.kind == "effects"
    again = is_about_effects and news.approved and news.data is None
    comment = news.comment or None
    run.emit(m.QuestionAnswered(news.task, news.approved, news.by, news.comment, again, news.ref))
    if again:
        return
    if is_about_effects and news.approved:
        run.succeed(instance, m.AttemptReturned(news.task, instance.attempt, news.data or b"null"))
    elif is_about_effects:
        message = f"what became of it was unknown, and {news.by} said that it failed"
        run.fail(instance, Failure("rejected", _with_comment(message, comment), ("rejected",), retryable=False))
    else:
        data = None if news.data is None else msgspec.json.decode(news.data)
        _decide(run, instance, news.approved, news.by, data, comment)


def signal(run: Run, news: m.SignalGiven) -> None:
    """Let everything that still waits for a signal go on with its data; a parked task may be woken by its id."""
    waiting = [each for each in run.signals.get(news.name, {}).values() if not is_late(each, run.now)]
    for instance in waiting:
        if instance.id not in run.questions:  # one before it failed, and with it the loop of both
            continue
        run.emit(m.QuestionAnswered(instance.id, True, news.by, ref=news.ref))
        _succeed(run, instance, msgspec.json.decode(news.data))
    if waiting or run.is_final:
        return
    refused = signal_refusal(run, news.name, run.now)
    if refused is None:
        parking.cut(run, run.find(news.name))
    else:
        run.emit(m.AnswerRefused("", refused.code, refused.message, news.by, news.ref))


def due(run: Run, instance: Instance, question: m.Question) -> None:
    """Take note that the time of a question has come."""
    if question.kind == "time":
        _succeed(run, instance, None)
        return
    match question.on_deadline:
        case "approve" | "reject":
            _decide(run, instance, question.on_deadline == "approve", None, None, "nobody answered before the deadline")
        case "skip":
            run.emit(m.TaskSkipped(instance.id, f"nobody answered before its deadline, {_deadline(question)}"))
        case _:
            what = "nobody answered" if question.kind == "approval" else f"{in_words(question)} did not come"
            message = f"{what} before its deadline, {_deadline(question)}"
            failure = Failure("deadline-passed", message, ("deadline-passed", "timeout"), retryable=False)
            run.fail(instance, failure, timeout=True)


def _decide(run: Run, instance: Instance, approved: bool, by: str | None, data: Any, comment: str | None) -> None:
    """End an approval."""
    if not approved and instance.node.task.options.get("on_reject") != "continue":
        message = _with_comment(f"{by} rejected it" if by is not None else "it was rejected", comment)
        run.fail(instance, Failure("rejected", message, ("rejected",), retryable=False))
        return
    at = format_instant(run.now)
    _succeed(run, instance, {"approved": approved, "by": by, "at": at, "data": data, "comment": comment})


def _with_comment(message: str, comment: str | None) -> str:
    return message if comment is None else f"{message}: {comment}"


def _succeed(run: Run, instance: Instance, value: Any) -> None:
    node = instance.node
    text = jsonvalue.encode(value)
    try:
        if node.result is not None:
            text = run.evaluate_text(node.result, instance, {"output": value, "result": value})
        raw, blob = run.boxed(text)
        adds, added = closing.collected(run, instance, text)
    except ExpressionError as error:
        run.fail(instance, run.as_failure(error))
        return
    run.emit(m.TaskSucceeded(instance.id, raw if blob is None else m.ABSENT, blob, adds, added))


# ------------------------------------------------------------------------------------------------- what does not count


def refusal(run: Run, news: m.Answer, now: float) -> Refusal | None:
    """Return why an answer does not count, None when it does."""
    instance = run.questions.get(news.task)
    if instance is None or instance.held is None or instance.held.question is None:
        return _not_open(run, news.task)
    question = instance.held.question
    if question.kind not in PEOPLE:
        hint = f"`autoglm signal {_run_id(run)} {question.signal}` sends it" if question.signal else None
        return Refusal("not-asked", f"`{news.task}` waits for {in_words(question)}, not for an answer", hint)
    if is_late(instance, now):
        message = f"the answer to `{news.task}` comes after its deadline, {_deadline(question)}"
        return Refusal("answer-late", message, _time_is_up(run, instance))
    if question.who and news.by.casefold() not in {name.casefold() for name in question.who}:
        may = ", ".join(question.who)
        return Refusal(
            "answerer-not-allowed",
            f"{news.by or 'somebody without a name'} may not answer `{news.task}`",
            f"who may: {may}; `--by NAME` says who answers",
        )
    return _misfit(instance, question, news)


def _misfit(instance: Instance, question: m.Question, news: m.Answer) -> Refusal | None:
    """Hold an answer's data against the form, or against what the task would have given."""
    is_about_effects = question.kind == "effects"
    schema = instance.node.task.output_schema if is_about_effects else question.form
    if not news.approved or schema is None or (is_about_effects and news.data is None):
        return None
    from autoglm.base.schemas import problems  # the library behind it costs more to import than all of this

    found = problems({} if news.data is None else msgspec.json.decode(news.data), schema)
    if not found:
        return None
    shown = "; ".join(f"{path}: {sentence}" for path, sentence in found)
    what = "its `output_schema`" if is_about_effects else "its form"
    return Refusal(
        "answer-misfit",
        f"the data for `{news.task}` does not fit {what}: {shown}",
        "give it with `--data JSON` or `-i name=value`",
    )


def _not_open(run: Run, task: str) -> Refusal:
    inside = [each for each in run.questions if each.startswith((f"{task}[", f"{task}.")) and _asks_people(run, each)]
    if inside:
        named = ", ".join(f"`{each}`" for each in inside[:3])
        more = f" and {len(inside) - 3:,} more" if len(inside) > 3 else ""
        hint = f"answer one of them, such as `autoglm approve {_run_id(run)} '{inside[0]}'`"
        return Refusal("not-asked", f"`{task}` itself asks nothing, but what is in it does: {named}{more}", hint)
    instance = run.find(task)
    if instance is None:
        owner = run.find(task.rpartition("[")[0]) if task.endswith("]") else None
        if owner is not None and owner.node.kind is NodeKind.WAIT and owner.loop is not None:
            index = task.rpartition("[")[2][:-1]
            if index.isdigit() and int(index) < owner.loop.next:
                return answered_before(task)
        if task in run.root.plan.names:
            return Refusal("not-asked", f"`{task}` does not ask yet: it is {TaskStatus.PENDING}")
        return Refusal("not-asked", f"no task `{task}` waits for an answer", "`autoglm show` lists the open questions")
    kind = instance.node.task.type
    if kind != "approval":
        what = "a `wait`" if kind == "wait" else f"a task of type `{kind}`"
        return Refusal("not-asked", f"`{task}` is {what}, and asks nothing", "`autoglm show` lists the open questions")
    if not instance.is_final:
        return Refusal("not-asked", f"`{task}` does not ask yet: it is {instance.status}")
    if instance.status in (TaskStatus.SUCCEEDED, TaskStatus.FAILED):
        return Refusal("already-answered", f"`{task}` has been answered already: it {instance.status}")
    if instance.status is TaskStatus.TIMEOUT or (instance.status is TaskStatus.SKIPPED and instance.started_at):
        return Refusal("answer-late", f"the answer to `{task}` comes after its deadline")
    return Refusal("not-asked", f"`{task}` asks nothing any more: it was {instance.status}")


def _asks_people(run: Run, task: str) -> bool:
    held = run.questions[task].held
    return held is not None and held.question is not None and held.question.kind in PEOPLE


def answered_before(task: str) -> Refusal:
    """Return why an answer to what has ended does not count."""
    return Refusal("already-answered", f"`{task}` has been answered already")


def is_late(instance: Instance, now: float) -> bool:
    """Return whether the deadline of what an instance waits for is over, noticed or not."""
    question = None if instance.held is None else instance.held.question
    return question is not None and question.deadline is not None and now >= question.deadline


def signal_refusal(run: Run, name: str, now: float) -> Refusal | None:
    """Return why a signal is for nobody, None when somebody still waits for it."""
    waiting = list(run.signals.get(name, {}).values())
    if any(not is_late(each, now) for each in waiting):
        return None
    if waiting:
        last = max(waiting, key=lambda each: each.due or 0.0)
        message = f"the signal `{name}` comes after the deadline of `{last.id}`, {format_instant(last.due or 0.0)}"
        return Refusal("answer-late", message, _time_is_up(run, last))
    instance = run.find(name)
    if instance is not None and instance.status is TaskStatus.PAUSED and instance.id not in run.questions:
        return None
    awaited = ", ".join(f"`{each}`" for each in list(run.signals)[:10])
    hint = f"what is waited for: {awaited}" if awaited else "no task of the run waits for a signal now"
    return Refusal("signal-not-awaited", f"nobody waits for the signal `{name}`", hint)


def _time_is_up(run: Run, instance: Instance) -> str:
    """Return what goes on without an answer, once the deadline of a question is over."""
    question = None if instance.held is None else instance.held.question
    then = "fail" if question is None else question.on_deadline
    return f"`autoglm resume {_run_id(run)}` goes on by `on_deadline: {then}`"


def _deadline(question: m.Question) -> str:
    return format_instant(question.deadline or 0.0)


def _run_id(run: Run) -> str:
    return run.created.run_id if run.created is not None else "RUN"

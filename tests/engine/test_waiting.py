"""Tasks that wait for a person, a time or a signal; and attempts whose outcome nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

from autoglm.engine import messages as m
from autoglm.engine import waiting
from autoglm.engine.states import RunStatus
from autoglm.spec.model import Degrade, Effects, OnError, PoolSpec

from .conftest import Play
from .flows import approval, each, group, result, running, status, statuses, task, told, wait
from .world import World

DAY = 86_400.0


def refused(world: World, *, approved: bool = True, name: str = "ok", **news: Any) -> str | None:
    """Return the code of why an answer does not count."""
    found = waiting.refusal(world.run, m.Answer(name, approved, **{"by": "ann", **news}), world.now)
    return None if found is None else found.code


def error(world: World, name: str = "ok") -> tuple[str, str]:
    found = world.run.find(name)
    assert found is not None
    assert found.failure is not None
    return found.failure.code, found.failure.message


def test_an_approval_waits_and_holds_nothing(play: Play) -> None:
    world = play(approval("ok", "a"), task("a"), task("b", "ok"), max_parallel=1)
    assert told(world.succeed("a")) == ["AttemptSucceeded a", "QuestionAsked ok"]
    assert statuses(world) == {"ok": "paused", "a": "succeeded", "b": "pending"}
    assert world.run.next_due() is None
    world.crash()
    assert told(world.answer("ok", comment="fine")) == ["QuestionAnswered ok", "TaskSucceeded ok", "AttemptStarted b"]
    assert result(world, "ok") == {
        "approved": True, "by": "ann", "at": "1970-01-01T00:16:40Z", "data": None, "comment": "fine",
    }  # fmt: skip


def test_a_rejection_fails_the_task(play: Play) -> None:
    world = play(approval("ok"), task("b", "ok"))
    events = world.answer("ok", False, comment="too dear")
    assert told(events) == ["QuestionAnswered ok", "TaskFailed ok", "TaskSkipped b", "RunFailed"]
    assert error(world) == ("rejected", "ann rejected it: too dear")


def test_a_rejection_may_be_a_result(play: Play) -> None:
    rules = {"conditions": [{"rule": "result.approved", "action": "ship"}], "default": "keep"}
    world = play(
        approval("ok", on_reject="continue"),
        task("route", "ok", type="decision", executor=None, options=rules),
        task("ship", "route"),
        task("keep", "route"),
    )
    world.answer("ok", False)
    assert running(world) == ["keep"]


def test_a_rejection_may_be_degraded_or_tolerated(play: Play) -> None:
    world = play(
        approval("a", fields={"on_error": Degrade(degrade="{{ error.code }}")}),
        approval("b", fields={"on_error": OnError.CONTINUE}),
        task("c", "a b"),
    )
    world.answer("a", False)
    world.answer("b", False)
    assert result(world, "a") == "rejected"
    assert running(world) == ["c"]


@pytest.mark.parametrize(
    ("on_deadline", "ends"), [("fail", "timeout"), ("approve", "succeeded"), ("reject", "failed"), ("skip", "skipped")]
)
def test_what_a_deadline_means(play: Play, on_deadline: str, ends: str) -> None:
    world = play(approval("ok", deadline="2d", on_deadline=on_deadline))
    assert told(world.pass_time(2 * DAY - 1)) == []
    world.crash()
    world.pass_time(1.0)
    assert status(world, "ok") == ends
    if ends == "timeout":
        assert error(world) == ("deadline-passed", "nobody answered before its deadline, 1970-01-03T00:16:40Z")
    if ends == "succeeded":
        assert result(world, "ok")["by"] is None


def test_a_deadline_may_be_an_instant(play: Play) -> None:
    world = play(approval("ok", deadline="1970-01-01T01:00:00+00:30"))
    assert world.run.next_due() == 1800.0


def test_answers_that_do_not_count(play: Play) -> None:
    form = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    world = play(
        approval("ok", form=form, who=["Ann", "lead"], deadline=60),
        approval("done"),
        wait("paid", signal="paid"),
        task("work"),
        approval("later", "work"),
    )
    assert refused(world, data=b'{"n":1}') is None
    assert refused(world, by="LEAD", data=b'{"n":1}') is None
    assert refused(world, by="bob", data=b'{"n":1}') == "answerer-not-allowed"
    assert refused(world) == "answer-misfit"
    assert refused(world, data=b'{"n":"x"}') == "answer-misfit"
    assert refused(world, approved=False) is None, "a rejection needs no data"
    for name in ("work", "later", "paid", "nobody"):
        assert refused(world, name=name) == "not-asked"
    world.answer("done")
    assert refused(world, name="done") == "already-answered"
    events = world.handle(m.Answer("ok", True, "bob", ref=9))
    assert events == [m.AnswerRefused("ok", "answerer-not-allowed", "bob may not answer `ok`", "bob", 9)]
    world.now += 60.0
    assert refused(world, data=b'{"n":1}') == "answer-late"
    assert told(world.answer("ok", data={"n": 1})) == ["AnswerRefused ok", "TaskFailed ok"]
    assert refused(world, data=b'{"n":1}') == "answer-late"


def test_an_answer_to_an_ended_run_changes_nothing(play: Play) -> None:
    world = play(approval("ok"))
    world.answer("ok")
    assert world.answer("ok") == []
    assert world.signal("go") == []


def test_a_wait_for_a_time(play: Play) -> None:
    world = play(wait("a", seconds="30s"), wait("b", until="1970-01-01T00:20:00Z"), task("c", "a b"))
    assert world.run.next_due() == 1030.0
    assert told(world.pass_time(30.0)) == ["TaskSucceeded a"]
    world.crash()
    assert told(world.pass_time(170.0)) == ["TaskSucceeded b", "AttemptStarted c"]
    assert result(world, "a") is None


def test_a_time_that_has_passed_is_not_waited_for(play: Play) -> None:
    world = play(wait("a", until="1970-01-01T00:00:00Z"), task("b", "a"))
    assert told(world.pass_time(0.0)) == ["TaskSucceeded a", "AttemptStarted b"]


def test_a_signal_reaches_all_who_wait_for_it(play: Play) -> None:
    world = play(
        wait("a", signal="paid"),
        wait("b", signal="paid", fields={"result": "{{ output.sum }}"}),
        wait("c", signal="shipped"),
        wait("d", "a", signal="paid"),
    )
    world.crash()
    assert told(world.signal("paid", {"sum": 7})) == [
        "QuestionAnswered a", "TaskSucceeded a", "QuestionAnswered b", "TaskSucceeded b", "QuestionAsked d"
    ]  # fmt: skip
    assert (result(world, "a"), result(world, "b")) == ({"sum": 7}, 7)
    assert status(world, "d") == "paused", "it began to wait after that"


def test_a_signal_that_nobody_waits_for(play: Play) -> None:
    world = play(wait("a", signal="paid"))
    found = waiting.signal_refusal(world.run, "payed", world.now)
    assert found is not None
    assert (found.code, found.hint) == ("signal-not-awaited", "what is waited for: `paid`")
    assert told(world.signal("payed")) == ["AnswerRefused "]


def test_a_signal_may_be_late(play: Play) -> None:
    world = play(wait("a", signal="paid", deadline=60), wait("b", signal="paid", deadline=60, on_deadline="skip"))
    world.pass_time(60.0)
    assert statuses(world) == {"a": "timeout", "b": "skipped"}
    assert error(world, "a") == (
        "deadline-passed",
        "the signal `paid` did not come before its deadline, 1970-01-01T00:17:40Z",
    )


def test_a_signal_after_the_deadline_is_for_those_alone_who_are_still_in_time(play: Play) -> None:
    world = play(wait("a", signal="go", deadline=60), wait("b", signal="go", deadline=90))
    world.now += 60.0
    assert waiting.signal_refusal(world.run, "go", world.now) is None
    assert told(world.signal("go")) == ["QuestionAnswered b", "TaskSucceeded b", "TaskFailed a", "RunFailed"]


def test_a_signal_that_nobody_waits_for_in_time_leaves_the_word_to_the_deadline(play: Play) -> None:
    world = play(wait("a", signal="go", deadline=60, on_deadline="skip"))
    world.now += 61.0
    found = waiting.signal_refusal(world.run, "go", world.now)
    assert found is not None
    assert (found.code, found.hint) == ("answer-late", "`autoglm resume run-1` goes on by `on_deadline: skip`")
    assert told(world.signal("go")) == ["AnswerRefused ", "TaskSkipped a", "RunSucceeded"]


def test_a_signal_by_its_id_wakes_a_parked_task(play: Play) -> None:
    world = play(task("a"))
    world.park("a")
    assert told(world.signal("a")) == ["ParkingCut a", "ParkingEnded a"]


def test_thousands_of_items_wait_at_once(play: Play) -> None:
    items = approval("ok", message="{{ item }}?", fields={"loop": each(*range(3000)), "when": "{{ item != 7 }}"})
    world = play(items, max_parallel=1)
    assert len(world.run.questions) == 2999
    world.crash()
    for index in (5, 2999, 0):
        world.answer(f"ok[{index}]", data=index)
    assert refused(world, name="ok[5]") == "already-answered"
    assert refused(world, name="ok[3000]") == "not-asked"
    events = world.handle(*(m.Answer(f"ok[{i}]", True, "ann") for i in range(3000)))
    assert events[-1] == m.RunSucceeded(events[-1].outputs)  # type: ignore[attr-defined]
    assert [each and each["data"] for each in result(world, "ok")][:8] == [0, None, None, None, None, 5, None, None]


def test_items_of_a_group_wait_each_for_their_own(play: Play) -> None:
    inside = (task("price"), approval("ok", "price", message="{{ tasks.price.result }} for {{ item }}?"))
    world = play(group("order", *inside, wait("paid", "ok", signal="paid-{{ item }}"), loop=each("x", "y")))
    world.succeed("order[1].price", b"9")
    question = world.run.questions["order[1].ok"].held.question  # type: ignore[union-attr]
    assert question is not None
    assert question.message == "9 for y?"
    world.answer("order[1].ok")
    assert list(world.run.signals) == ["paid-y"]
    world.signal("paid-y")
    assert status(world, "order") == "running"
    world.succeed("order[0].price", b"9")
    world.answer("order[0].ok")
    world.signal("paid-x")
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_signal_whose_first_item_fails_fast_leaves_the_others_cancelled(play: Play) -> None:
    items = wait("a", signal="go", fields={"loop": each(1, 2, 3, fail_fast=True), "result": "{{ output.x }}"})
    world = play(items)
    world.signal("go", 1)
    assert world.run.status is RunStatus.FAILED
    assert not world.run.signals


def test_it_is_known_when_all_that_is_left_waits_for_people(play: Play) -> None:
    world = play(approval("ok"), task("a"), wait("s", "a", signal="go"), wait("t", "a", seconds=5))
    assert not world.run.only_waits, "something runs"
    world.succeed("a")
    assert not world.run.only_waits, "a time comes by itself"
    world.pass_time(5.0)
    assert world.run.only_waits
    world.signal("go")
    assert world.run.only_waits
    world.answer("ok")
    assert not world.run.only_waits


def test_a_question_that_cannot_be_made_out_fails(play: Play) -> None:
    world = play(
        approval("a", message="{{ 1 / 0 }}", fields={"on_error": OnError.CONTINUE}),
        wait("b", seconds="{{ 'soon' }}", fields={"on_error": OnError.CONTINUE}),
        wait("c", until="{{ 'soon' }}", fields={"on_error": OnError.CONTINUE}),
        approval("d", deadline="{{ 'soon' }}", fields={"on_error": OnError.CONTINUE}),
    )
    assert statuses(world) == dict.fromkeys("abcd", "failed")
    assert [error(world, name)[0] for name in "bcd"] == ["bad-duration", "bad-instant", "bad-instant"]


def test_cancelling_and_failing_fast_end_what_waits(play: Play) -> None:
    world = play(approval("ok"), wait("w", seconds=60), task("a", loop=each(1)))
    world.stopped("a[0]") if told(world.handle(m.Cancel()))[:1] == ["RunCancelling"] else None
    assert world.run.status is RunStatus.CANCELLED
    assert not world.run.questions
    other = play(approval("ok", fields={"loop": each(1, 2, 3, fail_fast=True)}))
    other.answer("ok[1]", False)
    assert other.run.status is RunStatus.FAILED
    assert not other.run.questions


def test_answers_are_taken_while_the_run_is_paused_and_start_nothing(play: Play) -> None:
    world = play(approval("ok"), task("b", "ok"))
    world.handle(m.Pause())
    assert told(world.answer("ok")) == ["QuestionAnswered ok", "TaskSucceeded ok"]
    assert running(world) == []
    assert told(world.handle(m.Resume())) == ["RunResumed", "AttemptStarted b"]


def test_a_reopened_run_asks_again(play: Play) -> None:
    world = play(approval("ok"))
    world.answer("ok", False)
    assert told(world.handle(m.Reopen()))[-1] == "QuestionAsked ok"
    assert refused(world) is None
    world.answer("ok")


# ------------------------------------------------------------------------------------------------------------ effects


def guarded(name: str, after: str = "", **fields: Any) -> Any:
    return task(name, after, effects=Effects.GUARDED, **fields)


def test_an_outcome_that_nobody_knows_is_asked_about(play: Play) -> None:
    world = play(guarded("pay", pool=("one",)), task("other"), task("b", "pay"), pools={"one": PoolSpec(limit=1)})
    world.crash()
    assert statuses(world) == {"pay": "paused", "other": "running", "b": "pending"}
    assert world.started["pay", 1] == 1
    world.crash()
    assert world.started["pay", 1] == 1
    assert told(world.answer("pay")) == ["QuestionAnswered pay", "ParkingEnded pay"]
    assert list(world.running) == [("other", 1), ("pay", 1)]
    world.succeed("pay")
    assert running(world) == ["other", "b"]


def test_its_result_may_be_given(play: Play) -> None:
    schema = {"type": "object", "required": ["id"]}
    world = play(guarded("pay", output_schema=schema, result="{{ output.id }}"))
    world.crash()
    assert refused(world, name="pay", data=b"{}") == "answer-misfit"
    assert told(world.answer("pay", data={"id": 7}))[:2] == ["QuestionAnswered pay", "AttemptSucceeded pay"]
    assert result(world, "pay") == 7


def test_it_may_have_failed(play: Play) -> None:
    world = play(guarded("pay"))
    world.crash()
    world.answer("pay", False, comment="no booking")
    assert error(world, "pay") == ("rejected", "what became of it was unknown, and ann said that it failed: no booking")


def test_what_was_not_running_is_not_asked_about(play: Play) -> None:
    world = play(guarded("parked"), guarded("stopped", timeout=5.0), guarded("waits", "parked"))
    world.park("parked", world.now + 60)
    world.pass_time(5.0)
    world.crash()
    assert not world.run.questions
    assert status(world, "parked") == "paused"
    world.stopped("stopped")


def test_an_answer_to_run_again_survives_a_crash_and_a_pause(play: Play) -> None:
    world = play(guarded("pay"))
    world.crash()
    world.handle(m.Pause())
    world.answer("pay")
    world.crash()
    assert running(world) == []
    assert told(world.handle(m.Resume())) == ["RunResumed", "ParkingEnded pay"]

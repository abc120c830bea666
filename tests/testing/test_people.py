"""What people answer in tests, when; and what is said of a run that waits for nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoglm.base.errors import UsageError
from autoglm.testing import Answer, mock, run_workflow
from tests.runtime.house import House

FLOW = """
    tasks:
      - name: first
        script: none.sh
      - name: check
        type: approval
        depends_on: first
        message: Ship it?
        who: [ann]
        form: {type: object, properties: {by: {enum: [post, courier]}}, required: [by]}
        deadline: 2d
        on_deadline: reject
        on_reject: continue
      - {name: parcel, type: wait, depends_on: check, when: tasks.check.result.approved, signal: arrived, deadline: 9d}
      - {name: rest, type: wait, depends_on: first, for: 5h}
    outputs:
      said: "{{ tasks.check.result }}"
      arrived: "{{ tasks.parcel.result }}"
"""
HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture
def flow(house: House) -> Path:
    house.write("none.sh", "")
    return house.write("flow.yaml", FLOW)


def test_an_answer_and_a_signal_come_when_they_are_waited_for_and_not_before(flow: Path) -> None:
    answer = Answer(True, {"by": "post"}, "gladly", "ann", after=3 * HOUR)
    run = run_workflow(
        flow, mocks={"first": mock(1, delay="1h")}, answers={"check": answer}, signals={"arrived": {"weight": 3}}
    )
    assert run.outputs["said"] == {
        "approved": True, "by": "ann", "at": "2026-01-01T04:00:00Z", "data": {"by": "post"}, "comment": "gladly",
    }  # fmt: skip
    assert run.outputs["arrived"] == {"weight": 3}
    assert run.seconds == 6 * HOUR, "the rest of five hours ends last"


def test_where_nobody_answers_the_deadline_does(flow: Path) -> None:
    run = run_workflow(flow, mocks={"first": 1})
    assert run.outputs["said"]["approved"] is False
    assert run.seconds == 2 * DAY
    assert run.skipped == ["parcel"]


def test_an_answer_that_does_not_count_is_said(flow: Path) -> None:
    for answer, why in (
        (Answer(True, {"by": "post"}, by="bob"), "may not answer"),
        (Answer(True, by="ann"), "its form"),
    ):
        with pytest.raises(UsageError, match=why):
            run_workflow(flow, mocks={"first": 1}, answers={"check": answer})


def test_a_run_that_waits_for_ever_says_for_what(house: House) -> None:
    asks = house.write(
        "asks.yaml", "tasks: [{name: each, loop: [1], tasks: [{name: ask, type: approval, message: Well}]}]\n"
    )
    with pytest.raises(UsageError) as caught:
        run_workflow(asks)
    assert caught.value.message == "the run waits for an answer to `each[0].ask`, and the case gives none"
    assert caught.value.hint == "add `answers: {each.ask: approve}`"
    waits = house.write("waits.yaml", "tasks: [{name: wait, type: wait, signal: go}]\n")
    with pytest.raises(UsageError, match="waits for the signal `go`"):
        run_workflow(waits)


def test_each_instance_may_be_answered_otherwise(house: House) -> None:
    asks = house.write(
        "asks.yaml",
        "tasks: [{name: ask, loop: [a, b, c], type: approval, message: Well, on_reject: continue}]\n",
    )
    run = run_workflow(asks, answers={"ask": True, "ask[1]": False})
    assert [item["approved"] for item in run.tasks["ask"].result] == [True, False, True]


def test_on_the_real_clock_answers_come_too(house: House) -> None:
    asks = house.write("asks.yaml", "tasks: [{name: ask, type: approval, message: Well}]\n")
    run = run_workflow(asks, answers={"ask": Answer(True, after=0.02)}, clock="real")
    assert run.succeeded
    assert run.seconds >= 0.02

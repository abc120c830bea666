"""Approvals, waits, signals and guarded effects: wrong in the file, and wrong when they are answered."""

from __future__ import annotations

import asyncio

from autoglm.app.session import Session
from autoglm.base.instants import parse_instant
from autoglm.config.project import Project
from tests.errors.scene import Scene

FLOW = """
name: order
tasks:
  - name: price
    handler: price
  - name: check
    type: approval
    message: "Ship order 7?"
    form: {type: object, properties: {price: {type: integer}}, required: [price]}
    who: [ann, lead]
    deadline: 2d
  - name: later
    type: approval
    depends_on: check
    message: "And the next one?"
  - name: paid
    type: wait
    signal: paid-7
"""


def prepared(at: Scene, flow: str = FLOW) -> None:
    at.write("tasks/work.py", "def price():\n    return 7\n")
    at.write("flow.yaml", flow)
    at.autoglm("run", "flow.yaml", "--run-id", "r", "--no-wait", quietly=True)


def test_waits_that_say_too_little_or_too_much(scene: Scene) -> None:
    scene.write("tasks/work.py", "def pay():\n    return 7\n")
    scene.write(
        "flow.yaml",
        """
        tasks:
          - {name: nothing, type: wait}
          - {name: both, type: wait, for: 10m, signal: go}
          - {name: soon, type: wait, for: soon}
          - {name: someday, type: wait, until: 2026-13-01}
          - {name: slow, type: wait, for: 10m, deadline: 1h}
          - {name: ask, type: approval, message: "Good?", on_deadline: approve, timeout: 5m, retries: 2}
          - {name: never, type: approval, message: "Good?", deadline: never, form: {type: objekt}}
          - {name: data, type: approval, message: "Ok?", deadline: 1h, on_deadline: approve, form: {required: [price]}}
          - {name: part, effects: guarded, tasks: [{name: pay}]}
        """,
    )
    scene.autoglm("validate", "flow.yaml")
    scene.shows(
        "wait-unclear",
        "bad-duration",
        "bad-instant",
        "field-without-effect",
        "deadline-missing",
        "deadline-misfit",
        "invalid-schema",
    )


def test_answers_to_what_does_not_ask(scene: Scene) -> None:
    prepared(scene)
    for task in ("chek", "price", "later", "paid"):
        scene.autoglm("approve", "r", task, "--by", "ann")
    scene.shows("not-asked")


def test_an_answer_by_somebody_else(scene: Scene) -> None:
    prepared(scene)
    scene.autoglm("approve", "r", "check", "--by", "bob", "-i", "price=7")
    scene.shows("answerer-not-allowed")


def test_data_that_does_not_fit_the_form(scene: Scene) -> None:
    prepared(scene)
    scene.autoglm("approve", "r", "check", "--by", "ann")
    scene.autoglm("approve", "r", "check", "--by", "ann", "-i", "price=much")
    scene.shows("answer-misfit")


def test_data_that_is_no_json(scene: Scene) -> None:
    prepared(scene)
    scene.autoglm("approve", "r", "check", "--by", "ann", "--data", "{price: 7}")
    scene.autoglm("approve", "r", "check", "--by", "ann", "-i", "price")
    scene.autoglm("approve", "r", "check", "--by", "ann", "--data", "7", "-i", "price=7")
    scene.shows("bad-data")


def test_an_approval_answered_twice(scene: Scene) -> None:
    prepared(scene)
    scene.autoglm("approve", "r", "check", "--by", "ann", "-i", "price=7", quietly=True)
    scene.autoglm("reject", "r", "check", "--by", "lead")
    scene.shows("already-answered")


def test_items_that_were_answered_and_have_ended(scene: Scene) -> None:
    prepared(
        scene,
        """
        tasks:
          - name: each
            loop: [1, 2]
            tasks: [{name: ask, type: approval, message: "Good?"}]
          - {name: plain, type: approval, message: "Good?", loop: [1, 2, 3, 4]}
        """,
    )
    for task in ("each[0].ask", "plain[3]"):
        scene.autoglm("approve", "r", task, quietly=True)
    scene.autoglm("resume", "r", "--no-wait", quietly=True)
    for task in ("each[0].ask", "plain[3]"):
        scene.autoglm("approve", "r", task)
    scene.shows("already-answered")


def test_a_loop_whose_items_ask(scene: Scene) -> None:
    prepared(
        scene,
        """
        tasks:
          - name: each
            loop: [1]
            tasks: [{name: ask, type: approval, message: "Good?"}]
          - {name: plain, type: approval, message: "Good?", loop: [1, 2, 3, 4]}
        """,
    )
    for task in ("each", "each[0]", "plain"):
        scene.autoglm("approve", "r", task)
    scene.shows("not-asked")


def test_an_approval_answered_late(scene: Scene) -> None:
    prepared(scene, FLOW.replace("2d", "2026-01-01").replace("signal: paid-7", "for: 0.001"))
    scene.autoglm("show", "r", "check")
    scene.autoglm("approve", "r", "check", "--by", "ann", "-i", "price=7")
    scene.shows("run-ended", "deadline-passed")


def test_a_deadline_that_has_passed_while_nobody_drove_the_run(scene: Scene) -> None:
    prepared(scene, FLOW.replace("2d", "2099-01-01").replace("paid-7", "paid-7\n    deadline: 2099-01-01"))
    with Session(Project.find(None, scene.root), clock=lambda: parse_instant("2099-01-02")) as session:
        with scene.refuses("session.answer('r', 'check', approved=True, by='ann'), in 2099"):
            asyncio.run(session.answer("r", "check", approved=True, by="ann", data={"price": 7}))
        with scene.refuses("session.signal('r', 'paid-7'), in 2099"):
            asyncio.run(session.signal("r", "paid-7"))
    scene.shows("answer-late")


def test_a_signal_that_nobody_waits_for(scene: Scene) -> None:
    prepared(scene)
    scene.autoglm("signal", "r", "payed-7")
    scene.shows("signal-not-awaited")


def test_a_rejection(scene: Scene) -> None:
    prepared(scene)
    scene.autoglm("reject", "r", "check", "--by", "ann", "--comment", "too dear", quietly=True)
    scene.autoglm("signal", "r", "paid-7", quietly=True)
    scene.autoglm("resume", "r", "-q")
    scene.shows("rejected")


def test_a_duration_that_only_a_template_gives(scene: Scene) -> None:
    prepared(scene, "tasks:\n  - {name: price}\n  - {name: rest, type: wait, for: '{{ tasks.price.result }} apples'}\n")
    scene.autoglm("show", "r", "rest")
    scene.run("""
        tasks:
          - {name: price}
          - {name: rest, type: wait, until: "{{ tasks.price.result }} o'clock"}
          - {name: ask, type: approval, message: "Good?", deadline: "{{ tasks.price.result }} o'clock"}
    """)
    scene.shows("bad-duration", "bad-instant")


def test_an_answer_to_what_asks_nothing_any_more(scene: Scene) -> None:
    prepared(
        scene,
        """
        tasks:
          - {name: never, type: approval, message: "Ship it?", when: run.id == 'x'}
          - {name: paid, type: wait, signal: paid-7}
        """,
    )
    scene.autoglm("approve", "r", "never", "--by", "ann")
    scene.shows("not-asked")

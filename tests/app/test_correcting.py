"""Correcting runs: from a task on, and by a file and code that have changed."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.house import House

from autoglm.app.correcting import File, plan_resume, plan_retry
from autoglm.app.report import RunReport
from autoglm.app.session import Session
from autoglm.base.errors import UsageError
from autoglm.engine.redoing import Why

FLOW = """
name: flow
inputs:
  start: {type: integer, default: 1}
vars: {limit: 3, other: 5}
tasks:
  a: {with: {n: "{{ inputs.start }}"}}
  b: {with: {n: "{{ vars.limit }}"}, depends_on: a}
  c: {depends_on: b}
  d: {depends_on: a}
"""

CODE = """
from helpers import note

FACTOR = 2


def double(n):
    return n * FACTOR


def a(n):
    return note("a", double(n))


def b(n):
    return note("b", n)


def c():
    return note("c", 3)


def d():
    return note("d", 4)
"""

HELPERS = """
from pathlib import Path


def note(name, value):
    with (Path(__file__).parent / "ran.txt").open("a") as file:
        file.write(name)
    return value
"""


NUMBERS = count()


class Shop:
    """A project whose file and code are edited between runs; it knows which tasks ran."""

    def __init__(self, root: Path) -> None:
        self.house = House(root)
        self.root = root
        self.flow = self.house.write("flow.yaml", FLOW)
        self.helpers = f"helpers_{next(NUMBERS)}"  # this process imports a module of one name once
        self.house.write("tasks/work.py", CODE.replace("helpers", f"_{self.helpers}"))
        self.house.write(f"tasks/_{self.helpers}.py", HELPERS)

    def session(self) -> Session:
        return Session.open(self.flow, store=str(self.root / "runs.db"))

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def ran(self) -> str:
        """Return the first letters of the tasks that ran since this was last asked."""
        path = self.root / "tasks" / "ran.txt"
        text = path.read_text() if path.exists() else ""
        path.unlink(missing_ok=True)
        return "".join(sorted(text))

    def run(self) -> RunReport:
        with self.session() as session:
            return asyncio.run(session.run(session.load(self.flow), run_id="r"))

    def retry(self, **how: Any) -> RunReport:
        with self.session() as session:
            return asyncio.run(session.retry("r", **how))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    assert made.run().succeeded
    assert made.ran() == "abcd"
    return made


def changes(shop: Shop) -> list[str]:
    with shop.session() as session:
        correction = plan_retry(session, "r", (), File.WITH_CHANGES)
    assert correction.change is not None
    return correction.change.lines()


def test_from_a_task_on(shop: Shop) -> None:
    report = shop.retry(tasks=("b",))
    assert report.succeeded
    assert shop.ran() == "bc"
    assert report.tasks["b"].attempts == 2


def test_a_changed_field_runs_again_with_what_hangs_on_it(shop: Shop) -> None:
    shop.edit("flow.yaml", "d: {depends_on: a}", "d: {depends_on: b}")
    assert changes(shop) == ["d: `depends_on` changed"]
    shop.retry(file=File.WITH_CHANGES)
    assert shop.ran() == "d"


def test_a_changed_variable_concerns_those_that_read_it(shop: Shop) -> None:
    shop.edit("flow.yaml", "limit: 3", "limit: 4")
    assert changes(shop) == ["b: `vars.limit` changed", "the workflow's `vars`"]
    report = shop.retry(file=File.WITH_CHANGES)
    assert shop.ran() == "bc"
    assert report.tasks["b"].result == 4


def test_a_changed_function_is_told_from_its_neighbours(shop: Shop) -> None:
    shop.edit("tasks/work.py", 'note("b", n)', 'note("b", n + 1)')
    assert changes(shop) == ["b: tasks/work.py: b changed"]
    shop.retry(file=File.WITH_CHANGES)
    assert shop.ran() == "bc"


def test_what_a_function_refers_to_is_part_of_it(shop: Shop) -> None:
    shop.edit("tasks/work.py", "FACTOR = 2", "FACTOR = 30")
    assert changes(shop) == ["a: tasks/work.py: a changed"]
    shop.retry(file=File.WITH_CHANGES)
    assert shop.ran() == "abcd"


def test_a_module_of_the_project_that_is_imported_is_part_of_all_that_use_it(shop: Shop) -> None:
    shop.edit(f"tasks/_{shop.helpers}.py", "return value", "return value  # the same")
    assert [line.partition(":")[0] for line in changes(shop)] == ["a", "b", "c", "d"]


def test_place_comments_and_retries_are_no_change_of_a_result(shop: Shop) -> None:
    text = shop.flow.read_text().replace("  d: {depends_on: a}\n", "")
    text = text.replace("tasks:\n", "tasks: # moved\n  d: {depends_on: a, timeout: 9s}\n")
    shop.flow.write_text(text)
    assert changes(shop) == ["d: `timeout` (its result stays)"]
    shop.retry(file=File.WITH_CHANGES)
    assert shop.ran() == ""


def test_new_tasks_run_and_removed_ones_vanish(shop: Shop) -> None:
    shop.edit("flow.yaml", "  d: {depends_on: a}\n", "  e: {handler: d, depends_on: a}\n")
    report = shop.retry(file=File.WITH_CHANGES)
    assert list(report.tasks) == ["a", "b", "c", "e"]
    assert shop.ran() == "d"
    with shop.session() as session:
        run, workflow, source = session.open_run("r")
        assert [task.name for task in workflow.tasks] == ["a", "b", "c", "e"]
        assert source == shop.flow.read_text()
        assert run.find("d") is None


def test_a_second_change_is_held_against_the_first(shop: Shop) -> None:
    shop.edit("flow.yaml", "limit: 3", "limit: 4")
    shop.retry(file=File.WITH_CHANGES)
    assert shop.ran() == "bc"
    assert changes_of_nothing(shop)
    shop.edit("flow.yaml", "limit: 4", "limit: 3")
    assert shop.retry(file=File.WITH_CHANGES).tasks["b"].result == 3
    assert shop.ran() == "bc"


def changes_of_nothing(shop: Shop) -> bool:
    with shop.session() as session, pytest.raises(UsageError, match="nothing has changed") as caught:
        plan_retry(session, "r", (), File.WITH_CHANGES)
    return caught.value.code == "run-ended"


def test_a_new_input_takes_its_default_or_must_be_given(shop: Shop) -> None:
    shop.edit("flow.yaml", "inputs:\n", "inputs:\n  more: {type: integer}\n")
    shop.edit("flow.yaml", "c: {depends_on: b}", 'c: {depends_on: b, when: "inputs.more > 1"}')
    with pytest.raises(UsageError, match="`more` is missing"):
        shop.retry(file=File.WITH_CHANGES)
    report = shop.retry(file=File.WITH_CHANGES, inputs={"more": 1})
    assert report.tasks["c"].status == "skipped"
    assert shop.ran() == ""


def test_a_retry_on_a_changed_file_is_refused_unless_it_is_said_by_which(shop: Shop) -> None:
    shop.edit("flow.yaml", "limit: 3", "limit: 4")
    with pytest.raises(UsageError, match=r"b: `vars\.limit` changed") as caught:
        shop.retry(tasks=("c",))
    assert caught.value.code == "workflow-changed"
    assert shop.ran() == ""
    report = shop.retry(tasks=("b",), file=File.AS_RECORDED)
    assert report.tasks["b"].result == 3
    assert shop.ran() == "bc"


def test_changed_code_alone_is_no_reason_to_refuse(shop: Shop) -> None:
    shop.edit("tasks/work.py", 'note("b", n)', 'note("b", n + 1)')
    assert shop.retry(tasks=("c",)).succeeded
    assert shop.ran() == "c"


def test_an_interrupted_run_goes_on_by_the_changed_file(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    with shop.session() as session:
        loaded = session.load(shop.flow)
        session.drain()
        report = asyncio.run(session.run(loaded, run_id="r"))
    assert report.status == "paused"
    shop.ran()
    shop.edit("flow.yaml", "limit: 3", "limit: 4")
    with shop.session() as session:
        with pytest.raises(UsageError) as caught:
            asyncio.run(session.resume("r"))
        assert caught.value.code == "workflow-changed"
        report = asyncio.run(session.resume("r", file=File.WITH_CHANGES))
    assert report.succeeded
    assert report.tasks["b"].result == 4


def test_the_plan_of_a_resume_tells_what_is_done_again(tmp_path: Path) -> None:
    house = House(tmp_path)
    flow = house.write("flow.yaml", "name: f\ntasks:\n  a: {handler: work}\n  b: {handler: work, depends_on: a}\n")
    store = str(tmp_path / "runs.db")
    calls: list[int] = []

    def work() -> int:
        calls.append(1)
        if len(calls) == 1:
            session.drain()
        return len(calls)

    with house.session(store, work=work) as session:
        asyncio.run(session.run(session.load(flow), run_id="r"))
    flow.write_text(flow.read_text().replace("a: {handler: work}", "a: {handler: work, with: {}, join: all_done}"))
    with house.session(store, work=work) as session:
        correction = plan_resume(session, "r", File.WITH_CHANGES)
        assert [(each.task, each.why) for each in correction.again] == [("a", Why.CHANGED)]
        assert asyncio.run(session.resume("r", correction=correction)).succeeded
    assert len(calls) == 3


def test_the_plan_tells_what_runs_at_the_end(tmp_path: Path) -> None:
    house = House(tmp_path)
    flow = house.write(
        "flow.yaml",
        "name: f\ntasks: [{name: a, handler: work}]\n"
        "on_error: [{name: tell, handler: work}]\nfinally: [{name: tidy, handler: fail}]\n",
    )
    ran: list[str] = []

    def work() -> None:
        ran.append("work")

    def fail() -> None:
        ran.append("fail")
        raise ValueError("it is stuck")

    with house.session(str(tmp_path / "runs.db"), work=work, fail=fail) as session:
        asyncio.run(session.run(session.load(flow), run_id="r"))
        correction = plan_retry(session, "r")
        assert correction.again == []
        assert [(each.task, each.if_failed, each.was) for each in correction.at_end] == [
            ("on_error.tell", True, "pending"),
            ("finally.tidy", False, "failed"),
        ]
        ran.clear()
        asyncio.run(session.retry("r", correction=correction))
        assert ran == ["fail"]
        flow.write_text(flow.read_text().replace("name: tidy", "name: clear"))
        at_end = plan_retry(session, "r", (), File.WITH_CHANGES).as_dict()["at_end"]
    assert at_end == [
        {"task": "on_error.tell", "if_failed": True, "was": "pending"},
        {"task": "finally.clear", "if_failed": False, "was": "pending"},
    ]


def test_a_named_task_must_be_in_the_changed_file(shop: Shop) -> None:
    shop.edit("flow.yaml", "  d: {depends_on: a}\n", "")
    with pytest.raises(UsageError, match="no task 'd'") as caught:
        shop.retry(tasks=("d",), file=File.WITH_CHANGES)
    assert caught.value.code == "task-not-found"
    assert shop.retry(tasks=("d",), file=File.AS_RECORDED).succeeded
    assert shop.ran() == "d"


def test_a_file_that_is_called_and_has_changed_is_told_too(tmp_path: Path) -> None:
    house = House(tmp_path)
    called = house.write("called.yaml", "name: called\ntasks:\n  x: {handler: work}\n")
    flow = house.write("flow.yaml", "name: f\ntasks:\n  before: {handler: work}\n  call: {workflow: ./called.yaml}\n")
    store = str(tmp_path / "runs.db")
    calls: list[int] = []

    def work() -> int:
        calls.append(1)
        return len(calls)

    with house.session(store, work=work) as session:
        assert asyncio.run(session.run(session.load(flow), run_id="r")).succeeded
        called.write_text(called.read_text() + "  y: {handler: work, depends_on: x}\n")
    with house.session(store, work=work) as session:
        with pytest.raises(UsageError, match=r"call: \./called\.yaml changed") as caught:
            plan_retry(session, "r", ("before",))
        assert caught.value.code == "workflow-changed"
        calls.clear()
        assert asyncio.run(session.retry("r", file=File.WITH_CHANGES)).succeeded
    assert len(calls) == 2, "the call as a whole, and nothing beside it"

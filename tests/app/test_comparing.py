"""Two runs held against one another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.house import House

from autoglm.app.comparing import TaskPair, compare_runs, compare_tasks
from autoglm.app.session import Session

FLOW = """
name: flow
inputs: {n: {type: integer}}
tasks:
  list: {handler: numbers, with: {n: "{{ inputs.n }}"}}
  each: {handler: halve, with: {x: "{{ item }}"}, loop: {over: "{{ tasks.list.result }}", min_success: 0}}
  last: {handler: numbers, with: {n: 2}, depends_on: each}
outputs: {count: "{{ inputs.n }}"}
"""


def halve(x: int) -> int:
    if x == 3:
        raise ValueError("three")
    return x // 2


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return House(tmp_path).session(numbers=lambda n: list(range(n)), halve=halve)


def run(session: Session, run_id: str, n: int, flow: str = FLOW) -> None:
    path = session.project.root / "flow.yaml"
    path.write_text(flow)
    asyncio.run(session.run(session.load(path), {"n": n}, run_id=run_id))


def pairs(session: Session, **how: Any) -> dict[str, TaskPair]:
    return {pair.task: pair for pair in compare_tasks(session.store, "a", "b", **how)}


def test_runs_that_went_alike_are_alike(session: Session) -> None:
    run(session, "a", 3)
    run(session, "b", 3)
    found = pairs(session, items=True)
    assert list(found) == ["list", "each", "each[0]", "each[1]", "each[2]", "last"]
    assert all(pair.is_same for pair in found.values())
    assert compare_runs(session.store, "a", "b").changes == []


def test_what_differs_is_told_task_by_task_and_item_by_item(session: Session) -> None:
    run(session, "a", 3)
    run(session, "b", 5, FLOW.replace("{n: 2}", "{n: 1}"))
    found = pairs(session, items=True)
    assert [task for task, pair in found.items() if not pair.is_same] == ["list", "last", "each[3]", "each[4]"]
    assert found["list"].results_equal is False
    three = found["each[3]"]
    assert three.one is None
    assert three.two is not None
    assert three.two.error == "handler-raised: ValueError: three"
    totals = compare_runs(session.store, "a", "b")
    assert (totals.one.outputs, totals.two.outputs) == ({"count": 3}, {"count": 5})
    assert totals.changes == ["last: `with`"]


def test_without_items_only_the_tasks_of_the_file_are_read(session: Session) -> None:
    run(session, "a", 3)
    run(session, "b", 3)
    assert list(pairs(session)) == ["list", "each", "last"]

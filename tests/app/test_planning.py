"""What a file would do, told before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.runtime.house import House

from autoglm.app.planning import Count, Plan, plan_of


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def plan(house: House, text: str, **inputs: Any) -> Plan:
    with house.session(work=lambda: 1) as session:
        loaded = session.load(house.write("flow.yaml", text))
        return plan_of(loaded, session.catalog, house.root, inputs)


def runs(found: Plan) -> dict[str, str]:
    return {task.path: str(task.runs) for task in found.tasks}


def test_loops_are_counted_as_far_as_they_are_known(house: House) -> None:
    house.write("rows.csv", "a\n" + "1\n" * 12_345)
    found = plan(
        house,
        """
        name: flow
        inputs: {n: {type: integer, default: 3}}
        vars: {names: [x, y]}
        tasks:
          listed: {handler: work, loop: [1, 2]}
          ranged: {handler: work, loop: "{{ range(inputs.n) }}"}
          named: {handler: work, loop: "{{ vars.names }}"}
          square: {handler: work, loop: {matrix: {a: [1, 2], b: "{{ range(inputs.n) }}"}}}
          rows: {handler: work, loop: {file: rows.csv}}
          missing: {handler: work, loop: {file: "{{ tasks.listed.result }}"}}
          upstream: {handler: work, loop: "{{ tasks.listed.result }}"}
          again: {handler: work, loop: {until: result > 1, max_iterations: 9}}
          perhaps: {handler: work, when: inputs.n > 2}
        """,
        n=5,
    )
    assert runs(found) == {
        "listed": "2", "ranged": "5", "named": "2", "square": "10", "rows": "12,345", "again": "1 to 9",
        "perhaps": "0 to 1", "missing": "unknown", "upstream": "unknown",
    }  # fmt: skip
    assert found.waves == [
        ["listed", "ranged", "named", "square", "rows", "again", "perhaps"],
        ["missing", "upstream"],
    ]


def test_what_is_inside_counts_with_what_is_around_it(house: House) -> None:
    found = plan(
        house,
        """
        name: flow
        tasks:
          outer:
            loop: [1, 2, 3]
            tasks:
              inner: {handler: work, loop: [1, 2]}
              ask: {prompt: hello, depends_on: inner, retry: {max_attempts: 4}}
          last: {handler: work, depends_on: outer}
        """,
    )
    assert runs(found) == {"outer": "3", "outer.inner": "6", "outer.ask": "3", "last": "1"}
    assert found.model_calls == Count(3, 12)
    assert found.critical_path == ["outer.inner", "outer.ask", "last"]


def test_a_called_file_is_shown_below_its_task_and_one_that_calls_itself_once(house: House) -> None:
    house.write(
        "called.yaml",
        """
        name: called
        tasks:
          step: {handler: work}
          deeper: {workflow: ./called.yaml, when: false, depends_on: step}
        """,
    )
    found = plan(house, "name: flow\ntasks:\n  call: {workflow: ./called.yaml, loop: [1, 2]}\n")
    assert runs(found) == {"call": "2", "call.step": "2", "call.deeper": "0 to 2"}


def test_models_that_hang_on_a_result_are_an_unknown_number(house: House) -> None:
    found = plan(house, 'name: f\ntasks:\n  a: {handler: work}\n  b: {prompt: x, loop: "{{ tasks.a.result }}"}\n')
    assert found.model_calls == Count(0, None)
    assert str(found.model_calls) == "unknown"


def test_what_runs_at_the_end_is_planned_too(house: House) -> None:
    house.write(
        "inner.yaml",
        "tasks: [{name: a, handler: work}]\non_error: [{name: tell, handler: work}]\n"
        "finally: [{name: tidy, handler: work}]\n",
    )
    found = plan(
        house,
        """
        name: flow
        tasks:
          - {name: each, loop: [1, 2], workflow: inner.yaml}
          - {name: after, handler: work, depends_on: each}
        on_error: [{name: tell, handler: work}]
        finally: [{name: one, handler: work}, {name: two, handler: work, depends_on: one}]
        """,
    )
    assert runs(found) == {
        "each": "2", "each.a": "2", "each.on_error.tell": "0 to 2", "each.finally.tidy": "2", "after": "1",
        "on_error.tell": "0 to 1", "finally.one": "1", "finally.two": "1",
    }  # fmt: skip
    assert found.waves == [["each"], ["after"], ["on_error.tell"], ["finally.one"], ["finally.two"]]

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
        "perhaps": "1", "missing": "unknown", "upstream": "unknown",
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
    assert runs(found) == {"call": "2", "call.step": "2", "call.deeper": "0"}


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


CONDITIONS = """
name: flow
inputs: {amount: {type: integer, default: 50}, who: {type: string}}
vars: {limit: 100}
tasks:
  given: {handler: work, when: inputs.amount > vars.limit}
  bare: {handler: work, when: amount > limit}
  of_project: {handler: work, when: config.size == 3}
  required: {handler: work, when: who == "me"}
  asked_for: {handler: work, when: inputs.who is defined}
  whole: {handler: work, when: inputs | length > 1}
  of_result: {handler: work, when: tasks.bare.result.n == 1}
  many: {handler: work, loop: [1, 2, 3], when: amount > limit}
  each: {handler: work, loop: [1, 2, 3], when: item > 1}
  after: {handler: work, depends_on: each}
  around:
    loop: {over: [1, 2], as: amount}
    tasks:
      within: {handler: work, when: amount > 1}
"""


def test_conditions_are_asked_where_they_read_only_what_is_known_before(house: House) -> None:
    def planned(**inputs: Any) -> dict[str, str]:
        with house.session(work=lambda: 1) as session:
            loaded = session.load(house.write("flow.yaml", CONDITIONS))
            return runs(plan_of(loaded, session.catalog, house.root, inputs, {"size": 3}))

    always = {"of_project": "1", "each": "0 to 3", "after": "1", "around": "2", "around.within": "0 to 2"}
    assert planned() == always | {
        "given": "0", "bare": "0", "required": "0 to 1", "asked_for": "0 to 1", "whole": "0 to 1", "of_result": "0",
        "many": "0",
    }  # fmt: skip
    assert planned(amount=101, who="me") == always | {
        "given": "1", "bare": "1", "required": "1", "asked_for": "1", "whole": "0 to 1", "of_result": "0 to 1",
        "many": "3",
    }  # fmt: skip


def test_conditions_of_a_called_file_read_what_it_is_given(house: House) -> None:
    house.write(
        "called.yaml",
        """
        name: called
        inputs: {amount: {type: integer, default: 1}, size: {type: integer, default: 1}}
        vars: {limit: 2}
        tasks:
          of_amount: {handler: work, when: inputs.amount > vars.limit}
          of_size: {handler: work, when: inputs.size > vars.limit}
        """,
    )
    found = plan(
        house,
        """
        name: flow
        inputs: {amount: {type: integer, default: 50}}
        tasks:
          first: {handler: work}
          call: {workflow: ./called.yaml, with: {amount: "{{ inputs.amount }}"}}
          other: {workflow: ./called.yaml, with: {amount: "{{ tasks.first.result }}", size: 3}}
        """,
    )
    assert runs(found) == {
        "first": "1", "call": "1", "call.of_amount": "1", "call.of_size": "0", "other": "1",
        "other.of_amount": "0 to 1", "other.of_size": "1",
    }  # fmt: skip


def test_a_task_runs_as_its_upstreams_let_it(house: House) -> None:
    found = plan(
        house,
        """
        name: flow
        inputs: {n: {type: integer}}
        tasks:
          - {name: sure, handler: work}
          - {name: maybe, handler: work, when: inputs.n > 1}
          - {name: never, handler: work, when: "1 > 2"}
          - {name: below, handler: work, depends_on: maybe, loop: [1, 2, 3, 4, 5]}
          - {name: below_two, handler: work, depends_on: [maybe, sure]}
          - {name: below_never, handler: work, depends_on: never}
          - {name: all, handler: work, depends_on: [maybe, sure], join: all_succeeded}
          - {name: none, handler: work, depends_on: [never, sure], join: all_succeeded}
          - {name: done, handler: work, depends_on: [maybe, never], join: all_done}
          - {name: one, handler: work, depends_on: [never, sure], join: one_succeeded}
          - {name: failed, handler: work, depends_on: sure, join: one_failed}
          - {name: on_failure, handler: work, depends_on: {sure: [failed]}}
          - {name: on_any, handler: work, depends_on: {sure: [failed, succeeded]}}
          - {name: on_skip, handler: work, depends_on: {never: [skipped]}}
          - {name: on_maybe, handler: work, depends_on: {maybe: [succeeded]}}
          - {name: on_never, handler: work, depends_on: {never: [succeeded]}}
        """,
    )
    assert runs(found) == {
        "sure": "1", "maybe": "0 to 1", "never": "0", "below": "0 to 5", "below_two": "1", "below_never": "0",
        "all": "0 to 1", "none": "0", "done": "1", "one": "1", "failed": "0 to 1", "on_failure": "0 to 1",
        "on_any": "1", "on_skip": "1", "on_maybe": "0 to 1", "on_never": "0",
    }  # fmt: skip

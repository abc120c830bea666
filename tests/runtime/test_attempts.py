"""What an attempt of a run is given."""

from __future__ import annotations

import pytest

from autoglm import Workflow


@pytest.mark.parametrize("executor", ["inline", "thread"])
def test_a_function_takes_the_items_of_all_loops_around_it_by_name(executor: str) -> None:
    def where(row: str, column: int, index: int) -> str:
        return f"{row}{column}/{index}"

    inner = {"name": "cell", "handler": "where", "executor": executor, "loop": {"over": [1, 2], "as": "column"}}
    flow = {"name": "grid", "tasks": {"rows": {"loop": {"over": ["a", "b"], "as": "row"}, "tasks": [inner]}}}
    run = Workflow.from_data(flow, {"where": where}).run()
    assert run.error is None
    assert run.tasks["rows"].result == [["a1/0", "a2/1"], ["b1/0", "b2/1"]]


def test_the_parameter_that_is_left_gets_the_item_rather_than_the_list_it_came_from() -> None:
    def numbers() -> list[int]:
        return [1, 2]

    def double(number: int) -> int:
        return 2 * number

    handlers = {"numbers": numbers, "double": double}
    for over, before in (("{{ tasks.numbers.result }}", ["numbers"]), ([1, 2], [])):
        tasks = {"numbers": {}, "double": {"loop": {"over": over}, "depends_on": before}}
        run = Workflow.from_data({"name": "twice", "tasks": tasks}, handlers).run()
        assert run.error is None
        assert run.tasks["double"].result == [2, 4]

"""Decisions in whole runs: what they call, what follows them, and what is wrong with one."""

from __future__ import annotations

import pytest

from autoglm.base.errors import SpecError
from tests.runtime.house import House

pytestmark = pytest.mark.anyio

FLOW = """
    tasks:
      - name: order
        script: order.sh
      - name: route
        depends_on: order
        conditions: [{{rule: priority > 8, action: {action}}}]
        default: wait
      - {{name: after, depends_on: [{action}, wait], handler: both, with: {{a: "{{{{ tasks.{action}.result }}}}"}}}}
    outputs: {{done: "{{{{ tasks.{action}.result }}}}", after: "{{{{ tasks.after.result }}}}"}}
"""

CODE = """
def express(priority, total):
    return [priority, total]


def whole(order):
    return order


def told(route):
    return route["branches"]


def needs(one, two, three):
    return one


def wait(order):
    return "later"


def zero():
    return 0


def both(a):
    return a
"""


@pytest.fixture
def calling(house: House) -> House:
    house.write("order.sh", 'echo \'{"priority": 9, "total": 120}\' > $AUTOGLM_OUTPUT\n')
    house.write("tasks/code.py", CODE)
    return house


@pytest.mark.parametrize(
    ("action", "result"),
    [("express", [9, 120]), ("whole", {"priority": 9, "total": 120}), ("told", ["told"])],
)
async def test_it_is_given_what_the_decision_was_given_and_may_be_read(
    calling: House, action: str, result: object
) -> None:
    report = await calling.run(FLOW.format(action=action))
    assert report.outputs == {"done": result, "after": result}
    assert report.tasks["wait"].status == "skipped"


async def test_what_it_lacks_is_known_before_anything_runs(calling: House) -> None:
    with pytest.raises(SpecError) as caught:
        await calling.run("tasks: [{name: route, conditions: [{rule: run.id > '', action: needs}], default: wait}]")
    found = {each.hint for each in caught.value.diagnostics if each.code == "missing-parameter"}
    assert {f"give it a task that says more: `{{name: needs, with: {{{name}: …}}}}`" for name in ("one", "two")} < found


async def test_two_decisions_do_not_call_one_function(calling: House) -> None:
    route = "conditions: [{rule: run.id > '', action: zero}]"
    with pytest.raises(SpecError, match="the function `zero` is called by another decision already"):
        await calling.run(f"tasks: [{{name: a, {route}}}, {{name: b, depends_on: a, {route}}}]")


async def test_a_rule_may_stand_in_braces(calling: House) -> None:
    flow = "tasks: [{name: a, conditions: [{rule: '{{ inputs.x > 1 }}', action: zero}]}]"
    assert (await calling.run(flow, {"x": 2})).tasks["zero"].status == "succeeded"
    refused = flow.replace("action: zero", "action: '{{ inputs.y }}'")
    with pytest.raises(SpecError, match="cannot hold a template"):
        await calling.run(refused)


@pytest.mark.parametrize("wrong", ["default: [x]", "mode: some", "trusted: 3", "llm: 3", "min_confidence: 2"])
async def test_what_is_wrong_with_a_decision_is_told_once(calling: House, wrong: str) -> None:
    kinds = {
        "trusted": "model: a.skops, features: [1], ",
        "min_confidence": "llm: m, prompt: x, branches: [zero, wait], ",
    }
    kind = kinds.get(wrong.partition(":")[0], "")
    rules = "" if "llm" in kind + wrong else "conditions: [{rule: run.id > '', action: zero}], "
    with pytest.raises(SpecError) as caught:
        await calling.run(f"tasks: [{{name: a, {kind}{rules}{wrong}}}]")
    codes = [each.code for each in caught.value.diagnostics if each.code in ("wrong-kind", "invalid-option")]
    assert codes == ["wrong-kind"]

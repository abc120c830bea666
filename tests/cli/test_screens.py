"""What people read when they plan, explain, correct and compare runs: to the letter, but for times."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from autoglm.cli.entry import enter
from tests.golden import check_golden

CODE = """
def orders():
    return [1, 0, 4]


def price(order):
    return 12 // order


def done(text="done"):
    return text
"""

FLOW = """
name: checkout
inputs:
  amount: {type: integer, default: 40, description: what is in the basket}
vars: {limit: 100, greeting: hello}
tasks:
  - name: orders
  - name: price
    with: {order: "{{ item }}"}
    loop: "{{ tasks.orders.result }}"
    retry: {max_attempts: 2, delay: 10ms, jitter: none}
  - name: review
    handler: done
    when: inputs.amount > vars.limit
    depends_on: orders
  - name: packing
    depends_on: orders
    tasks:
      - name: box
        handler: done
      - name: label
        handler: done
        with: {text: "{{ vars.greeting }}"}
        depends_on: box
  - name: invoice
    handler: done
    depends_on: [price, packing]
outputs:
  invoice: "{{ tasks.invoice.result }}"
"""

_CHANGING = (
    (re.compile(r"\b\d+(\.\d+)?(ms|s)\b(?=\s|$|,)"), "TIME"),
    (re.compile(r"^\d\d:\d\d:\d\d (.*)\n", re.MULTILINE), ""),
    (re.compile(r" {2,}"), "  "),
)
"""Durations; lines of a run as it goes, whose order is that of the machine; the width of columns."""

Screen = Callable[..., str]


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Screen:
    """Run commands in a project and return what they print, times put aside."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "work.py").write_text(CODE)
    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "autoglm.yaml").write_text("durability: process\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def show(*commands: str) -> str:
        said = []
        for command in commands:
            enter(command.split())
            told = capfd.readouterr()
            text = told.out + told.err
            for pattern, stand_in in _CHANGING:
                text = pattern.sub(stand_in, text)
            lines = "\n".join(line.rstrip() for line in text.splitlines())
            said.append(f"$ autoglm {command}\n{lines}\n")
        return "\n".join(said)

    return show


def test_the_plan_of_a_file(screen: Screen) -> None:
    check_golden("screens/plan.txt", screen("plan flow.yaml"))


def test_a_run_that_failed_is_explained(screen: Screen) -> None:
    screen("run flow.yaml --run-id r -q")
    commands = ("explain r", *(f"explain r {name}" for name in ("invoice", "price", "price[1]", "review", "packing")))
    check_golden("screens/explain.txt", screen(*commands))


def test_what_will_run_again_is_shown_before_it_does(screen: Screen) -> None:
    screen("run flow.yaml --run-id r -q")
    text = screen("retry r --plan", "retry r --from packing.label --yes", "retry r --from price[1] --plan")
    check_golden("screens/retry.txt", text)


def test_what_changed_is_shown_before_anything_is_done(screen: Screen) -> None:
    screen("run flow.yaml --run-id r -q")
    Path("tasks/work.py").write_text(CODE.replace("12 // order", "24 // order"))
    flow = FLOW.replace("greeting: hello", "greeting: good day").replace("jitter: none", "jitter: full")
    Path("flow.yaml").write_text(
        flow.replace("  - name: review\n", "  - {name: thanks, handler: done}\n  - name: review\n")
    )
    text = screen("retry r", "retry r --with-changes --plan", "retry r --with-changes --yes", "show r")
    check_golden("screens/with_changes.txt", re.sub(r"started  .*", "started  WHEN", text))


def test_two_runs_side_by_side(screen: Screen) -> None:
    screen("run flow.yaml --run-id one -q")
    screen("run flow.yaml --run-id two -q -i amount=120")
    text = screen("diff one two", "diff one two --all")
    check_golden("screens/diff.txt", text)

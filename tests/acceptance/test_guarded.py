"""``effects: guarded`` from outside: a process that is killed with ``kill -9`` right after a payment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import environment, shell

FLOW = """
name: payment
tasks:
  - {name: pay, effects: guarded}
  - {name: note, depends_on: pay}
"""
TASKS = """
import os
import signal
from pathlib import Path


def pay():
    first = not Path("ledger.txt").exists()
    with Path("ledger.txt").open("a") as ledger:
        ledger.write("paid\\n")
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
    return "paid"


def note():
    return "noted"
"""


@pytest.mark.parametrize(
    ("answer", "ends", "payments"),
    [("approve r pay", "succeeded", 2), ("approve r pay --data 7", "succeeded", 1), ("reject r pay", "failed", 1)],
)
def test_what_was_killed_is_not_done_again_before_somebody_says_so(
    tmp_path: Path, answer: str, ends: str, payments: int
) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "work.py").write_text(TASKS)
    (tmp_path / "flow.yaml").write_text(FLOW)
    env = environment()
    shell("autoglm run flow.yaml --run-id r", tmp_path, env)
    ledger = tmp_path / "ledger.txt"
    assert ledger.read_text() == "paid\n"
    asked = shell("autoglm resume r --no-wait; echo exit code $?; autoglm resume r --no-wait -q", tmp_path, env)
    assert "pay waits for an answer: it was running when its process was lost" in asked, asked
    assert "exit code 130" in asked
    assert ledger.read_text() == "paid\n"
    told = shell(f"autoglm {answer} --by ann", tmp_path, env)
    assert "by ann; nobody drives the run, so continue it: autoglm resume r" in told, told
    assert ledger.read_text() == "paid\n"
    output = shell("autoglm resume r", tmp_path, env)
    assert f"run r {ends}" in output, output
    assert ledger.read_text() == "paid\n" * payments

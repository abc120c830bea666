"""The order example through the command: as it is, killed in the middle and resumed, and its own tests.

What the run says is not taken for it: the books of the example and of its carrier are read here again.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "order-routing"
FLOW = "config/workflow.yaml"
COMMAND = [sys.executable, "-m", "autoglm"]
ORDERS = 500
KILLS = 5


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the example, as it is in a fresh checkout."""
    made = shutil.ignore_patterns("out", "models", ".autoglm", "__pycache__")
    return shutil.copytree(EXAMPLE, tmp_path / "orders", ignore=made)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AUTOGLM_")}


def autoglm(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=project, env=environment(), capture_output=True, text=True, timeout=300
    )


def kill_when(project: Path, sign: str, count: int, *arguments: str, stands_still: float = 0.0) -> bool:
    """Start a command and kill it when a line of its output has held ``sign`` for the ``count``-th time.

    Ten lines before, let it stand still for some seconds. Return False when it came to its end before.
    """
    process = subprocess.Popen(
        [*COMMAND, *arguments, "-v"], cwd=project, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            count -= sign in line
            if count == 10 and stands_still:
                process.send_signal(signal.SIGSTOP)
                time.sleep(stands_still)
                process.send_signal(signal.SIGCONT)
                stands_still = 0.0
            if not count:
                process.kill()
                break
    process.wait(300)
    return process.returncode == -signal.SIGKILL


def answer(project: Path, task: str) -> None:
    """Answer for a large order, through the command: every third is declined."""
    number = int(task.partition("[")[2].partition("]")[0])
    word = "reject" if number % 3 == 0 else "approve"
    done = autoglm(project, word, "r", task, "--by", "ann")
    assert done.returncode == 0, done.stderr


def questions(project: Path) -> list[str]:
    """Return the tasks that wait for an answer."""
    done = autoglm(project, "show", "r", "--status", "paused", "--json")
    assert done.returncode == 0, done.stderr
    return [task["task"] for task in json.loads(done.stdout)["tasks"] if task["task"].endswith(".review")]


def answer_while_it_runs(project: Path, *arguments: str) -> int:
    """Go on with a run to its end, answer what was asked and each question that it tells of; return its exit code."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=project, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    answered: set[str] = set()
    with process.stdout as lines:
        for line in lines:
            asked = re.findall(r"autoglm approve r '(process\[\d+\]\.review)'", line)
            for task in asked if answered else questions(project):
                if task not in answered:
                    answered.add(task)
                    answer(project, task)
    return process.wait(300)


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as books:
        return books.execute(query).fetchall()


def check_books(project: Path, outcomes: dict[str, str]) -> None:
    """Hold every order's outcome against both books. ``outcomes``: order to outcome."""
    orders = [json.loads(line)["id"] for line in (project / "out" / "orders.jsonl").read_text().splitlines()]
    assert sorted(outcomes) == orders, "an order was lost"
    assert len(orders) == ORDERS
    shipped = Counter(order for (order,) in rows(project / "out" / "ledgers.db", "select order_id from shipments"))
    accepted = Counter(order for (order,) in rows(project / "out" / "carrier.db", "select order_id from parcels"))
    states = dict(rows(project / "out" / "ledgers.db", "select order_id, state from reservations"))
    for order, outcome in outcomes.items():
        sent = outcome in ("express", "scheduled")
        assert shipped[order] == sent, f"{order} ({outcome}) was shipped {shipped[order]} times"
        assert accepted[order] <= (outcome == "express"), f"{order} ({outcome}): {accepted[order]} parcels"
        paid = {"express": "captured", "scheduled": "captured", "failed": "released"}.get(outcome)
        assert states.get(order) == paid, f"the payment of {order} ({outcome}) is {states.get(order)}"


def outcomes_of(project: Path, run_id: str) -> dict[str, str]:
    """Return what the run says came of each order; what its loop has nothing for failed."""
    done = autoglm(project, "show", run_id, "process", "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["result"]
    return {
        f"order-{number:04}": "failed" if result is None else result["outcome"]
        for number, result in enumerate(results, 1)
    }


def check_report(project: Path, outcomes: dict[str, str]) -> dict[str, Any]:
    totals = json.loads((project / "out" / "totals.json").read_text())
    assert totals["wrong"] == []
    assert totals["balanced"] is True
    assert totals["outcomes"] == dict(Counter(outcomes.values()))
    text = (project / "out" / "report.md").read_text()
    assert "The books balance." in text
    for name, count in totals["outcomes"].items():
        assert f"| {name} | {count} |" in text
    return totals


@pytest.mark.slow
def test_every_order_is_accounted_for_though_the_run_is_killed_again_and_again(project: Path, tmp_path: Path) -> None:
    undisturbed = shutil.copytree(project, tmp_path / "undisturbed")
    done = autoglm(undisturbed, "run", FLOW, "--run-id", "r", "--quiet", "--no-wait")
    assert done.returncode == 130, "large orders wait for an answer"
    asked = questions(undisturbed)
    assert len(asked) > 5
    for task in asked:
        answer(undisturbed, task)
    done = autoglm(undisturbed, "resume", "r", "--quiet")
    assert done.returncode == 0, done.stderr
    expected = outcomes_of(undisturbed, "r")
    check_books(undisturbed, expected)
    totals = check_report(undisturbed, expected)
    assert totals["outcomes"].keys() == {"declined", "express", "failed", "refused", "rejected", "scheduled"}
    assert min(totals["outcomes"].values()) > 1, "every kind of end is come to"
    assert totals["carriers"]["standby"] > 0, "the carrier was down for some"

    chance = random.Random(4711)
    moments = [("train started", 1), *((" goes out by ", chance.randint(20, 90)) for _ in range(KILLS - 1))]
    assert kill_when(project, *moments[0], "run", FLOW, "--run-id", "r")
    for moment in moments[1:]:
        # What is asked of the carrier meanwhile gets no answer in its 5 seconds, though it may have been done.
        assert kill_when(project, *moment, "resume", "r", stands_still=6.0 if moment is moments[-1] else 0.0)
    assert answer_while_it_runs(project, "resume", "r") == 0
    found = outcomes_of(project, "r")
    check_books(project, found)
    assert found == expected
    assert check_report(project, found) == totals


def test_its_own_tests_pass(project: Path) -> None:
    done = autoglm(project, "test", "--coverage-min", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout


def test_it_is_fit_to_run_and_lacks_only_the_model_that_it_trains(project: Path) -> None:
    done = autoglm(project, "validate", FLOW, "--json")
    assert done.returncode == 0
    assert [(each["code"], each["severity"]) for each in json.loads(done.stdout)["diagnostics"]] == [
        ("missing-file", "warning")
    ]
    (project / "models").mkdir()
    (project / "models" / "risk.skops").write_bytes(b"")
    assert autoglm(project, "validate", FLOW).stdout == f"{FLOW} is fit to run\n"

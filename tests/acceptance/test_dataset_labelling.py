"""The labelling example through the command: rehearsed, killed in the middle and resumed, and against a server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from autoglm.engine import messages as m
from autoglm.engine.codec import decode_record
from autoglm.stores.sqlite import SqliteStore
from tests.acceptance.model_server import ModelServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "dataset-labelling"
FLOW = "config/workflow.yaml"
COMMAND = [sys.executable, "-m", "autoglm"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the example, as it is in a fresh checkout."""
    made = shutil.ignore_patterns("out", "data", ".autoglm", "__pycache__")
    return shutil.copytree(EXAMPLE, tmp_path / "labelling", ignore=made)


def autoglm(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=project, capture_output=True, text=True, timeout=600)


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def answers_recorded(project: Path, run_id: str) -> int:
    """Return how many raw answers the journal holds."""
    store = SqliteStore(project / ".autoglm" / "autoglm.db")
    events = [event for stored in store.read(run_id) for event in decode_record(stored.payload).events]
    store.close()
    return sum(isinstance(event, m.StepRecorded) for event in events)


def kill_after(project: Path, lines: int, *arguments: str) -> None:
    """Start a command, and kill it when it has printed so many lines."""
    process = subprocess.Popen([*COMMAND, *arguments], cwd=project, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as printed:
        for _ in zip(range(lines), printed, strict=False):
            pass
        os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL


def test_two_thousand_records_are_rehearsed_and_collected(project: Path) -> None:
    done = document(autoglm(project, "run", FLOW, "--offline", "--json"))
    assert done["outputs"] == {"rows": 2000, "left_out": 0, "table": "out/dataset.parquet", "page": "out/report.html"}
    assert done["usage"]["calls"] == 0
    table = pq.read_table(project / "out" / "dataset.parquet")
    records = [json.loads(line) for line in (project / "data" / "records.jsonl").read_text().splitlines()]
    assert table["id"].to_pylist() == [record["id"] for record in records], "every record is there, in order"
    assert len(set(table["id"].to_pylist())) == 2000
    page = (project / "out" / "report.html").read_text()
    assert page.count("<svg") == 4
    assert "A rehearsal" in page


def test_a_run_against_a_server_that_is_killed_pays_for_no_recorded_answer_twice(project: Path) -> None:
    with ModelServer() as server:
        key = {"model": {"base_url": server.url, "api_key": "{{ secrets.KEY }}"}}
        (project / "autoglm.yaml").write_text(f"models: {json.dumps(key)}\n")
        (project / ".env").write_text("KEY=sk-of-this-test\n")
        (project / ".env").chmod(0o600)
        given = ["-i", "count=120", "-i", "model=model"]
        kill_after(project, 250, "run", FLOW, "--run-id", "r", *given)
    recorded = answers_recorded(project, "r")
    assert 0 < recorded <= len(server.asked)
    # Another server at the same place: what the killed process had sent reaches the first one, however late.
    with ModelServer(server.port) as second:
        done = document(autoglm(project, "resume", "r", "--json"))
    assert done["outputs"]["rows"] == 120
    assert done["usage"]["calls"] == 360
    # What was under way when the kill came is asked again; what the journal holds is not.
    assert len(second.asked) == len(set(second.asked)) == 360 - recorded
    assert len({*server.asked, *second.asked}) == 360


def test_its_own_tests_pass(project: Path) -> None:
    done = autoglm(project, "test", "--coverage-min", "100")
    assert done.returncode == 0, done.stdout

"""``kill -9`` at random moments: nothing recorded is done again, nothing acknowledged is lost.

The ledger is outside: every execution of a task appends its name to a file, whatever the engine believes.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from autoglm.app.session import Session

DRIVER = Path(__file__).with_name("kill_driver.py")
KILLS = 100
ITEMS = 60

FLOW = """\
name: kill-me
tasks:
  - name: start
    handler: note
    with: {name: start}
  - name: rows
    depends_on: start
    handler: note_slowly
    with: {name: "rows[{{ index }}]"}
    loop: {over: "{{ range(ITEMS) }}", max_parallel: 4}
  - name: parts
    depends_on: start
    loop: {over: "{{ range(PARTS) }}", max_parallel: 3}
    tasks:
      - name: first
        handler: note
        with: {name: "parts[{{ item }}].first"}
      - name: second
        depends_on: first
        handler: fail_once
        with: {name: "parts[{{ item }}].second"}
        retry: {max_attempts: 3, delay: 5ms}
  - name: end
    depends_on: [rows, parts]
    script: end.sh
outputs:
  rows: "{{ tasks.rows.result | length }}"
  parts: "{{ tasks.parts.result | length }}"
""".replace("ITEMS", str(ITEMS)).replace("PARTS", str(ITEMS // 3))

HANDLERS = """\
import asyncio, os, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

def _note(name):
    file = os.open(ROOT / "ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{name}\\n".encode())
    os.close(file)

async def note(name):
    _note(name)
    return name

async def note_slowly(name):
    _note(name)
    await asyncio.sleep(0.01)
    return name

def fail_once(name, ctx):
    _note(name)
    time.sleep(0.002)
    if ctx.attempt == 1:
        raise RuntimeError("not yet")
    return name
"""


def lines(path: Path) -> Counter[str]:
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def make_project(folder: Path) -> None:
    (folder / "tasks").mkdir(parents=True)
    (folder / "tasks" / "handlers.py").write_text(HANDLERS)
    (folder / "flow.yaml").write_text(FLOW)
    script = folder / "end.sh"
    script.write_text('#!/bin/sh\nsleep 0.02\necho end >> "$AUTOGLM_ROOT/ledger"\necho done\n')
    script.chmod(0o755)


def recorded(folder: Path, run_id: str) -> set[str]:
    """The tasks whose success the journal holds."""
    with Session.open(folder / "flow.yaml") as session:
        found: set[str] = set()
        for each in session.store.find_runs(run_id, limit=1000):
            after = 0
            while page := session.store.list_tasks(each, statuses=["succeeded"], after=after, limit=1000):
                found |= {row.task for row in page}
                after = page[-1].number
        return found


@pytest.mark.slow
def test_nothing_recorded_is_done_again_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    chance = random.Random(4711)
    kills = finished = 0
    while kills < KILLS:
        folder = tmp_path / f"run{finished}"
        make_project(folder)
        kills += _kill_until_done(folder, "run", chance, KILLS - kills)
        finished += 1
    assert finished >= 1


def _kill_until_done(folder: Path, run_id: str, chance: random.Random, at_most: int) -> int:
    kills = 0
    while True:
        before = recorded(folder, run_id)
        ledger = lines(folder / "ledger")
        is_last = kills >= at_most
        process = subprocess.Popen([sys.executable, str(DRIVER), str(folder), run_id], stderr=subprocess.PIPE)
        killed = False
        if is_last:
            _, errors = process.communicate(timeout=120)
        else:
            killed = _kill_at_random(process, folder, chance)
            _, errors = process.communicate(timeout=120)
        after = lines(folder / "ledger")
        again = {task for task in before if after[task] != ledger[task]}
        assert not again, f"recorded, and done again: {sorted(again)}"
        now = recorded(folder, run_id)
        lost = set(lines(folder / "acks")) - now
        assert not lost, f"acknowledged, and lost: {sorted(lost)}"
        assert before <= now
        if killed and process.returncode == -signal.SIGKILL:
            kills += 1
            continue
        assert process.returncode == 0, errors.decode()
        return kills


def _kill_at_random(process: subprocess.Popen[bytes], folder: Path, chance: random.Random) -> bool:
    """Kill the process at some moment between its start and a little after it began to work."""
    until = time.monotonic() + chance.choice([0.15, 0.25, 0.3, 0.35]) + chance.random() * 0.25
    while time.monotonic() < until:
        try:
            process.wait(0.005)
        except subprocess.TimeoutExpired:
            continue
        return False
    process.kill()
    return True

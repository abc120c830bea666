"""The command on a terminal, under functions that do what they should not: it stays legible, and can be stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND
from tests.cli.test_terminal import Terminal, shows

SECONDS = 30.0

HANDLERS = """
import asyncio, os, sys, threading, time

async def holds():
    open("begun", "w").close()
    time.sleep(1000)

async def spins():
    open("begun", "w").close()
    while True:
        pass

async def deaf():
    open("begun", "w").close()
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass

def waits():
    open("begun", "w").close()
    time.sleep(1000)

def done(n=0):
    with open("ledger", "a") as ledger:
        ledger.write(f"{n}\\n")

def scrawls():
    for n in range(30):
        print(f"printed {n} \\x1b[2J\\x1b[31mred")
        os.write(1, b"written \\x1b[2J\\x1b[31mred\\n")
        thread = threading.Thread(target=print, args=("threaded \\x1b[2J",))
        thread.start()
        thread.join()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "handlers.py").write_text(HANDLERS)
    return tmp_path


@pytest.fixture
def environment() -> dict[str, str]:
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("AUTOGLM_", "NO_COLOR"))}
    return {**keep, "TERM": "xterm-256color", "PYTHONUTF8": "1"}


Open = Callable[..., Terminal]


@pytest.fixture
def terminal(project: Path, environment: dict[str, str]) -> Iterator[Open]:
    opened: list[Terminal] = []

    def start(*arguments: str, **size: int) -> Terminal:
        opened.append(Terminal(list(arguments), project, environment, **size))
        return opened[-1]

    yield start
    for each in opened:
        each.process.close(force=True)


def write(project: Path, *names: str) -> None:
    (project / "flow.json").write_text(json.dumps([{"name": name} for name in names]))


def wait_for(path: Path) -> None:
    end = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.01)


def say(project: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=project, env=environment, capture_output=True, text=True, timeout=SECONDS
    )


@pytest.mark.parametrize("name", ["holds", "spins"])
def test_ctrl_c_is_heard_while_a_function_holds_the_event_loop(terminal: Open, project: Path, name: str):
    write(project, "done", name)
    screen = terminal("run", "flow.json", "--run-id", "r1")
    wait_for(project / "begun")
    screen.process.sendintr()
    screen.wait(shows("holds the event loop and does not let go; Ctrl-C leaves at once"))
    screen.process.sendintr()
    assert screen.wait_end() == 130
    (project / "tasks" / "handlers.py").write_text(HANDLERS + f"\nasync def {name}(): return 1\n")
    assert terminal("resume", "r1").wait_end() == 0
    assert (project / "ledger").read_text() == "0\n"


@pytest.mark.parametrize("name", ["deaf", "waits"])
def test_ctrl_c_once_more_each_time_ends_even_what_does_not_listen(terminal: Open, project: Path, name: str):
    write(project, name)
    screen = terminal("run", "flow.json")
    wait_for(project / "begun")
    screen.wait(shows(f"● {name}"))
    screen.process.sendintr()
    screen.wait(shows("finishing what runs"))
    screen.process.sendintr()
    if name == "deaf":
        screen.wait(shows("stopping now"))
        screen.process.sendintr()
    assert screen.wait_end() == 130
    assert "Traceback" not in screen.raw


def test_what_functions_write_past_everybody_does_not_reach_the_screen_as_it_is(terminal: Open, project: Path):
    write(project, "scrawls", "done")
    screen = terminal("run", "flow.json", "--verbose")
    assert screen.wait_end() == 0
    assert "\x1b[2J" not in screen.raw
    assert "\x1b[31mred" not in screen.raw
    for text in ("printed 29", "written", "threaded"):
        assert text in screen.raw
    assert "✓ scrawls" in "\n".join(screen.lines)
    assert "2/2 tasks ended" in "\n".join(screen.lines)


def test_a_terminal_of_twenty_columns(terminal: Open, project: Path):
    write(project, "done", "scrawls")
    screen = terminal("run", "flow.json", columns=20, rows=8)
    assert screen.wait_end() == 0
    assert any(line.startswith("✓ scrawls") for line in screen.lines)
    for arguments in (["list"], ["show", "last"], ["graph", "flow.json"], ["validate", "flow.json"]):
        looked = terminal(*arguments, columns=20, rows=40)
        assert looked.wait_end() == 0
        assert "Traceback" not in looked.raw


def test_a_run_whose_process_was_killed_is_driven_by_nobody(project: Path, environment: dict[str, str]):
    write(project, "done", "waits")
    driver = subprocess.Popen([*COMMAND, "run", "flow.json", "-q", "--run-id", "r1"], cwd=project, env=environment)
    wait_for(project / "begun")
    assert f"driven by {os.uname().nodename}/{driver.pid}/" in say(project, environment, "show", "r1").stdout
    refused = say(project, environment, "resume", "r1")
    assert (refused.returncode, "error[run-locked]" in refused.stderr) == (1, True)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert "running, driven by nobody" in say(project, environment, "show", "r1").stdout
    assert json.loads(say(project, environment, "show", "r1", "--json").stdout)["driven_by"] is None
    assert say(project, environment, "logs", "r1", "--follow").returncode == 0
    (project / "tasks" / "handlers.py").write_text(HANDLERS + "\ndef waits(): return 1\n")
    assert say(project, environment, "resume", "r1").returncode == 0
    assert (project / "ledger").read_text() == "0\n"
    again = say(project, environment, "resume", "r1")
    assert (again.returncode, "error[run-ended]" in again.stderr) == (2, True)

"""The command as a person sees it: driven through a pseudo-terminal, the screen read back."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pyte
import pytest

from .conftest import COMMAND, Autoglm

COLUMNS, ROWS = 100, 24
SECONDS = 30.0


class Terminal:
    """The command on a terminal of its own."""

    def __init__(
        self, arguments: list[str], project: Path, environment: dict[str, str], columns: int = COLUMNS, rows: int = ROWS
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)
        self.raw = ""
        self.process = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], *arguments],
            cwd=str(project),
            env=environment,
            dimensions=(rows, columns),
            encoding="utf-8",
        )

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def wait(self, seen: Callable[[list[str]], bool]) -> list[str]:
        """Read until the screen shows what is awaited, and return its lines."""
        end = time.monotonic() + SECONDS
        while not seen(self.lines):
            assert time.monotonic() < end, "\n".join(self.lines)
            assert self._read(), "\n".join(self.lines)
        return self.lines

    def wait_end(self) -> int:
        """Read to the end and return the exit code."""
        while self._read():
            pass
        self.process.close()
        return self.process.exitstatus if self.process.exitstatus is not None else -(self.process.signalstatus or 0)

    def _read(self) -> bool:
        try:
            text = self.process.read_nonblocking(65536, timeout=SECONDS)
        except pexpect.EOF:
            return False
        self.raw += text
        self._stream.feed(text)
        return True


Open = Callable[..., Terminal]


@pytest.fixture
def terminal(project: Path, environment: dict[str, str]) -> Iterator[Open]:
    opened: list[Terminal] = []

    def start(*arguments: str, **variables: str) -> Terminal:
        opened.append(Terminal(list(arguments), project, {**environment, **variables}))
        return opened[-1]

    yield start
    for each in opened:
        each.process.close(force=True)


def shows(*parts: str) -> Callable[[list[str]], bool]:
    return lambda lines: all(any(part in line for line in lines) for part in parts)


def test_the_live_tree_and_what_stays_of_it(terminal: Open, project: Path):
    screen = terminal("run", "gated.yaml", "--run-id", "r1")
    lines = screen.wait(shows("● gate", "at the gate"))
    assert lines[0].startswith("● gated  run r1  running")
    assert any(line.startswith("✓ before") for line in lines)
    assert any(line.startswith("○ after") for line in lines)
    assert "Ctrl-C" in lines[-1]

    (project / "open-the-gate").touch()
    assert screen.wait_end() == 0
    lines = screen.lines
    assert lines[0].startswith("✓ gated  run r1  succeeded")
    assert [line.split()[:2] for line in lines[1:4]] == [["✓", "before"], ["✓", "gate"], ["✓", "after"]]
    assert sum("gated  run r1" in line for line in lines) == 1
    assert lines[-1].startswith("✓ run r1 succeeded in")


def test_colour_is_for_terminals_that_want_it(terminal: Open, project: Path):
    plain = terminal("run", "flow.yaml")
    assert plain.wait_end() == 0
    assert "\x1b[1;34m" not in plain.raw
    assert "\x1b[36m" not in plain.raw
    bright = terminal("run", "flow.yaml", NO_COLOR="")
    assert bright.wait_end() == 0
    assert "\x1b[36m" in bright.raw


def test_ctrl_c_once_finishes_what_runs_and_a_resume_goes_on(terminal: Open, autoglm: Autoglm, project: Path):
    screen = terminal("run", "gated.yaml", "--run-id", "r1")
    screen.wait(shows("at the gate"))
    screen.process.sendintr()
    screen.wait(shows("finishing what runs; Ctrl-C again stops it now"))
    (project / "open-the-gate").touch()
    assert screen.wait_end() == 130
    assert any("✓ gate" in line for line in screen.lines)
    assert any("○ after" in line for line in screen.lines)
    assert screen.lines[-1] == "the run is not over; continue it: autoglm resume r1"

    done = autoglm("resume", "r1")
    assert done.returncode == 0, done.stderr
    assert "gate" not in done.stdout
    assert " after succeeded" in done.stdout


def test_ctrl_c_twice_stops_now_and_the_attempt_runs_again(terminal: Open, autoglm: Autoglm, project: Path):
    screen = terminal("run", "gated.yaml", "--run-id", "r1")
    screen.wait(shows("at the gate"))
    screen.process.sendintr()
    screen.wait(shows("finishing what runs"))
    screen.process.sendintr()
    assert screen.wait_end() == 130
    assert screen.lines[-1] == "the run is not over; continue it: autoglm resume r1"
    (project / "open-the-gate").touch()
    assert " gate succeeded" in autoglm("resume", "r1").stdout


def test_tables_fit_the_terminal(terminal: Open, autoglm: Autoglm):
    autoglm("run", "failing.yaml", "--run-id", "r1")
    screen = terminal("show", "r1", COLUMNS=str(COLUMNS))
    assert screen.wait_end() == 0
    assert any(line.startswith("bad    failed") for line in screen.lines)


def test_a_termination_stops_at_once_and_leaves_the_run_resumable(project: Path, environment: dict[str, str]):
    process = subprocess.Popen(
        [*COMMAND, "run", "gated.yaml", "--run-id", "r1"],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.endswith(" gate started\n"):
            break
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert "autoglm resume r1" in told


def test_another_process_may_pause_or_cancel_a_run(autoglm: Autoglm, project: Path, environment: dict[str, str]):
    for command, code in (("pause", 130), ("cancel", 1)):
        process = subprocess.Popen(
            [*COMMAND, "run", "gated.yaml", "--run-id", f"to-{command}"],
            cwd=project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith(" gate started\n"):
                break
        assert "error[run-locked]" in autoglm("resume", f"to-{command}").stderr
        assert "has been asked to" in autoglm(command, f"to-{command}").stdout
        if command == "pause":
            for line in process.stdout:
                if line.endswith(" run paused\n"):
                    break
            (project / "open-the-gate").touch()
        process.communicate(timeout=SECONDS)
        assert process.returncode == code
        (project / "open-the-gate").unlink(missing_ok=True)


# -------------------------------------------------------------------------------------------------------- correcting


def test_on_a_terminal_it_is_asked_before_what_succeeded_runs_again(terminal: Open, autoglm: Autoglm) -> None:
    autoglm("run", "flow.yaml", "--run-id", "r", "-q")
    asked = terminal("retry", "r", "--from", "first")
    asked.wait(lambda lines: any("go on? [y/N]" in line for line in lines))
    asked.process.sendline("n")
    assert asked.wait_end() == 0
    assert "nothing was done" in asked.raw
    asked = terminal("retry", "r", "--from", "first")
    asked.wait(lambda lines: any("go on? [y/N]" in line for line in lines))
    asked.process.sendline("y")
    assert asked.wait_end() == 0
    assert "run r succeeded" in asked.raw

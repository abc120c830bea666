"""Output that nobody reads for a while: the run goes on, and what was said is there when it is read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import pytest

from autoglm.cli import plain
from autoglm.cli.outlet import Outlet, backlog, drain, outlet
from autoglm.cli.plain import PlainPrinter
from autoglm.cli.view import RunView

from .conftest import COMMAND, Autoglm
from .test_terminal import Open, shows, terminal

__all__ = ["terminal"]

MUCH = 1_000_000
"""Bytes: more than a pipe holds."""


class Pipe:
    """An outlet, and the other end of its pipe."""

    def __init__(self) -> None:
        self.end, theirs = os.pipe()
        self.out: TextIO = outlet(theirs, sys.__stdout__ or sys.stdout, line_buffering=True)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := os.read(self.end, size - len(data))):
            data += more
        return data


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.end)
    made.out.detach().detach().close()  # type: ignore[attr-defined]  # what it holds is nobody's any more


def test_a_write_returns_though_nobody_reads(pipe: Pipe) -> None:
    for _ in range(10):
        pipe.out.write("x" * (MUCH // 10 - 1) + "\n")
    drain(pipe.out, 0.01)
    assert 0 < backlog(pipe.out) <= MUCH
    assert pipe.read(MUCH).count(b"x") == MUCH - 10
    drain(pipe.out)
    assert backlog(pipe.out) == 0


def test_a_reader_who_has_gone_is_told_of_by_the_next_write(pipe: Pipe) -> None:
    reader, theirs = os.pipe()
    outlet = Outlet(theirs)
    os.close(reader)
    outlet.write(b"lost")
    with pytest.raises(BrokenPipeError):
        outlet.drain()
    with pytest.raises(BrokenPipeError):
        outlet.write(b"more")
    assert outlet.backlog == 0
    outlet.close()


def test_a_descriptor_that_does_not_wait_gets_all_of_it(pipe: Pipe) -> None:
    os.set_blocking(pipe.out.fileno(), False)
    pipe.out.write("x" * MUCH)
    pipe.out.flush()
    assert pipe.read(MUCH) == b"x" * MUCH


def test_what_waits_is_written_before_the_descriptor_is_closed() -> None:
    reader, theirs = os.pipe()
    last = outlet(theirs, sys.__stdout__ or sys.stdout, line_buffering=False)
    last.write("x" * MUCH)
    last.close()
    with open(reader, "rb") as rest:
        assert rest.read() == b"x" * MUCH


def test_what_leads_to_one_place_stays_in_order(pipe: Pipe) -> None:
    beside = outlet(os.dup(pipe.out.fileno()), pipe.out, pipe.out, line_buffering=True)
    for number in range(200):
        (pipe.out, beside)[number % 2].write(f"{number}\n")
    expected = b"".join(f"{number}\n".encode() for number in range(200))
    assert pipe.read(len(expected)) == expected
    beside.close()
    drain(pipe.out)
    apart, theirs = os.pipe()
    elsewhere = outlet(theirs, pipe.out, pipe.out, line_buffering=True)
    pipe.out.write("x" * MUCH + "\n")
    elsewhere.write("not held up\n")
    assert os.read(apart, 100) == b"not held up\n"
    elsewhere.close()
    os.close(apart)


def test_lines_that_nobody_reads_are_left_out_at_last_and_counted(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "MOST_WAITING", MUCH)
    printer = PlainPrinter(RunView("r", "flow"), pipe.out)
    for number in range(40):
        printer.say(f"{number} {'x' * (MUCH // 20)}", 0.0)
    text = b""
    os.set_blocking(pipe.end, False)
    while backlog(pipe.out):
        with suppress(BlockingIOError):  # it is all read, and the other thread has not said so yet
            text += os.read(pipe.end, 65536)
    printer.say("again", 0.0)
    drain(pipe.out)
    text += os.read(pipe.end, 65536)
    *told, missing, again = text.decode().splitlines()
    assert again.endswith(" again")
    assert missing.endswith(f"… {40 - len(told)} lines are missing here: they were not read fast enough")
    assert 20 <= len(told) < 25


NOISY = """
name: noisy
tasks:
  - name: say
    handler: loud
    loop: {over: "{{ range(3000) | list }}"}
"""


def status(autoglm: Autoglm) -> Callable[[], str | None]:
    def ask() -> str | None:
        done = autoglm("show", "r", "--json")
        return json.loads(done.stdout)["status"] if done.returncode == 0 else None

    return ask


def wait_for(found: Callable[[], str | None], wanted: str) -> None:
    end = time.monotonic() + 30
    while (seen := found()) != wanted:
        assert time.monotonic() < end, seen
        time.sleep(0.1)


def test_a_run_comes_to_its_end_though_nobody_reads(
    autoglm: Autoglm, project: Path, environment: dict[str, str]
) -> None:
    (project / "noisy.yaml").write_text(NOISY)
    arguments = [*COMMAND, "run", "noisy.yaml", "--run-id", "r", "-v"]
    with subprocess.Popen(arguments, cwd=project, env=environment, stdout=subprocess.PIPE) as process:
        try:
            wait_for(status(autoglm), "succeeded")
            text, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert text.count(b"printed by a handler") == 3000
    assert b"run r succeeded" in text
    assert process.returncode == 0


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGHUP], [signal.SIGINT, signal.SIGINT]])
def test_who_is_told_to_stop_waits_for_no_reader(
    autoglm: Autoglm, project: Path, environment: dict[str, str], signals: list[signal.Signals]
) -> None:
    flow = NOISY + "  - {name: gate, depends_on: say}\n"
    (project / "noisy.yaml").write_text(flow)
    arguments = [*COMMAND, "run", "noisy.yaml", "--run-id", "r", "-v"]
    with subprocess.Popen(arguments, cwd=project, env=environment, stdout=subprocess.PIPE) as process:
        try:
            end = time.monotonic() + 30
            while not (project / "at-the-gate").exists():
                assert time.monotonic() < end
                time.sleep(0.05)
            for each in signals:
                process.send_signal(each)
                time.sleep(0.3)
            assert process.wait(30) == 130
        finally:
            process.kill()
    assert status(autoglm)() == "paused"


def test_a_terminal_that_was_stopped_stops_no_run(terminal: Open, autoglm: Autoglm, project: Path) -> None:
    screen = terminal("run", "gated.yaml", "--run-id", "r")
    screen.wait(shows("at the gate"))
    screen.process.sendcontrol("s")
    time.sleep(1.2)  # the next redraw waits for the terminal by now
    (project / "open-the-gate").touch()
    wait_for(status(autoglm), "succeeded")
    screen.process.sendcontrol("q")
    assert screen.wait_end() == 0
    assert screen.lines[-1].startswith("✓ run r succeeded in")

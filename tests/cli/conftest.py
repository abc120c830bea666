"""A small project, and the real command to run in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "autoglm"]

HANDLERS = '''
import asyncio
import os
import time


async def quick(n=0):
    return n


def fail():
    raise ValueError("no \\x1b[31mgood")


async def gate(ctx):
    """Say that it runs, then wait for the file that lets it go on."""
    print("at the gate")
    open("at-the-gate", "w").close()
    while not os.path.exists("open-the-gate"):
        await asyncio.sleep(0.01)
    return "through"


def loud():
    print("printed by a handler")
    return "quiet"


async def flaky(ctx):
    if ctx.attempt < 2:
        raise ValueError("not yet")
    return "at last"
'''

FLOW = """
name: flow
inputs:
  topic: {type: string, default: rivers, description: what it is about}
  count: {type: integer, default: 3}
tasks:
  - name: first
    handler: quick
    with: {n: "{{ inputs.count }}"}
  - name: many
    handler: quick
    loop: {over: "{{ range(5) | list }}", as: i}
    with: {n: "{{ i }}"}
  - name: last
    handler: loud
    depends_on: [first, many]
outputs:
  topic: "{{ inputs.topic }}"
  many: "{{ tasks.many.result }}"
"""

FAILING = """
name: failing
tasks:
  - {name: good, handler: quick}
  - {name: bad, handler: fail, depends_on: good}
  - {name: after, handler: quick, depends_on: bad}
"""

GATED = """
name: gated
tasks:
  - {name: before, handler: quick}
  - {name: gate, handler: gate, depends_on: before}
  - {name: after, handler: quick, depends_on: gate}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with workflows and the handlers that they call."""
    (tmp_path / "autoglm.yaml").write_text("durability: process\n")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "handlers.py").write_text(HANDLERS)
    for name, text in (("flow", FLOW), ("failing", FAILING), ("gated", GATED)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of the command: nothing that changes how output looks."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AUTOGLM_", "ZAI", "ZHIPU"))}
    return {**ours, "TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}


Autoglm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def autoglm(project: Path, environment: dict[str, str]) -> Autoglm:
    """Run the command in the project and return what came of it."""

    def call(*arguments: str, **how: object) -> subprocess.CompletedProcess[str]:
        given = {"cwd": project, "env": environment, "capture_output": True, "text": True, "timeout": 60, **how}
        return subprocess.run([*COMMAND, *arguments], **given)  # type: ignore[call-overload,no-any-return]

    return call

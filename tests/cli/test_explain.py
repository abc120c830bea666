"""What people read when they ask why, and what it tells them to do next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoglm.cli.entry import enter

CODE = """
def ok(n=1):
    return n


def boom():
    raise ValueError("no good")
"""

Asked = Callable[..., str]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Asked:
    """Run a workflow as run ``r``, then commands; return what the last of them prints."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "work.py").write_text(CODE)
    (tmp_path / "autoglm.yaml").write_text("durability: process\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def ask(flow: str, *commands: str) -> str:
        Path("flow.yaml").write_text(f"name: flow\n{flow}")
        text = ""
        for command in ("run flow.yaml --run-id r -q", *commands):
            enter(command.split())
            told = capfd.readouterr()
            text = told.out + told.err
        return text

    return ask


TOLERATED = """
tasks:
  - {name: tol, handler: boom, on_error: continue}
  - {name: slow, handler: ok, depends_on: tol}
  - {name: bad, handler: boom, depends_on: slow}
"""


def test_what_was_tolerated_comes_last_and_is_marked(asked: Asked) -> None:
    text = asked(TOLERATED, "explain r")
    assert "it failed because `bad` did: handler-raised: ValueError: no good" in text
    assert text.index("✗ bad failed  ") < text.index("✗ tol failed (tolerated)  ")
    assert "autoglm explain r bad" in text
    text = asked(TOLERATED.replace("good", "bad"), "run flow.yaml --run-id r2 -q")
    assert text.index("✗ bad  handler-raised") < text.index("✗ tol (tolerated)  handler-raised")


def test_a_rollback_that_failed_is_told_with_where_to_look(asked: Asked) -> None:
    flow = """
tasks:
  - {name: b, handler: ok, rollback: {handler: boom}}
  - {name: c, handler: boom, depends_on: b}
"""
    text = asked(flow, "explain r")
    assert "could not be rolled back, still in place:\n  ✗ b  handler-raised: ValueError: no good" in text
    assert "autoglm explain r 'b~rollback'" in text
    assert "its rollback failed, so what it did is still in place" in asked(flow, "explain r b")


def test_a_decision_in_a_finished_item_is_told_by_its_record(asked: Asked) -> None:
    flow = """
tasks:
  - name: l
    loop: [1, 2]
    tasks:
      - name: route
        type: decision
        conditions: [{rule: item > 1, action: big}]
        default: small
      - {name: big, handler: ok, depends_on: route}
      - {name: small, handler: ok, depends_on: route}
"""
    text = asked(flow, "explain r l[1].route")
    assert "it decided: it took `big`, because `item > 1` held (item = 2)\n  item = 2\nnot taken: `small`\n" in text
    assert "(skipped) of run r: it was skipped: `route` chose another branch" in asked(flow, "explain r l[1].small")


def test_what_was_made_of_a_secret_is_not_shown(asked: Asked) -> None:
    Path(".env").write_text("KEY=hunter22\n")
    Path("inner.yaml").write_text(
        "name: inner\ninputs: {key: {type: string}}\ntasks: [{name: x, handler: ok, when: inputs.key == 'a'}]\n"
    )
    flow = 'tasks: [{name: go, workflow: inner.yaml, with: {key: "{{ secrets.KEY }}"}}]\n'
    assert "  inputs.key = ***\n" in asked(flow, "explain r go.x")

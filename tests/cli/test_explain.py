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
        for command in ("run flow.yaml --run-id r --no-wait -q", *commands):
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


LOOPS = """
tasks:
  - {name: count, handler: ok, loop: {until: index == 3, max_iterations: 9}}
  - {name: b, handler: ok, rollback: {handler: ok}, depends_on: count}
  - {name: bad, handler: boom, depends_on: b}
on_error: [{name: tell, handler: ok}]
finally: [{name: fin, handler: ok}]
"""


@pytest.mark.parametrize("task", ["count[3]", "b~rollback", "on_error.tell", "finally.fin", "count", "b"])
def test_what_is_suggested_next_is_not_refused(asked: Asked, task: str) -> None:
    text = asked(LOOPS, f"explain r {task}")
    for line in text.partition("next:\n")[2].splitlines():
        command = line.strip().removeprefix("autoglm ").replace("'", "")
        plan = " --plan" if command.startswith("retry") else ""
        assert "error[" not in asked(LOOPS, f"{command}{plan}")
    if task == "count[3]":
        assert "autoglm retry r --from count\n" in text


def test_a_tolerated_failure_of_a_run_that_succeeded_is_done_again_by_name(asked: Asked) -> None:
    text = asked("tasks: [{name: tol, handler: boom, on_error: continue}]", "explain r tol")
    assert text.endswith("  autoglm retry r --from tol\n")


def test_by_which_file_to_go_on_is_asked_only_once_it_has_changed(asked: Asked) -> None:
    flow = "tasks: [{name: bad, handler: boom}]\n"
    assert asked(flow, "explain r").endswith("  autoglm retry r\n")
    text = asked(f"{flow}description: changed\n", "explain r")
    assert text.endswith("  autoglm retry r --with-changes\n  autoglm retry r --as-recorded\n")


def test_a_signal_that_several_wait_for_is_sent_once(asked: Asked) -> None:
    flow = "tasks: [{name: a, type: wait, signal: go}, {name: b, type: wait, signal: go}]"
    text = asked(flow, "explain r")
    assert text.count("autoglm signal r go") == 1
    assert "nothing drives the run: `autoglm resume r` continues it" in text
    assert "nothing drives the run: `autoglm resume r` continues it" in asked(flow, "explain r a")


def test_who_answered_is_told(asked: Asked) -> None:
    flow = """
tasks:
  - {name: ask, type: approval, message: fine?}
  - {name: go, type: wait, signal: go}
  - {name: late, type: approval, message: fine?, deadline: 1ms, on_deadline: approve}
  - {name: after, handler: ok, depends_on: [ask, go]}
"""
    commands = ("approve r ask --by ann --comment good", "signal r go")
    text = asked(flow, *commands, "resume r -q", "explain r ask")
    assert "\nann approved it at 20" in text
    assert ": good\n" in text
    assert "\nthe signal `go` came at 20" in asked(flow, "explain r go")
    text = asked(flow, "explain r late")
    assert "nobody answered before its deadline, 20" in text
    assert "`on_deadline: approve` held" in text


def test_an_item_that_has_not_begun_is_no_unknown_task(asked: Asked) -> None:
    flow = """
tasks:
  - {name: ask, type: approval, message: fine?}
  - {name: l, handler: ok, loop: [1, 2], depends_on: ask}
"""
    text = asked(flow, "explain r l[0]")
    assert "l[0] (pending) of run r: it has not begun: `l` has not begun\nwaits for `ask`, which is paused\n" in text
    assert "error[task-not-found]" in asked(flow, "explain r l[2]")

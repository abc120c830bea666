"""Whatever a file, a function, a script, a secret or a store does: words, an exit code, and no recorded result lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from autoglm import Workflow
from autoglm.cli.entry import enter

COMMAND = [sys.executable, "-m", "autoglm"]
IMPATIENT = 60.0

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("tasks", "scripts"):
        (tmp_path / folder).mkdir()
    return tmp_path


@pytest.fixture
def autoglm(project: Path) -> Run:
    """Run the command as its users do; whatever happens, no traceback and no word of a bug may be seen."""

    def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        keep = {name: value for name, value in os.environ.items() if not name.startswith("AUTOGLM_")}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=project,
            env={**keep, **more.pop("env", {})},
            timeout=IMPATIENT,
            encoding="utf-8",
            errors="replace",
            **{**streams, **more},
        )
        said = (done.stdout or "") + (done.stderr or "")
        assert "Traceback" not in said
        assert "bug in autoglm" not in said
        return done

    return run


def script(project: Path, name: str, text: str) -> None:
    path = project / "scripts" / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


# ------------------------------------------------------------------------------------------------------------- files

NESTED = 10_000
FILES: list[tuple[str, bytes, str]] = [
    ("deep.yaml", b"tasks: " + b"[" * NESTED + b"]" * NESTED, "too-deep"),
    ("deep.json", b'{"tasks": ' + b"[" * NESTED + b"]" * NESTED + b"}", "too-deep"),
    ("deeper.yaml", b"{" * 100_000, "too-deep"),
    ("nul.yaml", b"tasks:\n- name: a\0b\n", "nul-byte"),
    ("nul.json", b'{"tasks": {"a\\u0000": {"prompt": "x"}}}', "bad-name"),
    ("half.yaml", b"tasks:\n- name: \xed\xa0\x80\n", "not-utf8"),
    ("half.json", b'{"tasks": {"a": {"prompt": "\\ud800"}}}', "lone-surrogate"),
    ("nan.json", b'{"tasks": {"a": {"prompt": "x", "with": {"x": NaN}}}}', "not-finite"),
    ("nan.yaml", b"tasks:\n- {name: a, prompt: x, with: {x: .inf}}\n", "not-finite"),
    ("digits.yaml", b"tasks:\n- {name: a, prompt: x, with: {x: " + b"9" * 100_000 + b"}}\n", "number-too-large"),
    ("digits.json", b'{"tasks": {"a": {"with": {"x": ' + b"9" * 100_000 + b"}}}}", "number-too-large"),
    ("template.yaml", b'tasks:\n- {name: a, prompt: "{{ ' + b"9" * 100_000 + b' }}"}\n', "template-syntax"),
    (
        "parens.yaml",
        b'tasks:\n- {name: a, prompt: "{{ ' + b"(" * NESTED + b"1" + b")" * NESTED + b' }}"}\n',
        "template",
    ),
    ("wait.yaml", b"tasks:\n- {name: a, prompt: x, timeout: " + b"9" * 100_000 + b"s}\n", "bad-duration"),
    ("none.yaml", b"tasks: []\n", "no-tasks"),
    ("empty.yaml", b"", "empty-file"),
    ("wide.yaml", "tasks: []".encode("utf-16"), "not-utf8"),
    ("self.yaml", b"tasks:\n- {name: a, prompt: x, depends_on: a}\n", "self-dependency"),
    ("data.yaml", b"tasks:\n- {name: a, prompt: '{{ tasks.a.result }}'}\n", "self-dependency"),
    ("cycle.yaml", b"tasks:\n- {name: a, prompt: '{{ tasks.b.result }}'}\n- {name: b, prompt: x, needs: a}\n", "cycle"),
    ("tag.yaml", b"tasks: !!python/object/apply:os.system ['exit 1']\n", "yaml-tag"),
    ("noise.yaml", bytes(range(256)) * 100, "nul-byte"),
    ("text.yaml", b"tasks:\n- {name: a, prompt: x, loop: abc}\n", "wrong-kind"),
    ("folder.yaml", b"tasks:\n- {name: a, script: scripts/more}\n", "missing-script"),
]


@pytest.mark.parametrize(("name", "content", "code"), FILES, ids=[name for name, _, _ in FILES])
def test_bad_files(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    content: bytes,
    code: str,
):
    monkeypatch.chdir(project)
    (project / "scripts" / "more").mkdir()
    script(project, "more/some.sh", "true")
    Path(name).write_bytes(content)
    assert enter(["validate", name]) == 2
    said = "".join(capfd.readouterr())
    assert f"[{code}" in said
    assert len(said) < 20_000
    assert "Traceback" not in said


def test_files_that_are_none(project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.chdir(project)
    with Path("large.yaml").open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    for name, code in {
        "nowhere.yaml": "file-not-found",
        "tasks": "file-not-found",
        "large.yaml": "file-too-large",
        "/dev/zero": "file-too-large",
        "/dev/null": "empty-file",
    }.items():
        assert enter(["run", name]) == 2
        assert f"[{code}" in capfd.readouterr().err
    Path("flow.yaml").write_text("tasks: [{name: a, prompt: x}]")
    assert enter(["run", "flow.yaml", "--inputs-file", "/dev/zero"]) == 2
    assert "file-too-large" in capfd.readouterr().err


BOMBS = {
    "{{ 'x' * 10**10 }}": "expression-too-large",
    "{{ 9**9**9**9 }}": "expression-too-large",
    "{{ range(10**12) }}": "expression-too-large",
    "{{ '%999999999d' % 1 }}": "expression-too-large",
    "{{ ('x' * 1000000) | replace('x', 'y' * 1000000) }}": "expression-too-large",
    "{{ [1] * 10**9 }}": "expression-too-large",
    "{{ ''.__class__.__mro__ }}": "unknown-field",
}


def test_template_bombs():
    tasks = {
        f"t{number}": {"handler": "same", "with": {"x": template}, "on_error": "continue"}
        for number, template in enumerate(BOMBS)
    }
    run = Workflow.from_data({"tasks": tasks}, {"same": lambda x: x}).run()
    assert [task.error and task.error["code"] for task in run.tasks.values()] == list(BOMBS.values())


@pytest.mark.parametrize(
    ("over", "error"),
    [([], None), ("{{ tasks.up.result }}", "loop-not-a-list"), ("{{ {'a': 1} }}", "loop-not-a-list")],
)
def test_loops_over_what_is_no_list(over: Any, error: str | None):
    tasks = {"up": {}, "each": {"handler": "same", "loop": over, "with": {"x": "{{ item }}"}, "depends_on": "up"}}
    run = Workflow.from_data({"tasks": tasks}, {"up": lambda: "abc", "same": lambda x: x}).run()
    assert (run.tasks["each"].error or {"code": None})["code"] == error
    assert run.tasks["each"].result == ([] if error is None else None)


def test_a_loop_over_200_000_items_of_a_large_result():
    """The list is far beyond what events hold: the loop starts in the very decision that takes it in."""
    tasks = {"many": {}, "each": {"handler": "nothing", "loop": "{{ tasks.many.result }}", "with": {"n": "{{ item }}"}}}
    handlers = {"many": lambda: list(range(200_000)), "nothing": _nothing}
    run = Workflow.from_data({"tasks": tasks}, handlers).run()
    assert run.succeeded
    assert len(run.tasks["each"].result) == 200_000


async def _nothing(n: int) -> None:
    return None


def test_large_results_go_from_task_to_task_and_out(tmp_path: Path):
    data = {
        "tasks": {
            "a": {"with": {"x": "{{ 'é' * 300000 }}"}, "result": "{{ output ~ '!' }}"},
            "b": {"with": {"x": "{{ tasks.a.result }}"}, "loop": [1, 2]},
            "c": {"with": {"x": "{{ tasks.b.result[1] }}"}, "when": "tasks.a.output | length == 300000"},
        },
        "outputs": {"all": "{{ tasks.c.result }}"},
    }
    flow = Workflow.from_data(data, dict.fromkeys("abc", lambda x: x))
    assert flow.configure(store=str(tmp_path / "runs.db")).run().outputs["all"] == "é" * 300_000 + "!"


# ---------------------------------------------------------------------------------------------------------- functions

RAISING = """
import asyncio, os, signal, sys

class Mute(Exception):
    def __str__(self): raise RuntimeError
    __repr__ = __str__
class Base(BaseException): pass
class Map(dict):
    def items(self): raise RuntimeError("items")
class List(list):
    def __iter__(self): raise SystemExit(9)

def raises(): raise ValueError("boom")
def mute(): raise Mute
def base(): raise Base("b")
async def async_base(): raise Base("b")
def exits(): sys.exit(3)
async def async_exits(): sys.exit(3)
def interrupts(): raise KeyboardInterrupt
async def async_interrupts(): raise KeyboardInterrupt
async def cancels(): raise asyncio.CancelledError
def stops(): raise StopIteration(5)
def huge(): raise ValueError("x" * 10_000_000)
def odd(): raise ValueError("half \\ud800 nul \\0 esc \\x1b[31m")
def recurses(): return recurses()
def a_set(): return {1}
def a_nan(): return [float("nan")]
def half(): return "\\ud800"
def keys(): return {(1, 2): 3}
def digits(): return 10 ** 10_000
def itself():
    found = []
    found.append(found)
    return found
def deep():
    found = []
    for _ in range(100_000): found = [found]
    return found
def a_map(): return Map(a=1)
def a_list(): return List([1])
def large(): return "x" * 70_000_000
"""
RAISED = {
    **dict.fromkeys(["raises", "mute", "stops", "huge", "odd", "recurses"], "handler-raised"),
    **dict.fromkeys(["base", "async_base", "exits", "async_exits", "interrupts", "async_interrupts"], "handler-exit"),
    **dict.fromkeys(["a_set", "a_nan", "half", "keys", "digits", "itself", "deep", "a_map", "a_list"], "not-json"),
    "cancels": "handler-cancelled",
    "large": "output-too-large",
}


def test_whatever_a_function_raises_or_returns_is_its_tasks_failure_alone(project: Path, autoglm: Run):
    (project / "tasks" / "bad.py").write_text(RAISING)
    tasks = [{"name": name, "on_error": "continue"} for name in RAISED]
    (project / "flow.json").write_text(json.dumps({"tasks": tasks}))
    done = autoglm("run", "flow.json", "--json", "--run-id", "r")
    document = json.loads(done.stdout)
    assert {name: task["error"]["code"] for name, task in document["tasks"].items()} == RAISED
    assert len(done.stdout) < 100_000
    shown = autoglm("show", "r", "raises").stdout
    assert "tasks/bad.py" in shown
    assert 'raise ValueError("boom")' in shown


LEAVING = """
import asyncio, atexit, os, subprocess, sys, threading, time

def one(): return 1
def thread():
    def work(): raise ValueError("in a thread")
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
async def task():
    async def work(): raise ValueError("in a task")
    asyncio.get_running_loop().create_task(work())
    await asyncio.sleep(0.01)
class Dying:
    def __del__(self): raise ValueError("at its end")
def dies(): Dying()
def forks(): return os.fork() and None
async def async_forks(): return os.fork() and None
def goodbye(): atexit.register(lambda: print("goodbye"))
def raw(): os.write(1, b"raw\\n" * 100_000)
async def async_raw(): os.write(1, (b"raw" * 300 + b"\\n") * 8_000)
def program(): subprocess.run(["echo", "from a program"], check=True)
def data(): sys.stdout.buffer.write(b"bytes\\n")
def closes(): sys.stdout.close()
def forever(): time.sleep(1000)
async def deaf():
    while True:
        try: await asyncio.sleep(1000)
        except asyncio.CancelledError: pass
async def leaves_deaf():
    leaves_deaf.kept = asyncio.create_task(deaf())
    await asyncio.sleep(0)
async def leaves_thread(): asyncio.get_running_loop().run_in_executor(None, time.sleep, 1000)
async def stops_loop(): asyncio.get_running_loop().stop()
async def cancels_all():
    for each in asyncio.all_tasks(): each.cancel()
"""


def flow(project: Path, name: str, *names: str, **fields: Any) -> None:
    tasks = [{"name": each, **fields} for each in names]
    (project / name).write_text(json.dumps({"tasks": tasks}))


@pytest.fixture
def leaving(project: Path) -> Path:
    (project / "tasks" / "leaving.py").write_text(LEAVING)
    return project


def test_json_is_one_document_whatever_functions_write_and_leave_behind(leaving: Path, autoglm: Run):
    names = ["thread", "task", "dies", "forks", "async_forks", "goodbye", "program", "data", "closes"]
    tasks: list[dict[str, Any]] = [{"name": name} for name in names]
    tasks += [{"name": name, "depends_on": names} for name in ("raw", "async_raw")]
    (leaving / "flow.json").write_text(json.dumps({"tasks": tasks}))
    done = autoglm("run", "flow.json", "--json")
    document = json.loads(done.stdout)
    assert document["status"] == "succeeded"
    assert "a thread that a task started failed: ValueError: in a thread (leaving.py:" in done.stderr
    assert "something that a task left running failed: ValueError: in a task (leaving.py:" in done.stderr
    assert "ValueError: at its end" in done.stderr
    assert "from a program" in done.stderr
    assert "more lines that tasks wrote are not shown" in done.stderr
    assert "goodbye" not in done.stderr
    assert "bytes" in autoglm("logs", "last").stdout


def test_a_run_ends_though_functions_never_return(leaving: Path, autoglm: Run):
    flow(leaving, "flow.json", "forever", "deaf", timeout="100ms", on_error="continue")
    begun = time.monotonic()
    done = autoglm("run", "flow.json", "--json")
    document = json.loads(done.stdout)
    assert {task["error"]["code"] for task in document["tasks"].values()} == {"timeout"}
    flow(leaving, "flow.json", "leaves_deaf", "leaves_thread")
    assert autoglm("run", "flow.json").returncode == 0
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("name", ["stops_loop", "cancels_all"])
def test_a_function_that_meddles_with_the_loop_breaks_the_run_off(leaving: Path, autoglm: Run, name: str):
    tasks = [{"name": "one"}, {"name": name, "depends_on": "one"}, {"name": "last", "handler": "one", "needs": name}]
    (leaving / "flow.json").write_text(json.dumps({"tasks": tasks}))
    done = autoglm("run", "flow.json", "--run-id", "r")
    assert done.returncode == 1
    assert "error[run-broken-off]" in done.stderr
    assert "`autoglm resume r` continues it" in done.stderr
    rows = {task["task"]: task["status"] for task in json.loads(autoglm("show", "r", "--json").stdout)["tasks"]}
    assert rows["one"] == "succeeded"
    (leaving / "tasks" / "leaving.py").write_text(LEAVING + f"\nasync def {name}(): return 2\n")
    assert autoglm("resume", "r").returncode == 0


def test_what_a_retry_sets_back_is_not_counted_twice(leaving: Path, autoglm: Run):
    (leaving / "tasks" / "late.py").write_text("import os\ndef late():\n    open('there').close()\n")
    tasks = [{"name": "late"}, {"name": "one", "depends_on": "late"}]
    (leaving / "flow.json").write_text(json.dumps({"tasks": tasks}))
    assert autoglm("run", "flow.json", "--run-id", "r").returncode == 1
    (leaving / "there").touch()
    assert autoglm("retry", "r").returncode == 0
    assert json.loads(autoglm("show", "r", "--json").stdout)["counts"] == {"succeeded": 2}


def test_what_hung_on_a_failure_is_shown_once_after_a_retry(leaving: Path, autoglm: Run):
    """A loop over groups that had succeeded is done anew because of what stands before it; so is a group."""
    (leaving / "tasks" / "late.py").write_text(
        "import os\ndef late():\n    open('there').close()\n    return [1, 2, 3]\ndef skip(): pass\n"
    )
    inner = [{"name": "x", "handler": "one"}, {"name": "y", "handler": "one", "when": "n == 1"}]
    tasks = [
        {"name": "late", "on_error": "continue"},
        {"name": "each", "depends_on": "late", "loop": {"over": [1, 2], "as": "n"}, "tasks": inner},
        {"name": "plain", "handler": "one", "depends_on": "late", "loop": {"over": [1, 2, 3]}},
        {"name": "group", "depends_on": "late", "tasks": [{"name": "z", "handler": "one"}]},
        {"name": "fails", "handler": "late", "depends_on": "group"},
    ]
    (leaving / "flow.json").write_text(json.dumps({"tasks": tasks}))
    assert autoglm("run", "flow.json", "--run-id", "r").returncode == 1
    (leaving / "there").touch()
    assert autoglm("retry", "r").returncode == 0
    shown = json.loads(autoglm("show", "r", "--json", "--status", "succeeded", "--limit", "100").stdout)
    names = sorted(task["task"] for task in shown["tasks"])
    loops = ["each", "each[0]", "each[0].x", "each[0].y", "each[1]", "each[1].x"]
    assert names == sorted(["late", *loops, "plain", "plain[0]", "plain[1]", "plain[2]", "group", "group.z", "fails"])
    assert shown["counts"] == {"succeeded": len(names), "skipped": 1}


# ------------------------------------------------------------------------------------------------------------ scripts


def test_bad_scripts(project: Path, autoglm: Run):
    mark = f"{os.getpid()}.{time.monotonic_ns()}"
    script(project, "flood.sh", "yes | head -c 1000000000")
    script(project, "children.sh", f"sleep 1000.{mark} & setsid sleep 2000.{mark} & echo done")
    script(project, "deaf.sh", f"trap '' TERM INT\nwhile :; do sleep 3000.{mark}; done")
    script(project, "output.sh", 'rm "$AUTOGLM_OUTPUT"; mkfifo "$AUTOGLM_OUTPUT"')
    script(project, "words.sh", "echo '{'")
    script(project, "dies.sh", "kill -SEGV $$")
    script(project, "exits.sh", "echo why >&2; exit 7")
    (project / "scripts" / "plain").write_text("echo no")
    (project / "scripts" / "plain").chmod(0o755)
    expected = {
        "flood.sh": "output-too-large",
        "children.sh": None,
        "deaf.sh": "timeout",
        "output.sh": "script-output",
        "words.sh": "script-output",
        "dies.sh": "script-signal",
        "exits.sh": "script-exit",
        "plain": "script-format",
    }
    tasks = [
        {
            "name": name.replace(".", "-"),
            "script": f"scripts/{name}",
            "on_error": "continue",
            **({"timeout": "1s"} if name == "deaf.sh" else {}),
            **({"output_format": "json"} if name == "words.sh" else {}),
        }
        for name in expected
    ]
    (project / "flow.json").write_text(json.dumps({"tasks": tasks}))
    document = json.loads(autoglm("run", "flow.json", "--json").stdout)
    codes = {name: (task["error"] or {"code": None})["code"] for name, task in document["tasks"].items()}
    assert codes == {name.replace(".", "-"): code for name, code in expected.items()}
    assert not list(_running(mark))


def _running(mark: str) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_text(errors="replace")
            except OSError:
                continue
            if mark in line:
                yield line


# ------------------------------------------------------------------------------------------------------------ secrets

TELLING = """
import asyncio, logging, os, subprocess, sys, threading, warnings

def returned(s): return {"a": s, s: [f"<{s}>"]}
def raised(s): raise ValueError("bad " + s)
def cause(s):
    try: raise KeyError(s)
    except KeyError as error: raise RuntimeError("outer") from error
def named(s): raise type(s, (Exception,), {})(s)
def kind(s): return {"x": type(s, (), {})()}
def key(s): return {(s,): 1}
def own(s):
    from autoglm import TaskError
    raise TaskError(s, code=s, hint=s, classes=[s], details={s: s})
def printed(s): print(s); print(s, file=sys.stderr); sys.stdout.write(s[:4]); sys.stdout.write(s[4:])
def letters(s):
    for letter in s: print(letter, end="", flush=True)
def logged(s, ctx):
    ctx.logger.info("it is %s", s); ctx.logger.exception(s); logging.getLogger("x").warning(s); warnings.warn(s)
def raw(s): os.write(1, s.encode() + b"\\n"); os.write(2, s.encode() + b"\\n")
def dunder(s): sys.__stdout__.write(s + "\\n"); sys.__stderr__.write(s + "\\n")
def program(s): subprocess.run(["echo", s]); subprocess.run(["sh", "-c", 'echo "$0" >&2', s])
def thread(s):
    def work(): print(s); raise ValueError(s)
    t = threading.Thread(target=work); t.start(); t.join()
async def task(s):
    async def work(): raise ValueError(s)
    asyncio.get_running_loop().create_task(work()); await asyncio.sleep(0.01)
class Dying:
    def __init__(self, s): self.s = s
    def __del__(self): raise ValueError(self.s)
def dies(s): Dying(s)
def goodbye(s):
    import atexit
    atexit.register(print, s)
def state(s, ctx): ctx.state["k"] = s; return ctx.state["k"]
def same(x): return x
"""
TEMPLATES = {
    "part": ("x", "Bearer {{ SECRET }} and {{ SECRET | upper }} and {{ SECRET | list }}"),
    "field": ("x", "{{ (SECRET ~ 'x').nope }}"),
    "index": ("x", "{{ inputs[SECRET] }}"),
    "number": ("x", "{{ SECRET | int(base=99) }}"),
    "looped": ("loop", ["{{ SECRET }}", 2]),
    "resulting": ("result", "{{ SECRET }}"),
    "asked": ("when", "(SECRET ~ 'x').nope == 1"),
}


@pytest.mark.parametrize("source", ["secrets.TOKEN", "inputs.token"])
def test_a_secret_is_nowhere(project: Path, autoglm: Run, source: str):
    secret = 'Geh3im"é/+Wort'
    (project / "tasks" / "telling.py").write_text(TELLING)
    script(project, "telling.sh", 'echo "$1 $TOKEN"; echo "$1" >&2; cat "$AUTOGLM_INPUT"; exit "$2"')
    names = [line[4:].split("(")[0] for line in TELLING.replace("async ", "").splitlines() if line.startswith("def ")]
    hidden = "{{ " + source + " }}"
    tasks: list[dict[str, Any]] = [{"name": name, "with": {"s": hidden}} for name in names if name != "same"]
    for name, (field, template) in TEMPLATES.items():
        text = json.loads(json.dumps(template).replace("SECRET", source))
        values = {"x": text} if field == "x" else {"x": "{{ item }}" if field == "loop" else 1}
        tasks.append({"name": name, "handler": "same", "with": values} | ({} if field == "x" else {field: text}))
    for code in "03":
        shell = {
            "script": "scripts/telling.sh",
            "args": [hidden, code],
            "env": {"TOKEN": hidden},
            "with": {"a": hidden},
        }
        tasks.append({"name": f"script{code}", **shell})
    tasks.append({"name": "elsewhere", "handler": "raised", "executor": "process", "with": {"s": hidden}})
    document: dict[str, Any] = {
        "tasks": [{**task, "on_error": "continue"} for task in tasks],
        "outputs": {"all": f"{hidden}, {{{{ tasks.returned.result }}}}"},
    }
    given: tuple[str, ...] = ()
    env = {"TOKEN": secret}
    if source == "inputs.token":
        document["inputs"], given, env = {"token": {"type": "string", "secret": True}}, ("-i", f"token={secret}"), {}
    (project / "flow.json").write_text(json.dumps(document))

    said = [autoglm("run", "flow.json", *given, "-v", "--run-id", "r", env=env)]
    said.append(autoglm("run", "flow.json", *given, "--json", env=env))
    assert said[1].stdout, said[1].stderr
    assert json.loads(said[1].stdout)["status"] == "succeeded"
    said += [autoglm(*look) for look in (["show", "r", "--json"], ["logs", "r"], ["show", "r", "named"], ["list"])]
    written = b"".join(path.read_bytes() for path in (project / ".autoglm").rglob("*") if path.is_file())
    for text in [written.decode("utf-8", "replace"), *(done.stdout + done.stderr for done in said)]:
        for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], secret.upper()):
            assert form not in text
    assert "***" in said[0].stdout


# ------------------------------------------------------------------------------------------------- stores and outputs


def test_stores_that_are_none(project: Path, autoglm: Run):
    flow(project, "flow.json", "one")
    (project / "tasks" / "one.py").write_text("def one(): return 1\n")
    assert autoglm("run", "flow.json", "-q", "--run-id", "r").returncode == 0
    store = project / ".autoglm" / "autoglm.db"

    newer = project / "newer.db"
    newer.write_bytes(store.read_bytes())
    connection = apsw.Connection(str(newer))
    connection.execute("pragma user_version = 99")
    connection.close()
    foreign = project / "foreign.db"
    connection = apsw.Connection(str(foreign))
    connection.execute("create table t (a)")
    connection.close()
    damaged = project / "damaged.db"
    damaged.write_bytes(store.read_bytes()[:100] + b"\xff" * 5000)
    for path, code in {
        newer: "store-too-new",
        foreign: "store-foreign",
        damaged: "store-damaged",
        project / "tasks": "store-path",
    }.items():
        before = path.read_bytes() if path.is_file() else b""
        for command in (["list"], ["run", "flow.json"], ["resume", "r"]):
            done = autoglm(*command, "--store", str(path))
            assert done.returncode == 1
            assert f"error[{code}]" in done.stderr
        assert not before or path.read_bytes() == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of three megabytes, where we may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_and_then_a_larger_one_and_then_none_to_write_to(project: Path, small_disk: Path, autoglm: Run):
    (project / "tasks" / "fill.py").write_text(
        "import random\n"
        "def fill(n):\n"
        "    open('ledger', 'a').write(f'{n}\\n')\n"
        "    return random.Random(n).randbytes(300_000).hex()\n"
    )
    loop = {"name": "fill", "loop": {"over": list(range(12)), "max_parallel": 1}, "with": {"n": "{{ item }}"}}
    (project / "flow.json").write_text(json.dumps({"tasks": [loop]}))
    store = ("--store", str(small_disk / "runs.db"))
    done = autoglm("run", "flow.json", "--run-id", "r", *store)
    assert done.returncode == 1
    assert "error[disk-full]" in done.stderr
    recorded = json.loads(autoglm("show", "r", "--json", *store).stdout)["counts"]["succeeded"]
    assert recorded > 0

    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    assert autoglm("resume", "r", *store).returncode == 0
    ledger = (project / "ledger").read_text().split()
    assert len(ledger) == len(set(ledger)) + 1  # the one whose result did not fit

    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = autoglm("run", "flow.json", *store)
    assert (done.returncode, "error[store-read-only]" in done.stderr) == (1, True)


def test_output_that_goes_nowhere(project: Path, autoglm: Run):
    flow(project, "flow.json", "one")
    (project / "tasks" / "one.py").write_text("def one(): return 1\n")
    with Path("/dev/full").open("w") as full:
        done = autoglm("run", "flow.json", "--json", "--run-id", "r", stdout=full)
        assert (done.returncode, "error[output-failed]" in done.stderr) == (1, True)
        assert autoglm("list", stdout=full).returncode == 1
    assert "succeeded" in autoglm("show", "r").stdout
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *COMMAND]
    for arguments in (["--version"], ["run", "flow.json"], ["list"]):
        assert subprocess.run([*closed, *arguments], cwd=project, timeout=IMPATIENT).returncode == 0

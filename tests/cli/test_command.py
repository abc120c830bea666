"""The command as programs see it: exit codes, documents, lines, words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoglm import __version__
from autoglm.cli.entry import enter

from .conftest import COMMAND, Autoglm


def test_the_version_comes_without_anything_that_takes_time_to_import(autoglm: Autoglm, project: Path, environment):
    assert autoglm("--version").stdout == f"autoglm {__version__}\n"
    code = (
        "import sys; sys.argv = ['autoglm', '--version']\n"
        "from autoglm.__main__ import main; main()\n"
        "heavy = {'typer', 'rich', 'pydantic', 'asyncio', 'msgspec'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project, env=environment, stdout=subprocess.DEVNULL)


def test_a_run_in_a_pipe_imports_no_rich(project: Path, environment):
    code = (
        "import sys; sys.argv = ['autoglm', 'run', 'flow.yaml']\n"
        "from autoglm.cli.entry import enter\n"
        "assert enter(sys.argv[1:]) == 0\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('rich', 'aiohttp')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project, env=environment, stdout=subprocess.DEVNULL)


def test_run_in_a_pipe(autoglm: Autoglm):
    done = autoglm("run", "flow.yaml", "-i", "count=4", "-i", "topic=9")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.endswith(" first started") for line in lines)
    assert any(line.endswith(" many started, 5 items") for line in lines)
    assert "outputs:" in lines
    assert '  "topic": "9",' in lines
    assert done.stderr == ""


def test_run_json_prints_one_document_whatever_handlers_print(autoglm: Autoglm):
    done = autoglm("run", "flow.yaml", "--json", "--run-id", "mine")
    document = json.loads(done.stdout)
    assert document["run_id"] == "mine"
    assert document["status"] == "succeeded"
    assert document["outputs"] == {"topic": "rivers", "many": [0, 1, 2, 3, 4]}
    assert document["tasks"]["first"] == {"status": "succeeded", "attempts": 1, "result": 3, "error": None}
    assert set(document) == {"run_id", "workflow", "status", "outputs", "tasks", "usage"}
    assert "printed by a handler" in autoglm("logs", "mine").stdout


def test_a_failed_run_tells_what_failed_and_where_to_look(autoglm: Autoglm):
    done = autoglm("run", "failing.yaml", "--run-id", "r1")
    assert done.returncode == 1
    assert "✗ bad  handler-raised: ValueError: no good" in done.stderr
    assert "look: autoglm show r1 bad" in done.stderr
    assert "autoglm retry r1" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr

    document = json.loads(autoglm("run", "failing.yaml", "--json").stdout)
    assert document["tasks"]["bad"]["error"]["code"] == "handler-raised"
    assert document["tasks"]["after"]["status"] == "skipped"


def test_quiet_says_only_what_went_wrong(autoglm: Autoglm):
    assert autoglm("run", "flow.yaml", "--quiet").stdout == ""
    done = autoglm("run", "failing.yaml", "--quiet")
    assert done.stdout == ""
    assert "handler-raised" in done.stderr


def test_verbose_shows_the_lines_of_tasks(autoglm: Autoglm):
    assert "last | printed by a handler" in autoglm("run", "flow.yaml", "--verbose").stdout


def test_retry_after_mending(autoglm: Autoglm, project: Path):
    autoglm("run", "failing.yaml", "--run-id", "r1")
    handlers = project / "tasks" / "handlers.py"
    handlers.write_text(handlers.read_text().replace('raise ValueError("no \\x1b[31mgood")', "return 1"))
    done = autoglm("retry", "r1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tasks"]["good"]["attempts"] == 1


def test_runs_can_be_looked_at(autoglm: Autoglm):
    autoglm("run", "flow.yaml", "--run-id", "abc1")
    autoglm("run", "failing.yaml", "--run-id", "abd2")

    listed = autoglm("list").stdout.splitlines()
    assert listed[0].split() == ["RUN", "WORKFLOW", "STATUS", "STARTED", "TOOK", "TASKS"]
    assert [line.split()[0] for line in listed[1:]] == ["abd2", "abc1"]
    assert [run["run_id"] for run in json.loads(autoglm("list", "--status", "failed", "--json").stdout)["runs"]] == [
        "abd2"
    ]

    shown = autoglm("show", "last").stdout
    assert "failing" in shown
    assert "handler-raised: ValueError" in shown
    many = json.loads(autoglm("show", "abc", "many", "--json").stdout)
    assert many["result"] == [0, 1, 2, 3, 4]
    item = json.loads(autoglm("show", "abc", "many[3]", "--json").stdout)
    assert (item["status"], item["attempts"], item["result"]) == ("succeeded", 1, 3)
    run = json.loads(autoglm("show", "abc", "--json").stdout)
    assert run["inputs"] == {"topic": "rivers", "count": 3}
    assert [task["task"] for task in run["tasks"]] == ["first", "many", "last"]
    assert "many[2]" in autoglm("show", "abc", "--status", "succeeded").stdout


def test_logs_of_one_task(autoglm: Autoglm):
    autoglm("run", "flow.yaml", "--run-id", "r1")
    assert autoglm("logs", "r1", "--task", "last").stdout.endswith(" last printed by a handler\n")
    assert autoglm("logs", "r1", "--task", "first").stdout == ""
    assert autoglm("logs", "r1", "--follow").returncode == 0
    line = json.loads(autoglm("logs", "r1", "--json").stdout)
    assert (line["task"], line["text"], line["stream"]) == ("last", "printed by a handler", "stdout")


def test_prune(autoglm: Autoglm):
    autoglm("run", "flow.yaml", "--run-id", "r1")
    assert "0 runs" in autoglm("prune", "--older-than", "1h").stdout
    assert autoglm("prune", "--older-than", "0s", "--dry-run").stdout == "r1\n1 run would be deleted\n"
    assert autoglm("prune", "--older-than", "0s").stdout == "r1\n1 run deleted\n"
    assert autoglm("list").stdout == "no runs\n"


def test_validate_tells_everything_that_is_wrong(autoglm: Autoglm, project: Path):
    assert autoglm("validate", "flow.yaml").stdout == "flow.yaml is fit to run\n"
    (project / "bad.yaml").write_text(
        "tasks:\n  - {name: a, handler: quik}\n  - {name: b, handler: quick, depends_on: c}\n"
    )
    done = autoglm("validate", "bad.yaml", "flow.yaml")
    assert done.returncode == 2
    assert "error[" in done.stdout
    assert "did you mean `quick`" in done.stdout
    assert len(json.loads(autoglm("validate", "bad.yaml", "--json").stdout)["diagnostics"]) >= 2
    assert json.loads(autoglm("validate", "bad.yaml", "--format", "sarif").stdout)["version"] == "2.1.0"
    assert "error[" in autoglm("run", "bad.yaml").stderr
    both = autoglm("validate", "nope.yaml", "bad.yaml")
    assert both.returncode == 2
    assert "error[file-not-found]" in both.stdout
    assert "did you mean `quick`" in both.stdout


def test_plan_runs_nothing(autoglm: Autoglm):
    plan = json.loads(autoglm("plan", "flow.yaml", "--json").stdout)
    assert plan["levels"] == [["first", "many"], ["last"]]
    assert plan["critical_path"] == ["first", "last"]
    assert plan["tasks"]["last"]["depends_on"] == ["first", "many"]
    assert "nothing has been run" in autoglm("plan", "flow.yaml").stdout
    assert autoglm("list").stdout == "no runs\n"


def test_plan_tells_what_is_given_and_refuses_what_run_refuses(autoglm: Autoglm, project: Path):
    (project / "paid.yaml").write_text(
        "inputs:\n  amount: {type: integer, default: 50}\n  key: {type: string, secret: true, default: hush-hush}\n"
        "tasks: [{name: big, handler: quick, with: {n: 1}, when: amount > 100 and key}]\n"
    )
    shown = autoglm("plan", "paid.yaml", "-i", "amount=101", "-i", "key=t-abcdefgh").stdout
    assert ["amount", "integer", "50", "101"] in [line.split() for line in shown.splitlines()]
    assert "t-abcdefgh" not in shown
    data = json.loads(autoglm("plan", "paid.yaml", "-i", "key=t-abcdefgh", "--json").stdout)
    assert data["inputs"]["key"]["default"] == data["inputs"]["key"]["given"] == "***"
    assert data["tasks"]["big"]["runs"] == {"least": 0, "most": 0}
    for wrong in ("amount=x", "amont=3"):
        planned, run = autoglm("plan", "paid.yaml", "-i", wrong), autoglm("run", "paid.yaml", "-q", "-i", wrong)
        assert planned.returncode == run.returncode == 2
        assert planned.stdout == ""
        assert "error[bad-inputs]: an input is wrong" in planned.stderr
        assert planned.stderr in run.stderr


def test_the_plan_of_a_retry_lists_what_runs_at_the_end(autoglm: Autoglm, project: Path):
    (project / "ends.yaml").write_text(
        "tasks: [{name: one, handler: quick}]\non_error: [{name: tell, handler: quick}]\n"
        "finally: [{name: tidy, handler: quick}, {name: close, handler: quick}]\n"
    )
    autoglm("run", "ends.yaml", "-q", "--run-id", "ends")
    shown = autoglm("retry", "ends", "--from", "one", "--plan").stdout.splitlines()
    assert shown[-2:] == ["at the run's end: finally.tidy, finally.close", "if it fails: on_error.tell"]


def test_graph_of_a_file_and_of_a_run(autoglm: Autoglm, project: Path):
    assert "│ first │" in autoglm("graph", "flow.yaml").stdout
    autoglm("run", "failing.yaml", "--run-id", "r1")
    assert "✗ bad" in autoglm("graph", "r1").stdout
    assert autoglm("graph", "flow.yaml", "--format", "svg", "-o", "flow.svg").stdout == ""
    assert (project / "flow.svg").read_text().startswith("<svg")
    assert autoglm("graph", "flow.yaml", "--format", "mermaid").stdout.startswith("---\n")


def test_schema_is_json(autoglm: Autoglm):
    assert json.loads(autoglm("schema").stdout)["$schema"].startswith("http://json-schema.org/")


WRONG = [
    (("nope",), 2, "error[usage]"),
    (("run",), 2, "missing argument"),
    (("run", "nope.yaml"), 2, "error[file-not-found]"),
    (("run", "."), 2, "error[file-not-found]"),
    (("run", "flow.yaml", "-i", "tpic=1"), 2, "did you mean `topic`?"),
    (("run", "flow.yaml", "-i", "count=many"), 2, "`count` must be integer"),
    (("run", "flow.yaml", "-i", "count"), 2, "write -i name=value"),
    (("run", "flow.yaml", "--inputs-file", "nope"), 2, "error[inputs-file]"),
    (("run", "flow.yaml", "--run-id", "last"), 2, "error[run-id-invalid]"),
    (("run", "flow.yaml", "--durability", "none"), 2, "error[usage]"),
    (("run", "flow.yaml", "--max-parallel", "0"), 2, "error[usage]"),
    (("show", "nope"), 2, "error[run-not-found]"),
    (("show", "last"), 2, "there is no run yet"),
    (("list", "--status", "suceeded"), 2, "did you mean `succeeded`?"),
    (("resume", "last"), 2, "error[run-not-found]"),
    (("graph", "nope"), 2, "error[run-not-found]"),
    (("prune", "--older-than", "soon"), 2, "error[bad-duration]"),
    (("list", "--project", "nope"), 2, "error[project-path]"),
    (("init", "."), 2, "error[init-exists]"),
    (("init", "x", "--name", "a b"), 2, "error[name-invalid]"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG, ids=[" ".join(case[0]) for case in WRONG])
def test_a_wrong_call_is_told_in_words(
    project: Path,
    arguments: tuple[str, ...],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(project)
    assert enter(arguments) == code
    told = capsys.readouterr()
    assert words in told.err
    assert "Traceback" not in told.err
    assert told.out == ""


def test_ended_runs_are_not_resumed_nor_retried_nor_cancelled(autoglm: Autoglm):
    autoglm("run", "flow.yaml", "--run-id", "r1")
    for command in ("resume", "retry", "cancel"):
        done = autoglm(command, "r1")
        assert done.returncode == 2
        assert "error[run-ended]" in done.stderr
    assert "error[run-not-driven]" in autoglm("pause", "r1").stderr
    assert "error[run-exists]" in autoglm("run", "flow.yaml", "--run-id", "r1").stderr


CANCELLED = """
tasks:
  - {name: book, handler: quick, rollback: {handler: loud}}
  - {name: ask, type: approval, message: "Go on?", depends_on: book}
finally:
  - {name: tidy, handler: loud}
"""


def test_a_run_that_is_cancelled_where_nobody_drives_it_keeps_its_log_and_its_reason(autoglm: Autoglm, project: Path):
    (project / "cancelled.yaml").write_text(CANCELLED)
    autoglm("run", "cancelled.yaml", "--run-id", "r1", "--no-wait")
    done = autoglm("cancel", "r1", "--reason", "wrong town")
    assert (done.stdout, done.stderr) == ("run r1 is cancelled\n", "")
    logs = [line.split()[1] for line in autoglm("logs", "r1").stdout.splitlines()]
    assert logs == ["book~rollback", "finally.tidy"]
    assert "because   wrong town" in autoglm("show", "r1").stdout
    assert json.loads(autoglm("show", "r1", "--json").stdout)["cancelled"] == "wrong town"
    assert "it is cancelled: wrong town" in autoglm("explain", "r1").stdout


def test_a_reader_who_leaves_early_is_no_error(autoglm: Autoglm, project: Path, environment):
    autoglm("run", "flow.yaml")
    listed = subprocess.Popen(
        [*COMMAND, "schema"], cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert listed.stdout is not None
    listed.stdout.close()
    assert listed.stderr is not None
    assert listed.stderr.read() == b""
    listed.stderr.close()
    assert listed.wait(30) == 0


def test_names_that_are_no_text(autoglm: Autoglm):
    done = subprocess.run(
        [*COMMAND, "run", b"\xff.yaml", "-i", b"\xfe=1"], capture_output=True, text=True, errors="replace", timeout=30
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_bug_of_ours_is_told_as_one(project: Path, environment):
    code = (
        "import sys, autoglm.cli.commands.look as look\n"
        "from autoglm.cli import entry\n"
        "look._check_status = None\n"
        "sys.exit(entry.enter(['list']))"
    )
    (project / ".autoglm").mkdir()
    done = subprocess.run([sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error[internal]: this is a bug in autoglm: TypeError" in done.stderr
    assert "Traceback" not in done.stderr
    (report,) = (project / ".autoglm").glob("crash-*.txt")
    assert "Traceback" in report.read_text()
    assert report.stat().st_mode & 0o077 == 0

    debug = {**environment, "AUTOGLM_DEBUG": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=project, env=debug, capture_output=True, text=True)
    assert "Traceback" in done.stderr


def test_init_makes_a_project_that_runs_and_passes_its_own_tests(autoglm: Autoglm, project: Path):
    assert autoglm("init", "fresh").returncode == 0
    fresh = project / "fresh"
    done = autoglm("run", "config/workflow.yaml", "--json", cwd=fresh)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outputs"]["summary"]["words"] == 31
    rehearsal = autoglm("run", "config/with-model.yaml", "--offline", cwd=fresh)
    assert rehearsal.returncode == 0, rehearsal.stderr
    assert "REHEARSAL" in rehearsal.stderr
    first = (fresh / "config" / "workflow.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=./workflow.schema.json"
    json.loads((fresh / "config" / "workflow.schema.json").read_text())
    assert os.access(fresh / "scripts" / "read.sh", os.X_OK)
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=fresh, capture_output=True, text=True
    )
    assert tested.returncode == 0, tested.stdout

    before = {path: path.read_bytes() for path in fresh.rglob("*") if path.is_file()}
    again = autoglm("init", "fresh")
    assert again.returncode == 2
    assert "error[init-exists]" in again.stderr
    assert {path: path.read_bytes() for path in fresh.rglob("*") if path.is_file()} == before


def test_what_waits_is_listed_told_of_when_continued_and_need_not_be_waited_for(autoglm: Autoglm, project: Path):
    (project / "ask.yaml").write_text(
        "tasks:\n  - {name: ask, type: approval, message: good?}\n  - {name: more, type: approval, message: and?}\n"
    )
    (project / "done.yaml").write_text("tasks: [{name: w, type: wait, for: 0}]\n")
    assert autoglm("run", "done.yaml").returncode == 0
    assert autoglm("run", "ask.yaml", "--no-wait", "--run-id", "a1").returncode == 130
    listed = json.loads(autoglm("list", "--status", "waiting", "--json").stdout)
    assert [run["run_id"] for run in listed["runs"]] == ["a1"]
    resumed = autoglm("resume", "a1", "--no-wait")
    assert resumed.returncode == 130
    assert "ask waits: good? (answer: autoglm approve a1 ask)" in resumed.stdout
    assert autoglm("reject", "a1", "ask").returncode == 0
    assert autoglm("approve", "a1", "more").returncode == 0
    assert autoglm("resume", "a1", "-q").returncode == 1
    retried = autoglm("retry", "a1", "--no-wait")
    assert retried.returncode == 130
    assert "ask waits: good? (answer: autoglm approve a1 ask)" in retried.stdout
    assert autoglm("list", "--status", "wating").stderr.count("did you mean `waiting`?") == 1


def test_an_iteration_whose_result_went_on_says_so_and_inner_loops_are_not_counted_together(
    autoglm: Autoglm, project: Path
):
    (project / "inner.yaml").write_text(
        """
tasks:
  - name: outer
    loop: {until: index >= 2, max_iterations: 5}
    tasks:
      - {name: inner, handler: quick, loop: [1, 2], with: {n: "{{ item }}"}}
"""
    )
    done = autoglm("run", "inner.yaml", "--run-id", "i1")
    assert "4 items" not in done.stdout
    assert "not kept by itself" in autoglm("show", "i1", "outer[0]").stdout
    shown = json.loads(autoglm("show", "i1", "outer[0]", "--json").stdout)
    assert (shown["result"], shown["result_kept"]) == (None, False)
    assert "result_kept" not in json.loads(autoglm("show", "i1", "outer", "--json").stdout)


def test_what_waits_inside_the_items_of_a_loop_is_told_when_it_is_continued(autoglm: Autoglm, project: Path):
    ask = "{name: ask, type: approval, message: 'is {{ item }} good?'}"
    group = f"loop: [a, b]\n    tasks:\n      - {ask}\n      - {{name: go, handler: quick, depends_on: ask}}"
    (project / "ask.yaml").write_text(f"tasks:\n  - name: each\n    {group}\n")
    assert autoglm("run", "ask.yaml", "--no-wait", "--run-id", "a1").returncode == 130
    assert autoglm("approve", "a1", "each[0].ask").returncode == 0
    resumed = autoglm("resume", "a1", "--no-wait")
    assert "each[1].ask waits: is b good? (answer: autoglm approve a1 'each[1].ask')" in resumed.stdout
    assert autoglm("approve", "a1", "each[1].ask").returncode == 0
    assert autoglm("resume", "a1").returncode == 0

"""`autoglm test` as it is called: what it prints, in which form, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.conftest import Autoglm

TEST = """
workflow: flow.yaml
cases:
  - name: a number is doubled
    mocks: {double: {value: 6}}
    expect: {outputs: {twice: 6}}
  - name: it waits for an hour
    mocks: {double: {value: 6, delay: 1h}}
    expect: {check: ["run.seconds == 3600"]}
"""
PYTHON = """
from autoglm.testing import run_workflow

def test_doubling():
    assert run_workflow("flow.yaml").outputs == {"twice": 6}

def test_what_does_not_hold():
    assert run_workflow("flow.yaml", mocks={"double": 4}).outputs == {"twice": 6}
"""


@pytest.fixture
def tested(project: Path) -> Path:
    (project / "autoglm.yaml").write_text("")
    (project / "tasks" / "doubling.py").write_text(
        "def double(number):\n    print('doubling')\n    return 2 * number\n"
    )
    (project / "flow.yaml").write_text(
        'tasks: [{name: double, with: {number: 3}}]\noutputs: {twice: "{{ tasks.double.result }}"}\n'
    )
    (project / "tests").mkdir()
    (project / "tests" / "flow.test.yaml").write_text(TEST)
    return project


def test_the_project_that_init_makes_passes_all_its_tests(autoglm: Autoglm, project: Path) -> None:
    assert autoglm("init", "fresh").returncode == 0
    done = autoglm("test", "--project", "fresh", "--coverage-min", "100", "--junit", "results.xml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed in" in done.stdout
    root = ET.parse(project / "results.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == ("5", "0")
    assert len(list(root.iter("testcase"))) == 5
    assert not (project / "fresh" / ".autoglm").exists(), "a test leaves no runs behind"


def test_what_fails_decides_the_exit_code_and_stands_in_every_form(autoglm: Autoglm, tested: Path) -> None:
    assert autoglm("test").returncode == 0
    (tested / "tests" / "test_flow.py").write_text(PYTHON)
    done = autoglm("test", "--json", "--junit", "results.xml")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert (document["passed"], document["failed"], document["skipped"]) == (3, 1, 0)
    assert [case["name"] for case in document["cases"]] == ["a number is doubled", "it waits for an hour"]
    assert document["cases"][1]["run_seconds"] == 3600
    assert document["coverage"] == [{"workflow": "flow.yaml", "percent": 100.0, "points": 1, "missing": []}]
    assert "test_what_does_not_hold" in done.stderr, "pytest's own words do not spoil the document"
    root = ET.parse(tested / "results.xml").getroot()
    assert [suite.get("name") for suite in root] == ["tests/flow.test.yaml", "pytest"]
    assert (root.get("tests"), root.get("failures")) == ("4", "1")


def test_a_wrong_test_file_is_told_in_json_as_well(autoglm: Autoglm, tested: Path) -> None:
    wrong = tested / "tests" / "wrong.test.yaml"
    wrong.write_text("workflow: flow.yaml\ncases: {one: {mocks: {nosuch: {value: 1}}}}\n")
    done = autoglm("test", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 2
    assert "error[unknown-task]" in done.stderr
    assert (document["passed"], document["failed"], document["cases"], document["errors"]) == (0, 0, [], 1)
    assert [(each["code"], each["place"]["line"]) for each in document["diagnostics"]] == [("unknown-task", 2)]
    assert autoglm("test").stdout == ""


def test_k_chooses_by_name(autoglm: Autoglm, tested: Path) -> None:
    (tested / "tests" / "test_flow.py").write_text(PYTHON)
    assert "1 passed in" in autoglm("test", "-k", "an HOUR").stdout
    done = autoglm("test", "-k", "doubling", "--json")
    assert (done.returncode, json.loads(done.stdout)["passed"], json.loads(done.stdout)["cases"]) == (0, 1, [])


@pytest.mark.parametrize("settings", [True, False])
def test_the_project_is_found_from_the_tests(autoglm: Autoglm, tested: Path, settings: bool) -> None:
    if not settings:
        (tested / "autoglm.yaml").unlink()
    deep = tested / "tests" / "deep"
    deep.mkdir()
    (deep / "deep.test.yaml").write_text(TEST)
    away = tested.parent / f"away from {tested.name}"
    away.mkdir()
    for path in ("tests", "tests/deep", "tests/deep/deep.test.yaml"):
        done = autoglm("test", f"../{tested.name}/{path}", cwd=away)
        assert done.returncode == 0, done.stdout + done.stderr


def test_verbose_shows_what_the_tasks_of_a_failed_case_wrote(autoglm: Autoglm, tested: Path) -> None:
    (tested / "tests" / "flow.test.yaml").write_text(
        "workflow: flow.yaml\ncases: {it is real: {expect: {outputs: {twice: 7}}}}\n"
    )
    assert "doubling" not in autoglm("test").stdout.replace("double", "")
    assert "| double: doubling" in autoglm("test", "-v").stdout


def test_without_pytest_the_python_tests_are_left_out_and_it_says_so(tested: Path) -> None:
    (tested / "tests" / "test_flow.py").write_text(PYTHON)
    script = "import sys; sys.modules['pytest'] = None; from autoglm.cli.entry import enter; sys.exit(enter(['test']))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tested, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "2 passed in" in done.stdout
    assert "note: 1 Python test file was left out: pytest is not installed here" in done.stderr

"""From a path to a workflow that is fit to run."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from tests.runtime.house import House

import autoglm
from autoglm.app.session import Session
from autoglm.base.errors import AutoglmError, SpecError, UsageError


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def codes(error: SpecError) -> set[str]:
    return {diagnostic.code for diagnostic in error.diagnostics}


def test_a_good_file_is_parsed_checked_and_compiled(house: House) -> None:
    house.write("tasks/work.py", "def fetch(url): ...\ndef clean(text): ...\n")
    path = house.write(
        "config/flow.yaml",
        "tasks:\n  fetch: {with: {url: '{{ url }}'}}\n  clean: {depends_on: fetch, with: {text: x}}\n",
    )
    with Session.open(path) as session:
        loaded = session.load(path)
    assert session.project.root == house.root
    assert (loaded.workflow.name, loaded.file, loaded.source) == ("flow", str(path), path.read_text())
    assert list(loaded.workflow.inputs) == ["url"]
    assert [node.name for node in loaded.graph.nodes] == ["fetch", "clean"]
    assert loaded.graph is loaded.graph


def test_everything_that_is_wrong_is_told_at_once_in_order_of_place(house: House) -> None:
    path = house.write(
        "flow.yaml",
        """
        name: f
        tasks:
          a: {handler: nobody, depends_on: [b, gone]}
          b: {handler: nobody, depends_on: a, retrys: 3}
        """,
    )
    with Session.open(path) as session, pytest.raises(SpecError) as caught:
        session.load(path)
    error = caught.value
    assert "unknown-task" in codes(error)
    lines = [diagnostic.place.line for diagnostic in error.diagnostics if diagnostic.place is not None]
    assert lines == sorted(lines)
    assert len(error.diagnostics) >= 3


@pytest.mark.parametrize(
    ("name", "code", "hint"),
    [("gone.yaml", "file-not-found", "there is flow.yaml"), ("", "file-not-found", "there is flow.yaml")],
)
def test_a_path_that_is_no_file_says_what_is_there(house: House, name: str, code: str, hint: str) -> None:
    house.write("flow.yaml", "tasks: {}\n")
    (house.root / "autoglm.yaml").unlink()
    with pytest.raises(UsageError) as caught, Session.open(house.root / "flow.yaml") as session:
        session.load(house.root / name)
    assert caught.value.code == code
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b"\x00" * 100,
        b"tasks: [",
        b"{",
        b"[" * 10_000,
        b"a: " * 5000,
        b"",
        b"- - - 1",
        b"tasks: \xed\xa0\x80",
    ],
)
@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_no_content_is_more_than_an_error(house: House, content: bytes, suffix: str) -> None:
    path = house.root / f"flow.{suffix}"
    path.write_bytes(content)
    with pytest.raises(AutoglmError) as caught:
        autoglm.load(path)
    assert caught.value.code
    assert str(caught.value)


def test_a_file_of_200_mb_is_not_read(house: House) -> None:
    path = house.root / "flow.yaml"
    with path.open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    with pytest.raises(SpecError) as caught:
        autoglm.load(path)
    assert codes(caught.value) == {"file-too-large"}


def test_a_path_with_a_nul_is_an_error(house: House) -> None:
    with pytest.raises(AutoglmError), Session.open(house.root / "flow.yaml") as session:
        session.load("a\x00b.yaml")


def test_a_script_is_never_run_by_checking(house: House) -> None:
    house.write("tasks/work.py", "raise SystemExit('it was imported')\ndef work(): ...\n")
    assert autoglm.load(house.write("flow.yaml", "tasks:\n  work: {}\n")).name == "flow"


def test_what_loading_has_worked_out_leaves_memory_with_it(house: House) -> None:
    tasks = "\n".join(f"  - {{name: t{number}, handler: work, with: {{x: '{{{{ x }}}}'}}}}" for number in range(50))
    group = "  - {name: g, depends_on: t0, tasks: [{name: a, handler: work, with: {x: '{{ tasks.t0.result }}'}}]}"
    house.write("tasks/work.py", "def work(x): ...\n")
    path = house.write("flow.yaml", f"tasks:\n{tasks}\n{group}\n")
    with Session.open(path) as session:
        session.load(path)  # what is imported and kept for good comes in here
        gc.collect()
        gc.disable()
        try:
            session.load(path)
            assert gc.collect() < 50
        finally:
            gc.enable()

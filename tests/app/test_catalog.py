from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoglm.app.catalog import ProjectFiles, build_catalog
from autoglm.base.diagnostics import did_you_mean
from autoglm.config.project import Project
from autoglm.config.settings import Settings
from autoglm.spec.catalog import FunctionInfo


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("tasks", "scripts", ".venv/bin", "node_modules/x", ".autoglm"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "tasks" / "clean.py").write_text("async def clean(text): ...\n")
    (tmp_path / "scripts" / "fetch.sh").write_text("")
    (tmp_path / ".venv" / "bin" / "python").write_text("")
    (tmp_path / "node_modules" / "x" / "index.js").write_text("")
    return tmp_path


def test_everything_that_names_refer_to(root: Path) -> None:
    settings = Settings.model_validate(
        {"env": ["STAGE"], "config": {"a": 1}, "models": {"house": {}}, "executors": {"thread": {"limit": 2}}}
    )
    catalog, diagnostics = build_catalog(Project(root, settings))
    assert diagnostics == []
    assert {"group", "decision"} <= catalog.task_types.keys()
    assert list(catalog.functions) == ["clean"]
    assert {"AutoGLM-Base", "AutoGLM-Chat", "house"} <= catalog.models.keys()
    assert {"inline", "thread", "subprocess", "process"} <= catalog.executors
    assert catalog.executor_limits["thread"] == 2
    assert catalog.config == {"a": 1}
    assert catalog.env == {"STAGE"}
    assert catalog.files is not None
    assert "scripts/fetch.sh" in catalog.files


def test_groups_and_calls_have_no_executor(root: Path) -> None:
    catalog, _ = build_catalog(Project(root))
    for name in ("group", "workflow"):
        assert catalog.task_types[name].executors == ()
    assert {"conditions", "default", "mode", "model", "llm"} <= catalog.task_types["decision"].options.keys()


def test_given_functions_come_before_the_project_s(root: Path) -> None:
    given = FunctionInfo("clean", "here")
    catalog, _ = build_catalog(Project(root), extra_functions={"clean": given})
    assert catalog.functions["clean"] is given


def test_references_are_looked_up_when_asked_for(root: Path) -> None:
    (root / "lib_of_project.py").write_text("raise SystemExit\ndef tidy(a): ...\n")
    functions = build_catalog(Project(root))[0].functions
    assert functions["lib_of_project:tidy"].required == ("a",)
    assert functions["tasks/clean.py:clean"].is_async
    assert "lib_of_project:none" not in functions
    assert functions.get("nothing") is None
    assert list(functions) == ["clean"]


def test_broken_handlers_and_unknown_executors_are_errors(root: Path) -> None:
    (root / "tasks" / "bad.py").write_text("def (")
    settings = Settings.model_validate({"executors": {"tread": {"limit": 1}}})
    catalog, diagnostics = build_catalog(Project(root, settings))
    errors = {d.code: d.hint for d in diagnostics if d.is_error}
    assert errors.keys() == {"handler-syntax", "setting-unknown"}
    assert errors["setting-unknown"] == "did you mean `thread`?"
    assert "clean" in catalog.functions


def test_broken_plugins_are_warnings(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install_package: Callable[..., None]
) -> None:
    packages = tmp_path / "packages"
    install_package(packages, "acme-bad", "[autoglm.task_types]\nbad = acme_bad:Bad\n")
    install_package(
        packages,
        "acme-odd",
        "[autoglm.task_types]\nodd = acme_odd:Odd\nscript = acme_odd:Odd\n",
        acme_odd="class Odd: ...\n",
    )
    monkeypatch.syspath_prepend(str(packages))
    catalog, diagnostics = build_catalog(Project(root))
    warnings = {d.message.split("`")[1]: d for d in diagnostics if d.code.startswith("plugin-")}
    assert warnings["bad"].code == warnings["odd"].code == "plugin-broken"
    assert warnings["script"].code == "plugin-duplicate"
    assert not any(d.is_error for d in warnings.values())
    assert not {"bad", "odd", "script"} & catalog.task_types.keys()


def test_files_are_asked_one_by_one_and_walked_for_suggestions_only(root: Path) -> None:
    files = ProjectFiles(root)
    assert "scripts/fetch.sh" in files
    assert "./scripts/../scripts/fetch.sh" in files
    assert str(root / "scripts" / "fetch.sh") in files
    for name in ("scripts", "scripts/none.sh", "a\0b", "x" * 5000, "", 7):
        assert name not in files
    assert set(files) == {"tasks/clean.py", "scripts/fetch.sh"}
    assert len(files) == 2
    assert files & {"scripts/fetch.sh"} == {"scripts/fetch.sh"}
    assert did_you_mean("scripts/fetsh.sh", files) == "scripts/fetch.sh"
    assert list(ProjectFiles(root / "none")) == []


def test_the_walk_ends(tmp_path: Path) -> None:
    for folder in range(21):
        (tmp_path / str(folder)).mkdir()
        for number in range(1000):
            (tmp_path / str(folder) / str(number)).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(ProjectFiles(tmp_path)) == 20_000

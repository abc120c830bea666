from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from autoglm.base.errors import SpecError, UsageError
from autoglm.config.project import Project
from autoglm.config.settings import Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "shop" / "config").mkdir(parents=True)
    return tmp_path / "shop"


def test_the_nearest_folder_with_settings_is_the_root(root: Path) -> None:
    (root / "autoglm.yaml").write_text("max_parallel: 3\n")
    deep = root / "a" / "config"
    deep.mkdir(parents=True)
    project = Project.find(deep / "flow.yaml", environ={})
    assert project.root == root
    assert project.settings.max_parallel == 3
    assert Project.find(cwd=deep, environ={}).root == root


def test_without_settings_the_parent_of_config_is_the_root(root: Path) -> None:
    assert Project.find(root / "config" / "flow.yaml").root == root
    assert Project.find(Path("config/flow.yaml"), cwd=root).root == root


def test_else_the_file_s_folder_or_the_present_one(root: Path) -> None:
    assert Project.find(root / "flow.yaml").root == root
    assert Project.find(Path("flow.yaml"), cwd=root).root == root
    assert Project.find(cwd=root / "config").root == root / "config"


def test_a_link_to_a_file_belongs_to_the_folder_it_stands_in(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.yaml").write_text("")
    (root / "flow.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    assert Project.find(root / "flow.yaml").root == root


def test_places_in_a_project(root: Path) -> None:
    project = Project(root)
    assert project.tasks_dir == root / "tasks"
    assert project.store_path == root / ".autoglm" / "autoglm.db"
    assert project.resolve("scripts/../data/x.csv") == root / "data" / "x.csv"
    assert project.resolve("/etc/hosts") == Path("/etc/hosts")
    assert project.resolve("~/x") == Path.home() / "x"
    assert not (root / ".autoglm").exists()


def test_the_state_folder_is_private_and_ignored(root: Path) -> None:
    folder = Project(root).state_dir
    assert folder == Project(root).state_dir == root / ".autoglm"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / ".gitignore").read_text() == "*\n"


def test_a_state_folder_that_cannot_be_made_is_a_coded_error(root: Path) -> None:
    (root / ".autoglm").write_text("in the way")
    with pytest.raises(UsageError) as caught:
        _ = Project(root).state_dir
    assert caught.value.code == "state-folder"


def test_other_stores_have_no_path(root: Path) -> None:
    assert Project(root, Settings(store="memory")).store_path is None
    assert Project(root, Settings(store="data/runs.db")).store_path == root / "data" / "runs.db"


def test_wrong_settings_are_reported_with_their_file(root: Path) -> None:
    (root / "autoglm.yaml").write_text("stor: x\n")
    with pytest.raises(SpecError) as caught:
        Project.find(root / "flow.yaml", environ={})
    assert str(caught.value.diagnostics[0].place) == f"{root / 'autoglm.yaml'}:1:1"


def test_paths_that_are_none(root: Path) -> None:
    (root / "loop").symlink_to("loop")
    looped = [root / "loop" / "flow.yaml"] if sys.version_info < (3, 13) else []  # later ones follow it to its end
    for path in (Path("a\0b"), *looped):
        with pytest.raises(UsageError) as caught:
            Project.find(path)
        assert caught.value.code == "project-path"
    with pytest.raises(UsageError):
        Project(root).resolve("a\0b")
    assert Project.find(root / "missing" / "flow.yaml").root == root / "missing"
    assert Project(root).resolve("~nobody-at-all/x") == root / "~nobody-at-all" / "x"


def test_a_present_folder_that_was_deleted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "config")
    (root / "config").rmdir()
    with pytest.raises(UsageError) as caught:
        Project.find()
    assert caught.value.code == "project-path"
    os.chdir(root)


def test_environment_and_secrets_follow_the_settings(root: Path) -> None:
    (root / "autoglm.yaml").write_text("env: [STAGE, ABSENT]\nsecrets: {file: private.env}\n")
    (root / "private.env").write_text("OUR_TEST_TOKEN=abcd\n")
    project = Project.find(root / "flow.yaml", environ={})
    assert project.env({"STAGE": "test", "TOKEN": "x"}) == {"STAGE": "test"}
    assert project.secrets.get("OUR_TEST_TOKEN") == "abcd"

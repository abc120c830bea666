from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.errors.scene import Scene

OURS = ("AUTOGLM_", "ZAI_", "ZHIPUAI_", "OPENAI_", "OLLAMA_")


@pytest.fixture
def scene(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Scene:
    """Make an empty project and go there."""
    for name in [name for name in os.environ if name.startswith(OURS) and name != "AUTOGLM_UPDATE_GOLDEN"]:
        monkeypatch.delenv(name)
    for name, value in {"COLUMNS": "100", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}.items():
        monkeypatch.setenv(name, value)
    root = tmp_path / "project"
    root.mkdir()
    (root / "autoglm.yaml").write_text("durability: process\n")
    monkeypatch.chdir(root)
    area = request.module.__name__.rpartition("test_")[2]
    return Scene(root, monkeypatch, capfd, area, request.node.name)

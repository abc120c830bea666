"""The task type that ARCHITECTURE.md shows, installed as a plugin and run."""

from __future__ import annotations

from pathlib import Path

from tests.docs.pages import ROOT, blocks, environment, shell

FLOW = """\
tasks:
  - name: arrive
    type: wait_for_file
    path: here.txt
    timeout: 20s
outputs: {size: "{{ tasks.arrive.result }}"}
"""
ENTRY_POINT = "wait_for_file = wait_for_file:WaitForFile"


def test_the_task_type_that_is_shown_works(tmp_path: Path) -> None:
    shown = list(blocks(ROOT / "ARCHITECTURE.md"))
    source = next(block.text for block in shown if block.options.get("title") == "wait_for_file.py")
    assert any(ENTRY_POINT.replace("= ", '= "') + '"' in block.text for block in shown if block.language == "toml")
    plugins = tmp_path / "plugins"
    installed = plugins / "wait_for_file-1.0.dist-info"
    installed.mkdir(parents=True)
    (plugins / "wait_for_file.py").write_text(source)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: wait-for-file\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[autoglm.task_types]\n{ENTRY_POINT}\n")
    env = environment() | {"PYTHONPATH": str(plugins)}

    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "here.txt").write_text("four")
    output = shell("autoglm run flow.yaml", tmp_path, env)
    assert '"size": 4' in output, output

    (tmp_path / "flow.yaml").write_text(FLOW.replace("here.txt", "/here.txt"))
    output = shell("autoglm validate flow.yaml", tmp_path, env)
    assert "flow.yaml:4:11: error[absolute-path]: the path must be relative to the project" in output

    (tmp_path / "flow.yaml").write_text(FLOW.replace("    path: here.txt\n", ""))
    output = shell("autoglm validate flow.yaml", tmp_path, env)
    assert "missing-option" in output, output

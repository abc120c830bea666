"""What is wrong with the files that loops go over."""

from __future__ import annotations

import os
import sys

import pytest

from tests.errors.scene import Scene

ROWS: dict[str, tuple[bytes, str]] = {
    "rows.jsonl": (b'{"a": 1}\n{"a": \n', "source-invalid"),
    "bytes.jsonl": (b'{"a": 1}\n"\xff"\n', "source-invalid"),
    "twice.csv": (b"a,a\n1,2\n", "source-invalid"),
    "nameless.csv": (b"a,,c\n1,2,3\n", "source-invalid"),
    "wide.csv": (b"a,b\n1,2,3\n", "source-invalid"),
    "team.yaml#team.membres": (b"team: {members: [1]}\n", "source-invalid"),
    "team.yaml#team": (b"team: {members: [1]}\n", "source-invalid"),
    "wrong.yaml": (b"a: 1\na: 2\n", "source-invalid"),
    "wrong.json": (b"[1, 2", "source-invalid"),
    "lines.jsonl": (b"1" * 17_000_000, "source-line-too-long"),
    "large.json": (b" " * 68_000_000, "source-too-large"),
    "rows.xlsx": (b"PK", "source-unsupported"),
    "rows.csv#a": (b"a\n1\n", "source-unsupported"),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows(scene: Scene, name: str) -> None:
    content, code = ROWS[name]
    path = name.partition("#")[0]
    (scene.root / path).write_bytes(content)
    scene.write("tasks/one.py", "def one(item): return item\n")
    scene.run_task(f"handler: one, loop: {{file: '{name}'}}")
    (scene.root / path).unlink()
    scene.shows(code)


def test_places(scene: Scene) -> None:
    scene.write("tasks/one.py", "def one(item): return item\n")
    (scene.root / "folder.csv").mkdir()
    os.mkfifo(scene.root / "pipe.csv")
    for name in ("gone.csv", "folder.csv", "pipe.csv"):
        scene.run_task(f"handler: one, loop: {{file: {name}}}")
    scene.shows("source-not-found", "source-unreadable")


def test_a_file_that_is_no_parquet(scene: Scene) -> None:
    pytest.importorskip("pyarrow")
    scene.write("rows.parquet", "no such thing")
    scene.write("tasks/one.py", "def one(item): return item\n")
    scene.run_task("handler: one, loop: {file: rows.parquet}")
    scene.shows("source-invalid")


def test_a_format_whose_package_is_missing(scene: Scene) -> None:
    scene.write("rows.parquet", "PAR1")
    scene.patch.setitem(sys.modules, "pyarrow", None)
    scene.write("tasks/one.py", "def one(item): return item\n")
    scene.run_task("handler: one, loop: {file: rows.parquet}")
    scene.shows("source-needs-extra")


def test_a_file_that_shrank(scene: Scene) -> None:
    scene.write(
        "tasks/stops.py", "import os\n\ndef stops(item): return item if os.path.exists('go') else os._exit(9)\n"
    )
    (scene.root / "rows.txt").write_text("".join(f"{number}\n" for number in range(2000)))
    scene.write("flow.yaml", "tasks: [{name: a, handler: stops, loop: {file: rows.txt, max_parallel: 4}}]")
    scene.autoglm_apart("run", "flow.yaml", "-q", "--run-id", "r")
    (scene.root / "go").touch()
    (scene.root / "rows.txt").write_text("0\n")
    scene.autoglm("resume", "r", "-q")
    scene.shows("source-changed")

"""No documented error is without a golden file, and no section of one without its test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.docs.test_generated import generator
from tests.errors.scene import codes_in, read_sections
from tests.golden import GOLDEN

HERE = Path(__file__).parent


def scenes_of(module: Path) -> dict[str, bool]:
    """Return the tests of a module that set a scene, by the name of their section, and whether they say what shows."""
    return {
        node.name.removeprefix("test_").replace("_", " "): "scene.shows(" in ast.unparse(node)
        for node in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        if any(argument.arg == "scene" for argument in node.args.args)
    }


def test_every_documented_code_stands_in_a_golden_file() -> None:
    documented = {code for lines in generator().documented().values() for code in lines}
    shown = {code for path in GOLDEN.rglob("*.txt") for code in codes_in(path.read_text(encoding="utf-8"))}
    missing = sorted(documented - shown)
    assert not missing, "bring them about in tests/errors; scene.py there tells how"


def test_every_scene_ends_with_what_it_shows_and_every_section_has_its_scene() -> None:
    areas = {path.stem.removeprefix("test_"): scenes_of(path) for path in HERE.glob("test_*.py")}
    silent = [(area, name) for area, tests in areas.items() for name, shows in tests.items() if not shows]
    assert not silent, "end them with scene.shows(CODE, …)"
    for path in (GOLDEN / "errors").glob("*.txt"):
        sections = {re.sub(r"\[.*\]$", "", name) for name in read_sections(path.stem)}
        assert sections == areas.get(path.stem, {}).keys(), f"{path.name} holds sections without a test, or lacks some"

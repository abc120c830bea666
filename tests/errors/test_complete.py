"""No documented error and no message is without a golden file, and no section of one without its test.

A message counts as shown when a golden file has a line with its words, whatever was put into its holes. What
``messages.py`` finds in the source is not quite all that may be said. It does not see

- what is put into a hole: the system's words, a library's, those of an exception that is caught
  (``f"{file}: {error}"``), and parts of sentences that are chosen elsewhere;
- messages of which less than two words are written, such as ``f"{place}: {message}"``;
- texts that are made by ``join``, ``format`` or a loop, or come out of an object's field;
- hints, notes and warnings that have no code.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import autoglm
from tests.docs.test_generated import generator
from tests.errors.messages import Source
from tests.errors.scene import codes_in, read_sections
from tests.golden import GOLDEN

HERE = Path(__file__).parent
SUITES = ("testing/executors.py", "testing/stores.py")
"""Tests of ours that are shipped: what they say, they say to who writes an executor or a store."""
NOBODY_CAN: dict[str, str] = {
    "EngineError": "the engine's own invariants: whatever could break one, validate or the code above it has refused",
}
"""To whom messages may be given that no file, input, handler, script, store or server can bring about, and why."""


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


def test_every_message_stands_in_a_golden_file() -> None:
    lines = "\n".join(path.read_text(encoding="utf-8") for path in GOLDEN.rglob("*.txt"))
    found = [each for each in Source(Path(autoglm.__file__).parent).messages() if not each.place.startswith(SUITES)]
    assert len(found) > 500, "the messages are not found any more: has the form of errors changed?"
    missing = [each for each in found if each.words > 1 and each.given_to not in NOBODY_CAN and not each.is_in(lines)]
    shown = [f"{each.place}: {each}" for each in missing]
    assert not shown, "bring them about in tests/errors; scene.py there tells how"


def test_every_scene_ends_with_what_it_shows_and_every_section_has_its_scene() -> None:
    areas = {path.stem.removeprefix("test_"): scenes_of(path) for path in HERE.glob("test_*.py")}
    silent = [(area, name) for area, tests in areas.items() for name, shows in tests.items() if not shows]
    assert not silent, "end them with scene.shows(CODE, …)"
    for path in (GOLDEN / "errors").glob("*.txt"):
        sections = {re.sub(r"\[.*\]$", "", name) for name in read_sections(path.stem)}
        assert sections == areas.get(path.stem, {}).keys(), f"{path.name} holds sections without a test, or lacks some"

"""No documented error is without a golden file, and no section of one without its test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.docs.test_generated import generator
from tests.errors.scene import codes_in, read_sections
from tests.golden import GOLDEN

HERE = Path(__file__).parent

MISSING = """
answer-empty answer-refused backup-failed bad-response blob-not-found disk-full dotenv-syntax
dotenv-unreadable duplicate-task error expression-failed expression-too-large file-not-found
file-unreadable init-exists init-failed inputs-file internal invalid-transition
journal-damaged journal-too-new journal-truncated lease-lost loop-not-a-list
model-address-invalid model-connection model-declared-in-circle model-key-missing model-no-credit
model-not-found model-overloaded model-parameter-invalid model-rate-limited model-request-invalid
model-request-rejected model-server-error model-timeout model-unauthorized name-invalid
offline-unsupported-schema output-failed output-file output-schema-invalid outputs-failed plugin-broken
plugin-duplicate plugin-unknown project-path prompt-too-long record-not-found run-ambiguous run-broken-off
run-exists run-id-invalid run-locked run-not-driven run-not-ended run-not-started
schema-mismatch secret-input-missing secret-missing secrets-readable sequence-conflict setting-invalid
setting-literal-key setting-unknown settings-unreadable source-changed source-invalid source-line-too-long
source-needs-extra source-not-found source-too-large source-unreadable source-unsupported spec
state-folder store store-bad-value store-busy store-closed store-damaged store-failed store-foreign
store-path store-read-only store-too-new task-failed task-type-failed too-large
unknown-instance unknown-status usage
"""
"""Codes that no golden file shows yet. This list only gets shorter."""


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
    missing, known = documented - shown, set(MISSING.split())
    assert missing <= known, f"bring {missing - known} about in tests/errors; scene.py there tells how"
    assert known <= missing, f"take {known - missing} out of MISSING: golden files show them, or nothing says them now"


def test_every_scene_ends_with_what_it_shows_and_every_section_has_its_scene() -> None:
    areas = {path.stem.removeprefix("test_"): scenes_of(path) for path in HERE.glob("test_*.py")}
    silent = [(area, name) for area, tests in areas.items() for name, shows in tests.items() if not shows]
    assert not silent, "end them with scene.shows(CODE, …)"
    for path in (GOLDEN / "errors").glob("*.txt"):
        sections = {re.sub(r"\[.*\]$", "", name) for name in read_sections(path.stem)}
        assert sections == areas.get(path.stem, {}).keys(), f"{path.name} holds sections without a test, or lacks some"

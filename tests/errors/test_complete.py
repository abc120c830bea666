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
ambiguous-result answer-empty answer-refused backup-failed bad-inputs bad-response blob-not-found
cancelled-itself constant-condition cycle disk-full dotenv-syntax dotenv-unreadable duplicate-task
dynamic-task-reference env-without-process error expression-failed expression-too-large file-not-found
file-unreadable group-failed handler-cancelled handler-duplicate handler-exit handler-import-failed
handler-raised handler-syntax handler-unreadable init-exists init-failed inputs-file internal
invalid-option invalid-schema invalid-transition journal-damaged journal-too-new journal-truncated
lease-lost literal-secret llm-option-invalid loop-failed loop-not-a-list missing-argument missing-file
missing-option missing-parameter missing-script model-address-invalid model-connection
model-declared-in-circle model-key-missing model-no-credit model-not-found model-overloaded
model-parameter-invalid model-rate-limited model-request-invalid model-request-rejected model-server-error
model-timeout model-unauthorized name-invalid no-thread not-available not-importable not-json
offline-unsupported-schema option-value output-failed output-file output-schema-invalid output-too-large
outputs-failed plugin-broken plugin-duplicate plugin-unknown previous-outside-until project-path
prompt-empty prompt-missing prompt-too-long prompt-twice record-not-found retry-on-group run-ambiguous
run-broken-off run-ended run-exists run-id-invalid run-locked run-not-driven run-not-ended run-not-started
schema-mismatch script-arguments script-cwd-not-found script-exit script-files script-format
script-not-executable script-not-found script-output script-outside-root script-signal script-start
secret-input-missing secret-missing secrets-readable self-dependency sequence-conflict service-failed
service-not-open service-not-shared setting-invalid setting-literal-key setting-unknown
settings-unreadable source-changed source-invalid source-line-too-long source-needs-extra source-not-found
source-too-large source-unreadable source-unsupported spec state-folder store store-bad-value store-busy
store-closed store-damaged store-failed store-foreign store-path store-read-only store-too-new task-error
task-failed task-not-found task-type-failed template-not-allowed template-syntax timeout too-large
unknown-argument unknown-executor unknown-field unknown-function unknown-handler unknown-instance
unknown-model unknown-name unknown-option unknown-parameter unknown-pool unknown-service unknown-status
unknown-type unreachable-task unused-input usage worker-died wrong-executor
"""
"""Codes that no golden file shows yet. This list only gets shorter."""


def scenes_of(module: Path) -> dict[str, bool]:
    """Return the tests of a module that set a scene, by the name of their section, and whether they say what shows."""
    return {
        node.name.removeprefix("test_").replace("_", " "): "scene.shows(" in ast.unparse(node)
        for node in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and any(argument.arg == "scene" for argument in node.args.args)
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

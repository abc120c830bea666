"""What is generated from the code is up to date, and what the code can say is explained."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from jsonschema import Draft7Validator

from autoglm.app.catalog import build_catalog
from autoglm.config.project import Project
from autoglm.spec.document import read_document
from tests.docs.pages import ROOT, blocks, pages

SOURCE = ROOT / "src" / "autoglm"
CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
NO_CODES = {"utf-8", "utf-8-sig", "content-type", "retry-after", "retry-after-ms"}
"""Hyphenated words that calls get and that are no codes of ours."""


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date() -> None:
    stale = [path.name for path in generator().stale()]
    assert not stale, "run python docs/generate.py"


def test_the_schema_for_editors_takes_every_workflow_that_is_shown() -> None:
    validator = Draft7Validator(json.loads((ROOT / "docs" / "workflow.schema.json").read_text(encoding="utf-8")))
    texts = {str(path): path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*/config/*.yaml")}
    texts |= {str(block): block.text for page in pages() for block in blocks(page) if "run" in block.options}
    assert len(texts) > 10
    for name, text in texts.items():
        problems = [error.message for error in validator.iter_errors(read_document(text, name).data)]
        assert not problems, name


def used_codes() -> dict[str, str]:
    """Every error code in the source, with a place: ``code=`` in calls and classes, and what makers of errors get."""
    found: dict[str, str] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        if path.is_relative_to(SOURCE / "testing"):
            continue  # its errors are those that its tests make
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for code in _codes(node):
                found.setdefault(code, f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")
    return found


def _codes(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.keyword) and node.arg == "code":
        yield from _texts(node.value)
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == "code" for target in targets):
            yield from _texts(node.value)
    elif isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for argument in node.args:
            for text in _texts(argument):
                is_first = argument is node.args[0] and name in ("Diagnostic", "Failure", "diagnostic")
                if text not in NO_CODES and ("-" in text or is_first):
                    yield text


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from (*_texts(node.body), *_texts(node.orelse))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
        yield node.value


def test_every_error_code_is_explained() -> None:
    explained = {code for lines in generator().documented().values() for code in lines}
    missing = {code: place for code, place in used_codes().items() if code not in explained}
    assert not missing, "add them to a file of docs/errors.d, then run python docs/generate.py"


def test_no_error_code_is_explained_that_nothing_says() -> None:
    literals = {
        node.value
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    explained = {code for lines in generator().documented().values() for code in lines}
    assert not explained - literals


def test_every_option_of_every_task_type_is_explained(tmp_path: Path) -> None:
    catalog, _ = build_catalog(Project.find(None, tmp_path))
    text = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    sections = {part.split("`")[1]: part for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:] if "`" in part}
    for name, info in catalog.task_types.items():
        assert name in sections, f"docs/tasks.md has no section on `{name}`"
        heads = [line.partition(" — ")[0] for line in sections[name].splitlines() if line.startswith("- `")]
        told = {option for head in heads for option in re.findall(r"`(\w+)`", head)}
        missing = info.options.keys() - told
        assert not missing, f"docs/tasks.md does not explain these options of `{name}`"

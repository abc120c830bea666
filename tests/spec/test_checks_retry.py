"""Names in ``retry.on``: which are known, and which are told of as misspelt."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autoglm.spec.catalog import Catalog, TaskTypeInfo
from autoglm.spec.checks_retry import CODES
from autoglm.spec.model import Retry, Task, Workflow
from autoglm.spec.validate import validate

DOCS = Path(__file__).parents[2] / "docs" / "errors.d"
FINDINGS = frozenset({"env-without-process", "budget-not-available", "cache-not-available"})
"""Documented beside them, and found in files, never by an attempt."""


def told(*names: str, raised: frozenset[str] = frozenset(), kind: str = "function") -> list[tuple[str, str | None]]:
    task = Task(name="a", type=kind, options={"handler": "f"} if kind == "function" else {}, retry=Retry(on=names))
    types = {"llm": TaskTypeInfo("llm", caches=True), "function": TaskTypeInfo("function")}
    found = validate(Workflow(name="w", tasks=(task,)), Catalog(task_types=types, raised=raised))
    return [(each.message.split("`")[1], each.hint) for each in found if each.code == "retry-on-unknown"]


def test_every_documented_code_is_known() -> None:
    documented = {
        code
        for area in ("tasks", "executors", "llm")
        for code in re.findall(r"^- `([a-z0-9-]+)`", (DOCS / f"{area}.md").read_text(), re.MULTILINE)
    }
    assert documented - FINDINGS <= CODES


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TimeoutErorr", "TimeoutError"),
        ("ConectionError", "ConnectionError"),
        ("timout", "timeout"),
        ("http_5x", "http_5xx"),
        ("script_exit", "script-exit"),
        ("rate_limit", "rate_limited"),
        ("OutOfStok", "OutOfStock"),
    ],
)
def test_what_is_misspelt_is_told_of(name: str, meant: str) -> None:
    assert told(name, raised=frozenset({"OutOfStock"})) == [(name, f"did you mean `{meant}`?")]


@pytest.mark.parametrize(
    "name",
    [
        "TimeoutError",
        "http_418",
        "exit_75",
        "sigusr1",
        "OutOfStock",
        "ConnectTimeout",
        "ReadTimeout",
        "busy",
        "HTTPError",
    ],
)
def test_what_may_be_raised_is_not(name: str) -> None:
    assert told(name, raised=frozenset({"OutOfStock"})) == []


def test_of_a_task_that_asks_a_model_every_name_is_known() -> None:
    assert told("busy", "timeout", "http_429", kind="llm") == [
        ("busy", "what a model fails with is listed in docs/models.md")
    ]

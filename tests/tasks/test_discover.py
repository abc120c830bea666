from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autoglm.tasks.discover import Discovery, discover, discover_functions, resolve_reference


def project(root: Path, **files: str) -> Discovery:
    (root / "tasks").mkdir(exist_ok=True)
    for name, text in files.items():
        (root / "tasks" / f"{name}.py").write_text(text)
    return discover(root / "tasks", root)


def test_a_plain_function_is_a_handler(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        clean='''
import re

async def clean(text: str, ctx, /, width: int = 80, *, strict, quiet=False):
    """Remove what is not text.

    And more.
    """

def _hidden(): ...
''',
    )
    assert list(found.functions) == ["clean"]
    info = found.functions["clean"]
    assert info.origin == "tasks/clean.py:4"
    assert info.parameters == ("text", "ctx", "width", "strict", "quiet")
    assert info.required == ("text", "strict")
    assert info.is_async
    assert not info.accepts_any
    assert info.doc == "Remove what is not text."
    assert found.diagnostics == ()


@pytest.mark.parametrize(
    ("head", "decorator"),
    [
        ("from autoglm import task", '@task(name="fetch-page")'),
        ("from autoglm import task as t", '@t("fetch-page")'),
        ("import autoglm", '@autoglm.task(name="fetch-page")'),
        ("import autoglm as ag", '@ag.task(name="fetch-page")'),
        ("from autoglm import *", '@task(name="fetch-page")'),
    ],
)
def test_a_decorator_gives_the_name_and_lets_hidden_names_in(tmp_path: Path, head: str, decorator: str) -> None:
    found = project(tmp_path, web=f"{head}\n{decorator}\ndef _fetch(url): ...\n")
    assert list(found.functions) == ["fetch-page"]
    assert found.functions["fetch-page"].required == ("url",)


def test_a_decorator_without_a_name_keeps_the_function_s(tmp_path: Path) -> None:
    found = project(tmp_path, a="from autoglm import task\n@task\ndef one(): ...\n@task()\ndef two(): ...\n")
    assert list(found.functions) == ["one", "two"]


def test_another_library_s_decorator_is_not_ours_and_makes_the_parameters_unknown(tmp_path: Path) -> None:
    found = project(tmp_path, a='from celery import task\n@task(name="other")\ndef job(self, x): ...\n')
    info = found.functions["job"]
    assert info.accepts_any
    assert info.required == ()


def test_known_decorators_and_keyword_catchers(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        a="import functools\n@functools.lru_cache(maxsize=1)\ndef one(x): ...\ndef two(x, *rest, **more): ...\n",
    )
    assert found.functions["one"].required == ("x",)
    assert not found.functions["one"].accepts_any
    assert found.functions["two"].accepts_any
    assert found.functions["two"].parameters == ("x",)


def test_the_context_is_known_by_its_annotation(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        a="def f(x, where: TaskContext, other: 'autoglm.TaskContext | None', third: NotTaskContext,"
        " context: str, ctx): ...\n",
    )
    assert found.functions["f"].required == ("x", "third", "context")


def test_services_are_not_handlers_and_their_parameters_are_not_required(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        services="""
from autoglm import service
@service
async def database(ctx): ...
@service(name="cache")
def open_cache(): ...
def helper(): ...
""",
        work="def store(row, database, cache): ...\n",
    )
    assert set(found.services) == {"database", "cache"}
    assert list(found.functions) == ["store"]
    assert found.functions["store"].required == ("row",)


def test_functions_in_blocks_count(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        a="try:\n    import x\n    def fast(a): ...\nexcept ImportError:\n    def fast(b): ...\n"
        "if True:\n    def two(): ...\n"
        "class C:\n    def method(self): ...\n",
    )
    assert set(found.functions) == {"fast", "two"}
    assert found.functions["fast"].parameters == ("a",)


def test_a_broken_file_is_a_diagnostic_and_the_others_still_load(tmp_path: Path) -> None:
    found = project(tmp_path, bad="def f(:\n    pass\n", good="def g(): ...\n")
    assert list(found.functions) == ["g"]
    (diagnostic,) = found.diagnostics
    assert diagnostic.code == "handler-syntax"
    assert diagnostic.place is not None
    assert str(diagnostic.place) == "tasks/bad.py:1:7"
    assert diagnostic.excerpt == "def f(:"
    assert discover_functions(tmp_path / "tasks", tmp_path).keys() == {"g"}


@pytest.mark.parametrize(
    "content", [b"\0", b"\xff\xfe\xfa", b"x = '\xff'", b"(" * 100_000, b"-" * 200_000 + b"1", b"# coding: no-such\n"]
)
def test_no_content_raises(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "odd.py").write_bytes(content)
    (diagnostic,) = discover(tmp_path / "tasks", tmp_path).diagnostics
    assert diagnostic.code in {"handler-syntax", "handler-unreadable"}


def test_large_files_folders_and_missing_folders(tmp_path: Path) -> None:
    assert discover(tmp_path / "tasks", tmp_path) == Discovery()
    (tmp_path / "tasks" / "folder.py").mkdir(parents=True)
    (tmp_path / "tasks" / "large.py").write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    codes = [d.code for d in discover(tmp_path / "tasks", tmp_path).diagnostics]
    assert codes == ["handler-unreadable", "handler-unreadable"]


def test_odd_escapes_do_not_warn(tmp_path: Path) -> None:
    assert list(project(tmp_path, a='def f(x="\\d"): ...\n').functions) == ["f"]


def test_of_two_handlers_with_one_name_the_first_counts(tmp_path: Path) -> None:
    found = project(tmp_path, a="def f(x): ...\n", b="async def f(y): ...\n")
    assert found.functions["f"].parameters == ("x",)
    (warning,) = found.diagnostics
    assert warning.code == "handler-duplicate"
    assert not warning.is_error
    assert "tasks/a.py:1" in warning.message
    assert str(warning.place) == "tasks/b.py:1:11"


def test_nothing_is_run(tmp_path: Path) -> None:
    project(tmp_path, a="raise SystemExit\n\ndef f(): ...\n")
    package = tmp_path / "handlers_pkg"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit\n")
    (package / "clean.py").write_text("raise SystemExit\ndef clean(text, *, width=80): ...\n")
    info = resolve_reference("handlers_pkg.clean:clean", tmp_path)
    assert info is not None
    assert info.parameters == ("text", "width")
    assert info.required == ("text",)
    assert info.origin == "handlers_pkg.clean:clean"
    assert "handlers_pkg" not in sys.modules


def test_references_follow_what_a_package_hands_on(tmp_path: Path) -> None:
    package = tmp_path / "lib_pkg"
    package.mkdir()
    (package / "__init__.py").write_text("from .impl import work as job\nfrom lib_pkg import loop\nloop2 = job\n")
    (package / "impl.py").write_text("def work(a, b=1): ...\nclass Model:\n    def run(self): ...\n")
    info = resolve_reference("lib_pkg:job", tmp_path)
    assert info is not None
    assert info.required == ("a",)
    for reference in ("lib_pkg:loop", "lib_pkg:loop2", "lib_pkg.impl:Model", "lib_pkg.impl:Model.run"):
        opaque = resolve_reference(reference, tmp_path)
        assert opaque is not None
        assert opaque.accepts_any


def test_references_into_the_standard_library() -> None:
    dumps = resolve_reference("json:dumps")
    assert dumps is not None
    assert dumps.required == ("obj",)
    for opaque in ("math:sqrt", "collections:OrderedDict"):
        info = resolve_reference(opaque)
        assert info is not None
        assert info.accepts_any


@pytest.mark.parametrize(
    "reference",
    [
        *("", ":", "json", "json:", ":dumps", "json:no_such", "no_such_module:f", "json.no_such:f"),
        *("json.decoder.x:f", "a b:c", "..:f", "json:a-b", "missing.py:f", "a\0b.py:f", "a\0b:f"),
        *("__main__:nothing", "json..tool:main"),
    ],
)
def test_references_to_nothing(reference: str, tmp_path: Path) -> None:
    assert resolve_reference(reference, tmp_path) is None


def test_references_by_file(tmp_path: Path) -> None:
    project(tmp_path, a="def f(x): ...\n")
    info = resolve_reference("tasks/a.py:f", tmp_path)
    assert info is not None
    assert info.required == ("x",)


def test_decorated_functions_imported_from_a_package_are_handlers(tmp_path: Path) -> None:
    (tmp_path / "shared_pkg.py").write_text(
        'from autoglm import task\n@task(name="tidy")\ndef tidy_up(x): ...\ndef plain(y): ...\n'
    )
    found = project(tmp_path, a="import json\nfrom os import path\nfrom shared_pkg import tidy_up, plain\n")
    assert list(found.functions) == ["tidy"]
    assert found.functions["tidy"].origin == "shared_pkg:tidy_up"

"""Every message about a file, as its author sees it. The golden files are the test: read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoglm.base.errors import SpecError, UsageError
from autoglm.base.reports import render_text
from autoglm.spec.document import decode_source, read_document
from autoglm.spec.parse import parse_workflow
from tests.golden import check_golden
from tests.spec.catalogs import CATALOG

CASES = Path(__file__).parent / "cases"


def read_file(name: str) -> str:
    match name:
        case "missing.yaml":
            raise FileNotFoundError(2, "No such file or directory")
        case "refused.yaml":
            raise UsageError("it lies outside of the project", hint="move it inside")
        case "broken.yaml":
            return "a: 1\na: 2\n"
        case _:
            return "[1, 2]"


def report(text: str, file: str, *, keep_going: bool) -> str:
    try:
        document = read_document(text, file, keep_going=keep_going)
    except SpecError as error:
        return render_text(error.diagnostics)
    _, diagnostics = parse_workflow(document, CATALOG, read_file=read_file)
    return render_text(diagnostics)


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda path: path.name)
def test_messages(case: Path) -> None:
    """A case file holds several sources, divided by lines of ``=====``; each is reported on its own."""
    sources = case.read_text(encoding="utf-8").split("=====\n")
    keep_going = case.stem not in ("yaml", "json")
    reports = [report(source, f"flow{case.suffix}", keep_going=keep_going) for source in sources]
    check_golden(f"parse/{case.name}.txt", "=====\n".join(reports))


def test_messages_about_bytes() -> None:
    found = []
    for raw in (
        b"name: caf\xe9 # latin\n",
        "name: x".encode("utf-16"),
        "name: x".encode("utf-16-le"),
        b"name: \x00\n",
        b"\x7fELF\x02\x01\x01\x00\x00",
        b"\n\xff",
    ):
        with pytest.raises(SpecError) as caught:
            decode_source(raw, "flow.yaml")
        found.append(render_text(caught.value.diagnostics))
    check_golden("parse/bytes.txt", "=====\n".join(found))


def test_messages_about_what_no_file_can_hold() -> None:
    texts = {
        "bomb.yaml": "a: &a [x, x]\n"
        + "".join(f"{n}: &{n} [*{p}, *{p}, *{p}, *{p}]\n" for p, n in zip("abcdefghijk", "bcdefghijkl", strict=True)),
        "deep.yaml": "[" * 100_000,
        "dashes.yaml": "- " * 100_000,
        "keys.yaml": "\n".join(f"{' ' * depth}k:" for depth in range(2_000)),
        "question.yaml": "? " * 10_000,
        "deep.json": "[" * 100_000,
        "closed.json": "[" * 10_000 + "]" * 10_000,
        "number.yaml": f"a: {'9' * 100_000}",
        "number.json": f'{{"a": {"9" * 100_000}}}',
        "surrogate.yaml": "a: \ud800",
        "nul.yaml": "a: \0",
        "control.yaml": "a: \x07",
        "blank.yaml": " \n# nothing\n",
        "large.yaml": "#" * (65 * 1024 * 1024),
    }
    found = []
    for file, text in texts.items():
        with pytest.raises(SpecError) as caught:
            read_document(text, file)
        found.append(render_text(caught.value.diagnostics))
    check_golden("parse/limits.txt", "=====\n".join(found))

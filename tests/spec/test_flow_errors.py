"""What the author of a wrong flow is told, as it is printed. The golden files are the test: read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoglm.base.reports import render_text
from autoglm.spec.document import read_document
from autoglm.spec.parse import parse_workflow
from autoglm.spec.validate import validate
from tests.golden import check_golden
from tests.spec.test_validate import CATALOG

CASES = sorted((Path(__file__).parent / "flow_cases").glob("*.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_what_is_wrong_with_a_flow_is_said_as_it_should_be(case: Path) -> None:
    document = read_document(case.read_text(encoding="utf-8"), "flow.yaml", keep_going=True)
    workflow, diagnostics = parse_workflow(document, CATALOG)
    assert workflow is not None
    found = [*diagnostics, *validate(workflow, CATALOG, document)]
    check_golden(f"flow/{case.stem}.txt", render_text(found))

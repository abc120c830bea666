"""Whatever stands in a test file, it is read, or everything that is wrong with it is told with its place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoglm.base.diagnostics import Diagnostic
from autoglm.base.errors import SpecError
from autoglm.graph.compile import compile_graph
from autoglm.spec.document import Document, read_document
from autoglm.spec.model import Task, Workflow
from autoglm.testing.cases import Case, Clock, Per
from autoglm.testing.expectations import _EXPECT, _TASK
from autoglm.testing.fitting import unfitting
from autoglm.testing.mock_fields import _ERROR, _MOCK
from autoglm.testing.reading import _CASE, _FILE, read_case_file
from autoglm.testing.schema import case_schema
from tests.runtime.house import CATALOG

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "src/autoglm/cli/templates/project/tests/workflow.test.yaml.tmpl"
_WORDS = """
workflow cases name inputs mocks environment secrets offline clock start timeout expect value error delay sequence per
code message class retryable hint details status path order skipped tasks outputs outputs_include check attempts calls
result result_includes reason branches a b a.b a[0] virtual item succeeded 1h {{ {{x}} x-note
"""
WORDS = st.sampled_from(_WORDS.split())
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(-2, 2), WORDS, st.text(max_size=3))
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12
)
CASES = st.fixed_dictionaries(
    {"name": st.sampled_from(["one", "two", "three"])},
    optional=dict.fromkeys(("inputs", "mocks", "expect", "environment", "clock", "start", "timeout"), ANYTHING),
)
FILES = (
    st.fixed_dictionaries({"workflow": st.just("flow.yaml"), "cases": st.lists(CASES, max_size=3) | ANYTHING})
    | ANYTHING
)

GRAPH = compile_graph(
    Workflow(name="flow", tasks=(Task(name="a", type="function"), Task(name="b", type="function"))), CATALOG
)


SCHEMA = jsonschema.Draft7Validator(case_schema())


def test_the_schema_is_one_and_knows_every_field() -> None:
    jsonschema.Draft7Validator.check_schema(case_schema())
    told = set(json.dumps(case_schema()).replace('"', " ").split())
    document = Document.from_data(
        {
            "workflow": "f",
            "cases": [{"name": "c", "mocks": {"a": {"zz": 1, "error": {"zz": 1}}}, "zz": 1, "expect": {"zz": 1}}],
        },
        "x.test.yaml",
    )
    with pytest.raises(SpecError) as caught:
        read_case_file(document)
    assert {each.code for each in caught.value.diagnostics} == {"unknown-key"}
    fields = {name for group in (_FILE, _CASE, _MOCK, _ERROR, _EXPECT, _TASK) for name in group}
    assert fields <= told


@pytest.mark.parametrize(
    "path", [*sorted(ROOT.glob("examples/*/tests/*.test.yaml")), TEMPLATE], ids=lambda path: path.name
)
def test_the_schema_takes_the_files_of_ours(path: Path) -> None:
    data = read_document(path.read_text(), "x.test.yaml").data
    assert not [error.message for error in SCHEMA.iter_errors(data)]


@settings(max_examples=400, deadline=None)
@given(data=FILES)
def test_no_file_makes_reading_fall_over(data: object) -> None:
    if not isinstance(data, dict | list):
        data = {"x": data}
    document = Document.from_data(data, "x.test.yaml")
    problems: Sequence[Diagnostic] = ()
    try:
        found = read_case_file(document)
    except SpecError as error:
        found, problems = None, error.diagnostics
    if found is None:
        assert problems
        assert all(each.place is not None and each.place.file == "x.test.yaml" for each in problems)
        return
    assert found.workflow
    assert found.cases
    assert not [error.message for error in SCHEMA.iter_errors(data)], "the schema refuses what is read"
    for problem in unfitting(found, document, GRAPH):
        assert problem.place is not None


def only_case(**fields: object) -> Case:
    document = Document.from_data({"workflow": "f", "cases": [{"name": "c", **fields}]}, "x.test.yaml")
    return read_case_file(document).cases[0]


def test_what_stands_at_the_top_holds_for_every_case_name_by_name() -> None:
    data = {
        "workflow": "flow.yaml",
        "inputs": {"x": 1, "y": 2},
        "mocks": {"a": {"value": 1}, "b": {"value": 2}},
        "offline": True,
        "cases": {"first": {"inputs": {"y": 3}, "mocks": {"b": {"error": "bad"}}}, "second": {"offline": False}},
    }
    first, second = read_case_file(Document.from_data(json.loads(json.dumps(data)), "x.test.yaml")).cases
    assert (first.name, first.inputs, first.offline) == ("first", {"x": 1, "y": 3}, True)
    assert first.mocks["a"].always is not None
    assert first.mocks["b"].always is not None
    assert first.mocks["b"].always.error is not None
    assert (second.name, second.inputs, second.offline) == ("second", {"x": 1, "y": 2}, False)


def test_a_case_says_how_time_passes() -> None:
    case = only_case(clock="real", start="2026-03-01T09:00:00+01:00", timeout="2m")
    assert (case.clock, case.start, case.timeout) == (Clock.REAL, 1772352000.0, 120.0)
    assert only_case().clock is Clock.VIRTUAL


def test_the_spellings_of_mocks() -> None:
    case = only_case(
        mocks={
            "a": {"value": None},
            "b": {
                "sequence": [{"value": 1, "delay": "5s"}, {"error": {"code": "x", "class": "y"}}],
                "per": "call",
                "delay": 3,
            },
        }
    )
    assert case.mocks["a"].always is not None
    assert case.mocks["a"].always.value is not None
    assert case.mocks["a"].always.value.evaluate({}.__getitem__) is None
    b = case.mocks["b"]
    assert (b.per, b.always, [each.delay for each in b.sequence]) == (Per.CALL, None, [5.0, 3.0])
    assert b.sequence[1].error is not None
    assert (b.sequence[1].error.code, b.sequence[1].error.classes) == ("x", ("y",))

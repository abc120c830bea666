from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autoglm.base.diagnostics import Place
from autoglm.base.errors import SpecError
from autoglm.base.reports import render_json, render_sarif, render_text
from autoglm.spec import json_reader, yaml_reader
from autoglm.spec.document import decode_source, gc_paused, read_document
from autoglm.spec.parse import field_place, parse_workflow
from autoglm.spec.tree import BrokenText, Unusual
from tests.spec.catalogs import CATALOG

FUZZ = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("TRUE", True),
        ("False", False),
        ("tRue", "tRue"),
        ("null", None),
        ("~", None),
        ("", None),
        ("010", 10),
        ("-7", -7),
        ("+7", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("1:30:00", "1:30:00"),
        ("2024-01-01", "2024-01-01"),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("-1.5E-2", -0.015),
        ("1.2.3", "1.2.3"),
        ("-", None),
        ("--", "--"),
        ("...x", "...x"),
        ("=", "="),
        ('"1"', "1"),
        ("'true'", "true"),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">-\n  a\n  b\n", "a b"),
    ],
)
def test_core_scalars(text: str, value: Any) -> None:
    if text == "-":
        assert read_document("a:\n- ", "a.yaml").data == {"a": [None]}
        return
    data = read_document(f"a: {text}", "a.yaml").data
    assert data == {"a": value}
    assert type(data["a"]) is type(value)


def test_places() -> None:
    text = (
        "name: 流程\n"
        "tasks:\r\n"
        "  - {name: a, depends_on: [b, 'c d']}\n"
        "  - name: b\n"
        "    text: |\n"
        "      one\n"
        "      two\n"
        "\n"
        "    empty:\n"
        "    list: [x,\n"
        "      y]\n"
    )
    document = read_document(text, "f.yaml")

    def at(*path: str | int, key: bool = False) -> tuple[int, int, int, int]:
        place = document.place(path, key=key)
        assert place.file == "f.yaml"
        return place.line, place.column, place.end_line, place.end_column

    assert at("name") == (1, 7, 1, 9)
    assert at("name", key=True) == (1, 1, 1, 5)
    assert at("tasks", 0) == (3, 5, 3, 38)
    assert at("tasks", 0, "depends_on", 1) == (3, 31, 3, 36)
    assert at("tasks", 1) == (4, 5, 11, 9)
    assert at("tasks", 1, "text") == (5, 11, 7, 10)
    assert at("tasks", 1, "empty") == (9, 11, 9, 11)
    assert at("tasks", 1, "empty", key=True) == (9, 5, 9, 10)
    assert at("tasks", 1, "list", 1) == (11, 7, 11, 8)
    assert at("tasks", 1, "missing", "deeper") == at("tasks", 1)
    assert at("tasks", 9) == at("tasks")
    assert document.excerpt(1) == "name: 流程"
    assert document.excerpt(2) == "tasks:"
    assert document.excerpt(99) == ""


def test_json_places() -> None:
    document = read_document('{\n "a": [1, {"b": "x\\n"}]}', "f.json")
    assert document.place(("a", 1, "b")) == Place("f.json", 2, 17, 2, 22)
    assert document.place(("a", 1, "b"), key=True) == Place("f.json", 2, 12, 2, 15)
    assert document.place(()) == Place("f.json", 1, 1, 2, 25)


def test_anchors_and_merges() -> None:
    document = read_document(
        "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\none: {<<: *base, b: 9}\ntwo: {<<: [*base, *more]}\n"
        "text: '<<'\nquoted: {'<<': 1}\nname: &n x\nsame: *n\n",
        "f.yaml",
    )
    assert document.data["one"] == {"a": 1, "b": 9}
    assert document.data["two"] == {"a": 1, "b": 2, "c": 4}
    assert document.data["quoted"] == {"<<": 1}
    assert document.data["same"] == "x"
    assert document.place(("two", "c")).line == 2
    assert document.place(("one", "b")).line == 3


def test_format_by_name_and_by_look() -> None:
    assert read_document('{"a": 1}', "a").data == {"a": 1}
    assert read_document("{a: 1}", "<stdin>").data == {"a": 1}
    assert read_document("[a, b,]", "x.txt").data == ["a", "b"]
    assert read_document("{a: 1}", "x.yml").data == {"a": 1}
    assert read_document("\ufeffa: 1", "x.yml").data == {"a": 1}
    assert read_document("\ufeff[1]", "x.json").data == [1]
    with pytest.raises(SpecError):
        read_document("{a: 1}", "x.json")
    with pytest.raises(SpecError, match="needs quotes"):
        read_document("[a, {", "x")


def test_problems_raise_unless_asked_to_keep_going() -> None:
    text = "a: 1\na: 2\n"
    with pytest.raises(SpecError, match="duplicate-key"):
        read_document(text, "x.yaml")
    document = read_document(text, "x.yaml", keep_going=True)
    assert document.data == {"a": 1}
    assert [problem.code for problem in document.problems] == ["duplicate-key"]


def test_too_many_problems_end_the_reading() -> None:
    with pytest.raises(SpecError) as caught:
        read_document("1: x\n" * 5_000, "x.yaml", keep_going=True)
    assert len(caught.value.diagnostics) == 100


def test_many_errors_on_one_long_line_stay_small() -> None:
    text = json.dumps({"tasks": [{"name": str(n), "wehn": n} for n in range(20_000)]})
    _, diagnostics = parse_workflow(read_document(text, "x.json"), CATALOG)
    assert len(diagnostics) == 1000
    assert len({id(found.excerpt) for found in diagnostics}) == 1
    assert len(render_text(diagnostics)) < 500_000
    assert len(render_json(diagnostics)) < 500_000


def test_the_collector_is_left_as_it_was() -> None:
    import gc

    with gc_paused():
        assert not gc.isenabled()
        with gc_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_large_tree_counts_as_old() -> None:
    import gc

    gc.unfreeze()  # a command that was run in this process has frozen what it had loaded
    with gc_paused():
        tree = [[number] for number in range(20_000)]
    assert any(each is tree for each in gc.get_objects(generation=2))
    assert gc.get_freeze_count() == 0


def test_what_others_have_frozen_stays_so() -> None:
    import gc

    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with gc_paused():
            tree = [[number] for number in range(20_000)]
        assert gc.get_freeze_count() == frozen
        assert len(tree) == 20_000
    finally:
        gc.unfreeze()


def test_bytes() -> None:
    assert decode_source(b"\xef\xbb\xbfa: \xc3\xa9", "x") == "a: é"
    assert decode_source(b"", "x") == ""
    with pytest.raises(SpecError, match="file-too-large"):
        decode_source(b"x" * (64 * 1024 * 1024 + 1), "x")


# ---- whatever is thrown at it

YAMLISH = st.text(
    alphabet=st.sampled_from(list("ab1:-?,[]{}&*!|>'\"%@`#~<\\ \n\t\r.0ex\x85\u2028中\U0001f600\ufeff\ud800\x00\x07")),
    max_size=40,
)
PIECES = st.lists(
    st.sampled_from(
        [
            "a: ",
            "- ",
            "\n",
            "\n  ",
            "{",
            "}",
            "[",
            "]",
            "&a ",
            "*a",
            "<<: ",
            "!!int ",
            "? ",
            '"',
            "'",
            "|\n",
            "x",
            "1",
            ",",
            ": ",
            "{{ x }}",
            "---\n",
            "...\n",
            "#c\n",
            "\t",
            "%YAML 1.2\n",
            "null",
            "//",
            "NaN",
            "\\",
            "tasks:\n",
            "name: a\n",
            "\r\n",
        ]
    ),
    max_size=30,
).map("".join)
JSONISH = st.lists(
    st.sampled_from(
        ["{", "}", "[", "]", ",", ":", '"a"', '"', "1", "-", "1e999", "NaN", "//", "/*", "'b'", "x", " ", "\\u", "true"]
    ),
    max_size=30,
).map("".join)
JSON_DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


def everything(text: str, file: str) -> None:
    try:
        document = read_document(text, file, keep_going=True)
    except SpecError as error:
        diagnostics = list(error.diagnostics)
        assert diagnostics
    else:
        workflow, diagnostics = parse_workflow(document, CATALOG)
        document.place(("a", 0, "b"), key=True)
        for task in workflow.tasks if workflow else ():
            field_place(document, task, "name")
    for render in (render_text, render_json, render_sarif):
        render(diagnostics).encode()
    for found in diagnostics:
        assert found.place is None or (found.place.line >= 1 and found.place.column >= 1)


@FUZZ
@given(YAMLISH | PIECES)
@example("? &a\n: *a")
@example("&a [&a x, *a]")
@example("{? {{ x }}: y}")
@example("!!binary |\n x")
def test_any_yaml_gives_data_or_a_spec_error(text: str) -> None:
    everything(text, "x.yaml")


@FUZZ
@given(JSONISH | YAMLISH)
@example('{"a": "\\ud83d\\ude00"}')
def test_any_json_gives_data_or_a_spec_error(text: str) -> None:
    everything(text, "x.json")
    everything(text, "x")


@FUZZ
@given(st.binary(max_size=40))
def test_any_bytes_give_a_text_or_a_spec_error(raw: bytes) -> None:
    try:
        everything(decode_source(raw, "x.yaml"), "x.yaml")
    except SpecError as error:
        render_text(error.diagnostics).encode()


@FUZZ
@given(PIECES | YAMLISH)
def test_the_fast_yaml_way_and_the_careful_one_agree(text: str) -> None:
    text = text.replace("\ud800", "")
    try:
        data = yaml_reader.load(text)
    except Unusual:
        return
    composition = yaml_reader.compose(text)
    assert not composition.problems
    assert repr(composition.data) == repr(data)


@FUZZ
@given(JSONISH)
def test_the_fast_json_way_and_the_careful_one_agree(text: str) -> None:
    try:
        data = json_reader.load(text)
    except Unusual:
        with suppress(BrokenText):
            assert json_reader.compose(text).problems
        return
    composition = json_reader.compose(text)
    assert not composition.problems
    assert repr(composition.data) == repr(data)


@FUZZ
@given(JSON_DATA)
def test_json_data_reads_back(value: Any) -> None:
    data = {"root": value}
    for text in (json.dumps(data), json.dumps(data, indent=1, ensure_ascii=False)):
        assert read_document(text, "x.json").data == data
        assert json_reader.compose(text).data == data


@FUZZ
@given(
    st.dictionaries(
        st.sampled_from(
            ["tasks", "inputs", "vars", "models", "pools", "defaults", "name", "version", "labels", "outputs"]
        ),
        JSON_DATA,
    )
    | st.lists(st.dictionaries(st.text(max_size=4), JSON_DATA, max_size=3), max_size=3)
)
def test_any_data_gives_a_workflow_or_diagnostics(data: Any) -> None:
    everything(json.dumps(data), "x.json")


TASK_KEYS = tuple(
    """
    name type depends_on needs when join with result output_schema loop retry retries timeout cache priority resources
    pool executor env on_error rollback labels tasks handler script prompt conditions decision_node default mode user x
    """.split()  # noqa: SIM905 - thirty words read better as words
)


@FUZZ
@given(
    st.lists(st.dictionaries(st.sampled_from(TASK_KEYS), JSON_DATA, max_size=6), max_size=3),
    st.dictionaries(st.sampled_from(TASK_KEYS), JSON_DATA),
)
def test_any_task_gives_a_workflow_or_diagnostics(tasks: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
    for task in tasks:
        task.setdefault("name", "a")
        loop = task.get("loop")
        if isinstance(loop, dict):
            task["loop"] = {"over": [1], **loop}
    everything(json.dumps({"tasks": tasks, "defaults": defaults}), "x.json")
    everything(json.dumps({"tasks": {str(index): task for index, task in enumerate(tasks)}}), "x.json")

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoglm.base.errors import TaskError
from autoglm.runtime.sources import MAX_LINE, Source, open_source


def drain(source: Source, count: int = 3, first: int = 0) -> list[Any]:
    items: list[Any] = []
    last = False
    while not last:
        window, last = source.read(first + len(items), count)
        items += window
    return items


def failure(root: Path, name: str, content: bytes | str | None = None, count: int = 100) -> TaskError:
    if content is not None:
        (root / name.partition("#")[0]).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(TaskError) as caught:
        open_source(name, root).read(0, count)
    assert not caught.value.retryable
    return caught.value


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n  \n"])
def test_json_lines_skip_blank_lines_and_tell_the_last(tmp_path: Path, end: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(('\ufeff{"n": 0}\r\n\n[1]\n"two"' + end).encode())
    source = open_source("rows.jsonl", tmp_path)
    assert source.read(0, 2) == ([{"n": 0}, [1]], False)
    assert source.read(2, 2) == (["two"], True)
    assert source.read(3, 2) == ([], True)
    assert open_source("rows.jsonl", tmp_path).read(0, 3)[1]


@given(st.integers(0, 12), st.integers(1, 5), st.sampled_from(["jsonl", "csv", "txt", "json"]), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_window_from_any_start_is_the_same(
    tmp_path: Path, length: int, count: int, kind: str, data: st.DataObject
) -> None:
    texts = {
        "jsonl": "".join(f"{n}\n" for n in range(length)),
        "csv": "n\n" + "".join(f"{n}\n" for n in range(length)),
        "txt": "\n".join(f"{n}" for n in range(length)),
        "json": json.dumps(list(range(length))),
    }
    (tmp_path / f"rows.{kind}").write_text(texts[kind])
    source = open_source(f"rows.{kind}", tmp_path)
    every = source.read(0, 100)[0]
    assert len(every) == length
    assert drain(source, count) == every
    first = data.draw(st.integers(0, length))
    assert source.read(first, count) == (every[first : first + count], first + count >= length)
    assert drain(source, count, first) == every[first:]


def test_csv_rows_are_mappings_of_text(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        '\ufeffname, age \nAda,36\n\n"Grace ""G"" Hopper, Dr","8\n5"\n', encoding="utf-8"
    )
    assert drain(open_source("rows.csv", tmp_path)) == [
        {"name": "Ada", "age": "36"},
        {"name": 'Grace "G" Hopper, Dr', "age": "8\n5"},
    ]
    (tmp_path / "empty.csv").write_text("")
    assert open_source("empty.csv", tmp_path).read(0, 1) == ([], True)
    (tmp_path / "head.csv").write_text("a,b\n")
    assert open_source("head.csv", tmp_path).read(0, 1) == ([], True)


def test_large_csv_fields_are_fine(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text\n" + "x" * 300_000 + "\n")
    ((row,), _) = open_source("rows.csv", tmp_path).read(0, 1)
    assert len(row["text"]) == 300_000


def test_lists_inside_documents(tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text("team:\n  members: [NO, {name: Ada}]\n  more: [[1, 2], [3]]\n")
    (tmp_path / "users.json").write_text('{"team": {"members": [1, null]}}')
    assert drain(open_source("users.yaml#team.members", tmp_path)) == ["NO", {"name": "Ada"}]
    assert drain(open_source("users.yaml#team.more.1", tmp_path)) == [3]
    assert drain(open_source("users.json#team.members", tmp_path)) == [1, None]


def test_documents_without_a_list_there_say_where_one_is(tmp_path: Path) -> None:
    text = '{"team": {"members": [1]}, "rest": 1}'
    error = failure(tmp_path, "users.json#team", text)
    assert error.code == "source-invalid"
    assert error.hint == "users.json#team.members is a list"
    assert failure(tmp_path, "users.json#taem", text).hint == "did you mean 'team'?"
    assert failure(tmp_path, "users.json#team.members.7", text).message == "users.json#team.members has no '7'"
    assert failure(tmp_path, "users.json#team.members.²", text).code == "source-invalid"
    assert failure(tmp_path, "users.json", '"text"').code == "source-invalid"


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("rows.jsonl", "1\n\n{bad}\n4\n", "rows.jsonl:3: "),
        ("rows.jsonl", "1\nNaN\n", "rows.jsonl:2: "),
        ("rows.jsonl", b"1\n\xff\n", "rows.jsonl:2: "),
        ("rows.jsonl", b'"\xff"\n', "rows.jsonl:1: "),
        ("rows.jsonl", b'1\n"\\ud800"\n', "rows.jsonl:2: "),
        ("rows.jsonl", b"1\n\0\n", "rows.jsonl:2: "),
        ("rows.jsonl", "[" * 100_000, "rows.jsonl:1: "),
        ("rows.jsonl", "9" * 100_000, "rows.jsonl:1: "),
        ("rows.txt", b"one\ntw\xffo\n", "rows.txt:2: byte 3 "),
        ("rows.csv", "a,b\n1,2\n3\n", "rows.csv:3: the row has 1 fields and the header 2"),
        ("rows.csv", "a,b\n1,2,3\n", "rows.csv:2: "),
        ("rows.csv", "a,a\n", "rows.csv:1: two columns are named 'a'"),
        ("rows.csv", "a,,b\n", "rows.csv:1: column 2 has no name"),
        ("rows.csv", 'a\n1\n"open\n', "rows.csv:3: not CSV"),
        ("rows.csv", 'a\n"x"y\n', "rows.csv:2: not CSV"),
        ("rows.csv", b"\xff\xfea\0,\0b\0\n\0", "rows.csv:1: "),
        ("rows.json", "{", "rows.json: "),
        ("rows.json", "[" * 100_000, "rows.json: "),
        ("rows.yaml", "a: [", "rows.yaml"),
        ("rows.yaml", b"\xff", "rows.yaml is not UTF-8"),
    ],
)
def test_what_cannot_be_read_names_file_and_line(tmp_path: Path, name: str, content: bytes | str, place: str) -> None:
    error = failure(tmp_path, name, content)
    assert error.code == "source-invalid"
    assert error.message.startswith(place)


def test_a_bad_line_fails_its_own_window_only(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("1\n2\nbad\n")
    source = open_source("rows.jsonl", tmp_path)
    assert source.read(0, 2) == ([1, 2], False)
    for _ in range(2):
        with pytest.raises(TaskError, match=r"rows\.jsonl:3"):
            source.read(2, 2)
    (tmp_path / "rows.csv").write_text('a\n1\n"open\n')
    source = open_source("rows.csv", tmp_path)
    assert source.read(0, 1) == ([{"a": "1"}], False)
    with pytest.raises(TaskError, match="not CSV"):
        source.read(1, 1)


def test_a_line_without_an_end_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    with (tmp_path / "rows.jsonl").open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    tracemalloc.start()
    try:
        assert failure(tmp_path, "rows.jsonl").code == "source-line-too-long"
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_LINE
    finally:
        tracemalloc.stop()


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    assert failure(tmp_path, "none.csv").code == "source-not-found"
    assert failure(tmp_path, "folder.csv/none.csv").code == "source-not-found"
    assert failure(tmp_path, "folder.csv").code == "source-unreadable"
    assert failure(tmp_path, "pipe.csv").code == "source-unreadable"
    assert failure(tmp_path, "a\0b.csv").code == "source-unreadable"
    assert failure(tmp_path, "x" * 5000 + ".csv").code == "source-unreadable"
    assert failure(tmp_path, "rows.xlsx").code == "source-unsupported"
    assert failure(tmp_path, "").code == "source-unsupported"
    assert failure(tmp_path, "rows.csv#path", "a\n1\n").code == "source-unsupported"


def test_a_document_that_is_too_large_points_to_json_lines(tmp_path: Path) -> None:
    with (tmp_path / "rows.yaml").open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    error = failure(tmp_path, "rows.yaml")
    assert error.code == "source-too-large"
    assert ".jsonl" in str(error.hint)


def test_rows_appended_while_it_is_read_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{n}\n" for n in range(5000)))
    source = open_source("rows.jsonl", tmp_path)
    assert source.read(0, 2) == ([0, 1], False)
    with path.open("a") as file:
        file.write("5000\n")
    assert drain(source, 1000, 2)[-1] == 5000


def test_a_file_that_lost_rows_says_so(tmp_path: Path) -> None:
    for name, text in {"rows.jsonl": "1\n2\n", "rows.csv": "a\n1\n2\n", "rows.json": "[1, 2]"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(TaskError) as caught:
            open_source(name, tmp_path).read(3, 1)
        assert caught.value.code == "source-changed"
        assert "only 2 items" in caught.value.message


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_memory_stays_flat_over_many_rows(tmp_path: Path, kind: str) -> None:
    with (tmp_path / f"rows.{kind}").open("w") as file:
        file.write("number,text\n" if kind == "csv" else "")
        for n in range(200_000):
            file.write(f"{n},{'x' * 80}\n" if kind == "csv" else f'{{"number": {n}, "text": "{"x" * 80}"}}\n')
    source = open_source(f"rows.{kind}", tmp_path)
    tracemalloc.start()
    try:
        seen, last = 0, False
        while not last:
            items, last = source.read(seen, 500)
            seen += len(items)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == 200_000
    assert peak < 2 * 1024 * 1024


def test_parquet_needs_its_extra(tmp_path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        error = failure(tmp_path, "rows.parquet", b"PAR1")
        assert error.code == "source-needs-extra"
        assert error.hint == "pip install 'open-autoglm[parquet]'"
    else:
        assert failure(tmp_path, "rows.parquet", b"PAR1").code == "source-invalid"


def test_parquet_rows_are_read_by_group(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    import datetime
    import decimal

    table = arrow.table(
        {
            "n": list(range(10)),
            "day": [datetime.date(2026, 1, n + 1) for n in range(10)],
            "price": [decimal.Decimal("1.10")] * 10,
            "tags": [[{"k": "v"}]] * 10,
        }
    )
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=4)
    source = open_source("rows.parquet", tmp_path)
    rows = drain(source, 3)
    assert [row["n"] for row in rows] == list(range(10))
    assert rows[1] == {"n": 1, "day": "2026-01-02", "price": "1.10", "tags": [{"k": "v"}]}
    assert source.read(7, 2) == (rows[7:9], False)
    source.close()
    with pytest.raises(TaskError, match="only 10 items"):
        source.read(11, 1)
    parquet.write_table(arrow.table({"b": [b"x"]}), tmp_path / "bytes.parquet")
    assert failure(tmp_path, "bytes.parquet").code == "source-invalid"

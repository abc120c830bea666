"""Inputs from the command line and from files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies

from autoglm.base.errors import SpecError, UsageError
from autoglm.cli.given import read_inputs, read_value
from autoglm.spec.model import InputSpec, Workflow


@pytest.mark.parametrize(
    ("spec", "text", "value"),
    [
        (None, "9", 9),
        (None, "true", True),
        (None, "[1, 2]", [1, 2]),
        (None, "rivers", "rivers"),
        (None, "NaN", "NaN"),
        (None, "", ""),
        (None, "1" * 100_000, "1" * 100_000),
        (InputSpec(type="string"), "9", "9"),
        (InputSpec(type="string"), '"q"', '"q"'),
        (InputSpec(type="integer"), "9", 9),
        (InputSpec(type="integer"), "nine", "nine"),
        (InputSpec(type="number"), "1.5", 1.5),
        (InputSpec(type="boolean"), "false", False),
        (InputSpec(type="array"), '["a"]', ["a"]),
        (InputSpec(type="object"), '{"a": 1}', {"a": 1}),
        (InputSpec(type=("string", "null")), "null", None),
        (InputSpec(type=("string", "null")), "9", "9"),
        (InputSpec(type=("integer", "string")), "9", 9),
        (InputSpec(enum=("1", "2")), "1", "1"),
        (InputSpec(enum=(1, 2)), "1", 1),
    ],
)
def test_a_value_is_read_by_its_declared_type(spec: InputSpec | None, text: str, value: object):
    assert read_value(spec, text) == value


@given(strategies.text(), strategies.sampled_from([None, *(InputSpec(type=t) for t in ("string", "array", "any"))]))
def test_any_text_is_read_without_an_error(text: str, spec: InputSpec | None):
    read_value(spec, text)


def test_pairs_go_before_the_file(tmp_path: Path):
    file = tmp_path / "inputs.yaml"
    file.write_text("topic: rivers\ncount: 3\n")
    assert read_inputs(Workflow(name="w"), ["count=4", "eq=a=b"], file) == {"topic": "rivers", "count": 4, "eq": "a=b"}


def test_every_pair_that_is_none_is_named():
    with pytest.raises(UsageError) as caught:
        read_inputs(Workflow(name="w"), ["topic", "=3", "good=1"], None)
    assert caught.value.code == "bad-inputs"
    assert "`topic`" in caught.value.message
    assert "`=3`" in caught.value.message


@pytest.mark.parametrize(
    ("content", "error"), [(b"[1, 2]", UsageError), (b"a: [", SpecError), (b"\xff\xfe\x00", (SpecError, UsageError))]
)
def test_a_bad_inputs_file(tmp_path: Path, content: bytes, error: type[Exception]):
    file = tmp_path / "inputs.yaml"
    file.write_bytes(content)
    with pytest.raises(error):
        read_inputs(Workflow(name="w"), [], file)


@pytest.mark.parametrize("name", ["nowhere.yaml", ".", "a\0b"])
def test_an_inputs_file_that_cannot_be_read(tmp_path: Path, name: str):
    with pytest.raises(UsageError) as caught:
        read_inputs(Workflow(name="w"), [], tmp_path / name)
    assert caught.value.code == "inputs-file"

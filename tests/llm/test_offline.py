"""The rehearsal: loud, the same every time, made from the prompt, and true to the schema."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoglm.base.errors import TaskError
from autoglm.base.schemas import problems
from autoglm.llm.offline import MARK, rehearse, salient_words

PROMPT = "Write five search questions about lighthouses. Keepers lit the lamps; the keepers logged each storm."


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]


class TestText:
    def test_it_says_what_it_is_and_answers_from_the_prompt(self):
        text = rehearse("m", user(PROMPT)).text
        mark, *lines = text.splitlines()
        assert mark == MARK
        assert len(lines) == 5
        assert len(set(lines)) == 5
        for line in lines:
            assert re.fullmatch(r"\d\. .+\?", line)
            assert any(word in line.lower() for word in ("lighthouses", "keepers", "lamps", "logged", "storm"))

    def test_it_is_the_same_every_time_and_differs_by_prompt_model_and_seed(self):
        same = {rehearse("m", user(PROMPT)).text for _ in range(3)}
        assert len(same) == 1
        others = {rehearse("m", user(PROMPT), seed=n).text for n in range(5)} | {rehearse("n", user(PROMPT)).text}
        assert len(others | same) > 3

    def test_chinese_prompts_get_chinese_lines(self):
        _, *lines = rehearse("m", user("请为“量子计算”生成3个问题")).text.splitlines()
        assert len(lines) == 3
        assert all("量子计算" in line for line in lines)

    @pytest.mark.parametrize("prompt", ["", "?", "x" * 200_000, "\ud800 broken", "a {0} {name} brace question"])
    def test_odd_prompts(self, prompt):
        assert rehearse("m", user(prompt)).text.startswith(MARK)

    def test_absurd_counts_are_bounded(self):
        assert len(rehearse("m", user("give 999 ideas on sails")).text.splitlines()) == 51
        assert len(rehearse("m", user("give 0 ideas on sails")).text.splitlines()) == 2

    def test_messages_in_parts_and_without_a_user(self):
        parts = [{"role": "user", "content": [{"type": "text", "text": "about kites"}, {"type": "image_url"}]}]
        assert "kites" in rehearse("m", parts).text.lower()
        assert rehearse("m", [{"role": "assistant", "content": None}]).text.startswith(MARK)

    def test_salient_words(self):
        assert salient_words("The keepers, the Keepers and the lamp that they should write about") == [
            "keepers",
            "lamp",
        ]


SCHEMAS: dict[str, Any] = {
    "types": {
        "type": "object",
        "properties": {
            "s": {"type": "string"},
            "i": {"type": "integer", "minimum": 5, "maximum": 7},
            "n": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.01},
            "b": {"type": "boolean"},
            "z": {"type": "null"},
            "m": {"type": ["null", "string"]},
        },
        "required": ["s", "i", "n", "b", "z", "m"],
        "additionalProperties": False,
    },
    "values": {
        "type": "array",
        "prefixItems": [{"const": {"a": 1}}, {"enum": ["x", "y"]}],
        "items": False,
        "minItems": 2,
    },
    "strings": {
        "type": "object",
        "properties": {
            "long": {"type": "string", "minLength": 200, "maxLength": 210},
            "short": {"type": "string", "maxLength": 3},
            "code": {"type": "string", "pattern": r"^[A-Z]{2}-\d{4}(?:-[^x-z\s]+)?$"},
            "either": {"type": "string", "pattern": "^(yes|no)$"},
            "twice": {"type": "string", "pattern": r"^(\w)\1$"},
        },
        "required": ["long", "short", "code", "either", "twice"],
    },
    "formats": {
        "type": "object",
        "properties": {
            name: {"type": "string", "format": name}
            for name in (
                "date",
                "time",
                "date-time",
                "email",
                "uri",
                "uuid",
                "ipv4",
                "ipv6",
                "hostname",
                "duration",
                "regex",
            )
        },
    },
    "arrays": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 25, "uniqueItems": True},
    "numbers": {"type": "array", "items": {"type": "integer", "multipleOf": 7, "minimum": 1}, "minItems": 2},
    "negative": {"type": "number", "maximum": -3},
    "references": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name", "children"],
            }
        },
    },
    "recursive choice": {
        "anyOf": [{"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}, {"type": "null"}]
    },
    "combined": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"type": "integer"}}, "required": ["b"]},
        ]
    },
    "one of": {"oneOf": [{"type": "string"}, {"type": "integer", "minimum": 4}]},
    "free keys": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 3},
    "draft 7": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"word": {"type": "string"}},
        "type": "array",
        "items": [{"$ref": "#/definitions/word"}, {"type": "integer"}],
        "minItems": 2,
    },
    "contains": {"type": "array", "items": {"type": "integer"}, "contains": {"minimum": 90}, "minItems": 2},
    "anything": {},
    "no keywords": {"description": "whatever"},
}


class TestSchemas:
    @pytest.mark.parametrize("name", SCHEMAS)
    @pytest.mark.parametrize("seed", range(3))
    def test_the_answer_fits(self, name, seed):
        text = rehearse("m", user(PROMPT), SCHEMAS[name], seed=seed).text
        assert problems(json.loads(text), SCHEMAS[name]) == []
        assert text == rehearse("m", user(PROMPT), SCHEMAS[name], seed=seed).text

    def test_questions_are_questions_about_the_prompt(self):
        schema = {"type": "object", "properties": {"questions": {"type": "array", "items": {"type": "string"}}}}
        value = json.loads(rehearse("m", user(PROMPT), schema).text)
        assert all(question.endswith("?") for question in value["questions"])

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "array", "minItems": 10_000_000},
            {"type": "string", "minLength": 10_000_000},
            {"type": "object", "properties": {"a": False}, "required": ["a"]},
            {"type": "integer", "minimum": 5, "maximum": 4},
            {"not": {}},
            {"type": "string", "pattern": "(?=x)y"},
            {"type": "string", "pattern": "(a{100000}){100000}"},
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            {
                "type": "array",
                "minItems": 50,
                "items": {"type": "array", "minItems": 50, "items": {"type": "array", "minItems": 2000}},
            },
        ],
    )
    def test_what_it_cannot_do_is_an_error_that_says_so(self, schema):
        with pytest.raises(TaskError) as caught:
            rehearse("m", user(PROMPT), schema)
        assert (caught.value.code, caught.value.retryable) == ("offline-unsupported-schema", False)
        assert caught.value.hint

    @pytest.mark.parametrize("schema", [{"type": "objekt"}, {"$ref": "#/nowhere"}, {"type": "string", "pattern": "("}])
    def test_a_schema_that_is_none(self, schema):
        with pytest.raises(TaskError) as caught:
            rehearse("m", user(PROMPT), schema)
        assert caught.value.code in ("output-schema-invalid", "offline-unsupported-schema")


leaves = st.one_of(
    st.builds(
        lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
        st.integers(-99, 99),
        st.integers(0, 9),
    ),
    st.builds(lambda least: {"type": "string", "minLength": least}, st.integers(0, 40)),
    st.just({"type": "boolean"}),
    st.builds(
        lambda values: {"enum": values},
        st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(max_size=3)), min_size=1, max_size=4),
    ),
    st.sampled_from([{"type": "string", "format": each} for each in ("date", "email", "uuid")]),
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["label", "question", "score", "x_y"])
    return st.one_of(
        st.builds(lambda item, least: {"type": "array", "items": item, "minItems": least}, inner, st.integers(0, 4)),
        st.builds(
            lambda parts: {
                "type": "object",
                "properties": parts,
                "required": sorted(parts),
                "additionalProperties": False,
            },
            st.dictionaries(names, inner, max_size=3),
        ),
        st.builds(lambda choices: {"anyOf": choices}, st.lists(inner, min_size=1, max_size=3)),
    )


@settings(max_examples=60, deadline=None)
@given(st.recursive(leaves, containers, max_leaves=6), st.text(max_size=60))
def test_any_plain_schema_gets_a_fitting_value(schema, prompt):
    try:
        answer = rehearse("m", user(prompt), schema).text
    except TaskError as error:  # an enum that lists a value twice, or a lone surrogate
        assert error.code == "output-schema-invalid", error  # noqa: PT017
        return
    assert problems(json.loads(answer), schema) == []

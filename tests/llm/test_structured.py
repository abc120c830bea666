"""Answers that must fit a schema: how each kind of server is asked, and what is found in what models write."""

from __future__ import annotations

import json

import pytest

from autoglm.base.errors import TaskError
from autoglm.llm.profiles import COMPATIBLE, OPENAI, ZHIPU, Form
from autoglm.llm.structured import plan, read_answer

TICKET = {
    "type": "object",
    "properties": {"priority": {"type": "integer", "maximum": 10}, "label": {"enum": ["bug", "wish"]}},
    "required": ["priority", "label"],
    "additionalProperties": False,
}
LIST = {"type": "array", "items": {"$ref": "#/$defs/word"}, "$defs": {"word": {"type": "string", "minLength": 2}}}
USER = {"role": "user", "content": "go"}


class TestAsking:
    def test_a_schema_server_gets_the_schema_and_no_words(self):
        wish = plan(TICKET, OPENAI)
        assert wish.response_format == {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": TICKET, "strict": True},
        }
        assert wish.messages([USER]) == [USER]

    def test_strict_is_asked_only_of_closed_schemas(self):
        for loose in (
            {**TICKET, "additionalProperties": True},
            {**TICKET, "required": ["label"]},
            {**TICKET, "properties": {**TICKET["properties"], "label": {"type": "object"}}},
        ):
            assert "strict" not in plan(loose, OPENAI).response_format["json_schema"]

    @pytest.mark.parametrize("profile", [ZHIPU, COMPATIBLE])
    def test_a_json_server_gets_the_schema_in_words(self, profile):
        wish = plan(TICKET, profile)
        assert wish.response_format == {"type": "json_object"}
        system, user = wish.messages([USER])
        assert (system["role"], user) == ("system", USER)
        assert json.dumps(TICKET) in system["content"]

    def test_words_join_a_system_message_that_is_there(self):
        messages = plan(TICKET, ZHIPU).messages([{"role": "system", "content": "Be brief."}, USER])
        assert len(messages) == 2
        assert messages[0]["content"].startswith("Be brief.\n\n")

    def test_a_list_travels_in_an_object(self):
        wish = plan(LIST, OPENAI)
        asked = wish.response_format["json_schema"]["schema"]
        assert asked["properties"]["value"] == {"type": "array", "items": {"$ref": "#/$defs/word"}}
        assert asked["$defs"] == LIST["$defs"]
        assert wish.read('{"value": ["ab"]}') == ["ab"]
        assert wish.read('["ab"]') == ["ab"]
        with pytest.raises(TaskError, match=r"\$\[0\]"):
            wish.read('{"value": ["a"]}')

    def test_words_alone_ask_for_the_bare_value(self):
        wish = plan(LIST, COMPATIBLE, Form.PROMPT)
        assert wish.response_format is None
        assert '"value"' not in wish.messages([USER])[0]["content"]

    @pytest.mark.parametrize(
        ("schema", "why"),
        [
            ({"type": "objekt"}, "`\\$.type`"),
            ({"properties": []}, "`\\$.properties`"),
            ({"minimum": float("nan")}, "not JSON data"),
        ],
    )
    def test_a_schema_that_is_none(self, schema, why):
        with pytest.raises(TaskError, match=why) as caught:
            plan(schema, OPENAI)
        assert (caught.value.code, caught.value.retryable) == ("output-schema-invalid", False)

    @pytest.mark.parametrize(
        "schema",
        [
            {"$ref": "#/$defs/none"},
            {"$ref": "https://example.org/schema.json"},
            {"$ref": "#"},
            {"type": "string", "pattern": "("},
        ],
    )
    def test_a_schema_that_turns_out_to_be_none(self, schema):
        with pytest.raises(TaskError) as caught:
            read_answer('"x"', schema)
        assert (caught.value.code, caught.value.retryable) == ("output-schema-invalid", False)


GOOD = {"priority": 3, "label": "bug"}
TEXT = json.dumps(GOOD)


class TestReading:
    @pytest.mark.parametrize(
        "answer",
        [
            TEXT,
            f"\ufeff\n {TEXT}\n",
            f"```json\n{TEXT}\n```",
            f"```\n{TEXT}```",
            f"Sure! Here it is:\n\n```json\n{TEXT}\n```\nAnything else?",
            f"The ticket is {TEXT}, I think.",
            f"An example is {{}} and [1], but here: {TEXT}",
            f"Given {{name}} and [x: {TEXT}",
            f"<think>maybe {{}}?</think>{TEXT}",
            f'{{"priority": 99, "label": "bug"}} no, better {TEXT}',
        ],
    )
    def test_the_value_is_found(self, answer):
        assert read_answer(answer, TICKET) == GOOD

    @pytest.mark.parametrize(
        ("schema", "answer", "value"),
        [
            ({"type": "integer"}, " 42 ", 42),
            ({"type": "string"}, "plain words", "plain words"),
            ({"type": "string"}, '"quoted"', "quoted"),
            ({"type": "boolean"}, "true", True),
            ({"type": "null"}, "null", None),
            ({}, "{}", {}),
        ],
    )
    def test_values_of_other_types(self, schema, answer, value):
        assert read_answer(answer, schema) == value

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            ("", "holds no JSON"),
            ("I cannot do that.", "holds no JSON"),
            ('{"priority": 3', "holds no JSON"),
            ('{"priority": NaN, "label": "bug"}', "holds no JSON"),
            ('{"priority": 1e999, "label": "bug"}', "holds no JSON"),
            ('{"priority": 3, "label": "\\ud800"}', "holds no JSON"),
            ("[" * 100_000, "holds no JSON"),
            ("1" * 10_000, "holds no JSON"),
            ('{"priority": 11, "label": "bug"}', r"`\$.priority`: 11 is greater than the maximum of 10"),
            ('{"priority": 1}', "'label' is a required property"),
            ('{"priority": 1, "label": "bug", "x": 1}', "Additional properties"),
            ("[]", "is not of type 'object'"),
        ],
    )
    def test_what_does_not_fit(self, answer, why):
        with pytest.raises(TaskError, match=why) as caught:
            read_answer(answer, TICKET)
        error = caught.value
        assert (error.code, error.retryable) == ("schema-mismatch", True)
        assert len(error.message) < 800
        assert error.message.isprintable()
        assert error.details["answer"] == answer[:4000]

    def test_an_answer_that_was_cut_off_says_so(self):
        with pytest.raises(TaskError) as caught:
            read_answer('{"priority": 3', TICKET, finish_reason="length")
        assert "max_tokens" in caught.value.hint

    def test_formats_are_held_to(self):
        schema = {"type": "string", "format": "date"}
        assert read_answer('"2026-02-28"', schema) == "2026-02-28"
        with pytest.raises(TaskError, match="is not a 'date'"):
            read_answer('"2026-02-30"', schema)

    def test_what_looks_like_a_template_stays_text(self):
        assert read_answer('{"a": "{{ secrets.X }}"}', {"type": "object"}) == {"a": "{{ secrets.X }}"}

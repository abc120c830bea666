"""Mending answers without another call: what is read loosely, what is fitted, and what is left alone."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm.llm.lint import contradictions, keywords_of
from autoglm.llm.profiles import COMPATIBLE, LLAMACPP, OPENAI, VLLM, Form
from autoglm.llm.repair import NotReadable, fitted, read_loosely
from autoglm.llm.structured import forms_for, mend_answer, plan

ROW = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "x": {"type": "number"},
        "ok": {"type": "boolean"},
        "mood": {"enum": ["Good", "bad"]},
        "note": {"type": "string"},
        "list": {"type": "array", "items": {"type": "integer"}},
    },
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


class TestReading:
    @pytest.mark.parametrize(
        ("text", "value", "slip"),
        [
            ('{"a": [1, 2,],}', {"a": [1, 2]}, "a trailing comma"),
            ("{'a': 'it\\'s'}", {"a": "it's"}, "other quotes than JSON's"),
            ("{“a”: “b”}", {"a": "b"}, "other quotes than JSON's"),
            ("{a: 1}", {"a": 1}, "a key without quotes"),
            ('{"a": True, "b": None}', {"a": True, "b": None}, "`True`, which is not JSON"),
            ('{"a": 1, // one\n "b": 2 /* two */}', {"a": 1, "b": 2}, "a comment"),
            ('{"a": "x\ny"}', {"a": "x\ny"}, "a line break or control character in a text"),
            ('{"a": .5, "b": +1}', {"a": 0.5, "b": 1}, "a number in another form than JSON's"),
            ('{"a": [1, {"b": 2', {"a": [1, {"b": 2}]}, "a bracket that was never closed"),
            ('{"a": "x', {"a": "x"}, "a text that was never closed"),
            ('{"a": 1, "b', {"a": 1}, "a text that was never closed"),
            ('{"a": 1, "b":', {"a": 1}, None),
            ('Here you are: {"a": 1} I hope', {"a": 1}, None),
            ('{"a": "\\ud83d\\ude00 \\ud83d \\q"}', {"a": "😀 \ufffd \\q"}, "a backslash that escapes nothing"),
        ],
    )
    def test_slips(self, text, value, slip):
        reading = read_loosely(text)
        assert reading.value == value
        assert slip is None or slip in reading.slips

    @pytest.mark.parametrize("text", ["", "no json", "{", '{"a" 1}', '{"a": ?}', "[1}", '{"a": maybe}', "[" * 300])
    def test_what_is_no_json_however_loosely_read(self, text):
        if text == "{":
            assert read_loosely(text).is_cut
            return
        with pytest.raises(NotReadable):
            read_loosely(text)

    @given(st.lists(json_values, max_size=4) | st.dictionaries(st.text(max_size=5), json_values, max_size=4))
    def test_what_is_json_is_read_as_it_is(self, value):
        reading = read_loosely(json.dumps(value))
        assert reading.value == value
        assert not reading.is_cut

    @given(st.text(max_size=60))
    def test_any_text_is_read_or_refused(self, text):
        with contextlib.suppress(NotReadable):
            read_loosely(text)

    def test_a_long_text_takes_no_long_time(self):
        assert len(read_loosely('{"a": "' + "x" * 3_000_000 + '",}').value["a"]) == 3_000_000
        assert len(read_loosely('["' + "\\ud83d\\ude00" * 100_000 + '",]').value[0]) == 100_000


class TestFitting:
    @pytest.mark.parametrize(
        ("value", "fits"),
        [
            ({"n": "7"}, {"n": 7}),
            ({"n": "1,234"}, {"n": 1234}),
            ({"n": "7.5"}, {"n": "7.5"}),
            ({"n": "seven"}, {"n": "seven"}),
            ({"n": True}, {"n": True}),
            ({"x": "2.5"}, {"x": 2.5}),
            ({"x": "1e3"}, {"x": 1000.0}),
            ({"x": "nan"}, {"x": "nan"}),
            ({"ok": "True"}, {"ok": True}),
            ({"ok": "yes"}, {"ok": "yes"}),
            ({"ok": 1}, {"ok": 1}),
            ({"mood": " GOOD. "}, {"mood": "Good"}),
            ({"mood": "fine"}, {"mood": "fine"}),
            ({"note": 12}, {"note": "12"}),
            ({"note": None}, {}),
            ({"list": ["1", 2]}, {"list": [1, 2]}),
            ({"more": "1"}, {"more": "1"}),
        ],
    )
    def test_only_what_says_the_same_is_changed(self, value, fits):
        got, changes = fitted(value, ROW)
        assert got == fits
        assert bool(changes) == (value != fits)

    def test_references_within_the_schema_are_followed(self):
        schema = {"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}
        assert fitted({"a": "3"}, schema)[0] == {"a": 3}
        loop = {"$ref": "#"}
        assert fitted({"a": "3"}, loop)[0] == {"a": "3"}

    def test_null_that_is_allowed_or_required_stays(self):
        schema = {
            "properties": {"a": {"type": ["string", "null"]}, "b": {"type": "string"}, "c": {"enum": [None, 1]}},
            "required": ["b"],
        }
        assert fitted({"a": None, "b": None, "c": None}, schema)[0] == {"a": None, "b": None, "c": None}


class TestMending:
    def test_an_answer_is_mended_and_says_how(self):
        value, changes = mend_answer("Sure!\n```json\n{'n': '7', ok: True,}\n```", ROW)
        assert value == {"n": 7, "ok": True}
        assert "a trailing comma" in changes
        assert "`$.n` was text, and became an integer" in changes

    def test_what_was_cut_off_at_max_tokens_is_not_closed_by_us(self):
        text = "[1, 2, 3"
        schema = {"type": "array", "items": {"type": "integer"}}
        assert mend_answer(text, schema) is not None
        assert mend_answer(text, schema, finish_reason="length") is None

    def test_an_answer_that_means_something_else_is_not_mended(self):
        assert mend_answer('{"n": "many"}', {**ROW, "required": ["n"]}) is None

    def test_a_wrapped_answer(self):
        wish = plan({"type": "integer"}, OPENAI)
        assert wish.mend('{"value": "7"}') == (7, ["`$` was text, and became an integer"])


class TestLint:
    def test_keywords_are_found_in_every_part_but_not_in_names(self):
        schema = {"properties": {"not": {"items": {"minLength": 1}}}, "anyOf": [{"if": {}}], "enum": [{"pattern": 1}]}
        assert {"minLength", "if"} <= keywords_of(schema)
        assert not {"not", "pattern"} & keywords_of(schema)

    @pytest.mark.parametrize(
        ("schema", "path", "what"),
        [
            ({"minimum": 3, "maximum": 2}, ("minimum",), "more than `maximum`"),
            ({"properties": {"a": {"minLength": 3, "maxLength": 2}}}, ("properties", "a", "minLength"), "more than"),
            ({"type": "integer", "enum": ["a"]}, ("enum",), "integer"),
            ({"type": "string", "enum": []}, ("enum",), "empty"),
            ({"type": "string", "const": 1}, ("const",), "string"),
            ({"required": ["a"], "additionalProperties": False}, ("required",), "forbids"),
            ({"required": ["a"], "properties": {"a": False}}, ("properties", "a"), "allows nothing"),
            ({"anyOf": [{"minItems": 2, "maxItems": 1}]}, ("anyOf", 0, "minItems"), "more than"),
        ],
    )
    def test_what_nothing_can_satisfy(self, schema, path, what):
        (found,) = contradictions(schema)
        assert found[0] == path
        assert what in found[1]

    @pytest.mark.parametrize(
        "schema",
        [
            {},
            ROW,
            {"required": ["a"], "additionalProperties": False, "properties": {"a": {}}},
            {"required": ["a"], "additionalProperties": False, "patternProperties": {"a": {}}},
            {"type": ["string", "null"], "enum": ["a", None]},
            {"enum": [1, "a"]},
        ],
    )
    def test_what_something_can(self, schema):
        assert contradictions(schema) == []

    def test_what_a_server_cannot_take_natively_is_said_in_the_prompt(self):
        forms, notes = forms_for({"type": "array", "uniqueItems": True}, VLLM)
        assert forms == (Form.JSON_OBJECT, Form.PROMPT)
        assert "`uniqueItems`" in notes[0]
        assert forms_for({"type": "array"}, VLLM) == ((Form.JSON_SCHEMA, Form.JSON_OBJECT, Form.PROMPT), [])

    def test_what_a_server_does_not_enforce_is_said(self):
        forms, notes = forms_for({"type": "object", "minProperties": 1}, LLAMACPP)
        assert forms[0] is Form.OBJECT_SCHEMA
        assert "`minProperties`" in notes[0]
        assert forms_for({"pattern": "a"}, LLAMACPP)[0][0] is Form.JSON_OBJECT
        assert forms_for({"pattern": "^a$"}, LLAMACPP)[0][0] is Form.OBJECT_SCHEMA
        assert forms_for({"pattern": "a"}, COMPATIBLE) == ((Form.JSON_OBJECT, Form.PROMPT), [])

    def test_strict_mode_only_for_what_it_takes(self):
        closed = {
            "type": "object",
            "properties": {"a": {"type": "string"}},
            "required": ["a"],
            "additionalProperties": False,
        }
        assert plan(closed, OPENAI).response_format["json_schema"]["strict"] is True
        unique = {**closed, "properties": {"a": {"type": "array", "uniqueItems": True}}}
        assert "strict" not in plan(unique, OPENAI).response_format["json_schema"]

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm.base.redaction import MASK, Redactor, Secret, contains_secret, redact

KEY = 'sk-"quoted"/ä+line'
LONG = st.text(min_size=8, max_size=40).filter(lambda s: len(s.strip()) >= 8 and MASK not in s and "*" not in s)


def test_a_secret_is_its_value_but_not_in_a_repr() -> None:
    secret = Secret("hunter22")
    assert secret == "hunter22"
    assert f"{secret}!" == "hunter22!"
    assert repr(secret) == repr({"k": secret})[6:-1] == "'***'"


def test_structures() -> None:
    value = {"a": [1, {"b": Secret("x")}], "c": "plain"}
    assert contains_secret(value)
    assert redact(value) == {"a": [1, {"b": MASK}], "c": "plain"}
    clean = {"a": [1, "x"]}
    assert not contains_secret(clean)
    assert redact(clean) is clean
    assert contains_secret({Secret("key"): 1})
    assert redact({Secret("key"): 1}) == {MASK: 1}
    assert redact((Secret("x"),)) == [MASK]


def test_inactive_until_something_is_added() -> None:
    redactor = Redactor()
    assert not redactor.active
    redactor.add("")
    redactor.add("  ")
    assert not redactor.active
    redactor.add_all({"a": ["no", {"b": Secret("token-1")}], Secret("token-2"): 1})
    assert redactor.active
    assert redactor.scrub("token-1 token-2 no") == "*** *** no"


@pytest.mark.parametrize(
    "disguise",
    [
        KEY,
        json.dumps(KEY),
        json.dumps(KEY, ensure_ascii=False),
        urllib.parse.quote(KEY),
        urllib.parse.quote_plus(KEY),
        urllib.parse.urlencode({"k": KEY}),
        base64.b64encode(KEY.encode()).decode(),
        base64.urlsafe_b64encode(KEY.encode()).decode(),
    ],
)
def test_disguises(disguise: str) -> None:
    redactor = Redactor([KEY])
    scrubbed = redactor.scrub(f"before {disguise} after")
    assert scrubbed.startswith("before ")
    assert scrubbed.endswith(" after")
    assert MASK in scrubbed
    assert KEY not in scrubbed
    assert disguise.strip('"') not in scrubbed


@pytest.mark.parametrize("user", ["", "a", "ab", "abc", "abcd"])
def test_base64_of_longer_bytes(user: str) -> None:
    header = base64.b64encode(f"{user}:correct-horse-battery:x".encode()).decode()
    scrubbed = Redactor(["correct-horse-battery"]).scrub(header)
    assert MASK in scrubbed
    assert len(scrubbed) < len(user) * 4 / 3 + 20


def test_lines_of_a_long_key_are_found_one_by_one() -> None:
    key = "-----BEGIN KEY-----\nMIIBVgIBADANBgkqh\nkiG9w0BAQEFAASC\n-----END KEY-----"
    redactor = Redactor([key])
    assert redactor.scrub("MIIBVgIBADANBgkqh") == MASK
    assert redactor.scrub(key) == MASK
    assert redactor.scrub("-----BEGIN KEY-----") == "-----BEGIN KEY-----"


def test_short_secrets_are_whole_words_only() -> None:
    redactor = Redactor(["a", "42"])
    assert redactor.scrub("banana a 42 142") == "banana *** *** 142"
    assert redactor.scrub_json(b'{"k":["a","apple",42,142]}') == b'{"k":["***","apple",42,142]}'


def test_overlapping_secrets_leave_no_end() -> None:
    assert Redactor(["abcdef", "defghi"]).scrub("xabcdefghix") == "x***x"
    assert Redactor(["secret", "secret-longer"]).scrub("secret-longer secret") == "*** ***"


def test_json_stays_json() -> None:
    redactor = Redactor([KEY, "123456", "true", "null"])
    raw = json.dumps({"a": KEY, "n": 123456, "f": 1234567, "t": [True, None, "null"], KEY: json.dumps([KEY])}).encode()
    clean = json.loads(redactor.scrub_json(raw))
    assert clean == {"a": MASK, "n": MASK, "f": 1234567, "t": [True, None, MASK], MASK: '["***"]'}


def test_clean_json_is_handed_back_as_it_is() -> None:
    redactor = Redactor([KEY])
    raw = b'{"a": [1, 2.50, "x"]}'
    assert redactor.scrub_json(raw) is raw
    value = {"a": [1, ("b",)]}
    assert redactor.scrub_value(value) is value
    text = "nothing here"
    assert redactor.scrub(text) is text


def test_what_is_no_json_is_scrubbed_as_text() -> None:
    redactor = Redactor(["hunter22"])
    assert redactor.scrub_json(b"{hunter22 \xff") == b"{*** \xff"
    assert redactor.scrub_json(b"[" * 100_000 + b"hunter22").endswith(b"***")


def test_marked_values_go_even_when_not_known() -> None:
    assert Redactor().scrub_value({"a": Secret("never added")}) == {"a": MASK}


@given(LONG, st.text(), st.text())
def test_no_secret_survives(secret: str, before: str, after: str) -> None:
    redactor = Redactor([secret])
    text = before + secret + after
    assert secret not in redactor.scrub(text)
    for ascii_only in (True, False):
        clean = redactor.scrub_json(json.dumps({"k": [text], text: 1}, ensure_ascii=ascii_only).encode())
        assert secret not in str(json.loads(clean))

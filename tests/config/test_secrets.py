from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm.base.errors import SpecError, TaskError
from autoglm.base.redaction import Secret
from autoglm.config.environment import allowed_environment
from autoglm.config.secrets import Secrets, parse_dotenv

KEY = "sk-very-secret-value"


@pytest.fixture
def dotenv(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_text(f"API_KEY={KEY}\nOTHER=other-value\n")
    path.chmod(0o600)
    return path


def test_the_environment_comes_before_the_file_and_the_prefix_before_the_bare_name(dotenv: Path) -> None:
    assert Secrets({}, dotenv).get("API_KEY") == KEY
    assert Secrets({"API_KEY": "bare"}, dotenv).get("API_KEY") == "bare"
    assert Secrets({"API_KEY": "bare", "AUTOGLM_SECRET_API_KEY": "prefixed"}, dotenv)["API_KEY"] == "prefixed"


def test_every_value_is_tainted_and_no_repr_shows_one(dotenv: Path) -> None:
    secrets = Secrets({"TOKEN": KEY}, dotenv)
    assert isinstance(secrets.get("API_KEY"), Secret)
    assert isinstance(secrets.get("TOKEN"), Secret)
    assert KEY not in repr(secrets)
    assert KEY not in repr(secrets.get("API_KEY"))


def test_a_missing_secret_names_the_places_and_the_nearest_name(dotenv: Path) -> None:
    with pytest.raises(TaskError) as caught:
        Secrets({}, dotenv).get("API_KEYS")
    error = caught.value
    assert error.code == "secret-missing"
    assert not error.retryable
    assert str(dotenv) in error.message
    assert "AUTOGLM_SECRET_API_KEYS" in error.message
    assert error.hint == "did you mean secrets.API_KEY?"
    assert KEY not in f"{error} {error.hint}"


def test_a_missing_secret_without_a_file_says_how_to_set_it(tmp_path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        Secrets({}, tmp_path / ".env")["TOKEN"]
    assert caught.value.hint == "export TOKEN=… or add TOKEN=… to .env"
    with pytest.raises(TaskError):
        Secrets({"TOKEN": ""}).get("TOKEN")


def test_a_default_makes_a_secret_optional(dotenv: Path) -> None:
    assert Secrets({}, dotenv).get("NOTHING", "") == ""
    assert Secrets({}, dotenv).get("API_KEY", "") == KEY


def test_names_are_listed_without_values(dotenv: Path) -> None:
    secrets = Secrets({"AUTOGLM_SECRET_TOKEN": KEY, "HOME": "/root"}, dotenv)
    assert list(secrets) == ["API_KEY", "OTHER", "TOKEN"]
    assert len(secrets) == 3
    assert "TOKEN" in secrets
    assert "HOME" in secrets
    assert "NOTHING" not in secrets


def test_the_file_is_read_only_when_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("this is not a variable")
    secrets = Secrets({"TOKEN": KEY}, path)
    assert secrets.get("TOKEN") == KEY
    with pytest.raises(TaskError) as caught:
        secrets.get("OTHER")
    assert caught.value.code == "dotenv-syntax"
    assert f"{path}:1:1" in caught.value.message


def test_a_file_that_everybody_can_read_is_a_warning(dotenv: Path) -> None:
    assert Secrets({}, dotenv).warnings() == []
    dotenv.chmod(0o644)
    (warning,) = Secrets({}, dotenv).warnings()
    assert warning.code == "secrets-readable"
    assert not warning.is_error
    assert warning.hint == f"chmod 600 {dotenv}"


@pytest.mark.parametrize("content", [b"A=\xff\xfe", b"#" * (1024 * 1024 + 1)])
def test_a_file_that_is_not_small_text_is_a_coded_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ".env"
    path.write_bytes(content)
    with pytest.raises(TaskError) as caught:
        Secrets({}, path).get("A")
    assert caught.value.code == "dotenv-unreadable"


@pytest.mark.parametrize("path", [Path("/"), Path("a\0b")])
def test_a_path_that_is_no_file_is_a_coded_error(path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        Secrets({}, path).get("A")
    assert caught.value.code in {"dotenv-unreadable", "secret-missing"}


DOTENV = r"""
# a comment
PLAIN=value
export EXPORTED = spaced   # a comment
EMPTY=
HASH=a#b
DOUBLE="with # and \"quotes\" and \n a line"  # comment
SINGLE='keeps \n and $HOME and "this"'
MANY="first
second"
URL=postgres://user:p=ss@host/db?x=1
LAST=one
LAST=two
"""


def test_the_parser_reads_what_people_write() -> None:
    assert parse_dotenv(DOTENV, ".env") == {
        "PLAIN": "value",
        "EXPORTED": "spaced",
        "EMPTY": "",
        "HASH": "a#b",
        "DOUBLE": 'with # and "quotes" and \n a line',
        "SINGLE": r'keeps \n and $HOME and "this"',
        "MANY": "first\nsecond",
        "URL": "postgres://user:p=ss@host/db?x=1",
        "LAST": "two",
    }


def test_every_bad_line_is_reported_and_none_is_quoted() -> None:
    text = f'GOOD=1\n{KEY}\nOPEN=\'{KEY}\n1NAME=x\nTRAIL="a" {KEY}\n'
    with pytest.raises(SpecError) as caught:
        parse_dotenv(text, ".env")
    assert [d.place.line for d in caught.value.diagnostics if d.place] == [2, 3, 4, 5]
    assert {d.code for d in caught.value.diagnostics} == {"dotenv-syntax"}
    assert all(KEY not in f"{d} {d.hint} {d.excerpt}" for d in caught.value.diagnostics)


@given(st.text(max_size=200))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    with contextlib.suppress(SpecError):
        parse_dotenv(text, ".env")


@given(
    st.text(
        alphabet=st.characters(exclude_characters="'\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029\0", exclude_categories=["Cs"])
    )
)
def test_single_quotes_keep_everything(value: str) -> None:
    assert parse_dotenv(f"NAME='{value}'", ".env") == {"NAME": value}


def test_templates_see_only_the_allowed_environment() -> None:
    assert allowed_environment(["HOME", "NOPE"], {"HOME": "/root", "TOKEN": KEY}) == {"HOME": "/root"}

"""Mending a model's JSON without asking it again: what is nearly JSON is read, and nearly fitting values are fitted.

Pure, and careful: a repair never invents a value. :func:`read_loosely` reads the usual slips (trailing commas, single
or typographic quotes, bare keys, comments, Python's words, line breaks in strings, brackets that were never closed);
:func:`fitted` gives values the type that the schema wants where they say the same (``"7"`` for 7, ``"Yes"`` for an
enum's ``yes``). Whatever comes out is validated like any other answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from autoglm.base.jsonvalue import MAX_DEPTH, is_of_type
from autoglm.base.schemas import Schema

_QUOTES: Final = {'"': '"', "'": "'", "“": "”", "‘": "’", "`": "`", "「": "」"}
_WORDS: Final[Mapping[str, Any]] = {
    "true": True,
    "True": True,
    "false": False,
    "False": False,
    "null": None,
    "None": None,
    "undefined": None,
}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\"}
_NUMBER: Final = re.compile(r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_BARE: Final = re.compile(r"[^\s,:\[\]{}\"'/#]+")
_SPACE: Final = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/|#[^\n]*)+", re.DOTALL)
_LOW_HALF: Final = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_RUNS: Final = {closer: re.compile(rf"[^{re.escape(closer)}\\\x00-\x1f]+") for closer in set(_QUOTES.values())}
"""What a text may hold without a second look, by the quote that ends it."""
_OPEN: Final = re.compile(r"[\[{]")
_EXACT_NUMBER: Final = re.compile(r"\s*[+-]?(\d{1,15}|\d{1,3}(,\d{3}){1,4})(\.\d{1,15})?([eE][+-]?\d{1,3})?\s*")


class NotReadable(ValueError):
    """The text is no JSON, loosely read."""


@dataclass(slots=True)
class Reading:
    """A value that was read loosely, and what had to be overlooked."""

    value: Any
    slips: list[str] = field(default_factory=list)
    is_cut: bool = False
    """True when the text ended before its brackets did."""


def read_loosely(text: str) -> Reading:
    """Return the first object or list in ``text``, read loosely. Raises NotReadable."""
    start = _OPEN.search(text)
    if start is None:
        raise NotReadable("there is no object or list in it")
    reader = _Reader(text, start.start())
    value = reader.value(0)
    return Reading(value, list(dict.fromkeys(reader.slips)), reader.is_cut)


class _Reader:
    """Reads JSON as people and models write it. One pass, no going back."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at
        self.slips: list[str] = []
        self.is_cut = False

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise NotReadable("it nests too deeply")
        self._space()
        character = self._peek()
        if character == "{":
            return self._object(depth)
        if character == "[":
            return self._list(depth)
        if character in _QUOTES:
            return self._string(character)
        return self._word()

    def _object(self, depth: int) -> dict[str, Any]:
        self.at += 1
        found: dict[str, Any] = {}
        while self._more("}"):
            key = self._key()
            self._space()
            if self._peek() in (":", "："):
                self.at += 1
            elif not self._peek():
                self.is_cut = True  # a key whose value never came says nothing
                break
            else:
                raise NotReadable(f"a colon is missing after {key!r}")
            self._space()
            if not self._peek():
                self.is_cut = True
                break
            found[key] = self.value(depth + 1)
        return found

    def _list(self, depth: int) -> list[Any]:
        self.at += 1
        found: list[Any] = []
        while self._more("]"):
            found.append(self.value(depth + 1))
        return found

    def _more(self, closer: str) -> bool:
        """Go over space and commas to the next entry; False at the closing bracket, or where the text ends."""
        commas = 0
        while True:
            self._space()
            character = self._peek()
            if character not in (",", "，"):
                break
            commas += 1
            self.at += 1
        if not character:
            self.is_cut = True
            self.slips.append("a bracket that was never closed")
            return False
        if character == closer:
            if commas:
                self.slips.append("a trailing comma")
            self.at += 1
            return False
        if character in "]}":
            raise NotReadable(f"{character!r} stands where {closer!r} should")
        if commas > 1:
            self.slips.append("a comma too many")
        return True

    def _key(self) -> str:
        character = self._peek()
        if character in _QUOTES:
            return self._string(character)
        found = _BARE.match(self.text, self.at)
        if found is None:
            raise NotReadable(f"{character!r} stands where a key should")
        self.slips.append("a key without quotes")
        self.at = found.end()
        return found.group()

    def _string(self, opener: str) -> str:
        closer = _QUOTES[opener]
        if opener != '"':
            self.slips.append("other quotes than JSON's")
        self.at += 1
        parts: list[str] = []
        while True:
            if run := _RUNS[closer].match(self.text, self.at):
                parts.append(run.group())
                self.at = run.end()
            character = self._peek()
            if not character:
                self.is_cut = True
                self.slips.append("a text that was never closed")
                return "".join(parts)
            self.at += 1
            if character == closer:
                return "".join(parts)
            if character == "\\":
                parts.append(self._escape())
            else:
                if character < " ":
                    self.slips.append("a line break or control character in a text")
                parts.append(character)

    def _escape(self) -> str:
        character = self._peek()
        self.at += 1
        if character == "u":
            digits = self.text[self.at : self.at + 4]
            if re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                self.at += 4
                return self._paired(int(digits, 16))
        if character in _ESCAPES:
            return _ESCAPES[character]
        if character not in ('"', "'"):
            self.slips.append("a backslash that escapes nothing")
            return "\\" + character
        return character

    def _paired(self, code: int) -> str:
        """Return the character of an escape, together with the second half of a surrogate pair."""
        if 0xD800 <= code < 0xDC00 and (low := _LOW_HALF.match(self.text, self.at)):
            self.at += 6
            return chr(0x10000 + ((code - 0xD800) << 10) + int(low.group(1), 16) - 0xDC00)
        return chr(code) if not 0xD800 <= code < 0xE000 else "\ufffd"

    def _word(self) -> Any:
        number = _NUMBER.match(self.text, self.at)
        bare = _BARE.match(self.text, self.at)
        if bare is None:
            raise NotReadable(f"{self._peek()!r} stands where a value should")
        word = bare.group()
        self.at = bare.end()
        if number is not None and number.end() == bare.end():
            return self._number(word)
        if word in _WORDS:
            if word not in ("true", "false", "null"):
                self.slips.append(f"`{word}`, which is not JSON")
            return _WORDS[word]
        raise NotReadable(f"{word[:40]!r} stands where a value should")

    def _number(self, word: str) -> int | float:
        plain = word.replace("_", "")
        if plain != word or plain[0] in "+." or plain.endswith(".") or re.match(r"-?0\d", plain):
            self.slips.append("a number in another form than JSON's")
        if len(plain) > 300:
            raise NotReadable("a number is too long")
        try:
            return int(plain)
        except ValueError:
            value = float(plain)
        if value in (float("inf"), float("-inf")):
            raise NotReadable("a number is too large")
        return value

    def _space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        if found is not None:
            if found.group().strip():
                self.slips.append("a comment")
            self.at = found.end()

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]


# ------------------------------------------------------------------------------------------------------- fitting


def fitted(value: Any, schema: Schema) -> tuple[Any, list[str]]:
    """Return ``value`` with its parts in the types that ``schema`` wants, and what was changed, as sentences.

    Only what says the same is changed; where ``schema`` leaves a choice (``anyOf``), nothing is.
    """
    fitter = _Fitter(schema)
    return fitter.fit(value, schema, "$", 0), fitter.changes


class _Fitter:
    def __init__(self, root: Schema) -> None:
        self.root = root
        self.changes: list[str] = []

    def fit(self, value: Any, schema: Any, path: str, depth: int) -> Any:
        schema = self._resolved(schema)
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
            return value
        types = schema.get("type")
        wanted = [types] if isinstance(types, str) else [each for each in types or () if isinstance(each, str)]
        if wanted and not any(is_of_type(value, each) for each in wanted):
            value = self._retyped(value, wanted, path)
        value = self._chosen(value, schema, path)
        if isinstance(value, dict):
            return self._object(value, schema, path, depth)
        if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
            return [self.fit(each, schema["items"], f"{path}[{at}]", depth + 1) for at, each in enumerate(value)]
        return value

    def _object(self, value: dict[str, Any], schema: Mapping[str, Any], path: str, depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        further = schema.get("additionalProperties")
        required = schema.get("required", ())
        found: dict[str, Any] = {}
        for key, each in value.items():
            inner = properties.get(key, further)
            if each is None and key in properties and key not in required and not self._allows_null(properties[key]):
                self.changes.append(f"`{path}.{key}` was null and is optional: left out")
                continue
            found[key] = self.fit(each, inner, f"{path}.{key}", depth + 1)
        return found

    def _allows_null(self, schema: Any) -> bool:
        schema = self._resolved(schema)
        if not isinstance(schema, Mapping):
            return True
        types, allowed = schema.get("type"), schema.get("enum")
        if types is None and isinstance(allowed, list):
            return None in allowed
        return types is None or types == "null" or (isinstance(types, list) and "null" in types)

    def _retyped(self, value: Any, wanted: list[str], path: str) -> Any:
        for kind in wanted:
            new = _as(kind, value)
            if new is not None:
                self.changes.append(f"`{path}` was {_kind(value)}, and became {_kind(new)}")
                return new
        return value

    def _chosen(self, value: Any, schema: Mapping[str, Any], path: str) -> Any:
        """Return the one word of an enum that ``value`` is, but for case and space around it."""
        allowed = schema.get("enum")
        if not isinstance(value, str) or not isinstance(allowed, list) or value in allowed:
            return value
        near = [each for each in allowed if isinstance(each, str) and _plain(each) == _plain(value)]
        if len(near) != 1:
            return value
        self.changes.append(f"`{path}` was {value[:40]!r}, and became {near[0][:40]!r}")
        return near[0]

    def _resolved(self, schema: Any) -> Any:
        """Follow references within the schema, a few times."""
        for _ in range(8):
            reference = schema.get("$ref") if isinstance(schema, Mapping) else None
            if not isinstance(reference, str) or not reference.startswith("#/"):
                return schema
            schema = self.root
            for key in reference[2:].split("/"):
                schema = schema.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(schema, Mapping) else None
        return schema


def _as(kind: str, value: Any) -> Any:
    """Return ``value`` as a value of ``kind`` that says the same; None where there is none."""
    match kind, value:
        case "integer", str() if _EXACT_NUMBER.fullmatch(value):
            number = float(value.replace(",", ""))
            return int(number) if number.is_integer() else None
        case "integer", float() if value.is_integer():
            return int(value)
        case "number", str() if _EXACT_NUMBER.fullmatch(value):
            number = float(value.replace(",", ""))
            return int(number) if number.is_integer() and "." not in value and "e" not in value.lower() else number
        case "boolean", str() if _plain(value) in ("true", "false"):
            return _plain(value) == "true"
        case "string", bool():
            return "true" if value else "false"
        case "string", int() | float():
            return str(value)
        case _:
            return None


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(".").casefold()


def _kind(value: Any) -> str:
    return {str: "text", int: "an integer", float: "a number", bool: "a truth value"}.get(type(value), "something else")

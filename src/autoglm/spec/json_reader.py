"""JSON text to data: a fast way for what is right, a careful one that finds every mistake and every position.

Beyond RFC 8259 we ask for unique keys, finite numbers of 64 bits, whole surrogate pairs and bounded depth. The careful
reader also reads on over what people write by habit (comments, trailing commas, single quotes), so that they learn of
all of it at once.
"""

from __future__ import annotations

import json
import math
import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # public, but unknown to typeshed
from typing import Any

from autoglm.spec.tree import INTEGERS, MAX_DEPTH, Composition, Lines, Node, Problems, Span, Unusual, shorten

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def load(text: str) -> Any:
    """Return the data of a faultless text.

    Raises:
        Unusual: it is not faultless, or only :func:`compose` can tell.
    """
    try:
        data = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise Unusual from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_too_deep(data):
        raise Unusual
    if _SURROGATE_ESCAPE.search(text):
        try:
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise Unusual from error
    return data


def compose(text: str) -> Composition:
    """Read carefully. Raises BrokenText when the rest makes no sense."""
    return _Composer(text).compose()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError
    return mapping


def _integer(digits: str) -> int:
    if len(digits) > 20 or (number := int(digits)) not in INTEGERS:
        raise ValueError
    return number


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError
    return number


def _constant(name: str) -> Any:
    raise ValueError(name)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _is_too_deep(data: Any) -> bool:
    level = [data] if isinstance(data, dict | list) else []
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for container in level:
            values = container.values() if container.__class__ is dict else container
            inner += [value for value in values if value.__class__ is dict or value.__class__ is list]
        level = inner
    return bool(level)


_SPACE = re.compile(r"[ \t\r\n]*")
_COMMENT = re.compile(r"//[^\r\n]*|#[^\r\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?(?![0-9A-Za-z_.+-])")
_WORD = re.compile(r"[^\s,:\[\]{}\"'/]+")
_SINGLE_QUOTED = re.compile(r"'[^'\r\n]*'")
_CONSTANTS = {"true": True, "false": False, "null": None}
_NOT_FINITE = {"NaN", "nan", "Infinity", "-Infinity", "+Infinity", "inf", "-inf"}
_SPELLINGS = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "None": "null", "undefined": "null"}


class _Composer:
    """Walks the text with a stack of its own: depth never becomes recursion."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.problems = Problems()
        self.lines = Lines(text)
        self.stack: list[tuple[Any, Node]] = []

    def compose(self) -> Composition:
        self._skip()
        if self.at == len(self.text):
            raise self.problems.fatal("empty-file", "the file is empty", (0, 0))
        data, root = self._value()
        while self.stack:
            self._step()
        self._skip()
        if self.at < len(self.text):
            raise self.problems.fatal(
                "syntax",
                "the JSON value ends before this",
                self._here(),
                "remove what follows it, or the bracket too many",
            )
        return Composition(data, root, self.problems.found)

    def _step(self) -> None:
        """Read the next item of the innermost open list or mapping, or its closing bracket."""
        container, node = self.stack[-1]
        self._skip()
        is_list = container.__class__ is list
        closing = "]" if is_list else "}"
        if self._closes(closing):
            node.end = self.at
            self.stack.pop()
            return
        if len(container):
            self._comma(closing)
            self._skip()
            if self._closes(closing):
                node.end = self.at
                self.stack.pop()
                return
        if is_list:
            value, child = self._value()
            container.append(value)
            node.children.append(child)
            return
        key, span = self._key()
        self._skip()
        if self.text[self.at : self.at + 1] != ":":
            raise self._unexpected(f"expected `:` after the key `{shorten(key)}`")
        self.at += 1
        self._skip()
        duplicate = key in container
        if duplicate:
            self.problems.duplicate_key(key, span, node.children[key][0][0], self.lines)
        value, child = self._value()
        if not duplicate:
            container[key] = value
            node.children[key] = (span, child)

    def _closes(self, bracket: str) -> bool:
        if self.text[self.at : self.at + 1] == bracket:
            self.at += 1
            return True
        return False

    def _comma(self, closing: str) -> None:
        if self.text[self.at : self.at + 1] != ",":
            raise self._unexpected(f"expected `,` or `{closing}`")
        comma = self.at
        self.at += 1
        self._skip()
        if self.text[self.at : self.at + 1] == closing:
            self.problems.add(
                "syntax", "JSON allows no comma after the last item", (comma, comma + 1), "remove the comma"
            )

    def _skip(self) -> None:
        """Go over white space, and over comments with a complaint."""
        while True:
            if space := _SPACE.match(self.text, self.at):
                self.at = space.end()
            comment = _COMMENT.match(self.text, self.at)
            if comment is None:
                return
            self.problems.add(
                "syntax", "JSON has no comments", comment.span(), "remove it, or save the file as .yaml, where # works"
            )
            self.at = comment.end()

    def _key(self) -> tuple[str, Span]:
        start = self.at
        if self.text[start : start + 1] in ('"', "'"):
            key = self._string()
            return key, (start, self.at)
        word = _WORD.match(self.text, start)
        if word is None:
            raise self._unexpected("expected a key in double quotes")
        self.at = word.end()
        self.problems.add(
            "syntax", "a key must stand in double quotes", word.span(), f'write "{shorten(word.group())}"'
        )
        return word.group(), word.span()

    def _value(self) -> tuple[Any, Node]:
        start = self.at
        first = self.text[start : start + 1]
        if first and first in "[{":
            if len(self.stack) >= MAX_DEPTH:
                raise self.problems.too_deep(start)
            self.at += 1
            data: Any = [] if first == "[" else {}
            node = Node(start, start + 1, [] if first == "[" else {})
            self.stack.append((data, node))
            return data, node
        value = self._string() if first in ('"', "'") else self._plain()
        return value, Node(start, self.at)

    def _string(self) -> str:
        start = self.at
        single = _SINGLE_QUOTED.match(self.text, start)
        if single:
            self.at = single.end()
            written = shorten(single.group()[1:-1])
            self.problems.add("syntax", "JSON text stands in double quotes", single.span(), f'write "{written}"')
            return single.group()[1:-1]
        if self.text[start] == "'":
            raise self._unexpected("text stands in double quotes")
        try:
            value: str
            value, self.at = scanstring(self.text, start + 1, True)
        except json.JSONDecodeError as error:
            raise self._bad_string(start, error) from None
        try:
            value.encode()
        except UnicodeEncodeError:
            self.problems.lone_surrogate((start, self.at))
            value = value.encode(errors="replace").decode()
        return value

    def _bad_string(self, start: int, error: json.JSONDecodeError) -> Exception:
        if error.msg.startswith("Unterminated"):
            return self.problems.fatal(
                "syntax", "the quote that opens here is never closed", (start, start + 1), 'add the closing "'
            )
        span = (error.pos, min(error.pos + 1, len(self.text)))
        if "control character" in error.msg:
            return self.problems.fatal(
                "syntax", "a line break or control character inside quotes", span, "write \\n for a line break"
            )
        return self.problems.fatal(
            "syntax", "this backslash starts no known escape", span, "double it: \\\\ stands for one backslash"
        )

    def _plain(self) -> Any:
        start = self.at
        number = _NUMBER.match(self.text, start)
        if number:
            self.at = number.end()
            try:
                is_float = number.group(1) or number.group(2)
                return _float(number.group()) if is_float else _integer(number.group())
            except ValueError:
                self.problems.big_number(number.span())
                return 0
        word = _WORD.match(self.text, start)
        if word is None:
            raise self._unexpected("expected a value")
        self.at = word.end()
        text = word.group()
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if text in _NOT_FINITE:
            self.problems.add("not-finite", f"`{text}` is no JSON number", word.span(), "use null, or text in quotes")
        elif text in _SPELLINGS:
            self.problems.add("syntax", f"`{text}` is not JSON", word.span(), f"write {_SPELLINGS[text]}")
        elif re.fullmatch(r"[-+.]*[0-9][0-9A-Za-z_.+-]*", text):
            self.problems.add(
                "syntax",
                f"`{shorten(text)}` is not a JSON number",
                word.span(),
                "no leading zero, plus or point: 10, 0.5, 1e3; put other text in quotes",
            )
        else:
            self.problems.add(
                "syntax", f"the text `{shorten(text)}` needs quotes", word.span(), f'write "{shorten(text)}"'
            )
        return None

    def _unexpected(self, expected: str) -> Exception:
        if self.at >= len(self.text):
            opened = self.stack[-1][1].start if self.stack else 0
            line, _ = self.lines.position(opened)
            what = f"; the `{self.text[opened]}` of line {line} is never closed" if self.stack else ""
            return self.problems.fatal("syntax", f"the file ends too early{what}", (self.at, self.at))
        return self.problems.fatal("syntax", f"{expected}, not `{shorten(self.text[self.at])}`", self._here())

    def _here(self) -> Span:
        return self.at, min(self.at + 1, len(self.text))

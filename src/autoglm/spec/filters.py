"""The filters of expressions: Jinja's own, made safe and plain, and ours.

Each filter is wrapped: what it walks over is counted, its text is bounded, and it never gives Jinja's ``Markup``.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from jinja2 import Environment, Undefined, pass_environment
from jinja2.filters import FILTERS, make_attrgetter

from autoglm.base.jsonvalue import NotJson, decode
from autoglm.spec.evaluation import current
from autoglm.spec.faults import ExpressionError, too_large
from autoglm.spec.jsonform import MAX_TEXT, check_size, json_text, to_text

_REGEX_INPUT: Final = 100_000
_REGEX_PATTERN: Final = 1_000
_MAX_WIDTH: Final = 100_000
_NOT_OFFERED: Final = frozenset({"random", "pprint", "safe", "urlize", "xmlattr", "forceescape"})
_SIZED: Final = frozenset({"center", "indent", "batch", "slice", "wordwrap", "truncate", "tojson", "round"})

_ATOM = r"(?:\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[^\\()\[\]|*+?{}])"
_RUNAWAY = re.compile(rf"\((?:\?:|\?P<\w+>)?(?:{_ATOM}[*?])*{_ATOM}[*+](?:{_ATOM}[*?])*\)(?:[*+]|\{{[0-9]*,[0-9]*\}})")
"""A repeated group that is nothing but a repetition, ``(a+)+``: the number of ways to match it explodes."""


def tojson(value: Any, indent: int | None = None) -> str:
    """Return the value as JSON text."""
    return json_text(value, indent)


def fromjson(text: Any) -> Any:
    """Return the value that a JSON text stands for."""
    try:
        return decode(_text(text, "fromjson"))
    except NotJson as error:
        raise ExpressionError(f"`fromjson`: {error}") from None


def b64encode(value: Any) -> str:
    """Return the base64 of a text's UTF-8 bytes."""
    return base64.b64encode(to_text(value).encode()).decode()


def b64decode(value: Any) -> str:
    """Return the text whose UTF-8 bytes the base64 stands for (standard or URL alphabet, padding optional)."""
    text = _text(value, "b64decode").strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        raise ExpressionError("`b64decode`: this is not the base64 of a text") from None


def regex_search(value: Any, pattern: str, ignore_case: bool = False) -> Any:
    """Return the first match: its text, its groups when the pattern has several, its group when one; null for none."""
    match = _pattern(pattern, ignore_case).search(_regex_input(value))
    if match is None:
        return None
    groups = match.groups()
    return match.group() if not groups else groups[0] if len(groups) == 1 else list(groups)


def regex_replace(value: Any, pattern: str, replacement: str = "", ignore_case: bool = False) -> str:
    r"""Return the text with every match replaced; the replacement may say ``\1`` or ``\g<name>``."""
    text = _regex_input(value)
    if len(text) * (len(replacement) + text.count("\n") + 1) > MAX_TEXT * 16:
        raise too_large("the replacement would give too much text")
    return _pattern(pattern, ignore_case).sub(replacement, text)


def sha256(value: Any) -> str:
    """Return the SHA-256 of the text's UTF-8 bytes, in hexadecimal."""
    return hashlib.sha256(to_text(value).encode()).hexdigest()


def slugify(value: Any, separator: str = "-") -> str:
    """Return the text as a name for files and addresses: small letters and digits of any script, words joined."""
    text = unicodedata.normalize("NFKD", to_text(value))
    text = unicodedata.normalize("NFC", "".join(c for c in text if not unicodedata.combining(c)))
    return separator.join(re.findall(r"[^\W_]+", text.casefold()))


@pass_environment
def attr(environment: Environment, value: Any, name: str) -> Any:
    """Return the field ``name``, as a dot would."""
    return environment.getattr(value, _text(name, "attr"))


@pass_environment
def join(environment: Environment, value: Iterable[Any], d: Any = "", attribute: str | int | None = None) -> str:
    """Return the entries' texts with ``d`` between them."""
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    return join_texts(to_text(d), value)


def join_texts(separator: str, values: Iterable[Any]) -> str:
    """Join texts, after a look at how long it will be."""
    texts = [_output(value) for value in values]
    size = sum(map(len, texts)) + len(separator) * max(0, len(texts) - 1)
    if size > MAX_TEXT:
        raise too_large(f"its text has {size:,} characters")
    return separator.join(texts)


def replace(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    """Return the text with ``old`` replaced by ``new``, at most ``count`` times."""
    text, old, new = to_text(value), to_text(old), to_text(new)
    times = len(text) + 1 if not old else text.count(old)
    if len(text) + times * len(new) > MAX_TEXT:
        raise too_large("the replacement would give too much text")
    return text.replace(old, new, -1 if count is None else count)


def percent_format(text: str, arguments: Any) -> str:
    """Return ``text % arguments`` for widths of reason."""
    if re.search(r"%[^a-zA-Z%]*(?:[0-9]{5,}|\*)", text):
        raise too_large("the format asks for a very wide field")
    if isinstance(arguments, str) and text.count("%") * len(arguments) > MAX_TEXT:
        raise too_large("the format gives too much text")
    return check_size(text % arguments)


def format_filter(value: Any, *args: Any, **kwargs: Any) -> str:
    """Return printf-style formatting: ``"%s, %.2f" | format(name, price)``."""
    if args and kwargs:
        raise ExpressionError("`format` takes positional or named arguments, not both")
    return percent_format(_text(value, "format"), kwargs or args)


def escape(value: Any) -> str:
    """Return the text with ``&``, ``<``, ``>`` and quotes as HTML says them."""
    return html.escape(to_text(value))


def build_filters() -> dict[str, Callable[..., Any]]:
    """Return every filter by name, wrapped."""
    own: dict[str, Callable[..., Any]] = {
        "tojson": tojson,
        "fromjson": fromjson,
        "b64encode": b64encode,
        "b64decode": b64decode,
        "regex_search": regex_search,
        "regex_replace": regex_replace,
        "sha256": sha256,
        "slugify": slugify,
        "attr": attr,
        "join": join,
        "replace": replace,
        "format": format_filter,
        "escape": escape,
        "e": escape,
        "string": to_text,
    }
    offered = {name: function for name, function in FILTERS.items() if name not in _NOT_OFFERED} | own
    return {name: _guarded(name, function) for name, function in offered.items()}


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    first = 1 if getattr(function, "jinja_pass_arg", None) is not None else 0
    sized = name in _SIZED
    takes_undefined = name in ("default", "d")

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        value = args[first]
        if isinstance(value, Undefined) and not takes_undefined:
            str(value)  # raises what is missing
        if sized:
            for argument in (*args[first + 1 :], *kwargs.values()):
                if isinstance(argument, int) and abs(argument) > _MAX_WIDTH:
                    raise too_large(f"`{name}` is asked for {argument:,}")
        result = function(*args[:first], walked(value), *args[first + 1 :], **kwargs)
        if isinstance(result, str):
            return result if type(result) is str else str.__str__(check_size(result))
        return result

    return guarded


def walked(value: Any) -> Any:
    """Return ``value`` for walking over it once, counted against what the evaluation may do."""
    if isinstance(value, list | tuple | dict | range):
        current().spend(len(value))
        return value
    if isinstance(value, str):
        current().spend(len(value) >> 6)
        return value
    if hasattr(value, "__next__"):
        return _counted(value)
    return value


def _counted(values: Iterator[Any]) -> Iterator[Any]:
    evaluation = current()
    for value in values:
        evaluation.spend(1)
        yield value


def _output(value: Any) -> str:
    return str(value) if isinstance(value, Undefined) else to_text(value)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ExpressionError(f"`{name}` needs text", hint="turn the value into text first: value | string")
    return value


def _regex_input(value: Any) -> str:
    text = to_text(value)
    if len(text) > _REGEX_INPUT:
        raise too_large(f"a pattern is matched against {len(text):,} characters, and {_REGEX_INPUT:,} is the most")
    return text


@functools.lru_cache(maxsize=256)
def _pattern(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    if not isinstance(pattern, str):
        raise ExpressionError("a pattern must be text")
    if len(pattern) > _REGEX_PATTERN:
        raise too_large(f"the pattern has more than {_REGEX_PATTERN} characters")
    if _RUNAWAY.search(pattern):
        raise too_large(f"the pattern {pattern!r} repeats a repetition, which may take for ever")
    try:
        return re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except (re.error, OverflowError, RecursionError) as error:
        raise ExpressionError(f"the pattern {pattern!r} is wrong: {error}") from None

"""Values are JSON data only: how they become text and come back, and how what is not JSON is refused.

:func:`encode` is strict where the usual encoders are obliging: a set, a datetime, bytes, NaN, an integer beyond 64 bits
or a key that is no string is an error that says where it stands, never a silent change.
"""

from __future__ import annotations

import enum
import re
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 200
"""Containers within containers; deeper values are refused on the way out and on the way in."""

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1
_DIGITS: Final = bytes(ord("0") if chr(byte).isdecimal() else ord(" ") for byte in range(256))
"""Turns digits into zeros and all else into spaces, so that many digits in a row are found at next to no cost."""
_LONG_DIGITS: Final = b"0" * 19
"""What an integer of more than 64 bits has at least."""
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

_SCHEMA_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}

_encoder = msgspec.json.Encoder()
_sorted_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder()
_skipper = msgspec.json.Decoder(msgspec.Raw)
"""Walks through a text without making anything of it."""


class NotJson(ValueError):
    """A value is not JSON data. ``path`` says where (``$.rows[3].when``), ``reason`` what is wrong with it."""

    def __init__(self, path: str, reason: str, hint: str | None = None) -> None:
        where = "the value" if path == "$" else path
        super().__init__(f"{where} {reason}")
        self.path = path
        self.reason = reason
        self.hint = hint


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON text.

    Takes None, bool, int of at most 64 bits, finite float, str, list or tuple, and dict with str keys; their subclasses
    (a ``StrEnum``, a numpy float, an ``OrderedDict``) count as the JSON value they are.

    Raises:
        NotJson: it, or something within it, is anything else.
    """
    return _encode(_encoder, value)


def canonical(value: Any) -> bytes:
    """Return the one JSON text that all equal values share (keys sorted), for hashing. Raises :class:`NotJson`."""
    return _encode(_sorted_encoder, value)


def decode(raw: bytes | str | msgspec.Raw) -> Any:
    """Return the value of a JSON text.

    Raises:
        NotJson: it is no JSON, nests deeper than ``MAX_DEPTH``, or holds an integer of more than 64 bits.
    """
    try:
        value = _decoder.decode(raw)
    except RecursionError:
        raise _too_deep("$") from None
    except UnicodeDecodeError as error:
        raise NotJson("$", f"is not JSON: byte {error.start + 1} is not UTF-8 text") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise NotJson("$", f"is not JSON: {_lowered(str(error))}") from None
    data = raw.encode() if isinstance(raw, str) else bytes(raw)
    is_doubtful = data.count(b"[") + data.count(b"{") > MAX_DEPTH or _LONG_DIGITS in data.translate(_DIGITS)
    if is_doubtful and not _is_plain(value, MAX_DEPTH):
        _normalise(value, "$", MAX_DEPTH)
    return value


def check(text: bytes) -> None:
    """Raise :class:`NotJson` where :func:`decode` would, but for integers of more than 64 bits; a tenth of its work."""
    try:
        _skipper.decode(text)
        text.decode()  # the walk takes every byte of a text for one of UTF-8
        is_doubtful = text.count(b"[") + text.count(b"{") > MAX_DEPTH
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        is_doubtful = True
    if is_doubtful:
        decode(text)


def plain(value: Any) -> Any:
    """Return ``value`` as plain JSON data: subclasses become the built-in types, tuples lists. Raises NotJson."""
    kind = type(value)
    if kind in _LEAVES or (kind in _CONTAINERS and not _holds_tuple(value) and _is_plain(value, MAX_DEPTH)):
        return value
    return _normalise(value, "$", MAX_DEPTH)


def is_of_type(value: Any, name: str) -> bool:
    """Return whether a JSON value is of the JSON Schema type ``name``; ``4.0`` is an integer, true is no number."""
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _SCHEMA_TYPES.get(name, (object,)))


def join_path(path: str, key: str | int) -> str:
    """Return the path of an entry: ``$.rows[3]``, ``$['odd key']``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{path}[{key[:80]!r}]"


_LEAVES: Final = frozenset({type(None), bool, str})
_CONTAINERS: Final = frozenset({list, tuple, dict})


def _encode(encoder: msgspec.json.Encoder, value: Any) -> bytes:
    if _is_plain(value, MAX_DEPTH):
        try:
            return encoder.encode(value)
        except UnicodeEncodeError:
            pass  # the slow way finds where it is
    return encoder.encode(_normalise(value, "$", MAX_DEPTH))


def _is_plain(value: Any, depth: int) -> bool:
    """Tell whether ``value`` is exactly JSON data (surrogates aside): the quick look that nearly always suffices."""
    kind = type(value)
    if kind in _LEAVES:
        return True
    if kind is int:
        return bool(_INT_MIN <= value <= _INT_MAX)
    if kind is float:
        return bool(value - value == 0.0)
    if kind is dict:
        if depth == 0:
            return False
        for key, entry in value.items():
            if type(key) is not str or not (type(entry) in _LEAVES or _is_plain(entry, depth - 1)):
                return False
        return True
    if kind is list or kind is tuple:
        return depth > 0 and all(type(entry) in _LEAVES or _is_plain(entry, depth - 1) for entry in value)
    return False


def _holds_tuple(value: Any, depth: int = MAX_DEPTH) -> bool:
    kind = type(value)
    if kind is tuple or depth == 0:
        return True
    entries = value.values() if kind is dict else value if kind is list else ()
    return any(type(entry) in _CONTAINERS and _holds_tuple(entry, depth - 1) for entry in entries)


def _normalise(value: Any, path: str, depth: int) -> Any:
    """Copy ``value`` into plain JSON types, or say exactly what is not JSON in it."""
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise NotJson(path, "is an integer of more than 64 bits", "pass it as text, or as a float")
        return int(value)
    if isinstance(value, float):
        if value - value != 0.0:
            name = "NaN" if value != value else "infinity"
            raise NotJson(path, f"is {name}, which JSON does not have", "use null instead")
        return float(value)
    if isinstance(value, dict | list | tuple):
        if depth == 0:
            raise _too_deep(path)
        if isinstance(value, dict):
            return {_key(k, path): _normalise(v, join_path(path, str(k)), depth - 1) for k, v in value.items()}
        return [_normalise(entry, join_path(path, number), depth - 1) for number, entry in enumerate(value)]
    raise NotJson(path, f"is {_kind_name(value)}, which is not JSON data", _hint(value))


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise NotJson(
            path,
            f"holds half a character (a lone surrogate) at position {error.start}",
            "decode the text with errors='replace' where it comes from",
        ) from None
    return str.__str__(value)


def _key(key: Any, path: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return _text(key, path)
    shown = repr(key) if isinstance(key, int | float | None) else _kind_name(key)
    raise NotJson(path, f"has the key {shown}, and keys must be text", "write str(key)")


def _too_deep(path: str) -> NotJson:
    shown = path if len(path) <= 60 else path[:60] + "…"
    return NotJson(shown, f"nests deeper than {MAX_DEPTH} levels (or holds itself)", "flatten it")


def _kind_name(value: Any) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


def _hint(value: Any) -> str:
    if isinstance(value, set | frozenset):
        return "make it a list: sorted(value)"
    if isinstance(value, bytes | bytearray | memoryview):
        return "decode it to text, or encode it as base64"
    if hasattr(value, "isoformat"):
        return "write value.isoformat()"
    if hasattr(value, "model_dump"):
        return "write value.model_dump(mode='json')"
    if hasattr(value, "__dataclass_fields__"):
        return "write dataclasses.asdict(value)"
    if hasattr(value, "tolist"):
        return "write value.tolist()"
    if hasattr(value, "__next__"):
        return "make it a list: list(value)"
    return "give text, numbers, true, false, null, lists, or mappings with text keys"


def _lowered(sentence: str) -> str:
    return sentence if sentence[:2].isupper() else sentence[:1].lower() + sentence[1:]

"""Make a value from a JSON Schema: plausible, and mostly valid; whoever asks checks it."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

Schema = Mapping[str, Any]

_DEEP = 5
"""Below this depth only what is required is made, so that recursive schemas come to an end."""
_DEEPEST = 60
_MOST_ITEMS = 2_000
_LONGEST = 100_000
_MOST_VALUES = 20_000
"""Values within one another: a rehearsal is no load test."""
_MOST_REPEATS = 3
"""How often an open-ended part of a pattern is repeated beyond its minimum."""

_FORMATS = {
    "date": "2026-{month:02d}-{day:02d}",
    "date-time": "2026-{month:02d}-{day:02d}T{hour:02d}:30:00Z",
    "time": "{hour:02d}:30:00Z",
    "duration": "PT{hour}M",
    "email": "{word}@example.org",
    "idn-email": "{word}@example.org",
    "hostname": "{word}.example.org",
    "idn-hostname": "{word}.example.org",
    "ipv4": "192.0.2.{day}",
    "ipv6": "2001:db8::{day:x}",
    "uri": "https://example.org/{word}",
    "iri": "https://example.org/{word}",
    "uri-reference": "/{word}",
    "iri-reference": "/{word}",
    "uri-template": "/{word}/{{id}}",
    "json-pointer": "/{word}",
    "relative-json-pointer": "1/{word}",
    "regex": "{word}.*",
    "uuid": "{hex:032x}",
}


class CannotSample(Exception):
    """The schema asks for more than is understood here; the text says what."""


class Sampler:
    """Makes values for one schema. ``topics`` are the words that strings are made of."""

    def __init__(self, schema: Any, topics: Sequence[str], chance: random.Random) -> None:
        self._root = schema
        self._topics = topics
        self._chance = chance
        self._said: Counter[str] = Counter()
        self._left = _MOST_VALUES

    def sample(self) -> Any:
        """Return a value. Raises :class:`CannotSample`."""
        try:
            return self._value(self._root, "answer", 0)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
            # A keyword of an unexpected form: the check of the schema lets annotations of any form through.
            raise CannotSample(f"{type(error).__name__}: {error}") from error

    def _value(self, schema: Any, name: str, depth: int) -> Any:
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:
            raise CannotSample(
                "it nests without end" if depth > _DEEPEST else f"it asks for over {_MOST_VALUES} values"
            )
        if not isinstance(schema, Mapping):
            if schema is False:
                raise CannotSample(f"`{name}` allows no value")
            return self._phrase(name)
        schema = self._plain(schema, depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._chance.choice(schema["enum"])
        match self._kind(schema, depth):
            case "object":
                return self._object(schema, name, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer":
                return self._integer(schema)
            case "number":
                return self._number(schema)
            case "boolean":
                return self._chance.random() < 0.5
            case "null":
                return None
            case _:
                return self._string(schema, name)

    def _plain(self, schema: Schema, depth: int) -> Schema:
        """Return the schema with references followed, ``allOf`` merged and one of ``anyOf``/``oneOf`` chosen."""
        for _ in range(_DEEPEST):
            if "$ref" in schema:
                rest = {key: value for key, value in schema.items() if key != "$ref"}
                schema = _merged(self._target(schema["$ref"]), rest)
            elif "allOf" in schema:
                parts = schema["allOf"]
                schema = {key: value for key, value in schema.items() if key != "allOf"}
                for part in parts:
                    schema = _merged(schema, part)
            elif key := next((each for each in ("anyOf", "oneOf") if each in schema), None):
                choices = list(schema[key])
                schema = {each: value for each, value in schema.items() if each != key}
                # Deep down the plainest branch is taken: that is where a recursive schema ends.
                chosen = min(choices, key=_weight) if depth > _DEEP else self._chance.choice(choices)
                schema = _merged(schema, chosen)
            else:
                return schema
        raise CannotSample("its references go round in a circle")

    def _target(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise CannotSample(f"it refers to `{reference}`, outside of itself")
        at = self._root
        for step in [part for part in reference[1:].split("/") if part]:
            key = step.replace("~1", "/").replace("~0", "~")
            at = at[int(key)] if isinstance(at, list) else at[key]
        return at

    def _kind(self, schema: Schema, depth: int) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            useful = [each for each in kind if each != "null"]
            return str(self._chance.choice(useful)) if useful and depth <= _DEEP else str(kind[-1])
        if kind is not None:
            return str(kind)
        if any(key in schema for key in ("properties", "required", "additionalProperties", "minProperties")):
            return "object"
        if any(key in schema for key in ("items", "prefixItems", "minItems", "contains")):
            return "array"
        if any(key in schema for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")):
            return "number"
        return "string"

    def _object(self, schema: Schema, name: str, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = list(schema.get("required", ()))
        names = required if depth > _DEEP else list(dict.fromkeys([*properties, *required]))
        most = schema.get("maxProperties")
        if most is not None and len(names) > most:
            names = list(dict.fromkeys([*required, *names]))[:most]
        made = {}
        others = schema.get("additionalProperties", {})
        for each in names:
            if properties.get(each) is not False:
                made[each] = self._value(properties.get(each, others), each, depth + 1)
        for number in range(_bounded(schema.get("minProperties", 0), _MOST_ITEMS, "minProperties")):
            if len(made) >= schema.get("minProperties", 0):
                break
            made[f"{self._word()}_{number}"] = self._value(others, name, depth + 1)
        return made

    def _array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        least = _bounded(schema.get("minItems", 0), _MOST_ITEMS, "minItems")
        most = schema.get("maxItems", max(least, 3))
        first = list(schema.get("prefixItems", ()))
        items = schema.get("items", {})
        if isinstance(items, list):  # the tuples of older drafts
            first, items = items, schema.get("additionalItems", {})
        usual = len(first) if items is False else max(3 - depth, 1)
        count = least if depth > _DEEP else min(max(least, usual), most)
        single = name[:-1] if name.endswith("s") and len(name) > 3 else name
        made: list[Any] = []
        for tries in range(count * 20 + 20):
            if len(made) >= count:
                break
            wanted = first[len(made)] if len(made) < len(first) else items
            if not made and "contains" in schema and not first:
                wanted = _merged(items, schema["contains"])
            value = self._value(wanted, single, depth + 1)
            if not schema.get("uniqueItems") or value not in made or tries == count * 20 + 19:
                made.append(value)
        return made

    def _integer(self, schema: Schema) -> int:
        low, high = _bounds(schema, whole=True)
        step = schema.get("multipleOf", 1)
        unit = step if step == int(step) else 1
        return int(self._chance.randint(ceil(low / unit), max(ceil(low / unit), floor(high / unit))) * unit)

    def _number(self, schema: Schema) -> float | int:
        step = schema.get("multipleOf")
        low, high = _bounds(schema, whole=False)
        if step:
            return self._chance.randint(ceil(low / step), max(ceil(low / step), floor(high / step))) * step  # type: ignore[no-any-return]
        value = round(low + (high - low) * self._chance.uniform(0.1, 0.9), 2)
        return value if low < value < high else low + (high - low) / 2

    def _string(self, schema: Schema, name: str) -> str:
        least = _bounded(schema.get("minLength", 0), _LONGEST, "minLength")
        most = schema.get("maxLength")
        if pattern := schema.get("pattern"):
            return matching(pattern, self._chance)
        if form := _FORMATS.get(schema.get("format", "")):
            return self._formatted(form, schema["format"])
        text = self._phrase(name)
        while len(text) < least:
            text += f" {self._word()}"
        if most is not None and len(text) > most:
            text = text[:most].rstrip() if len(text[:most].rstrip()) >= least else text[:most]
        return text

    def _formatted(self, form: str, kind: str) -> str:
        ascii_word = re.sub(r"[^a-z]", "", self._word().lower()) or "topic"
        text = form.format(
            word=ascii_word,
            month=self._chance.randint(1, 12),
            day=self._chance.randint(1, 28),
            hour=self._chance.randint(1, 23),
            hex=self._chance.getrandbits(128),
        )
        if kind != "uuid":
            return text
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"

    def _phrase(self, name: str) -> str:
        """Return some words that fit a property's name: ``question`` gets one."""
        first = self._word()
        second = next((each for each in self._topics if each != first), "it")
        label = name.replace("_", " ")
        if "question" in label.lower() or label.lower() == "query":
            text = f"What does {first} have to do with {second}?"
        else:
            text = f"{label}: {first} and {second}"
        self._said[text] += 1
        return text if self._said[text] == 1 else f"{text} ({self._said[text]})"

    def _word(self) -> str:
        return self._chance.choice(self._topics)


def _merged(base: Any, over: Any) -> Schema:
    """Return both schemas as one: what must hold together. Simple, and wrong only where it is then noticed."""
    if base is False or over is False:
        raise CannotSample("a part of it allows no value")
    if not isinstance(base, Mapping):
        return over if isinstance(over, Mapping) else {}
    if not isinstance(over, Mapping):
        return base
    merged = {**base, **over}
    if "properties" in base and "properties" in over:
        merged["properties"] = {**base["properties"], **over["properties"]}
    if "required" in base and "required" in over:
        merged["required"] = list(dict.fromkeys([*base["required"], *over["required"]]))
    for key, pick in (("minimum", max), ("minLength", max), ("minItems", max), ("maximum", min), ("maxLength", min)):
        if key in base and key in over:
            merged[key] = pick(base[key], over[key])
    return merged


def _weight(schema: Any) -> int:
    """Return how likely a branch is to lead deeper: plain values first."""
    if not isinstance(schema, Mapping):
        return 1
    if schema.get("type") == "null" or "const" in schema or "enum" in schema:
        return 0
    return 1 if schema.get("type") in ("string", "integer", "number", "boolean") else 2


def _bounded(count: int, most: int, keyword: str) -> int:
    if count > most:
        raise CannotSample(f"`{keyword}: {count}` is more than a rehearsal makes")
    return int(count)


def _bounds(schema: Schema, *, whole: bool) -> tuple[float, float]:
    """Return the smallest and largest number allowed; where one is open, ten away from the other."""
    edge = 1 if whole else 1e-6
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    # Draft 4 wrote the exclusive bounds as flags.
    if isinstance(above, bool):
        above = low if above else None
    if isinstance(below, bool):
        below = high if below else None
    if above is not None:
        low = max(above + edge, low) if low is not None else above + edge
    if below is not None:
        high = min(below - edge, high) if high is not None else below - edge
    if low is None:
        low = min(0, high - 10) if high is not None else 0
    if high is None:
        high = low + 10
    return (ceil(low), floor(high)) if whole else (low, high)


# ------------------------------------------------------------------------------------------------------ patterns


def matching(pattern: str, chance: random.Random) -> str:
    """Return a text that a regular expression matches. Raises :class:`CannotSample` for what is not understood."""
    try:
        parsed = re._parser.parse(pattern)  # type: ignore[attr-defined]  # the library's own reading of patterns
    except (re.error, RecursionError, OverflowError) as error:
        raise CannotSample(f"its pattern {pattern!r} cannot be read: {error}") from error
    text = _Pattern(chance).text(parsed)
    if not re.search(pattern, text):
        raise CannotSample(f"no text was found for its pattern {pattern!r}")
    return text


class _Pattern:
    """Makes a text from a parsed pattern, piece by piece."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._groups: dict[int, str] = {}
        self._left = _LONGEST

    def text(self, parsed: Any) -> str:
        return "".join(self._piece(str(kind).lower(), argument) for kind, argument in parsed)

    def _piece(self, kind: str, argument: Any) -> str:
        self._left -= 1
        if self._left < 0:
            raise CannotSample(f"its pattern asks for over {_LONGEST} characters")
        match kind:
            case "literal":
                return chr(argument)
            case "not_literal":
                return "a" if argument != ord("a") else "b"
            case "any":
                return self._chance.choice("abcdefghij")
            case "in":
                return _one_of(argument, self._chance)
            case "branch":
                return self.text(self._chance.choice(argument[1]))
            case "subpattern":
                text = self.text(argument[-1])
                self._groups[argument[0]] = text
                return text
            case "atomic_group":
                return self.text(argument)
            case "groupref":
                return self._groups.get(argument, "")
            case "max_repeat" | "min_repeat" | "possessive_repeat":
                least, most, inner = argument
                count = self._chance.randint(least, min(int(most), least + _MOST_REPEATS))
                return "".join(self.text(inner) for _ in range(count))
            case "at":
                return ""
            case _:
                raise CannotSample(f"its pattern uses `{kind}`, which a rehearsal does not understand")


_CLASSES = {
    "category_digit": "0123456789",
    "category_word": "abcdefghijklmnopqrstuvwxyz0123456789_",
    "category_space": " ",
    "category_not_digit": "abcdefghij",
    "category_not_word": "-.,",
    "category_not_space": "abcdefghij",
}
_PRINTABLE = "".join(map(chr, range(33, 127)))


def _one_of(members: Sequence[tuple[Any, Any]], chance: random.Random) -> str:
    """Return a character of a ``[…]`` class."""
    allowed: list[str] = []
    negated = False
    for kind, argument in members:
        match str(kind).lower():
            case "negate":
                negated = True
            case "literal":
                allowed.append(chr(argument))
            case "range":
                low, high = argument
                allowed.extend(map(chr, range(low, min(high, low + 200) + 1)))
            case "category":
                allowed.extend(_CLASSES[str(argument).lower()])
    if negated:
        allowed = [character for character in f"{_PRINTABLE} é中" if character not in set(allowed)]
    if not allowed:
        raise CannotSample("its pattern has a class that no simple character is in")
    return chance.choice(allowed)

"""Secrets as tainted text, and how they are kept out of everything that is written down.

Two nets, one behind the other. A :class:`Secret` is text that knows what it is: expressions hand the mark on through
every filter, and :func:`redact` takes marked values out of a structure. A :class:`Redactor` knows the secret values
themselves and finds them, in the disguises they usually wear, in text that lost the mark: logs, errors, results.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

MASK: Final = "***"
SHORTEST: Final = 4
"""Secrets of fewer characters are matched as whole words only."""


class Secret(str):
    """Text that must not be written down. It is its value in every operation, and ``'***'`` in a ``repr``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


def contains_secret(value: Any) -> bool:
    """Tell whether ``value`` is, or anywhere holds, a :class:`Secret`."""
    kind = type(value)
    if kind is dict:
        for key, entry in value.items():
            if type(key) is Secret or (type(entry) not in _PLAIN and contains_secret(entry)):
                return True
        return False
    if kind is list or kind is tuple:
        return any(type(entry) not in _PLAIN and contains_secret(entry) for entry in value)
    return isinstance(value, Secret)


_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


def redact(value: Any) -> Any:
    """Return ``value`` with every :class:`Secret` in it replaced by ``***``; itself when there is none."""
    return _replaced(value) if contains_secret(value) else value


def _replaced(value: Any) -> Any:
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, dict):
        return {_replaced(key): _replaced(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(entry) for entry in value]
    return value


class Redactor:
    """Replaces known secret values by ``***``, wherever they stand.

    Besides a value itself it finds the forms in which values travel: escaped as in JSON, quoted as in a URL, base64
    (also in the middle of other encoded bytes), and the single lines of a value of several lines.

    A secret of fewer than four characters is matched only as a whole text or a whole word, and only as it stands: a
    secret ``a`` must not turn every sentence into stars. (Such a secret protects nothing anyway.)

    Values are only ever added, and each addition replaces the tables as a whole: threads may scrub while one adds.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.active = False
        """False while there is nothing to hide: a cheap test before the work."""
        self._known: frozenset[str] = frozenset()
        self._forms: tuple[str, ...] = ()
        self._raw_forms: tuple[bytes, ...] = ()
        self._words: re.Pattern[str] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, value: str) -> None:
        """Hide ``value`` from now on. Empty text is nothing to hide."""
        text = str.__str__(value)
        if not text.strip() or text in self._known or text == MASK:
            return
        known = self._known | {text}
        long = {form for secret in known if len(secret) >= SHORTEST for form in _forms(secret)}
        short = sorted((secret for secret in known if len(secret) < SHORTEST), key=len, reverse=True)
        self._forms = tuple(sorted(long, key=len, reverse=True))
        self._raw_forms = tuple(form.encode("utf-8", "surrogatepass") for form in self._forms)
        self._words = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, short))})(?!\w)") if short else None
        self._known = known
        self.active = True

    def add_all(self, structure: Any) -> None:
        """Hide the value of every :class:`Secret` in ``structure``."""
        for secret in _secrets(structure):
            self.add(secret)

    def scrub(self, text: str) -> str:
        """Return ``text`` without the secrets; the same object when it holds none."""
        spans = [
            (start, start + len(form)) for form in self._forms if form in text for start in _occurrences(text, form)
        ]
        if spans:
            text = _masked(text, spans)
        if self._words is not None:
            text = self._words.sub(MASK, text)
        return text

    def scrub_json(self, raw: bytes) -> bytes:
        """Return JSON text without the secrets: JSON still, and the same object when it holds none."""
        if not self.active or not (self._words or any(form in raw for form in self._raw_forms)):
            return raw
        try:
            value = msgspec.json.decode(raw)
            clean = self.scrub_value(value)
            return raw if clean is value else msgspec.json.encode(clean)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            text = raw.decode("utf-8", "surrogateescape")
            return self.scrub(text).encode("utf-8", "surrogateescape")

    def scrub_value(self, structure: Any) -> Any:
        """Return ``structure`` without the secrets, marked ones included; itself when it holds none.

        Texts and keys are scrubbed; a number that spells a secret of four characters or more is replaced as a whole.
        """
        if isinstance(structure, str):
            return MASK if isinstance(structure, Secret) else self.scrub(structure)
        if isinstance(structure, dict):
            pairs = {self.scrub_value(key): self.scrub_value(entry) for key, entry in structure.items()}
            same = all(a is b for a, b in zip(pairs.values(), structure.values(), strict=False))
            return structure if same and pairs.keys() == structure.keys() else pairs
        if isinstance(structure, list | tuple):
            entries = [self.scrub_value(entry) for entry in structure]
            return structure if all(a is b for a, b in zip(entries, structure, strict=True)) else entries
        if isinstance(structure, int | float) and not isinstance(structure, bool):
            return MASK if self._spells_secret(structure) else structure
        return structure

    def _spells_secret(self, number: float) -> bool:
        if isinstance(number, int) and abs(number) >= 1 << 512:
            return False
        text = repr(number)
        return len(text) >= SHORTEST and text in self._known


def _secrets(value: Any) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _secrets(key)
            yield from _secrets(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _secrets(entry)


def _forms(secret: str) -> set[str]:
    """Return the texts by which a secret of some length may be recognised."""
    raw = secret.encode("utf-8", "surrogatepass")
    forms = {secret, secret.strip()}
    for ascii_only in (True, False):
        forms.add(json.dumps(secret, ensure_ascii=ascii_only)[1:-1])
    forms.update((urllib.parse.quote(raw), urllib.parse.quote(raw, safe=""), urllib.parse.quote_plus(raw)))
    forms.update(_base64_forms(raw))
    lines = secret.splitlines()
    if len(lines) > 1:
        # Logs arrive line by line, so a key of many lines would never match as a whole.
        forms.update(line.strip() for line in lines if not line.startswith("-----"))
        return {form for form in forms if len(form) >= 2 * SHORTEST or form == secret}
    return {form for form in forms if len(form) >= SHORTEST}


def _base64_forms(raw: bytes) -> Iterator[str]:
    """Yield the base64 of ``raw`` alone, and the characters that stay the same wherever it stands in longer bytes."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).decode()
        yield encode(raw).decode().rstrip("=")
        for lead in range(3):
            # Of each border group of three bytes some bits belong to the neighbours: leave those characters out.
            inner = encode(b"\0" * lead + raw + b"\0" * (-(lead + len(raw)) % 3)).decode()
            first = 4 if lead else 0
            last = len(inner) - (4 if (lead + len(raw)) % 3 else 0)
            if last - first >= 2 * SHORTEST:
                yield inner[first:last]


def _occurrences(text: str, form: str) -> Iterator[int]:
    start = text.find(form)
    while start >= 0:
        yield start
        start = text.find(form, start + len(form))


def _masked(text: str, spans: list[tuple[int, int]]) -> str:
    """Replace the spans by stars, overlapping ones as one: no end of a secret may stick out."""
    parts: list[str] = []
    done = 0
    spans.sort()
    start, end = spans[0]
    for next_start, next_end in [*spans[1:], (len(text) + 1, len(text) + 1)]:
        if next_start < end:
            end = max(end, next_end)
            continue
        parts += (text[done:start], MASK)
        done, start, end = end, next_start, next_end
    parts.append(text[done:])
    return "".join(parts)

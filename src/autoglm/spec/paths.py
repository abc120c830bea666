"""The simple expressions that nearly every template is made of: ``a.b['c'][0]``, read without a template engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from autoglm.base.redaction import Secret
from autoglm.spec.faults import unknown_field, unknown_name

Scope = Callable[[str], Any]
"""Gives the value of a root name, or raises KeyError."""
Step = str | int

_NAME: Final = r"[^\W\d]\w*"
_STEPS: Final = rf"(?:\.{_NAME}|\.[0-9]{{1,9}}|\[\s*(?:'[^'\\]*'|\"[^\"\\]*\"|-?[0-9]{{1,9}})\s*\])*"
_PATH: Final = re.compile(rf"\s*({_NAME})({_STEPS})\s*")
_HOLE: Final = re.compile(rf"\{{\{{\s*({_NAME})({_STEPS})\s*\}}\}}")
_STEP: Final = re.compile(rf"\.({_NAME})|\.([0-9]+)|\[\s*(?:'([^']*)'|\"([^\"]*)\"|(-?[0-9]+))\s*\]")


def words(text: str) -> frozenset[str]:
    """Return the words of ``text``."""
    return frozenset(text.split())


RESERVED: Final = words(
    "true false none True False None not and or in is if else self range dict namespace cycler joiner"
)
"""Words that are no names: the language's own, and the functions that are always there."""


class Path:
    """A root name and the literal keys read below it."""

    __slots__ = ("_has_index", "root", "steps")

    def __init__(self, root: str, steps: tuple[Step, ...]) -> None:
        self.root = root
        self.steps = steps
        self._has_index = any(type(step) is int for step in steps)

    @property
    def chain(self) -> tuple[str, ...]:
        return (self.root, *map(str, self.steps))

    def read(self, scope: Scope) -> Any:
        """Return the value. Raises ExpressionError ``unknown-name`` or ``unknown-field``."""
        try:
            value = scope(self.root)
        except KeyError:
            raise unknown_name(self.root, names_of(scope)) from None
        if self._has_index:
            return self._read_with_index(value)
        for step in self.steps:
            try:
                value = value[step]
            except (KeyError, TypeError, IndexError):
                raise unknown_field(value, step, self._upto(scope(self.root))) from None
        return value

    def _read_with_index(self, value: Any) -> Any:
        start = value
        tainted = False
        for step in self.steps:
            # A character of a secret is a secret, though Python gives plain text.
            tainted = tainted or type(value) is Secret
            try:
                value = value[step]
            except (KeyError, TypeError, IndexError):
                raise unknown_field(value, step, self._upto(start)) from None
        return Secret(value) if tainted else value

    def _upto(self, found: Any) -> str:
        """Return the part of the path that can be read, from the root's value on."""
        text = self.root
        for step in self.steps:
            try:
                found = found[step]
            except (KeyError, TypeError, IndexError):
                break
            text += f"[{step}]" if isinstance(step, int) else f".{step}"
        return text


def names_of(scope: Scope) -> list[str]:
    """Return the names that ``scope`` knows, when it tells: by an iterable ``names``, or a method of that name."""
    names = getattr(scope, "names", ())
    return sorted(names() if callable(names) else names)


def scan_path(text: str) -> Path | None:
    """Return the path that ``text`` is, or None when it is more than a path."""
    match = _PATH.fullmatch(text)
    if match is None or match[1] in RESERVED:
        return None
    return Path(match[1], _steps(match[2]))


def scan_text(text: str) -> list[str | Path] | None:
    """Return text with ``{{ path }}`` holes as its parts, or None when anything else is in it."""
    if "{%" in text or "{#" in text or "\r" in text:
        return None
    pieces = _HOLE.split(text)
    parts: list[str | Path] = []
    for number in range(0, len(pieces), 3):
        literal = pieces[number]
        if "{{" in literal or literal.endswith("{"):
            return None
        if literal:
            parts.append(literal)
        if number + 1 < len(pieces):
            if pieces[number + 1] in RESERVED:
                return None
            parts.append(Path(pieces[number + 1], _steps(pieces[number + 2])))
    return parts


def _steps(text: str) -> tuple[Step, ...]:
    if not text:
        return ()
    return tuple(
        name or (int(dotted or index) if dotted or index else single or double)
        for name, dotted, single, double, index in _STEP.findall(text)
    )

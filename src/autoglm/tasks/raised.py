"""What a project's own code could fail with, told from its text: nothing of it is imported or run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

_WORD: Final = re.compile(r"[A-Za-z_][\w-]*")
_MAX_FILES: Final = 2_000
_MAX_BYTES: Final = 1024 * 1024
_NAMING: Final = frozenset({"code", "classes"})


class Raised(AbstractSet[str]):
    """Names that functions of a project may fail with.

    ``in`` is true of every word in the Python files of the folders: a class may be made or imported in many ways. Going
    over them gives what is surely meant for it: classes that are defined there, ``code`` and ``classes`` in calls.
    The files are read when first asked about.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._words: frozenset[str] | None = None
        self._named: frozenset[str] = frozenset()

    def __contains__(self, name: object) -> bool:
        return name in self._read()

    def __iter__(self) -> Iterator[str]:
        self._read()
        return iter(self._named)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @classmethod
    def _from_iterable(cls, names: object) -> frozenset[str]:  # type: ignore[override]
        """Return what set operations give: they lose the folders."""
        return frozenset(names)  # type: ignore[call-overload,no-any-return]

    def _read(self) -> frozenset[str]:
        if self._words is None:
            words: set[str] = set()
            named: set[str] = set()
            for text in self._texts():
                words.update(_WORD.findall(text))
                named.update(_named(text))
            self._words, self._named = frozenset(words), frozenset(named)
        return self._words

    def _texts(self) -> Iterator[str]:
        paths = (path for folder in self._folders if folder.is_dir() for path in sorted(folder.rglob("*.py")))
        for _, path in zip(range(_MAX_FILES), paths, strict=False):
            try:
                if path.stat().st_size <= _MAX_BYTES:
                    yield path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue


def _named(text: str) -> Iterator[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.keyword) and node.arg in _NAMING:
            constants = (each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant))
            yield from (value for value in constants if isinstance(value, str))

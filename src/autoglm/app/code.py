"""What the tasks of a workflow use as code, by digest: read as text, never imported.

A function counts with whatever of its file it refers to, and the project's modules that are imported there; scripts,
prompts, schemas and other files that a task's options name count whole. What is installed beside the project does not.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from autoglm.graph.model import Graph
from autoglm.spec.catalog import Catalog

_MAX_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Code:
    """What tasks use: name of each piece to its digest, and the piece of each function by the name that tasks give."""

    pieces: dict[str, str]
    functions: dict[str, str]


def code_of(
    graph: Graph, catalog: Catalog, root: Path, handlers: Mapping[str, Callable[..., Any]] | None = None
) -> Code:
    """Return what the tasks of ``graph`` use as code. ``handlers`` are functions that were given directly."""
    reader = _Reader(catalog, root, handlers or {})
    found = {name: reader.piece(name) for name in sorted(graph.functions)}
    for name in sorted(graph.files):
        reader.note_file(name)
    return Code(reader.digests, {name: piece for name, piece in found.items() if piece is not None})


class _Reader:
    def __init__(self, catalog: Catalog, root: Path, handlers: Mapping[str, Callable[..., Any]]) -> None:
        self.catalog = catalog
        self.root = root
        self.handlers = handlers
        self.digests: dict[str, str] = {}
        self._modules: dict[Path, _Module | None] = {}

    def note_file(self, name: str) -> None:
        """Keep the digest of a file, if there is one of this name."""
        if "{{" in name or "\n" in name or not 0 < len(name) < 500:
            return
        with suppress(OSError, ValueError):
            path = self.root / name
            if path.is_file() and path.stat().st_size <= _MAX_BYTES:
                self.digests[name] = _digest(path.read_bytes())

    def piece(self, name: str) -> str | None:
        """Return the name of a function's piece, whose digest is kept; None where there is no code to be had."""
        if name in self.handlers:
            text = _source_of(self.handlers[name])
            if text is None:
                return None
            self.digests[f"function {name}"] = _digest(text.encode())
            return f"function {name}"
        info = self.catalog.functions.get(name) or self.catalog.functions.get(name.replace("-", "_"))
        if info is None:
            return None
        file, _, line = info.origin.rpartition(":")
        path = self.root / file
        if not line.isdecimal() or not path.is_file():
            return None
        piece = f"{file}: {info.name}"
        if piece not in self.digests:
            module = self._module(path)
            texts = module.closure(int(line)) if module is not None else None
            imported = sorted(self._imported(module, set())) if module is not None and texts is not None else []
            self.digests[piece] = _digest("\n".join([*(texts or ()), *imported]).encode())
        return piece

    def _module(self, path: Path) -> _Module | None:
        if path not in self._modules:
            try:
                self._modules[path] = _Module(path, path.read_text(encoding="utf-8"))
            except (OSError, ValueError, SyntaxError):
                self._modules[path] = None
        return self._modules[path]

    def _imported(self, module: _Module, seen: set[Path]) -> Iterator[str]:
        """Yield the texts of the project's modules that a module imports, those that they import too."""
        for path in module.imports(self.root):
            if path in seen:
                continue
            seen.add(path)
            found = self._module(path)
            if found is not None:
                yield found.text
                yield from self._imported(found, seen)


class _Module:
    """A file of Python, as text."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self._lines = text.splitlines()
        self._body = ast.parse(text).body
        self._binds: dict[str, list[ast.stmt]] = {}
        for statement in self._body:
            for name in _bound(statement):
                self._binds.setdefault(name, []).append(statement)

    def closure(self, line: int) -> list[str] | None:
        """Return the texts of the statement at ``line`` and of those at the top of the file that it refers to."""
        first = next((each for each in self._body if _begin(each) <= line <= (each.end_lineno or 0)), None)
        if first is None:
            return None
        found, waiting = {first}, [first]
        while waiting:
            for name in _names(waiting.pop()):
                for statement in self._binds.get(name, ()):
                    if statement not in found:
                        found.add(statement)
                        waiting.append(statement)
        ordered = sorted(found, key=_begin)
        return ["\n".join(self._lines[_begin(each) - 1 : each.end_lineno]) for each in ordered]

    def imports(self, root: Path) -> Iterator[Path]:
        """Yield the files below ``root`` that are imported anywhere in this one."""
        for node in ast.walk(ast.Module(self._body, [])):
            if isinstance(node, ast.Import):
                names, folders = [alias.name for alias in node.names], (self.path.parent, root)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                names = [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)]
                up = self.path.parents[min(node.level, len(self.path.parents)) - 1] if node.level else None
                folders = (up,) if up is not None else (self.path.parent, root)  # type: ignore[assignment]
            else:
                continue
            for name in names:
                for folder in folders:
                    stem = folder.joinpath(*name.split("."))
                    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
                        if name and path.is_file() and path.is_relative_to(root):
                            yield path


def _begin(statement: ast.stmt) -> int:
    """Return the first line of a statement, its decorators included."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(each.lineno for each in decorators)])


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement at the top of a file binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    for node in ast.walk(statement):
        match node:
            case ast.Name(ctx=ast.Store()):
                yield node.id
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.alias():
                yield (node.asname or node.name).partition(".")[0]


def _names(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}


def _source_of(function: Callable[..., Any]) -> str | None:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return None


def _digest(text: bytes) -> str:
    return sha256(text).hexdigest()[:32]

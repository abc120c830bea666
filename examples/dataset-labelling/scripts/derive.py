"""Write the records: docstrings of Python's standard library, read from its source text and never imported.

Usage: derive.py OUT COUNT. Each line is {"id", "module", "name", "kind", "text"}; the same Python gives the same lines.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

SKIPPED = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__", "turtledemo", "ensurepip"}
SHORTEST, LONGEST = 60, 4000
KINDS = {ast.FunctionDef: "function", ast.AsyncFunctionDef: "function", ast.ClassDef: "class", ast.Module: "module"}


def sources(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*.py")):
        if not SKIPPED & set(path.relative_to(root).parts):
            yield path


def documented(tree: ast.Module, module: str) -> Iterator[dict[str, str]]:
    stack: list[tuple[str, ast.AST]] = [(module, tree)]
    while stack:
        name, node = stack.pop()
        kind = KINDS.get(type(node))
        text = inspect.cleandoc(ast.get_docstring(node) or "") if kind else ""
        if SHORTEST <= len(text) <= LONGEST:
            identity = hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()[:12]
            yield {"id": identity, "module": module, "name": name, "kind": kind, "text": text}
        stack += [
            (f"{name}.{child.name}", child)
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        ]


def records() -> Iterator[dict[str, str]]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sources(root):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue  # a few files of the library are broken on purpose
        yield from documented(tree, module)


def main(out: str, count: int) -> None:
    found = {record["id"]: record for record in records()}
    chosen = [found[identity] for identity in sorted(found)[:count]]  # ids are digests: a fair draw that stays the same
    if len(chosen) < count:
        sys.exit(f"this Python's library has {len(chosen)} docstrings of {SHORTEST} to {LONGEST} letters, not {count}")
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in chosen), encoding="utf-8")
    print(json.dumps({"records": len(chosen), "file": out}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

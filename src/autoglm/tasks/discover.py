"""What a project's handlers look like, told from their source text: nothing of the author's is imported or run.

A handler is a function at the top of a file of ``tasks/`` whose name does not begin with ``_``, or one that carries
``@task``. A function that carries ``@service`` is a service; ``services.py`` holds nothing else.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from autoglm.base.diagnostics import Diagnostic, Place, Severity, sort_diagnostics
from autoglm.spec.catalog import FunctionInfo

SERVICES_FILE: Final = "services.py"
CONTEXT_NAMES: Final = frozenset({"ctx", "context"})
"""Parameters of these names take the execution context, ``context`` only without another annotation; so does any that
is annotated ``TaskContext``."""

_MAX_BYTES: Final = 4 * 1024 * 1024
_MAX_REEXPORTS: Final = 5
_CONTEXT: Final = re.compile(r"\bTaskContext\b")
_TRANSPARENT: Final = frozenset({"cache", "lru_cache", "wraps", "override", "final", "deprecated"})
"""Decorators that leave a function's parameters as they are."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """What ``tasks/`` defines, and what is wrong with it."""

    functions: Mapping[str, FunctionInfo] = field(default_factory=dict)
    services: Mapping[str, FunctionInfo] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()


def discover(tasks_dir: Path, root: Path) -> Discovery:
    """Read the handlers and services of ``tasks_dir``. Origins are relative to ``root``: ``tasks/clean.py:12``.

    A file that cannot be read is a diagnostic (``handler-syntax``, ``handler-unreadable``); the others still count.
    """
    functions: dict[str, FunctionInfo] = {}
    services: dict[str, FunctionInfo] = {}
    diagnostics: list[Diagnostic] = []
    for path in _python_files(tasks_dir):
        source = _read(path, _shown(path, root))
        if isinstance(source, Diagnostic):
            diagnostics.append(source)
            continue
        for name, found in source.definitions.items():
            if found.role == "service":
                services.setdefault(found.info.name, found.info)
            elif found.role == "task" or not (name.startswith("_") or path.name == SERVICES_FILE):
                _add(functions, found.info, source, diagnostics)
        for info in _imported_handlers(source, root):
            functions.setdefault(info.name, info)
    return Discovery(
        {name: _without_services(info, services) for name, info in functions.items()},
        services,
        tuple(sort_diagnostics(diagnostics)),
    )


def discover_functions(tasks_dir: Path, root: Path) -> dict[str, FunctionInfo]:
    """Return the handlers of ``tasks_dir`` by name, leaving out files that cannot be read."""
    return dict(discover(tasks_dir, root).functions)


def resolve_reference(reference: str, root: Path | None = None) -> FunctionInfo | None:
    """Return what ``package.module:function`` (or ``file.py:function``) refers to; None when there is no such thing.

    Modules are looked for as Python would, then in ``root`` and its ``tasks/``. A function whose parameters cannot be
    read (it is compiled, built at run time, a class) comes back with ``accepts_any``.
    """
    return _resolve(reference, root, _MAX_REEXPORTS)


# ------------------------------------------------------------------------------------------------------ references


def _resolve(reference: str, root: Path | None, depth: int) -> FunctionInfo | None:
    module, _, attribute = reference.partition(":")
    name, _, below = attribute.partition(".")
    if not (name.isidentifier() and (not below or all(part.isidentifier() for part in below.split(".")))):
        return None
    opaque = FunctionInfo(name=reference, origin=reference, accepts_any=True)
    path: Path | None
    if module.endswith(".py"):
        path = (root or Path()) / module
        if not _is_file(path):
            return None
    else:
        spec = _find_module(module, root)
        if spec is None:
            return None
        path = Path(spec.origin) if spec.has_location and spec.origin and spec.origin.endswith(".py") else None
    if path is None:
        return opaque
    source = _read(path, str(path))
    if isinstance(source, Diagnostic):
        return opaque
    return _member(source, module, reference, root, depth)


def _member(source: _Source, module: str, reference: str, root: Path | None, depth: int) -> FunctionInfo | None:
    """Return the info of what ``reference`` names in its module's source."""
    name = reference.partition(":")[2]
    opaque = FunctionInfo(name=reference, origin=reference, accepts_any=True)
    found = source.definitions.get(name)
    if found is not None:
        return replace(found.info, name=reference, origin=reference)
    if name in source.imports and depth > 0:
        origin, original = source.imports[name]
        target = _absolute(origin, module, source.is_package)
        further = _resolve(f"{target}:{original}", root, depth - 1) if target else None
        return replace(further, name=reference, origin=reference) if further else opaque
    first = name.partition(".")[0]
    if first in source.imports or first in source.other_names or source.is_dynamic:
        return opaque
    return None


def _find_module(module: str, root: Path | None) -> importlib.machinery.ModuleSpec | None:
    """Find a module as an import would, but walk down packages by their paths: no parent is imported."""
    first, *rest = module.split(".")
    if not all(part.isidentifier() for part in (first, *rest)):
        return None
    find = importlib.machinery.PathFinder.find_spec
    try:
        spec = importlib.util.find_spec(first)
        if spec is None and root is not None:  # the project's folders come last, as when its functions are imported
            spec = find(first, [str(root), str(root / "tasks")])
        name = first
        for part in rest:
            if spec is None or spec.submodule_search_locations is None:
                return None
            name = f"{name}.{part}"
            spec = find(name, list(spec.submodule_search_locations))
    except (ImportError, ValueError, OSError, AttributeError):
        return None  # __main__ has no spec; a broken path hook is not ours to explain
    return spec


def _absolute(origin: tuple[int, str], module: str, is_package: bool) -> str | None:
    """Return the full name of the module that ``from ..x import`` in ``module`` means."""
    level, name = origin
    if level == 0:
        return name
    if module.endswith(".py"):
        return None
    parts = module.split(".")
    kept = parts[: len(parts) - level + (1 if is_package else 0)]
    return ".".join([*kept, name] if name else kept) if kept else None


def _imported_handlers(source: _Source, root: Path) -> Iterator[FunctionInfo]:
    """Yield what ``from package import function`` brings into a file of ``tasks/``, where it carries ``@task``."""
    for (level, module), original in dict.fromkeys(source.imports.values()):
        first = module.partition(".")[0]
        if level or first in sys.stdlib_module_names or first == "autoglm":
            continue
        spec = _find_module(module, root)
        if spec is None or not spec.has_location or not spec.origin or not spec.origin.endswith(".py"):
            continue
        path = Path(spec.origin)
        if not _mentions_autoglm(path):
            continue
        there = _read(path, str(path))
        found = None if isinstance(there, Diagnostic) else there.definitions.get(original)
        if found is not None and found.role == "task":
            yield replace(found.info, origin=f"{module}:{original}")


def _mentions_autoglm(path: Path) -> bool:
    """Tell whether a file may use ``@task`` at all: spares parsing large libraries."""
    try:
        return path.stat().st_size <= _MAX_BYTES and b"autoglm" in path.read_bytes()
    except OSError:
        return False


# ----------------------------------------------------------------------------------------------------- source text


@dataclass(frozen=True, slots=True)
class _Definition:
    info: FunctionInfo
    role: str
    """``task``, ``service``, or ``""`` for a plain function."""
    place: Place


@dataclass(slots=True)
class _Source:
    """The top level of a Python file."""

    definitions: dict[str, _Definition] = field(default_factory=dict)
    imports: dict[str, tuple[tuple[int, str], str]] = field(default_factory=dict)
    """Name → ((level, module), original name)."""
    other_names: set[str] = field(default_factory=set)
    """Classes, and names that are assigned or imported whole."""
    is_dynamic: bool = False
    """It may hold names that its text does not show: ``import *``, ``__getattr__``."""
    is_package: bool = False


def _python_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".py" and not path.name.startswith("."))
    except (OSError, ValueError):
        return []  # no such folder: a project need not have handlers


def _read(path: Path, shown: str) -> _Source | Diagnostic:
    try:
        if not _is_file(path):
            return _unreadable(shown, "it is not a file")
        if path.stat().st_size > _MAX_BYTES:
            return _unreadable(shown, "it is larger than 4 MB")
        text = path.read_bytes()
    except OSError as error:
        return _unreadable(shown, error.strerror or "it cannot be opened")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in the author's text is not our news
            module = ast.parse(text, filename=shown)
        source = _Source(is_package=path.name == "__init__.py")
        _Reader(shown, source).read(module.body)
    except SyntaxError as error:
        return _syntax(shown, error)
    except (ValueError, RecursionError, MemoryError):
        return _unreadable(shown, "it nests too deeply, or holds NUL characters")
    return source


class _Reader:
    """Collects the top level of a module, also what stands in its ``if``, ``try`` and ``with`` blocks."""

    def __init__(self, shown: str, source: _Source) -> None:
        self.shown = shown
        self.source = source
        self.roles = {"task": "task", "service": "service"}
        """Decorator names as the file may write them."""

    def read(self, body: list[ast.stmt]) -> None:
        for statement in body:
            match statement:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self._function(statement)
                case ast.ClassDef(name=name):
                    self.source.other_names.add(name)
                case ast.Import(names=names):
                    self.source.other_names.update(a.asname or a.name.partition(".")[0] for a in names)
                    self.roles.update({f"{a.asname}.{r}": r for a in names if a.name == "autoglm" for r in _ROLES})
                case ast.ImportFrom():
                    self._import_from(statement)
                case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                    self._assignment(statement)
                case ast.If(body=inner, orelse=other):
                    self.read(inner + other)
                case ast.With(body=inner):
                    self.read(inner)
                case ast.Try(body=inner, handlers=handlers, orelse=other, finalbody=last):
                    self.read([*(s for handler in handlers for s in handler.body), *inner, *other, *last])
                case _:
                    pass

    def _assignment(self, statement: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        self.source.other_names |= names

    def _import_from(self, statement: ast.ImportFrom) -> None:
        module = statement.module or ""
        ours = statement.level == 0 and module.partition(".")[0] == "autoglm"
        for name in statement.names:
            local = name.asname or name.name
            if name.name == "*":
                self.source.is_dynamic = True
            else:
                self.source.imports[local] = ((statement.level, module), name.name)
            if ours and name.name in _ROLES:
                self.roles[local] = name.name
            elif not ours:
                self.roles.pop(local, None)  # another library's @task

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.name == "__getattr__":
            self.source.is_dynamic = True
        role, given, readable = "", None, True
        for decorator in node.decorator_list:
            written = ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)
            meant = self.roles.get(written) or (written.partition(".")[2] if written in _FULL_ROLES else None)
            if meant:
                role, given = meant, _given_name(decorator)
            elif written.rpartition(".")[2] not in _TRANSPARENT:
                readable = False
        info = _signature(node, given or node.name, f"{self.shown}:{node.lineno}")
        if not readable:  # a decorator that we do not know may fill or add parameters
            info = replace(info, required=(), accepts_any=True)
        start = node.col_offset + (len("async def ") if info.is_async else len("def ")) + 1
        place = Place(self.shown, node.lineno, start, node.lineno, start + len(node.name))
        self.source.definitions[node.name] = _Definition(info, role, place)


_ROLES: Final = frozenset({"task", "service"})
_FULL_ROLES: Final = frozenset(f"autoglm.{role}" for role in _ROLES)


def _given_name(decorator: ast.expr) -> str | None:
    """Return NAME of ``@task(name=NAME)`` or ``@task(NAME)``, when it stands there as text."""
    if not isinstance(decorator, ast.Call):
        return None
    values = [keyword.value for keyword in decorator.keywords if keyword.arg == "name"] or decorator.args[:1]
    for value in values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
            return value.value
    return None


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str, origin: str) -> FunctionInfo:
    positional = [*node.args.posonlyargs, *node.args.args]
    has_default = [False] * (len(positional) - len(node.args.defaults)) + [True] * len(node.args.defaults)
    has_default += [default is not None for default in node.args.kw_defaults]
    parameters = [*positional, *node.args.kwonlyargs]
    doc = (ast.get_docstring(node) or "").strip()
    return FunctionInfo(
        name=name,
        origin=origin,
        parameters=tuple(parameter.arg for parameter in parameters),
        required=tuple(
            parameter.arg
            for parameter, default in zip(parameters, has_default, strict=True)
            if not default and not _is_context(parameter)
        ),
        accepts_any=node.args.kwarg is not None,
        is_async=isinstance(node, ast.AsyncFunctionDef),
        doc=doc.splitlines()[0] if doc else "",
    )


def _is_context(parameter: ast.arg) -> bool:
    if parameter.arg == "ctx":  # nobody calls anything else that
        return True
    if parameter.annotation is None:
        return parameter.arg in CONTEXT_NAMES
    return bool(_CONTEXT.search(ast.unparse(parameter.annotation)))


# ----------------------------------------------------------------------------------------------------- small parts


def _add(
    functions: dict[str, FunctionInfo], info: FunctionInfo, source: _Source, diagnostics: list[Diagnostic]
) -> None:
    """Add a handler; of two with one name the first (by file name) counts, and the second is a warning."""
    first = functions.setdefault(info.name, info)
    if first is not info:
        place = next(d.place for d in source.definitions.values() if d.info is info)
        diagnostics.append(
            Diagnostic(
                "handler-duplicate",
                f"the handler `{info.name}` is defined twice; the one in {first.origin} is used",
                place,
                hint="rename one, or give it another name with @task(name=…)",
                severity=Severity.WARNING,
            )
        )


def _without_services(info: FunctionInfo, services: Mapping[str, FunctionInfo]) -> FunctionInfo:
    """Leave out of ``required`` the parameters that services fill."""
    kept = tuple(name for name in info.required if name not in services)
    return info if len(kept) == len(info.required) else replace(info, required=kept)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _syntax(shown: str, error: SyntaxError) -> Diagnostic:
    line, column = max(error.lineno or 1, 1), max(error.offset or 1, 1)
    end_line, end_column = error.end_lineno or line, error.end_offset or column + 1
    if (end_line, end_column) <= (line, column):
        end_line, end_column = line, column + 1
    return Diagnostic(
        "handler-syntax",
        f"{shown} is not valid Python: {error.msg}",
        Place(shown, line, column, end_line, end_column),
        hint="none of its handlers can be used until this is mended",
        excerpt=error.text.rstrip("\r\n") if error.text else None,
    )


def _unreadable(shown: str, reason: str) -> Diagnostic:
    hint = "mend it, or move it out of the folder: none of its handlers can be used"
    return Diagnostic("handler-unreadable", f"{shown} cannot be read: {reason}", Place(shown, 1, 1, 1, 1), hint)

"""The author's functions: how they are marked, found, imported and described.

Rules:

1. Nothing is imported before a task needs it, and then only the file that defines the function.
2. A file is imported once per process, under a private package name of its folder, so that two projects whose files
   bear the same names can live in one process, and ``from .sibling import x`` works.
3. Whatever an import does wrong, up to ``sys.exit``, is a TaskError that says where.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import re
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, overload

from autoglm.base.diagnostics import did_you_mean
from autoglm.base.errors import TaskError
from autoglm.executors.failures import describe
from autoglm.spec.catalog import FunctionInfo
from autoglm.tasks.discover import CONTEXT_NAMES, Discovery, discover

FOLDER = "tasks"
"""Where a project's handlers are, below its root."""

F = TypeVar("F", bound=Callable[..., Any])

_TASK = "__autoglm_task__"
_SERVICE = "__autoglm_service__"

registered: dict[str, Callable[..., Any]] = {}
"""Functions marked with :func:`task` outside of any project's ``tasks/``: in a script, a notebook, a library."""


@overload
def task(function: F, /) -> F: ...
@overload
def task(function: str | None = None, /, *, name: str | None = None) -> Callable[[F], F]: ...
def task(function: F | str | None = None, /, *, name: str | None = None) -> F | Callable[[F], F]:
    """Mark a function, sync or async, as one that workflows may call by name.

    ``@task``, ``@task("clean-up")`` and ``@task(name="clean-up")`` return the function itself: it stays an ordinary
    function. In a project's ``tasks/*.py`` the mark is not needed, there every public function counts.
    """
    if function is None or isinstance(function, str):
        return functools.partial(_mark_task, name=name or function)
    return _mark_task(function, name=name)


@overload
def service(function: F, /) -> F: ...
@overload
def service(function: str | None = None, /, *, name: str | None = None) -> Callable[[F], F]: ...
def service(function: F | str | None = None, /, *, name: str | None = None) -> F | Callable[[F], F]:
    """Mark a function of ``tasks/*.py`` (by custom of ``tasks/services.py``) as one that opens a service.

    It returns the service, or yields it once and cleans up after the ``yield``; sync or async. It may take ``config``,
    the run's configuration. A handler gets the service by naming a parameter like it.
    """
    if function is None or isinstance(function, str):
        return functools.partial(_mark, _SERVICE, name=name or function)
    return _mark(_SERVICE, function, name=name)


def _mark(mark: str, function: F, *, name: str | None) -> F:
    setattr(function, mark, name or function.__name__)
    return function


def _mark_task(function: F, *, name: str | None) -> F:
    _mark(_TASK, function, name=name)
    if not function.__module__.startswith(_PACKAGE):
        registered[getattr(function, _TASK)] = function
    return function


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a handler."""

    name: str
    is_required: bool
    is_positional: bool
    """It can be given by position: the one that is left over gets the upstream's result."""


class Handler:
    """A function and all that must be known to call it, worked out once."""

    __slots__ = (
        "accepts_any", "context_names", "function", "is_async", "name", "parameters", "reference",
    )  # fmt: skip

    def __init__(self, name: str, function: Callable[..., Any], reference: str | None) -> None:
        self.name = name
        self.reference = reference
        """How another process finds it: ``tasks/clean.py:clean`` or ``module:name``; None when it cannot."""
        self.is_async = _is_async(function)
        self.accepts_any = False
        self.context_names: tuple[str, ...] = ()
        self.parameters: tuple[Parameter, ...] = ()
        by_position = self._read_signature(function)
        self.function = _by_name(function, by_position, is_async=self.is_async) if by_position else function

    def info(self, origin: str = "") -> FunctionInfo:
        """Return what the checks need to know of it."""
        return FunctionInfo(
            name=self.name,
            origin=origin or self.reference or self.name,
            parameters=tuple(p.name for p in self.parameters),
            required=tuple(p.name for p in self.parameters if p.is_required),
            accepts_any=self.accepts_any,
            is_async=self.is_async,
            doc=(inspect.getdoc(self.function) or "").partition("\n")[0],
        )

    def _read_signature(self, function: Callable[..., Any]) -> tuple[str, ...]:
        """Note the parameters; return the names of those that take a value by position only."""
        try:
            signature = inspect.signature(function)
        except (ValueError, TypeError):  # some built-in functions have none
            self.accepts_any = True
            return ()
        parameters, contexts, by_position = [], [], []
        for p in signature.parameters.values():
            if p.kind is p.VAR_KEYWORD:
                self.accepts_any = True
            elif p.kind is not p.VAR_POSITIONAL:
                if p.kind is p.POSITIONAL_ONLY:
                    by_position.append(p.name)
                if _is_context(p):
                    contexts.append(p.name)
                else:
                    parameters.append(Parameter(p.name, p.default is p.empty, p.kind is not p.KEYWORD_ONLY))
        self.parameters, self.context_names = tuple(parameters), tuple(contexts)
        return tuple(by_position)


class Handlers:
    """The functions that the workflows of one project can call. Safe to use from several threads.

    ``extra`` are functions given directly, by name; they come before those of the project's files.
    """

    def __init__(self, root: Path, extra: Mapping[str, Callable[..., Any]] | None = None) -> None:
        self.root = root
        self._extra = dict(extra or {})
        self._handlers: dict[str, Handler] = {}
        self._failures: dict[Path, TaskError] = {}
        self._lock = threading.RLock()
        self._discovery: Discovery | None = None

    def known(self, name: str) -> Handler | None:
        """Return a handler that was asked for before; costs one look-up."""
        return self._handlers.get(name)

    def get(self, name: str) -> Handler:
        """Return the handler, importing the file that defines it if need be (which may take its time).

        ``name`` is a function of ``tasks/*.py``, one given directly, ``module:function``, ``folder/file.py:function``,
        or one that was marked with :func:`task` anywhere.

        Raises:
            TaskError: ``unknown-handler``, ``handler-import-failed``; neither may be retried.
        """
        with self._lock:
            handler = self._handlers.get(name)
            if handler is None:
                handler = self._handlers[name] = Handler(name, *self._find(name))
            return handler

    @property
    def discovery(self) -> Discovery:
        """What the project's files define, by their text."""
        with self._lock:
            if self._discovery is None:
                self._discovery = discover(self.root / FOLDER, self.root)
            return self._discovery

    @property
    def services(self) -> Collection[str]:
        """The names of the project's services."""
        return self.discovery.services

    def service(self, name: str) -> Callable[..., Any]:
        """Return the function that opens a service; importing may take its time."""
        place, _, _ = self.discovery.services[name].origin.rpartition(":")
        with self._lock:
            return self._member(self._import(self.root / place), name, place, _SERVICE)

    # ------------------------------------------------------------------------------------------------------ finding

    def _find(self, name: str) -> tuple[Callable[..., Any], str | None]:
        known = _spelling(name, self._extra)
        if known in self._extra:
            return self._extra[known], _reference(self._extra[known])
        if ":" in name:
            return self._find_by_reference(name), name
        functions = self.discovery.functions
        known = _spelling(name, functions)
        if known not in functions:
            return self._find_by_mark(name)
        place, _, line = functions[known].origin.rpartition(":")
        if not line.isdigit():  # a marked function of a package, which a file of tasks/ imports
            return self._find_by_reference(functions[known].origin), functions[known].origin
        return self._member(self._import(self.root / place), known, place, _TASK), f"{place}:{known}"

    def _find_by_mark(self, name: str) -> tuple[Callable[..., Any], str | None]:
        """Find a function that the text of no file shows: one that is made and marked while a file is imported."""
        for path in sorted((self.root / FOLDER).glob("*.py")):
            for found in vars(self._import(path)).values():
                if callable(found) and _mark_of(found, _TASK) == name:
                    return found, None
        known = _spelling(name, registered)
        if known in registered:
            return registered[known], _reference(registered[known])
        close = did_you_mean(name, [*self._extra, *self.discovery.functions, *registered])
        raise TaskError(
            f"there is no function `{name}`",
            code="unknown-handler",
            retryable=False,
            hint=f"did you mean `{close}`?" if close else f"define it in {FOLDER}/*.py, or write `module:function`",
        )

    def _find_by_reference(self, reference: str) -> Callable[..., Any]:
        place, _, name = reference.rpartition(":")
        if not place.endswith(".py"):
            return self._member(self._guarded(lambda: importlib.import_module(place), place), name, place, _TASK)
        path = self.root / place
        if not path.is_file():
            hint = f"correct `handler: {reference}`; its path is relative to the project root"
            raise TaskError(f"{place} does not exist", code="unknown-handler", retryable=False, hint=hint)
        return self._member(self._import(path), name, place, _TASK)

    def _member(self, module: ModuleType, name: str, origin: str, mark: str) -> Callable[..., Any]:
        """Return what a module calls ``name``, in a mark or as an attribute."""
        for value in vars(module).values():
            if callable(value) and _mark_of(value, mark) == name:
                return value  # type: ignore[no-any-return]
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, None)
        if callable(found):
            return found  # type: ignore[no-any-return]
        close = did_you_mean(name, [key for key, value in vars(module).items() if callable(value)])
        raise TaskError(
            f"{origin} has no function `{name}`",
            code="unknown-handler",
            retryable=False,
            hint=f"did you mean `{close}`?" if close else None,
        )

    # ---------------------------------------------------------------------------------------------------- importing

    def _import(self, path: Path) -> ModuleType:
        if path in self._failures:
            raise self._failures[path]
        try:
            return self._guarded(lambda: _import_file(path), str(path))
        except TaskError as error:
            self._failures[path] = error
            raise

    def _guarded(self, load: Callable[[], ModuleType], what: str) -> ModuleType:
        """Import with the project on the path; whatever that does wrong is a TaskError that says where."""
        for folder in (self.root, self.root / FOLDER):
            if str(folder) not in sys.path:
                # At the end: a file of the project that is called `email.py` must not stand in for Python's.
                sys.path.append(str(folder))
        importlib.invalidate_caches()
        try:
            return load()
        except BaseException as error:  # importing runs the author's code: anything can come
            raise TaskError(
                f"{self._where(error, what)}: cannot be imported: {describe(error)}",
                code="handler-import-failed",
                retryable=False,
                hint=_import_hint(error),
            ) from error

    def _where(self, error: BaseException, what: str) -> str:
        """Return ``tasks/clean.py:12``: where in the project the import went wrong."""
        if isinstance(error, SyntaxError) and error.filename:
            return f"{self._shown(error.filename)}:{error.lineno}"
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if self._is_ours(frame.filename)]
        return f"{self._shown(frames[-1].filename)}:{frames[-1].lineno}" if frames else self._shown(what)

    def _is_ours(self, filename: str) -> bool:
        path = Path(filename)
        return path.is_relative_to(self.root) and "site-packages" not in path.parts

    def _shown(self, filename: str) -> str:
        path = Path(filename)
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else filename


_PACKAGE = "_autoglm_project_"


def _import_file(path: Path) -> ModuleType:
    """Import a file as a module of a private package that stands for its folder."""
    folder = path.parent.resolve()
    package = _PACKAGE + hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    if package not in sys.modules:
        module = ModuleType(package, f"The files of {folder}.")
        module.__path__ = [str(folder)]
        sys.modules[package] = module
    return importlib.import_module(f"{package}.{path.stem}")


def _import_hint(error: BaseException) -> str | None:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"install the package that provides `{error.name.partition('.')[0]}` where autoglm runs"
    if isinstance(error, SystemExit):
        return "a handler file must not end the process when it is imported: guard it by `if __name__ == '__main__':`"
    return None


def _mark_of(value: Any, mark: str) -> Any:
    try:
        return getattr(value, mark, None)
    except Exception:  # noqa: BLE001 - proxies of some libraries raise whatever they like
        return None


def _reference(function: Callable[..., Any]) -> str | None:
    """Return how another process can import a function, None when it cannot."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or module == "__main__" or "<" in name:
        return None
    return f"{module}:{name}"


def _is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004 - we want the method, to see whether it is async
    )


def _is_context(parameter: inspect.Parameter) -> bool:
    """Tell whether a parameter asks for the execution context: by its name alone, or by its annotation."""
    annotation = parameter.annotation
    if parameter.name == "ctx":
        return True
    if annotation is parameter.empty:
        return parameter.name in CONTEXT_NAMES
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", None) or str(annotation)
    return "TaskContext" in re.findall(r"\w+", text)


def _spelling(name: str, known: Collection[str]) -> str:
    """Return ``name`` as it is known: itself, or with ``-`` and blanks as ``_``."""
    return name if name in known else plain_name(name)


def plain_name(name: str) -> str:
    """Return a task's name as Python would write it."""
    return name.replace("-", "_").replace(" ", "_")


def _by_name(function: Callable[..., Any], positions: tuple[str, ...], *, is_async: bool) -> Callable[..., Any]:
    """Return a function with positional-only parameters as one that takes all of them by name."""

    def split(arguments: dict[str, Any]) -> list[Any]:
        return [arguments.pop(name) for name in positions if name in arguments]

    if is_async:

        async def call_async(**arguments: Any) -> Any:
            return await function(*split(arguments), **arguments)

        return call_async

    def call(**arguments: Any) -> Any:
        return function(*split(arguments), **arguments)

    return call

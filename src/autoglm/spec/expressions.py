"""Templates and expressions: compiled once, evaluated for each task instance.

Jinja2's syntax, sandboxed and strict. Plain values and simple paths (nearly all of a workflow file) never touch Jinja;
everything else is parsed by it at once and becomes code at its first evaluation. Four rules hold for all of them:

1. An evaluation is deterministic, bounded in time and memory, and gives JSON data.
2. Data is never a template: values are put in once and not looked at again.
3. A value that was computed from a :class:`~autoglm.base.redaction.Secret` is one: every text in the result of an
   evaluation that read a secret is marked. Numbers and booleans are not.
4. Whatever goes wrong is an :class:`ExpressionError`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from autoglm.base.redaction import Secret, contains_secret
from autoglm.spec.faults import ExpressionError as ExpressionError
from autoglm.spec.faults import too_large
from autoglm.spec.jsonform import check_size, to_json, to_text
from autoglm.spec.paths import Path, Scope, scan_path, scan_text

if TYPE_CHECKING:
    from autoglm.spec.sandbox import Program

Chain = tuple[str, ...]
_PLAIN: Final = frozenset({type(None), bool, int, float})
"""What is never a template."""
_JSON: Final = frozenset({type(None), bool, int, float, str, Secret, dict, list})
_MAX_DEPTH: Final = 200
_MEMO_SIZE: Final = 20_000
_NO_NAMES: Final[frozenset[Any]] = frozenset()
UNTOLD: Final[Any] = object()
"""Stands for a value that is not at hand; None is a value."""


class Template:
    """A compiled template. ``evaluate`` may be called any number of times, with any scope."""

    __slots__ = ("guarded", "names", "paths", "source")

    is_constant = False

    def __init__(
        self, source: Any, names: Iterable[str] = (), paths: Iterable[Chain] = (), guarded: Iterable[Chain] = ()
    ) -> None:
        self.source = source
        """What it was compiled from."""
        self.names = frozenset(names)
        """The root names that it reads."""
        self.paths: tuple[Chain, ...] = tuple(dict.fromkeys(paths))
        """What it reads below them, as far as the keys are literal: ``("tasks", "fetch", "result", "title")``."""
        self.guarded = frozenset(guarded)
        """Those paths that may be missing (``… is defined``, ``… | default(…)``)."""

    def evaluate(self, scope: Scope) -> Any:
        """Return the value, JSON data. ``scope`` gives the value of a root name or raises KeyError.

        When ``scope`` has an attribute ``names`` (an iterable, or a method giving one), errors list them.

        Raises:
            ExpressionError: see its codes.
        """
        raise NotImplementedError

    def weigh(self, scope: Scope) -> tuple[bool, Any]:
        """Return whether the value is true, and the plain value that this hung on; ``UNTOLD`` where it is not one."""
        return bool(self.evaluate(scope)), UNTOLD

    def evaluate_items(self, scope: Scope) -> Any:
        """Like :meth:`evaluate`, but a ``range`` comes as it is, however long: for loops, which walk it lazily."""
        return self.evaluate(scope)

    def __repr__(self) -> str:
        return f"<{type(self).__name__.strip('_')} {self.source!r:.80}>"


class _Constant(Template):
    __slots__ = ()
    is_constant = True

    def __init__(self, source: Any) -> None:
        self.source = source
        self.names = self.guarded = _NO_NAMES
        self.paths = ()

    def evaluate(self, scope: Scope) -> Any:
        return self.source


class _PathTemplate(Template):
    __slots__ = ("_read",)

    def __init__(self, source: str, path: Path) -> None:
        super().__init__(source, (path.root,), (path.chain,))
        self._read = path.read

    def evaluate(self, scope: Scope) -> Any:
        value = self._read(scope)
        return value if type(value) in _JSON else to_json(value)

    def evaluate_items(self, scope: Scope) -> Any:
        value = self._read(scope)
        return value if type(value) in _JSON or type(value) is range else to_json(value)


class _TextTemplate(Template):
    __slots__ = ("_parts",)

    def __init__(self, source: str, parts: list[str | Path]) -> None:
        holes = [part for part in parts if isinstance(part, Path)]
        super().__init__(source, (hole.root for hole in holes), (hole.chain for hole in holes))
        self._parts: tuple[tuple[str, Callable[[Scope], Any] | None], ...] = tuple(
            ("", part.read) if isinstance(part, Path) else (part, None) for part in parts
        )

    def evaluate(self, scope: Scope) -> Any:
        texts = []
        tainted = False
        for text, read in self._parts:
            if read is not None:
                value = read(scope)
                if type(value) is str:
                    text = value
                else:
                    tainted = tainted or contains_secret(value)
                    text = to_text(value)
            texts.append(text)
        text = check_size("".join(texts))
        return Secret(text) if tainted else text


class _ProgramTemplate(Template):
    """A template that needs Jinja. It is parsed when made, and becomes code when first evaluated."""

    __slots__ = ("_program",)

    def __init__(self, source: str, program: Program) -> None:
        super().__init__(source, program.names, program.paths, program.guarded)
        self._program = program

    def evaluate(self, scope: Scope) -> Any:
        return self._program.run(scope, to_json)

    def evaluate_items(self, scope: Scope) -> Any:
        return self._program.run(scope, lambda value: value if type(value) is range else to_json(value))


class _Structure(Template):
    """A list or a mapping with templates in it."""

    __slots__ = ("_entries",)

    def __init__(self, source: list[Any] | tuple[Any, ...] | dict[str, Any], parts: list[Template]) -> None:
        super().__init__(
            source,
            (name for part in parts for name in part.names),
            (path for part in parts for path in part.paths),
            (path for part in parts for path in part.guarded),
        )
        keys: Iterable[Any] = source if isinstance(source, dict) else range(len(source))
        self._entries = tuple(
            (key, None if part.is_constant else part, part.source) for key, part in zip(keys, parts, strict=True)
        )

    def evaluate(self, scope: Scope) -> Any:
        pairs = {key: value if part is None else part.evaluate(scope) for key, part, value in self._entries}
        return pairs if isinstance(self.source, dict) else list(pairs.values())


class _Condition(Template):
    __slots__ = ("_inner",)

    def __init__(self, source: str, inner: Template) -> None:
        super().__init__(source, inner.names, inner.paths, inner.guarded)
        self._inner = inner

    def evaluate(self, scope: Scope) -> bool:
        return bool(self._inner.evaluate(scope))


class _Comparison(Template):
    """``path < literal``: what most conditions are, decided without the sandbox.

    What goes wrong goes wrong again in the sandbox, which knows how to say it.
    """

    __slots__ = ("_compare", "_read", "_right", "_sandboxed")

    def __init__(self, source: str, path: Path, compare: Callable[[Any, Any], bool], right: Any) -> None:
        super().__init__(source, (path.root,), (path.chain,))
        self._read = path.read
        self._compare = compare
        self._right = right
        self._sandboxed: Template | None = None

    def evaluate(self, scope: Scope) -> bool:
        return self.weigh(scope)[0]

    def weigh(self, scope: Scope) -> tuple[bool, Any]:
        try:
            left = self._read(scope)
            if type(left) in _COMPARED:
                return self._compare(left, self._right), left
        except (ExpressionError, TypeError):
            pass
        return self._in_sandbox(scope), UNTOLD

    def _in_sandbox(self, scope: Scope) -> bool:
        if self._sandboxed is None:
            self._sandboxed = _Condition(self.source, _sandboxed(self.source))
        return bool(self._sandboxed.evaluate(scope))


_COMPARED: Final = frozenset({type(None), bool, int, float, str})
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPARISON: Final = re.compile(
    r"(?P<path>[^<>=!]+?)\s*(?P<operator>==|!=|<=|>=|<|>)\s*"
    r"(?:(?P<integer>-?[0-9]{1,15})|'(?P<text>[^'\\{}\n]*)'|(?P<word>true|false|none))\s*"
)


def _comparison(source: str) -> Template | None:
    """Return the template of ``path < literal``; None for everything else."""
    match = _COMPARISON.fullmatch(source)
    path = scan_path(match["path"]) if match is not None else None
    if match is None or path is None:
        return None
    right: Any = match["text"]
    if match["integer"] is not None:
        right = int(match["integer"])
    elif match["word"] is not None:
        right = {"true": True, "false": False, "none": None}[match["word"]]
    return _Comparison(source, path, _OPERATORS[match["operator"]], right)


_templates: dict[str, Template] = {}
_expressions: dict[str, Template] = {}
_conditions: dict[str, Template] = {}


def compile_template(value: Any) -> Template:
    """Compile any JSON value whose texts may hold ``{{ … }}`` or ``{% … %}``; the keys of mappings may not.

    A text that is exactly one ``{{ expression }}`` gives that expression's value; any other gives text.

    Raises:
        ExpressionError: ``template-syntax``.
    """
    return _compile(value, _MAX_DEPTH)


def compile_expression(text: str) -> Template:
    """Compile an expression that is written bare or as one ``{{ … }}``. Raises ExpressionError ``template-syntax``."""
    known = _expressions.get(text)
    return known if known is not None else _remember(_expressions, text, _expression(text))


def path_template(chain: Chain) -> Template | None:
    """Return the template that reads one of a template's :attr:`~Template.paths`; None when it cannot be written."""
    if any("'" in step or "\\" in step for step in chain[1:]):
        return None
    steps = (f"[{step}]" if step.lstrip("-").isdigit() else f"['{step}']" for step in chain[1:])
    path = scan_path(chain[0] + "".join(steps))
    return None if path is None else _PathTemplate(".".join(chain), path)


def compile_condition(value: str | bool) -> Template:
    """Compile an expression like :func:`compile_expression`; evaluating gives whether its value is true (not empty)."""
    if isinstance(value, bool):
        return _Constant(value)
    known = _conditions.get(value)
    return known if known is not None else _remember(_conditions, value, _condition(value))


def _compile(value: Any, depth: int) -> Template:
    if isinstance(value, str):
        if "{{" not in value and "{%" not in value:
            return _Constant(value)
        known = _templates.get(value)
        return known if known is not None else _remember(_templates, value, _text(value))
    if isinstance(value, dict | list | tuple):
        if depth == 0:
            raise too_large(f"it nests deeper than {_MAX_DEPTH} levels")
        entries = value.values() if isinstance(value, dict) else value
        if are_plain(entries):
            return _Constant(value if not isinstance(value, tuple) else list(value))
        parts = [_compile(entry, depth - 1) for entry in entries]
        if all(part.is_constant for part in parts):
            return _Constant(value if not isinstance(value, tuple) else list(value))
        return _Structure(value, parts)
    return _Constant(value)


def are_plain(entries: Iterable[Any]) -> bool:
    """Return whether these are numbers and texts without templates: what most tasks hold."""
    for entry in entries:
        kind = type(entry)
        if kind not in _PLAIN and (kind is not str or "{{" in entry or "{%" in entry):
            return False
    return True


def _text(source: str) -> Template:
    parts = scan_text(source)
    if parts is None:
        from autoglm.spec.sandbox import Program

        return _ProgramTemplate(source, Program.of_template(source))
    if len(parts) == 1 and isinstance(parts[0], Path):
        return _PathTemplate(source, parts[0])
    return _TextTemplate(source, parts)


def _expression(source: str) -> Template:
    text = source.strip()
    if text.startswith("{{"):
        template = _text(text)
        if isinstance(template, _TextTemplate) or (
            isinstance(template, _ProgramTemplate) and not template._program.is_expression
        ):
            raise _mixed()
        return template
    path = scan_path(text)
    if path is not None:
        return _PathTemplate(source, path)
    return _sandboxed(source)


def _sandboxed(source: str) -> Template:
    from autoglm.spec.sandbox import Program

    try:
        return _ProgramTemplate(source, Program.of_expression(source))
    except ExpressionError:
        if "{{" in source or "{%" in source:
            raise _mixed() from None
        raise


def _condition(source: str) -> Template:
    constant = {"true": True, "false": False}.get(source.strip())
    if constant is not None:
        return _Constant(constant)
    return _comparison(source) or _Condition(source, _expression(source))


def _mixed() -> ExpressionError:
    return ExpressionError(
        "this is text with holes where one expression is expected",
        code="template-syntax",
        hint="write the whole expression bare (`a > 3`), or the whole of it within one {{ … }}",
        offset=(0, 0),
    )


def _remember(memo: dict[str, Template], source: str, template: Template) -> Template:
    if len(memo) >= _MEMO_SIZE:
        memo.clear()
    memo[source] = template
    return template

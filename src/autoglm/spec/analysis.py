"""What a parsed template reads, found without running it; and the marks that its evaluation needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from jinja2 import Environment, nodes
from jinja2.defaults import DEFAULT_NAMESPACE

from autoglm.spec.faults import ExpressionError, suggest
from autoglm.spec.paths import words

Chain = tuple[str, ...]

GLOBALS: Final = frozenset(DEFAULT_NAMESPACE) - {"lipsum"}
_STATEMENTS: Final = {
    "Import": "{% import %}",
    "FromImport": "{% from … import %}",
    "Include": "{% include %}",
    "Extends": "{% extends %}",
    "Block": "{% block %}",
    "Macro": "{% macro %}",
    "CallBlock": "{% call %}",
}

TEXT_METHODS: Final = words(
    """capitalize casefold center count endswith find format index isalnum isalpha isascii isdecimal isdigit islower
    isnumeric isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix replace rfind rindex
    rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title upper zfill"""
)
DICT_METHODS: Final = words("copy get items keys values")
LIST_METHODS: Final = words("copy count index")
_METHODS: Final = TEXT_METHODS | DICT_METHODS | LIST_METHODS | {"is_integer"}


@dataclass(frozen=True, slots=True)
class Analysis:
    """A template's tree, rewritten for evaluation, and what it reads."""

    tree: nodes.Template
    expression: nodes.Expr | None
    """The one expression that the template is, if it is one."""
    names: frozenset[str]
    paths: tuple[Chain, ...]
    guarded: frozenset[Chain]


def analyse(tree: nodes.Template, environment: Environment) -> Analysis:
    """Find what ``tree`` reads, and mark it.

    Raises:
        ExpressionError: ``template-syntax`` for a statement, filter or test that templates do not have.
    """
    walk = _Walk(environment)
    walk.statements(tree.body, set())
    expression = None
    if len(tree.body) == 1 and isinstance(tree.body[0], nodes.Output) and len(tree.body[0].nodes) == 1:
        only = tree.body[0].nodes[0]
        expression = None if isinstance(only, nodes.TemplateData) else only
    paths = tuple(dict.fromkeys(walk.paths))
    names = frozenset(path[0] for path in paths)
    return Analysis(tree, expression, names, paths, frozenset(walk.guarded))


class _Walk:
    """Goes through a tree once, in the order in which names become bound."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.paths: list[Chain] = []
        self.guarded: set[Chain] = set()

    def statements(self, body: list[nodes.Node], bound: set[str]) -> None:
        for node in body:
            self._statement(node, bound)

    def _statement(self, node: nodes.Node, bound: set[str]) -> None:
        kind = type(node).__name__
        if kind in _STATEMENTS:
            raise _syntax(f"{_STATEMENTS[kind]} is not available here", node, "write what it would bring in place")
        if isinstance(node, nodes.Output):
            node.nodes = [self._final(child, bound) for child in node.nodes]
        elif isinstance(node, nodes.For):
            self._for(node, bound)
        elif isinstance(node, nodes.If):
            node.test = self._final(node.test, bound)
            for part in (node.body, node.elif_, node.else_):
                self.statements(part, bound)  # type: ignore[arg-type]
        elif isinstance(node, nodes.Assign):
            node.node = self._final(node.node, bound)
            self._target(node.target, bound)
        elif isinstance(node, nodes.AssignBlock):
            self.statements(node.body, set(bound))
            if node.filter is not None:
                self._children(node.filter, bound)
            self._target(node.target, bound)
        elif isinstance(node, nodes.With):
            node.values = [self._final(value, bound) for value in node.values]
            inner = set(bound)
            for target in node.targets:
                self._target(target, inner)
            self.statements(node.body, inner)
        elif isinstance(node, nodes.FilterBlock):
            self._children(node.filter, bound)
            self.statements(node.body, set(bound))
        else:
            for name, value in node.iter_fields():
                if name == "body":
                    self.statements(value, set(bound))

    def _for(self, node: nodes.For, bound: set[str]) -> None:
        node.iter = _marked(self._final(node.iter, bound), "<walk>")
        inner = set(bound)
        self._target(node.target, inner)
        if node.test is not None:
            node.test = self._final(node.test, inner)
        self.statements(node.body, inner | {"loop"})
        self.statements(node.else_, set(bound))

    def _target(self, target: nodes.Node, bound: set[str]) -> None:
        if isinstance(target, nodes.Name):
            bound.add(target.name)
        elif isinstance(target, nodes.Tuple):
            for item in target.items:
                self._target(item, bound)

    # ------------------------------------------------------------------------------------------------ expressions

    def _final(self, node: Any, bound: set[str], *, is_guarded: bool = False) -> Any:
        """Walk an expression whose value is used; return what stands in its place."""
        if isinstance(node, nodes.Name | nodes.Getattr | nodes.Getitem):
            self._chain(node, bound, is_guarded=is_guarded)
            return _marked(node, "<observed>")
        if isinstance(node, nodes.Concat):
            self._children(node, bound)
            return _marked(nodes.List(node.nodes, lineno=node.lineno), "<joined>")
        if isinstance(node, nodes.Call):
            self._call(node, bound)
            return node
        if isinstance(node, nodes.Const) and isinstance(node.value, float) and node.value - node.value != 0.0:
            raise _syntax("a number in the expression is too large", node, "the largest is about 1.8e308")
        if isinstance(node, nodes.Filter):
            self._known(node, self.environment.filters, "filter")
            guards = node.name in ("default", "d")
        elif isinstance(node, nodes.Test):
            self._known(node, self.environment.tests, "test")
            guards = node.name in ("defined", "undefined")
        else:
            guards = False
        self._children(node, bound, guards=guards)
        return node

    def _children(self, node: nodes.Node, bound: set[str], *, guards: bool = False) -> None:
        for name, value in node.iter_fields():
            if isinstance(value, nodes.Expr):
                setattr(node, name, self._final(value, bound, is_guarded=guards and name == "node"))
            elif isinstance(value, nodes.Node):
                self._children(value, bound)
            elif isinstance(value, list):
                for number, entry in enumerate(value):
                    if isinstance(entry, nodes.Expr):
                        value[number] = self._final(entry, bound)
                    elif isinstance(entry, nodes.Node):
                        self._children(entry, bound)

    def _call(self, node: nodes.Call, bound: set[str]) -> None:
        called = node.node
        if isinstance(called, nodes.Name):
            if called.name not in bound and called.name not in GLOBALS:
                is_filter = called.name in self.environment.filters
                hint = f"it is a filter: write value | {called.name}" if is_filter else suggest(called.name, GLOBALS)
                raise _syntax(f"there is no function `{called.name}`", called, hint)
        elif isinstance(called, nodes.Getattr | nodes.Getitem):
            self._chain(called, bound, is_method=True)
        else:
            node.node = self._final(called, bound)
        for part in (node.args, node.kwargs):
            for number, entry in enumerate(part):
                if isinstance(entry, nodes.Keyword):
                    entry.value = self._final(entry.value, bound)
                else:
                    part[number] = self._final(entry, bound)
        for name in ("dyn_args", "dyn_kwargs"):
            if getattr(node, name) is not None:
                setattr(node, name, self._final(getattr(node, name), bound))

    def _chain(self, node: nodes.Expr, bound: set[str], *, is_guarded: bool = False, is_method: bool = False) -> None:
        """Note the path that ``a.b['c'][d]`` reads, as far as its keys are literal."""
        steps: list[str | None] = []
        while isinstance(node, nodes.Getattr | nodes.Getitem):
            base = node.node
            if isinstance(node, nodes.Getattr):
                steps.append(node.attr)
            elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str | int):
                steps.append(str(node.arg.value))
            else:
                node.arg = self._final(node.arg, bound)
                steps.append(None)
                if isinstance(node.arg, nodes.Slice) and isinstance(base, nodes.Name | nodes.Getattr | nodes.Getitem):
                    node.node = _marked(base, "<observed>")
            if not isinstance(base, nodes.Name | nodes.Getattr | nodes.Getitem):
                node.node = self._final(base, bound)
                return
            node = base
        assert isinstance(node, nodes.Name)
        if node.name in bound or node.name in GLOBALS:
            return
        if node.name == "self":
            raise _syntax("`self` is not a name here", node)
        steps.reverse()
        if is_method and steps and steps[-1] in _METHODS:
            steps.pop()
        literal = steps[: steps.index(None)] if None in steps else steps
        path = (node.name, *(step for step in literal if step is not None))
        self.paths.append(path)
        if is_guarded:
            self.guarded.add(path)

    def _known(self, node: nodes.Filter | nodes.Test, known: dict[str, Any], what: str) -> None:
        if node.name not in known or node.name.startswith("<"):
            names = [name for name in known if not name.startswith("<")]
            raise _syntax(f"there is no {what} `{node.name}`", node, suggest(node.name, names, what=f"{what}s"))


def _marked(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _syntax(message: str, node: nodes.Node, hint: str | None = None) -> ExpressionError:
    return ExpressionError(message, code="template-syntax", hint=hint, offset=(max(0, node.lineno - 1), 0))

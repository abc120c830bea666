"""Reads out of our own source which error messages there are, as texts with holes.

Not a list that somebody keeps: a message is whatever flows to the ``message`` of an error with a code. Followed is

- which classes have one: the exceptions of ours, and what has a ``code`` and a ``message`` (a ``Diagnostic``, a
  ``Failure`` …);
- which functions hand a parameter on as one: what is given to them is a message too;
- where a text comes from: names, conditions, tables, and the functions that make it.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final, TypeAlias

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Pieces: TypeAlias = tuple[str | None, ...]
"""A text: what is written of it, and None where something is put in."""

_HOLE: Final = ".{0,400}?"
_HANDED_ON: Final = frozenset({"message", "reason", "what"})
"""What parameters are called that may be messages."""
_FAR: Final = 6
"""How many steps back a text is followed."""


@dataclass(frozen=True)
class Message:
    """A message: where its text is written (``spec/calls.py:31``), and to which class or function it is given."""

    place: str
    pieces: Pieces
    given_to: str

    def __str__(self) -> str:
        return "".join("…" if piece is None else piece for piece in self.pieces)

    @property
    def words(self) -> int:
        """How many words of it are written."""
        return len(re.findall(r"[A-Za-z]{2,}", " ".join(filter(None, self.pieces))))

    def is_in(self, text: str) -> bool:
        """Tell whether a line of the text holds the message, whatever was put into it."""
        whole = "".join(_HOLE if piece is None else re.escape(piece) for piece in self.pieces)
        return re.search(whole.removeprefix(_HOLE).removesuffix(_HOLE), text) is not None


@dataclass(frozen=True)
class _Slot:
    """Which argument of a call is a message: by its position, None where it has none, or by its keyword."""

    position: int | None
    keyword: str


@dataclass(frozen=True)
class _Scope:
    """Where an expression stands: in which module, and in which functions, the innermost first."""

    module: str
    functions: tuple[Function, ...] = ()


_Called: TypeAlias = tuple[str, str]
"""A function or class by its module and its name; one that is not private is meant from everywhere: ``("", name)``."""


class Source:
    """A package's source, read for its messages."""

    def __init__(self, root: Path) -> None:
        self._modules = {
            path.relative_to(root).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
            for path in sorted(root.rglob("*.py"))
        }
        self._calls: list[tuple[ast.Call, str, _Scope]] = []
        """Each call, what it calls, and where it stands."""
        self._functions: dict[_Called, list[_Scope]] = defaultdict(list)
        """Functions and constructors: their insides."""
        self._classes: dict[str, ast.ClassDef] = {}
        self._slots: dict[_Called, set[_Slot]] = defaultdict(set)
        for name, tree in self._modules.items():
            self._survey(tree, _Scope(name))
        for name in self._classes:
            self._slots[_as_called(name, "")] |= set(self._slot_of_class(name))
        while self._spread():
            pass

    def messages(self) -> list[Message]:
        """Return every message, in the order of their places."""
        found = {
            Message(f"{where.module}:{line}", pieces, name): None
            for given, name, scope in self._given()
            for line, pieces, where in self._texts(given, scope, _FAR)
            if any(pieces)
        }
        return sorted(
            found, key=lambda message: (message.place.rpartition(":")[0], int(message.place.rpartition(":")[2]))
        )

    # ------------------------------------------------------------------------------------------ who takes messages

    def _survey(self, node: ast.AST, scope: _Scope, within: str = "") -> None:
        """Note the calls, functions and classes below a node; ``within`` is the class that it is."""
        for child in ast.iter_child_nodes(node):
            inner, name = scope, ""
            if isinstance(child, ast.Call):
                self._calls.append((child, self._name_of_called(child, within), scope))
                name = within
            elif isinstance(child, ast.ClassDef):
                self._classes[child.name] = child
                name = child.name
            elif isinstance(child, Function):
                inner = _Scope(scope.module, (child, *scope.functions))
                known = within if child.name == "__init__" and within else child.name
                self._functions[_as_called(known, scope.module)].append(inner)
                name = within if child.name == "__init__" else ""
            else:
                name = within
            self._survey(child, inner, name)

    def _name_of_called(self, call: ast.Call, within: str) -> str:
        match call.func:
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__") if within:
                return next((ast.unparse(base) for base in self._classes[within].bases), "")
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return name
        return ""

    def _is_exception_of_ours(self, name: str) -> bool:
        bases = [ast.unparse(base) for base in self._classes[name].bases] if name in self._classes else []
        return name == "AutoglmError" or any(map(self._is_exception_of_ours, bases))

    def _slot_of_class(self, name: str) -> Iterator[_Slot]:
        """Yield which argument of a class is a message, if it is one whose objects have a code."""
        node = self._classes[name]
        if made := next((each for each in node.body if isinstance(each, Function) and each.name == "__init__"), None):
            taken = {argument.arg for argument in (*made.args.args, *made.args.kwonlyargs)}
            if "message" in taken and (self._is_exception_of_ours(name) or "code" in taken):
                yield _slot(made, "message")
            return
        fields = [
            each.target.id
            for each in node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        ]
        if "message" in fields:
            yield _Slot(fields.index("message"), "message")
        for base in map(ast.unparse, node.bases):
            if base in self._classes:
                yield from self._slot_of_class(base)

    def _given(self) -> Iterator[tuple[ast.expr, str, _Scope]]:
        """Yield every argument that is a message, to whom it is given, and where it stands."""
        for call, name, scope in self._calls:
            for slot in self._slots.get(_as_called(name, scope.module), ()):
                plain = call.args[
                    : next((at for at, each in enumerate(call.args) if isinstance(each, ast.Starred)), None)
                ]
                if slot.position is not None and slot.position < len(plain):
                    yield plain[slot.position], name, scope
                for keyword in call.keywords:
                    if keyword.arg == slot.keyword:
                        yield keyword.value, name, scope

    def _spread(self) -> bool:
        """Make functions that hand a parameter on as a message takers of messages; tell whether there are new ones."""
        new = False
        for given, _, scope in list(self._given()):
            for name in {leaf.id for leaf in _choices(given) if isinstance(leaf, ast.Name)} & _HANDED_ON:
                function = next((each for each in scope.functions if name in _parameters(each)), None)
                for called, scopes in self._functions.items():
                    if function is not None and any(each.functions[0] is function for each in scopes):
                        slot = _slot(function, name)
                        new |= slot not in self._slots[called]
                        self._slots[called].add(slot)
        return new

    # ----------------------------------------------------------------------------------------------- what they say

    def _texts(self, node: ast.expr, scope: _Scope, far: int) -> Iterator[tuple[int, Pieces, _Scope]]:
        """Yield each text that an expression may be, and where it is written."""
        match node:
            case _ if far == 0:
                return
            case ast.Constant(value=str(text)):
                yield node.lineno, (text,), scope
            case ast.JoinedStr(values=parts):
                yield (
                    node.lineno,
                    tuple(part.value if isinstance(part, ast.Constant) else None for part in parts),
                    scope,
                )
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                nothing = [(node.lineno, (None,), scope)]
                lefts, rights = (list(self._texts(side, scope, far)) or nothing for side in (left, right))
                for (line, head, where), (_, tail, _) in product(lefts, rights):
                    yield line, (*head, *tail), where
            case ast.IfExp() | ast.BoolOp():
                for choice in _choices(node):
                    yield from self._texts(choice, scope, far - 1)
            case _:
                for origin, where in self._origins(node, scope):
                    yield from self._texts(origin, where, far - 1)

    def _origins(self, node: ast.expr, scope: _Scope) -> Iterator[tuple[ast.expr, _Scope]]:
        """Yield the expressions that give a name, a call or an entry of a table its value."""
        match node:
            case ast.NamedExpr(value=value):
                yield value, scope
            case ast.Name(id=name):
                yield from self._assigned(name, scope)
            case ast.Subscript(value=table) | ast.Call(func=ast.Attribute(value=table, attr="get")):
                chosen = (
                    node.slice.value
                    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
                    else None
                )
                if isinstance(node, ast.Call):
                    yield from ((default, scope) for default in node.args[1:])
                for whole, where in self._wholes(table, scope):
                    if isinstance(whole, ast.Dict):
                        yield from ((value, where) for value in whole.values)
                    elif isinstance(whole, ast.Tuple) and isinstance(chosen, int) and chosen < len(whole.elts):
                        yield whole.elts[chosen], where
            case ast.Call():
                yield from self._returned(self._name_of_called(node, ""), scope)

    def _wholes(self, node: ast.expr, scope: _Scope) -> Iterator[tuple[ast.expr, _Scope]]:
        """Yield the tables and tuples that an expression may be."""
        if isinstance(node, ast.Dict | ast.Tuple):
            yield node, scope
        elif isinstance(node, ast.Name | ast.Call):
            for origin, where in self._origins(node, scope):
                yield from self._wholes(origin, where)

    def _returned(self, name: str, scope: _Scope) -> Iterator[tuple[ast.expr, _Scope]]:
        found = self._functions.get(_as_called(name, scope.module), [])
        here = [inner for inner in found if inner.module == scope.module]
        for inner in here or (found if len(found) == 1 else ()):
            for node in _within(inner.functions[0]):
                if isinstance(node, ast.Return) and node.value is not None:
                    yield from ((choice, inner) for choice in _choices(node.value))

    def _assigned(self, name: str, scope: _Scope) -> Iterator[tuple[ast.expr, _Scope]]:
        for number, function in enumerate(scope.functions):
            found = list(_values_of(name, function))
            yield from ((value, _Scope(scope.module, scope.functions[number:])) for value in found)
            if found or name in _parameters(function):
                return
        yield from ((value, _Scope(scope.module)) for value in _values_of(name, self._modules[scope.module]))


def _as_called(name: str, module: str) -> _Called:
    return (module if name.startswith("_") and name[1:2].islower() else "", name)


def _parameters(function: Function) -> list[str]:
    return [each.arg for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]


def _slot(function: Function, name: str) -> _Slot:
    """Return the slot that a function's parameter is."""
    names = [each.arg for each in (*function.args.posonlyargs, *function.args.args) if each.arg not in ("self", "cls")]
    return _Slot(names.index(name) if name in names else None, name)


def _choices(node: ast.expr) -> Iterator[ast.expr]:
    """Yield what ``a if x else b`` and ``a or b`` may be."""
    match node:
        case ast.IfExp(body=one, orelse=other):
            yield from (*_choices(one), *_choices(other))
        case ast.BoolOp(values=values):
            for value in values:
                yield from _choices(value)
        case _:
            yield node


def _values_of(name: str, inside: ast.AST) -> Iterator[ast.expr]:
    """Yield what is assigned to a name in a function or module, its inner functions aside."""
    for node in _within(inside):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                pairs = zip(targets, values, strict=False)
                yield from (value for target, value in pairs if isinstance(target, ast.Name) and target.id == name)
            case ast.Assign(targets=targets, value=value):
                if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                    yield value
            case ast.AugAssign(target=ast.Name(id=assigned), value=value) if assigned == name:
                yield value
            case ast.AnnAssign(target=ast.Name(id=assigned), value=ast.expr() as value) if assigned == name:
                yield value
            case ast.NamedExpr(target=ast.Name(id=assigned), value=value) if assigned == name:
                yield value


def _within(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, Function | ast.ClassDef):
            yield from _within(child)

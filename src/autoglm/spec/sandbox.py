"""Jinja2 for everything that is more than a path: sandboxed, strict, bounded, and watching for secrets.

The parsed template is rewritten before it becomes code: every value that is finally read (``a.b.c``, not ``a.b`` on the
way) passes by :meth:`Evaluation.observe`, every loop is counted, and ``~`` joins as text does. Only methods of a short
list exist on values; what looks like an attribute is a key first.
"""

from __future__ import annotations

import operator
import re
import string
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2 import Template as JinjaTemplate
from jinja2.exceptions import TemplateError
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace, missing, pass_context

from autoglm.base.errors import AutoglmError
from autoglm.base.redaction import Secret
from autoglm.spec.analysis import DICT_METHODS, LIST_METHODS, TEXT_METHODS, Analysis, analyse
from autoglm.spec.evaluation import Evaluation, activate, current, deactivate
from autoglm.spec.faults import ExpressionError, kind_of, too_large, unknown_field, unknown_name
from autoglm.spec.filters import build_filters, join_texts, percent_format, replace, walked
from autoglm.spec.jsonform import MAX_TEXT, tainted, to_text
from autoglm.spec.paths import Scope, names_of, words
from autoglm.spec.syntax import syntax_error

_VALUE: Final = "autoglm_value"
_RANGE_LIMIT: Final = 10_000_000
_MAX_BITS: Final = 8192
_MAX_SOURCE: Final = 1_000_000
_NAMELESS: Final = frozenset({"expression-failed", "expression-too-large"})
"""Codes of errors that do not say which expression they are about."""

_METHODS: Final[dict[type, frozenset[str]]] = {
    str: TEXT_METHODS,
    Secret: TEXT_METHODS,
    dict: DICT_METHODS,
    list: LIST_METHODS,
    tuple: frozenset({"count", "index"}),
    float: frozenset({"is_integer"}),
    LoopContext: words(
        "changed cycle depth depth0 first index index0 last length nextitem previtem revindex revindex0"
    ),
    Cycler: frozenset({"current", "next", "reset"}),
}
_WIDE_METHODS: Final = frozenset({"center", "ljust", "rjust", "zfill"})


class Program:
    """A template or expression that Jinja parsed; its code is made at the first run."""

    __slots__ = ("_analysis", "_root", "_text", "is_expression", "source")

    def __init__(self, source: str, analysis: Analysis) -> None:
        self.source = source
        self._analysis = analysis
        self.is_expression = analysis.expression is not None
        self._root: Callable[[Context], Iterator[str]] | None = None

    @classmethod
    def of_template(cls, source: str) -> Program:
        """Parse text with holes. Raises ExpressionError ``template-syntax``."""
        return cls(source, _parse(source, None))

    @classmethod
    def of_expression(cls, source: str) -> Program:
        """Parse a bare expression. Raises ExpressionError ``template-syntax``."""
        return cls(source, _parse(source, "variable"))

    @property
    def names(self) -> frozenset[str]:
        return self._analysis.names

    @property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        return self._analysis.paths

    @property
    def guarded(self) -> frozenset[tuple[str, ...]]:
        return self._analysis.guarded

    def run(self, scope: Scope, finish: Callable[[Any], Any]) -> Any:
        """Evaluate, and hand the value through ``finish`` while its lazy parts can still be walked."""
        evaluation = Evaluation(scope, self.paths)
        token = activate(evaluation)
        try:
            value = finish(self._value())
        except ExpressionError as error:
            if error.code not in _NAMELESS:
                raise
            if evaluation.tainted and error.code == ExpressionError.code:
                raise self._failed(error, is_secret=True) from None
            raise self._named(error) from None
        except (RecursionError, MemoryError):
            raise too_large("it nests too deeply or needs too much memory") from None
        except UndefinedError as error:
            raise ExpressionError(str(error)) from None
        except AutoglmError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a template can provoke is the template's mistake
            raise self._failed(error, is_secret=evaluation.tainted) from None
        finally:
            deactivate(token)
        return tainted(value) if evaluation.tainted else value

    def _value(self) -> Any:
        if self._root is None:
            self._root = _code(self._analysis)
        context = _ENVIRONMENT.context_class(_ENVIRONMENT, _ENVIRONMENT.globals, None, {})
        texts: list[str] = []
        size = 0
        for text in self._root(context):
            texts.append(text)
            size += len(text)
            if size > MAX_TEXT:
                raise too_large(f"its text has more than {MAX_TEXT // 1024 // 1024} MB")
        if not self.is_expression:
            return "".join(texts)
        value = context.vars[_VALUE]
        if isinstance(value, Undefined):
            str(value)  # raises what is missing
        return value

    def _shown(self) -> str:
        return self.source if len(self.source) <= 80 else self.source[:79] + "…"

    def _named(self, error: ExpressionError) -> ExpressionError:
        """Return the error of what does not know in which expression it stands, with that."""
        return ExpressionError(f"`{self._shown()}` failed: {error.message}", code=error.code, hint=error.hint)

    def _failed(self, error: Exception, *, is_secret: bool) -> ExpressionError:
        shown = self._shown()
        if is_secret:
            reason = "it fails on a secret value, so the cause is not shown"
        elif isinstance(error, KeyError):
            reason = f"there is no {error}"
        else:
            reason = str(error) or type(error).__name__
        hint = None
        if isinstance(error, TypeError) and "not supported between" in reason:
            hint = "text and numbers do not compare; turn one into the other with | int, | float or | string"
        elif isinstance(error, TypeError) and "unsupported operand" in reason:
            hint = "bring both sides to one kind with | int, | float or | string; `~` joins anything to a text"
        return ExpressionError(f"`{shown}` failed: {reason}", hint=hint)


# ------------------------------------------------------------------------------------------------- names and fields


class _Missing(StrictUndefined):
    """What is not there: may be tested for and defaulted, and is an ExpressionError in any other use."""

    __slots__ = ()

    def __init__(self, hint: str | None = None, obj: Any = missing, name: Any = None, exc: Any = None) -> None:
        super().__init__(hint, obj, name, exc=self._fault)  # type: ignore[arg-type]  # anything that makes an exception will do

    def _fault(self, _message: str) -> ExpressionError:
        if self._undefined_hint:
            return ExpressionError(self._undefined_hint)
        name = self._undefined_name
        evaluation = current()
        if self._undefined_obj is missing:
            return unknown_name(str(name), names_of(evaluation.scope))
        key = str(name)
        where = next((".".join(p[: p.index(key, 1)]) for p in evaluation.paths if key in p[1:]), "")
        return unknown_field(self._undefined_obj, name, where)


class _Names(Context):
    """Names of an evaluation: those that the template sets, then those of its scope."""

    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        try:
            return current().scope(key)
        except KeyError:
            return self.parent.get(key, missing)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})
    context_class = _Names

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return ``obj.attribute``: the key of a mapping first, then one of the methods that are allowed."""
        kind = type(obj)
        if kind is Secret:
            current().tainted = True
        elif kind not in _METHODS or kind is dict:
            found = self._item(obj, attribute)
            if found is not missing:
                return found
        if attribute in _METHODS.get(kind, ()):
            return _method(obj, attribute)
        if isinstance(obj, Mapping) and attribute in DICT_METHODS:
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return ``obj[argument]``."""
        if type(obj) is Secret:
            current().tainted = True
        found = self._item(obj, argument)
        return found if found is not missing else self.undefined(obj=obj, name=argument)

    def _item(self, obj: Any, key: Any) -> Any:
        if isinstance(obj, Undefined):
            str(obj)  # raises what is missing
        if isinstance(key, Undefined):
            str(key)
        if isinstance(obj, Namespace):
            return dict.get(obj._Namespace__attrs, key, missing)
        try:
            return obj[key]
        except (LookupError, TypeError):
            return missing

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call one of our functions or an allowed method."""
        if isinstance(obj, Undefined):
            str(obj)
        if not callable(obj):
            raise ExpressionError(
                f"{kind_of(obj)} cannot be called", hint="a filter is written with a bar: value | upper"
            )
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str):
            _check_text_call(obj.__name__, args)
        result = context.call(obj, *args, **kwargs)
        if isinstance(owner, Mapping):
            result = list(result) if obj.__name__ in ("items", "keys", "values") else result
        return _observed(result)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Do ``+ * ** %`` where the result has a size of reason."""
        if operator == "%" and isinstance(left, str):
            return percent_format(left, right)
        if operator != "%":
            _check_growth(operator, left, right)
        return self.binop_table[operator](left, right)


def _method(obj: Any, name: str) -> Any:
    if isinstance(obj, str):
        if name == "format":
            return _TextFormat(obj).format
        if name == "join":
            return lambda values: join_texts(obj, walked(values))
        if name == "replace":
            return lambda old, new, count=-1: replace(obj, old, new, count)
    return getattr(obj, name)


def _check_text_call(name: str, args: tuple[Any, ...]) -> None:
    if name in _WIDE_METHODS and any(isinstance(argument, int) and argument > MAX_TEXT for argument in args):
        raise too_large(f"`{name}` is asked for a very wide text")


def _check_growth(operator: str, left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        if bits > _MAX_BITS:
            raise too_large(f"`{operator}` would give a number of {bits:,} bits")
    elif operator == "+":
        if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            _check_length(len(left) + len(right))
    elif operator == "*":
        for text, times in ((left, right), (right, left)):
            if isinstance(text, str | list | tuple) and isinstance(times, int):
                _check_length(len(text) * times)


def _check_length(length: int) -> None:
    if length > MAX_TEXT:
        raise too_large(f"it would give {length:,} characters or entries")


class _TextFormat(string.Formatter):
    """``"…".format(…)`` for JSON data: fields read keys and indexes only, and widths are bounded."""

    def __init__(self, text: str) -> None:
        self._text = text

    def format(self, *args: Any, **kwargs: Any) -> str:
        return join_texts("", [self.vformat(self._text, args, kwargs)])

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        first, _, rest = field_name.partition(".")
        if rest or "[" in first:
            raise ExpressionError(f"`format` does not read fields: {{{field_name}}}", hint="pass the field itself")
        return self.get_value(int(first) if first.isdigit() else first, args, kwargs), first

    def format_field(self, value: Any, format_spec: str) -> Any:
        if re.search(r"[0-9]{5,}", format_spec):
            raise too_large("the format asks for a very wide field")
        return format(to_text(value) if not isinstance(value, int | float) else value, format_spec)

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        return value if conversion is None else to_text(value)


# -------------------------------------------------------------------------------------------------- parse and code


def _range(*args: int) -> range:
    """Return whole numbers, lazily; ten million at most."""
    numbers = range(*args)
    if len(numbers) > _RANGE_LIMIT:
        raise too_large(f"range() of {len(numbers):,} numbers, and {_RANGE_LIMIT:,} is the most")
    return numbers


@pass_context
def _finalize(_context: Context, value: Any) -> str:
    # Needing the context keeps Jinja from folding constants while it compiles.
    return str(value) if isinstance(value, Undefined) else to_text(value)


def _observed(value: Any) -> Any:
    if not isinstance(value, Undefined):
        current().observe(value)
    return value


def _joined(values: list[Any]) -> str:
    return join_texts("", values)


class _Walk:
    """What a loop walks over: counted as it goes, and as long as it was."""

    def __init__(self, values: Any) -> None:
        if isinstance(values, Undefined):
            str(values)
        if isinstance(values, str) or not hasattr(values, "__iter__"):
            raise ExpressionError(f"a loop cannot walk over {kind_of(values)}", hint="it needs a list")
        self._values = values

    def __iter__(self) -> Iterator[Any]:
        spend = current().spend
        for value in self._values:
            spend(1)
            yield value

    def __len__(self) -> int:
        return len(self._values)


def _environment() -> _Environment:
    environment = _Environment(undefined=_Missing, finalize=_finalize, keep_trailing_newline=True, optimized=False)
    environment.globals = {"range": _range, "dict": dict, "namespace": Namespace, "cycler": Cycler, "joiner": Joiner}
    environment.filters = build_filters()
    environment.filters |= {"<observed>": _observed, "<joined>": _joined, "<walk>": _Walk}
    environment.binop_table = {**environment.binop_table, "+": operator.add}
    return environment


_ENVIRONMENT: Final = _environment()


def _parse(source: str, state: str | None) -> Analysis:
    if len(source) > _MAX_SOURCE:
        raise too_large(f"its source has {len(source):,} characters")
    if "\\" in source:
        # Jinja's lexer warns of escapes such as \d, which are what people write in patterns and mean as they stand.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return _parse_quietly(source, state)
    return _parse_quietly(source, state)


def _parse_quietly(source: str, state: str | None) -> Analysis:
    parser = None
    try:
        parser = Parser(_ENVIRONMENT, source, state=state)
        if state is None:
            return analyse(parser.parse(), _ENVIRONMENT)
        if parser.stream.current.type == "eof":
            raise ExpressionError("the expression is empty", code="template-syntax", offset=(0, 0))
        expression = parser.parse_expression()
        if parser.stream.current.type != "eof":
            parser.fail(f"unexpected {parser.stream.current.value!r}", parser.stream.current.lineno)
        return analyse(nodes.Template([nodes.Output([expression], lineno=1)], lineno=1), _ENVIRONMENT)
    except TemplateSyntaxError as error:
        raise syntax_error(_ENVIRONMENT, source, state, error, parser) from None
    except (RecursionError, MemoryError):
        raise ExpressionError("the expression nests too deeply", code="template-syntax") from None
    except (ValueError, TemplateError, OverflowError) as error:
        if "int_max_str_digits" in str(error):
            raise ExpressionError(
                "the expression cannot be read: a number has too many digits", code="template-syntax"
            ) from None
        raise ExpressionError(f"the expression cannot be read: {error}", code="template-syntax") from None


def _code(analysis: Analysis) -> Callable[[Context], Iterator[str]]:
    tree = analysis.tree
    if analysis.expression is not None:
        target = nodes.Name(_VALUE, "store", lineno=1)
        tree = nodes.Template([nodes.Assign(target, analysis.expression, lineno=1)], lineno=1)
    tree.set_environment(_ENVIRONMENT)
    try:
        code = _ENVIRONMENT.compile(tree)
    except (SyntaxError, ValueError, TemplateError) as error:
        why = error.msg if isinstance(error, SyntaxError) else error
        raise ExpressionError(f"the expression is wrong: {why}", code="template-syntax") from None
    root: Callable[[Context], Iterator[str]] = JinjaTemplate.from_code(
        _ENVIRONMENT, code, _ENVIRONMENT.globals
    ).root_render_func
    return root

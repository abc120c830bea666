"""Where in a template a syntax error is: Jinja tells the line, we find the column."""

from __future__ import annotations

import re

from jinja2 import Environment, TemplateSyntaxError
from jinja2.lexer import ignored_tokens
from jinja2.parser import Parser

from autoglm.spec.faults import ExpressionError

_SPELLINGS = (("&&", "and"), ("||", "or"), ("===", "=="), ("!==", "!="), ("?.", "| default(…)"))
_END = "'end of (?:print statement|template|statement block)'"
_TOO_EARLY = re.compile(f"(?:unexpected|expected an expression, got) {_END}|unexpected end of template, .*")
_NOT_THE_END = re.compile(f"expected token {_END}, got")


def syntax_error(
    environment: Environment, source: str, state: str | None, error: TemplateSyntaxError, parser: Parser | None
) -> ExpressionError:
    """Return Jinja's error as ours, with the place of the token that it did not expect."""
    position = _position(environment, source, state, parser)
    if position is None:
        line, column = max(0, error.lineno - 1), 0
    else:
        line, column = source.count("\n", 0, position), position - (source.rfind("\n", 0, position) + 1)
    hint = next((f"write `{ours}` instead of `{theirs}`" for theirs, ours in _SPELLINGS if theirs in source), None)
    return ExpressionError(_sentence(error, source), code="template-syntax", hint=hint, offset=(line, column))


def _sentence(error: TemplateSyntaxError, source: str) -> str:
    """Return what Jinja says in words of ours where its own are those of its parser."""
    if not source.replace("{{", "").replace("}}", "").strip():
        return "the expression is empty"
    message = (error.message or "it cannot be read").rstrip(".")
    if _TOO_EARLY.fullmatch(message):
        return "the expression ends too early"
    message = _NOT_THE_END.sub("unexpected", message)
    return f"the expression is wrong: {message[:1].lower()}{message[1:]}"


def _position(environment: Environment, source: str, state: str | None, parser: Parser | None) -> int | None:
    """Return the offset of the parser's current token, or of the text that is no token at all."""
    starts: list[int] = []
    done = 0
    try:
        for _line, kind, text in environment.lexer.tokeniter(source, None, None, state):
            found = source.find(text, done)
            if found < 0:
                return None  # whitespace control moved the text
            if kind not in ignored_tokens:
                starts.append(found)
            done = found + len(text)
    except TemplateSyntaxError:
        while done < len(source) and source[done].isspace():
            done += 1
        return done
    if parser is None:
        return None
    try:
        remaining = sum(1 for _ in parser.stream)
    except TemplateSyntaxError:
        return None
    # The stream's current token is the first of the remaining ones; at its end the error is at the source's end.
    return starts[-remaining] if 0 < remaining <= len(starts) else len(source)

"""What libyaml complains about, in words that help whoever wrote the file."""

from __future__ import annotations

import re

import yaml

from autoglm.spec.tree import Problem, Span

_UNQUOTED_TEMPLATE = re.compile(r"(?:^|[:\-,\[])\s+(\{\{.*)|^\s*(\{\{.*)")
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_QUOTE = "put the value in quotes"

# (part of libyaml's problem or context, our sentence, hint). The first that matches wins.
_EXPLANATIONS: tuple[tuple[str, str, str], ...] = (
    ("found a tab", "a tab stands where YAML needs spaces", "indent with spaces"),
    (
        "mapping values are not allowed",
        "a `:` is not expected here",
        'put a text that contains ": " in quotes, or check the indentation',
    ),
    (
        "found unexpected ':'",
        "this `:` needs a space after it",
        'write `key: value`; a text that ends with ":" needs quotes',
    ),
    (
        "mapping keys are not allowed",
        "a `?` is not expected here",
        'it begins a key in YAML: put a text that begins with "? " in quotes',
    ),
    (
        "block sequence entries are not allowed",
        "a `- ` item cannot begin here",
        "put the list's items on lines of their own",
    ),
    (
        "found unknown escape character",
        "this backslash starts no known escape",
        r"double it, or use single quotes: 'a\b'",
    ),
    (
        "found invalid Unicode character escape",
        "this escape is half of a surrogate pair, or no character at all",
        r"write the character itself, or its full code: \U0001F600",
    ),
    ("while scanning an alias", "`*` begins an alias, and no name follows it", f"{_QUOTE} if the `*` belongs to it"),
    ("while scanning an anchor", "`&` begins an anchor, and no name follows it", f"{_QUOTE} if the `&` belongs to it"),
    (
        "while scanning a block scalar",
        "`|` or `>` begins a text block, and nothing else may stand on its line",
        f"{_QUOTE} if the `|` or `>` belongs to it",
    ),
    (
        "undefined tag handle",
        "`!` begins a tag, which workflow files do not have",
        f"{_QUOTE} if the `!` belongs to it",
    ),
    (
        "while scanning a tag",
        "`!` begins a tag, which workflow files do not have",
        f"{_QUOTE} if the `!` belongs to it",
    ),
    ("while parsing a tag", "`!` begins a tag, which workflow files do not have", f"{_QUOTE} if the `!` belongs to it"),
    ("could not find expected ':'", "this line is no `key: value`", "add the `:`, or check the indentation and quotes"),
    (
        "did not find expected '-' indicator",
        "an item that begins with `- ` was expected here",
        "check the indentation: the items of a list stand in one column",
    ),
    (
        "did not find expected key",
        "a key was expected here",
        "check the indentation: the keys of a mapping stand in one column; and check the quotes before this",
    ),
    ("did not find expected ',' or ']'", "this `[` list is not closed, or lacks a comma", "add the `]` or the `,`"),
    ("did not find expected ',' or '}'", "this `{` mapping is not closed, or lacks a comma", "add the `}` or the `,`"),
    ("did not find expected node content", "a value was expected here", "add it, or close the brackets before this"),
    (
        "did not find expected <document start>",
        "this stands outside of the document",
        "check the indentation and the brackets before this",
    ),
    ("found incompatible YAML document", "this YAML version is not known", "remove the %YAML line"),
    ("directive", "a line that begins with `%` is a YAML directive, and this one is wrong", "remove the line"),
)


def explain(error: yaml.YAMLError, text: str) -> Problem:
    """Return what is wrong, where, and what to do, for an error that libyaml raised while it read ``text``."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return _unreadable(text)
    mark = error.problem_mark or error.context_mark
    at = min(mark.index, len(text)) if mark else 0
    said = f"{error.context or ''}; {error.problem or ''}"
    if template := _template_near(text, at):
        return Problem(
            "unquoted-template",
            "a value that begins with `{{` must stand in quotes: without them YAML reads a mapping",
            template,
            f'write "{text[template[0] : template[1]].strip()}" with its quotes',
        )
    span = (at, min(at + 1, len(text)))
    opened = min(error.context_mark.index, len(text)) if error.context_mark else at
    if "found unexpected end of stream" in said or "found unexpected document indicator" in said:
        quote = text[opened : opened + 1] or '"'
        return Problem(
            "syntax", "the quote that opens here is never closed", (opened, opened + 1), f"add the closing {quote}"
        )
    if "cannot start any token" in said:
        return _bad_start(text, span)
    for part, message, hint in _EXPLANATIONS:
        if part in said:
            if part.startswith(("did not find expected ','", "could not find expected ':'", "while scanning a block")):
                span = (opened, min(opened + 1, len(text)))
            return Problem("syntax", message, span, hint)
    return Problem("syntax", f"YAML cannot read this: {error.problem or error.context}", span)


def is_too_deep(error: yaml.YAMLError) -> bool:
    """Return whether libyaml gave up because of nesting, as its newer versions do."""
    return "nesting depth" in str(getattr(error, "problem", None) or "")


def where_too_deep(text: str, limit: int) -> int:
    """Return the offset of the bracket with which ``text`` is nested more than ``limit`` deep."""
    depth = 0
    for bracket in re.finditer(r"[\[{]|([\]}])", text):
        depth += -1 if bracket[1] else 1
        if depth > limit:
            return bracket.start()
    return 0


def _template_near(text: str, at: int) -> Span | None:
    """Return the span of an unquoted ``{{ … `` that begins a value on the line of ``at`` or the one before."""
    for _ in range(2):
        start = text.rfind("\n", 0, at) + 1
        stop = text.find("\n", start)
        line = text[start : stop if stop >= 0 else len(text)]
        match = _UNQUOTED_TEMPLATE.search(line.split(" #")[0])
        if match:
            group = 1 if match.group(1) else 2
            return start + match.start(group), start + len(line[: match.end(group)].rstrip())
        at = max(start - 1, 0)
    return None


def _bad_start(text: str, span: Span) -> Problem:
    character = text[span[0] : span[1]]
    if character == "\t":
        return Problem("syntax", "a tab stands where YAML needs spaces", span, "indent with spaces")
    return Problem("syntax", f"no value can begin with `{character}`", span, _QUOTE)


def _unreadable(text: str) -> Problem:
    match = _UNREADABLE.search(text)
    span = match.span() if match else (0, 0)
    name = f"U+{ord(match.group()):04X}" if match else "a character"
    return Problem(
        "control-character", f"the character {name} may not stand in a YAML file", span, "remove it; it is invisible"
    )

"""YAML text to data by the 1.2 core rules, from libyaml's events: a fast way and a careful one, as for JSON.

Rules:

1. Only plain scalars resolve, by :func:`resolve`; whatever is quoted is text. libyaml's 1.1 resolver plays no part.
2. The result is JSON data: text keys, finite numbers of 64 bits, no tags, no cycles.
3. Anchors, aliases and ``<<`` work; what an alias repeats counts against :data:`MAX_REPEATED`.
4. No recursion anywhere; a text too deep is refused before libyaml has read far into it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from autoglm.base.diagnostics import did_you_mean
from autoglm.spec.tree import (
    INTEGERS,
    MAX_DEPTH,
    Composition,
    Lines,
    Node,
    Problems,
    Span,
    Unusual,
    shorten,
)
from autoglm.spec.yaml_syntax import explain, is_too_deep, where_too_deep

MAX_REPEATED = 1_000_000
"""Values that aliases may add to a document: a bomb of nested aliases stops here."""

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MAY_BE_NUMBER = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_RADIX = re.compile(r"0o([0-7]+)|0x([0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MERGE = "<<"


class _BadNumber(ValueError):
    """A plain scalar that is a number we cannot hold; its text says which kind."""


def resolve(text: str) -> Any:
    """Return what a plain scalar means by the core schema. Raises _BadNumber."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in _MAY_BE_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("+-").lstrip("0")
        if len(digits) > 20 or (number := int(text)) not in INTEGERS:
            raise _BadNumber("large")
        return number
    if radix := _RADIX.fullmatch(text):
        octal, hexadecimal = radix.groups()
        digits = (octal or hexadecimal).lstrip("0")
        if len(digits) > 24 or (number := int(digits or "0", 8 if octal else 16)) not in INTEGERS:
            raise _BadNumber("large")
        return number
    if _FLOAT.fullmatch(text):
        value = float(text)
        if math.isinf(value):
            raise _BadNumber("large")
        return value
    if _NOT_FINITE.fullmatch(text):
        raise _BadNumber("not-finite")
    return text


def load(text: str) -> Any:
    """Return the data of a faultless text without anchors.

    Raises:
        Unusual: it is not faultless, or only :func:`compose` can tell.
    """
    try:
        return _load(text)
    except (yaml.YAMLError, _BadNumber) as error:
        raise Unusual from error


def _load(text: str) -> Any:  # noqa: C901 - one tight loop over 40 events a task; a call per event would double its time
    root: list[Any] = []
    target: Any = root
    is_list = True
    key: str | None = None
    stack: list[tuple[Any, bool, str | None]] = []
    documents = 0
    event: Any
    for event in yaml.parse(text, Loader=_LOADER):
        kind = event.__class__
        value: Any
        if kind is ScalarEvent:
            if event.anchor is not None or event.tag is not None:
                raise Unusual
            value = event.value
            if event.style == "" or event.style is None:
                if value == _MERGE:
                    raise Unusual
                value = resolve(value)
            if is_list:
                target.append(value)
            elif key is not None:
                target[key] = value
                key = None
            elif value.__class__ is str and value not in target:
                key = value
            else:
                raise Unusual
        elif kind is MappingStartEvent or kind is SequenceStartEvent:
            if event.anchor is not None or event.tag is not None or len(stack) >= MAX_DEPTH:
                raise Unusual
            value = {} if kind is MappingStartEvent else []
            if is_list:
                target.append(value)
            elif key is not None:
                target[key] = value
            else:
                raise Unusual
            stack.append((target, is_list, None))
            target, is_list, key = value, kind is SequenceStartEvent, None
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            target, is_list, key = stack.pop()
        elif kind is DocumentStartEvent:
            documents += 1
            if documents > 1:
                raise Unusual
        elif kind is AliasEvent:
            raise Unusual
    if not root or root[0] is None:
        raise Unusual
    return root[0]


def compose(text: str) -> Composition:
    """Read carefully. Raises BrokenText when the rest makes no sense."""
    return _Composer(text).compose()


class _Frame:
    """A list or mapping being filled."""

    __slots__ = ("anchor", "data", "height", "key", "key_span", "merged", "node", "size", "template")

    def __init__(self, data: Any, node: Node, anchor: str | None) -> None:
        self.data = data
        self.node = node
        self.anchor = anchor
        self.key: Any = _NO_KEY
        self.key_span: Span = (0, 0)
        self.merged: list[tuple[Any, Node]] = []
        self.size = 1
        self.height = 1
        self.template = False


class _Value:
    """A finished value on its way into its container. ``size`` and ``height`` count what it holds, aliases opened."""

    __slots__ = ("data", "height", "node", "size")

    def __init__(self, data: Any, node: Node, size: int = 1, height: int = 0) -> None:
        self.data = data
        self.node = node
        self.size = size
        self.height = height


_NO_KEY = object()
_MERGE_KEY = object()
_SKIPPED = object()
"""The key was wrong or a repeat: its value is read and dropped."""


class _Composer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = Lines(text)
        self.problems = Problems()
        self.stack: list[_Frame] = []
        self.anchors: dict[str, _Value] = {}
        self.open_anchors: dict[str, int] = {}
        self.repeated = 0
        self.result: _Value | None = None

    def compose(self) -> Composition:
        try:
            for event in self._events():
                self._take(event)
        except yaml.YAMLError as error:
            if is_too_deep(error):  # libyaml's scanner runs ahead of what it tells us, and has a limit of its own
                raise self.problems.too_deep(where_too_deep(self.text, MAX_DEPTH)) from None
            problem = explain(error, self.text)
            # The careful look may have met the beginning of the same mistake; libyaml's end of it says more.
            self.problems.drop(problem.code, problem.span[0])
            raise self.problems.fatal(problem.code, problem.message, problem.span, problem.hint) from None
        if self.result is None or self.result.data is None:
            raise self.problems.fatal("empty-file", "the file is empty", (0, 0))
        return Composition(self.result.data, self.result.node, self.problems.found)

    def _events(self) -> Iterator[Any]:
        documents = 0
        events: Iterator[Any] = yaml.parse(self.text, Loader=_LOADER)
        for event in events:
            if event.__class__ is DocumentStartEvent:
                documents += 1
                if documents > 1:
                    start, _ = _span_of(event)
                    self.problems.add(
                        "several-documents",
                        "a second YAML document begins here; one file holds one workflow",
                        (start, start + 3),
                        "remove the `---`, or split the file",
                    )
                    return
            yield event

    def _take(self, event: Any) -> None:
        span = _span_of(event)
        if isinstance(event, ScalarEvent):
            self._refuse_tag(event, span)
            self._scalar(event, self._trim(span))
        elif isinstance(event, CollectionStartEvent):
            self._refuse_tag(event, span)
            if len(self.stack) >= MAX_DEPTH:
                raise self.problems.too_deep(span[0])
            is_list = isinstance(event, SequenceStartEvent)
            start = self._after_properties(event, span[0])
            self.stack.append(_Frame([] if is_list else {}, Node(start, start, [] if is_list else {}), event.anchor))
            if event.anchor is not None:
                self.open_anchors[event.anchor] = start
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            self._close(span)
        elif isinstance(event, AliasEvent):
            self._alias(str(event.anchor), span)

    def _after_properties(self, event: Any, start: int) -> int:
        """Return where a collection's first value stands, past its ``&anchor`` and ``!tag``."""
        if event.anchor is None and event.tag is None:
            return start
        match = re.compile(r"(?:[&!]\S*\s+)*").match(self.text, start)
        return match.end() if match else start

    def _trim(self, span: Span) -> Span:
        """Cut the white space that libyaml counts to a block scalar."""
        start, end = span
        while end > start + 1 and self.text[end - 1].isspace():
            end -= 1
        return start, end

    def _refuse_tag(self, event: Any, span: Span) -> None:
        if event.tag is not None:
            at = self.text.find("!", span[0], max(span[1], span[0] + 200))
            start = max(at, span[0])
            word = re.compile(r"!\S*").match(self.text, start)
            end = word.end() if word else start + 1
            self.problems.add(
                "yaml-tag",
                f"`{shorten(self.text[start:end])}` is a YAML tag; a workflow file holds plain data only",
                (start, end),
                "remove the tag, or put the whole value in quotes if the `!` belongs to it",
            )

    def _scalar(self, event: ScalarEvent, span: Span) -> None:
        data: Any = event.value
        if not event.style:
            if data == _MERGE and self.stack and self._awaits_key():
                self.stack[-1].key = _MERGE_KEY
                self.stack[-1].key_span = span
                return
            try:
                data = resolve(event.value)
            except _BadNumber as error:
                data = self._bad_number(error, event.value, span)
        value = _Value(data, Node(*span))
        if event.anchor is not None:
            self.anchors[event.anchor] = value
        self._place(value, span)

    def _bad_number(self, error: _BadNumber, text: str, span: Span) -> Any:
        if self._awaits_key():
            return text
        if str(error) == "large":
            self.problems.big_number(span)
        else:
            self.problems.add(
                "not-finite", f"`{text}` is a number that JSON data cannot hold", span, "use null, or text in quotes"
            )
        return 0

    def _awaits_key(self) -> bool:
        return bool(self.stack) and self.stack[-1].data.__class__ is dict and self.stack[-1].key is _NO_KEY

    def _alias(self, name: str, span: Span) -> None:
        value = self.anchors.get(name)
        if name in self.open_anchors:
            line, _ = self.lines.position(self.open_anchors[name])
            self.problems.add(
                "self-reference",
                f"`*{name}` stands inside the value that `&{name}` names (line {line}), so it would hold itself",
                span,
                "repeat the part that is meant, or name a smaller part",
            )
            value = None
        elif value is None:
            guess = did_you_mean(name, self.anchors)
            hint = f"did you mean `*{guess}`?" if guess else f"quote the value if the `*` belongs to it: '*{name}'"
            self.problems.add("unknown-anchor", f"no `&{name}` stands before this", span, hint)
        if value is None:
            self._place(_Value(None, Node(*span)), span)
            return
        self.repeated += value.size
        if self.repeated > MAX_REPEATED:
            raise self.problems.fatal(
                "alias-bomb",
                f"aliases repeat more than {MAX_REPEATED:,} values in this file",
                span,
                "put large data in a file that a task reads",
            )
        if len(self.stack) + value.height > MAX_DEPTH:
            raise self.problems.too_deep(span[0])
        self._place(value, span)

    def _close(self, span: Span) -> None:
        frame = self.stack.pop()
        flow = self.text[span[0] : span[1]] in ("]", "}")
        frame.node.end = span[1] if flow else max(_last_end(frame.node), frame.node.start)
        for data, node in frame.merged:
            for key, value in data.items():
                if key not in frame.data:
                    frame.data[key] = value
                    frame.node.children[key] = node.children[key]
        value = _Value(frame.data, frame.node, frame.size, frame.height)
        if frame.template:  # read it as what was meant, so that what follows from it makes sense
            start, end = frame.node.start, frame.node.end
            value = _Value(self.text[start:end], Node(start, end))
        if frame.anchor is not None:
            self.open_anchors.pop(frame.anchor, None)
            self.anchors[frame.anchor] = value
        self._place(value, (frame.node.start, frame.node.end))

    def _place(self, value: _Value, span: Span) -> None:
        """Put a finished value where it belongs: the root, a list, or a mapping's key or value."""
        if not self.stack:
            self.result = value
            return
        frame = self.stack[-1]
        frame.size += value.size
        frame.height = max(frame.height, value.height + 1)
        if frame.data.__class__ is list:
            frame.data.append(value.data)
            frame.node.children.append(value.node)
        elif frame.key is _NO_KEY:
            self._key(frame, value, span)
        else:
            key, frame.key = frame.key, _NO_KEY
            if key is _MERGE_KEY:
                self._merge(frame, value, span)
            elif key is not _SKIPPED:
                frame.data[key] = value.data
                frame.node.children[key] = (frame.key_span, value.node)

    def _key(self, frame: _Frame, value: _Value, span: Span) -> None:
        key = value.data
        frame.key_span = span
        if key.__class__ is not str:
            written = self.text[span[0] : span[1]]
            frame.key = _SKIPPED if isinstance(key, dict | list) else written
            self._bad_key(frame, key, written, span)
        elif key in frame.data:
            first: Span = frame.node.children[key][0]
            self.problems.duplicate_key(key, span, first[0], self.lines)
            frame.key = _SKIPPED
        else:
            frame.key = key

    def _bad_key(self, frame: _Frame, key: Any, written: str, span: Span) -> None:
        if isinstance(key, dict | list):
            if self.text[span[0] - 1 : span[0] + 1] == "{{":
                frame.template = True
                end = span[1] + 1 if self.text[span[1] : span[1] + 1] == "}" else span[1]
                self.problems.add(
                    "unquoted-template",
                    "a value that begins with `{{` must stand in quotes: without them YAML reads a mapping",
                    (span[0] - 1, end),
                    f'write "{{{shorten(written)}}}" with its quotes',
                )
            else:
                self.problems.add("non-string-key", "a list or mapping cannot be a key", span, "write a text key")
            return
        name = {True: "true", False: "false", None: "null"}.get(key) if isinstance(key, bool | None) else None
        what = f"`{name}`" if name and written else f"the number `{shorten(written)}`" if written else "nothing"
        self.problems.add(
            "non-string-key",
            f"keys are text, but this one is {what}",
            span,
            f'put it in quotes: "{shorten(written)}"' if written else "write a name before the `:`",
        )

    def _merge(self, frame: _Frame, value: _Value, span: Span) -> None:
        if isinstance(value.data, dict):
            frame.merged.append((value.data, value.node))
        elif isinstance(value.data, list) and all(isinstance(item, dict) for item in value.data):
            frame.merged.extend(zip(value.data, value.node.children, strict=True))
        else:
            self.problems.add(
                "bad-merge",
                "`<<` merges a mapping or a list of mappings, and this is neither",
                span,
                'name one with an alias: `<<: *common`; a key that is really called "<<" needs quotes',
            )


def _span_of(event: Any) -> Span:
    return event.start_mark.index, event.end_mark.index


def _last_end(node: Node) -> int:
    """Return where a block collection's last value ends; libyaml only says where the next token begins."""
    if not node.children:
        return node.end
    if isinstance(node.children, list):
        return int(node.children[-1].end)
    span, last = node.children[next(reversed(node.children))]
    return max(int(span[1]), int(last.end))

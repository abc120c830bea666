"""A source text as plain data, with the place of every value in it.

Reading a right file costs no more than its data: positions are worked out when the first place is asked for.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from autoglm.base.diagnostics import Diagnostic, Place, Severity, sort_diagnostics
from autoglm.base.errors import SpecError
from autoglm.spec.model import Path
from autoglm.spec.tree import BrokenText, Composition, Lines, Node, Problem, Unusual

MAX_BYTES = 64 * 1024 * 1024
"""The largest source that is read; beyond it a file is data, not a workflow."""
_LARGE_TREE = 10_000
"""Objects from which on the collector takes longer to look through a tree than anybody should wait for."""


class Document:
    """What a file says (:attr:`data`: JSON data) and where it says so."""

    def __init__(self, file: str, text: str, data: Any, compose: Callable[[], Composition]) -> None:
        self.file = file
        self.text = text
        self.data = data
        self.problems: tuple[Diagnostic, ...] = ()
        """What is wrong with the text itself; only a document read with ``keep_going`` has any."""
        self._compose = compose
        self._root: Node | None = None
        self._lines: Lines | None = None

    @classmethod
    def from_data(cls, data: Any, file: str) -> Document:
        """Return a document for data that no text gave: its JSON stands in for one in messages."""
        from autoglm.spec import json_reader

        try:
            text = json.dumps(data, indent=2, ensure_ascii=False)
            text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
            hint = "use texts, numbers, booleans, None, lists and dicts only"
            raise SpecError([Diagnostic("not-json", f"{file} is no JSON data: {reason}", hint=hint)]) from None
        with gc_paused():
            return _read_with(json_reader, text, file, strict=True)

    @property
    def lines(self) -> Lines:
        if self._lines is None:
            self._lines = Lines(self.text)
        return self._lines

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Return where the value at ``path`` stands, or its key; for what is not there, the nearest value around it."""
        if self._root is None:
            with gc_paused():
                self._root = self._compose().root
        node = self._root
        span = (node.start, node.end)
        for part in path:
            child: Any = None
            if isinstance(node.children, dict):
                child = node.children.get(part)
            elif isinstance(node.children, list) and isinstance(part, int) and 0 <= part < len(node.children):
                child = ((node.children[part].start, node.children[part].end), node.children[part])
            if child is None:
                return self.at(span)
            key_span, node = child
            span = key_span if key else (node.start, node.end)
        return self.at(span)

    def at(self, span: tuple[int, int]) -> Place:
        """Return the place of a span of character offsets."""
        line, column = self.lines.position(span[0])
        end_line, end_column = self.lines.position(max(span))
        return Place(self.file, line, column, end_line, end_column)

    def line_of(self, path: Path, *, key: bool = False) -> int:
        return self.place(path, key=key).line

    def excerpt(self, line: int) -> str:
        """Return the text of a line, counted from 1."""
        return self.lines.excerpt(line)

    def diagnostic(
        self,
        code: str,
        message: str,
        path: Path,
        *,
        key: bool = False,
        hint: str | None = None,
        severity: Severity = Severity.ERROR,
    ) -> Diagnostic:
        """Return a diagnostic at the value at ``path`` (or its key), with the line it stands on."""
        place = self.place(path, key=key)
        return Diagnostic(code, message, place, hint, severity, self.excerpt(place.line))

    def _diagnose(self, problem: Problem) -> Diagnostic:
        place = self.at(problem.span)
        return Diagnostic(problem.code, problem.message, place, problem.hint, Severity.ERROR, self.excerpt(place.line))


def read_document(text: str, file: str, *, keep_going: bool = False) -> Document:
    """Return what ``text`` says: JSON for a ``.json`` file or a text that begins like one, else YAML 1.2.

    With ``keep_going``, problems after which the rest still makes sense (a duplicate key, a tag) do not raise: they
    are the document's :attr:`Document.problems`, and :func:`autoglm.spec.parse.parse_workflow` reports them.

    Raises:
        SpecError: the text is not YAML or JSON, or not plain data; with every problem found.
    """
    if len(text) > MAX_BYTES:
        raise _too_large(file, len(text))
    text = text.removeprefix("\ufeff")
    if (nul := text.find("\0")) >= 0:
        raise _nul_byte(file, text, nul)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = "half of a surrogate pair stands here, which is no character"
        raise _source_error(file, "lone-surrogate", message, "save the file as UTF-8", text, error.start) from None
    with gc_paused():
        document = _read(text, file)
    if document.problems and not keep_going:
        raise SpecError(document.problems)
    if not isinstance(document.data, dict | list):
        what = "a single value"
        problem = document.diagnostic(
            "scalar-file",
            f"the file holds {what}, where a mapping or a list is expected",
            (),
            hint="write `key: value`",
        )
        raise SpecError(sort_diagnostics([*document.problems, problem]))
    return document


def _read(text: str, file: str) -> Document:
    json_first, yaml_too = _format(text, file)
    if not json_first:
        return _read_with(_yaml_reader(), text, file)
    from autoglm.spec import json_reader

    try:
        return _read_with(json_reader, text, file, strict=yaml_too)
    except SpecError:
        if not yaml_too:
            raise
        try:
            return _read_with(_yaml_reader(), text, file)
        except SpecError:
            return _read_with(json_reader, text, file)


def _format(text: str, file: str) -> tuple[bool, bool]:
    """Return whether to read as JSON first, and whether YAML may follow."""
    name = file.lower()
    if name.endswith(".json"):
        return True, False
    looks_like_json = bool(re.match(r"\s*[\[{](?!\{)", text))
    return looks_like_json and not name.endswith((".yaml", ".yml")), True


def _yaml_reader() -> ModuleType:
    from autoglm.spec import yaml_reader

    return yaml_reader


def _read_with(reader: Any, text: str, file: str, *, strict: bool = False) -> Document:
    """Read the fast way and, where that gives up, the careful one. ``strict`` raises for any problem."""
    try:
        return Document(file, text, reader.load(text), lambda: reader.compose(text))
    except Unusual:
        pass
    empty = Document(file, text, None, lambda: Composition(None, Node(0, 0)))
    try:
        composition: Composition = reader.compose(text)
    except BrokenText as broken:
        raise SpecError(sort_diagnostics(map(empty._diagnose, broken.problems))) from None
    document = Document(file, text, composition.data, lambda: composition)
    document.problems = tuple(sort_diagnostics(map(document._diagnose, composition.problems)))
    if document.problems and strict:
        raise SpecError(document.problems)
    return document


def decode_source(raw: bytes, file: str) -> str:
    """Return the text of a source file: UTF-8, a byte order mark at its start dropped.

    Raises:
        SpecError: it is too large, holds NUL bytes, or is not UTF-8; with the place of the first bad byte.
    """
    if len(raw) > MAX_BYTES:
        raise _too_large(file, len(raw))
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _source_error(file, "not-utf8", "the file is UTF-16, not UTF-8", "save it as UTF-8", "", 0)
    if (nul := raw.find(b"\0")) >= 0:
        raise _nul_byte(file, raw[: nul + 200].decode("utf-8", "replace"), len(raw[:nul].decode("utf-8", "replace")))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig", "replace")
        after = raw[error.start : error.start + 200].decode("utf-8", "replace")
        message = f"the byte 0x{raw[error.start]:02x} here is not UTF-8"
        raise _source_error(file, "not-utf8", message, "save the file as UTF-8", before + after, len(before)) from None


@contextmanager
def gc_paused() -> Iterator[None]:
    """Hold the cyclic collector while a large tree is built: looking through it costs more than building it.

    Nor is a large tree looked through afterwards, with what is young, for it stays: it counts as old at once. (Unless
    somebody has frozen objects of his own, which that would thaw.)
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if gc.get_count()[0] > _LARGE_TREE and not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()  # that moves them to the oldest generation, wherever they came from
            gc.enable()


def _too_large(file: str, size: int) -> SpecError:
    message = f"the file has {size // 1024**2} MB; a workflow file may have {MAX_BYTES // 1024**2}"
    return _source_error(
        file, "file-too-large", message, "put data in a file of its own and loop over it with `loop: {file: …}`"
    )


def _nul_byte(file: str, text: str, offset: int) -> SpecError:
    hint = "is this a binary file, or one saved as UTF-16? Save it as UTF-8 text"
    return _source_error(file, "nul-byte", "a NUL byte stands here, so this is no text", hint, text, offset)


def _source_error(
    file: str, code: str, message: str, hint: str | None = None, text: str = "", offset: int = 0
) -> SpecError:
    lines = Lines(text)
    line, column = lines.position(offset)
    place = Place(file, line, column, line, column + 1)
    return SpecError([Diagnostic(code, message, place, hint, Severity.ERROR, lines.excerpt(line) or None)])

"""Readers of the files that loops go over: a window of items at a time, never a whole file of rows in memory.

Items are numbered from 0. Reading on where the last window ended costs only what is read; any other start (after a
recovery) skips rows without parsing them. Rows that are appended while a loop runs are read like the others.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import importlib.util
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Generic, Protocol, TypeVar

from autoglm.base import jsonvalue
from autoglm.base.diagnostics import did_you_mean
from autoglm.base.errors import SpecError, TaskError

MAX_LINE: Final = 16 * 1024 * 1024
"""Bytes of one line, and characters of one CSV field."""
MAX_DOCUMENT: Final = 64 * 1024 * 1024
"""Bytes of a ``.json`` or ``.yaml`` file, which is read as a whole."""
KINDS: Final = (".jsonl", ".ndjson", ".csv", ".txt", ".json", ".yaml", ".yml", ".parquet")

_BOM: Final = b"\xef\xbb\xbf"
_UTF8_HINT: Final = "save the file as UTF-8"

RecordT = TypeVar("RecordT")


class Source(Protocol):
    """The items of a loop. Used by one thread at a time."""

    def read(self, first: int, count: int) -> tuple[list[Any], bool]:
        """Return up to ``count`` items from number ``first``, and whether the source ends with them.

        Raises:
            TaskError: ``source-invalid``, naming file and line; ``source-line-too-long``; ``source-changed``, when
                the file holds fewer than ``first`` items; ``source-unreadable``.
        """

    def close(self) -> None:
        """Give the file back. Idempotent; a later read opens it again."""


def open_source(reference: str, root: Path) -> Source:
    """Return the source that ``rows.jsonl``, ``users.yaml#team.members`` … names, relative to ``root``.

    Raises:
        TaskError: ``source-not-found``, ``source-unreadable``, ``source-unsupported`` or ``source-needs-extra``.
    """
    name, _, fragment = reference.partition("#")
    path = root / name
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise _error(
            "source-unsupported",
            f"a loop cannot read {name!r}",
            f"give it one of {', '.join(KINDS)}; a script or function can turn other files into a list",
        )
    if fragment and kind not in (".json", ".yaml", ".yml"):
        raise _error("source-unsupported", f"{reference!r}: only JSON and YAML files take a #path", f"write {name!r}")
    _check_file(path, name)
    match kind:
        case ".csv":
            return _Rows(path, name, _Csv(name))
        case ".txt":
            return _Rows(path, name, _Text(name))
        case ".parquet":
            return _ParquetSource(path, name)
        case ".jsonl" | ".ndjson":
            return _Rows(path, name, _JsonLines(name))
        case _:
            return _DocumentSource(path, name, fragment)


def _check_file(path: Path, name: str) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise _error("source-not-found", f"{name} does not exist", "paths are relative to the project root") from None
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from None
    if stat.S_ISDIR(mode):
        hint = f"name one of the files in it, such as {name}/rows.jsonl"
        raise _error("source-unreadable", f"{name} is a directory, not a file", hint)
    if not stat.S_ISREG(mode):
        hint = "a resumed run reads it again: let a task write what comes out of it to a file"
        raise _error("source-unreadable", f"{name} is a device, a pipe or a socket, not a file", hint)


# ------------------------------------------------------------------------------------------------------------ rows


class _Format(Protocol[RecordT]):
    """How a file of rows is told apart into records, and what item a record holds."""

    def records(self, file: IO[bytes]) -> Iterator[RecordT]:
        """Yield the records from the beginning of ``file``."""

    def value(self, record: RecordT) -> Any:
        """Return the item that a record holds."""


class _Rows(Generic[RecordT]):
    """What is read record by record, with one record in advance: to know the last item without another read.

    Records are told apart first and parsed only when they are handed out; so those before ``first`` are skipped
    cheaply, and what is wrong with the record in advance is raised when its own turn comes.
    """

    def __init__(self, path: Path, name: str, rows: _Format[RecordT]) -> None:
        self.path = path
        self.name = name
        self._format = rows
        self._file: IO[bytes] | None = None
        self._records: Iterator[RecordT] = iter(())
        self._ahead: RecordT | TaskError | None = None
        self._position = -1
        """Number of the record in advance; -1 while the file is closed."""

    def read(self, first: int, count: int) -> tuple[list[Any], bool]:
        try:
            if first != self._position:
                self._seek(first)
            items: list[Any] = []
            while self._ahead is not None and len(items) < count:
                if isinstance(self._ahead, TaskError):
                    raise self._ahead
                items.append(self._format.value(self._ahead))
                self._advance()
        except OSError as error:
            self.close()
            raise _unreadable(self.name, error) from None
        except TaskError:
            self.close()
            raise
        last = self._ahead is None
        if last:
            self.close()
        return items, last

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._records, self._ahead, self._position = None, iter(()), None, -1

    def _seek(self, first: int) -> None:
        self.close()
        self._file = self.path.open("rb")
        self._records = self._format.records(self._file)
        self._advance()
        while self._position < first:
            if isinstance(self._ahead, TaskError):
                raise self._ahead
            if self._ahead is None:
                raise _shrunk(self.name, self._position, first)
            self._advance()

    def _advance(self) -> None:
        self._position += 1
        try:
            self._ahead = next(self._records, None)
        except TaskError as error:
            self._ahead = error


class _JsonLines:
    """One JSON value a line; blank lines count for nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def records(self, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
        return (line for line in _lines(file, self.name) if line[1].strip())

    def value(self, record: tuple[int, bytes]) -> Any:
        number, line = record
        try:
            return jsonvalue.decode(line)
        except jsonvalue.NotJson as error:
            raise _invalid(self.name, number, str(error), error.hint or "each line is one JSON value") from None


class _Text(_JsonLines):
    """One text a line, without its end; blank lines count for nothing."""

    def value(self, record: tuple[int, bytes]) -> Any:
        return _decoded(self.name, *record).rstrip("\r\n")


class _Csv:
    """Rows as mappings of text, by the names of the first row; commas and double quotes as spreadsheets write them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._columns: list[str] = []

    def records(self, file: IO[bytes]) -> Iterator[tuple[int, list[str]]]:
        # The limit is the whole process's and small by default; it is only ever raised here.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
        texts = (_decoded(self.name, number, line) for number, line in _lines(file, self.name))
        reader = csv.reader(texts, "excel", strict=True)
        self._columns = []
        try:
            for row in reader:
                if row and not self._columns:
                    self._columns = self._header(row, reader.line_num)
                elif row:
                    yield reader.line_num, row
        except csv.Error as error:
            hint = "is a double quote left open, or not written twice inside a quoted field?"
            raise _invalid(self.name, max(reader.line_num, 1), f"not CSV: {error}", hint) from None

    def value(self, record: tuple[int, list[str]]) -> Any:
        number, row = record
        if len(row) != len(self._columns):
            what = f"the row has {len(row)} fields and the header {len(self._columns)}"
            raise _invalid(self.name, number, what, "quote fields that hold commas")
        return dict(zip(self._columns, row, strict=True))

    def _header(self, row: list[str], line: int) -> list[str]:
        columns = [name.strip() for name in row]
        if "" in columns:
            what = f"column {columns.index('') + 1} has no name"
            raise _invalid(self.name, line, what, "the first row names the columns")
        twice = next((name for name in columns if columns.count(name) > 1), None)
        if twice is not None:
            raise _invalid(self.name, line, f"two columns are named {twice!r}", "rename one of them")
        return columns


def _lines(file: IO[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """Yield (line number, line with its end), without a byte order mark."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise _error(
                "source-line-too-long",
                f"{name}:{number}: the line is longer than {MAX_LINE // 1024 // 1024} MB",
                "is it one value a line? a whole JSON document is a .json file",
            )
        yield number, line.removeprefix(_BOM) if number == 1 else line


def _decoded(name: str, line: int, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _invalid(name, line, f"byte {error.start + 1} is not UTF-8 text", _UTF8_HINT) from None


# ------------------------------------------------------------------------------------------------- whole documents


class _DocumentSource:
    """A list inside a JSON or YAML file."""

    def __init__(self, path: Path, name: str, fragment: str) -> None:
        self.path = path
        self.name = name
        self.fragment = fragment
        self._items: list[Any] | None = None

    def read(self, first: int, count: int) -> tuple[list[Any], bool]:
        if self._items is None:
            self._items = self._load()
        if first > len(self._items):
            raise _shrunk(self.name, len(self._items), first)
        return self._items[first : first + count], first + count >= len(self._items)

    def close(self) -> None:
        self._items = None

    def _load(self) -> list[Any]:
        value = self._document()
        steps = self.fragment.split(".") if self.fragment else []
        for number, step in enumerate(steps):
            here = f"{self.name}#{'.'.join(steps[:number])}".rstrip("#")
            if isinstance(value, dict) and step in value:
                value = value[step]
            elif isinstance(value, list) and step.isascii() and step.isdigit() and int(step[:9]) < len(value):
                value = value[int(step[:9])]
            else:
                near = did_you_mean(step, value) if isinstance(value, dict) else None
                raise _error("source-invalid", f"{here} has no {step!r}", f"did you mean {near!r}?" if near else None)
        if not isinstance(value, list):
            lists = [key for key, entry in value.items() if isinstance(entry, list)] if isinstance(value, dict) else []
            path = ".".join([*steps, str(lists[0])]) if lists else ""
            hint = f"{self.name}#{path} is a list" if lists else "say where the list is: file.yaml#path.to.list"
            where = f"{self.name}#{self.fragment}" if self.fragment else self.name
            raise _error("source-invalid", f"{where} is not a list", hint)
        return value

    def _document(self) -> Any:
        try:
            with self.path.open("rb") as file:
                raw = file.read(MAX_DOCUMENT + 1)
        except OSError as error:
            raise _unreadable(self.name, error) from None
        if len(raw) > MAX_DOCUMENT:
            what = f"{self.name} is larger than {MAX_DOCUMENT // 1024 // 1024} MB and would be read as a whole"
            raise _error("source-too-large", what, "write one JSON value a line into a .jsonl file: it is streamed")
        raw = raw.removeprefix(_BOM)
        if self.path.suffix.lower() == ".json":
            try:
                return jsonvalue.decode(raw)
            except jsonvalue.NotJson as error:
                hint = error.hint or "a .json file is one JSON document; for one a line call it .jsonl"
                raise _error("source-invalid", f"{self.name}: {error}", hint) from None
        from autoglm.spec.document import read_document  # loads the YAML reader, which JSON does not need

        try:
            return read_document(raw.decode(), self.name).data
        except UnicodeDecodeError:
            raise _error("source-invalid", f"{self.name} is not UTF-8 text", _UTF8_HINT) from None
        except SpecError as error:
            found = error.diagnostics[0]
            raise _error("source-invalid", found.sentence, found.hint) from None


class _ParquetSource:
    """Rows of a Parquet file as mappings. Dates become ISO 8601 text, decimals text."""

    def __init__(self, path: Path, name: str) -> None:
        if importlib.util.find_spec("pyarrow") is None:
            raise _needs_pyarrow(name)
        self.path = path
        self.name = name
        self._file: Any = None
        self._group = -1
        self._rows: Any = None
        self._ends: list[int] = []
        """Number of the first item after each row group."""

    def read(self, first: int, count: int) -> tuple[list[Any], bool]:
        try:
            import pyarrow  # type: ignore[import-not-found,import-untyped,unused-ignore]
            import pyarrow.parquet  # type: ignore[import-not-found,import-untyped,unused-ignore]  # slow, so not before it is needed
        except ImportError:
            raise _needs_pyarrow(self.name) from None
        try:
            total = self._open(pyarrow.parquet.ParquetFile)
            if first > total:
                raise _shrunk(self.name, total, first)
            items: list[Any] = []
            while first < total and len(items) < count:
                begin = self._load_group(first)
                rows = self._rows.slice(first - begin, count - len(items)).to_pylist()
                items += [self._json(row) for row in rows]
                first += len(rows)
        except (pyarrow.ArrowException, OSError) as error:
            self.close()
            raise _error("source-invalid", f"{self.name} cannot be read as Parquet: {error}") from None
        return items, first >= total

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._rows, self._group = None, None, -1

    def _open(self, parquet_file: Callable[[str], Any]) -> int:
        """Open the file if need be; return how many rows it has."""
        if self._file is None:
            self._file = parquet_file(os.fspath(self.path))
            end, self._ends = 0, []
            for group in range(self._file.metadata.num_row_groups):
                end += self._file.metadata.row_group(group).num_rows
                self._ends.append(end)
        return self._ends[-1] if self._ends else 0

    def _load_group(self, first: int) -> int:
        """Hold the row group that row ``first`` lies in; return the number of its first row."""
        group = next(number for number, end in enumerate(self._ends) if first < end)
        if group != self._group:
            self._rows, self._group = self._file.read_row_group(group), group
        return self._ends[group - 1] if group else 0

    def _json(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): self._json(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self._json(entry) for entry in value]
        if isinstance(value, datetime.date | datetime.time):
            return value.isoformat()
        if isinstance(value, decimal.Decimal | datetime.timedelta):
            return str(value)
        try:
            return jsonvalue.plain(value)
        except jsonvalue.NotJson as error:
            raise _error("source-invalid", f"{self.name}: {error}", error.hint) from None


def _needs_pyarrow(name: str) -> TaskError:
    message = f"reading {name} needs a package that is not installed"
    return _error("source-needs-extra", message, "pip install 'open-autoglm[parquet]'")


def _error(code: str, message: str, hint: str | None = None) -> TaskError:
    return TaskError(message, code=code, retryable=False, hint=hint)


def _invalid(name: str, line: int, what: str, hint: str | None = None) -> TaskError:
    return _error("source-invalid", f"{name}:{line}: {what}", hint)


def _shrunk(name: str, total: int, first: int) -> TaskError:
    message = f"{name} has only {total} items now, and {first} were read from it before"
    return _error("source-changed", message, "restore the file, or start a new run")


def _unreadable(name: str, error: OSError | ValueError) -> TaskError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "its name holds a NUL character"
    return _error("source-unreadable", f"{name} cannot be read: {reason}", "correct the path or its permissions")

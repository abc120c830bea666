"""Secrets by name, from the process environment or a ``.env`` file that is kept outside the journal.

Nothing is read before the first secret is asked for: most runs need none.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from autoglm.base.diagnostics import Diagnostic, Place, Severity, did_you_mean
from autoglm.base.errors import SpecError, TaskError
from autoglm.base.redaction import Secret

PREFIX: Final = "AUTOGLM_SECRET_"
"""``AUTOGLM_SECRET_DB_PASSWORD`` in the environment is ``secrets.DB_PASSWORD``, before ``DB_PASSWORD`` itself."""

_LINE: Final = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)", re.DOTALL)
_QUOTED: Final = re.compile(r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>[^']*)')\s*(?:#.*)?""", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}
_REQUIRED: Final = object()
_MAX_BYTES: Final = 1024 * 1024


class Secrets(Mapping[str, Secret]):
    """A lazy mapping name → :class:`Secret`. Its repr and its errors hold names, never values.

    Asking for a secret that does not exist raises TaskError, not KeyError: nobody may take it for optional. So does
    asking when the ``.env`` file has a line that cannot be read: a secret must not be found, or missed, by guessing.
    """

    def __init__(self, environ: Mapping[str, str], dotenv_path: Path | None = None) -> None:
        self._environ = environ
        self._path = dotenv_path
        self._file: dict[str, str] | None = None

    def get(self, name: str, default: Any = _REQUIRED) -> Any:
        """Return the secret ``name``, or ``default`` when one is given and there is no such secret.

        Raises:
            TaskError: ``secret-missing``, naming the places that were looked in; ``dotenv-syntax`` or
                ``dotenv-unreadable``, naming the file and the line.
        """
        for key in (PREFIX + name, name):
            value = self._environ.get(key)
            if value:
                return Secret(value)
        value = self._from_file().get(name)
        if value:
            return Secret(value)
        if default is not _REQUIRED:
            return default
        raise self._missing(name)

    def __getitem__(self, name: str) -> Secret:
        secret: Secret = self.get(name)
        return secret

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        return bool(self._environ.get(PREFIX + name) or self._environ.get(name) or self._from_file().get(name))

    def __iter__(self) -> Iterator[str]:
        """Yield the names that are meant as secrets: prefixed variables and those of the file, not every variable."""
        prefixed = {key.removeprefix(PREFIX) for key in self._environ if key.startswith(PREFIX)}
        return iter(sorted(prefixed | self._from_file().keys()))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<Secrets from the environment{f' and {self._path.name}' if self._path else ''}>"

    def warnings(self) -> list[Diagnostic]:
        """Return what is doubtful about the ``.env`` file: that others may read it. It is looked at, and not read."""
        try:
            mode = self._path.stat().st_mode if self._path is not None else 0
        except (OSError, ValueError):
            return []
        if not stat.S_ISREG(mode) or not mode & stat.S_IROTH:
            return []
        message = f"every user of this machine can read the secrets in {self._path}"
        return [Diagnostic("secrets-readable", message, hint=f"chmod 600 {self._path}", severity=Severity.WARNING)]

    def _from_file(self) -> dict[str, str]:
        if self._file is None:
            try:
                self._file = self._read() if self._path is not None else {}
            except SpecError as error:
                found = error.diagnostics[0]
                raise TaskError(found.sentence, code=found.code, retryable=False, hint=found.hint) from None
        return self._file

    def _read(self) -> dict[str, str]:
        assert self._path is not None
        path = self._path
        try:
            if not path.exists():
                return {}
            if not path.is_file():
                raise _unreadable(path, "it is not a file")
            if path.stat().st_size > _MAX_BYTES:
                raise _unreadable(path, "it is larger than 1 MB")
            text = path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise _unreadable(path, error.strerror or "it cannot be opened") from None
        except ValueError:  # not UTF-8, or a NUL byte in the path
            raise _unreadable(path, "it is not UTF-8 text") from None
        return parse_dotenv(text, str(path))

    def _missing(self, name: str) -> TaskError:
        places = f"the environment ({PREFIX}{name}, {name})"
        if self._path is not None:
            state = "" if self._from_file() else ", which is absent or empty"
            places += f" and {self._path}{state}"
        near = did_you_mean(name, self)
        where = f" or add {name}=… to {self._path.name}" if self._path is not None else ""
        return TaskError(
            f"the secret {name} is not set: looked in {places}",
            code="secret-missing",
            retryable=False,
            hint=f"did you mean secrets.{near}?" if near else f"export {name}=…{where}",
        )


def parse_dotenv(text: str, file: str) -> dict[str, str]:
    """Return the variables of a ``.env`` text: ``NAME=value`` lines, ``export``, quotes and ``#`` comments.

    A quoted value may go over several lines. In double quotes ``\\n``, ``\\t``, ``\\"`` and ``\\\\`` are escapes;
    single quotes keep everything as it stands; an unquoted value ends at `` #``. Nothing is substituted.

    Raises:
        SpecError: lines that are none of this (``dotenv-syntax``). The message never quotes the line.
    """
    found: dict[str, str] = {}
    wrong: list[Diagnostic] = []
    lines = re.split(r"\r\n|\r|\n", text)
    number = 0
    while number < len(lines):
        start, line = number, lines[number]
        number += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            wrong.append(_bad_line(file, start, line, "is not NAME=value"))
            continue
        raw = match["value"].strip()
        if raw.startswith(('"', "'")):
            raw, number = _whole_quote(raw, lines, number)
            quoted = _QUOTED.fullmatch(raw)
            if quoted is None:
                number = start + 1  # read on right below: an open quote must not hide the errors after it
                wrong.append(_bad_line(file, start, line, "has an open quote, or text after the closing one"))
                continue
            value = quoted["single"] if quoted["single"] is not None else _unescaped(quoted["double"])
        else:
            value = re.split(r"(?:^|\s)#", raw, maxsplit=1)[0].rstrip()
        if "\0" in value:
            wrong.append(_bad_line(file, start, line, "holds a NUL character"))
        found[match["name"]] = value
    if wrong:
        raise SpecError(wrong)
    return found


def _whole_quote(raw: str, lines: list[str], number: int) -> tuple[str, int]:
    """Add the lines after ``raw`` until its opening quote is closed; return it and the number of the line after."""
    quote, added, body = raw[0], [], raw[1:]
    while not _closes(body, quote) and number < len(lines):
        body = lines[number]
        added.append(body)
        number += 1
    return "\n".join([raw, *added]).rstrip(), number


def _closes(line: str, quote: str) -> bool:
    if quote == '"':
        line = re.sub(r"\\.", "", line)
    return quote in line


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), text, flags=re.DOTALL)


def _bad_line(file: str, index: int, line: str, what: str) -> Diagnostic:
    place = Place(file, index + 1, 1, index + 1, len(line) + 1)
    hint = 'write NAME=value, NAME="value" or a # comment'
    # No excerpt: the line may hold the secret itself.
    return Diagnostic("dotenv-syntax", f"line {index + 1} of the secrets file {what}", place, hint)


def _unreadable(path: Path, reason: str) -> SpecError:
    message = f"the secrets file {path} cannot be read: {reason}"
    hint = "mend the file, or name another with `secrets: {file: …}` in autoglm.yaml"
    return SpecError([Diagnostic("dotenv-unreadable", message, hint=hint)])

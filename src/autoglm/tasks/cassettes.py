"""Cassettes: the model calls of a run in a file that people read, so that a test suite asks no model.

A line a call, as JSON: the task, what was asked, what was answered; secrets are redacted, keys and addresses were never
there. What is recorded is found again by what was asked, whatever the order of calls.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from autoglm.base.errors import TaskError, UsageError
from autoglm.llm.asked import Document, differences, digest_of

_MOST_SHOWN = 3
_KEYS = frozenset({"task", "asked", "answer"})


class CassetteMode(StrEnum):
    """What is done with a call."""

    RECORD = "record"
    """Ask the model and write it down, over what the file held."""
    REPLAY = "replay"
    """Answer from the file; what it does not hold fails."""
    AUTO = "auto"
    """Answer from the file, ask and add what it does not hold."""


@dataclass(slots=True)
class _Entry:
    task: str
    asked: Document
    answer: Any
    uses: int = 0


@dataclass(slots=True)
class Cassette:
    """One file of recorded calls. ``scrub`` takes secrets out of JSON data; it is set once the run's are known."""

    path: Path
    mode: CassetteMode
    scrub: Callable[[Any], Any] = lambda value: value
    _entries: list[_Entry] = field(default_factory=list)
    _by_digest: dict[str, list[_Entry]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_changed: bool = False

    @property
    def is_replayed(self) -> bool:
        """No model is ever called."""
        return self.mode is CassetteMode.REPLAY

    @classmethod
    def open(cls, path: Path, mode: CassetteMode) -> Cassette:
        """Return the cassette in the file ``path``.

        Raises:
            UsageError: ``cassette-missing``: it is to be replayed, and not there; ``cassette-unreadable``.
        """
        cassette = cls(path, mode)
        if mode is CassetteMode.RECORD:
            cassette._check_place()
            return cassette
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            if mode is CassetteMode.REPLAY:
                hint = "record it first: `--cassette-mode record`"
                raise UsageError(f"there is no cassette {path}", code="cassette-missing", hint=hint) from None
            cassette._check_place()
            return cassette
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            message = f"the cassette {path} cannot be read: {reason}"
            raise UsageError(message, code="cassette-unreadable", hint="name a file of yours") from None
        for number, line in enumerate(lines, 1):
            if line.strip():
                cassette._add(cassette._read(number, line))
        return cassette

    def _check_place(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_dir():
                raise IsADirectoryError(21, "it is a folder")
        except OSError as error:
            reason = error.strerror or str(error)
            message = f"the cassette {self.path} cannot be written: {reason}"
            raise UsageError(message, code="cassette-unwritable", hint="name a file in a folder of yours") from None

    def _read(self, number: int, line: str) -> _Entry:
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict) or not data.keys() >= _KEYS or not isinstance(data["asked"], dict):
            raise UsageError(
                f"line {number} of the cassette {self.path} is no recorded call",
                code="cassette-unreadable",
                hint="a line is `{task, asked, answer}`; record it again: `--cassette-mode record`",
            )
        return _Entry(str(data["task"]), data["asked"], data["answer"])

    def _add(self, entry: _Entry) -> None:
        self._entries.append(entry)
        self._by_digest.setdefault(digest_of(entry.asked), []).append(entry)

    def find(self, task: str, asked: Document) -> Any:
        """Return the recorded answer; None when it must be asked for.

        The same question asked several times gets its answers in turn, then the last one again. Raises TaskError
        ``cassette-mismatch``.
        """
        if self.mode is CassetteMode.RECORD:
            return None
        asked = self._scrubbed(asked)
        with self._lock:
            found = self._by_digest.get(digest_of(asked))
            if found:
                entry = min(found, key=lambda each: each.uses)
                entry.uses += 1
                return entry.answer
            if self.mode is CassetteMode.AUTO:
                return None
            raise self._mismatch(task, asked)

    def keep(self, task: str, asked: Document, answer: Document) -> None:
        """Record a call that was made."""
        entry = _Entry(task, self._scrubbed(asked), self._scrubbed(answer), uses=1)
        with self._lock:
            self._add(entry)
            self._is_changed = True

    def close(self) -> None:
        """Write the file, sorted by task, when anything was recorded. Raises UsageError ``cassette-unwritable``."""
        with self._lock:
            if not self._is_changed and self.mode is not CassetteMode.RECORD:
                return
            ordered = sorted(self._entries, key=lambda each: (_natural(each.task), digest_of(each.asked)))
            lines = [
                json.dumps({"task": each.task, "asked": each.asked, "answer": each.answer}, ensure_ascii=False)
                for each in ordered
            ]
            try:
                self.path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            except OSError as error:
                reason = error.strerror or str(error)
                message = f"the cassette {self.path} cannot be written: {reason}"
                raise UsageError(message, code="cassette-unwritable", hint="name a file in a folder of yours") from None
            self._is_changed = False

    def _scrubbed(self, value: Document) -> Document:
        """Return plain data without secrets, as it comes back from the file."""
        plain: Document = json.loads(json.dumps(value, ensure_ascii=False, default=str))
        scrubbed: Document = self.scrub(plain)
        return scrubbed

    def _mismatch(self, task: str, asked: Document) -> TaskError:
        head = f"the cassette {self.path} has no answer to what `{task}` asks"
        hint = "if the change is meant, record again: `--cassette-mode record`"
        nearest = self._nearest(task, asked)
        if nearest is None:
            return TaskError(f"{head}: it holds no call of it", code="cassette-mismatch", retryable=False, hint=hint)
        found = list(differences(nearest.asked, asked))
        shown = "; ".join(f"`{path}`: {what}" for path, what in found[:_MOST_SHOWN])
        more = f"; and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
        return TaskError(
            f"{head}; what it recorded of `{nearest.task}` differs in {shown}{more}",
            code="cassette-mismatch",
            retryable=False,
            hint=hint,
            details={"differences": [{"path": path, "what": what} for path, what in found[:50]]},
        )

    def _nearest(self, task: str, asked: Document) -> _Entry | None:
        """Return the recorded call that this one most likely was: of the same task, else of its node; least changed."""
        own = [each for each in self._entries if each.task == task]
        node = re.sub(r"\[\d+\]", "", task)
        near = own or [each for each in self._entries if re.sub(r"\[\d+\]", "", each.task) == node]
        return min(near, key=lambda each: sum(1 for _ in differences(each.asked, asked)), default=None)


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key that orders ``a[2]`` before ``a[10]``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]

"""The watermark: the last record that a store acknowledged, noted in a file beside the database.

A flipped bit in the middle of a write-ahead log makes SQLite drop every later commit without a word, and its integrity
check calls the rest sound. The note says which record must be there: when it is not, the store is behind what it told.
It is written after each commit and never synced, so it costs a system call and can only lag, never lead.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class Watermark:
    """One line, ``SEQ RUN_ID``, rewritten in place. A file that cannot be written is no error: it only guards less."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def read(self) -> tuple[str, int] | None:
        """Return run id and number of the last acknowledged record, None when nothing is noted."""
        try:
            line, end, _ = self.path.read_bytes().partition(b"\n")
            seq, _, run_id = line.decode().partition(" ")
            return (run_id, int(seq)) if end and run_id else None
        except (OSError, ValueError):
            return None

    def write(self, run_id: str, seq: int) -> None:
        """Note a record that is committed."""
        with suppress(OSError, UnicodeEncodeError):
            if self._file is None:
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            os.pwrite(self._file, f"{seq} {run_id}\n".encode(), 0)

    def clear(self) -> None:
        """Note nothing."""
        with suppress(OSError):
            self.path.write_bytes(b"\n")

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

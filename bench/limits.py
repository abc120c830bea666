"""What the disk and SQLite allow: the limits that no engine which keeps the same promise can pass."""

from __future__ import annotations

import time
from pathlib import Path

import apsw


class BareCommits:
    """Single-row transactions, each on the disk before the next begins: a journal with no engine around it.

    The row has the size of a journal record of a no-op task; the settings are the ones that survive a power cut.
    """

    def __init__(self, path: Path, payload: int = 200) -> None:
        self.connection = apsw.Connection(str(path))
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("CREATE TABLE record (id INTEGER PRIMARY KEY, run INTEGER, seq INTEGER, payload BLOB)")
        self.payload = b"x" * payload
        self.written = 0

    def seconds(self, commits: int) -> float:
        """Return how long ``commits`` commits take."""
        execute = self.connection.execute
        begin = time.perf_counter()
        for _ in range(commits):
            execute("BEGIN IMMEDIATE")
            execute("INSERT INTO record (run, seq, payload) VALUES (1, ?, ?)", (self.written, self.payload))
            execute("COMMIT")
            self.written += 1
        return time.perf_counter() - begin

    def close(self) -> None:
        self.connection.close()

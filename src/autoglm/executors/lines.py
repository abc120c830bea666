"""The output of a program as log lines: bytes in, clipped and counted lines of text out."""

from __future__ import annotations

from autoglm.executors.protocol import LogSink

LINE_LIMIT = 8 * 1024
"""Bytes of a line that are kept."""
LINES_LIMIT = 100_000
BYTES_LIMIT = 16 * 1024 * 1024
CLIPPED = " … [line clipped]"
TRUNCATED = "output truncated: the rest of it is not logged"


class LogBudget:
    """What one attempt may still log, over all its streams."""

    __slots__ = ("_bytes", "_lines", "_log", "spent")

    def __init__(self, log: LogSink, lines: int = LINES_LIMIT, size: int = BYTES_LIMIT) -> None:
        self._log = log
        self._lines = lines
        self._bytes = size
        self.spent = False

    def write(self, stream: str, line: bytes, *, clipped: bool = False) -> None:
        """Log a line, or say once that no more will be logged."""
        if self.spent:
            return
        self._lines -= 1
        self._bytes -= len(line)
        if self._lines < 0 or self._bytes < 0:
            self.spent = True
            self._log(stream, TRUNCATED)
            return
        text = line.removesuffix(b"\r").decode("utf-8", "replace")
        self._log(stream, text + CLIPPED if clipped else text)


class LineSplitter:
    """Cuts one stream of bytes into lines. Holds never more than one clipped line."""

    __slots__ = ("_budget", "_clipped", "_rest", "_stream")

    def __init__(self, stream: str, budget: LogBudget) -> None:
        self._stream = stream
        self._budget = budget
        self._rest = b""
        self._clipped = False

    def feed(self, data: bytes) -> None:
        """Log every line that ``data`` completes."""
        if self._budget.spent:
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._complete(line)
        self._keep(rest)

    def finish(self) -> None:
        """Log what stands after the last line break."""
        if self._rest or self._clipped:
            self._complete(b"")

    def _keep(self, part: bytes) -> None:
        room = LINE_LIMIT - len(self._rest)
        if len(part) > room:
            self._clipped = True
            part = part[:room]
        self._rest += part

    def _complete(self, end: bytes) -> None:
        self._keep(end)
        self._budget.write(self._stream, self._rest, clipped=self._clipped)
        self._rest = b""
        self._clipped = False

"""Measuring on a machine that does other things too: alternate, take medians, show the spread.

A comparison is a list of pairs: ours and the peer's, one right after the other, so that both see the same weather.
The ratio that counts is the median of the pairs' ratios; the range of them is printed beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
PEERS = HERE / "peers"


@dataclass(frozen=True)
class Row:
    """One line of the table. ``met`` is None where the line has no bar and only informs."""

    case: str
    what: str
    ours: str
    against: str
    ratio: str
    bar: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Pairs:
    """Seconds of ours and of the other side, pair by pair."""

    ours: tuple[float, ...]
    other: tuple[float, ...]

    @classmethod
    def of(cls, found: Sequence[tuple[dict[str, float], dict[str, float]]], key: str) -> Pairs:
        return cls(tuple(mine[key] for mine, _ in found), tuple(theirs[key] for _, theirs in found))

    @property
    def speedups(self) -> list[float]:
        """How many times faster we were, pair by pair."""
        return [other / ours for ours, other in zip(self.ours, self.other, strict=True)]

    @property
    def speedup(self) -> float:
        return statistics.median(self.speedups)

    def shown(self) -> str:
        return f"{self.speedup:.2f} × ({min(self.speedups):.2f}-{max(self.speedups):.2f})"


def rate(tasks: int, seconds: Sequence[float]) -> str:
    """Return the median rate, and the range when there is one."""
    low, middle, high = (tasks / of(seconds) for of in (max, statistics.median, min))
    return f"{middle:,.0f}/s ({low:,.0f}-{high:,.0f})" if len(seconds) > 1 else f"{middle:,.0f}/s"


def spread(values: Sequence[float], unit: str = "", digits: int = 2) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f}{unit} ({low:.{digits}f}-{high:.{digits}f})"


def environment() -> dict[str, str]:
    """Our environment as a user has it: Python may keep its bytecode. It finds this checkout, whatever is installed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE.parent / 'src'}"}


def call(argv: Sequence[str | Path], timeout: float = 600, cwd: Path | None = None) -> dict[str, Any]:
    """Run a program that prints one JSON document on its last line, and return that."""
    done = subprocess.run(
        [str(part) for part in argv], capture_output=True, text=True, timeout=timeout, env=environment(), cwd=cwd
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(str(part) for part in argv)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def ours(program: str, *arguments: str | Path | int, timeout: float = 600) -> dict[str, Any]:
    """Run one of ``bench/programs`` in a process of its own."""
    return call([sys.executable, PROGRAMS / f"{program}.py", *(str(part) for part in arguments)], timeout)


def peer(name: str, *arguments: str | Path | int, timeout: float = 600) -> dict[str, Any]:
    """Run a peer's script in the peer's environment, in a folder that is thrown away."""
    from bench.peers import setup

    with scratch() as folder:
        script = PEERS / f"{name}_peer.py"
        return call([setup.ensure(name), script, "--dir", folder, *(str(part) for part in arguments)], timeout)


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder on the disk that temporary files use, and remove it. ``TMPDIR`` chooses another disk."""
    folder = Path(tempfile.mkdtemp(prefix="autoglm-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Return the bytes of all files below ``folder``; one that vanishes meanwhile counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total

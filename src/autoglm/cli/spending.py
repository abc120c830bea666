"""What the command says about model calls: limits over those of the file's budget, and the cassette."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autoglm.base.errors import AutoglmError, UsageError

if TYPE_CHECKING:
    from autoglm.tasks.cassettes import Cassette

_LIMITS = ("cost", "tokens", "calls", "wall_time")


def read_budget(pairs: list[str] | None) -> dict[str, float] | None:
    """Return the limits written as NAME=VALUE, None for none. Raises UsageError ``budget-option``."""
    from autoglm.base.durations import parse_duration

    if not pairs:
        return None
    found: dict[str, float] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            value = float(parse_duration(text)) if name == "wall_time" else float(text)
        except (ValueError, AutoglmError):
            value = -1.0
        if name not in _LIMITS or not 0 < value < 1e15:
            hint = f"write --budget cost=5 or tokens=2000000; the limits are {', '.join(_LIMITS)}"
            raise UsageError(f"{pair!r} is no limit of a budget", code="budget-option", hint=hint)
        found[name] = value if name in ("cost", "wall_time") else int(value)
    return found


def open_cassette(given: str | None, mode: str | None, file: Path) -> Cassette | None:
    """Return the cassette that ``--cassette`` and ``--cassette-mode`` ask for, None when neither is given.

    ``--cassette record`` names no file: then it lies in ``cassettes/`` beside the workflow file, under its name.
    Raises UsageError.
    """
    if given is None and mode is None:
        return None
    from autoglm.tasks.cassettes import Cassette, CassetteMode

    path = file.parent / "cassettes" / f"{file.stem}.jsonl"
    if given in list(CassetteMode):
        if mode is not None and mode != given:
            hint = "write one of them, or name a file: --cassette FILE --cassette-mode MODE"
            raise UsageError(f"--cassette {given} and --cassette-mode {mode} differ", code="usage", hint=hint)
        mode = given
    elif given is not None:
        path = Path(given)
    return Cassette.open(path, CassetteMode(mode or "auto"))

"""Golden files: what a person read once and found good. ``AUTOGLM_UPDATE_GOLDEN=1`` rewrites them; read the diff."""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(__file__).parent


def is_updating() -> bool:
    """Return whether golden files are to be written rather than compared."""
    return os.environ.get("AUTOGLM_UPDATE_GOLDEN") == "1"


def check_golden(name: str, text: str) -> None:
    """Assert that ``text`` is what ``tests/golden/NAME`` holds."""
    path = GOLDEN / name
    if is_updating():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    assert path.exists(), f"{path} is missing; AUTOGLM_UPDATE_GOLDEN=1 writes it"
    assert text == path.read_bytes().decode(), f"{path} differs; if the new text is better, AUTOGLM_UPDATE_GOLDEN=1"

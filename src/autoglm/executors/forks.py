"""A function that forks, and whose copy comes back to us: two engines would drive one run, over one connection."""

from __future__ import annotations

import os

_is_copy = False


def _note() -> None:
    global _is_copy  # what a process is, is a fact about all of it
    _is_copy = True


os.register_at_fork(after_in_child=_note)


def end_if_forked() -> None:
    """End this process if it is a copy, made by a function that we called here, which should have ended it itself."""
    if _is_copy:
        os._exit(0)

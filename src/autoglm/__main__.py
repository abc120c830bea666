"""The ``autoglm`` command."""

from __future__ import annotations

import gc
import os
import sys

_PATIENCE = 3.0
"""Seconds for what handlers left behind (threads, functions to call at the exit) once everything has been said."""


def main() -> None:
    """Run the command and leave with its exit code."""
    _open_what_is_closed()
    if sys.argv[1:] in (["--version"], ["-V"]):
        from autoglm import __version__

        try:
            sys.stdout.write(f"autoglm {__version__}\n")  # before anything that takes time to import
            sys.stdout.flush()
        except OSError as error:
            from autoglm.cli.entry import leave_unwritten

            sys.exit(leave_unwritten(error))
        return
    gc.disable()  # importing and loading make much and drop little; what drives a run turns it on again
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # spares looking for them in everything installed
    from autoglm.cli.entry import enter

    code = enter(sys.argv[1:])
    if "autoglm.runtime.runner" in sys.modules:  # the author's functions may have run in this process
        _leave(code)
    sys.exit(code)


def _open_what_is_closed() -> None:
    """Let standard streams that we were started without lead nowhere: no other file may get their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def _leave(code: int) -> None:
    """End the process as Python does, but soon, and without another word."""
    import threading
    from contextlib import suppress

    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    timer = threading.Timer(_PATIENCE, os._exit, (code,))
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    main()

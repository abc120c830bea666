"""The way into the command, and the only way out: every error becomes words and an exit code here."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from autoglm.base.errors import AutoglmError, EngineError, SpecError, UsageError
from autoglm.cli.output import show_error, show_problem, warn

SUCCEEDED = 0
FAILED = 1
WRONG = 2
INTERRUPTED = 130

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def enter(arguments: Sequence[str]) -> int:
    """Run the command with ``arguments`` and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name that is no text must not stop a message about it
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except OSError as error:
        return leave_unwritten(error)
    except KeyboardInterrupt:
        warn("\ninterrupted")
        return INTERRUPTED
    return code


def leave_unwritten(error: OSError) -> int:
    """Return the exit code when our output cannot be written: that somebody stopped reading it is no failure."""
    if isinstance(error, BrokenPipeError):
        _forget_output()
        return SUCCEEDED
    return _unwritten(error)


def _run(arguments: Sequence[str]) -> int:
    try:
        from autoglm.cli.app import app

        result = app(list(arguments), prog_name="autoglm", standalone_mode=False)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except EngineError as error:
        return _bug(error)
    except AutoglmError as error:
        if os.environ.get("AUTOGLM_DEBUG") == "1":
            raise
        show_error(error)
        return WRONG if isinstance(error, SpecError | UsageError) else FAILED
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # typer makes an exit of it
            raise error.__context__ from None
        return error.code if isinstance(error.code, int) else WRONG
    except Exception as error:  # noqa: BLE001  # the last resort, so that no traceback reaches a user
        return _other(error)
    return result if isinstance(result, int) else SUCCEEDED


def _other(error: Exception) -> int:
    # typer carries its own copy of click, older ones use the real one: their errors are known by what they can do.
    if type(error).__name__ == "Abort" and not error.args:
        warn("interrupted")
        return INTERRUPTED
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "autoglm"
        if type(error).__name__ == "NoArgsIsHelpError":
            warn(context.get_help() if context is not None else "")
            return WRONG
        message = error.format_message()
        if "embedded null" in message:  # each version of Python says it in other words
            message = "an argument cannot hold a NUL character"
        show_problem("usage", message[:1].lower() + message[1:].rstrip("."), f"see `{command} --help`")
        return WRONG
    if isinstance(error, OSError) and error.errno in _FULL:
        return _unwritten(error)
    if isinstance(error, RecursionError | MemoryError):
        show_problem("too-large", "this is too large or too deeply nested to be handled")
        return WRONG
    return _bug(error)


def _unwritten(error: OSError) -> int:
    """Our output goes to a file, and its disk is full."""
    _forget_output()
    hint = "what a run has recorded stays: `autoglm show last` tells it"
    with suppress(OSError):
        show_problem("output-failed", f"our output cannot be written: {error.strerror or error}", hint)
    return FAILED


def _bug(error: Exception) -> int:
    if os.environ.get("AUTOGLM_DEBUG") == "1":
        raise error
    show_problem("internal", f"this is a bug in autoglm: {type(error).__name__}: {error}", _report(error))
    return FAILED


def _report(error: Exception) -> str:
    """Write a crash report and return the hint that names it. It holds no values of variables."""
    import platform
    import tempfile
    import time
    import traceback
    from pathlib import Path

    from autoglm import __version__

    trace = "".join(traceback.format_exception(error))
    text = (
        f"autoglm {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"command: {' '.join(sys.argv[1:2])}\n\n{trace}"
    )
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    state = Path(".autoglm")
    for folder in (state if state.is_dir() else Path(tempfile.gettempdir()), Path(tempfile.gettempdir())):
        try:
            target = (folder / name).absolute()
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", errors="backslashreplace") as file:
                file.write(text)
        except OSError:
            continue
        return f"please report it with the file {target}; AUTOGLM_DEBUG=1 shows the traceback"
    return "please report it; AUTOGLM_DEBUG=1 shows the traceback"


def _forget_output() -> None:
    """Whoever read our output has gone: nothing more may be written, also not when Python ends."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):
        return

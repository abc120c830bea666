"""Who drives a run: a name for this process, and whether the process behind a name still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def this_process() -> str:
    """Return ``host/pid/start``: unique on this host even when process ids are used again."""
    pid = os.getpid()
    return f"{socket.gethostname()}/{pid}/{_start_time(pid) or 0}"


def is_alive(owner: str) -> bool | None:
    """Return whether the owner's process lives; None when it is another host's, so that nobody here can tell."""
    host, _, rest = owner.partition("/")
    pid, _, start = rest.partition("/")
    if host != socket.gethostname() or not pid.isdigit():
        return None
    found = _start_time(int(pid))
    if found is None:
        return False
    return start in (str(found), "0")


def _start_time(pid: int) -> int | None:
    """Return a process's start in clock ticks since boot (field 22 of ``/proc/PID/stat``); None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _without_proc(pid)
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def _without_proc(pid: int) -> int | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return 0
    return 0

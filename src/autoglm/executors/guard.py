"""A small process that outlives ours by a moment, to take along what we had started when we are killed.

Why not ``PR_SET_PDEATHSIG``: it is tied to the *thread* that forked, is lost over a set-uid exec, and says nothing to
the children of a child. One guard serves a whole executor, costs 10 ms of start-up beside the first program, and a few
bytes down a pipe for every other one.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_CHILD = Path(__file__).with_name("_guard_child.py")


class Guard:
    """Kills the process groups it was told of, and all that carry its mark, when this process ends without a word."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(12)
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """The mark: what a guarded program must have in its environment."""
        return {"AUTOGLM_GUARD": self._token}

    def start(self) -> None:
        """Start the guard process, if it does not run. Call before what it shall guard is started."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_CHILD), str(os.getpid()), f"AUTOGLM_GUARD={self._token}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)

    def add(self, group: int) -> None:
        """Guard a process group."""
        self._groups.add(group)
        self._tell(b"+%d\n" % group)

    def remove(self, group: int) -> None:
        """Forget a group. Call before its leader is reaped: only until then its number cannot mean another one."""
        self._groups.discard(group)
        self._tell(b"-%d\n" % group)

    def close(self) -> None:
        """End the guard process. Nothing that it guards must be alive any more. Idempotent."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process = None

    def _tell(self, line: bytes) -> None:
        try:
            self._write(line)
        except OSError:  # somebody killed it, or it hangs: a new one takes over all groups
            self.close()
            self.start()
            self._write(b"".join(b"+%d\n" % group for group in self._groups))

    def _write(self, data: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        os.write(self._process.stdin.fileno(), data)

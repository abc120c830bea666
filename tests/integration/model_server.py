"""A real model server for tests: llama.cpp's, in an environment of its own that is made once and kept.

The environment is made below ``$XDG_CACHE_HOME/autoglm-tests`` (``~/.cache/autoglm-tests``) from ``model-server.lock``,
in a folder that bears the lock's hash: some 55 MB of wheels, and nothing to compile. Where it cannot be made (no wheel
for this platform, no package registry), the tests that need it are skipped with the reason; with ``CI`` set they fail.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LOCK = HERE / "model-server.lock"
_PATIENCE = 600
"""Seconds for making the environment: most of it is the download."""
_START = 120.0
"""Seconds for the server's start: it takes less than one on an idle machine."""


@dataclass(frozen=True)
class ModelServer:
    """Where the servers are: base addresses of the OpenAI wire."""

    chat: str
    embeddings: str


def ready_python() -> Path:
    """Return the interpreter of the environment, which is made if it is not there. Raises CannotMake."""
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "autoglm-tests"
    folder = cache / f"model-server-{digest}"
    python, whole = folder / "bin" / "python", folder / "complete"
    if whole.exists():
        return python
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.making").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers of one test run want it at once
        if not whole.exists():
            _do(sys.executable, "-m", "venv", "--clear", str(folder))
            pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            _do(*pip, "--only-binary", ":all:", "--require-hashes", "-r", str(LOCK))
            whole.touch()
    return python


class CannotMake(Exception):
    """The environment cannot be made here."""


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if done.returncode:
        raise CannotMake(f"{' '.join(command[1:4])} … failed: {(done.stderr or done.stdout).strip()[-500:]}")


@contextmanager
def model_server(folder: Path) -> Iterator[ModelServer]:
    """Run the server; skip the test, or fail it where CI runs, if that cannot be done."""
    try:
        python = ready_python()
    except (CannotMake, OSError, subprocess.TimeoutExpired) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no model server: {error}")
    with (folder / "server.log").open("w") as log:
        command = [str(python), str(HERE / "serve_model.py"), str(folder)]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert server.stdout is not None
            watch = threading.Timer(_START, server.kill)  # one that hangs must not hang the tests
            watch.start()
            ready = next((line for line in server.stdout if line.startswith("READY ")), None)
            watch.cancel()
            assert ready is not None, (folder / "server.log").read_text()[-2000:]
            chat, embeddings = (f"{address}/v1" for address in ready.split()[1:])
            yield ModelServer(chat, embeddings)
        finally:
            assert server.stdin is not None
            server.stdin.close()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            assert server.stdout is not None
            server.stdout.close()

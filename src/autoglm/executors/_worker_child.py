"""The other side of the ``process`` executor: runs one function after another, on request.

Speaks JSON lines over the socket that it inherits. A request is ``{"reference", "arguments"}``; what comes back is any
number of ``{"log": [stream, line]}`` and then one ``{"value": …}`` or ``{"failure": …}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import importlib.util
import inspect
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from autoglm.base.errors import TaskError
from autoglm.base.jsonvalue import NotJson, encode
from autoglm.executors.failures import as_task_error

_engine: socket.socket | None = None
_sending = threading.Lock()


def serve(fd: int) -> None:
    """Answer requests until the engine hangs up."""
    global _engine
    os.set_inheritable(fd, False)
    _engine = socket.socket(fileno=fd)
    faulthandler.enable()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="replace")  # type: ignore[union-attr]
    with _engine.makefile("rb") as requests:
        for line in requests:
            answer = _answer(msgspec.json.decode(line))
            for stream in (sys.stdout, sys.stderr):
                _flush(stream)
            _send(answer)
    os._exit(0)  # threads that a handler left behind must not keep us


def _answer(request: dict[str, Any]) -> bytes:
    try:
        function = find(request["reference"])
        value = function(**request["arguments"])
        if inspect.isawaitable(value):
            value = asyncio.run(_await(value))
        return b'{"value":' + encode(value) + b"}"
    except NotJson as error:
        return _failed(TaskError(str(error), code="not-json", retryable=False, hint=error.hint))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the engine shall know
        return _failed(as_task_error(error))


async def _await(awaitable: Any) -> Any:
    return await awaitable


def _failed(error: TaskError) -> bytes:
    return msgspec.json.encode({"failure": error.failure()})


def find(reference: str) -> Callable[..., Any]:
    """Return the function that ``module:name`` or ``/path/file.py:name`` refers to."""
    place, _, name = reference.rpartition(":")
    module = _import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{reference} is not a function")
    return found  # type: ignore[no-any-return]


def _import_file(path: Path) -> Any:
    name = f"_autoglm_file_{path}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def log(stream: str, line: str) -> None:
    """Send a log line to the engine, from whatever thread. A :data:`~autoglm.executors.protocol.LogSink`."""
    if _engine is not None:
        _send(msgspec.json.encode({"log": [stream, line.encode("utf-8", "replace").decode()]}))


def _send(message: bytes) -> None:
    assert _engine is not None
    with _sending:
        _engine.sendall(message + b"\n")


def _flush(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError):  # the function may have closed it
        stream.flush()

"""The other side of the ``process`` executor: runs one function after another, on request.

Speaks JSON lines over the socket that it inherits. A request is ``{"reference", "arguments"}``; what comes back is any
number of ``{"log": text}`` and then one ``{"value": …}`` or ``{"failure": …}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import importlib.util
import inspect
import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from autoglm.base.errors import TaskError
from autoglm.base.jsonvalue import NotJson, encode
from autoglm.executors.failures import as_task_error


def serve(fd: int) -> None:
    """Answer requests until the engine hangs up."""
    os.set_inheritable(fd, False)
    engine = socket.socket(fileno=fd)
    faulthandler.enable()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="replace")  # type: ignore[union-attr]
    _send_logs(engine)
    with engine.makefile("rb") as requests:
        for line in requests:
            answer = _answer(msgspec.json.decode(line))
            for stream in (sys.stdout, sys.stderr):
                _flush(stream)
            engine.sendall(answer + b"\n")
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


def _send_logs(engine: socket.socket) -> None:
    """Send what the functions log below ``autoglm.task`` to the engine."""

    class ToEngine(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                text = record.getMessage()
            except Exception:  # noqa: BLE001 - a wrong format string must not fail the task
                text = str(record.msg)
            if record.levelno != logging.INFO:
                text = f"{record.levelname}: {text}"
            engine.sendall(msgspec.json.encode({"log": text.encode("utf-8", "replace").decode()}) + b"\n")

    logger = logging.getLogger("autoglm.task")
    logger.addHandler(ToEngine())
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


def _flush(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError):  # the function may have closed it
        stream.flush()

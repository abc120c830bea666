"""Services: what handlers ask for by name, opened once a run at first use and closed at its end, last opened first.

A service is a function marked ``@autoglm.service``: it returns the service, or yields it and cleans up afterwards.
Async ones live on the event loop, each in a task of its own from opening to closing, so that task groups and timeouts
may be held open across the ``yield``. Sync ones are opened and closed in threads.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

from autoglm.base.diagnostics import did_you_mean
from autoglm.base.errors import TaskError
from autoglm.executors.failures import describe, own_frames
from autoglm.executors.thread import DaemonThreads
from autoglm.tasks.handlers import Handlers


class RunServices:
    """The services of one run. ``services["db"]`` and ``services.db`` give them to handlers without waiting."""

    def __init__(self, handlers: Handlers, config: Mapping[str, Any] | None = None) -> None:
        self._handlers = handlers
        self._config = dict(config or {})
        self._services: dict[str, _Service] = {}
        self._lock = threading.Lock()
        self._threads = DaemonThreads(8)
        self._order: list[_Service] = []

    async def get(self, name: str) -> Any:
        """Return the service, opening it if nobody has.

        Raises:
            TaskError: ``unknown-service``, ``service-failed``, or what importing its file raised.
        """
        service = self._services.get(name)
        if service is None:
            service = await self._threads.call(self._declare, {"name": name})
        if service.is_open:
            return service.value
        if not service.is_async:
            return await self._threads.call(service.open_now, {})
        if service.opening is None or service.opening.done():
            service.opening = asyncio.ensure_future(service.open())
            service.opening.add_done_callback(_look_at)
        return await asyncio.shield(service.opening)  # one attempt that is cancelled takes it from no other

    def __getitem__(self, name: str) -> Any:
        """Return a service that is open already, or a sync one. Raises TaskError as :meth:`get` does."""
        service = self._declare(name)
        if service.is_open:
            return service.value
        if service.is_async:
            raise TaskError(
                f"the service `{name}` is async and not open yet",
                code="service-not-open",
                retryable=False,
                hint=f"take it as a parameter: `def handler({name}): …`",
            )
        return service.open_now()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    async def close(self) -> list[TaskError]:
        """Close all services, the last opened first; return what went wrong, which stops nothing. Idempotent."""
        errors = []
        opening = [s.opening for s in self._services.values() if s.opening is not None and not s.opening.done()]
        for future in opening:
            future.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        while self._order:
            service = self._order.pop()
            try:
                if service.is_async:
                    await service.close()
                else:
                    await self._threads.call(service.close_now, {})
            except Exception as error:  # noqa: BLE001 - the others must be closed all the same
                errors.append(_failed(service.name, error, "closed"))
        self._services.clear()
        self._threads.close()
        return errors

    def _declare(self, name: str) -> _Service:
        """Return the service as declared, importing the file that does."""
        service = self._services.get(name)
        if service is not None:
            return service
        if name not in self._handlers.services:
            close = did_you_mean(name, self._handlers.services)
            raise TaskError(
                f"there is no service `{name}`",
                code="unknown-service",
                retryable=False,
                hint=f"did you mean `{close}`?" if close else "define it in tasks/services.py with @autoglm.service",
            )
        function = self._handlers.service(name)
        with self._lock:
            return self._services.setdefault(name, _Service(name, function, self._config, self._order.append))


class _Service:
    """One service: how it is opened and closed, and whether it is."""

    def __init__(
        self, name: str, function: Callable[..., Any], config: Mapping[str, Any], opened: Callable[[_Service], None]
    ) -> None:
        self.name = name
        self.is_open = False
        self.is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        self.value: Any = None
        self.opening: asyncio.Future[Any] | None = None
        self._function = function
        self._arguments = {"config": config} if "config" in inspect.signature(function).parameters else {}
        self._opened = opened
        self._lock = threading.Lock()
        self._resource: Any = None
        self._host: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def open_now(self) -> Any:
        """Open a sync service, once, whatever threads ask for it."""
        with self._lock:
            if not self.is_open:
                self._resource = _sync_resource(self._function)(**self._arguments)
                try:
                    self.value = self._resource.__enter__()
                except BaseException as error:
                    raise _failed(self.name, error, "opened") from error
                self.is_open = True
                self._opened(self)
            return self.value

    def close_now(self) -> None:
        self.is_open = False
        self._resource.__exit__(None, None, None)

    async def open(self) -> Any:
        """Open an async service in a task of its own."""
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing.clear()
        host = asyncio.create_task(self._live(opened), name=f"service {self.name}")
        try:
            await asyncio.wait([host, opened], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            host.cancel()
            await asyncio.wait([host])
            raise
        if not opened.done():
            error = asyncio.CancelledError() if host.cancelled() else host.exception()
            assert error is not None
            raise _failed(self.name, error, "opened") from error
        self._host = host
        self.is_open = True
        self._opened(self)
        return self.value

    async def close(self) -> None:
        self.is_open = False
        self._closing.set()
        if self._host is not None:
            await self._host

    async def _live(self, opened: asyncio.Future[None]) -> None:
        resource: AbstractAsyncContextManager[Any] = _async_resource(self._function)(**self._arguments)
        try:
            async with resource as self.value:
                opened.set_result(None)
                await self._closing.wait()
        except (SystemExit, KeyboardInterrupt) as error:  # these would end the event loop
            raise _failed(self.name, error, "opened") from error


def _sync_resource(function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isgeneratorfunction(function):
        return contextmanager(function)

    @contextmanager
    def just_value(**arguments: Any) -> Iterator[Any]:
        yield function(**arguments)

    return just_value


def _async_resource(function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):
        return asynccontextmanager(function)

    @asynccontextmanager
    async def just_value(**arguments: Any) -> AsyncIterator[Any]:
        yield await function(**arguments)

    return just_value


def _look_at(future: asyncio.Future[Any]) -> None:
    """Take note of an error, so that asyncio does not complain when whoever wanted the service is gone."""
    if not future.cancelled():
        future.exception()


def _failed(name: str, error: BaseException, what: str) -> TaskError:
    if isinstance(error, TaskError):
        return error
    trace = own_frames(error.__traceback__)
    return TaskError(
        f"the service `{name}` cannot be {what}: {describe(error)}",
        code="service-failed",
        classes=[type(error).__name__],
        details={"traceback": trace} if trace else None,
    )

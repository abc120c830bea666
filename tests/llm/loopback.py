"""What every scripted server of these tests stands on: routes on a port of loopback, for as long as a block lasts.

Which server to take:

- :func:`tests.llm.peer.script` for the wire itself: bytes as they are, stalls, cut connections;
- :func:`tests.llm.peer.serve` for answers to chat and embedding calls, a function of the request;
- :func:`tests.llm.web_peer.serving` for whole runs: statuses, headers, calls that are kept waiting, how many at once;
- :func:`tests.llm.batch_peer.serve_batches` for a provider with a batch API;
- :func:`listening`, with routes of the test's own, for anything else.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TypeVar

from aiohttp import web

T = TypeVar("T")


@asynccontextmanager
async def listening(*routes: web.RouteDef) -> AsyncIterator[str]:
    """Serve routes, and give the address: ``http://127.0.0.1:PORT``. Calls that are under way at the end are cut."""
    app = web.Application(client_max_size=200_000_000)
    app.router.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextmanager
def on_a_thread(server: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Let a server run on a thread of its own, beside a test that is not asynchronous."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(30)
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

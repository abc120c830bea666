"""A model server of whole answers: each is a function of the number of the call and of its body.

For what stands on the wire itself (stalls, cut connections, broken bytes), see :mod:`tests.llm.peer`.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ParamSpec

from aiohttp import web

from tests.llm.loopback import listening
from tests.llm.peer import completion

P = ParamSpec("P")


def run_async(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Let pytest run a coroutine."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


@dataclass
class Server:
    """A model server whose answers are scripted: a function from the number of the call and its body."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0


Reply = Callable[[int, dict[str, Any]], "web.Response | None"]


@asynccontextmanager
async def serving(
    reply: Reply | None = None,
    *,
    meet: int = 0,
    before: Callable[[dict[str, Any]], Awaitable[None]] | None = None,
    more: Sequence[web.RouteDef] = (),
) -> AsyncIterator[Server]:
    """Run it on loopback; with ``meet``, nobody is answered before so many are there at once.

    ``before`` is awaited with each call's body before it is answered; ``more`` is what else stands there.
    """
    server = Server()
    together = asyncio.Event()

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        server.asked.append(body)
        number = len(server.asked)
        server._now += 1
        server.most_at_once = max(server.most_at_once, server._now)
        try:
            if before is not None:
                await before(body)
            if meet and server._now >= meet:
                together.set()
            if meet:
                await together.wait()
            answered = reply(number, body) if reply is not None else None
            if answered is not None:
                return answered
            text = f"to: {body['messages'][-1]['content']}"
            return web.json_response(completion(text), dumps=json.dumps)
        finally:
            server._now -= 1

    async with listening(web.post("/v1/chat/completions", chat), *more) as address:
        server.url = f"{address}/v1"
        yield server


def refused(headers: dict[str, str] | None = None, status: int = 429) -> web.Response:
    return web.json_response({"error": {"message": "slow down"}}, status=status, headers=headers or {})

"""HTTP as model calls need it: one aiohttp session a loop, no cap on connections, no retries, coded failures.

Limits belong to whoever starts calls, and repeating them to the engine, which counts and journals.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from autoglm.base.errors import TaskError
from autoglm.llm.chat import Answer, media_type
from autoglm.llm.errors import bad_response
from autoglm.llm.exchange import Exchange, timeouts
from autoglm.llm.models import Endpoint

CONNECT_TIMEOUT = 10.0
FIRST_TOKEN_TIMEOUT = 300.0
"""Seconds a stream may be silent: before its first token, and between two."""
TOTAL_TIMEOUT = 600.0
BODY_LIMIT = 64 * 1024 * 1024
_KEPT_ALIVE = 4.0
"""Seconds an idle connection is kept: less than the five that uvicorn, the server of vLLM and many others, keeps it. A
call written into a connection that the server is just closing is lost, and it is not ours to repeat."""
_JSON: Final = {"Content-Type": "application/json", "Accept": "application/json"}

Failed = Callable[[str, str], TaskError]
"""Makes the failure for an address and a reason."""


@dataclass(slots=True)
class _Session:
    """What belongs to one event loop: the session, and the proxy of each address."""

    http: aiohttp.ClientSession
    proxies: dict[str, str | None] = field(default_factory=dict)


class Transport:
    """Carries bytes to servers and back. One instance serves a whole process, whatever loops come and go in it."""

    def __init__(
        self,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        first_token_timeout: float = FIRST_TOKEN_TIMEOUT,
        total_timeout: float = TOTAL_TIMEOUT,
        body_limit: int = BODY_LIMIT,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._first_token_timeout = first_token_timeout
        self._total_timeout = total_timeout
        self.body_limit = body_limit
        self._sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Session] = weakref.WeakKeyDictionary()

    async def call(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        data: Any = None,
        *,
        headers: Mapping[str, str] = _JSON,
    ) -> Answer:
        """Make one call and return the answer, read to its end. Raises TaskError."""
        async with self.open(endpoint, method, path, data, headers=headers) as response:
            return await self.read_answer(endpoint, response)

    def open(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        data: Any = None,
        *,
        headers: Mapping[str, str] = _JSON,
        streaming: bool = False,
    ) -> Exchange:
        """Make one call: ``async with`` gives the answer to be read; what breaks inside is raised as a TaskError.

        With ``streaming``, silence is bounded by the endpoint's first-token timeout besides the total.
        """
        session = self._session()
        total = endpoint.timeout or self._total_timeout
        connect = min(endpoint.connect_timeout or self._connect_timeout, total)
        silence = min(endpoint.first_token_timeout or self._first_token_timeout, total) if streaming else None
        how = {
            "data": data,
            "headers": _headers(endpoint, headers),
            "allow_redirects": False,
            "proxy": endpoint.proxy or _proxy(session, endpoint.base_url),
        }
        url = _url(endpoint.base_url, path)
        return Exchange(session.http, endpoint, method, url, timeouts(total, connect, silence), how)

    async def look(self, url: str, failed: Failed) -> tuple[int, str, int | None]:
        """Ask what stands at a web address: the status, the media type, and the size where it is told.

        Raises what ``failed`` makes of the address and a reason.
        """
        async with self._visit("HEAD", url, failed) as response:
            return response.status, media_type(response.headers), response.content_length

    async def fetch(self, url: str, limit: int, failed: Failed) -> bytes:
        """Return what stands at a web address: at most one byte more than ``limit``. Raises what ``failed`` makes."""
        async with self._visit("GET", url, failed) as response:
            if response.status != 200:
                raise failed(url, f"the server says HTTP {response.status}")
            content = bytearray()
            while len(content) <= limit and (piece := await response.content.readany()):
                content += piece
            return bytes(content[: limit + 1])

    @contextlib.asynccontextmanager
    async def _visit(self, method: str, url: str, failed: Failed) -> AsyncIterator[aiohttp.ClientResponse]:
        session = self._session()
        timeout = aiohttp.ClientTimeout(total=60, connect=self._connect_timeout)
        try:
            async with session.http.request(method, url, timeout=timeout, proxy=_proxy(session, url)) as response:
                yield response
        except (aiohttp.ClientError, OSError, ValueError):
            raise failed(url, "the address cannot be fetched") from None

    async def close(self) -> None:
        """Close the connections of every loop. Idempotent."""
        here = asyncio.get_running_loop()
        for loop in list(self._sessions):
            session = self._sessions.pop(loop).http
            if loop is here:
                await session.close()
            elif loop.is_closed():
                _abandon(session)
            else:
                asyncio.run_coroutine_threadsafe(session.close(), loop)

    async def read_answer(self, endpoint: Endpoint, response: aiohttp.ClientResponse) -> Answer:
        """Read an answer to its end, and not a byte beyond the limit (it counts what compression unfolds to)."""
        body = await response.content.readany()
        if not response.content.at_eof() or len(body) > self.body_limit:  # most come in one piece
            pieces = [body]
            async for piece in self.chunks(endpoint, response, len(body)):
                pieces.append(piece)  # noqa: PERF401  # the loop is asynchronous
            body = b"".join(pieces)
        return Answer(response.status, response.headers, body, time.time())

    async def chunks(self, endpoint: Endpoint, response: aiohttp.ClientResponse, size: int = 0) -> AsyncIterator[bytes]:
        """Give the body as it comes, after ``size`` bytes of it. Raises TaskError ``bad-response`` beyond the limit."""
        stream = response.content
        while size <= self.body_limit:
            if not (chunk := await stream.readany()):
                return
            size += len(chunk)
            if size <= self.body_limit:
                yield chunk
        raise bad_response(
            endpoint,
            f"it is longer than {self.body_limit:,} bytes",
            retryable=False,
            hint="lower `max_tokens`, or check what stands at the base address",
        )

    def _session(self) -> _Session:
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            for other in [each for each in self._sessions if each.is_closed()]:
                _abandon(self._sessions.pop(other).http)
            session = self._sessions[loop] = _Session(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_ALIVE),
                    cookie_jar=aiohttp.DummyCookieJar(),
                )
            )
        return session


def _url(base_url: str, path: str) -> str:
    """Return the address of a call; a query of the base address (an API version, say) stays at the end."""
    base, mark, query = base_url.partition("?")
    if mark and "?" in path:
        mark = "&"
    return f"{base}{path}{mark}{query}"


def _headers(endpoint: Endpoint, ours: Mapping[str, str]) -> dict[str, str]:
    headers = dict(ours)
    if endpoint.api_key is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    headers.update(endpoint.headers)
    return headers


def _abandon(session: aiohttp.ClientSession) -> None:
    """Let go of the session of a closed loop: nothing can wait there any more, so closing is one step or none."""
    connector = session.connector
    session.detach()
    if connector is not None:
        with contextlib.suppress(StopIteration, RuntimeError):
            next(connector.close().__await__())


def _proxy(session: _Session, base_url: str) -> str | None:
    """Return the environment's proxy for an address, looked up once per address and loop.

    aiohttp's own ``trust_env`` reads the environment and ``.netrc`` anew for each call, and would send a loopback call
    to the proxy unless ``no_proxy`` names it.
    """
    if base_url not in session.proxies:
        session.proxies[base_url] = _find_proxy(base_url)
    return session.proxies[base_url]


def _find_proxy(base_url: str) -> str | None:
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(base_url)
    host = parts.hostname or ""
    proxy = getproxies().get(parts.scheme)
    if not proxy or is_loopback(host) or proxy_bypass(f"{host}:{parts.port}" if parts.port else host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` (a name or an address) is this machine itself."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

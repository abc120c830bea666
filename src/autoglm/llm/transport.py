"""HTTP as model calls need it: one aiohttp session a loop, no cap on connections, no retries, coded failures.

Limits belong to whoever starts calls, and repeating them to the engine, which counts and journals.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import time
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from autoglm.base.errors import TaskError
from autoglm.llm.chat import Answer, media_type
from autoglm.llm.errors import Limit, bad_response, redirected, timed_out, unreachable
from autoglm.llm.models import Endpoint

if TYPE_CHECKING:
    import aiohttp

CONNECT_TIMEOUT = 10.0
FIRST_TOKEN_TIMEOUT = 300.0
"""Seconds a stream may be silent: before its first token, and between two."""
TOTAL_TIMEOUT = 600.0
BODY_LIMIT = 64 * 1024 * 1024
_KEPT_ALIVE = 4.0
"""Seconds an idle connection is kept: less than the five that uvicorn, the server of vLLM and many others, keeps it. A
call written into a connection that the server is just closing is lost, and it is not ours to repeat."""
_JSON: Final = {"Content-Type": "application/json", "Accept": "application/json"}
heard: ContextVar[Callable[[Mapping[str, str]], None] | None] = ContextVar("heard", default=None)
"""Who is told the headers of each answer that comes in this context, refusals included."""


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

    @contextlib.asynccontextmanager
    async def open(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        data: Any = None,
        *,
        headers: Mapping[str, str] = _JSON,
        streaming: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make one call and give the answer to be read; what breaks meanwhile, too, is raised as a TaskError.

        With ``streaming``, silence is bounded by the endpoint's first-token timeout besides the total.
        """
        import aiohttp

        session = self._session()
        total = endpoint.timeout or self._total_timeout
        connect = min(endpoint.connect_timeout or self._connect_timeout, total)
        silence = min(endpoint.first_token_timeout or self._first_token_timeout, total) if streaming else None
        try:
            response = await _begin(
                session.http,
                method,
                _url(endpoint.base_url, path),
                data=data,
                headers=_headers(endpoint, headers),
                timeout=aiohttp.ClientTimeout(total=total, connect=connect, sock_read=silence),
                allow_redirects=False,
                proxy=endpoint.proxy or _proxy(session, endpoint.base_url),
            )
            async with response:
                if (hear := heard.get()) is not None:
                    hear(response.headers)
                if 300 <= response.status < 400:
                    raise redirected(endpoint, response.status, response.headers.get("location", ""))
                yield response
        except TimeoutError as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                raise timed_out(endpoint, connect, Limit.CONNECT) from None
            if isinstance(error, aiohttp.SocketTimeoutError) and silence is not None:
                raise timed_out(endpoint, silence, Limit.SILENCE) from None
            raise timed_out(endpoint, total, Limit.TOTAL) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _broken(endpoint, error) from None

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
        import aiohttp

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
        pieces: list[bytes] = []
        async for piece in self.chunks(endpoint, response):
            pieces.append(piece)  # noqa: PERF401  # the loop is asynchronous
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return Answer(response.status, response.headers, body, time.time())

    async def chunks(self, endpoint: Endpoint, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Give the body as it comes. Raises TaskError ``bad-response`` beyond the limit."""
        size = 0
        stream = response.content
        while chunk := await stream.readany():
            size += len(chunk)
            if size > self.body_limit:
                raise bad_response(
                    endpoint,
                    f"it is longer than {self.body_limit:,} bytes",
                    retryable=False,
                    hint="lower `max_tokens`, or check what stands at the base address",
                )
            yield chunk

    def _session(self) -> _Session:
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            import aiohttp

            for other in [each for each in self._sessions if each.is_closed()]:
                _abandon(self._sessions.pop(other).http)
            session = self._sessions[loop] = _Session(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_ALIVE),
                    cookie_jar=aiohttp.DummyCookieJar(),
                )
            )
        return session


async def _begin(http: aiohttp.ClientSession, method: str, url: str, **how: Any) -> aiohttp.ClientResponse:
    """Send a request and return the beginning of its answer.

    An idle connection may turn out to be closing as the request is about to go into it (servers that end their streams
    with a close do that). Not a byte has left then, so to send it over a new connection repeats nothing.
    """
    import aiohttp

    try:
        return await http.request(method, url, **how)
    except aiohttp.ClientOSError as error:
        closing = isinstance(error.__cause__, aiohttp.ClientConnectionResetError) and "closing" in str(error.__cause__)
        if not closing or not isinstance(how["data"], bytes):
            raise
        return await http.request(method, url, **how)


def _url(base_url: str, path: str) -> str:
    """Return the address of a call; a query of the base address (an API version, say) stays at the end."""
    base, mark, query = base_url.partition("?")
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


def _broken(endpoint: Endpoint, error: Exception) -> TaskError:
    """Return the failure for what aiohttp raised. Its texts may hold a proxy's address, so few are passed on."""
    import aiohttp

    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError() | aiohttp.ClientSSLError():
            return unreachable(
                endpoint,
                "its certificate or encryption is not accepted",
                retryable=False,
                hint="check http or https in the base address, the certificate, and SSL_CERT_FILE",
            )
        case aiohttp.ClientConnectorDNSError():
            return unreachable(endpoint, "its host name is not known")
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return unreachable(endpoint, "the proxy of the environment fails", hint="check HTTPS_PROXY and HTTP_PROXY")
        case aiohttp.ClientConnectorError():
            return unreachable(endpoint, _reason(error.os_error))
        case aiohttp.ContentTypeError() | aiohttp.ClientResponseError():
            return bad_response(endpoint, "it is not HTTP as it should be", excerpt=error.message)
        case aiohttp.ClientPayloadError():
            return unreachable(endpoint, "the connection broke in the middle of its answer")
        case aiohttp.ServerDisconnectedError():
            return unreachable(endpoint, "it closed the connection without an answer")
        case aiohttp.InvalidURL():
            return unreachable(endpoint, "its address is not one", retryable=False)
        case aiohttp.ClientError() | OSError():
            return unreachable(endpoint, _reason(error) if isinstance(error, OSError) else "the connection broke")
        case _:
            # A header or an address that cannot be sent: a line break in a key, a proxy of an unknown kind.
            return TaskError(
                f"the call to {endpoint.name} cannot be made: its key, a header or a proxy address has a form that "
                "cannot be sent",
                code="model-request-invalid",
                retryable=False,
                hint="look for line breaks in the key and in `headers`, and at HTTPS_PROXY",
            )


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else "the connection broke"

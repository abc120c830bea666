"""One call over HTTP: its answer to be read, and every way in which it breaks as a coded TaskError."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from functools import lru_cache
from typing import Any, Final

import aiohttp

from autoglm.base.errors import TaskError
from autoglm.llm.calls import heard
from autoglm.llm.errors import Limit, bad_response, redirected, timed_out, unreachable
from autoglm.llm.models import Endpoint

_BREAKS: Final = (aiohttp.ClientError, OSError, ValueError)
"""What aiohttp raises; a TimeoutError is an OSError."""


@lru_cache(maxsize=256)
def timeouts(total: float, connect: float, silence: float | None) -> aiohttp.ClientTimeout:
    """Return the limits of a call in seconds, for aiohttp."""
    return aiohttp.ClientTimeout(total=total, connect=connect, sock_read=silence)


class Exchange:
    """One call: as an asynchronous context it gives the answer, to be read inside."""

    __slots__ = ("_endpoint", "_how", "_http", "_method", "_response", "_timeout", "_url")

    def __init__(
        self,
        http: aiohttp.ClientSession,
        endpoint: Endpoint,
        method: str,
        url: str,
        timeout: aiohttp.ClientTimeout,
        how: dict[str, Any],
    ) -> None:
        """``how`` is what aiohttp is told besides."""
        self._http, self._endpoint, self._method, self._url = http, endpoint, method, url
        self._timeout, self._how = timeout, how

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            try:
                response = await self._send()
            except aiohttp.ClientOSError as error:
                if not self._has_not_left(error):
                    raise
                response = await self._send()
            self._response = response
            if (told := heard.get()) is not None:
                told.headers = response.headers
            if 300 <= response.status < 400:
                await response.__aexit__(None, None, None)
                raise redirected(self._endpoint, response.status, response.headers.get("location", ""))
        except _BREAKS as error:
            raise self._failure(error) from None
        return response

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            await self._response.__aexit__(kind, error, trace)
        except _BREAKS as broken:
            raise self._failure(broken) from None
        if isinstance(error, _BREAKS):
            raise self._failure(error) from None

    def _send(self) -> Awaitable[aiohttp.ClientResponse]:
        return self._http.request(self._method, self._url, timeout=self._timeout, **self._how)

    def _has_not_left(self, error: aiohttp.ClientOSError) -> bool:
        """Tell whether not a byte of the request has left: to send it over a new connection then repeats nothing.

        An idle connection may turn out to be closing as the request is about to go into it (servers that end their
        streams with a close do that).
        """
        cause = error.__cause__
        is_closing = isinstance(cause, aiohttp.ClientConnectionResetError) and "closing" in str(cause)
        return is_closing and isinstance(self._how["data"], bytes)

    def _failure(self, error: Exception) -> TaskError:
        endpoint, timeout = self._endpoint, self._timeout
        if not isinstance(error, TimeoutError):
            return _broken(endpoint, error)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return timed_out(endpoint, timeout.connect or 0.0, Limit.CONNECT)
        if isinstance(error, aiohttp.SocketTimeoutError) and timeout.sock_read is not None:
            return timed_out(endpoint, timeout.sock_read, Limit.SILENCE)
        return timed_out(endpoint, timeout.total or 0.0, Limit.TOTAL)


def _broken(endpoint: Endpoint, error: Exception) -> TaskError:
    """Return the failure for what aiohttp raised. Its texts may hold a proxy's address, so few are passed on."""
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

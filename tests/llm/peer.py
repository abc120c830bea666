"""Model servers for tests: a real one that speaks the OpenAI wire, and one that says byte for byte what it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Reply = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class Peer:
    """Where a server is, and what it has been asked."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    connections: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a request has been read."""


def completion(text: str | None = "hello", **changes: Any) -> dict[str, Any]:
    """Return the body of a good answer."""
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "served-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        **changes,
    }


@asynccontextmanager
async def serve(reply: Reply | None = None) -> AsyncIterator[Peer]:
    """Run a server on loopback that answers every chat call with ``reply(request)``."""
    peer = Peer("")

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        peer.requests.append(body)
        peer.headers.append({name.lower(): value for name, value in request.headers.items()})
        peer.paths.append(request.path_qs)
        return web.json_response(reply(body) if reply else completion(), dumps=json.dumps)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    peer.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield peer
    finally:
        await runner.cleanup()


@asynccontextmanager
async def script(*pieces: bytes | asyncio.Event) -> AsyncIterator[Peer]:
    """Run a server that reads one request, sends ``pieces`` (waiting where one is an event), and hangs up."""
    peer = Peer("")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if b"content-length" in line.lower())
            await reader.readexactly(length)
            lines = head.decode().splitlines()
            peer.paths.append(lines[0].split(" ")[1])
            peer.headers.append(
                {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            )
            peer.asked.set()
            for piece in pieces:
                if isinstance(piece, bytes):
                    writer.write(piece)
                    await writer.drain()
                else:
                    await piece.wait()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client hung up first, as some tests want
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield peer
    finally:
        server.close()
        await server.wait_closed()


def http(
    status: int, body: bytes | dict[str, Any] = b"", content_type: str = "application/json", **headers: str
) -> bytes:
    """Return a whole HTTP answer; underscores in header names become dashes."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}", "Connection: close"]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

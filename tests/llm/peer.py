"""Model servers for tests: a real one that speaks the OpenAI wire, and one that says byte for byte what it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.llm.loopback import listening

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


def embeddings(texts: list[str], **changes: Any) -> dict[str, Any]:
    """Return the body of good vectors: the length of each text, and one."""
    data = [{"object": "embedding", "index": at, "embedding": [float(len(text)), 1.0]} for at, text in enumerate(texts)]
    return {"data": data, "model": "served-model", "usage": {"prompt_tokens": 5, "total_tokens": 5}, **changes}


@asynccontextmanager
async def serve(reply: Reply | None = None, embed: Reply | None = None) -> AsyncIterator[Peer]:
    """Run a server on loopback that answers every chat call with ``reply(request)``, and embeddings with ``embed``."""
    peer = Peer("")

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        peer.requests.append(body)
        peer.headers.append({name.lower(): value for name, value in request.headers.items()})
        peer.paths.append(request.path_qs)
        return web.json_response(reply(body) if reply else completion(), dumps=json.dumps)

    async def vectors(request: web.Request) -> web.Response:
        body = await request.json()
        peer.requests.append(body)
        peer.paths.append(request.path_qs)
        return web.json_response(embed(body) if embed else embeddings(body["input"]))

    async with listening(web.post("/v1/chat/completions", chat), web.post("/v1/embeddings", vectors)) as address:
        peer.url = f"{address}/v1"
        yield peer


def chunk(text: str | None = None, finish: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return a piece of a streamed answer."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "model": "served-model", "choices": [choice], **changes}


def events(*pieces: dict[str, Any] | str) -> bytes:
    """Return pieces as server-sent events."""
    return b"".join(f"data: {each if isinstance(each, str) else json.dumps(each)}\n\n".encode() for each in pieces)


def stream_head(content_type: str = "text/event-stream") -> bytes:
    """Return the head of a streamed answer, which ends when the connection does."""
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n".encode()


@dataclass
class BatchPeer:
    """A provider's files and batches. A batch goes on by one step each time somebody asks how it stands."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: tuple[str, ...] = ("validating", "in_progress", "completed")
    answer: Reply = lambda body: completion(f"answer to {body['messages'][-1]['content']}")
    deleted: list[str] = field(default_factory=list)

    async def upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        name = f"file-{len(self.files)}"
        self.files[name] = form["file"].file.read()
        return web.json_response({"id": name, "bytes": len(self.files[name]), "object": "file"})

    async def content(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if name not in self.files:
            return web.json_response({"error": {"message": "no such file", "code": "not_found"}}, status=404)
        return web.Response(body=self.files[name], content_type="application/octet-stream")

    async def delete(self, request: web.Request) -> web.Response:
        self.deleted.append(request.match_info["id"])
        found = self.files.pop(request.match_info["id"], None)
        return web.json_response({"deleted": found is not None}, status=200 if found is not None else 404)

    async def create(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = f"batch-{len(self.batches)}"
        self.batches[name] = {"id": name, "status": self.steps[0], "asked": 0, **body}
        return web.json_response(self._shown(name))

    async def get(self, request: web.Request) -> web.Response:
        batch = self.batches[request.match_info["id"]]
        batch["asked"] += 1
        batch["status"] = self.steps[min(batch["asked"], len(self.steps) - 1)]
        if batch["status"] == "completed" and "output_file_id" not in batch:
            lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
            results = [
                {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": self.answer(line["body"])}}
                for line in reversed(lines)  # the order of results is any
            ]
            batch["output_file_id"] = f"file-{len(self.files)}"
            self.files[batch["output_file_id"]] = b"".join(json.dumps(each).encode() + b"\n" for each in results)
            batch["request_counts"] = {"total": len(lines), "completed": len(lines), "failed": 0}
        return web.json_response(self._shown(batch["id"]))

    async def cancel(self, request: web.Request) -> web.Response:
        self.batches[request.match_info["id"]]["status"] = "cancelled"
        return web.json_response(self._shown(request.match_info["id"]))

    def _shown(self, name: str) -> dict[str, Any]:
        return {key: value for key, value in self.batches[name].items() if key != "asked"}


@asynccontextmanager
async def serve_batches(peer: BatchPeer | None = None) -> AsyncIterator[BatchPeer]:
    """Run a server on loopback that has files and batches."""
    peer = peer or BatchPeer()
    routes = [
        web.post("/v1/files", peer.upload),
        web.get("/v1/files/{id}/content", peer.content),
        web.delete("/v1/files/{id}", peer.delete),
        web.post("/v1/batches", peer.create),
        web.get("/v1/batches/{id}", peer.get),
        web.post("/v1/batches/{id}/cancel", peer.cancel),
    ]
    async with listening(*routes) as address:
        peer.url = f"{address}/v1"
        yield peer


@asynccontextmanager
async def script(*pieces: bytes | asyncio.Event) -> AsyncIterator[Peer]:
    """Run a server that reads one request, sends ``pieces`` (waiting where one is an event), and hangs up."""
    peer = Peer("")
    handling: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.connections += 1
        handling.add(asyncio.current_task())  # type: ignore[arg-type]
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
        for task in handling:
            task.cancel()  # what waits for an event that never comes; newer Pythons wait for it
        await asyncio.gather(*handling, return_exceptions=True)
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

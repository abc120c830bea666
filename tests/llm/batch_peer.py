"""A model server with a batch API, scripted: batches end when the test says so."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.llm.loopback import listening
from tests.llm.peer import completion


@dataclass
class BatchPeer:
    """What the server has been asked, and how its batches stand."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    looks: int = 0
    online: list[dict[str, Any]] = field(default_factory=list)
    ends_after: int = 2
    """Looks after which a batch has ended."""
    ends_as: str = "completed"
    left_out: int = 0
    """How many calls an ended batch has no answer to."""
    made: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a batch was made."""
    failing: int = 0
    """How many calls end with an error of their own."""
    holds: bool = False
    """A batch is made, and its answer kept back."""
    cuts: int = 0
    """How many batches are made whose answers are cut off."""
    fails_looks: int = 0
    """How many looks fail with 500 first."""
    lists: bool = True
    """Whether it can list its batches."""
    page: int = 2
    """Batches of one page of the list."""

    def lines(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]

    def end(self, batch: dict[str, Any]) -> None:
        batch["status"] = self.ends_as
        if self.ends_as == "failed":
            batch["errors"] = {"data": [{"message": "the file is too old"}]}
            return
        output = []
        for number, line in enumerate(self.lines(batch)):
            if number < self.left_out:
                continue
            answer = completion(f"batched: {line['body']['messages'][-1]['content']}")
            response = {"status_code": 200, "body": answer}
            if number < self.left_out + self.failing:
                response = {"status_code": 400, "body": {"error": {"message": "no such thing"}}}
            output.append(json.dumps({"custom_id": line["custom_id"], "response": response}))
        name = f"file-out-{batch['id']}"
        self.files[name] = "\n".join(reversed(output)).encode()
        batch["output_file_id"] = name


@asynccontextmanager
async def serve_batches(**script: Any) -> AsyncIterator[BatchPeer]:
    """Run it on loopback."""
    peer = BatchPeer(**script)

    async def upload(request: web.Request) -> web.Response:
        form = await request.post()
        name = f"file-{len(peer.files)}"
        peer.files[name] = form["file"].file.read()  # type: ignore[union-attr]
        return web.json_response({"id": name, "bytes": len(peer.files[name])})

    async def content(request: web.Request) -> web.Response:
        return web.Response(body=peer.files[request.match_info["name"]])

    async def create(request: web.Request) -> web.Response:
        body = await request.json()
        name = f"batch-{len(peer.batches)}"
        peer.batches[name] = {**body, "id": name, "status": "in_progress", "looks": 0, "created_at": time.time()}
        peer.made.set()
        if peer.holds:
            await asyncio.Event().wait()
        if peer.cuts:
            peer.cuts -= 1
            assert request.transport is not None
            request.transport.close()
        return web.json_response(peer.batches[name])

    async def look(request: web.Request) -> web.Response:
        batch = peer.batches[request.match_info["name"]]
        if peer.fails_looks:
            peer.fails_looks -= 1
            return web.json_response({"error": {"message": "try later"}}, status=500)
        peer.looks += 1
        batch["looks"] += 1
        if batch["status"] == "in_progress" and batch["looks"] >= peer.ends_after:
            peer.end(batch)
        return web.json_response(batch)

    async def listed(request: web.Request) -> web.Response:
        if not peer.lists:
            return web.json_response({"error": {"message": "no such path"}}, status=404)
        newest = list(reversed(peer.batches.values()))
        names = [batch["id"] for batch in newest]
        start = names.index(request.query["after"]) + 1 if "after" in request.query else 0
        page = newest[start : start + peer.page]
        return web.json_response({"data": page, "has_more": start + peer.page < len(newest)})

    async def cancel(request: web.Request) -> web.Response:
        batch = peer.batches[request.match_info["name"]]
        batch["status"] = "cancelling"
        return web.json_response(batch)

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        peer.online.append(body)
        return web.json_response(completion(f"online: {body['messages'][-1]['content']}"), dumps=json.dumps)

    routes = [
        web.post("/v1/files", upload),
        web.get("/v1/files/{name}/content", content),
        web.post("/v1/batches", create),
        web.get("/v1/batches", listed),
        web.get("/v1/batches/{name}", look),
        web.post("/v1/batches/{name}/cancel", cancel),
        web.post("/v1/chat/completions", chat),
    ]
    async with listening(*routes) as address:
        peer.url = f"{address}/v1"
        yield peer

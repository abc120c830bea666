"""Our own client: calls OpenAI-compatible servers, and nothing else.

No cap on connections (limits belong to whoever starts calls), no retries (they belong to the engine, which counts and
journals them), and every way of failing turned into a coded TaskError. Bytes are carried by
:class:`~autoglm.llm.transport.Transport`; what they mean is read by the pure modules beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from autoglm.llm.batches import Batch, UploadedFile, encode_batch, read_batch, read_batches, read_file
from autoglm.llm.chat import ChatRequest, Completion, encode_request, media_type, read_completion, refused
from autoglm.llm.embeddings import EmbeddingRequest, Embeddings, encode_embedding_request, read_embeddings
from autoglm.llm.models import Endpoint
from autoglm.llm.streaming import EventReader, StreamReader
from autoglm.llm.transport import Transport

Note = Callable[[str], None]
"""Takes a line worth logging."""

_STREAMED: Mapping[str, str] = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
_STREAMED_ONCE: Mapping[str, str] = {**_STREAMED, "Connection": "close"}


def _no_note(_line: str) -> None:
    """Take a line and drop it."""


class Wire(Transport):
    """Calls servers that speak the OpenAI wire. One instance serves a whole process and all its event loops."""

    async def chat(
        self,
        endpoint: Endpoint,
        request: ChatRequest,
        note: Note = _no_note,
        *,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Return the answer to one chat call. With ``on_text``, it is streamed, and told piece by piece as it comes.

        Raises TaskError.
        """
        body = encode_request(endpoint, request, note, stream=on_text is not None)
        if on_text is not None:
            return await self._stream(endpoint, body, on_text)
        return read_completion(endpoint, await self.call(endpoint, "POST", "chat/completions", body))

    async def embed(self, endpoint: Endpoint, request: EmbeddingRequest, note: Note = _no_note) -> Embeddings:
        """Return the vectors of some texts, in their order. Raises TaskError."""
        body = encode_embedding_request(endpoint, request, note)
        answer = await self.call(endpoint, "POST", "embeddings", body)
        return read_embeddings(endpoint, answer, len(request.texts))

    async def _stream(self, endpoint: Endpoint, body: bytes, on_text: Callable[[str], None]) -> Completion:
        headers = _STREAMED if endpoint.profile.keeps_streams else _STREAMED_ONCE
        async with self.open(endpoint, "POST", "chat/completions", body, headers=headers, streaming=True) as response:
            kind = media_type(response.headers)
            if response.status != 200 or kind not in ("text/event-stream", "application/x-ndjson", ""):
                # An error, or a server that does not stream: then the answer comes at once.
                completion = read_completion(endpoint, await self.read_answer(endpoint, response))
                on_text(completion.text)
                return completion
            events, reader = EventReader(), StreamReader(endpoint, on_text)
            async for piece in self.chunks(endpoint, response):
                for data in events.feed(piece):
                    reader.take(data)
                if reader.is_done:
                    break
            else:
                for data in events.end():
                    reader.take(data)
            return reader.completion()

    # --------------------------------------------------------------------------------------------- files and batches

    async def upload_file(self, endpoint: Endpoint, path: Path, purpose: str = "batch") -> UploadedFile:
        """Upload a file, without reading it into memory. Raises TaskError, and OSError when it cannot be read."""
        import aiohttp

        with path.open("rb") as content:
            form = aiohttp.FormData()
            form.add_field("purpose", purpose)
            form.add_field("file", content, filename=path.name, content_type="application/jsonl")
            answer = await self.call(endpoint, "POST", "files", form, headers={"Accept": "application/json"})
        return read_file(endpoint, answer)

    async def fetch_file(self, endpoint: Endpoint, file_id: str, path: Path) -> int:
        """Write the content of a file on the provider's side to ``path``, and return its size. Raises TaskError."""
        size = 0
        async with self.open(endpoint, "GET", f"files/{file_id}/content", headers={}) as response:
            if response.status != 200:
                raise refused(endpoint, await self.read_answer(endpoint, response))
            with path.open("wb") as target:
                while piece := await response.content.readany():
                    size += target.write(piece)
        return size

    async def delete_file(self, endpoint: Endpoint, file_id: str) -> None:
        """Delete a file on the provider's side; one that is gone already is no error. Raises TaskError."""
        answer = await self.call(endpoint, "DELETE", f"files/{file_id}")
        if answer.status != 404 and not 200 <= answer.status < 300:
            raise refused(endpoint, answer)

    async def create_batch(self, endpoint: Endpoint, file_id: str, metadata: Mapping[str, str] | None = None) -> Batch:
        """Start a batch of the calls in an uploaded file. Raises TaskError."""
        body = encode_batch(endpoint, file_id, metadata or {})
        return read_batch(endpoint, await self.call(endpoint, "POST", "batches", body))

    async def get_batch(self, endpoint: Endpoint, batch_id: str) -> Batch:
        """Return how a batch stands. Raises TaskError."""
        return read_batch(endpoint, await self.call(endpoint, "GET", f"batches/{batch_id}"))

    async def list_batches(self, endpoint: Endpoint, after: str | None = None) -> tuple[list[Batch], str | None]:
        """Return some batches, the newest first, and after which the next ones come (None: there are no more).

        Raises TaskError.
        """
        more = f"&after={quote(after, safe='')}" if after else ""
        return read_batches(endpoint, await self.call(endpoint, "GET", f"batches?limit=100{more}"))

    async def cancel_batch(self, endpoint: Endpoint, batch_id: str) -> Batch:
        """Ask that a batch be given up; what is done already is kept, and paid for. Raises TaskError."""
        return read_batch(endpoint, await self.call(endpoint, "POST", f"batches/{batch_id}/cancel", b"{}"))

"""MILLISECONDS [CHARACTERS [PIECES]]: a model server that costs next to nothing; prints its port.

It answers every POST after so long: with a short value, or with a value whose text has so many characters and never
comes again, whole or in so many pieces, one a millisecond. Written on bare asyncio protocols, so that what is measured
is the client.
"""

import asyncio
import itertools
import json
import random
import sys

DELAY = int(sys.argv[1]) / 1000
CHARACTERS, PIECES = (int(given) for given in [*sys.argv[2:], "0", "0"][:2])
PIECE_DELAY = 0.001
WORDS = [f"{random.Random(seed).getrandbits(28):x}"[: 3 + seed % 5] for seed in range(4096)]
NUMBERS = itertools.count(1)


def text() -> str:
    """Return words in an order that nobody has seen."""
    words = random.choices(WORDS, k=CHARACTERS // 6 + 1)
    return "".join(f"{word} " if at % 12 else f"{word}\n" for at, word in enumerate(words, 1))[:CHARACTERS]


def completion() -> bytes:
    """Return the body of one answer, with all that OpenAI's has."""
    value = {"label": "praise", "score": 0.75, **({"reason": text()} if CHARACTERS else {})}
    number = next(NUMBERS) if CHARACTERS else 1
    choice = {"index": 0, "message": {"role": "assistant", "content": json.dumps(value)}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    body = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1, "model": "bench"}
    return json.dumps({**body, "choices": [choice], "usage": usage}).encode()


def whole(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def piece(content: str | None) -> bytes:
    """Return one event of a stream as a chunk of an HTTP body."""
    delta = {"index": 0, "delta": {"content": content}, "finish_reason": None if content is not None else "stop"}
    data = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": [delta]}
    event = f"data: {json.dumps(data)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
STREAM = [HEAD, *(piece(f"word{at} " if at % 12 else f"word{at}\n") for at in range(PIECES)), piece(None) + END]
SHORT = whole(completion())


class Connection(asyncio.Protocol):
    """One kept-alive connection: a request at a time."""

    def __init__(self) -> None:
        self.buffer = b""
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"), 0)
        if len(rest) >= length:
            self.buffer = rest[length:]
            self.loop.call_later(DELAY, self.stream if PIECES else self.answer)

    def answer(self) -> None:
        self.transport.write(whole(completion()) if CHARACTERS else SHORT)  # type: ignore[attr-defined]

    def stream(self, at: int = 0) -> None:
        self.transport.write(STREAM[at])  # type: ignore[attr-defined]
        if at + 1 < len(STREAM):
            self.loop.call_later(PIECE_DELAY, self.stream, at + 1)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())

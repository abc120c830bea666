"""A model server on loopback, in this process: it speaks the OpenAI wire and answers by the schema it is given."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from autoglm.llm.offline import rehearse


class ModelServer:
    """Answers chat calls, and notes what it was asked."""

    def __init__(self, port: int = 0) -> None:
        self.asked: list[str] = []
        """The messages of each call, as JSON text."""
        kept = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                kept.asked.append(json.dumps(body["messages"], sort_keys=True))
                answer = json.dumps(kept.answer(body)).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                pass  # a client that was killed hangs up in the middle

        self._server = Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a completion whose text fits the schema that stands in the messages, if one does."""
        told = "\n".join(str(message["content"]) for message in body["messages"])
        _, mark, schema = told.partition("JSON Schema:\n")
        wanted = json.JSONDecoder().raw_decode(schema)[0] if mark else None
        text = rehearse("m", body["messages"], wanted).text
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": len(told) // 4, "completion_tokens": len(text) // 4}
        return {"id": "c", "model": "m", "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}

"""A model's answer that was recorded is not paid for again: not after ``kill -9``, not after a failed attempt."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from tests.llm.loopback import listening, on_a_thread
from tests.llm.peer import completion

FLOW = """
models: {{mine: {{base_url: "{url}"}}}}
tasks:
  - name: ask
    prompt: How many?
    output_schema: {{type: object, properties: {{n: {{type: integer}}}}, required: [n]}}
    retry: {{max_attempts: 2, delay: 10ms}}
"""
GOOD = completion('{"n": 4}')


class Server:
    """Answers calls one by one as it is told; a call without an answer waits for ever."""

    def __init__(self, *answers: dict[str, Any] | int | None) -> None:
        self.answers = list(answers)
        self.calls: list[dict[str, Any]] = []
        self.waiting = threading.Event()
        self.url = ""

    async def chat(self, request: web.Request) -> web.Response:
        self.calls.append(await request.json())
        answer = self.answers[min(len(self.calls), len(self.answers)) - 1]
        if answer is None:
            self.waiting.set()
            await asyncio.Event().wait()
        if isinstance(answer, int):
            return web.json_response({"error": {"message": "oops"}}, status=answer)
        return web.json_response(answer)

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Serve on a thread of its own."""
        with on_a_thread(listening(web.post("/v1/chat/completions", self.chat))) as address:
            self.url = f"{address}/v1"
            yield self


def autoglm(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "autoglm", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def report_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return json.loads(out)


def test_a_killed_run_goes_on_with_the_answers_it_has(tmp_path: Path) -> None:
    (tmp_path / "autoglm.yaml").write_text("{}")
    with Server(completion("no number"), None, GOOD).running() as server:
        (tmp_path / "flow.yaml").write_text(FLOW.format(url=server.url))
        killed = autoglm(tmp_path, "run", "flow.yaml", "--run-id", "r1", "-q")
        assert server.waiting.wait(60)
        os.kill(killed.pid, signal.SIGKILL)
        killed.communicate()
        report = report_of(autoglm(tmp_path, "resume", "r1", "--json"))
    assert report["tasks"]["ask"]["result"] == {"n": 4}
    assert report["tasks"]["ask"]["attempts"] == 1
    assert len(server.calls) == 3, "the first answer was in the journal, only the second call is made again"
    assert server.calls[1] == server.calls[2]
    assert (report["usage"]["calls"], report["usage"]["corrections"]) == (2, 1)


def test_a_retry_begins_anew_and_does_not_repeat_what_it_knows_to_be_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "autoglm.yaml").write_text("{}")
    with Server(completion("no number"), 500, GOOD).running() as server:
        (tmp_path / "flow.yaml").write_text(FLOW.format(url=server.url))
        report = report_of(autoglm(tmp_path, "run", "flow.yaml", "--run-id", "r1", "--json"))
    assert report["tasks"]["ask"]["result"] == {"n": 4}
    assert report["tasks"]["ask"]["attempts"] == 2
    assert len(server.calls) == 3
    assert report["usage"]["calls"] == 3

"""Telemetry against a collector: a server on loopback that takes OTLP over HTTP, as the standard's own messages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from autoglm.runtime.telemetry import span_id, trace_id

FLOW = """
tasks:
- name: first
  script: first.sh
- name: second
  depends_on: first
  script: second.sh
- name: kind
  depends_on: second
  when: tasks.second.result != ''
  script: first.sh
"""


class Collector:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.metrics: set[str] = set()
        kept = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                kept.take(self.path, self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for sent in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics |= {metric.name for scope in sent.scope_metrics for metric in scope.metrics}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def autoglm(root: Path, collector: Collector, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_SERVICE_NAME": "shop"}
    command = [sys.executable, "-m", "autoglm", *arguments]
    return subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_a_run_that_was_killed_and_resumed_is_one_trace(tmp_path: Path, collector: Collector) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "first.sh").write_text('echo "$TRACEPARENT"\n')
    # The first time, the second script takes the whole engine with it: nothing is flushed, nothing is said.
    (tmp_path / "second.sh").write_text('test -e again || { touch again; kill -9 "$(cat engine)"; }\necho done\n')
    environ = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "10"}
    (tmp_path / "engine").write_text("")
    command = f"echo $$ > engine; exec {sys.executable} -m autoglm run flow.yaml --run-id r -q"
    killed = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environ, capture_output=True, timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    resumed = autoglm(tmp_path, collector, "resume", "r", "-q")
    assert resumed.returncode == 0, resumed.stderr

    assert {span.trace_id for span in collector.spans} == {trace_id("r").to_bytes(16, "big")}
    (root,) = (span for span in collector.spans if not span.parent_span_id)
    assert root.name == "invoke_workflow flow"
    assert root.span_id == span_id("r").to_bytes(8, "big")
    second = [span for span in collector.spans if span.name == "second"]
    assert len(second) == 1, "the attempt that died with its engine is the one that was done again"
    assert second[0].parent_span_id == root.span_id
    assert "shop" in collector.services

    logs = autoglm(tmp_path, collector, "logs", "r").stdout
    assert f"00-{trace_id('r'):032x}-{span_id('r', 'kind', 1):016x}-01" in logs, "a script may join the trace"


def test_nothing_is_sent_unless_it_is_asked_for(tmp_path: Path, collector: Collector) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "autoglm.yaml").write_text("telemetry: {exporter: none}\n")
    (tmp_path / "first.sh").write_text('echo "[$TRACEPARENT]"\n')
    (tmp_path / "second.sh").write_text("echo done\n")
    done = autoglm(tmp_path, collector, "run", "flow.yaml", "--run-id", "r", "-q")
    assert done.returncode == 0, done.stderr
    assert not collector.spans
    assert "[]" in autoglm(tmp_path, collector, "logs", "r").stdout

"""What is told of a run: one trace, whoever drives it and however often."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from autoglm.engine import messages as m
from autoglm.llm.calls import ModelCall
from autoglm.runtime.semconv import LATEST, NEWEST, OPT_IN, V1_41, Conventions, conventions
from autoglm.runtime.telemetry import RunTelemetry, span_id, trace_id, traceparent
from autoglm.spec.model import Retry, Workflow
from tests.engine.flows import each, group, task, workflow
from tests.engine.world import World

CALL = ModelCall(
    operation="chat",
    provider="openai",
    model="small",
    server="127.0.0.1",
    started_at=1000.0,
    first_chunk_at=1000.25,
    ended_at=1001.5,
    parameters={"temperature": 0.5, "stop": "END", "logprobs": True},
    response_model="small-1",
    finish_reasons=("stop",),
    input_tokens=7,
    output_tokens=3,
    messages=({"role": "user", "content": "a secret plan"},),
    text="the answer",
)


class Kept:
    """Keeps the spans it is handed."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]


class Told:
    """A world whose events are told of, by a teller that starts anew at every crash."""

    def __init__(self, flow: Workflow, names: Conventions = V1_41, *, content: bool = False) -> None:
        self.kept = Kept()
        self.metrics = InMemoryMetricReader()
        self._meter = MeterProvider([self.metrics]).get_meter("test")
        self._made = (names, Resource.create({"service.name": "test"}), content)
        self.world = World(flow)
        self._told = 0
        self.attach()
        self.tell()

    def attach(self) -> None:
        names, resource, content = self._made
        self.teller = RunTelemetry(self.kept, self._meter, names, resource, content=content)
        self.teller.attach(self.world.run)

    def tell(self) -> None:
        events = self.world.events
        self.teller.on_events(events[self._told :], self.world.now)
        self._told = len(events)

    def after(self, seconds: float) -> World:
        self.world.pass_time(seconds)
        self.tell()
        return self.world

    def crash(self) -> None:
        self.world.run = self.world.replayed()
        self.world.running = {}
        self.attach()
        self.world.handle(m.Begin())
        self.tell()

    def points(self) -> dict[str, Any]:
        data = self.metrics.get_metrics_data()
        assert data is not None
        metrics = data.resource_metrics[0].scope_metrics[0].metrics
        return {metric.name: list(metric.data.data_points) for metric in metrics}


def span_of(span: ReadableSpan) -> tuple[int, int | None]:
    assert span.context is not None
    return span.context.span_id, None if span.parent is None else span.parent.span_id


def test_a_run_is_one_tree_of_spans_with_the_times_of_its_journal() -> None:
    told = Told(workflow(task("fetch"), group("parts", task("read"), after="fetch", loop=each(1, 2))))
    told.after(2).succeed("fetch")
    told.tell()
    told.after(1).succeed("parts[0].read")
    told.world.succeed("parts[1].read")
    told.tell()
    assert {span.context.trace_id for span in told.kept.spans if span.context} == {trace_id("run-1")}
    (root,) = told.kept.named("invoke_workflow flow")
    assert span_of(root) == (span_id("run-1"), None)
    assert dict(root.attributes or {}) == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "flow",
        "autoglm.run.id": "run-1",
        "autoglm.run.status": "succeeded",
        "autoglm.offline": False,
    }
    (fetch,) = told.kept.named("fetch")
    assert (fetch.start_time, fetch.end_time) == (1000 * 10**9, 1002 * 10**9)
    assert span_of(fetch) == (span_id("run-1", "fetch", 1), span_id("run-1"))
    first = told.kept.named("parts[].read")[0]
    assert span_of(first)[1] == span_id("run-1", "parts[0]")
    items = {span_of(span) for span in told.kept.named("parts[]")}
    assert items == {(span_id("run-1", f"parts[{index}]"), span_id("run-1", "parts")) for index in (0, 1)}
    (loop,) = told.kept.named("parts")
    assert span_of(loop) == (span_id("run-1", "parts"), span_id("run-1"))


def test_each_attempt_has_a_span_and_a_failed_one_its_code() -> None:
    told = Told(workflow(task("ask", retry=Retry(max_attempts=2, jitter="none", delay=5.0))))
    told.after(1).fail("ask", "http-500")
    told.tell()
    told.after(6).succeed("ask")
    told.tell()
    first, second = told.kept.named("ask")
    assert first.status.status_code is StatusCode.ERROR
    assert (first.attributes or {})["error.type"] == "http-500"
    assert (first.attributes or {})["autoglm.retry.delay"] == 5.0
    assert second.status.status_code is StatusCode.UNSET
    assert [span_of(span)[0] for span in (first, second)] == [span_id("run-1", "ask", n) for n in (1, 2)]


def test_a_restart_stays_in_the_trace_and_tells_what_its_forerunner_left() -> None:
    told = Told(workflow(group("outer", task("work")), task("end", "outer")))
    told.after(3)
    told.crash()
    told.after(2).succeed("outer.work")
    told.tell()
    told.world.succeed("end")
    told.tell()
    (work,) = told.kept.named("outer.work")
    assert (work.start_time, work.end_time) == (1003 * 10**9, 1005 * 10**9), "the attempt began anew"
    (outer,) = told.kept.named("outer")
    assert outer.start_time == 1000 * 10**9, "the group began before the crash"
    (root,) = told.kept.named("invoke_workflow flow")
    assert root.start_time == 1000 * 10**9
    assert span_of(outer)[1] == span_of(root)[0]


def test_a_failed_run_says_so() -> None:
    told = Told(workflow(task("work")))
    told.world.fail("work", retryable=False)
    told.tell()
    (root,) = told.kept.named("invoke_workflow flow")
    assert root.status.status_code is StatusCode.ERROR
    assert (root.attributes or {})["error.type"] == "task-failed"


def test_a_model_call_is_a_client_span_below_its_attempt_without_its_content() -> None:
    told = Told(workflow(task("ask")))
    told.teller.on_call("ask", 1, CALL)
    (call,) = told.kept.named("chat small")
    assert call.kind is SpanKind.CLIENT
    assert span_of(call)[1] == span_id("run-1", "ask", 1)
    assert (call.start_time, call.end_time) == (1000 * 10**9, 1001_500_000_000)
    assert dict(call.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "small",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.response.model": "small-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "server.address": "127.0.0.1",
    }


def test_content_is_told_when_it_was_asked_for() -> None:
    told = Told(workflow(task("ask")), content=True)
    told.teller.on_call("ask", 1, CALL)
    attributes = told.kept.named("chat small")[0].attributes or {}
    assert attributes["gen_ai.input.messages"] == '[{"role":"user","content":"a secret plan"}]'
    assert attributes["gen_ai.output.messages"] == '[{"role":"assistant","content":"the answer"}]'


@pytest.mark.parametrize(
    ("environ", "names"),
    [({}, V1_41), ({OPT_IN: "http"}, V1_41), ({OPT_IN: f"http, {LATEST}"}, NEWEST)],
)
def test_the_environment_chooses_the_names(environ: dict[str, str], names: Conventions) -> None:
    assert conventions(environ) is names


def test_calls_are_measured_by_the_names_of_each_version() -> None:
    told = Told(workflow(task("ask")))
    told.teller.on_call("ask", 1, CALL)
    points = told.points()
    assert points["gen_ai.client.operation.duration"][0].sum == 1.5
    by_type = {point.attributes["gen_ai.token.type"]: point.sum for point in points["gen_ai.client.token.usage"]}
    assert by_type == {"input": 7, "output": 3}

    newest = Told(workflow(task("ask")), NEWEST)
    newest.teller.on_call("ask", 1, CALL)
    newest.world.succeed("ask")
    newest.tell()
    points = newest.points()
    assert points["gen_ai.client.inference.duration"][0].count == 1
    assert points["gen_ai.client.inference.usage.input_tokens"][0].value == 7
    assert points["gen_ai.invoke_agent.duration"][0].count == 1
    root = newest.kept.named("invoke_workflow flow")[0].attributes or {}
    assert root["gen_ai.agent.name"] == "flow"


def test_a_traceparent_names_the_attempt() -> None:
    text = traceparent("run-1", "ask", 2)
    assert text == f"00-{trace_id('run-1'):032x}-{span_id('run-1', 'ask', 2):016x}-01"
    assert len(text) == 55


def test_a_stand_in_lies_within_the_attempt_that_failed_for_good() -> None:
    told = Told(workflow(task("a", fallback=task("a"))))
    told.after(1).fail("a", "bang")
    told.tell()
    told.after(3).succeed("a~fallback")
    told.tell()
    (failed,) = told.kept.named("a")
    assert (failed.start_time, failed.end_time) == (1000 * 10**9, 1001 * 10**9), "as long as it ran itself"
    assert dict(failed.attributes or {})["error.type"] == "bang"
    assert dict(failed.attributes or {})["autoglm.degraded"] is True
    (spare,) = told.kept.named("a~fallback")
    assert (spare.start_time, spare.end_time) == (1001 * 10**9, 1004 * 10**9)
    assert span_of(spare) == (span_id("run-1", "a~fallback", 1), span_of(failed)[0])


def test_a_stand_in_keeps_its_place_through_a_restart_and_fails_without_another_span() -> None:
    told = Told(workflow(task("a", fallback=task("a"))))
    told.after(1).fail("a", "bang")
    told.tell()
    told.crash()
    told.after(1).fail("a~fallback", "bust")
    told.tell()
    (failed,) = told.kept.named("a")
    (spare,) = told.kept.named("a~fallback")
    assert span_of(spare)[1] == span_of(failed)[0]
    assert dict(spare.attributes or {})["error.type"] == "bust"


def test_what_an_attempt_waited_for_is_told_as_events_of_its_span() -> None:
    told = Told(workflow(task("a")))
    told.after(1).park("a", 1005.0)
    told.tell()
    told.after(6).succeed("a")
    told.tell()
    (span,) = told.kept.named("a")
    seen = [(event.name, event.timestamp // 10**9, dict(event.attributes or {})) for event in span.events]
    assert seen == [("autoglm.parked", 1001, {"autoglm.reason": "it waits"}), ("autoglm.resumed", 1007, {})]

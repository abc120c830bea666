"""A run as one trace, and its model calls as metrics, in OpenTelemetry's terms.

Rules:

1. A run is one trace however often it is interrupted, resumed and retried: trace and span ids are digests of the run's
   id, the task's id and the attempt, so that every process that drives the run names the same spans.
2. A span is handed over when what it tells of has ended, with the times of the journal. What a killed process had not
   ended, its successor tells.
3. Telling never slows a run: the processor's queue is bounded, and what does not fit is dropped.
4. No content (prompts, answers, results) unless it was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from autoglm.base.errors import Failure
from autoglm.engine import messages as m
from autoglm.engine.machine import Run
from autoglm.engine.standing_in import SUFFIX
from autoglm.runtime.semconv import Conventions
from autoglm.stores.protocol import LogLine

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

    from autoglm.llm.calls import ModelCall

SCOPE = "autoglm"
_APART = ("on_error", "finally")
"""Scopes of a run, or of a call in it, that are no tasks."""
_MAX_CONTENT = 64 * 1024


class Exporter(Protocol):
    """Takes spans that have ended: a span processor of the SDK."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue it; must not block."""


def trace_id(run_id: str) -> int:
    """Return the trace id (128 bits) of a run: the same in every process that drives it."""
    return int.from_bytes(sha256(f"autoglm/{run_id}".encode()).digest()[:16], "big") or 1


def span_id(run_id: str, *parts: str | int) -> int:
    """Return a span id (64 bits) of something in a run: ``span_id(run)``, ``span_id(run, task)``, ``… attempt``."""
    text = "\0".join(("autoglm", run_id, *map(str, parts)))
    return int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") or 1


def traceparent(run_id: str, task: str, attempt: int) -> str:
    """Return the W3C ``traceparent`` of an attempt, for a child process or a service that joins the trace."""
    return f"00-{trace_id(run_id):032x}-{span_id(run_id, task, attempt):016x}-01"


class RunTelemetry:
    """Watches one run and tells of it. An :class:`~autoglm.runtime.observer.Observer`."""

    def __init__(
        self, exporter: Exporter, meter: Meter, names: Conventions, resource: Resource, *, content: bool = False
    ) -> None:
        self._exporter = exporter
        self._names = names
        self._resource = resource
        self._content = content
        self._run: Run | None = None
        self._begun: dict[str, float] = {}
        """When what is running began: attempts, loops and groups, by task id."""
        self._attempts: dict[str, int] = {}
        """Which attempt of a task is running."""
        self._parked: dict[str, list[tuple[str, float, str]]] = {}
        """By task: what became of its attempt while it waited, as (event, when, why)."""
        self._stands_for: dict[str, int] = {}
        """Tasks that a stand-in works for: the span of the attempt that failed for good."""
        self._calls = 0
        self._call_duration = meter.create_histogram(names.call_duration, "s", "Duration of a model call")
        self._tokens = None
        if names.token_histogram is not None:
            self._tokens = meter.create_histogram(names.token_histogram, "{token}", "Tokens of a model call")
        self._counters = {
            kind: meter.create_counter(f"{names.token_counter}.{kind}_tokens", "{token}", f"{kind} tokens")
            for kind in ("input", "output")
            if names.token_counter is not None
        }
        self._run_duration = None
        if names.workflow_duration is not None:
            self._run_duration = meter.create_histogram(names.workflow_duration, "s", "Duration of a run")

    def attach(self, run: Run) -> None:
        """Take note of the run, and of what was running when its last driver left."""
        self._run = run
        self._begun = {each.id: each.started_at for each in run.active if each.started_at is not None}
        self._attempts = {each.id: each.attempt for each in run.running}
        for work in run.stand_ins.values():
            if (failed := work.stands_for) is not None:
                self._stands_for[failed.id] = self._own_span(failed.id, failed.attempt or None)

    def on_log(self, line: LogLine) -> None:
        """Log lines stay in the run."""

    def on_events(self, events: Sequence[m.Event], at: float) -> None:
        for event in events:
            match event:
                case m.AttemptStarted():
                    self._begun[event.task] = at
                    self._attempts[event.task] = event.attempt
                case m.GroupStarted() | m.LoopStarted():
                    self._begun[event.task] = at
                case m.AttemptSucceeded() | m.AttemptFailed() | m.AttemptCancelled():
                    self._attempt_ended(event, at)
                case m.TaskSucceeded() | m.TaskFailed() | m.TaskCancelled():
                    self._task_ended(event, at)
                case m.TaskDegraded():
                    self._degraded(event, at)
                case m.StandInCalled():
                    self._stood_in(event, at)
                case m.ParkingBegan():
                    self._parked.setdefault(event.task, []).append(("parked", at, event.reason))
                case m.ParkingEnded():
                    self._parked.setdefault(event.task, []).append(("resumed", at, ""))
                case m.RunRecovered():
                    self._begun.update({each.id: at for each in self._known.running})
                case m.RunSucceeded() | m.RunFailed() | m.RunCancelled():
                    self._run_ended(event, at)
                case _:
                    pass

    def on_call(self, task: str, attempt: int, call: ModelCall) -> None:
        """Tell of one model call, that has just ended, as a part of its attempt."""
        run_id = self._run_id
        self._calls += 1
        attributes = self._describe(call)
        measured = {key: attributes[key] for key in _MEASURED if attributes[key] is not None}
        self._call_duration.record(call.ended_at - call.started_at, measured)
        for kind, count in (("input", call.input_tokens), ("output", call.output_tokens)):
            if self._tokens is not None and count:
                self._tokens.record(count, {**measured, "gen_ai.token.type": kind})
            if kind in self._counters and count:
                self._counters[kind].add(count, measured)
        self._tell(
            f"{call.operation} {call.model}",
            span_id(run_id, task, attempt, "call", f"{call.started_at:.6f}", self._calls),
            span_id(run_id, task, attempt),
            call.started_at,
            call.ended_at,
            attributes,
            error=call.error,
            is_client=True,
        )

    # ------------------------------------------------------------------------------------------------------- spans

    @property
    def _known(self) -> Run:
        assert self._run is not None, "attach() comes first"
        return self._run

    @property
    def _run_id(self) -> str:
        created = self._known.created
        assert created is not None, "there is a first event before any other"
        return created.run_id

    def _attempt_ended(self, event: m.AttemptSucceeded | m.AttemptFailed | m.AttemptCancelled, at: float) -> None:
        attributes: dict[str, Any] = {"autoglm.attempt": event.attempt}
        failure = None
        match event:
            case m.AttemptFailed():
                failure = event.failure
                attributes["autoglm.abandoned"] = event.abandoned or None
                attributes["autoglm.retry.delay"] = None if event.retry_at is None else round(event.retry_at - at, 6)
            case m.AttemptCancelled():
                attributes["autoglm.cancelled"] = event.reason or "cancelled"
            case m.AttemptSucceeded():
                pass
        self._tell_task(event.task, span_id(self._run_id, event.task, event.attempt), at, attributes, failure)

    def _task_ended(self, event: m.TaskSucceeded | m.TaskFailed | m.TaskCancelled, at: float) -> None:
        """Tell of a loop, a group or a decision; what has attempts was told of by attempt."""
        if self._stands_for.pop(event.task, None) is not None:
            return  # its stand-in was told of, and it was as it failed
        failure = event.failure if isinstance(event, m.TaskFailed) else None
        self._tell_task(event.task, span_id(self._run_id, event.task), at, {}, failure)

    def _degraded(self, event: m.TaskDegraded, at: float) -> None:
        if self._stands_for.pop(event.task, None) is not None:
            return
        self._failed_for_good(event.task, event.failure, at)

    def _stood_in(self, event: m.StandInCalled, at: float) -> None:
        """Tell of an attempt that failed for good as it did; what stands in for it lies within it."""
        attempt = self._attempts.get(event.task)
        self._failed_for_good(event.task, event.failure, at)
        self._stands_for[event.task] = self._own_span(event.task, attempt)

    def _failed_for_good(self, task: str, failure: Failure, at: float) -> None:
        attempt = self._attempts.get(task)
        attributes = {"autoglm.attempt": attempt, "autoglm.degraded": True}
        self._tell_task(task, self._own_span(task, attempt), at, attributes, failure)

    def _own_span(self, task: str, attempt: int | None) -> int:
        return span_id(self._run_id, task) if attempt is None else span_id(self._run_id, task, attempt)

    def _tell_task(self, task: str, own: int, at: float, attributes: dict[str, Any], failure: Failure | None) -> None:
        attributes["autoglm.task.id"] = task
        begun = self._begun.pop(task, at)
        self._attempts.pop(task, None)
        parked = self._parked.pop(task, ())
        self._tell(_static(task), own, self._parent(task), begun, at, attributes, error=_code(failure), parked=parked)

    def _parent(self, task: str) -> int:
        """Return the span that a task lies in: its loop's, its group's, or the run's; a stand-in's is what failed."""
        if task.endswith(SUFFIX) and (failed := self._stands_for.get(task.removesuffix(SUFFIX))) is not None:
            return failed
        if task.endswith("]"):
            return span_id(self._run_id, task[: task.rindex("[")])
        outer = task.rpartition(".")[0]
        around, _, last = outer.rpartition(".")
        if last in _APART and (not around or self._known.find(outer) is None):
            outer = around
        return span_id(self._run_id, outer) if outer else span_id(self._run_id)

    def _run_ended(self, event: m.RunSucceeded | m.RunFailed | m.RunCancelled, at: float) -> None:
        run = self._known
        created = run.created
        assert created is not None
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "invoke_workflow",
            self._names.workflow_name: created.workflow,
            "autoglm.run.id": created.run_id,
            "autoglm.run.status": str(run.status),
            "autoglm.offline": created.offline,
        }
        begun = run.started_at if run.started_at is not None else at
        failure = event.failure if isinstance(event, m.RunFailed) else None
        if self._run_duration is not None:
            self._run_duration.record(at - begun, {self._names.workflow_name: created.workflow})
        name = f"invoke_workflow {created.workflow}"
        self._tell(name, span_id(created.run_id), None, begun, at, attributes, error=_code(failure))

    def _describe(self, call: ModelCall) -> dict[str, Any]:
        found: dict[str, Any] = {
            "gen_ai.operation.name": call.operation,
            "gen_ai.provider.name": call.provider,
            "gen_ai.request.model": call.model,
            "server.address": call.server,
            "gen_ai.response.model": call.response_model,
            "gen_ai.response.id": call.response_id,
            "gen_ai.usage.input_tokens": call.input_tokens,
            "gen_ai.usage.output_tokens": call.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": call.cached_tokens or None,
            "gen_ai.usage.reasoning.output_tokens": call.reasoning_tokens or None,
            "gen_ai.output.type": call.output_type,
            "gen_ai.prompt.name": call.prompt_name,
            "error.type": call.error,
        }
        if call.finish_reasons:
            found["gen_ai.response.finish_reasons"] = list(call.finish_reasons)
        if call.first_chunk_at is not None:
            found["gen_ai.response.time_to_first_chunk"] = round(call.first_chunk_at - call.started_at, 6)
        for ours, theirs in _PARAMETERS.items():
            value = call.parameters.get(ours)
            if isinstance(value, str | int | float):
                found[theirs] = [value] if ours == "stop" else value
            elif ours == "stop" and isinstance(value, list):
                found[theirs] = [str(word) for word in value]
        if self._content:
            scrub = self._known.scrub  # a prompt may hold a secret; what leaves this process may not
            found["gen_ai.input.messages"] = scrub(call.input_content())[:_MAX_CONTENT]
            found["gen_ai.output.messages"] = scrub(call.output_content())[:_MAX_CONTENT]
        return found

    def _tell(
        self,
        name: str,
        own: int,
        parent: int | None,
        begun: float,
        ended: float,
        attributes: Mapping[str, Any],
        *,
        error: str | None = None,
        is_client: bool = False,
        parked: Sequence[tuple[str, float, str]] = (),
    ) -> None:
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        flags = TraceFlags(TraceFlags.SAMPLED)
        trace = trace_id(self._run_id)
        attributes = {name: value for name, value in {**attributes, "error.type": error}.items() if value is not None}
        self._exporter.on_end(
            ReadableSpan(
                name=name,
                context=SpanContext(trace, own, is_remote=False, trace_flags=flags),
                parent=None if parent is None else SpanContext(trace, parent, is_remote=True, trace_flags=flags),
                resource=self._resource,
                attributes=attributes,
                events=[
                    Event(f"autoglm.{what}", {"autoglm.reason": why} if why else {}, int(when * 1e9))
                    for what, when, why in parked
                ],
                kind=SpanKind.CLIENT if is_client else SpanKind.INTERNAL,
                status=Status(StatusCode.UNSET if error is None else StatusCode.ERROR),
                start_time=int(begun * 1e9),
                end_time=int(max(begun, ended) * 1e9),
                instrumentation_scope=InstrumentationScope(SCOPE),
            )
        )


_MEASURED = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "server.address", "error.type")
_PARAMETERS = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "max_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
    "stop": "gen_ai.request.stop_sequences",
    "n": "gen_ai.request.choice.count",
    "stream": "gen_ai.request.stream",
}


def _code(failure: Failure | None) -> str | None:
    return None if failure is None else failure.code


def _static(task: str) -> str:
    """Return a task's path without item numbers, for a span's name: few names, many spans."""
    import re

    return re.sub(r"\[\d+\]", "[]", task)

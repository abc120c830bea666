"""Whether runs are told of in OpenTelemetry's terms, and to whom: from the settings and the standard environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from autoglm.base.errors import UsageError
from autoglm.config.settings import TelemetrySettings

if TYPE_CHECKING:
    from autoglm.runtime.telemetry import RunTelemetry

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FLUSH_MS = 5000


class Telemetry:
    """What a process tells, and how it stops telling."""

    def __init__(self, watcher: RunTelemetry, *parts: object) -> None:
        self.watcher = watcher
        self._parts = parts

    def close(self) -> None:
        """Send what is queued, waiting five seconds at most."""
        for part in self._parts:
            part.force_flush(_FLUSH_MS)  # type: ignore[attr-defined]
            part.shutdown()  # type: ignore[attr-defined]


def is_wanted(settings: TelemetrySettings, environ: Mapping[str, str]) -> bool:
    """Return whether anybody asked to be told."""
    if settings.exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return settings.exporter is not None or any(environ.get(name) for name in _ENDPOINTS)


def open_telemetry(settings: TelemetrySettings, environ: Mapping[str, str]) -> Telemetry | None:
    """Return what tells of runs, None when nobody asked.

    Addresses, headers, sampling limits and the service's name come from the standard ``OTEL_*`` variables.

    Raises:
        UsageError: ``telemetry-missing``, the packages are not installed.
    """
    if not is_wanted(settings, environ):
        return None
    try:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import (
            ConsoleMetricExporter,
            MetricExporter,
            PeriodicExportingMetricReader,
        )
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

        spans: SpanExporter
        metrics: MetricExporter
        if settings.exporter == "console":
            import sys

            spans, metrics = ConsoleSpanExporter(out=sys.stderr), ConsoleMetricExporter(out=sys.stderr)
        else:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            spans, metrics = OTLPSpanExporter(), OTLPMetricExporter()
    except ImportError as error:
        raise UsageError(
            f"telemetry is asked for, and {error.name or 'opentelemetry'} is not installed",
            code="telemetry-missing",
            hint="pip install 'open-autoglm[otel]', or set `telemetry: {exporter: none}`",
        ) from None
    from autoglm import __version__
    from autoglm.runtime.semconv import conventions
    from autoglm.runtime.telemetry import SCOPE, RunTelemetry

    resource = Resource.create({"service.name": "autoglm", "service.version": __version__})
    resource = resource.merge(OTELResourceDetector().detect())  # OTEL_SERVICE_NAME comes before ours
    processor = BatchSpanProcessor(spans)
    meters = MeterProvider([PeriodicExportingMetricReader(metrics)], resource=resource)
    meter = meters.get_meter(SCOPE, __version__)
    watcher = RunTelemetry(processor, meter, conventions(environ), resource, content=settings.content)
    return Telemetry(watcher, processor, meters)

"""The names that telemetry uses, by version of OpenTelemetry's conventions for generative AI, which still change.

What a trace says must not change under a dashboard because we were upgraded: the names of v1.41 (the last version in
the general conventions) stay the default, and ``OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental`` asks for the
newest that are known here. Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
LATEST: Final = "gen_ai_latest_experimental"


@dataclass(frozen=True, slots=True)
class Conventions:
    """One version's names, where versions differ."""

    version: str
    workflow_name: str
    """Attribute: the workflow that a run is of."""
    call_duration: str
    """Histogram, seconds: one call of a model."""
    workflow_duration: str | None
    """Histogram, seconds: one run; None where the version has none."""
    token_histogram: str | None
    """Histogram: tokens of one call, by ``gen_ai.token.type``."""
    token_counter: str | None
    """Prefix of counters, one a token type, which newer versions have instead."""


V1_41: Final = Conventions(
    version="1.41",
    workflow_name="gen_ai.workflow.name",
    call_duration="gen_ai.client.operation.duration",
    workflow_duration=None,
    token_histogram="gen_ai.client.token.usage",  # noqa: S106  # a metric's name
    token_counter=None,
)
NEWEST: Final = Conventions(
    version="genai-0.1",
    workflow_name="gen_ai.agent.name",
    call_duration="gen_ai.client.inference.duration",
    workflow_duration="gen_ai.invoke_agent.duration",
    token_histogram=None,
    token_counter="gen_ai.client.inference.usage",  # noqa: S106
)


def conventions(environ: Mapping[str, str]) -> Conventions:
    """Return the conventions that the environment asks for."""
    wanted = {word.strip() for word in environ.get(OPT_IN, "").split(",")}
    return NEWEST if LATEST in wanted else V1_41

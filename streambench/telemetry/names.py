"""Every name that goes out by OpenTelemetry, in one place, with units and bucket boundaries.

The GenAI conventions are still "Development" and no package on PyPI holds their newest names undeprecated, so they
are written out here: those of open-telemetry/semantic-conventions-genai, October 2026. `streambench.*` is ours.
docs/telemetry.md explains each; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SCOPE = "streambench"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"
"""The last schema of the main repository that holds GenAI names."""

SERVICE = "streambench"

# --- spans

RUN_SPAN = "streambench.run"
MODEL_SPAN = "streambench.model"  # followed by the alias

FIRST_CHUNK = "streambench.first_chunk"
FIRST_ANSWER = "streambench.first_answer"
LONGEST_STALL = "streambench.longest_stall"
EXCEPTION = "exception"
CONTENT_EVENT = "gen_ai.client.inference.operation.details"

# --- metrics

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""The convention's boundaries; ours are supersets, so that dashboards built on these stay valid."""

WAITS = (*SECONDS, 163.84, 327.68, 655.36)
GAPS = (0.0005, 0.001, 0.002, 0.005, *SECONDS)
TOKENS = tuple(float(4**power) for power in range(14))
SPEEDS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0)

OUTCOME = "streambench.outcome"
ERROR_TYPE = "error.type"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - a name, not a token

Kind = Literal["histogram", "counter", "updowncounter"]
MetricNames = Literal["operation", "inference", "both"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric. `renamed` is the name announced for it; `telemetry.metric_names` says which goes out."""

    name: str
    kind: Kind
    unit: str
    description: str
    boundaries: tuple[float, ...] = ()
    renamed: str | None = None

    def names(self, wanted: MetricNames) -> tuple[str, ...]:
        """Under which names it goes out."""
        if self.renamed is None or wanted == "operation":
            return (self.name,)
        return (self.renamed,) if wanted == "inference" else (self.name, self.renamed)


DURATION = Instrument(
    "gen_ai.client.operation.duration",
    "histogram",
    "s",
    "From the start of a request's first attempt to the end of its last.",
    WAITS,
    "gen_ai.client.inference.duration",
)
TIME_TO_FIRST_CHUNK = Instrument(
    "gen_ai.client.operation.time_to_first_chunk",
    "histogram",
    "s",
    "From the start of a request to its first chunk, retries included.",
    WAITS,
    "gen_ai.client.inference.time_to_first_chunk",
)
TIME_PER_OUTPUT_CHUNK = Instrument(
    "gen_ai.client.operation.time_per_output_chunk",
    "histogram",
    "s",
    "Time between two generated chunks, each gap that was observed.",
    GAPS,
    "gen_ai.client.inference.time_per_output_chunk",
)
TOKEN_USAGE = Instrument(
    "gen_ai.client.token.usage",
    "histogram",
    "{token}",
    "Tokens of a request as the gateway states them, by gen_ai.token.type.",
    TOKENS,
)
OUTPUT_SPEED = Instrument(
    "streambench.output_speed",
    "histogram",
    "{token}/s",
    "(Streamed output tokens - 1) / (last - first generated chunk) of a request.",
    SPEEDS,
)
REQUESTS = Instrument("streambench.requests", "counter", "{request}", "Requests that ended, by outcome.")
RETRIES = Instrument("streambench.retries", "counter", "{attempt}", "Attempts after a request's first.")
ACTIVE = Instrument("streambench.requests.active", "updowncounter", "{request}", "Requests on the wire.")

INSTRUMENTS: Mapping[str, Instrument] = {
    one.name: one
    for one in (
        DURATION,
        TIME_TO_FIRST_CHUNK,
        TIME_PER_OUTPUT_CHUNK,
        TOKEN_USAGE,
        OUTPUT_SPEED,
        REQUESTS,
        RETRIES,
        ACTIVE,
    )
}
"""All that streambench emits."""

"""The names of spans, events and metrics that are exported, with units and bucket boundaries.

The GenAI conventions are still "Development" and no package on PyPI has their newest names undeprecated, so they are
written out here, as in open-telemetry/semantic-conventions-genai of October 2026. Names that begin with `streambench.`
are streambench's. docs/telemetry.md explains each name; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SCOPE = "streambench"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"
"""The last schema of the main repository that contains GenAI names."""

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
"""The convention's boundaries. WAITS and GAPS contain all of them, so dashboards built on these stay valid."""

WAITS = (*SECONDS, 163.84, 327.68, 655.36)
GAPS = (0.0005, 0.001, 0.002, 0.005, *SECONDS)
TOKENS = tuple(float(4**power) for power in range(14))
SPEEDS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0)

OUTCOME = "streambench.outcome"
ERROR_TYPE = "error.type"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - a name, not a token

InstrumentKind = Literal["histogram", "counter", "updowncounter"]
MetricNames = Literal["operation", "inference", "both"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric. `renamed` is its announced new name; `telemetry.metric_names` chooses which name is exported."""

    name: str
    kind: InstrumentKind
    unit: str
    description: str
    boundaries: tuple[float, ...] = ()
    renamed: str | None = None

    def names(self, wanted: MetricNames) -> tuple[str, ...]:
        """Returns the names under which the metric is exported."""
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
    "Time between two generated chunks, for each observed gap.",
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
ACTIVE = Instrument("streambench.requests.active", "updowncounter", "{request}", "Requests in flight.")

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
"""All metrics that streambench exports, by name."""

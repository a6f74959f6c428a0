"""What one request adds to the metrics, as plain values. Nothing of OpenTelemetry is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streambench.telemetry.facts import Attributes, SpanId


@dataclass(frozen=True, slots=True)
class Observation:
    """One request that ended. None is unknown: nothing is recorded of it.

    `attributes` are those that all its metrics share (operation, provider, models, server); neither run ids nor
    anything else that differs with every request belongs there, since each set of them is a time series.
    """

    span: SpanId
    """The request's span, for exemplars."""
    attributes: Attributes
    duration_s: float
    outcome: str
    error_type: str | None = None
    retries: int = 0
    """Attempts after the first."""
    ttfc_s: float | None = None
    gaps_ns: Sequence[int] = ()
    """The observed gaps between generated chunks, in nanoseconds as records hold them; a numpy array serves too."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    output_tok_s: float | None = None

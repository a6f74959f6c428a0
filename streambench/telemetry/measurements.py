"""Computes from records what each request adds to the metrics. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streambench.clock import NS
from streambench.metrics.definitions import BY_COLUMN, known_gaps
from streambench.metrics.outcomes import outcome_of
from streambench.records.schema import AttemptRecord
from streambench.telemetry.request_spans import error_type, model_of, request_span, shift_ns
from streambench.telemetry.run_context import RunContext
from streambench.telemetry.span_model import Attributes, SpanId, Value

_OUTPUT_SPEED = BY_COLUMN["output_tok_s"]


def observed(group: Sequence[AttemptRecord], about: RunContext) -> Observation:
    """Returns what one measured request adds to the metrics.

    A failed request adds only its duration, tokens, retries and count, so that a broken stream does not look fast.
    """
    last, model = group[-1], model_of(group[0], about)
    outcome, shift = outcome_of(last), shift_ns(group)
    usage, line = last.usage, last.timeline
    good = outcome == "ok"
    attributes: dict[str, Value] = {**model.common, "streambench.model": model.alias}
    if last.model_served is not None and good:
        attributes["gen_ai.response.model"] = last.model_served
    return Observation(
        span=SpanId(last.trace_id, request_span(group[0]), about.trace.sampled or about.trace.shape == "request"),
        attributes=attributes,
        duration_s=(shift + last.ended_ns) / NS,
        outcome=outcome,
        error_type=error_type(last),
        retries=len(group) - 1,
        ttfc_s=(shift + line.offset_ns[0]) / NS if good and last.streamed and line.offset_ns else None,
        gaps_ns=known_gaps(line) if good else (),
        input_tokens=usage.input if usage else None,
        output_tokens=usage.output if usage else None,
        output_tok_s=_OUTPUT_SPEED.value(last) if good else None,
    )


@dataclass(frozen=True, slots=True)
class Observation:
    """One request that ended. None means unknown: that metric records no value.

    `attributes` are shared by all its metrics (operation, provider, models, server). Run ids and other values that
    differ for every request must not be added, since each set of attributes is a time series.
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
    """The observed gaps between generated chunks, in nanoseconds as in records; may be a numpy array."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    output_tok_s: float | None = None

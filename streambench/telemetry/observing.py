"""Records as what they add to the metrics. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from streambench.clock import NS
from streambench.health import judge
from streambench.metrics import METRICS, known_gaps
from streambench.records import AttemptRecord
from streambench.telemetry.about import About
from streambench.telemetry.facts import SpanId, Value
from streambench.telemetry.points import Observation
from streambench.telemetry.tree import error_type, model_of, request_span, shift_ns

_OUTPUT_SPEED = next(metric for metric in METRICS if metric.name == "output_tok_s")


def observed(group: Sequence[AttemptRecord], about: About) -> Observation:
    """What one measured request adds. Of one that failed only its duration, its tokens and its count: a broken stream
    must not look like a fast one.
    """
    last, model = group[-1], model_of(group[0], about)
    outcome, shift = judge(last), shift_ns(group)
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

"""What a request carries to its gateway, so that the gateway's spans are children of ours.

By the propagators that OTEL_PROPAGATORS names, W3C Trace Context without it. Never baggage: there is none to carry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from streambench.errors import ConfigError, Problem

Carrier = Callable[[str, str], Mapping[str, str]]


def no_carrier(_trace_id: str, _span_id: str) -> Mapping[str, str]:
    """Nothing is carried."""
    return {}


def make_carrier(sampled: Callable[[str], bool]) -> Carrier:
    """Headers for a trace id and a span id; `sampled` says of a trace whether its spans are kept.

    Raises ConfigError where OTEL_PROPAGATORS names one that is not installed.
    """
    try:
        from opentelemetry.propagate import inject  # reads the variable as it is imported
    except ValueError as error:
        accepted = "tracecontext, or others whose packages are installed, such as b3"
        raise ConfigError([Problem(str(error), where="OTEL_PROPAGATORS", accepted=accepted)]) from None

    def carrier(trace_id: str, span_id: str) -> Mapping[str, str]:
        flags = TraceFlags(TraceFlags.SAMPLED if sampled(trace_id) else TraceFlags.DEFAULT)
        place = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=flags)
        headers: dict[str, str] = {}
        inject(headers, set_span_in_context(NonRecordingSpan(place), Context()))
        return headers

    return carrier

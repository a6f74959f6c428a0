"""Trace headers that a request carries to its gateway, so that the gateway's spans become children of streambench's.

The propagators that OTEL_PROPAGATORS names write them; W3C Trace Context if it is not set. Baggage is always empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from streambench.errors import ConfigError, Problem
from streambench.records.trace_ids import Carrier


def no_carrier(_trace_id: str, _span_id: str) -> Mapping[str, str]:
    """Returns no headers."""
    return {}


def make_carrier(sampled: Callable[[str], bool]) -> Carrier:
    """Returns a function from trace id and span id to headers. `sampled` returns True if a trace's spans are kept.

    Raises ConfigError if OTEL_PROPAGATORS names a propagator that is not installed.
    """
    try:
        from opentelemetry.propagate import inject  # reads the variable on import
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

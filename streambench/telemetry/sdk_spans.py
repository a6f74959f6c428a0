"""Creates SDK spans from SpanFacts, with the ids that the facts have."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TypeVar

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from streambench.telemetry.span_model import Attributes, SpanFacts, SpanId, Value

KINDS: Mapping[str, SpanKind] = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
SPAN_BYTES = 300
"""Bytes of a span, an event or a link besides its texts and attributes: ids, timestamps and their encoding."""
VALUE_BYTES = 24
INT64 = 2**63

Clean = TypeVar("Clean", bound=Value)


class SpanMaker:
    """Creates spans with one tracer, whose id generator it replaces until `release`."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._before = tracer.id_generator
        self._ids = _WantedIds()
        self._lock = threading.Lock()
        tracer.id_generator = self._ids

    def release(self) -> None:
        """Restores the tracer's id generator, since the tracer may belong to an installed provider."""
        self._tracer.id_generator = self._before

    def sampled(self, trace_id: str, name: str, parent: SpanId | None) -> bool:
        """True if the sampler keeps a span with this trace id, name and parent. The span is not created."""
        number = int(trace_id, 16)
        result = self._tracer.sampler.should_sample(context_of(parent), number, name, SpanKind.INTERNAL, {}, ())
        return result.decision is Decision.RECORD_AND_SAMPLE

    def make(self, facts: SpanFacts) -> bool:
        """Creates a span, starts and ends it. Returns False if the sampler drops it."""
        with self._lock:
            self._ids.want(facts.id)
            span = self._tracer.start_span(
                facts.name,
                context_of(facts.parent),
                KINDS[facts.kind],
                attributes=cleaned(facts.attributes),
                links=[Link(span_context(link.to), cleaned(link.attributes)) for link in facts.links],
                start_time=facts.start_ns,
            )
        for event in facts.events:
            span.add_event(event.name, cleaned(event.attributes), event.at_ns)
        if facts.error is not None:
            span.set_status(Status(StatusCode.ERROR, _encodable(facts.error)))
        span.end(facts.end_ns)
        return span.get_span_context().trace_flags.sampled


class _WantedIds(IdGenerator):
    """Returns the ids last passed to `want`; used only while the SpanMaker's lock is held."""

    def __init__(self) -> None:
        self._span = self._trace = 0

    def want(self, span: SpanId) -> None:
        self._span = int(span.span_id, 16)
        self._trace = int(span.trace_id, 16)

    def generate_span_id(self) -> int:
        return self._span

    def generate_trace_id(self) -> int:
        return self._trace


def span_context(span: SpanId) -> SpanContext:
    flags = TraceFlags.SAMPLED if span.sampled else TraceFlags.DEFAULT
    return SpanContext(int(span.trace_id, 16), int(span.span_id, 16), is_remote=False, trace_flags=TraceFlags(flags))


def context_of(span: SpanId | None) -> Context:
    """Returns a context whose current span is this one; for None an empty context, not the current one."""
    return Context() if span is None else set_span_in_context(NonRecordingSpan(span_context(span)), Context())


# --- values that cannot be encoded: one of them would fail the whole batch


def cleaned(attributes: Attributes) -> dict[str, Value]:
    """Returns the attributes with lone surrogates replaced, and integers beyond 64 bits as text."""
    return {name: _clean(value) for name, value in attributes.items()}


def _clean(value: Value) -> Value:
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, tuple):
        return tuple(_encodable(each) for each in value)
    if isinstance(value, int) and not -INT64 <= value < INT64:
        return str(value)
    return value


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


# --- sizes


def span_bytes(span: ReadableSpan) -> int:
    """Estimates the size of an encoded span in bytes; the estimate is more often too large than too small."""
    events = sum(SPAN_BYTES + attributes_bytes(event.attributes) for event in span.events)
    links = sum(SPAN_BYTES + attributes_bytes(link.attributes) for link in span.links)
    status = _text_bytes(span.status.description or "")
    return SPAN_BYTES + len(span.name) + status + attributes_bytes(span.attributes) + events + links


def attributes_bytes(attributes: Mapping[str, object] | None) -> int:
    return sum(len(name) + _value_bytes(value) for name, value in (attributes or {}).items())


def _value_bytes(value: object) -> int:
    if isinstance(value, str):
        return VALUE_BYTES + _text_bytes(value)
    if isinstance(value, tuple | list):
        return VALUE_BYTES + sum(_value_bytes(each) for each in value)
    return VALUE_BYTES


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))

"""Spans as plain data: `request_spans` and `run_spans` create them, `pipeline` passes them to OpenTelemetry.

This module does not import OpenTelemetry. Instants are wall-clock nanoseconds since 1970; durations in attributes are
seconds, as the conventions require.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Value: TypeAlias = str | bool | int | float | tuple[str, ...]
Attributes: TypeAlias = Mapping[str, Value]


def known(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    """Returns the attributes without those that are None: an unknown value is left out, never sent as zero."""
    return {name: value for name, value in attributes.items() if value is not None}


@dataclass(frozen=True, slots=True)
class SpanId:
    """The ids of a span: 32 and 16 lower-case hexadecimal digits, as in a `traceparent`."""

    trace_id: str
    span_id: str
    sampled: bool = True


@dataclass(frozen=True, slots=True)
class EventFacts:
    """An event at an instant of a span."""

    name: str
    at_ns: int
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """A link from a span to the span of another trace that it belongs to."""

    to: SpanId
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """One ended span. `error` is the status description of a span that failed; None leaves the status unset."""

    name: str
    kind: Literal["internal", "client"]
    id: SpanId
    parent: SpanId | None
    start_ns: int
    end_ns: int
    attributes: Attributes
    events: tuple[EventFacts, ...] = ()
    links: tuple[LinkFacts, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LogFacts:
    """One log record with the content of a request, for `EVENT_ONLY` and `SPAN_AND_EVENT`."""

    name: str
    at_ns: int
    of: SpanId
    attributes: Attributes

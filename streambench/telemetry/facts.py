"""A span as plain facts: what `tree` makes of records, and what `pipeline` hands to OpenTelemetry.

Nothing of OpenTelemetry is imported here. Instants are wall-clock nanoseconds since 1970; durations in attributes are
seconds, as the conventions want them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Value: TypeAlias = str | bool | int | float | tuple[str, ...]
Attributes: TypeAlias = Mapping[str, Value]


def known(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    """Without those that are None: an unknown is left out, never sent as zero."""
    return {name: value for name, value in attributes.items() if value is not None}


@dataclass(frozen=True, slots=True)
class SpanId:
    """Where a span is: 32 and 16 lower-case hexadecimal digits, as in a `traceparent`."""

    trace_id: str
    span_id: str
    sampled: bool = True


@dataclass(frozen=True, slots=True)
class EventFacts:
    """A moment inside a span."""

    name: str
    at_ns: int
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """A span of another trace that this one belongs to."""

    to: SpanId
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """One span, ended. `error` is the status description of a span that failed; None leaves the status unset."""

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

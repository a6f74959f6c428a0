"""Who is told how a run goes while it goes: the live view, and telemetry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from streambench.records import AttemptRecord, RunHeader, Ticket


class Watcher(Protocol):
    """Is told how the run goes, on the event loop: it must be quick. `end` is of a request, with its last attempt."""

    def phase(self, name: str) -> None: ...

    def begin(self, ticket: Ticket) -> None: ...

    def landed(self, ticket: Ticket) -> None: ...

    def end(self, record: AttemptRecord) -> None: ...

    def unsent(self, ticket: Ticket) -> None:
        """A turn that will not be sent, as its conversation has ended before it."""


class Telemetry(Protocol):
    """Views of a run that are made elsewhere and later. It is told on the event loop: a call is quick, never raises."""

    @property
    def wants_text(self) -> bool:
        """Whether records are to come with their text, which the journal need not keep."""

    def carrier(self, trace_id: str, span_id: str) -> Mapping[str, str]:
        """Headers that a request carries to its gateway."""

    def opened(self, header: RunHeader) -> None:
        """Before the first request."""

    def begun(self, ticket: Ticket) -> None:
        """An attempt goes on the wire, ..."""

    def landed(self, ticket: Ticket) -> None:
        """... and is off it again."""

    def attempt(self, record: AttemptRecord) -> None: ...

    def over(self, record: AttemptRecord) -> None:
        """A request is, with its last attempt."""

    def held_ns(self) -> int:
        """For how long no new request should be sent, so that the views keep up; 0 is not at all."""


class NoTelemetry:
    """None asked for."""

    wants_text = False

    def carrier(self, _trace_id: str, _span_id: str) -> Mapping[str, str]:
        return {}

    def opened(self, header: RunHeader) -> None: ...

    def begun(self, ticket: Ticket) -> None: ...

    def landed(self, ticket: Ticket) -> None: ...

    def attempt(self, record: AttemptRecord) -> None: ...

    def over(self, record: AttemptRecord) -> None: ...

    def held_ns(self) -> int:
        return 0

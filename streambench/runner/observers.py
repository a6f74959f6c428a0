"""Interfaces of the observers of a run: the journal, the run's policy, telemetry, the live view, a caller's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streambench.records.schema import AttemptRecord, RunHeader, Ticket


class RunObserver:
    """Receives four events of a run. Override the methods you need.

    Every method is called on the event loop that times the streams, so it must be quick and must not block. If a method
    raises, the run ends; records written before are kept.
    """

    def on_attempt_start(self, ticket: Ticket) -> None:
        """An attempt is about to be sent."""

    def on_attempt_end(self, ticket: Ticket) -> None:
        """An attempt's response has ended; its record follows later."""

    def on_record(self, record: AttemptRecord) -> None:
        """An attempt was recorded."""

    def on_request_end(self, record: AttemptRecord) -> None:
        """A request has ended; `record` is that of its last attempt."""


class ProgressObserver(RunObserver):
    """Also receives events that only a view of the whole run shows."""

    def on_phase(self, name: str) -> None:
        """A phase begins: `warmup`, `measure`, `draining`; or `name` is a text that says what the run waits for."""

    def on_turn_dropped(self, ticket: Ticket) -> None:
        """A turn will not be sent, because its conversation ended before it."""


class RunTelemetry(RunObserver):
    """Exports a run as telemetry. This base class sends nothing. No method may raise."""

    @property
    def wants_text(self) -> bool:
        """True if records must include their text, even if the journal does not keep it."""
        return False

    def carrier(self, _trace_id: str, _span_id: str) -> Mapping[str, str]:
        """Returns the trace headers to send with a request, by name."""
        return {}

    def opened(self, header: RunHeader) -> None:
        """Called before the first request."""

    def held_ns(self) -> int:
        """Returns how long new requests must wait for the export to catch up, in ns; 0 if they need not wait."""
        return 0


class RecordWriter(RunObserver):
    """Passes each record to a function, such as a journal's `append`."""

    def __init__(self, write: Callable[[AttemptRecord], object]) -> None:
        self._write = write

    def on_record(self, record: AttemptRecord) -> None:
        self._write(record)

"""Runs a telemetry session in a child process, so that creating, encoding and sending spans never holds the run's GIL.

This module is the parent's side. It writes records to a pipe; the child reports its status up to ten times a second.
During the run nothing here waits, and there is no thread. If the parent dies, the child's stdin closes; the child then
sends what it has and exits. Messages are pickles with a length prefix, exchanged between these two processes only.
"""

from __future__ import annotations

import os
import pickle
import select
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, Any, cast

from opentelemetry.sdk.trace import Tracer, TracerProvider

from streambench.clock import NS, MonotonicClock
from streambench.errors import ConfigError, Problem
from streambench.records.schema import AttemptRecord, RunEnd, RunHeader, RunTrace, Ticket, final_attempts
from streambench.records.trace_ids import Carrier
from streambench.runner.observers import RunTelemetry
from streambench.telemetry import semconv
from streambench.telemetry.pipeline import Delivery, provider_installed
from streambench.telemetry.propagation import make_carrier, no_carrier
from streambench.telemetry.recorder import CROWDED, HOLD_NS, Private
from streambench.telemetry.run_context import about_run
from streambench.telemetry.run_spans import run_spans
from streambench.telemetry.sdk_spans import SpanMaker
from streambench.telemetry.session import ExportCounts, TelemetrySession, is_kept
from streambench.telemetry.settings import TelemetrySettings
from streambench.telemetry.span_model import SpanFacts

START_S = 20.0
"""The time for the child to load OpenTelemetry on a busy machine."""
SPARE_S = 1.0
"""The time after its deadline for the child to report the outcome; then it is killed."""
BACKLOG_BYTES = 256 * 1024 * 1024
"""If more than this is unread, the child has stopped: a working child always reads, whatever a collector does."""
READ_BYTES = 65_536
ENDED_EARLY = "the telemetry process ended early"
HEAD = struct.Struct("<I")


# --- messages


@dataclass(frozen=True, slots=True)
class OpenMessage:
    """The first message to the child."""

    settings: TelemetrySettings
    trace: RunTrace
    version: str
    private: Private | None
    header: RunHeader


@dataclass(frozen=True, slots=True)
class CloseMessage:
    """The last message to the child, with the spans of the models and of the run."""

    above: tuple[SpanFacts, ...]


SentCall = tuple[str, Any]
"""All other messages: `attempt_start` or `attempt_end` with a ticket, `record`, `request_end` with a request's key."""


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """A message from the child. `refused`: why it could not start. `outcome`: set in the last message."""

    pressure: float = 0.0
    delivery: Delivery | None = None
    refused: tuple[Problem, ...] = ()
    outcome: ExportCounts | None = None


def framed(message: object) -> bytes:
    packed = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return HEAD.pack(len(packed)) + packed


def unframed(held: bytearray) -> Iterator[Any]:
    """Yields the complete messages at the front of the buffer and removes them from it."""
    while len(held) >= HEAD.size:
        end = HEAD.size + HEAD.unpack_from(held)[0]
        if len(held) < end:
            return
        packed = bytes(held[HEAD.size : end])
        del held[:end]
        yield pickle.loads(packed)  # noqa: S301  # only streambench writes to these pipes


# --- the parent's side


class TelemetryProcess(RunTelemetry):
    """A run's telemetry in a child process, used like a `TelemetrySession` and its `live`; `close` ends it."""

    def __init__(
        self, settings: TelemetrySettings, trace: RunTrace, version: str, private: Private | None = None
    ) -> None:
        """Starts the child without waiting for it. Raises ConfigError if OTEL_PROPAGATORS cannot be used."""
        self._settings = settings
        self._trace = trace
        self._version = version
        self._private = private if settings.content != "NO_CONTENT" else None
        self._carrier: Carrier = make_carrier(self._sampled) if settings.propagate else no_carrier
        self._maker = _maker() if settings.traces != "none" else None
        self._header: RunHeader | None = None
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._received = bytearray()
        self._status = ChildStatus()
        self._gone = False
        self._outcome: ExportCounts | None = None
        self._child = subprocess.Popen(
            [sys.executable, "-m", "streambench.telemetry"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must reach the run only, which may drain first
            bufsize=0,
        )
        self._down, self._up = (cast(IO[bytes], pipe) for pipe in (self._child.stdin, self._child.stdout))
        for pipe in (self._down, self._up):
            os.set_blocking(pipe.fileno(), False)

    @property
    def live(self) -> TelemetryProcess:
        return self

    # --- on the event loop

    @property
    def wants_text(self) -> bool:
        return self._private is not None

    def carrier(self, trace_id: str, span_id: str) -> Mapping[str, str]:
        return self._carrier(trace_id, span_id)

    def opened(self, header: RunHeader) -> None:
        """Waits until the child is ready, for at most START_S. Raises ConfigError with what the child refused."""
        self._header = header
        self._trace = header.trace or self._trace
        self._say(OpenMessage(self._settings, self._trace, self._version, self._private, header))
        before = self._status
        self._exchange_until(lambda: self._status is not before, START_S)
        if self._status.refused:
            refused = self._status.refused
            self._end_child()
            raise ConfigError(list(refused))

    def on_attempt_start(self, ticket: Ticket) -> None:
        self._say(("attempt_start", ticket))

    def on_attempt_end(self, ticket: Ticket) -> None:
        self._say(("attempt_end", ticket))

    def on_record(self, record: AttemptRecord) -> None:
        self._say(("record", record))

    def on_request_end(self, record: AttemptRecord) -> None:
        self._say(("request_end", (record.ticket.phase, record.ticket.seq)))

    def held_ns(self) -> int:
        """Decides by the child's newest status; 0 if the child is gone."""
        self._exchange()
        return HOLD_NS if self._status.pressure > CROWDED and not self._gone else 0

    # --- after the run

    def close(self, records: Sequence[AttemptRecord], end: RunEnd | None) -> ExportCounts | None:
        """Lets the child send what is left, for at most the settings' deadline. None if `opened` was not called."""
        if self._header is None:
            self._end_child()
            return None
        if self._outcome is None:
            above = tuple(run_spans(about_run(self._header, self._settings.compat), records, end))
            self._say(CloseMessage(above))
            self._exchange_until(lambda: self._status.outcome is not None, self._settings.deadline_s + SPARE_S)
            self._outcome = self._status.outcome or self._guessed(len(final_attempts(records)) + len(above))
            self._end_child()
        return self._outcome

    def _guessed(self, spans: int) -> ExportCounts:
        """Returns the outcome if the child ended early: only spans that it reported as delivered before count."""
        known = self._status.delivery or Delivery(0, 0, 0, 0)
        ended = max(spans, known.ended)
        delivery = replace(known, ended=ended, failed=ended - known.delivered, waiting=0, last_error=ENDED_EARLY)
        return ExportCounts(delivery, fault=ENDED_EARLY)

    def _end_child(self) -> None:
        self._gone = True
        self._child.kill()
        self._child.wait()
        self._down.close()
        self._up.close()

    def _sampled(self, trace_id: str) -> bool:
        """Returns what the child's sampler will decide: both samplers are created from the same environment."""
        return self._maker is None or is_kept(self._maker.sampled, trace_id, self._trace)

    # --- the pipes: a broken pipe sets `_gone` and does not raise; only `_exchange_until` waits

    def _say(self, message: OpenMessage | CloseMessage | SentCall) -> None:
        if self._gone:
            return
        packed = framed(message)
        self._unsent.append(packed)
        self._unsent_bytes += len(packed)
        self._exchange()
        self._gone = self._gone or self._unsent_bytes > BACKLOG_BYTES

    def _exchange(self) -> None:
        """Writes as much as the pipe takes, and reads what has arrived."""
        try:
            self._write()
            self._read()
        except BlockingIOError:
            pass
        except (OSError, ValueError, EOFError, pickle.UnpicklingError):
            self._gone = True

    def _write(self) -> None:
        while self._unsent:
            with suppress(BlockingIOError):
                written = os.write(self._down.fileno(), self._unsent[0])
                self._unsent_bytes -= written
                self._unsent[0] = self._unsent[0][written:]
            if self._unsent[0]:
                return
            del self._unsent[0]

    def _read(self) -> None:
        read = os.read(self._up.fileno(), READ_BYTES)  # raises BlockingIOError if the pipe is empty
        if not read:
            raise EOFError
        self._received += read
        for status in unframed(self._received):
            self._status = status

    def _exchange_until(self, done: Callable[[], bool], patience_s: float) -> None:
        now_ns = MonotonicClock().now_ns
        until_ns = now_ns() + int(patience_s * NS)
        while not done() and not self._gone and (left_ns := until_ns - now_ns()) > 0:
            wanting = [self._down.fileno()] if self._unsent else []
            select.select([self._up.fileno()], wanting, [], left_ns / NS)
            self._exchange()


def open_session(
    settings: TelemetrySettings, trace: RunTrace, version: str, private: Private | None = None
) -> TelemetrySession | TelemetryProcess:
    """Returns a TelemetryProcess if that is possible, else a TelemetrySession. Raises ConfigError as these do."""
    return (TelemetryProcess if _can_be_apart(settings) else TelemetrySession)(settings, trace, version, private)


def _can_be_apart(settings: TelemetrySettings) -> bool:
    """True if a child process can export everything.

    An installed provider and the console belong to this process, and an embedded Python has no executable to start.
    """
    sends = "otlp" in (settings.traces, settings.metrics)
    prints = "console" in (settings.traces, settings.metrics)
    return sends and not prints and bool(sys.executable) and not provider_installed()


def _maker() -> SpanMaker | None:
    """Returns a SpanMaker that is used for its sampler only; None if the SDK is disabled."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer(semconv.SCOPE)
    return SpanMaker(tracer) if isinstance(tracer, Tracer) else None

"""A session in a process of its own: what makes, encodes and sends spans never holds the run's interpreter.

The parent's side, which hands records down a pipe and hears ten times a second how the child stands. Nothing waits
while the run goes on, and there is no thread. The child outlives no parent: when its standard input ends it sends what
it has, and is gone. Messages are pickles between ourselves, each after its length.
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
from streambench.records import AttemptRecord, RunEnd, RunHeader, RunTrace, Ticket, final_attempts
from streambench.telemetry import names
from streambench.telemetry.about import about_run
from streambench.telemetry.facts import SpanFacts
from streambench.telemetry.live import CROWDED, HOLD_NS, Private
from streambench.telemetry.pipeline import Delivery, provider_installed
from streambench.telemetry.propagation import Carrier, make_carrier, no_carrier
from streambench.telemetry.run_tree import run_spans
from streambench.telemetry.session import Outcome, Session, is_kept
from streambench.telemetry.settings import Settings
from streambench.telemetry.spans import SpanMaker

START_S = 20.0
"""For the child to load OpenTelemetry, on a machine that is busy."""
SPARE_S = 1.0
"""After its deadline, for the child to say what became of it all; then it is killed."""
BACKLOG_BYTES = 256 * 1024 * 1024
"""A child that reads so much less than it is told has stopped; it always reads, whatever a collector does."""
READ_BYTES = 65_536
ENDED_EARLY = "the process that sends them ended early"
HEAD = struct.Struct("<I")


# --- what is said


@dataclass(frozen=True, slots=True)
class Opening:
    """The first thing that the child is told."""

    settings: Settings
    trace: RunTrace
    version: str
    private: Private | None
    header: RunHeader


@dataclass(frozen=True, slots=True)
class Closing:
    """The last, with the spans that stand above those of the requests."""

    above: tuple[SpanFacts, ...]


Call = tuple[str, Any]
"""What else: `begun` or `landed` with a ticket, `attempt` with a record, `over` with a request's key."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the child says. `refused`: why it could not begin; `outcome`: at the end."""

    pressure: float = 0.0
    delivery: Delivery | None = None
    refused: tuple[Problem, ...] = ()
    outcome: Outcome | None = None


def framed(message: object) -> bytes:
    packed = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return HEAD.pack(len(packed)) + packed


def unframed(held: bytearray) -> Iterator[Any]:
    """The whole messages at the front of what came; they are taken off it."""
    while len(held) >= HEAD.size:
        end = HEAD.size + HEAD.unpack_from(held)[0]
        if len(held) < end:
            return
        packed = bytes(held[HEAD.size : end])
        del held[:end]
        yield pickle.loads(packed)  # noqa: S301  # from our own child, or to it


# --- the parent's side


class Apart:
    """What the engine's telemetry is while a run goes on, as `Session` and its `live` are; `close` ends it."""

    def __init__(self, settings: Settings, trace: RunTrace, version: str, private: Private | None = None) -> None:
        """Starts the child, which loads what it needs while the caller goes on. Raises ConfigError, as Session."""
        self._settings = settings
        self._trace = trace
        self._version = version
        self._private = private if settings.content != "NO_CONTENT" else None
        self._carrier: Carrier = make_carrier(self._sampled) if settings.propagate else no_carrier
        self._maker = _maker() if settings.traces != "none" else None
        self._header: RunHeader | None = None
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._heard = bytearray()
        self._status = Status()
        self._gone = False
        self._outcome: Outcome | None = None
        self._child = subprocess.Popen(
            [sys.executable, "-m", "streambench.telemetry"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the run's, which may drain first
            bufsize=0,
        )
        self._down, self._up = (cast(IO[bytes], pipe) for pipe in (self._child.stdin, self._child.stdout))
        for pipe in (self._down, self._up):
            os.set_blocking(pipe.fileno(), False)

    @property
    def live(self) -> Apart:
        return self

    # --- on the event loop

    @property
    def wants_text(self) -> bool:
        return self._private is not None

    def carrier(self, trace_id: str, span_id: str) -> Mapping[str, str]:
        return self._carrier(trace_id, span_id)

    def opened(self, header: RunHeader) -> None:
        """Waits until the child is ready. Raises ConfigError for what it cannot use."""
        self._header = header
        self._trace = header.trace or self._trace
        self._say(Opening(self._settings, self._trace, self._version, self._private, header))
        before = self._status
        self._exchange_until(lambda: self._status is not before, START_S)
        if self._status.refused:
            refused = self._status.refused
            self._end_child()
            raise ConfigError(list(refused))

    def begun(self, ticket: Ticket) -> None:
        self._say(("begun", ticket))

    def landed(self, ticket: Ticket) -> None:
        self._say(("landed", ticket))

    def attempt(self, record: AttemptRecord) -> None:
        self._say(("attempt", record))

    def over(self, record: AttemptRecord) -> None:
        self._say(("over", (record.ticket.phase, record.ticket.seq)))

    def held_ns(self) -> int:
        """By what was heard last; where nobody sends any more, nothing is held back."""
        self._exchange()
        return HOLD_NS if self._status.pressure > CROWDED and not self._gone else 0

    # --- after the run

    def close(self, records: Sequence[AttemptRecord], end: RunEnd | None) -> Outcome | None:
        """Has the child send what is left, for the settings' deadline at most. None where nothing was ever opened."""
        if self._header is None:
            self._end_child()
            return None
        if self._outcome is None:
            above = tuple(run_spans(about_run(self._header, self._settings.compat), records, end))
            self._say(Closing(above))
            self._exchange_until(lambda: self._status.outcome is not None, self._settings.deadline_s + SPARE_S)
            self._outcome = self._status.outcome or self._guessed(len(final_attempts(records)) + len(above))
            self._end_child()
        return self._outcome

    def _guessed(self, spans: int) -> Outcome:
        """The child did not live to its end: nothing but what it had confirmed before counts as delivered."""
        told = self._status.delivery or Delivery(0, 0, 0, 0)
        ended = max(spans, told.ended)
        delivery = replace(told, ended=ended, failed=ended - told.delivered, waiting=0, last_error=ENDED_EARLY)
        return Outcome(delivery, fault=ENDED_EARLY)

    def _end_child(self) -> None:
        self._gone = True
        self._child.kill()
        self._child.wait()
        self._down.close()
        self._up.close()

    def _sampled(self, trace_id: str) -> bool:
        """As the child's sampler will say: it is the same, from the same environment."""
        return self._maker is None or is_kept(self._maker.sampled, trace_id, self._trace)

    # --- the pipes: nothing here raises, and nothing but `_exchange_until` waits

    def _say(self, message: Opening | Closing | Call) -> None:
        if self._gone:
            return
        packed = framed(message)
        self._unsent.append(packed)
        self._unsent_bytes += len(packed)
        self._exchange()
        self._gone = self._gone or self._unsent_bytes > BACKLOG_BYTES

    def _exchange(self) -> None:
        """Writes what the pipe takes, and takes what it has."""
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
        read = os.read(self._up.fileno(), READ_BYTES)  # raises BlockingIOError where there is nothing
        if not read:
            raise EOFError
        self._heard += read
        for status in unframed(self._heard):
            self._status = status

    def _exchange_until(self, done: Callable[[], bool], patience_s: float) -> None:
        now_ns = MonotonicClock().now_ns
        until_ns = now_ns() + int(patience_s * NS)
        while not done() and not self._gone and (left_ns := until_ns - now_ns()) > 0:
            wanting = [self._down.fileno()] if self._unsent else []
            select.select([self._up.fileno()], wanting, [], left_ns / NS)
            self._exchange()


def open_session(settings: Settings, trace: RunTrace, version: str, private: Private | None = None) -> Session | Apart:
    """Apart wherever that can be. Raises ConfigError for what of the environment cannot be used."""
    return (Apart if _can_be_apart(settings) else Session)(settings, trace, version, private)


def _can_be_apart(settings: Settings) -> bool:
    """An installed provider is in this process, and so is the console; and somebody may have embedded Python."""
    sends = "otlp" in (settings.traces, settings.metrics)
    prints = "console" in (settings.traces, settings.metrics)
    return sends and not prints and bool(sys.executable) and not provider_installed()


def _maker() -> SpanMaker | None:
    """For its sampler alone."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer(names.SCOPE)
    return SpanMaker(tracer) if isinstance(tracer, Tracer) else None

"""From facts to OpenTelemetry: the one way by which spans, metrics and content leave, counted and with a deadline.

Where a provider is installed already (`opentelemetry-instrument`, or streambench as a library) it is used as it is.
Ours are installed nowhere, and registered nowhere at exit: what `close` leaves behind are daemon threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, Tracer, TracerProvider

from streambench.clock import NS, MonotonicClock
from streambench.errors import ConfigError, Problem
from streambench.telemetry import names
from streambench.telemetry.exporters import (
    TEXT_LIMIT,
    Ear,
    log_exporter,
    secrets_of,
    sender,
    span_exporter,
)
from streambench.telemetry.facts import LogFacts, SpanFacts, SpanId, Value
from streambench.telemetry.hush import Hush
from streambench.telemetry.instruments import Metering, open_metering
from streambench.telemetry.outbox import Limits, Outbox, Tally
from streambench.telemetry.points import Observation
from streambench.telemetry.settings import Settings
from streambench.telemetry.spans import SpanMaker, attributes_bytes, cleaned, context_of, span_bytes

MIB = 1024 * 1024
BATCH_BYTES = 3 * MIB
"""gRPC servers refuse messages of more than 4 MiB; the rest is for what an estimate misses."""
QUEUE = 24_576
"""A burst of 20,000 fits even where nothing of it can be sent meanwhile."""
FAILING_QUEUE = 8_192
"""80 s of 100 requests/s, for a collector that starts anew: 60 MB, as a span of a run takes 7.5 kB of memory."""
BATCH = 512
BACKLOG_BATCH = 2_048
"""Half a second an answer, which is slow, is then 4,096 spans a second; the bytes stay bounded as ever."""
DELAY_MS = 500
LOG_QUEUE = 2_048
LOG_BYTES = 500
GRACE_S = 0.1
"""For the parts to write down, at the deadline, what they have not sent."""
RUN_ID = "streambench.run.id"
EVENTS = frozenset({"EVENT_ONLY", "SPAN_AND_EVENT"})


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of the spans. `failed` is an upper bound: a collector may have kept what it did not confirm."""

    ended: int
    delivered: int
    failed: int
    waiting: int
    unsampled: int = 0
    """Not among `ended`: the sampler wanted none of them."""
    last_error: str | None = None
    """The newest thing that went wrong, also where another try then succeeded: one short line, masked."""
    known: bool = True
    """False where an installed provider took the spans: it tells nobody what it did with them."""

    @property
    def lost(self) -> int:
        """Pushed out of a full queue, or come after the end."""
        return self.ended - self.delivered - self.failed - self.waiting if self.known else 0


class Pipeline:
    """Takes facts from any thread, blocks nobody, raises nothing. Made by `open_pipeline`."""

    def __init__(self, traces: Tracing | None, metering: Metering | None, logs: Logging | None, hush: Hush) -> None:
        self._traces = traces
        self._metering = metering
        self._logs = logs
        self._hush = hush
        self._final: Delivery | None = None

    @property
    def has_traces(self) -> bool:
        """Whether spans go anywhere."""
        return self._traces is not None

    def emit(self, span: SpanFacts) -> None:
        """Sends a span on its way; nothing where traces go nowhere."""
        if self._traces is not None:
            self._traces.emit(span)

    def record(self, observation: Observation) -> None:
        """Adds a request to the metrics; nothing where they go nowhere."""
        if self._metering is not None:
            self._metering.instruments.record(observation)

    def active(self, change: int, attributes: Mapping[str, Value]) -> None:
        """One request more on the wire, or one less."""
        if self._metering is not None:
            self._metering.instruments.active(change, attributes)

    def log(self, facts: LogFacts) -> None:
        """Sends the content of a request, only where the settings ask for events and say where to."""
        if self._logs is not None:
            self._logs.emit(facts)

    def sampled(self, trace_id: str, name: str = names.RUN_SPAN, parent: SpanId | None = None) -> bool:
        """Whether the sampler wants a trace that begins with a span of this name; False where traces go nowhere."""
        return self._traces is not None and self._traces.maker.sampled(trace_id, name, parent)

    @property
    def pressure(self) -> float:
        """The caller holds new requests back above 0.75; see `Outbox.pressure`. 0 where the queue is not ours."""
        return 0.0 if self._traces is None or self._traces.outbox is None else self._traces.outbox.pressure

    @property
    def delivery(self) -> Delivery:
        """What became of the spans so far; after `close`, for good."""
        if self._final is not None:
            return self._final
        return Delivery(0, 0, 0, 0) if self._traces is None else self._traces.delivery(self._hush.last)

    @property
    def metrics_error(self) -> str | None:
        """Why the newest export of metrics failed, masked; None where it did not."""
        return None if self._metering is None else self._metering.error

    @property
    def logged(self) -> Tally:
        """What became of the log records."""
        return Tally(0, 0, 0, 0) if self._logs is None else self._logs.outbox.tally

    def close(self, deadline_s: float) -> Delivery:
        """Sends what is left, for `deadline_s` at most, whatever a collector does. A second call changes nothing."""
        if self._final is None:
            parts = [part.close for part in (self._traces, self._metering, self._logs) if part is not None]
            threads = [_started(close, deadline_s) for close in parts]
            _join(threads, deadline_s + GRACE_S)
            self._final = self.delivery
            self._stop_hushing(threads)
        return self._final

    def _stop_hushing(self, threads: list[threading.Thread]) -> None:
        """At once, or when the last request that could still complain has ended."""
        boxes = [part.outbox for part in (self._traces, self._logs) if part is not None]
        parts = [part for part in (*boxes, self._metering) if part is not None]
        if any(part.busy for part in parts) or any(thread.is_alive() for thread in threads):
            _started(_wait_and_stop, self._hush, [*threads, *parts])
        else:
            self._hush.stop()


def provider_installed() -> bool:
    """Whether somebody's tracer provider takes our spans."""
    return isinstance(trace.get_tracer_provider(), TracerProvider)


def open_pipeline(
    settings: Settings, *, run_id: str, version: str, resource: Mapping[str, str] | None = None
) -> Pipeline:
    """Providers, exporters and queues for these settings; their threads begin to run.

    `resource` adds to what the environment says of the resource, and wins over it. Raises ConfigError where an `OTEL_*`
    variable has a value that the SDK cannot read, a certificate cannot be read, or gRPC is asked for without its extra.
    """
    whole = _resource(settings, run_id, version, resource or {})
    secrets = secrets_of(settings.traces_to) | secrets_of(settings.metrics_to) | secrets_of(settings.logs_to)
    hush = Hush(secrets, TEXT_LIMIT)
    with ExitStack() as undo:
        hush.start()
        undo.callback(hush.stop)
        try:
            metering = open_metering(settings, whole, version, Ear("metrics", secrets))
            undo.callback(_close, metering)
            traces = _open_tracing(settings, whole, version, Ear("spans", secrets))
            undo.callback(_close, traces)
            logs = _open_logging(settings, whole, version, Ear("logs", secrets))
        except ValueError as error:
            raise ConfigError([Problem(str(error), where="OTEL_* variables")]) from error
        undo.pop_all()
    return Pipeline(traces, metering, logs, hush)


def _close(part: Tracing | Metering | None) -> None:
    if part is not None:
        part.close(GRACE_S)


# --- traces


class Tracing:
    """Spans by one tracer. `outbox` and `ear` are None with an installed provider, which has its own."""

    def __init__(
        self,
        maker: SpanMaker,
        provider: TracerProvider,
        outbox: Outbox[ReadableSpan] | None = None,
        ear: Ear | None = None,
        stop: Callable[[], None] | None = None,
    ) -> None:
        self.maker = maker
        self.outbox = outbox
        self._provider = provider
        self._ear = ear
        self._stop = stop
        self._lock = threading.Lock()
        self._handed = self._unsampled = 0

    def emit(self, span: SpanFacts) -> None:
        wanted = span.id.sampled and self.maker.make(span)
        with self._lock:
            self._handed += wanted
            self._unsampled += not wanted

    def delivery(self, logged: str | None) -> Delivery:
        with self._lock:
            handed, unsampled = self._handed, self._unsampled
        if self.outbox is None or self._ear is None:
            return Delivery(handed, 0, 0, 0, unsampled, logged, known=False)
        tally = self.outbox.tally
        error = self._ear.error or (logged if tally.failed else None)
        return Delivery(tally.ended, tally.delivered, tally.failed, tally.waiting, unsampled, error)

    def close(self, deadline_s: float) -> None:
        if self.outbox is None:
            self._provider.force_flush(int(deadline_s * 1000))
        else:
            self.outbox.close(deadline_s)
        self.maker.release()
        if self._stop is not None and self._ear is not None:
            self._ear.close()  # what breaks off now is no news
            self._stop()


class _SpansToOutbox(SpanProcessor):
    def __init__(self, outbox: Outbox[ReadableSpan]) -> None:
        self._outbox = outbox

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self._outbox.put(span)


def _open_tracing(settings: Settings, resource: Resource, version: str, ear: Ear) -> Tracing | None:
    installed = trace.get_tracer_provider()
    if isinstance(installed, TracerProvider):
        tracer = _tracer(installed, version)
        return None if tracer is None else Tracing(SpanMaker(tracer), installed)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracer = _tracer(provider, version)
    if settings.traces == "none" or tracer is None:
        return None
    exporter = span_exporter(settings.traces, settings.traces_to, ear)
    outbox = Outbox(
        sender(exporter.export, ear),
        span_bytes,
        _limits(QUEUE, settings.deadline_s),
        "streambench-spans",
    )
    provider.add_span_processor(_SpansToOutbox(outbox))
    return Tracing(SpanMaker(tracer), provider, outbox, ear, exporter.shutdown)


def _tracer(provider: TracerProvider, version: str) -> Tracer | None:
    """None where the SDK is disabled."""
    tracer = provider.get_tracer(names.SCOPE, version, names.SCHEMA_URL)
    return tracer if isinstance(tracer, Tracer) else None


# --- content


class Logging:
    """Log records, by a provider of our own."""

    def __init__(
        self,
        provider: LoggerProvider,
        outbox: Outbox[ReadableLogRecord],
        version: str,
        stop: Callable[[], None],
    ) -> None:
        self.outbox = outbox
        self._stop = stop
        self._logger = provider.get_logger(names.SCOPE, version, names.SCHEMA_URL)

    def emit(self, facts: LogFacts) -> None:
        self._logger.emit(
            timestamp=facts.at_ns,
            observed_timestamp=facts.at_ns,
            context=context_of(facts.of),
            event_name=facts.name,
            attributes=cleaned(facts.attributes),
        )

    def close(self, deadline_s: float) -> None:
        self.outbox.close(deadline_s)
        self._stop()


class _LogsToOutbox(LogRecordProcessor):
    def __init__(self, outbox: Outbox[ReadableLogRecord]) -> None:
        self._outbox = outbox

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        resource = log_record.resource or Resource.get_empty()
        scope = log_record.instrumentation_scope
        self._outbox.put(ReadableLogRecord(log_record.log_record, resource, scope, log_record.limits))

    def shutdown(self) -> None:
        """Nothing: `Logging.close` does it, in time."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        return True


def _open_logging(settings: Settings, resource: Resource, version: str, ear: Ear) -> Logging | None:
    if settings.logs_to is None or settings.content not in EVENTS:
        return None
    exporter = log_exporter(settings.logs_to, ear)
    limits = _limits(LOG_QUEUE, settings.deadline_s)
    outbox = Outbox(sender(exporter.export, ear), _log_bytes, limits, "streambench-logs")
    provider = LoggerProvider(resource, shutdown_on_exit=False)
    provider.add_log_record_processor(_LogsToOutbox(outbox))
    return Logging(provider, outbox, version, exporter.shutdown)


def _log_bytes(record: ReadableLogRecord) -> int:
    return LOG_BYTES + attributes_bytes(record.log_record.attributes)


# --- what the environment says


def _resource(settings: Settings, run_id: str, version: str, given: Mapping[str, str]) -> Resource:
    detected = dict(Resource.create({}).attributes)
    if str(detected.get("service.name", "")).startswith("unknown_service"):  # the SDK's own word for nothing given
        del detected["service.name"]
    ours = {"service.name": names.SERVICE, "service.version": version}
    if "openinference" in settings.compat:
        ours["openinference.project.name"] = names.SERVICE
    return Resource({**ours, **detected, **given, RUN_ID: run_id})


def _limits(queue: int, drain_s: float) -> Limits:
    """The user's OTEL_BSP_* win; a value that makes no sense counts as none."""
    size = _whole("OTEL_BSP_MAX_QUEUE_SIZE", queue)
    batch = min(_whole("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH), size)
    backlog = min(_whole("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BACKLOG_BATCH), size)
    delay_s = _whole("OTEL_BSP_SCHEDULE_DELAY", DELAY_MS) / 1000
    failing = size if "OTEL_BSP_MAX_QUEUE_SIZE" in os.environ else min(size, FAILING_QUEUE)
    return Limits(size, failing, batch, backlog, BATCH_BYTES, delay_s, drain_s)


def _whole(variable: str, otherwise: int) -> int:
    try:
        return max(int(os.environ[variable]), 0) or otherwise
    except (KeyError, ValueError):
        return otherwise


# --- the end


def _started(work: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def _join(threads: list[threading.Thread], deadline_s: float) -> None:
    clock = MonotonicClock()
    until_ns = clock.now_ns() + int(deadline_s * NS)
    for thread in threads:
        thread.join(max(0.0, (until_ns - clock.now_ns()) / NS))


def _wait_and_stop(hush: Hush, ending: Sequence[threading.Thread | Metering | Outbox[Any]]) -> None:
    for each in ending:
        each.join()
    hush.stop()

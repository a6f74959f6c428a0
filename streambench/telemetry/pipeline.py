"""Passes spans, metrics and content to OpenTelemetry, counted and with a deadline. All telemetry leaves through it.

A provider that is already installed (`opentelemetry-instrument`, or streambench as a library) is used unchanged. The
providers that streambench creates are not installed and have no exit handlers; `close` leaves only daemon threads.
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
from streambench.telemetry import semconv
from streambench.telemetry.batch_queue import BatchQueue, QueueCounters, QueueLimits
from streambench.telemetry.exporters import (
    TEXT_LIMIT,
    CollectorReplies,
    log_exporter,
    secrets_of,
    sender,
    span_exporter,
)
from streambench.telemetry.log_capture import LogCapture
from streambench.telemetry.measurements import Observation
from streambench.telemetry.otel_metrics import Metering, open_metering
from streambench.telemetry.sdk_spans import SpanMaker, attributes_bytes, cleaned, context_of, span_bytes
from streambench.telemetry.settings import TelemetrySettings
from streambench.telemetry.span_model import LogFacts, SpanFacts, SpanId, Value

MIB = 1024 * 1024
BATCH_BYTES = 3 * MIB
"""gRPC servers refuse messages of more than 4 MiB; the margin covers errors of the estimate."""
QUEUE = 24_576
"""A burst of 20,000 spans fits even if none can be sent meanwhile."""
FAILING_QUEUE = 8_192
"""80 s of 100 requests/s, enough for a collector to restart. 60 MB, since a span of a run takes 7.5 kB of memory."""
BATCH = 512
BACKLOG_BATCH = 2_048
"""A slow collector (half a second a reply) then takes 4,096 spans a second. BATCH_BYTES limits these batches too."""
DELAY_MS = 500
LOG_QUEUE = 2_048
LOG_BYTES = 500
GRACE_S = 0.1
"""The time after the deadline in which the parts count what they have not sent."""
RUN_ID = "streambench.run.id"
EVENTS = frozenset({"EVENT_ONLY", "SPAN_AND_EVENT"})


@dataclass(frozen=True, slots=True)
class Delivery:
    """Counts of spans. `failed` is an upper bound: a collector may have kept spans that it did not confirm."""

    ended: int
    delivered: int
    failed: int
    waiting: int
    unsampled: int = 0
    """Spans that were not sampled; not counted in `ended`."""
    last_error: str | None = None
    """The newest error, even if a retry then succeeded: one short masked line."""
    known: bool = True
    """False if an installed provider took the spans, since it does not report what became of them."""

    @property
    def lost(self) -> int:
        """Spans that were pushed out of a full queue, or came after `close`."""
        return self.ended - self.delivered - self.failed - self.waiting if self.known else 0


class Pipeline:
    """Takes spans, log records and observations from any thread, and neither blocks nor raises. See `open_pipeline`."""

    def __init__(
        self, traces: Tracing | None, metering: Metering | None, logs: Logging | None, log_capture: LogCapture
    ) -> None:
        self._traces = traces
        self._metering = metering
        self._logs = logs
        self._log_capture = log_capture
        self._final: Delivery | None = None

    @property
    def has_traces(self) -> bool:
        """True if spans are exported."""
        return self._traces is not None

    def emit(self, span: SpanFacts) -> None:
        """Creates a span and queues it; does nothing if traces are off."""
        if self._traces is not None:
            self._traces.emit(span)

    def record(self, observation: Observation) -> None:
        """Adds a request to the metrics; does nothing if metrics are off."""
        if self._metering is not None:
            self._metering.instruments.record(observation)

    def active(self, change: int, attributes: Mapping[str, Value]) -> None:
        """Changes the number of requests in flight by `change`."""
        if self._metering is not None:
            self._metering.instruments.active(change, attributes)

    def log(self, facts: LogFacts) -> None:
        """Queues the content of a request; does nothing unless the settings ask for events and name an endpoint."""
        if self._logs is not None:
            self._logs.emit(facts)

    def sampled(self, trace_id: str, name: str = semconv.RUN_SPAN, parent: SpanId | None = None) -> bool:
        """True if the sampler keeps a trace that begins with a span of this name; False if traces are off."""
        return self._traces is not None and self._traces.maker.sampled(trace_id, name, parent)

    @property
    def pressure(self) -> float:
        """See `BatchQueue.pressure`; the caller delays new requests above 0.75. 0 without a queue of streambench."""
        return 0.0 if self._traces is None or self._traces.outbox is None else self._traces.outbox.pressure

    @property
    def delivery(self) -> Delivery:
        """The counts of spans so far; after `close`, the final ones."""
        if self._final is not None:
            return self._final
        return Delivery(0, 0, 0, 0) if self._traces is None else self._traces.delivery(self._log_capture.last)

    @property
    def metrics_error(self) -> str | None:
        """Why the newest export of metrics failed, masked; None if it did not."""
        return None if self._metering is None else self._metering.error

    @property
    def logged(self) -> QueueCounters:
        """The counts of log records so far."""
        return QueueCounters(0, 0, 0, 0) if self._logs is None else self._logs.outbox.counters

    def close(self, deadline_s: float) -> Delivery:
        """Sends what is left, for at most `deadline_s` whatever a collector does. Later calls return the counts."""
        if self._final is None:
            parts = [part.close for part in (self._traces, self._metering, self._logs) if part is not None]
            threads = [_started(close, deadline_s) for close in parts]
            _join(threads, deadline_s + GRACE_S)
            self._final = self.delivery
            self._stop_log_capture(threads)
        return self._final

    def _stop_log_capture(self, threads: list[threading.Thread]) -> None:
        """Stops the log capture at once, or when the last request that could still log has ended."""
        boxes = [part.outbox for part in (self._traces, self._logs) if part is not None]
        parts = [part for part in (*boxes, self._metering) if part is not None]
        if any(part.busy for part in parts) or any(thread.is_alive() for thread in threads):
            _started(_wait_and_stop, self._log_capture, [*threads, *parts])
        else:
            self._log_capture.stop()


def provider_installed() -> bool:
    """True if a tracer provider is installed, which then takes streambench's spans."""
    return isinstance(trace.get_tracer_provider(), TracerProvider)


def open_pipeline(
    settings: TelemetrySettings, *, run_id: str, version: str, resource: Mapping[str, str] | None = None
) -> Pipeline:
    """Creates providers, exporters and queues for these settings, and starts their threads.

    `resource` adds attributes to those of the environment and overrides them. Raises ConfigError if the SDK cannot read
    an `OTEL_*` variable, a certificate cannot be read, or gRPC is requested without its extra.
    """
    whole = _resource(settings, run_id, version, resource or {})
    secrets = secrets_of(settings.traces_to) | secrets_of(settings.metrics_to) | secrets_of(settings.logs_to)
    log_capture = LogCapture(secrets, TEXT_LIMIT)
    with ExitStack() as undo:
        log_capture.start()
        undo.callback(log_capture.stop)
        try:
            metering = open_metering(settings, whole, version, CollectorReplies("metrics", secrets))
            undo.callback(_close, metering)
            traces = _open_tracing(settings, whole, version, CollectorReplies("spans", secrets))
            undo.callback(_close, traces)
            logs = _open_logging(settings, whole, version, CollectorReplies("logs", secrets))
        except ValueError as error:
            raise ConfigError([Problem(str(error), where="OTEL_* variables")]) from error
        undo.pop_all()
    return Pipeline(traces, metering, logs, log_capture)


def _close(part: Tracing | Metering | None) -> None:
    if part is not None:
        part.close(GRACE_S)


# --- traces


class Tracing:
    """Creates spans with one tracer. An installed provider exports itself; then `outbox` and `replies` are None."""

    def __init__(
        self,
        maker: SpanMaker,
        provider: TracerProvider,
        outbox: BatchQueue[ReadableSpan] | None = None,
        replies: CollectorReplies | None = None,
        stop: Callable[[], None] | None = None,
    ) -> None:
        self.maker = maker
        self.outbox = outbox
        self._provider = provider
        self._replies = replies
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
        if self.outbox is None or self._replies is None:
            return Delivery(handed, 0, 0, 0, unsampled, logged, known=False)
        counters = self.outbox.counters
        error = self._replies.error or (logged if counters.failed else None)
        return Delivery(counters.ended, counters.delivered, counters.failed, counters.waiting, unsampled, error)

    def close(self, deadline_s: float) -> None:
        if self.outbox is None:
            self._provider.force_flush(int(deadline_s * 1000))
        else:
            self.outbox.close(deadline_s)
        self.maker.release()
        if self._stop is not None and self._replies is not None:
            self._replies.close()  # requests cancelled from here on are not errors
            self._stop()


class _SpansToOutbox(SpanProcessor):
    def __init__(self, outbox: BatchQueue[ReadableSpan]) -> None:
        self._outbox = outbox

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self._outbox.put(span)


def _open_tracing(
    settings: TelemetrySettings, resource: Resource, version: str, replies: CollectorReplies
) -> Tracing | None:
    installed = trace.get_tracer_provider()
    if isinstance(installed, TracerProvider):
        tracer = _tracer(installed, version)
        return None if tracer is None else Tracing(SpanMaker(tracer), installed)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracer = _tracer(provider, version)
    if settings.traces == "none" or tracer is None:
        return None
    exporter = span_exporter(settings.traces, settings.traces_to, replies)
    outbox = BatchQueue(
        sender(exporter.export, replies),
        span_bytes,
        _limits(QUEUE, settings.deadline_s),
        "streambench-spans",
    )
    provider.add_span_processor(_SpansToOutbox(outbox))
    return Tracing(SpanMaker(tracer), provider, outbox, replies, exporter.shutdown)


def _tracer(provider: TracerProvider, version: str) -> Tracer | None:
    """Returns None if the SDK is disabled."""
    tracer = provider.get_tracer(semconv.SCOPE, version, semconv.SCHEMA_URL)
    return tracer if isinstance(tracer, Tracer) else None


# --- content


class Logging:
    """Creates log records with a provider that streambench created."""

    def __init__(
        self,
        provider: LoggerProvider,
        outbox: BatchQueue[ReadableLogRecord],
        version: str,
        stop: Callable[[], None],
    ) -> None:
        self.outbox = outbox
        self._stop = stop
        self._logger = provider.get_logger(semconv.SCOPE, version, semconv.SCHEMA_URL)

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
    def __init__(self, outbox: BatchQueue[ReadableLogRecord]) -> None:
        self._outbox = outbox

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        resource = log_record.resource or Resource.get_empty()
        scope = log_record.instrumentation_scope
        self._outbox.put(ReadableLogRecord(log_record.log_record, resource, scope, log_record.limits))

    def shutdown(self) -> None:
        """Does nothing: `Logging.close` closes the queue, with a deadline."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        return True


def _open_logging(
    settings: TelemetrySettings, resource: Resource, version: str, replies: CollectorReplies
) -> Logging | None:
    if settings.logs_to is None or settings.content not in EVENTS:
        return None
    exporter = log_exporter(settings.logs_to, replies)
    limits = _limits(LOG_QUEUE, settings.deadline_s)
    outbox = BatchQueue(sender(exporter.export, replies), _log_bytes, limits, "streambench-logs")
    provider = LoggerProvider(resource, shutdown_on_exit=False)
    provider.add_log_record_processor(_LogsToOutbox(outbox))
    return Logging(provider, outbox, version, exporter.shutdown)


def _log_bytes(record: ReadableLogRecord) -> int:
    return LOG_BYTES + attributes_bytes(record.log_record.attributes)


# --- from the environment


def _resource(settings: TelemetrySettings, run_id: str, version: str, given: Mapping[str, str]) -> Resource:
    detected = dict(Resource.create({}).attributes)
    if str(detected.get("service.name", "")).startswith("unknown_service"):  # the SDK's default name
        del detected["service.name"]
    ours = {"service.name": semconv.SERVICE, "service.version": version}
    if "openinference" in settings.compat:
        ours["openinference.project.name"] = semconv.SERVICE
    return Resource({**ours, **detected, **given, RUN_ID: run_id})


def _limits(queue: int, drain_s: float) -> QueueLimits:
    """Returns the limits. OTEL_BSP_* variables override the defaults; one that is not a positive integer is ignored."""
    size = _whole("OTEL_BSP_MAX_QUEUE_SIZE", queue)
    batch = min(_whole("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH), size)
    backlog = min(_whole("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BACKLOG_BATCH), size)
    delay_s = _whole("OTEL_BSP_SCHEDULE_DELAY", DELAY_MS) / 1000
    failing = size if "OTEL_BSP_MAX_QUEUE_SIZE" in os.environ else min(size, FAILING_QUEUE)
    return QueueLimits(size, failing, batch, backlog, BATCH_BYTES, delay_s, drain_s)


def _whole(variable: str, otherwise: int) -> int:
    try:
        return max(int(os.environ[variable]), 0) or otherwise
    except (KeyError, ValueError):
        return otherwise


# --- closing


def _started(work: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def _join(threads: list[threading.Thread], deadline_s: float) -> None:
    clock = MonotonicClock()
    until_ns = clock.now_ns() + int(deadline_s * NS)
    for thread in threads:
        thread.join(max(0.0, (until_ns - clock.now_ns()) / NS))


def _wait_and_stop(log_capture: LogCapture, ending: Sequence[threading.Thread | Metering | BatchQueue[Any]]) -> None:
    for each in ending:
        each.join()
    log_capture.stop()

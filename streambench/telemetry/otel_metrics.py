"""Records ended requests with the metrics of `semconv.INSTRUMENTS`.

Bucket boundaries are given as advice, not by views, so that a user who prefers exponential histograms gets them.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram, Meter, UpDownCounter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from streambench.clock import NS
from streambench.telemetry import semconv
from streambench.telemetry.batch_queue import PATIENCE_S
from streambench.telemetry.exporters import CollectorReplies, metric_exporter
from streambench.telemetry.gap_histogram import GapReader, GapStore
from streambench.telemetry.measurements import Observation
from streambench.telemetry.sdk_spans import cleaned, context_of
from streambench.telemetry.semconv import Instrument
from streambench.telemetry.settings import TelemetrySettings
from streambench.telemetry.span_model import Value

INTERVAL_MS = 10_000.0
"""The SDK's default is one minute. A run of two minutes would then have two points: too few for a rate."""
INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
AGGREGATION = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"

Labels = Mapping[str, Value]


class OtelInstruments:
    """Records requests with a meter. Gaps go into the GapStore if there is one, else into a histogram one by one."""

    def __init__(self, meter: Meter, wanted: semconv.MetricNames = "operation", gaps: GapStore | None = None) -> None:
        self._gaps = gaps
        self._wanted = wanted
        self._histograms: dict[str, list[Histogram]] = {}
        self._counters: dict[str, list[Counter]] = {}
        self._gauges: dict[str, list[UpDownCounter]] = {}
        for one in semconv.INSTRUMENTS.values():
            if one is not semconv.TIME_PER_OUTPUT_CHUNK or gaps is None:
                self._create(meter, one)

    def active(self, change: int, attributes: Labels) -> None:
        """Changes the number of requests in flight by `change`."""
        for gauge in self._gauges[semconv.ACTIVE.name]:
            gauge.add(change, cleaned(attributes))

    def record(self, seen: Observation) -> None:
        """Records all values of one request; its duration last, as GapReader requires."""
        labels = cleaned(seen.attributes)
        context = context_of(seen.span)
        failed = {} if seen.error_type is None else {semconv.ERROR_TYPE: seen.error_type}
        self._record_gaps(seen, labels, context)
        self._histogram(semconv.TIME_TO_FIRST_CHUNK, seen.ttfc_s, labels, context)
        self._histogram(semconv.TOKEN_USAGE, seen.input_tokens, {**labels, semconv.TOKEN_TYPE: "input"}, context)
        self._histogram(semconv.TOKEN_USAGE, seen.output_tokens, {**labels, semconv.TOKEN_TYPE: "output"}, context)
        self._histogram(semconv.OUTPUT_SPEED, seen.output_tok_s, labels, context)
        self._count(semconv.RETRIES, seen.retries, labels)
        self._count(semconv.REQUESTS, 1, {**labels, semconv.OUTCOME: seen.outcome, **failed})
        self._histogram(semconv.DURATION, seen.duration_s, {**labels, **failed}, context)

    def _record_gaps(self, seen: Observation, labels: Labels, context: Context) -> None:
        if self._gaps is not None:
            self._gaps.add(labels, seen.gaps_ns)
            return
        for gap_ns in seen.gaps_ns:
            self._histogram(semconv.TIME_PER_OUTPUT_CHUNK, float(gap_ns) / NS, labels, context)

    def _histogram(self, one: Instrument, value: float | None, labels: Labels, context: Context) -> None:
        if value is not None:
            for histogram in self._histograms[one.name]:
                histogram.record(value, labels, context)

    def _count(self, one: Instrument, number: int, labels: Labels) -> None:
        if number:
            for counter in self._counters[one.name]:
                counter.add(number, labels)

    def _create(self, meter: Meter, one: Instrument) -> None:
        for name in one.names(self._wanted):
            if one.kind == "histogram":
                made = meter.create_histogram(
                    name, one.unit, one.description, explicit_bucket_boundaries_advisory=one.boundaries
                )
                self._histograms.setdefault(one.name, []).append(made)
            elif one.kind == "counter":
                self._counters.setdefault(one.name, []).append(meter.create_counter(name, one.unit, one.description))
            else:
                gauge = meter.create_up_down_counter(name, one.unit, one.description)
                self._gauges.setdefault(one.name, []).append(gauge)


class Metering:
    """Where metrics go: an installed provider, which is flushed but not shut down, or one that streambench created."""

    def __init__(
        self,
        provider: MeterProvider,
        instruments: OtelInstruments,
        replies: CollectorReplies | None = None,
        reader: GapReader | None = None,
    ) -> None:
        self._provider = provider
        self._replies = replies
        self._reader = reader
        self.instruments = instruments

    @property
    def error(self) -> str | None:
        """Why the newest export failed; None if it did not fail or its result is unknown."""
        outcome = self._replies.last if self._replies is not None else None
        return self._replies.error if self._replies is not None and outcome is not None and not outcome.taken else None

    @property
    def busy(self) -> bool:
        """True if an export is in progress."""
        return self._reader is not None and self._reader.exporting.locked()

    def join(self) -> None:
        """Waits for an export that is in progress, without a time limit."""
        if self._reader is not None:
            with self._reader.exporting:
                pass

    def close(self, deadline_s: float) -> None:
        """Exports a last time, for at most `deadline_s`; for at most PATIENCE_S if every export so far failed.

        An export cannot be cancelled: after that it goes on in a daemon thread.
        """
        ending = threading.Thread(target=self._end, args=(deadline_s,), daemon=True)
        ending.start()
        ending.join(min(deadline_s, PATIENCE_S))
        if self._replies is None or not self._replies.hopeless:
            ending.join(max(0.0, deadline_s - PATIENCE_S))

    def _end(self, deadline_s: float) -> None:
        end = self._provider.force_flush if self._replies is None else self._provider.shutdown
        with suppress(Exception):  # the SDK raises if a reader was too slow; the caller reads `error`
            end(deadline_s * 1000)


def open_metering(
    settings: TelemetrySettings, resource: Resource, version: str, replies: CollectorReplies
) -> Metering | None:
    """Returns None if metrics are off and no provider is installed.

    Raises ValueError if the SDK cannot read an environment variable.
    """
    installed = metrics.get_meter_provider()
    if isinstance(installed, MeterProvider):
        return Metering(installed, OtelInstruments(_meter(installed, version), settings.metric_names))
    if settings.metrics == "none":
        return None
    gaps = None if _wants_exponential() else GapStore()
    exporter = metric_exporter(settings.metrics, settings.metrics_to, replies)
    reader = GapReader(exporter, gaps or GapStore(), settings.metric_names, _interval_ms())
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    return Metering(provider, OtelInstruments(_meter(provider, version), settings.metric_names, gaps), replies, reader)


def _meter(provider: MeterProvider, version: str) -> Meter:
    return provider.get_meter(semconv.SCOPE, version, semconv.SCHEMA_URL)


def _wants_exponential() -> bool:
    return os.environ.get(AGGREGATION, "").strip().lower() == "base2_exponential_bucket_histogram"


def _interval_ms() -> float:
    """Returns the interval of exports in ms; INTERVAL_MS if the variable is not set or not a usable number."""
    try:
        wanted = float(os.environ.get(INTERVAL, INTERVAL_MS))
    except ValueError:
        return INTERVAL_MS
    return wanted if 0 < wanted < sys.maxsize else INTERVAL_MS

"""The metrics of `names.INSTRUMENTS`: what each ended request adds to them.

Buckets are given as advice, not by views, so that a reader who prefers exponential histograms gets them.
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
from streambench.telemetry import names
from streambench.telemetry.exporters import Ear, metric_exporter
from streambench.telemetry.facts import Value
from streambench.telemetry.gaps import GapReader, GapStore
from streambench.telemetry.names import Instrument
from streambench.telemetry.outbox import PATIENCE_S
from streambench.telemetry.points import Observation
from streambench.telemetry.settings import Settings
from streambench.telemetry.spans import cleaned, context_of

INTERVAL_MS = 10_000.0
"""The SDK's own is a minute, which leaves two points of a run that lasts two: too few for any rate."""
INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
AGGREGATION = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"

Labels = Mapping[str, Value]


class Instruments:
    """Records requests with a meter; gaps go into a GapStore where there is one, else one by one."""

    def __init__(self, meter: Meter, wanted: names.MetricNames = "operation", gaps: GapStore | None = None) -> None:
        self._gaps = gaps
        self._wanted = wanted
        self._histograms: dict[str, list[Histogram]] = {}
        self._counters: dict[str, list[Counter]] = {}
        self._gauges: dict[str, list[UpDownCounter]] = {}
        for one in names.INSTRUMENTS.values():
            if one is not names.TIME_PER_OUTPUT_CHUNK or gaps is None:
                self._create(meter, one)

    def active(self, change: int, attributes: Labels) -> None:
        """One request more on the wire, or one less."""
        for gauge in self._gauges[names.ACTIVE.name]:
            gauge.add(change, cleaned(attributes))

    def record(self, seen: Observation) -> None:
        """All that one request adds; its duration comes last, see GapReader."""
        labels = cleaned(seen.attributes)
        context = context_of(seen.span)
        failed = {} if seen.error_type is None else {names.ERROR_TYPE: seen.error_type}
        self._record_gaps(seen, labels, context)
        self._histogram(names.TIME_TO_FIRST_CHUNK, seen.ttfc_s, labels, context)
        self._histogram(names.TOKEN_USAGE, seen.input_tokens, {**labels, names.TOKEN_TYPE: "input"}, context)
        self._histogram(names.TOKEN_USAGE, seen.output_tokens, {**labels, names.TOKEN_TYPE: "output"}, context)
        self._histogram(names.OUTPUT_SPEED, seen.output_tok_s, labels, context)
        self._count(names.RETRIES, seen.retries, labels)
        self._count(names.REQUESTS, 1, {**labels, names.OUTCOME: seen.outcome, **failed})
        self._histogram(names.DURATION, seen.duration_s, {**labels, **failed}, context)

    def _record_gaps(self, seen: Observation, labels: Labels, context: Context) -> None:
        if self._gaps is not None:
            self._gaps.add(labels, seen.gaps_ns)
            return
        for gap_ns in seen.gaps_ns:
            self._histogram(names.TIME_PER_OUTPUT_CHUNK, float(gap_ns) / NS, labels, context)

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
    """Where metrics go: an installed provider, which stays its owner's, or one of our own."""

    def __init__(
        self,
        provider: MeterProvider,
        instruments: Instruments,
        ear: Ear | None = None,
        reader: GapReader | None = None,
    ) -> None:
        self._provider = provider
        self._ear = ear
        self._reader = reader
        self.instruments = instruments

    @property
    def error(self) -> str | None:
        """Why the newest export failed; None where it did not, or nobody knows."""
        heard = self._ear.last if self._ear is not None else None
        return self._ear.error if self._ear is not None and heard is not None and not heard.taken else None

    @property
    def busy(self) -> bool:
        """Whether an export is still under way."""
        return self._reader is not None and self._reader.exporting.locked()

    def join(self) -> None:
        """Waits for an export that is under way, without limit."""
        if self._reader is not None:
            with self._reader.exporting:
                pass

    def close(self, deadline_s: float) -> None:
        """Exports a last time, for `deadline_s` at most, and PATIENCE_S where nothing was ever taken.

        An export cannot be broken off: it goes on in a thread that nobody waits for.
        """
        ending = threading.Thread(target=self._end, args=(deadline_s,), daemon=True)
        ending.start()
        ending.join(min(deadline_s, PATIENCE_S))
        if self._ear is None or not self._ear.hopeless:
            ending.join(max(0.0, deadline_s - PATIENCE_S))

    def _end(self, deadline_s: float) -> None:
        end = self._provider.force_flush if self._ear is None else self._provider.shutdown
        with suppress(Exception):  # the SDK raises where a reader was too slow; the caller reads `error`
            end(deadline_s * 1000)


def open_metering(settings: Settings, resource: Resource, version: str, ear: Ear) -> Metering | None:
    """None where no metrics are wanted and no provider is installed.

    Raises ValueError for a variable of the environment that the SDK cannot read.
    """
    installed = metrics.get_meter_provider()
    if isinstance(installed, MeterProvider):
        return Metering(installed, Instruments(_meter(installed, version), settings.metric_names))
    if settings.metrics == "none":
        return None
    gaps = None if _wants_exponential() else GapStore()
    exporter = metric_exporter(settings.metrics, settings.metrics_to, ear)
    reader = GapReader(exporter, gaps or GapStore(), settings.metric_names, _interval_ms())
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    return Metering(provider, Instruments(_meter(provider, version), settings.metric_names, gaps), ear, reader)


def _meter(provider: MeterProvider, version: str) -> Meter:
    return provider.get_meter(names.SCOPE, version, names.SCHEMA_URL)


def _wants_exponential() -> bool:
    return os.environ.get(AGGREGATION, "").strip().lower() == "base2_exponential_bucket_histogram"


def _interval_ms() -> float:
    """Milliseconds, as the variable has them; a value that is none is left to the SDK, which says so."""
    try:
        wanted = float(os.environ.get(INTERVAL, INTERVAL_MS))
    except ValueError:
        return INTERVAL_MS
    return wanted if 0 < wanted < sys.maxsize else INTERVAL_MS

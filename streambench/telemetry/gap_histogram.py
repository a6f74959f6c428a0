"""The histogram of gaps between chunks: counted here in batches, added to the SDK's metrics just before an export.

The SDK's `record` takes 10 us a gap, and each chunk has one; counting a request's gaps at once takes some 50 ns a gap.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricsData,
    PeriodicExportingMetricReader,
    ScopeMetrics,
)

from streambench.clock import NS, take_anchor
from streambench.telemetry.semconv import DURATION, SCOPE, TIME_PER_OUTPUT_CHUNK, MetricNames
from streambench.telemetry.span_model import Attributes, Value

BOUNDARIES = np.asarray(TIME_PER_OUTPUT_CHUNK.boundaries)


@dataclass(slots=True)
class _Series:
    """The gaps of one set of attributes since `since_ns`, in seconds. A bucket includes its upper boundary."""

    attributes: Mapping[str, Value]
    since_ns: int
    counts: np.ndarray[tuple[int], np.dtype[np.int64]]
    total: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")

    def add(self, gaps_s: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
        where = np.searchsorted(BOUNDARIES, gaps_s, side="left")
        self.counts += np.bincount(where, minlength=len(self.counts))
        self.total += float(gaps_s.sum())
        self.least = min(self.least, float(gaps_s.min()))
        self.most = max(self.most, float(gaps_s.max()))

    def point(self, time_ns: int) -> HistogramDataPoint:
        return HistogramDataPoint(
            attributes=dict(self.attributes),
            start_time_unix_nano=min(self.since_ns, time_ns),
            time_unix_nano=time_ns,
            count=int(self.counts.sum()),
            sum=self.total,
            bucket_counts=self.counts.tolist(),
            explicit_bounds=TIME_PER_OUTPUT_CHUNK.boundaries,
            min=self.least,
            max=self.most,
        )


class GapStore:
    """Gaps by set of attributes. `add` and `points` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[frozenset[tuple[str, Value]], _Series] = {}
        self._collected_ns: int | None = None

    def add(self, attributes: Attributes, gaps_ns: Sequence[int]) -> None:
        gaps_s = np.asarray(gaps_ns, dtype=np.float64) / NS
        if not gaps_s.size:
            return
        key = frozenset(attributes.items())
        with self._lock:
            if key not in self._series:
                since_ns = self._collected_ns or take_anchor().wall_ns
                counts = np.zeros(len(BOUNDARIES) + 1, dtype=np.int64)
                self._series[key] = _Series(dict(attributes), since_ns, counts)
            self._series[key].add(gaps_s)

    def points(self, temporality: AggregationTemporality, time_ns: int) -> list[HistogramDataPoint]:
        """Returns a point for each set of attributes, at `time_ns`. With delta temporality the store is then empty."""
        with self._lock:
            points = [series.point(time_ns) for series in self._series.values()]
            if temporality is AggregationTemporality.DELTA:
                self._series.clear()
                self._collected_ns = time_ns
            return points


class GapReader(PeriodicExportingMetricReader):
    """The SDK's periodic reader, which also exports the gaps, with the same time and temporality.

    Both are taken from the duration metric: each request records its duration after its gaps, so that metric exists
    whenever gaps do.
    """

    def __init__(self, exporter: MetricExporter, gaps: GapStore, wanted: MetricNames, interval_ms: float) -> None:
        self._gaps = gaps
        self._wanted = wanted
        self.exporting = threading.Lock()
        """Held during an export: the SDK's thread may still be exporting after `shutdown`."""
        super().__init__(exporter, export_interval_millis=interval_ms)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object) -> None:
        with self.exporting:
            super()._receive_metrics(self._with_gaps(metrics_data), timeout_millis, **kwargs)

    def _with_gaps(self, data: MetricsData) -> MetricsData:
        resources = [
            replace(each, scope_metrics=[self._scope(scope) for scope in each.scope_metrics])
            for each in data.resource_metrics
        ]
        return MetricsData(resources)

    def _scope(self, scope: ScopeMetrics) -> ScopeMetrics:
        durations = _durations(scope) if scope.scope.name == SCOPE else None
        if durations is None:
            return scope
        points = self._gaps.points(durations.aggregation_temporality, durations.data_points[0].time_unix_nano)
        if not points:
            return scope
        data = Histogram(points, durations.aggregation_temporality)
        one = TIME_PER_OUTPUT_CHUNK
        gaps = [Metric(name, one.description, one.unit, data) for name in one.names(self._wanted)]
        return replace(scope, metrics=[*scope.metrics, *gaps])


def _durations(scope: ScopeMetrics) -> Histogram | None:
    names = DURATION.names("both")
    found = (metric.data for metric in scope.metrics if metric.name in names)
    return next((data for data in found if isinstance(data, Histogram) and data.data_points), None)

"""Metrics through real sockets: names, units, buckets, exemplars, and gaps that equal numpy's own counts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest
from opentelemetry import metrics as installed_metrics
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, HistogramDataPoint, Metric
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from streambench.telemetry import semconv
from streambench.telemetry.measurements import Observation
from streambench.telemetry.pipeline import Pipeline
from streambench.telemetry.settings import Endpoint, TelemetrySettings
from streambench.telemetry.span_model import Value
from telemetry.given import attributes_of, opened, span_id, until
from telemetry.small_sink import Sink, served

LABELS: Mapping[str, Value] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
SEEN = Observation(
    span=span_id(1),
    attributes=LABELS,
    duration_s=2.0,
    outcome="ok",
    retries=2,
    ttfc_s=0.3,
    gaps_ns=(1_000_000, 3_000_000, 40_000_000),
    input_tokens=7,
    output_tokens=50,
    output_tok_s=33.0,
)


@pytest.fixture(autouse=True)
def plain_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEMPORALITY_PREFERENCE", "DEFAULT_HISTOGRAM_AGGREGATION"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_METRICS_{name}", raising=False)
    monkeypatch.delenv("OTEL_METRIC_EXPORT_INTERVAL", raising=False)


def metering(sink: Sink, **changes: object) -> Pipeline:
    http = sink.protocol == "http"
    url = sink.url + ("/v1/metrics" if http else "")
    to = Endpoint(url, "http/protobuf" if http else "grpc", "test", insecure=True)
    return opened(TelemetrySettings(**{"metrics": "otlp", "metrics_to": to, **changes}))  # type: ignore[arg-type]


def sent(*seen: Observation, protocol: str = "http", **changes: object) -> dict[str, Metric]:
    """What the last export holds after these."""
    with served(Sink(protocol)) as sink:
        pipeline = metering(sink, **changes)
        for each in seen:
            pipeline.record(each)
        pipeline.close(10)
        assert pipeline.metrics_error is None
    return sink.metrics[-1]


def the_point(metric: Metric) -> HistogramDataPoint:
    point: HistogramDataPoint
    (point,) = metric.histogram.data_points
    return point


def test_each_metric_holds_its_own_value(protocol: str) -> None:
    """Every number of the observation differs, so that each row shows its own."""
    found = sent(SEEN, protocol=protocol)
    assert set(found) == set(semconv.INSTRUMENTS) - {semconv.ACTIVE.name}
    single = _histograms() - {semconv.TOKEN_USAGE.name}
    sums = {name: the_point(found[name]).sum for name in single}
    assert sums == {
        semconv.DURATION.name: 2.0,
        semconv.TIME_TO_FIRST_CHUNK.name: 0.3,
        semconv.TIME_PER_OUTPUT_CHUNK.name: pytest.approx(0.044),  # 1 + 3 + 40 ms
        semconv.OUTPUT_SPEED.name: 33.0,
    }
    tokens = {
        attributes_of(point.attributes)[semconv.TOKEN_TYPE]: point.sum
        for point in found[semconv.TOKEN_USAGE.name].histogram.data_points
    }
    assert tokens == {"input": 7, "output": 50}
    (requests,) = found[semconv.REQUESTS.name].sum.data_points
    (retries,) = found[semconv.RETRIES.name].sum.data_points
    assert (requests.as_int, retries.as_int) == (1, 2)


def _histograms() -> set[str]:
    return {one.name for one in semconv.INSTRUMENTS.values() if one.kind == "histogram"}


def test_units_descriptions_and_buckets_are_those_of_the_table() -> None:
    """The gaps' histogram, which is built here, among them."""
    for name, metric in sent(SEEN).items():
        one = semconv.INSTRUMENTS[name]
        assert (metric.unit, metric.description) == (one.unit, one.description)
        for point in metric.histogram.data_points:
            assert tuple(point.explicit_bounds) == one.boundaries
            assert len(point.bucket_counts) == len(one.boundaries) + 1


def test_labels_hold_what_they_were_given_and_no_run_id() -> None:
    """`outcome` on the requests alone, `error.type` on requests and durations."""
    found = sent(replace(SEEN, outcome="http_error", error_type="429"))
    error = {semconv.ERROR_TYPE: "429"}
    (requests,) = found[semconv.REQUESTS.name].sum.data_points
    assert attributes_of(requests.attributes) == {**LABELS, **error, semconv.OUTCOME: "http_error"}
    assert attributes_of(the_point(found[semconv.DURATION.name]).attributes) == {**LABELS, **error}
    for name in (semconv.TIME_TO_FIRST_CHUNK.name, semconv.TIME_PER_OUTPUT_CHUNK.name, semconv.OUTPUT_SPEED.name):
        assert attributes_of(the_point(found[name]).attributes) == LABELS


def test_unknown_values_add_nothing() -> None:
    """A failed request has a duration and an outcome."""
    found = sent(Observation(span_id(1), LABELS, 1.5, "timeout"))
    assert set(found) == {semconv.DURATION.name, semconv.REQUESTS.name}


def test_exemplars_lead_to_the_span() -> None:
    """Of a sampled request; a request that was not sampled leaves none."""
    found = sent(SEEN, replace(SEEN, span=span_id(2, sampled=False), duration_s=100.0, ttfc_s=50.0))
    for name in (semconv.DURATION.name, semconv.TIME_TO_FIRST_CHUNK.name):
        exemplars = the_point(found[name]).exemplars
        assert [(each.trace_id.hex(), each.span_id.hex()) for each in exemplars] == [
            (span_id(1).trace_id, span_id(1).span_id)
        ]


# --- gaps


def gaps_of(seed: int, count: int) -> list[int]:
    """From 10 us to 100 s, and each boundary itself."""
    drawn = 10 ** np.random.default_rng(seed).uniform(4, 11, count)
    return [*drawn.astype(np.int64).tolist(), *(round(bound * 1e9) for bound in semconv.GAPS)]


def expected(gaps_ns: list[int]) -> tuple[list[int], float, float, float]:
    """Counts with numpy's histogram: it closes buckets on the left, so the mirror image closes them on the right."""
    gaps_s = np.asarray(gaps_ns) / 1e9
    edges = np.asarray([-np.inf, *semconv.GAPS, np.inf])
    counts, _ = np.histogram(-gaps_s, bins=-edges[::-1])
    return counts[::-1].tolist(), float(gaps_s.sum()), float(gaps_s.min()), float(gaps_s.max())


def test_gaps_are_counted_as_numpy_counts_them(protocol: str) -> None:
    """Two requests of one series, one given as an array."""
    first, second = gaps_of(1, 5_000), gaps_of(2, 3_000)
    with served(Sink(protocol)) as sink:
        pipeline = metering(sink)
        pipeline.record(replace(SEEN, gaps_ns=first))
        pipeline.record(replace(SEEN, gaps_ns=np.asarray(second)))  # type: ignore[arg-type]
        pipeline.close(10)
    point = the_point(sink.metrics[-1][semconv.TIME_PER_OUTPUT_CHUNK.name])
    counts, total, least, most = expected(first + second)
    assert list(point.bucket_counts) == counts
    assert point.count == len(first) + len(second)
    assert point.sum == pytest.approx(total)
    assert (point.min, point.max) == (least, most)


def test_the_batch_equals_what_the_sdk_counts_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same gaps through an installed provider, where each is a call of its own."""
    gaps = gaps_of(3, 500)
    ours = the_point(sent(replace(SEEN, gaps_ns=gaps))[semconv.TIME_PER_OUTPUT_CHUNK.name])
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(installed_metrics._internal, "_METER_PROVIDER", provider)
    with served(Sink()) as sink:
        pipeline = metering(sink)
        pipeline.record(replace(SEEN, gaps_ns=gaps))
        data = reader.get_metrics_data()
        pipeline.close(10)
    assert sink.requests == []
    assert data is not None
    found = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    (theirs,) = found[semconv.TIME_PER_OUTPUT_CHUNK.name].data.data_points
    assert list(ours.bucket_counts) == list(theirs.bucket_counts)  # type: ignore[union-attr]
    assert (ours.min, ours.max) == (theirs.min, theirs.max)  # type: ignore[union-attr]
    assert ours.sum == pytest.approx(theirs.sum)  # type: ignore[union-attr]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An export every 100 ms."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    return iter(())


@pytest.mark.usefixtures("often")
def test_cumulative_points_grow_from_one_start() -> None:
    """Two exports: the second holds both requests, and begins where the first did."""
    name = semconv.TIME_PER_OUTPUT_CHUNK.name
    with served(Sink()) as sink:
        pipeline = metering(sink)
        pipeline.record(SEEN)
        until(lambda: any(name in export for export in sink.metrics))
        pipeline.record(SEEN)
        pipeline.close(10)
        found = [the_point(export[name]) for export in sink.metrics if name in export]
        first, last = found[0], found[-1]
        durations = the_point(sink.metrics[-1][semconv.DURATION.name])
        temporality = sink.metrics[-1][name].histogram.aggregation_temporality
    assert temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert (first.count, last.count) == (3, 6)
    assert first.start_time_unix_nano == last.start_time_unix_nano < first.time_unix_nano < last.time_unix_nano
    assert last.time_unix_nano == durations.time_unix_nano


@pytest.mark.usefixtures("often")
def test_delta_points_hold_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each export begins where the last one ended, and no gap is in two of them."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    name = semconv.TIME_PER_OUTPUT_CHUNK.name
    with served(Sink()) as sink:
        pipeline = metering(sink)
        pipeline.record(SEEN)
        until(lambda: any(name in export for export in sink.metrics))
        pipeline.record(replace(SEEN, gaps_ns=(5_000_000,)))
        pipeline.close(10)
        found = [export[name] for export in sink.metrics if name in export]
    first, second = (the_point(each) for each in found)
    assert found[0].histogram.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    assert (first.count, second.count) == (3, 1)
    assert second.sum == 0.005
    assert second.start_time_unix_nano == first.time_unix_nano < second.time_unix_nano


def test_who_prefers_exponential_histograms_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaps too: they are recorded one by one then."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram")
    found = sent(SEEN)
    for name in _histograms():
        assert found[name].WhichOneof("data") == "exponential_histogram", name
    (point,) = found[semconv.TIME_PER_OUTPUT_CHUNK.name].exponential_histogram.data_points
    assert point.count == 3


# --- names, the wire and the end


@pytest.mark.parametrize("wanted", ["operation", "inference", "both"])
def test_the_announced_names_go_out_where_asked_for(wanted: semconv.MetricNames) -> None:
    """The old ones, the new ones or both, with the same points."""
    found = sent(SEEN, metric_names=wanted)
    every = {name for one in semconv.INSTRUMENTS.values() if one is not semconv.ACTIVE for name in one.names(wanted)}
    assert set(found) == every
    gaps = [the_point(found[name]).count for name in semconv.TIME_PER_OUTPUT_CHUNK.names(wanted)]
    assert set(gaps) == {3}


def test_active_is_what_is_on_the_wire() -> None:
    """Two start, one ends."""
    with served(Sink()) as sink:
        pipeline = metering(sink)
        for change in (+1, +1, -1):
            pipeline.active(change, LABELS)
        pipeline.close(10)
    (point,) = sink.metrics[-1][semconv.ACTIVE.name].sum.data_points
    assert point.as_int == 1


def test_resource_and_scope_are_those_of_the_spans() -> None:
    """The run's id is the resource's and no label."""
    with served(Sink()) as sink:
        pipeline = metering(sink)
        pipeline.record(SEEN)
        pipeline.close(10)
    (part,) = sink.requests[-1].resource_metrics
    (scoped,) = part.scope_metrics
    assert attributes_of(part.resource.attributes)["streambench.run.id"] == "run-1"
    assert (scoped.scope.name, scoped.schema_url) == (semconv.SCOPE, semconv.SCHEMA_URL)
    assert "run-1" not in str(scoped)


def test_a_refused_export_is_told() -> None:
    """Metrics are not in the count of spans."""
    with served(Sink(answers=lambda: 401)) as sink:
        pipeline = metering(sink)
        pipeline.record(SEEN)
        pipeline.close(10)
    assert pipeline.metrics_error == "401 Unauthorized"


def test_a_dead_collector_is_given_up_early(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever never took anything is waited for PATIENCE_S, not for the whole deadline."""
    monkeypatch.setattr("streambench.telemetry.otel_metrics.PATIENCE_S", 0.3)
    to = Endpoint(f"http://127.0.0.1:{closed_port}/v1/metrics", "http/protobuf", "test")
    pipeline = opened(TelemetrySettings(metrics="otlp", metrics_to=to))
    pipeline.record(SEEN)
    began = time.monotonic()
    pipeline.close(8)
    assert time.monotonic() - began < 4
    assert "refused" in (pipeline.metrics_error or "")


def test_the_console_shows_metrics_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """With the gaps among them."""
    pipeline = opened(TelemetrySettings(metrics="console"))
    pipeline.record(SEEN)
    pipeline.close(10)
    out, err = capfd.readouterr()
    assert out == ""
    assert semconv.TIME_PER_OUTPUT_CHUNK.name in err

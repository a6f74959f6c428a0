"""The metrics of a whole run at the sink, against the journal of the same run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from home import Ran
from otlp_sink import Metric, Point, Sink

from streambench.metrics.definitions import METRICS, known_gaps
from streambench.metrics.outcomes import outcome_of
from streambench.records.schema import AttemptRecord
from streambench.telemetry import semconv

from .running import QUICK_RETRY, ids, named, simulated, to, traced_home

MODELS = ("swift", "thinker", "flaky", "clumped", "cut")
SPEED = next(metric for metric in METRICS if metric.column == "output_tok_s")


@dataclass(frozen=True)
class Measured:
    """A run of every kind of request, with a warm-up, and its collector."""

    ran: Ran
    sink: Sink

    @property
    def groups(self) -> list[list[AttemptRecord]]:
        """The attempts of each measured request."""
        found: dict[int, list[AttemptRecord]] = {}
        for record in sorted(self.ran.measured, key=lambda one: one.attempt):
            found.setdefault(record.ticket.seq, []).append(record)
        return list(found.values())

    @property
    def ok(self) -> list[AttemptRecord]:
        """The last attempt of each measured request that is ok."""
        return [group[-1] for group in self.groups if outcome_of(group[-1]) == "ok"]

    def points(self, one: semconv.Instrument) -> tuple[Point, ...]:
        return self.sink.metric(one.name).points

    def counts(self, one: semconv.Instrument) -> Counter[str]:
        """Of a histogram, by the model's alias."""
        found: Counter[str] = Counter()
        for point in self.points(one):
            found[point.attributes["streambench.model"]] += point.count or 0
        return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    folder = tmp_path_factory.mktemp("measured")
    with simulated(folder) as hub, traced_home(folder) as home, Sink() as sink:
        config = home.config(
            *MODELS,
            gateway=hub,
            repeats=3,
            warmup={"requests": 2},
            retry={**QUICK_RETRY, "attempts": 2, "on": ["http_error"]},
        )
        ran = home.run(config, env=to(sink))
        assert ran.code == 1, ran.err  # of `cut` every request failed
        yield Measured(ran, sink)


def per_model(records: list[AttemptRecord]) -> Counter[str]:
    return Counter(record.ticket.model for record in records)


def test_what_comes_is_what_the_table_has(measured: Measured) -> None:
    """Names, kinds, units and boundaries, those and no others; as cumulative sums."""
    kinds = {"histogram": "histogram", "sum": "counter"}
    for metric in measured.sink.metrics:
        one = semconv.INSTRUMENTS[metric.name]
        kind = "updowncounter" if metric.kind == "sum" and not metric.monotonic else kinds[metric.kind]
        assert (kind, metric.unit, metric.temporality) == (one.kind, one.unit, "CUMULATIVE"), metric.name
        assert {point.bounds for point in metric.points} == {one.boundaries}, metric.name
    assert {metric.name for metric in measured.sink.metrics} == set(semconv.INSTRUMENTS)


def test_every_request_has_a_duration(measured: Measured) -> None:
    """All measured ones, failed ones with `error.type`; of the warm-up none."""
    assert measured.counts(semconv.DURATION) == per_model([group[-1] for group in measured.groups])
    failed = sum(point.count or 0 for point in measured.points(semconv.DURATION) if "error.type" in point.attributes)
    assert failed == len(measured.groups) - len(measured.ok) > 0
    took_ns = sum(group[-1].start_at_ns - group[0].start_at_ns + group[-1].ended_ns for group in measured.groups)
    assert sum(point.sum or 0 for point in measured.points(semconv.DURATION)) == pytest.approx(took_ns / 1e9)


def test_only_good_requests_have_a_first_chunk_and_a_speed(measured: Measured) -> None:
    """A broken stream must not look like a fast one."""
    good = per_model(measured.ok)
    assert "cut" not in good
    assert measured.counts(semconv.TIME_TO_FIRST_CHUNK) == good
    with_speed = [record for record in measured.ok if any(SPEED.values(record))]  # one that came in one read has none
    assert measured.counts(semconv.OUTPUT_SPEED) == per_model(with_speed)


def test_gaps_are_those_that_were_observed(measured: Measured) -> None:
    """As many, and in all as long, as the known gaps of the good measured requests."""
    gaps: Counter[str] = Counter()
    for record in measured.ok:
        gaps[record.ticket.model] += len(known_gaps(record.timeline))
    assert measured.counts(semconv.TIME_PER_OUTPUT_CHUNK) == +gaps
    total = sum(sum(known_gaps(record.timeline)) for record in measured.ok) / 1e9
    assert sum(point.sum or 0 for point in measured.points(semconv.TIME_PER_OUTPUT_CHUNK)) == pytest.approx(total)


def test_buckets_hold_the_gaps(measured: Measured) -> None:
    """Each gap in the bucket whose upper bound it does not pass."""
    for point in measured.points(semconv.TIME_PER_OUTPUT_CHUNK):
        model = point.attributes["streambench.model"]
        gaps = [gap / 1e9 for one in measured.ok if one.ticket.model == model for gap in known_gaps(one.timeline)]
        edges = [float("-inf"), *semconv.GAPS, float("inf")]
        held = [sum(low < gap <= high for gap in gaps) for low, high in pairwise(edges)]
        assert list(point.buckets) == held


def test_tokens_are_as_billed(measured: Measured) -> None:
    """By type: the sum of what the gateway stated."""
    sums: Counter[str] = Counter()
    for point in measured.points(semconv.TOKEN_USAGE):
        sums[point.attributes["gen_ai.token.type"]] += int(point.sum or 0)
    used = [group[-1].usage for group in measured.groups]
    assert sums == {
        "input": sum(usage.input or 0 for usage in used if usage),
        "output": sum(usage.output or 0 for usage in used if usage),
    }


def test_requests_are_counted_by_outcome(measured: Measured) -> None:
    """As in the report."""
    seen: Counter[tuple[str, str]] = Counter()
    for point in measured.points(semconv.REQUESTS):
        seen[point.attributes["streambench.model"], point.attributes["streambench.outcome"]] += int(point.value or 0)
        assert ("error.type" in point.attributes) is (point.attributes["streambench.outcome"] != "ok")
    assert seen == Counter((group[-1].ticket.model, outcome_of(group[-1])) for group in measured.groups)


def test_retries_are_counted(measured: Measured) -> None:
    """Attempts after a request's first."""
    points = measured.points(semconv.RETRIES)
    assert {point.attributes["streambench.model"] for point in points} == {"flaky"}
    assert sum(point.value or 0 for point in points) == sum(len(group) - 1 for group in measured.groups)


def test_nothing_is_active_at_the_end(measured: Measured) -> None:
    """What went up came down again, for each model, warm-up included."""
    active = measured.points(semconv.ACTIVE)
    assert [point.value for point in active if point.value] == []


def test_exemplars_are_requests_of_this_run(measured: Measured) -> None:
    """Duration and time to first chunk point to spans that arrived."""
    chats = ids(named(measured.sink.spans, "chat"))
    for one in (semconv.DURATION, semconv.TIME_TO_FIRST_CHUNK):
        sent = [metric for metric in measured.sink.metrics if metric.name == one.name]  # each has those since the last
        found = [exemplar for metric in sent for point in metric.points for exemplar in point.exemplars]
        assert found
        assert {(exemplar.trace_id, exemplar.span_id) for exemplar in found} <= chats


def test_the_runs_id_is_no_label(measured: Measured) -> None:
    """It is the resource's: else each run would make new series."""
    run_id = measured.ran.run.header.run_id
    for metric in measured.sink.metrics:
        assert metric.resource["streambench.run.id"] == run_id
        labels = [point.attributes for point in metric.points]
        labels += [exemplar.attributes for point in metric.points for exemplar in point.exemplars]
        assert [one for one in labels if run_id in map(str, one.values())] == []


def test_labels_are_few(measured: Measured) -> None:
    """Those of the docs, and no other."""
    common = {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model"}
    common |= {"server.address", "server.port", "streambench.model"}
    more = {
        semconv.DURATION.name: {"error.type"},
        semconv.TOKEN_USAGE.name: {"gen_ai.token.type"},
        semconv.REQUESTS.name: {"streambench.outcome", "error.type"},
    }
    for metric in measured.sink.metrics:
        keys = {key for point in metric.points for key in point.attributes}
        assert keys <= common | more.get(metric.name, set()), metric.name
        assert keys >= common - {"gen_ai.response.model"}, metric.name


@pytest.mark.parametrize("wanted", ["inference", "both"])
def test_the_coming_names(tmp_path: Path, wanted: semconv.MetricNames) -> None:
    """`metric_names`: with the same counts under both."""
    with traced_home(tmp_path) as home, Sink() as sink:
        ran = home.run(home.config("swift", telemetry={"metric_names": wanted}), env=to(sink))
    assert ran.code == 0
    not_always = {semconv.RETRIES.name, semconv.ACTIVE.name}  # nothing was retried; all may be over at the first look
    assert {metric.name for metric in sink.metrics} - not_always == {
        name for one in semconv.INSTRUMENTS.values() for name in one.names(wanted)
    } - not_always
    pairs = [(one.name, one.renamed) for one in semconv.INSTRUMENTS.values() if one.renamed]
    for old, new in pairs:
        counts = [total(sink.metric(name)) for name in ((old, new) if wanted == "both" else (new,))]
        assert len(set(counts)) == 1
        assert counts[0] > 0


def total(metric: Metric) -> int:
    return sum(point.count or 0 for point in metric.points)

"""Lists the reasons not to quote a run's results, each with its numbers. An empty list does not prove a good run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench.analysis.compare import status_of
from streambench.analysis.measured import ModelRequests
from streambench.analysis.run import requests_by_model
from streambench.analysis.stats.diagnostics import (
    drift,
    in_flight,
    lag_too_large,
    saturation,
    too_few,
    uneven_failures,
    warming,
)
from streambench.analysis.stats.estimates import sample
from streambench.analysis.stats.paired import Comparison, compare_all
from streambench.metrics.definitions import BY_COLUMN, NS_PER_MS, Metric
from streambench.metrics.quantiles import Statistic
from streambench.records.schema import AttemptRecord

if TYPE_CHECKING:
    from streambench.analysis.run import Run

QUOTED: tuple[Statistic, ...] = ("p50", "p95")
CACHED_SHARE = 0.05
"""Share of input tokens read from the gateway's cache above which there is a warning."""

KINDS: Mapping[str, str] = {
    "incomplete": "the run did not finish",
    "simulated": "this is not a measurement of a real model",
    "too_few": "the sample is too small for a statistic that would be quoted",
    "client_lag": "part of a difference may be client lag",
    "drift": "latency changed over the run",
    "saturation": "latency rose with the number of requests in flight",
    "cache": "the gateway has seen these prompts before",
    "uneven_failures": "models failed unequally, so their ok requests cover different prompts",
    "clock": "the wall clock was set during the run",
}


@dataclass(frozen=True, slots=True)
class QualityWarning:
    """A reason not to quote the run: a key of KINDS, and a sentence with the numbers."""

    kind: str
    why: str


def quality_warnings(run: Run, comparisons: Sequence[Comparison] | None = None) -> list[QualityWarning]:
    """Returns the warnings in the order of KINDS; empty if there are none.

    `comparisons` are those of TTFT; they are computed if not given.
    """
    models = requests_by_model(run)
    found = [
        *_state(run),
        *_too_few(models),
        *_lag(run, comparisons),
        *_trends(run, models),
        *_cache(models),
        *_uneven(models),
    ]
    return sorted(found, key=lambda doubt: list(KINDS).index(doubt.kind))


def _state(run: Run) -> Iterator[QualityWarning]:
    status = status_of(run)
    if status != "complete":
        measured = sum(record.ticket.phase == "measure" for record in run.records)
        yield QualityWarning(
            "incomplete",
            f"the run is {status}: it has {measured} attempts of {run.header.requests_planned} planned requests",
        )
    if run.header.simulated:
        yield QualityWarning("simulated", f"served by the embedded simulator: {', '.join(run.header.simulated)}")
    if run.end is not None and run.end.clock_steps:
        yield QualityWarning("clock", f"the wall clock was set {run.end.clock_steps} times during the run")


def _too_few(models: Mapping[str, ModelRequests]) -> Iterator[QualityWarning]:
    for answers in models.values():
        of = sample(*answers.values(_TTFT))
        for statistic in QUOTED:
            why = too_few(of, statistic, f"{answers.model} TTFT")
            if why:
                yield QualityWarning("too_few", why)


def _lag(run: Run, comparisons: Sequence[Comparison] | None) -> Iterator[QualityWarning]:
    lag = run.lag_ms()
    if lag is None:
        return
    if comparisons is None:
        comparisons = compare_all(run.requests, {_TTFT.column: "lower"})
    for comparison in comparisons:
        why = lag_too_large(comparison, lag)
        if why:
            yield QualityWarning("client_lag", f"{why} (p99)")


def _trends(run: Run, models: Mapping[str, ModelRequests]) -> Iterator[QualityWarning]:
    rows = [(record, value) for each in models.values() for record in each.ok for value in _TTFT.values(record)]
    if not rows:
        return
    records, values = [record for record, _ in rows], [value for _, value in rows]
    groups = [f"{each.ticket.model}\0{each.ticket.prompt_id}\0{each.ticket.turn}" for each in records]
    starts = [_start_ms(run, record) for record in records]
    everyone = [record for each in models.values() for record in (request.record for request in each.requests)]
    moved = drift(values, groups, starts, "TTFT")
    loaded = saturation(values, groups, _under_way(run, everyone, records), "TTFT")
    warmed = warming(values, groups, [record.ticket.repeat for record in records], "TTFT")
    for kind, why in (("drift", moved), ("saturation", loaded), ("cache", warmed)):
        if why:
            yield QualityWarning(kind, why)


def _under_way(run: Run, everyone: Sequence[AttemptRecord], records: Sequence[AttemptRecord]) -> list[float]:
    starts = [_start_ms(run, record) for record in everyone]
    ends = [start + record.ended_ns / NS_PER_MS for start, record in zip(starts, everyone, strict=True)]
    counts = in_flight(starts, ends)
    by_identity = {id(record): float(count) for record, count in zip(everyone, counts, strict=True)}
    return [by_identity[id(record)] for record in records]


def _start_ms(run: Run, record: AttemptRecord) -> float:
    return (run.header.started_wall_ns(record) - run.header.wall_ns) / NS_PER_MS


def _cache(models: Mapping[str, ModelRequests]) -> Iterator[QualityWarning]:
    for answers in models.values():
        known = [record.usage for record in answers.ok if record.usage and record.usage.cached is not None]
        cached, sent = (sum(getattr(usage, name) or 0 for usage in known) for name in ("cached", "input"))
        if sent and cached > CACHED_SHARE * sent:
            yield QualityWarning(
                "cache", f"{answers.model}: {cached} of {sent} input tokens came from the gateway's cache"
            )


def _uneven(models: Mapping[str, ModelRequests]) -> Iterator[QualityWarning]:
    why = uneven_failures({each.model: (each.failed, each.asked) for each in models.values()})
    if why:
        yield QualityWarning("uneven_failures", why)


_TTFT: Metric = BY_COLUMN["ttft_ms"]

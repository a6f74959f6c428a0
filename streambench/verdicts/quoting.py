"""Is this run good enough to quote? Each doubt with its reason and its numbers; none found is no proof."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streambench.assertions import Statistic
from streambench.metrics import METRICS, NS_PER_MS, Metric
from streambench.records import AttemptRecord
from streambench.stats import (
    Comparison,
    compare_all,
    drift,
    in_flight,
    lag_too_large,
    sample,
    saturation,
    too_few,
    uneven_failures,
    warming,
)
from streambench.verdicts.answers import Answers, answers_of
from streambench.verdicts.comparing import status_of

if TYPE_CHECKING:
    from streambench.results import Run

QUOTED: tuple[Statistic, ...] = ("p50", "p95")
CACHED_SHARE = 0.05
"""Of the input tokens: more from the gateway's cache is worth a word."""

KINDS: Mapping[str, str] = {
    "incomplete": "the run did not come to its end",
    "simulated": "no measure of any real model",
    "too_few": "the sample cannot carry what would be quoted",
    "client_lag": "part of a difference may be our own lag",
    "drift": "latency moved over the run",
    "saturation": "latency goes with the requests under way",
    "cache": "the gateway has seen these prompts before",
    "uneven_failures": "models failed unequally, so the prompts left differ",
    "clock": "the wall clock was set meanwhile",
}


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason not to quote the run: which of KINDS, and the sentence with its numbers."""

    kind: str
    why: str


def doubts(run: Run, comparisons: Sequence[Comparison] | None = None) -> list[Doubt]:
    """In the order of KINDS; empty where nothing speaks against it. `comparisons` of TTFT may be there already."""
    models = answers_of(run)
    found = [
        *_state(run),
        *_too_few(models),
        *_lag(run, comparisons),
        *_trends(run, models),
        *_cache(models),
        *_uneven(models),
    ]
    return sorted(found, key=lambda doubt: list(KINDS).index(doubt.kind))


def _state(run: Run) -> Iterator[Doubt]:
    status = status_of(run)
    if status != "complete":
        measured = sum(record.ticket.phase == "measure" for record in run.records)
        yield Doubt("incomplete", f"it is {status}: {measured} attempts of {run.header.requests_planned} requests")
    if run.header.simulated:
        yield Doubt("simulated", f"served by the embedded simulator: {', '.join(run.header.simulated)}")
    if run.end is not None and run.end.clock_steps:
        yield Doubt("clock", f"the wall clock was set {run.end.clock_steps} times")


def _too_few(models: Mapping[str, Answers]) -> Iterator[Doubt]:
    for answers in models.values():
        of = sample(*answers.values(_TTFT))
        for statistic in QUOTED:
            why = too_few(of, statistic, f"{answers.model} TTFT")
            if why:
                yield Doubt("too_few", why)


def _lag(run: Run, comparisons: Sequence[Comparison] | None) -> Iterator[Doubt]:
    lag = run.lag_ms()
    if lag is None:
        return
    if comparisons is None:
        comparisons = compare_all(run.requests, {_TTFT.column: "lower"})
    for comparison in comparisons:
        why = lag_too_large(comparison, lag)
        if why:
            yield Doubt("client_lag", f"{why} at its p99")


def _trends(run: Run, models: Mapping[str, Answers]) -> Iterator[Doubt]:
    rows = [(record, value) for each in models.values() for record in each.ok for value in _TTFT.values(record)]
    if not rows:
        return
    records, values = [record for record, _ in rows], [value for _, value in rows]
    groups = [f"{each.ticket.model}\0{each.ticket.prompt_id}\0{each.ticket.turn}" for each in records]
    starts = [_start_ms(run, record) for record in records]
    everyone = [record for each in models.values() for record in each.records]
    moved = drift(values, groups, starts, "TTFT")
    loaded = saturation(values, groups, _under_way(run, everyone, records), "TTFT")
    warmed = warming(values, groups, [record.ticket.repeat for record in records], "TTFT")
    for kind, why in (("drift", moved), ("saturation", loaded), ("cache", warmed)):
        if why:
            yield Doubt(kind, why)


def _under_way(run: Run, everyone: Sequence[AttemptRecord], records: Sequence[AttemptRecord]) -> list[float]:
    starts = [_start_ms(run, record) for record in everyone]
    ends = [start + record.ended_ns / NS_PER_MS for start, record in zip(starts, everyone, strict=True)]
    counts = in_flight(starts, ends)
    by_identity = {id(record): float(count) for record, count in zip(everyone, counts, strict=True)}
    return [by_identity[id(record)] for record in records]


def _start_ms(run: Run, record: AttemptRecord) -> float:
    return (run.header.anchor_wall_ns(record.segment) - run.header.wall_ns + record.start_at_ns) / NS_PER_MS


def _cache(models: Mapping[str, Answers]) -> Iterator[Doubt]:
    for answers in models.values():
        known = [record.usage for record in answers.ok if record.usage and record.usage.cached is not None]
        cached, sent = (sum(getattr(usage, name) or 0 for usage in known) for name in ("cached", "input"))
        if sent and cached > CACHED_SHARE * sent:
            yield Doubt("cache", f"{answers.model}: {cached} of {sent} input tokens came from the gateway's cache")


def _uneven(models: Mapping[str, Answers]) -> Iterator[Doubt]:
    why = uneven_failures({each.model: (each.failed, each.asked) for each in models.values()})
    if why:
        yield Doubt("uneven_failures", why)


_TTFT: Metric = next(metric for metric in METRICS if metric.name == "ttft")

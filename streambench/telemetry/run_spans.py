"""The spans above the requests: one for each model and one for the run, with totals once the run is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from streambench.clock import NS
from streambench.metrics.definitions import BY_COLUMN
from streambench.metrics.outcomes import outcome_of
from streambench.metrics.quantiles import quantile
from streambench.records.schema import AttemptRecord, RunEnd
from streambench.telemetry import semconv
from streambench.telemetry.request_spans import DESCRIPTION_CHARS, requests_of, shift_ns
from streambench.telemetry.run_context import ModelContext, RunContext
from streambench.telemetry.span_model import SpanFacts, SpanId, Value, known

_TTFT = BY_COLUMN["ttft_ms"]

_ENDED_WELL = frozenset({"complete", "interrupted", "duration_limit", "budget"})
_SUITE_STATUS: Mapping[str, str] = {"complete": "success", "duration_limit": "timed_out", "interrupted": "aborted"}


def run_spans(about: RunContext, records: Iterable[AttemptRecord], end: RunEnd | None) -> list[SpanFacts]:
    """Returns one span for each model, then the run's, all with totals. `end` is None if the run was killed."""
    groups = requests_of(records)
    spans = [
        _model_span(model, [group for group in groups if group[0].ticket.model == model.alias], about)
        for model in about.models.values()
    ]
    return [*spans, _run_span(about, groups, end)]


def _model_span(model: ModelContext, groups: Sequence[Sequence[AttemptRecord]], about: RunContext) -> SpanFacts:
    header = about.header
    starts = [about.wall_ns(group[0]) for group in groups]
    ends = [about.wall_ns(group[-1]) + group[-1].ended_ns for group in groups]
    start_ns = min(starts, default=header.wall_ns)
    attributes = {**about.everywhere, "streambench.model": model.alias, "streambench.gateway.name": model.gateway}
    return SpanFacts(
        name=f"{semconv.MODEL_SPAN} {model.alias}",
        kind="internal",
        id=model.span,
        parent=about.run_span,
        start_ns=start_ns,
        end_ns=max(ends, default=start_ns),
        attributes=known({**attributes, **_sums(groups)}),
    )


def _run_span(about: RunContext, groups: Sequence[Sequence[AttemptRecord]], end: RunEnd | None) -> SpanFacts:
    header, trace = about.header, about.trace
    ends = [about.wall_ns(group[-1]) + group[-1].ended_ns for group in groups]
    if end is not None:
        ends.append(header.anchor_wall_ns(len(header.resumed)) + end.ended_at_ns)
    end_ns = max(ends, default=header.wall_ns)
    status = end.status if end else "unfinished"
    load = header.config.get("load") or {}
    parent = None if trace.parent_span_id is None else SpanId(trace.trace_id, trace.parent_span_id, trace.sampled)
    return SpanFacts(
        name=semconv.RUN_SPAN,
        kind="internal",
        id=about.run_span,
        parent=parent,
        start_ns=header.wall_ns,
        end_ns=max(header.wall_ns, end_ns),
        attributes=known(
            {
                **about.everywhere,
                "streambench.run.name": header.name,
                "streambench.version": header.versions.get("streambench"),
                "streambench.run.status": status,
                "streambench.run.seed": str(header.seed),  # may exceed a signed 64-bit integer
                "streambench.models": tuple(about.models),
                "streambench.load.mode": load.get("mode"),
                "streambench.load.concurrency": load.get("concurrency"),
                "streambench.load.rate": load.get("rate"),
                "streambench.requests.planned": header.requests_planned,
                "streambench.duration_s": (end_ns - header.wall_ns) / NS,
                "streambench.resumed": len(header.resumed) or None,
                "test.suite.name": about.everywhere["streambench.suite.name"],
                "test.suite.run.status": _SUITE_STATUS.get(status, "aborted" if end is None else "failure"),
                **_sums(groups),
            }
        ),
        error=None if end is not None and status in _ENDED_WELL else _why(end),
    )


def _why(end: RunEnd | None) -> str:
    if end is None:
        return "the run did not finish"
    return (end.reason or end.status)[:DESCRIPTION_CHARS]


def _sums(groups: Sequence[Sequence[AttemptRecord]]) -> dict[str, Value | None]:
    """Returns the totals of the measured requests; of warm-up requests only their number."""
    measured = [group for group in groups if group[0].ticket.phase == "measure"]
    outcomes = Counter(outcome_of(group[-1]) for group in measured)
    good = [group for group in measured if outcome_of(group[-1]) == "ok"]
    used = [group[-1].usage for group in good]
    known = [usage for usage in used if usage is not None]
    waits = sorted(wait for group in good if (wait := _ttft_ns(group)) is not None)
    return {
        "streambench.requests.ok": outcomes["ok"],
        "streambench.requests.failed": sum(outcomes.values()) - outcomes["ok"],
        "streambench.requests.warmup": len(groups) - len(measured),
        "streambench.outcomes": tuple(f"{name}: {count}" for name, count in sorted(outcomes.items())) or None,
        "streambench.retries": sum(len(group) - 1 for group in measured),
        "streambench.tokens.input": _sum(usage.input for usage in known),
        "streambench.tokens.output": _sum(usage.output for usage in known),
        "streambench.time_to_first_token.p50_s": quantile(waits, 0.5) / NS if waits else None,
    }


def _ttft_ns(group: Sequence[AttemptRecord]) -> float | None:
    found = _TTFT.of(group[-1]) if _TTFT.of else None  # in ns
    return None if found is None else found + shift_ns(group)


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None

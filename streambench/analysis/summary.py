"""Summarises a run per model: the numbers that every view shows and that `summary.json` holds.

Latencies use only the measured phase's `ok` requests; the requests left out are counted.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from streambench.analysis.conversations import ConversationCounts, counts_of, sessions_of
from streambench.analysis.costs import Cost, cost_of
from streambench.analysis.frames import mean_and_quantiles
from streambench.analysis.measured import MeasuredRequest, ModelRequests, RunFacts, by_model, measured_requests
from streambench.analysis.stats import estimates
from streambench.clock import NS
from streambench.metrics.cost import price_in, total
from streambench.metrics.definitions import METRICS, NS_PER_MS, chunk_gaps
from streambench.metrics.findings import FINDINGS, Finding
from streambench.metrics.model_names import entry_of, model_order
from streambench.metrics.outcomes import OUTCOMES, Outcome, evidence
from streambench.records.schema import AttemptRecord, RunEnd, RunHeader, final_attempts

if TYPE_CHECKING:
    from streambench.analysis.check import AssertionResult
    from streambench.analysis.run import Run

SCHEMA = 1
"""Version of the schema of summary.json. 1 (2026-11): first version."""

NEEDED: Mapping[str, int] = {name: values for name, values in estimates.NEEDED.items() if name != "mean"}
"""The sample size that each percentile needs, else it is null: with fewer values it would be one of the largest."""

MESSAGES = 3
"""Number of distinct failure messages kept per model."""


@dataclass(frozen=True, slots=True)
class SampleEstimate:
    """Mean and percentiles of a metric over `n` values, in the metric's unit; None if the sample is too small.

    Percentiles are pandas' linear ones (type 7).
    """

    n: int = 0
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token sums over the measured attempts with known usage, including failed ones, which are paid for too."""

    attempts_known: int
    attempts_unknown: int
    input: int | None
    output: int | None
    reasoning: int | None
    cached: int | None


@dataclass(frozen=True, slots=True)
class Example:
    """The most frequent evidence line of an outcome (the first on a tie), and the number of requests that have it."""

    text: str
    requests: int


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """The summary of one model.

    `outcomes` has `ok` and the other outcomes that occurred. `failures` lists (evidence, count), most frequent first.
    `evidence` has one example for each outcome other than `ok`. `findings` has the number of measured requests for each
    finding that occurred; `facts` has the text of the first occurrence.
    """

    model: str
    gateway: str | None
    simulated: bool
    requests: int
    attempts: int
    outcomes: Mapping[Outcome, int]
    metrics: Mapping[str, SampleEstimate]
    """Keyed by the metric's column, such as `ttft_ms` or `output_tok_s`."""
    usage: Tokens
    cost_usd: Cost
    left_out: int
    """Number of measured requests that are not `ok` and so not part of the latencies."""
    warmup: int
    gaps_unknown_share: float | None
    failures: tuple[tuple[str, int], ...]
    evidence: Mapping[Outcome, Example]
    findings: Mapping[str, int]
    facts: Mapping[str, str]

    @property
    def ok(self) -> int:
        return self.outcomes["ok"]

    @property
    def only_failures(self) -> bool:
        """True if there were requests and none was `ok`, not counting requests that this client cancelled."""
        return self.ok == 0 and self.requests > self.outcomes.get("cancelled", 0)


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary of a run. `status` is that of its end, or `unfinished` if it was killed or is still running."""

    run_id: str
    name: str
    status: str
    requests_planned: int
    measured_s: float | None
    stamps: str
    """The source of arrival timestamps that the run was set up to use."""
    stamps_seen: Mapping[str, int]
    """Number of answered measured attempts, by the source of their arrival timestamps."""
    clock_steps: int | None
    """How often the wall clock was set during the run; None if the run has no end."""
    models: tuple[ModelSummary, ...]
    client_lag_ms: Mapping[str, float | None]
    reason: str | None = None
    """What stopped the run early, if `status` alone does not say it."""
    resumed: int = 0
    """How often the run was resumed."""
    sessions: ConversationCounts | None = None
    """How the run's conversations ended; None if it has none."""
    assertions: tuple[AssertionResult, ...] = ()
    """The results of the config's `assert:`, one per assertion and model."""

    @property
    def complete(self) -> bool:
        return self.status == "complete"

    @property
    def simulated(self) -> tuple[str, ...]:
        return tuple(model.model for model in self.models if model.simulated)

    def to_plain(self) -> dict[str, Any]:
        """Returns the content of `summary.json`."""
        head = {
            "schema": SCHEMA,
            "run_id": self.run_id,
            "name": self.name,
            "status": self.status,
            "reason": self.reason,
            "resumed": self.resumed,
            "requests_planned": self.requests_planned,
            "measured_s": self.measured_s,
            "stamps": self.stamps,
            "stamps_seen": dict(self.stamps_seen),
            "clock_steps": self.clock_steps,
            "simulated": list(self.simulated),
            "sessions": asdict(self.sessions) if self.sessions else None,
            "percentiles": {"method": "linear", "needs_n": dict(NEEDED)},
        }
        return head | {
            "models": {model.model: _model_plain(model) for model in self.models},
            "client_lag_ms": dict(self.client_lag_ms),
            "assertions": [asdict(judged) for judged in self.assertions],
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """Returns one flat row per model, for `summary.csv`."""
        return [_row(model) for model in self.models]


def summary_of(run: Run) -> Summary:
    """Returns the summary of a run, with models in the order of its config, including models without attempts."""
    return _summary(run.facts, run.records, run.measured, run.end)


def summarise(header: RunHeader, records: Iterable[AttemptRecord], end: RunEnd | None = None) -> Summary:
    """Like `summary_of`, but takes the header, the records and the end of a run."""
    rows, facts = list(records), RunFacts(header)
    return _summary(facts, rows, measured_requests(rows, facts), end)


def _summary(
    facts: RunFacts, records: Sequence[AttemptRecord], measured: Sequence[MeasuredRequest], end: RunEnd | None
) -> Summary:
    header = facts.header
    groups: dict[str, list[AttemptRecord]] = {model: [] for model in model_order(header.config)}
    for record in records:
        groups.setdefault(record.ticket.model, []).append(record)
    requests = by_model(header, measured)
    return Summary(
        run_id=header.run_id,
        name=header.name,
        status=end.status if end else "unfinished",
        requests_planned=header.requests_planned,
        measured_s=_measured_s(end),
        stamps=header.stamps,
        stamps_seen=_stamps_seen(records),
        clock_steps=end.clock_steps if end else None,
        models=tuple(
            _summarise_model(requests.get(model) or ModelRequests(model), facts, group)
            for model, group in groups.items()
        ),
        client_lag_ms=_client_lag_ms(records, end),
        reason=end.reason if end else None,
        resumed=len(header.resumed),
        sessions=counts_of(sessions) if (sessions := sessions_of(measured, header)) else None,
    )


def _stamps_seen(records: Iterable[AttemptRecord]) -> dict[str, int]:
    answered = (record for record in records if record.ticket.phase == "measure" and record.first_byte_ns is not None)
    return dict(Counter(record.stamps for record in answered))


def exit_code(summary: Summary) -> int:
    """Returns 3 if the run is incomplete, else 1 if a model had only failures, else 0."""
    if not summary.complete:
        return 3
    return int(any(model.only_failures for model in summary.models))


def _summarise_model(asked: ModelRequests, facts: RunFacts, records: Sequence[AttemptRecord]) -> ModelSummary:
    """`asked` has the model's measured requests, `records` all its attempts, including warm-up and earlier parts."""
    header, model = facts.header, asked.model
    measured = [record for record in records if record.ticket.phase == "measure"]
    requests = [(request.record, request.outcome) for request in asked.requests]
    ok = asked.ok
    found = [each for request in asked.requests for each in request.findings]
    entry = entry_of(header.config, model)
    return ModelSummary(
        model=model,
        gateway=records[0].ticket.gateway if records else entry.get("gateway"),
        simulated=model in header.simulated,
        requests=len(requests),
        attempts=len(measured),
        outcomes=_count_outcomes(outcome for _, outcome in requests),
        metrics={column: sample_estimate(values) for column, values in _samples(ok).items()},
        usage=_tokens(measured),
        cost_usd=cost_of(measured, price_in(header.config, model), facts),
        left_out=len(requests) - len(ok),
        warmup=len(final_attempts(record for record in records if record.ticket.phase == "warmup")),
        gaps_unknown_share=_gaps_unknown_share(ok),
        failures=_failures(requests),
        evidence=_examples(requests),
        findings=_count_findings(found),
        facts={name: next(one.fact for one in found if one.name == name) for name in _count_findings(found)},
    )


def sample_estimate(values: Sequence[float] | array[float]) -> SampleEstimate:
    """Returns the mean and the percentiles of a sample; a percentile is None if there are fewer values than NEEDED."""
    if not values:
        return SampleEstimate()
    mean, found = mean_and_quantiles(values, [int(name[1:]) / 100 for name in NEEDED])
    carried = {
        name: value if len(values) >= needed else None
        for (name, needed), value in zip(NEEDED.items(), found, strict=True)
    }
    return SampleEstimate(n=len(values), mean=mean, **carried)


def _samples(records: Iterable[AttemptRecord]) -> dict[str, array[float]]:
    """Returns the values of every metric, by its column."""
    samples = {metric.column: array("d") for metric in METRICS}
    for record in records:
        for metric in METRICS:
            samples[metric.column].extend(metric.values(record))
    return samples


def _count_outcomes(outcomes: Iterable[Outcome]) -> dict[Outcome, int]:
    counts = Counter(outcomes)
    return {outcome: counts[outcome] for outcome in reversed(list(OUTCOMES)) if counts[outcome] or outcome == "ok"}


def _tokens(records: Sequence[AttemptRecord]) -> Tokens:
    known = [record.usage for record in records if record.usage and record.usage.source]
    return Tokens(
        attempts_known=len(known),
        attempts_unknown=len(records) - len(known),
        input=total(usage.input for usage in known),
        output=total(usage.output for usage in known),
        reasoning=total(usage.reasoning for usage in known),
        cached=total(usage.cached for usage in known),
    )


def _gaps_unknown_share(records: Iterable[AttemptRecord]) -> float | None:
    known = unknown = 0
    for record in records:
        gaps = chunk_gaps(record.timeline) if record.streamed else []
        unknown += gaps.count(None)
        known += len(gaps) - gaps.count(None)
    return unknown / (known + unknown) if known + unknown else None


def _failures(requests: Iterable[tuple[AttemptRecord, Outcome]]) -> tuple[tuple[str, int], ...]:
    counts = Counter(evidence(record, outcome) for record, outcome in requests if outcome != "ok")
    return tuple(counts.most_common(MESSAGES))


def _examples(requests: Iterable[tuple[AttemptRecord, Outcome]]) -> dict[Outcome, Example]:
    lines: dict[Outcome, Counter[str]] = {outcome: Counter() for outcome in OUTCOMES if outcome != "ok"}
    for record, outcome in requests:
        if outcome != "ok":
            lines[outcome][evidence(record, outcome)] += 1
    return {outcome: Example(*counts.most_common(1)[0]) for outcome, counts in lines.items() if counts}


def _count_findings(found: Iterable[Finding]) -> dict[str, int]:
    counts = Counter(one.name for one in found)
    return {name: counts[name] for name in FINDINGS if counts[name]}


def _measured_s(end: RunEnd | None) -> float | None:
    window = end.window_ns if end is not None else None
    return None if window is None else window / NS


def _client_lag_ms(records: Iterable[AttemptRecord], end: RunEnd | None) -> dict[str, float | None]:
    lag: dict[str, float | None] = dict.fromkeys(("n", "p50", "p90", "p99", "max"))
    if end is None:
        seen = [record.client_lag_ns for record in records if record.client_lag_ns is not None]
        return lag | {"max": max(seen) / NS_PER_MS if seen else None}
    in_ms = {
        name: value if name == "n" or value is None else value / NS_PER_MS for name, value in end.client_lag_ns.items()
    }
    return lag | in_ms


def _model_plain(model: ModelSummary) -> dict[str, Any]:
    plain = asdict(model)
    del plain["model"]
    return plain | {"failures": [{"evidence": text, "count": count} for text, count in model.failures]}


def _row(model: ModelSummary) -> dict[str, Any]:
    head = {
        "model": model.model,
        "gateway": model.gateway,
        "simulated": model.simulated,
        "requests": model.requests,
        "attempts": model.attempts,
        "warmup": model.warmup,
        "left_out": model.left_out,
        "gaps_unknown_share": model.gaps_unknown_share,
    }
    outcomes = {f"outcome_{outcome}": model.outcomes.get(outcome, 0) for outcome in reversed(list(OUTCOMES))}
    numbers = {
        f"{column}_{name}": value for column, found in model.metrics.items() for name, value in asdict(found).items()
    }
    tokens = {f"tokens_{name}": value for name, value in asdict(model.usage).items()}
    cost = {f"cost_usd_{name}": value for name, value in asdict(model.cost_usd).items()}
    found = {f"finding_{name}": model.findings.get(name, 0) for name in FINDINGS}
    return head | outcomes | found | numbers | tokens | cost

"""A run's numbers per model, from its records: what every view shows, and what `summary.json` holds.

Latencies come from the measured phase's `ok` requests only; what was left out is counted beside them.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from streambench.bills import Cost, cost_of
from streambench.clock import NS
from streambench.findings import FINDINGS, Finding, Thresholds, findings, thresholds_of
from streambench.frames import mean_and_quantiles
from streambench.health import OUTCOMES, Outcome, evidence, judge
from streambench.metrics import METRICS, NS_PER_MS, chunk_gaps
from streambench.model_names import entry_of, model_order
from streambench.money import price_in, total
from streambench.records import AttemptRecord, RunEnd, RunHeader, final_attempts
from streambench.sessions import Counts, counts_of, sessions_of

if TYPE_CHECKING:
    from streambench.verdicts import Judged

SCHEMA = 1
"""1 (2026-11): first schema of summary.json."""

NEEDED: Mapping[str, int] = {"p50": 1, "p90": 10, "p95": 20, "p99": 100}
"""The sample that each percentile needs: with fewer, it would only name one of the largest values. Else it is null."""

MESSAGES = 3
"""Distinct failure messages kept per model."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric over a sample of `n`; None where the sample cannot carry it. Quantiles are pandas' linear ones."""

    n: int = 0
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Sums over the measured attempts whose usage is known, failed ones included: they are paid for too."""

    attempts_known: int
    attempts_unknown: int
    input: int | None
    output: int | None
    reasoning: int | None
    cached: int | None


@dataclass(frozen=True, slots=True)
class Example:
    """An outcome's most frequent evidence, the first of those as frequent, and how many requests have just this one."""

    text: str
    requests: int


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One model's part. `outcomes` has `ok` and those that occurred; `failures` has (evidence, count), most first.

    `evidence` shows each outcome but `ok` by one example. `findings` has, for each that occurred, how many measured
    requests had it; `facts` shows each by its first one.
    """

    model: str
    gateway: str | None
    simulated: bool
    requests: int
    attempts: int
    outcomes: Mapping[Outcome, int]
    metrics: Mapping[str, Estimate]
    """By the metric's column: `ttft_ms`, `output_tok_s`."""
    usage: Tokens
    cost_usd: Cost
    left_out: int
    """Measured requests that were not `ok`, so in no latency."""
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
        """It was asked and never answered well; a request that we cancelled ourselves is not its failure."""
        return self.ok == 0 and self.requests > self.outcomes.get("cancelled", 0)


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole run's numbers. `status` is that of its end, or `unfinished`: killed, or still going on."""

    run_id: str
    name: str
    status: str
    requests_planned: int
    measured_s: float | None
    stamps: str
    """Whose clock the run set out to use for arrivals."""
    stamps_seen: Mapping[str, int]
    """Measured attempts that were answered, by whose clock their arrivals are on."""
    clock_steps: int | None
    """How often the wall clock was set during the run; None where the run had no end."""
    models: tuple[ModelSummary, ...]
    client_lag_ms: Mapping[str, float | None]
    reason: str | None = None
    """What stopped it before its plan's end, where `status` does not say it all."""
    resumed: int = 0
    """How often the run was taken up again."""
    sessions: Counts | None = None
    """What became of its conversations; None where it has none."""
    assertions: tuple[Judged, ...] = ()
    """Of the config's `assert:`, each tried on each model."""

    @property
    def complete(self) -> bool:
        return self.status == "complete"

    @property
    def simulated(self) -> tuple[str, ...]:
        return tuple(model.model for model in self.models if model.simulated)

    def to_plain(self) -> dict[str, Any]:
        """What `summary.json` holds."""
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
        """The same per model as flat rows, for `summary.csv`."""
        return [_row(model) for model in self.models]


def summarise(header: RunHeader, records: Iterable[AttemptRecord], end: RunEnd | None = None) -> Summary:
    """The summary of a run, in the order of its config's models; a model without attempts appears too."""
    rows = list(records)
    by_model: dict[str, list[AttemptRecord]] = {model: [] for model in model_order(header.config)}
    for record in rows:
        by_model.setdefault(record.ticket.model, []).append(record)
    return Summary(
        run_id=header.run_id,
        name=header.name,
        status=end.status if end else "unfinished",
        requests_planned=header.requests_planned,
        measured_s=_measured_s(end),
        stamps=header.stamps,
        stamps_seen=_stamps_seen(rows),
        clock_steps=end.clock_steps if end else None,
        models=tuple(_summarise_model(model, header, group) for model, group in by_model.items()),
        client_lag_ms=_client_lag_ms(rows, end),
        reason=end.reason if end else None,
        resumed=len(header.resumed),
        sessions=counts_of(sessions) if (sessions := sessions_of(rows, header)) else None,
    )


def _stamps_seen(records: Iterable[AttemptRecord]) -> dict[str, int]:
    answered = (record for record in records if record.ticket.phase == "measure" and record.first_byte_ns is not None)
    return dict(Counter(record.stamps for record in answered))


def exit_code(summary: Summary) -> int:
    """0 all fine, 1 a model had only failures, 3 the run is incomplete (which is no verdict on its models yet)."""
    if not summary.complete:
        return 3
    return int(any(model.only_failures for model in summary.models))


def _summarise_model(model: str, header: RunHeader, records: Sequence[AttemptRecord]) -> ModelSummary:
    measured = [record for record in records if record.ticket.phase == "measure"]
    requests = [(record, judge(record)) for record in final_attempts(measured)]
    fine = [record for record, outcome in requests if outcome == "ok"]
    found = _found((record for record, _ in requests), thresholds_of(header.config))
    entry = entry_of(header.config, model)
    return ModelSummary(
        model=model,
        gateway=records[0].ticket.gateway if records else entry.get("gateway"),
        simulated=model in header.simulated,
        requests=len(requests),
        attempts=len(measured),
        outcomes=_count_outcomes(outcome for _, outcome in requests),
        metrics={column: estimate(values) for column, values in _samples(fine).items()},
        usage=_tokens(measured),
        cost_usd=cost_of(measured, price_in(header.config, model)),
        left_out=len(requests) - len(fine),
        warmup=len(final_attempts(record for record in records if record.ticket.phase == "warmup")),
        gaps_unknown_share=_gaps_unknown_share(fine),
        failures=_failures(requests),
        evidence=_examples(requests),
        findings=_count_findings(found),
        facts={name: next(one.fact for one in found if one.name == name) for name in _count_findings(found)},
    )


def estimate(values: Sequence[float] | array[float]) -> Estimate:
    """Mean and percentiles of a sample, None for those that its size cannot carry (`NEEDED`)."""
    if not values:
        return Estimate()
    mean, found = mean_and_quantiles(values, [int(name[1:]) / 100 for name in NEEDED])
    carried = {
        name: value if len(values) >= needed else None
        for (name, needed), value in zip(NEEDED.items(), found, strict=True)
    }
    return Estimate(n=len(values), mean=mean, **carried)


def _samples(records: Iterable[AttemptRecord]) -> dict[str, array[float]]:
    """The values of every metric, by its column."""
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
        gaps = chunk_gaps(record.timeline) if record.streamed else []  # a whole answer has none to observe
        unknown += gaps.count(None)
        known += len(gaps) - gaps.count(None)
    return unknown / (known + unknown) if known + unknown else None


def _failures(requests: Iterable[tuple[AttemptRecord, Outcome]]) -> tuple[tuple[str, int], ...]:
    counts = Counter(evidence(record, outcome) for record, outcome in requests if outcome != "ok")
    return tuple(counts.most_common(MESSAGES))


def _examples(requests: Iterable[tuple[AttemptRecord, Outcome]]) -> dict[Outcome, Example]:
    told: dict[Outcome, Counter[str]] = {outcome: Counter() for outcome in OUTCOMES if outcome != "ok"}
    for record, outcome in requests:
        if outcome != "ok":
            told[outcome][evidence(record, outcome)] += 1
    return {outcome: Example(*counts.most_common(1)[0]) for outcome, counts in told.items() if counts}


def _found(records: Iterable[AttemptRecord], thresholds: Thresholds) -> list[Finding]:
    return [one for record in records for one in findings(record, thresholds)]


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

"""The leaderboard as data: each model's estimates with intervals, comparisons of all pairs of models, the ranking.

The page and the Markdown report both render this data. Estimates use the measured phase's `ok` requests, as the
summary does, and are computed by `stats`.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING

from streambench.analysis.insights.catalogue import insights_of
from streambench.analysis.insights.insight import Insight
from streambench.analysis.stats.estimates import Estimate, Sample, estimate, sample
from streambench.analysis.stats.paired import Comparison, Rank, compare_all, rank, sample_of_prompts
from streambench.analysis.summary import ModelSummary, Summary, summary_of
from streambench.metrics.definitions import BY_COLUMN, NS_PER_MS, known_gaps
from streambench.metrics.quantiles import Statistic
from streambench.text import distinct, for_html

if TYPE_CHECKING:
    from streambench.analysis.frames import Frame
    from streambench.analysis.run import Run

RANKED = ("ttft_ms", "output_tok_s", "e2e_ms")
"""The metrics in which models are compared and ranked.

Holm's correction covers the pairs of one metric. If it covered all three metrics, ten models on twelve prompts could
never be shown to differ.
"""

PAIR_WORK = 80_000_000
"""Limit on comparisons x prompts^2: the cost of a comparison grows with the square of its prompts."""
LEAST_PROMPTS = 60

GAP, WITH_FAILURES = "chunk_gap_ms", "ttft_with_failures_ms"


@dataclass(frozen=True, slots=True)
class LeaderboardColumn:
    """One column of the leaderboard: a statistic of a row of METRICS, which `column` names.

    It is of the `ok` requests. `with_failures` adds each failed request as an infinite value.
    """

    column: str
    statistic: Statistic
    with_failures: bool = False

    @property
    def metric(self) -> str:
        """The name in `key` and in frames: `ttft_ms`, `ttft_with_failures_ms`."""
        return WITH_FAILURES if self.with_failures else self.column

    @property
    def head(self) -> str:
        statistic = f"{self.statistic} with failures" if self.with_failures else self.statistic
        return BY_COLUMN[self.column].head(statistic)

    @property
    def key(self) -> str:
        return f"{self.metric}:{self.statistic}"


STREAMED = ("ttft_ms", "output_tok_s")
"""Metrics in which non-streamed responses are not ranked: their first token arrives with the last, at no rate."""

COLUMNS: tuple[LeaderboardColumn, ...] = (
    LeaderboardColumn("ttft_ms", "p50"),
    LeaderboardColumn("ttft_ms", "p95"),
    LeaderboardColumn("ttft_ms", "p99"),
    LeaderboardColumn("ttft_ms", "p95", with_failures=True),
    LeaderboardColumn("ttfa_ms", "p50"),
    LeaderboardColumn(GAP, "p50"),
    LeaderboardColumn(GAP, "p99"),
    LeaderboardColumn("tpot_ms", "p50"),
    LeaderboardColumn("output_tok_s", "p50"),
    LeaderboardColumn("e2e_ms", "p50"),
    LeaderboardColumn("e2e_ms", "p95"),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of one model's measured `ok` requests that decide which columns and rankings a leaderboard shows."""

    whole: bool = False
    """True if no response was streamed."""
    answers_later: bool = False
    """True if some answer began after the first output, because reasoning came first."""
    called: tuple[int, int] | None = None
    """(responses that called a tool, responses that could); None if no response could."""
    formed: tuple[int, int] | None = None
    """(responses with the requested JSON, responses that were judged); None if no request asked for JSON."""


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """One model: its summary, its display name, and its estimates by `LeaderboardColumn.key`."""

    model: ModelSummary
    name: str
    estimates: Mapping[str, Estimate]
    facts: Facts

    @property
    def failed(self) -> int:
        """Number of measured requests that failed; cancelled ones do not count."""
        return self.model.requests - self.model.ok - self.model.outcomes.get("cancelled", 0)

    @property
    def asked(self) -> int:
        """Number of measured requests without cancelled ones."""
        return self.model.requests - self.model.outcomes.get("cancelled", 0)


@dataclass(frozen=True)
class Leaderboard:
    """A run's leaderboard. `comparisons` are by metric and use the models' display names.

    `thinned` is (prompts compared, all prompts) if the comparisons used only some of the prompts, else None.
    """

    summary: Summary
    rows: tuple[LeaderboardRow, ...]
    comparisons: Mapping[str, tuple[Comparison, ...]]
    thinned: tuple[int, int] | None
    parts: tuple[Insight, ...] = ()
    """The run's insights, such as on conversations, gateways and streaming."""
    remarks: tuple[str, ...] = ()
    """Notes shown first if the run combines several runs."""

    @property
    def lag_ms(self) -> float | None:
        """The client lag (p99, else the maximum) in ms, to which latencies are rounded; None if unknown."""
        return self.summary.client_lag_ms.get("p99") or self.summary.client_lag_ms.get("max")

    @property
    def requests(self) -> int:
        return sum(row.model.requests for row in self.rows)

    @property
    def columns(self) -> tuple[LeaderboardColumn, ...]:
        """The columns to show. TTFA is left out if it equals TTFT: no model's answer began after its first output."""
        later = any(row.facts.answers_later for row in self.rows)
        return tuple(column for column in COLUMNS if later or column.metric != "ttfa_ms")

    @property
    def unranked(self) -> tuple[str, ...]:
        """Models without streamed responses, if other models stream: they are not ranked by the metrics of STREAMED."""
        wholes = tuple(row.name for row in self.rows if row.facts.whole)
        streams = any(row.model.ok and not row.facts.whole for row in self.rows)
        return wholes if streams else ()

    def resolution(self, metric: str, row: LeaderboardRow) -> float | None:
        """Returns the uncertainty that the client lag adds to an estimate, in the estimate's unit; None if unknown.

        For a latency that is the lag. For a speed it is the speed x lag / (E2E p50 - TTFT p50).
        """
        if metric == WITH_FAILURES or BY_COLUMN[metric].unit == "ms" or self.lag_ms is None:
            return self.lag_ms
        speed, start, end = (row.estimates[f"{name}:p50"].value for name in (metric, "ttft_ms", "e2e_ms"))
        if speed is None or start is None or end is None or end <= start:
            return None
        return speed * self.lag_ms / (end - start)

    def row(self, name: str) -> LeaderboardRow:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> Mapping[str, LeaderboardRow]:
        return {row.name: row for row in self.rows}

    def places(self, metric: str) -> list[Rank]:
        """Returns the ranks of the models with a value of `metric` (one of RANKED), best first."""
        sign = 1 if BY_COLUMN[metric].better == "lower" else -1
        middles = {row.name: row.estimates[f"{metric}:p50"].value for row in self.rows}
        barred = self.unranked if metric in STREAMED else ()
        known = {name: sign * value for name, value in middles.items() if value is not None and name not in barred}
        return rank(sorted(known, key=lambda name: known[name]), self.comparisons[metric], known)

    def between(self, metric: str, one: str, other: str) -> Comparison | None:
        """Returns the comparison of two models, given in either order; None if there is none."""
        return next((each for each in self.comparisons[metric] if {each.a, each.b} == {one, other}), None)


def leaderboard_of(run: Run, summary: Summary | None = None) -> Leaderboard:
    """Returns the leaderboard of a run, which may have no requests. The same run always gives the same numbers."""
    summary = summary or summary_of(run)
    names = distinct((model.model for model in summary.models), for_html)
    rows = run.requests
    measured = rows[~rows["warmup"].astype(bool)]
    gaps = _gaps(run)
    parts = {str(name): part for name, part in measured.groupby("model", observed=True)}
    empty = measured.iloc[:0]
    comparisons, sampled = _comparisons(measured, names)
    return Leaderboard(
        summary=summary,
        rows=tuple(
            LeaderboardRow(
                model,
                names[model.model],
                _estimates(parts.get(model.model, empty), gaps.get(model.model, ([], [])), run.header.seed),
                _facts(parts.get(model.model, empty)),
            )
            for model in summary.models
        ),
        comparisons=comparisons,
        thinned=sampled,
        parts=insights_of(run, names),
    )


def _facts(part: Frame) -> Facts:
    ok = part[part["outcome"] == "ok"]
    if not len(ok):
        return Facts()
    could = ok[(ok["tools_declared"].fillna(0) > 0) & (ok["tool_choice"].astype(object) != "none")]
    asked = ok[ok["json_asked"].notna()]
    judged = asked["json_valid"].dropna()
    return Facts(
        whole=not bool(ok["streamed"].fillna(value=True).any()),
        answers_later=bool((ok["ttfa_ms"] > ok["ttft_ms"]).any()),
        called=(int((could["tool_calls"] > 0).sum()), len(could)) if len(could) else None,
        formed=(int(judged.sum()), len(judged)) if len(asked) else None,
    )


def _estimates(part: Frame, gaps: Gaps, seed: int) -> dict[str, Estimate]:
    samples = _samples(part, gaps)
    return {column.key: estimate(samples[column.metric], column.statistic, abs(seed)) for column in COLUMNS}


def _samples(part: Frame, gaps: Gaps) -> dict[str, Sample]:
    ok = part[part["outcome"] == "ok"]
    asked = part[part["outcome"] != "cancelled"]
    samples = {
        metric: sample(ok[metric].to_numpy(dtype=float), ok["prompt_id"].astype(str).to_numpy(dtype=str))
        for metric in dict.fromkeys(column.metric for column in COLUMNS)
        if metric not in (GAP, WITH_FAILURES)
    }
    samples[GAP] = sample(gaps[0], gaps[1])
    samples[WITH_FAILURES] = sample(
        asked["ttft_ms"].to_numpy(dtype=float),
        asked["prompt_id"].astype(str).to_numpy(dtype=str),
        (asked["outcome"] != "ok").to_numpy(dtype=bool),
    )
    return samples


Gaps = tuple[Sequence[float], Sequence[int]]
"""(observed chunk gaps in ms, the number of each gap's prompt). Prompts are numbered in the order of their names."""


def _gaps(run: Run) -> dict[str, Gaps]:
    """Returns the chunk gaps of the measured `ok` requests, by model."""
    ok = [request.record for request in run.measured if request.ok]
    prompts = {name: number for number, name in enumerate(sorted({record.ticket.prompt_id for record in ok}))}
    found: dict[str, tuple[array[float], array[int]]] = {}
    for record in ok:
        values, numbers = found.setdefault(record.ticket.model, (array("d"), array("q")))
        gaps = known_gaps(record.timeline)
        values.extend(gap / NS_PER_MS for gap in gaps)
        numbers.extend(repeat(prompts[record.ticket.prompt_id], len(gaps)))
    return dict(found)


def _comparisons(
    measured: Frame, names: Mapping[str, str]
) -> tuple[dict[str, tuple[Comparison, ...]], tuple[int, int] | None]:
    ok = measured[measured["outcome"] == "ok"]
    models = [name for name in names if (ok["model"] == name).any()]
    wholes = [name for name in models if _facts(ok[ok["model"] == name]).whole]
    streams = [name for name in models if name not in wholes] or models
    most, prompts = _prompts_at_most(len(models)), ok["prompt_id"].nunique()
    rows = sample_of_prompts(ok, most)
    among = {metric: streams if metric in STREAMED else models for metric in RANKED}
    comparisons = {metric: _pairs(rows, metric, among[metric], names) for metric in RANKED}
    return comparisons, (most, prompts) if prompts > most else None


def _pairs(ok: Frame, metric: str, models: Sequence[str], names: Mapping[str, str]) -> tuple[Comparison, ...]:
    found = compare_all(ok, {metric: BY_COLUMN[metric].better or "lower"}, models)
    return tuple(replace(each, a=names[each.a], b=names[each.b]) for each in found)


def _prompts_at_most(models: int) -> int:
    comparisons = max(1, len(RANKED) * models * (models - 1) // 2)
    return max(LEAST_PROMPTS, math.isqrt(PAIR_WORK // comparisons))

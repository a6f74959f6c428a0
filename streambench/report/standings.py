"""The verdict as data: each model's estimates with their intervals, every pair compared, the models ranked.

The page and the Markdown draw from this, so they say the same. Numbers come from `stats`; what is counted is the
measured phase's `ok` requests, as in the summary.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Literal

from streambench import stats
from streambench.health import judge
from streambench.metrics import METRICS, NS_PER_MS, known_gaps
from streambench.parts import Part, parts_of
from streambench.records import AttemptRecord, final_attempts
from streambench.report.names import shown_names
from streambench.report.summary import ModelSummary, Summary, summarise
from streambench.stats import Comparison, Estimate, Place, Sample, Statistic

if TYPE_CHECKING:
    from streambench.frames import Frame
    from streambench.results import Run

COMPARED: Mapping[str, Literal["lower", "higher"]] = {"ttft_ms": "lower", "output_tok_s": "higher", "e2e_ms": "lower"}
"""The metrics in which models are compared, and which way is better. Each is a question of its own: Holm's correction
is over its pairs. Over all three together ten models could not be told apart on twelve prompts, whatever they did.
"""

PAIR_WORK = 80_000_000
"""Comparisons times prompts squared, at most: what a comparison takes grows with the square of its prompts."""
LEAST_PROMPTS = 60

GAP, WITH_FAILURES = "chunk_gap_ms", "ttft_with_failures_ms"
UNITS: Mapping[str, str] = {**{metric.column: metric.unit for metric in METRICS}, WITH_FAILURES: "ms"}


@dataclass(frozen=True, slots=True)
class Column:
    """One estimate of the leaderboard."""

    metric: str
    statistic: Statistic
    head: str
    better: Literal["lower", "higher"]

    @property
    def key(self) -> str:
        return f"{self.metric}:{self.statistic}"


STREAMED = ("ttft_ms", "output_tok_s")
"""Where a whole answer cannot be ranked with streams: its first word comes with its last, and it has no pace."""

COLUMNS: tuple[Column, ...] = (
    Column("ttft_ms", "p50", "TTFT p50, ms", "lower"),
    Column("ttft_ms", "p95", "TTFT p95, ms", "lower"),
    Column("ttft_ms", "p99", "TTFT p99, ms", "lower"),
    Column(WITH_FAILURES, "p95", "TTFT p95 with failures, ms", "lower"),
    Column("ttfa_ms", "p50", "TTFA p50, ms", "lower"),
    Column(GAP, "p50", "chunk gap p50, ms", "lower"),
    Column(GAP, "p99", "chunk gap p99, ms", "lower"),
    Column("tpot_ms", "p50", "TPOT p50, ms", "lower"),
    Column("output_tok_s", "p50", "output speed p50, tok/s", "higher"),
    Column("e2e_ms", "p50", "E2E p50, ms", "lower"),
    Column("e2e_ms", "p95", "E2E p95, ms", "lower"),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What of one model's measured `ok` requests decides which columns a board has."""

    whole: bool = False
    """All came as whole answers, none as a stream."""
    answers_later: bool = False
    """Some answer began after the first output: thoughts came before it."""
    called: tuple[int, int] | None = None
    """Answers that called a tool, of those that could; None where none was asked for."""
    formed: tuple[int, int] | None = None
    """Answers that are the JSON that was asked for, of those judged; None where none was asked for."""


@dataclass(frozen=True, slots=True)
class Row:
    """One model: its summary, the name it is shown by, and its estimates by `Column.key`."""

    model: ModelSummary
    name: str
    estimates: Mapping[str, Estimate]
    facts: Facts

    @property
    def failed(self) -> int:
        """Measured requests that broke; one that we cancelled ourselves did not."""
        return self.model.requests - self.model.ok - self.model.outcomes.get("cancelled", 0)

    @property
    def asked(self) -> int:
        return self.model.requests - self.model.outcomes.get("cancelled", 0)


@dataclass(frozen=True)
class Board:
    """A run's verdict. `comparisons` have the models' shown names, by metric; `thinned` is None or the prompts used."""

    summary: Summary
    rows: tuple[Row, ...]
    comparisons: Mapping[str, tuple[Comparison, ...]]
    thinned: tuple[int, int] | None
    parts: tuple[Part, ...] = ()
    """What else this run answers: of turns, of gateways, of streaming."""
    remarks: tuple[str, ...] = ()
    """What is to be known before all else, where the run is several together."""

    @property
    def lag_ms(self) -> float | None:
        """What the digits of a latency are cut at: the 99th percentile of our own lateness."""
        return self.summary.client_lag_ms.get("p99") or self.summary.client_lag_ms.get("max")

    @property
    def requests(self) -> int:
        return sum(row.model.requests for row in self.rows)

    @property
    def columns(self) -> tuple[Column, ...]:
        """TTFA only where some model's answer began after its first output; else it is TTFT again."""
        later = any(row.facts.answers_later for row in self.rows)
        return tuple(column for column in COLUMNS if later or column.metric != "ttfa_ms")

    @property
    def unranked(self) -> tuple[str, ...]:
        """Models with whole answers, beside others that stream: not ranked by what only a stream has."""
        wholes = tuple(row.name for row in self.rows if row.facts.whole)
        streams = any(row.model.ok and not row.facts.whole for row in self.rows)
        return wholes if streams else ()

    def resolution(self, metric: str, row: Row) -> float | None:
        """What of an estimate is not measured, in its unit: our lag, and of a speed what it makes of the time."""
        if UNITS[metric] == "ms" or self.lag_ms is None:
            return self.lag_ms
        speed, start, end = (row.estimates[f"{name}:p50"].value for name in (metric, "ttft_ms", "e2e_ms"))
        if speed is None or start is None or end is None or end <= start:
            return None
        return speed * self.lag_ms / (end - start)

    def row(self, name: str) -> Row:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> Mapping[str, Row]:
        return {row.name: row for row in self.rows}

    def places(self, metric: str) -> list[Place]:
        """The models that have a value of the metric, best first."""
        sign = 1 if COMPARED[metric] == "lower" else -1
        middles = {row.name: row.estimates[f"{metric}:p50"].value for row in self.rows}
        barred = self.unranked if metric in STREAMED else ()
        known = {name: sign * value for name, value in middles.items() if value is not None and name not in barred}
        return stats.rank(sorted(known, key=lambda name: known[name]), self.comparisons[metric], known)

    def between(self, metric: str, one: str, other: str) -> Comparison | None:
        """The comparison of the two, whichever was named first."""
        return next((each for each in self.comparisons[metric] if {each.a, each.b} == {one, other}), None)


def board(run: Run, summary: Summary | None = None) -> Board:
    """The verdict on a run, also on one without requests. Same run, same numbers."""
    summary = summary or summarise(run.header, run.records, run.end)
    names = shown_names(model.model for model in summary.models)
    rows = run.requests
    measured = rows[~rows["warmup"].astype(bool)]
    gaps = _gaps(run)
    parts = {str(name): part for name, part in measured.groupby("model", observed=True)}
    empty = measured.iloc[:0]
    comparisons, thinned = _compared(measured, names)
    return Board(
        summary=summary,
        rows=tuple(
            Row(
                model,
                names[model.model],
                _estimates(parts.get(model.model, empty), gaps.get(model.model, ([], [])), run.header.seed),
                _facts(parts.get(model.model, empty)),
            )
            for model in summary.models
        ),
        comparisons=comparisons,
        thinned=thinned,
        parts=parts_of(run, names),
    )


def _facts(part: Frame) -> Facts:
    fine = part[part["outcome"] == "ok"]
    if not len(fine):
        return Facts()
    could = fine[(fine["tools_declared"].fillna(0) > 0) & (fine["tool_choice"].astype(object) != "none")]
    asked = fine[fine["json_asked"].notna()]
    judged = asked["json_valid"].dropna()
    return Facts(
        whole=not bool(fine["streamed"].fillna(value=True).any()),
        answers_later=bool((fine["ttfa_ms"] > fine["ttft_ms"]).any()),
        called=(int((could["tool_calls"] > 0).sum()), len(could)) if len(could) else None,
        formed=(int(judged.sum()), len(judged)) if len(asked) else None,
    )


def _estimates(part: Frame, gaps: Gaps, seed: int) -> dict[str, Estimate]:
    samples = _samples(part, gaps)
    return {column.key: stats.estimate(samples[column.metric], column.statistic, abs(seed)) for column in COLUMNS}


def _samples(part: Frame, gaps: Gaps) -> dict[str, Sample]:
    fine = part[part["outcome"] == "ok"]
    asked = part[part["outcome"] != "cancelled"]
    samples = {
        metric: stats.sample(fine[metric].to_numpy(dtype=float), fine["prompt_id"].astype(str).to_numpy(dtype=str))
        for metric in dict.fromkeys(column.metric for column in COLUMNS)
        if metric not in (GAP, WITH_FAILURES)
    }
    samples[GAP] = stats.sample(gaps[0], gaps[1])
    samples[WITH_FAILURES] = stats.sample(
        asked["ttft_ms"].to_numpy(dtype=float),
        asked["prompt_id"].astype(str).to_numpy(dtype=str),
        (asked["outcome"] != "ok").to_numpy(dtype=bool),
    )
    return samples


Gaps = tuple[Sequence[float], Sequence[int]]
"""Observed gaps in ms, and the number of each one's prompt, in the order of their names."""


def _gaps(run: Run) -> dict[str, Gaps]:
    """By model."""
    fine = [record for record in _last_of_each(run) if judge(record) == "ok"]
    prompts = {name: number for number, name in enumerate(sorted({record.ticket.prompt_id for record in fine}))}
    found: dict[str, tuple[array[float], array[int]]] = {}
    for record in fine:
        values, numbers = found.setdefault(record.ticket.model, (array("d"), array("q")))
        gaps = known_gaps(record.timeline)
        values.extend(gap / NS_PER_MS for gap in gaps)
        numbers.extend(repeat(prompts[record.ticket.prompt_id], len(gaps)))
    return dict(found)


def _last_of_each(run: Run) -> list[AttemptRecord]:
    """Of each measured request the attempt that decides."""
    return final_attempts(record for record in run.records if record.ticket.phase == "measure")


def _compared(
    measured: Frame, names: Mapping[str, str]
) -> tuple[dict[str, tuple[Comparison, ...]], tuple[int, int] | None]:
    fine = measured[measured["outcome"] == "ok"]
    models = [name for name in names if (fine["model"] == name).any()]
    wholes = [name for name in models if _facts(fine[fine["model"] == name]).whole]
    streams = [name for name in models if name not in wholes] or models
    prompts = sorted({str(prompt) for prompt in fine["prompt_id"]})
    most = _prompts_at_most(len(models))
    thinned = None
    if len(prompts) > most:
        thinned = (most, len(prompts))
        kept = {prompts[place * len(prompts) // most] for place in range(most)}
        fine = fine[fine["prompt_id"].astype(str).isin(kept)]
    fine = fine.drop_duplicates(["model", "run_id", "prompt_id", "repeat", "turn"])
    among = {metric: streams if metric in STREAMED else models for metric in COMPARED}
    return {metric: _pairs(fine, metric, among[metric], names) for metric in COMPARED}, thinned


def _pairs(fine: Frame, metric: str, models: Sequence[str], names: Mapping[str, str]) -> tuple[Comparison, ...]:
    found = stats.compare_all(fine, {metric: COMPARED[metric]}, models)
    return tuple(replace(each, a=names[each.a], b=names[each.b]) for each in found)


def _prompts_at_most(models: int) -> int:
    comparisons = max(1, len(COMPARED) * models * (models - 1) // 2)
    return max(LEAST_PROMPTS, math.isqrt(PAIR_WORK // comparisons))

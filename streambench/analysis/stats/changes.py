"""Compares two runs of one model, paired by prompt, decides on limits for the change, and finds shifts over many runs.

Prompts are the same in both runs, so differences between prompts, such as their length, cancel out. A decision has
three values, because a sample may be too small to decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from streambench.analysis.stats.estimates import (
    LEVEL,
    Estimate,
    Floats,
    Sample,
    expanded,
    ordered_ends,
    resampled,
    sample,
    share_parts,
    spread,
)
from streambench.analysis.stats.normal import normal_quantile, normal_share, t_quantile
from streambench.analysis.stats.number_format import change_interval
from streambench.analysis.stats.paired import ALPHA, Better, exponential, holm
from streambench.analysis.stats.signed_rank import MIN_PROMPTS, typical
from streambench.metrics.quantiles import STATISTICS, Statistic, at_position, quantile

CHANGE_NEEDED: Mapping[Statistic, tuple[int, int]] = {
    "p50": (MIN_PROMPTS, MIN_PROMPTS),
    "mean": (20, 20),
    "p90": (60, 20),
    "p95": (180, 36),
    "p99": (1_200, 300),
}
"""(values in each run, prompts in both runs) that the interval of a change needs, by statistic."""

Decision = Literal["held", "failed", "undecided"]


@dataclass(frozen=True, slots=True)
class Change:
    """One model's change in one metric. `base` and `new` are the statistic over the prompts answered in both runs.

    `ratio` is new / base with its 95 % interval. `p` tests "no change"; `p_holm` is corrected for all changes computed
    together. Both are None if there is no interval.
    """

    model: str
    metric: str
    statistic: Statistic
    better: Better
    base: float | None
    new: float | None
    ratio: Estimate
    p: float | None
    p_holm: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, and a sentence that gives the reason."""

    decision: Decision
    why: str


@dataclass(frozen=True, slots=True)
class Shift:
    """A change of level just before entry `at` of a series: the medians before and after it, and the p-value."""

    at: int
    before: float
    after: float
    p: float


def change(
    base: tuple[Any, Any],
    new: tuple[Any, Any],
    model: str = "",
    metric: str = "",
    statistic: Statistic = "p50",
    better: Better = "lower",
    seed: int = 0,
) -> Change:
    """Returns the change between two samples (values (n,), prompts (n,)) of one model, over the prompts in both.

    p50: a prompt's ratio is the median of all ratios of its answers in the two runs; the typical ratio over prompts is
    estimated and tested by signed ranks of the logs (`signed_rank.typical`). Other statistics: the ratio of the
    statistics over all values, on the log scale. Its interval comes for means from a percentile bootstrap over the
    shared prompts, with the same draws in both runs, expanded (Hesterberg 2015); for percentiles from their linear form
    over prompts (Francisco and Fuller 1991). `p` comes from the interval's width. The ratio is None if a value is not
    above 0. `p_holm` equals `p`: use `corrected_changes` for several. Raises ValueError if lengths differ.
    """
    one, other, prompts = _shared(base, new)
    value_one, value_other = (_value(each, statistic) for each in (one, other))
    ratio, p = _ratio(one, other, statistic, seed)
    ratio = replace(ratio, n=one.n + other.n, clusters=prompts)
    return Change(model, metric, statistic, better, value_one, value_other, ratio, p, p)


def corrected_changes(changes: Iterable[Change]) -> list[Change]:
    """Returns the changes with `p_holm` corrected over all of them (Holm 1979)."""
    found = list(changes)
    adjusted = iter(holm([each.p for each in found if each.p is not None]))
    return [each if each.p is None else replace(each, p_holm=next(adjusted)) for each in found]


def decide(change: Change, limit: float, *, strict: bool = False) -> Verdict:
    """Decides whether the model got worse by no more than `limit` (0.10 is 10 %).

    Worse means higher, or lower for a metric where higher is better. held: the whole interval is within the limit.
    failed: the worsening is significant (corrected p below 0.05) and its estimate is beyond the limit; with `strict`,
    the whole interval is beyond the limit. undecided: anything else. `strict` is not the default because a true 15 %
    against a limit of 10 % would stay undecided until the interval is as narrow as 5 %, which takes about 100 prompts;
    docs/statistics.md has the error rates of both.
    """
    ratio = change.ratio
    name = f"{change.model}: {change.metric} {change.statistic}".strip(": ")
    if ratio.value is None or ratio.low is None or ratio.high is None:
        return Verdict("undecided", f"{name}: the change needs {ratio.interval_needs or 'values in both runs'}")
    worse = _worsening(ratio.value, ratio.low, ratio.high, change.better)
    fact = f"{name} {_in_percent(worse, change.better)}, limit {100 * limit:g} %"
    certain = change.p_holm is not None and change.p_holm < ALPHA and worse[1] > 0
    if worse[2] <= limit:
        return Verdict("held", fact)
    beyond = worse[1] > limit if strict else certain and worse[0] > limit
    return Verdict("failed" if beyond else "undecided", fact)


def within(
    value: tuple[float | None, float | None, float | None], at_most: float | None = None, at_least: float | None = None
) -> Decision:
    """Decides whether a (number, low, high) is within limits: held or failed only if the whole interval agrees."""
    _, low, high = value
    if low is None or high is None:
        return "undecided"
    kept = (at_most is None or high <= at_most) and (at_least is None or low >= at_least)
    broken = (at_most is not None and low > at_most) or (at_least is not None and high < at_least)
    return "held" if kept else "failed" if broken else "undecided"


def shifts(series: Sequence[float], seed: int = 0, permutations: int = 1_999, shortest: int = 3) -> list[Shift]:
    """Returns the changes of level in a series over runs (oldest first, finite values), in order.

    Uses the rank statistic of Pettitt 1979 with a permutation p-value, which is also valid for few runs. After a shift
    with p < 0.05, both sides are searched again. Each side has at least `shortest` runs. Fewer than 8 runs never show
    a shift.
    """
    values = np.asarray(series, dtype=np.float64)
    return sorted(_shifts(values, 0, np.random.default_rng(seed), permutations, shortest), key=lambda shift: shift.at)


# --- the change


def _shared(base: tuple[Any, Any], new: tuple[Any, Any]) -> tuple[Sample, Sample, int]:
    (one, one_prompts), (other, other_prompts) = (_finite(*each) for each in (base, new))
    both = np.intersect1d(one_prompts, other_prompts)
    in_one, in_other = np.isin(one_prompts, both), np.isin(other_prompts, both)
    # Both samples number the same sorted names, so a prompt has the same number in both.
    return sample(one[in_one], one_prompts[in_one]), sample(other[in_other], other_prompts[in_other]), len(both)


def _finite(values: Any, prompts: Any) -> tuple[Floats, np.ndarray[Any, Any]]:
    numbers, labels = np.asarray(values, dtype=np.float64), np.asarray([str(prompt) for prompt in prompts], dtype=str)
    if numbers.shape != labels.shape:
        raise ValueError(f"{numbers.shape} values of {labels.shape} prompts")
    return numbers[np.isfinite(numbers)], labels[np.isfinite(numbers)]


def _value(of: Sample, statistic: Statistic) -> float | None:
    if not of.n:
        return None
    level = STATISTICS[statistic]
    return float(of.values.mean()) if level is None else quantile(of.values, level)


def _ratio(one: Sample, other: Sample, statistic: Statistic, seed: int) -> tuple[Estimate, float | None]:
    values, prompts = CHANGE_NEEDED[statistic]
    needs = (
        f"{prompts} prompts in both runs" if values == prompts else f"{values} values of {prompts} prompts in each run"
    )
    unknown = Estimate(None, None, None, 0, one.prompts, 1, needs)
    if not one.n or min(one.values[0], other.values[0]) <= 0:
        return unknown, None
    if statistic == "p50":
        value, ends, p = _typical_move(one, other)
    else:
        value = move = _log_statistic(other, statistic) - _log_statistic(one, statistic)
        enough = min(one.n, other.n) >= values and one.prompts >= prompts
        ends = _ends(one, other, statistic, move, seed) if enough else None
        p = None if ends is None else _p_of(move, ends[1] - ends[0])
    if ends is None or value is None:
        return exponential(replace(unknown, value=value)), None
    known = replace(unknown, value=value, low=min(ends[0], value), high=max(ends[1], value), interval_needs="")
    return exponential(known), p


def _typical_move(one: Sample, other: Sample) -> tuple[float | None, tuple[float, float] | None, float | None]:
    found = typical(_moves(one, other))
    if found is None or found.low is None or found.high is None:
        return (found.value if found else None), None, None
    return found.value, (found.low, found.high), found.p


def _moves(one: Sample, other: Sample) -> Floats:
    """Returns, for each prompt, the median of all log ratios of a new answer to a base answer, shape (prompts,).

    This is the shift of two samples by Hodges and Lehmann 1963. With three repeats it is far more efficient than the
    ratio of two medians.
    """
    base, new = _by_prompt(one), _by_prompt(other)
    return np.array([np.median(np.subtract.outer(late, early)) for early, late in zip(base, new, strict=True)])


def _by_prompt(of: Sample) -> list[Floats]:
    order = np.argsort(of.clusters, kind="stable")
    return np.split(np.log(of.values[order]), np.cumsum(np.bincount(of.clusters))[:-1])


def _log_statistic(of: Sample, statistic: Statistic) -> float:
    return math.log(_value(of, statistic) or math.nan)


def _ends(one: Sample, other: Sample, statistic: Statistic, value: float, seed: int) -> tuple[float, float] | None:
    level = STATISTICS[statistic]
    if level is None:
        drawn = resampled(one.prompts, seed)
        return ordered_ends(_mean_logs(other, drawn) - _mean_logs(one, drawn), expanded(one.prompts))
    parts = [_percentile_parts(each, level) for each in (other, one)]
    if parts[0] is None or parts[1] is None:
        return None
    reach = t_quantile((1 + LEVEL) / 2, one.prompts - 1) * math.sqrt(spread(parts[0] - parts[1]))
    return value - reach, value + reach


def _mean_logs(of: Sample, drawn: Floats) -> Floats:
    sums = np.bincount(of.clusters, of.values, minlength=of.prompts)
    found: Floats = np.log(drawn @ sums / (drawn @ np.bincount(of.clusters, minlength=of.prompts)))
    return found


def _percentile_parts(of: Sample, level: float) -> Floats | None:
    """Returns each prompt's contribution to the error of a percentile's log, shape (prompts,).

    The share of values up to the percentile has a standard error. The slope of the log values between `level` - error
    and `level` + error converts it into an error of the log (Woodruff 1952; Francisco and Fuller 1991). Returns None if
    `level` + error lies beyond the largest value of the sample.
    """
    parts = share_parts(of, quantile(of.values, level))
    reach = max(math.sqrt(spread(parts)), math.sqrt(level * (1 - level) / of.n))
    if level + reach >= of.n / (of.n + 1):
        return None
    low, high = (at_position((of.n + 1) * (level + side * reach) - 1, of.values) for side in (-1, 1))
    found: Floats = parts * math.log(high / low) / (2 * reach)
    return found


def _p_of(value: float, width: float) -> float:
    error = width / (2 * normal_quantile((1 + LEVEL) / 2))
    return min(1.0, 2 * normal_share(-abs(value) / error)) if error > 0 else float(value == 0)


# --- the decision


def _worsening(value: float, low: float, high: float, better: Better) -> tuple[float, float, float]:
    """Returns (estimate, low, high) of the worsening as a share of the base; negative if the model got better."""
    if better == "lower":
        return value - 1, low - 1, high - 1
    return 1 - value, 1 - high, 1 - low


def _in_percent(worse: tuple[float, float, float], better: Better) -> str:
    sign = 1 if better == "lower" else -1
    value, low, high = (sign * part for part in worse)
    return f"changed by {change_interval(value, min(low, high), max(low, high))}"


# --- shifts


def _shifts(values: Floats, start: int, draw: np.random.Generator, permutations: int, shortest: int) -> list[Shift]:
    if len(values) < 2 * shortest:
        return []
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    size, at = _pettitt(ranks[None, :], shortest)
    drawn, _ = _pettitt(draw.permuted(np.tile(ranks, (permutations, 1)), axis=1), shortest)
    p = float(1 + np.sum(drawn >= size[0] - 1e-9)) / (1 + permutations)
    if p >= ALPHA:
        return []
    cut = int(at[0])
    before, after = values[:cut], values[cut:]
    here = Shift(start + cut, float(np.median(before)), float(np.median(after)), p)
    return [
        *_shifts(before, start, draw, permutations, shortest),
        here,
        *_shifts(after, start + cut, draw, permutations, shortest),
    ]


def _pettitt(ranks: Floats, shortest: int) -> tuple[Floats, Any]:
    """Returns, for each row, the largest |U| over cuts with at least `shortest` entries on both sides, and its cut.

    Both have shape (rows,).
    """
    n = ranks.shape[1]
    cuts = np.arange(shortest, n - shortest + 1)
    excess = np.cumsum(ranks - (n + 1) / 2, axis=1)[:, cuts - 1]
    sizes = 2 * np.abs(excess)
    best = np.argmax(sizes, axis=1)
    return sizes[np.arange(len(ranks)), best], cuts[best]

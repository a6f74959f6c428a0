"""Diagnostics of a run. Each checks for one problem and returns a sentence with its numbers, or None if there is none.

Trends are tested within (model, prompt) groups: values of one group are exchangeable unless time, order or load
matters, so shuffling them inside their groups gives a valid p-value for the observed trend.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from streambench.analysis.stats.estimates import INTERVAL_NEEDED, NEEDED, Floats, Sample, share
from streambench.analysis.stats.number_format import digits, rounded, share_interval
from streambench.analysis.stats.paired import ALPHA, Comparison, by_prompt
from streambench.analysis.stats.signed_rank import typical
from streambench.metrics.quantiles import Statistic
from streambench.text import counted, percent

NOTICED = 0.05
"""Smallest relative effect that gives a warning; a smaller one gives none, even if it is significant."""
CERTAIN = 0.01
"""Significance level of a trend: 1 in 100, because each run is checked for several problems."""
SHUFFLES = 1_999
MAX_TREND = 2_000
"""Largest number of values tested for a trend; of a larger sample, about this many are drawn, in whole groups."""
LAG_SHARE = 0.5


def too_few(of: Sample, statistic: Statistic, name: str) -> str | None:
    """Returns a sentence if the sample is too small for the statistic or for its interval."""
    if of.n < NEEDED[statistic]:
        return f"{name}: {statistic} needs {counted(NEEDED[statistic], 'answer')}, but there are {of.n}"
    values, prompts = INTERVAL_NEEDED[statistic]
    if of.n < values or of.prompts < prompts:
        has = f"but there are {of.n} of {of.prompts}"
        return f"{name}: an interval of {statistic} needs {values} answers of {prompts} prompts, {has}"
    return None


def lag_too_large(comparison: Comparison, client_lag_ms: float | None) -> str | None:
    """Returns a sentence if the client lag is more than half of a significant difference. For metrics in ms."""
    size = comparison.difference.value
    if client_lag_ms is None or size is None or comparison.winner is None or client_lag_ms <= LAG_SHARE * abs(size):
        return None
    lag = rounded(client_lag_ms, digits(client_lag_ms, None, None))
    gap = rounded(abs(size), digits(size, comparison.difference.low, comparison.difference.high))
    return (
        f"{comparison.a} and {comparison.b} differ by {gap} ms in {comparison.metric}, but the client lag was {lag} ms"
    )


def drift(values: Any, groups: Any, at_ms: Any, name: str, seed: int = 0) -> str | None:
    """Returns a sentence if latency changed over the run.

    `values` (n,) are above 0; `groups` (n,) names the (model, prompt) of each, `at_ms` (n,) is its start in ms.
    """
    found = _trend(values, groups, at_ms, seed)
    if found is None:
        return None
    change, p, n = found
    minutes = (np.nanmax(at_ms) - np.nanmin(at_ms)) / 60_000
    return f"{name} {_rose(change)} from the first to the last third of {minutes:.1f} minutes ({n} answers, {_p(p)})"


def saturation(values: Any, groups: Any, in_flight: Any, name: str, seed: int = 0) -> str | None:
    """Returns a sentence if latency rises with load.

    `in_flight` (n,) is the number of requests in flight when each request started.
    """
    found = _trend(values, groups, in_flight, seed)
    if found is None or found[0] < 0:
        return None
    change, p, n = found
    return (
        f"{name} {_rose(change)} from the third with the fewest requests in flight to the third with the most "
        f"({n} answers, {_p(p)})"
    )


def warming(values: Any, groups: Any, repeats: Any, name: str) -> str | None:
    """Returns a sentence if first measured repeats of prompts differ from later ones: a cache, or too little warm-up.

    `values` (n,) are above 0, with the (model, prompt) and the repeat of each. The first repeat is compared with the
    median of the later ones, by signed ranks of the log ratios over groups that have both.
    """
    numbers, codes, order = _known(values, groups, repeats)
    first = order == order.min() if len(order) else np.zeros(0, dtype=bool)
    both = np.intersect1d(codes[first], codes[~first])
    if not len(both):
        return None
    logs = [_group_medians(np.log(numbers[part]), codes[part], both) for part in (first, ~first)]
    found = typical(logs[0] - logs[1])
    if found is None or found.p is None or found.p >= CERTAIN or abs(math.expm1(found.value)) < NOTICED:
        return None
    word = "slower" if found.value > 0 else "faster"
    size = abs(math.expm1(found.value))
    return f"{name}: first repeats are {percent(size)} {word} than later ones ({found.prompts} prompts, {_p(found.p)})"


def uneven_failures(failed: Mapping[str, tuple[int, int]], seed: int = 0) -> str | None:
    """Returns a sentence if models fail unequally, so that their `ok` requests cover different prompts.

    `failed` has (failed, asked) by model. Chi-square statistic of the table; the p-value comes from SHUFFLES random
    tables with the same margins.
    """
    table = {model: counts for model, counts in failed.items() if counts[1] > 0}
    total = sum(bad for bad, _ in table.values())
    if len(table) < 2 or total == 0:
        return None
    asked = np.array([n for _, n in table.values()])
    bad = np.array([k for k, _ in table.values()])
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(asked, total, size=SHUFFLES, method="marginals")
    p = (1 + int(np.sum(_unevenness(drawn, asked) >= _unevenness(bad, asked) - 1e-9))) / (1 + SHUFFLES)
    if p >= ALPHA:
        return None
    worst, best = (pick(table, key=lambda model: table[model][0] / table[model][1]) for pick in (max, min))
    return f"failures are uneven: {worst} {_failures(*table[worst])}, {best} {_failures(*table[best])} ({_p(p)})"


def in_flight(start_ms: Any, end_ms: Any) -> Floats:
    """Returns the number of earlier requests in flight when each request started, shape (n,).

    Starts and ends must be on the same clock; a NaN end means that the request never ended.
    """
    starts, ends = np.asarray(start_ms, dtype=np.float64), np.asarray(end_ms, dtype=np.float64)
    begun = np.searchsorted(np.sort(starts), starts, side="left")
    over = np.searchsorted(np.sort(ends[~np.isnan(ends)]), starts, side="right")
    return (begun - over).astype(np.float64)


def _unevenness(bad: Any, asked: Any) -> Any:
    """Returns Pearson's chi-square statistic up to a factor that depends only on the margins."""
    expected = asked * (bad.sum(axis=-1, keepdims=True) / asked.sum())
    return ((bad - expected) ** 2 / asked).sum(axis=-1)


def _failures(bad: int, asked: int) -> str:
    found = share(bad, asked)
    return f"{bad} of {asked} ({share_interval(found)})"


def _trend(values: Any, groups: Any, by: Any, seed: int) -> tuple[float, float, int] | None:
    """Returns (relative change from the lowest to the highest third of `by`, p, n) of a trend.

    Returns None if the sample is too small, p is not below CERTAIN, or the change is smaller than NOTICED.
    """
    numbers, codes, along = _known(values, groups, by)
    numbers, codes, along = _drawn(numbers, codes, along, seed)
    if len(numbers) < NEEDED["p95"] or np.ptp(along) == 0:
        return None
    logs = np.log(numbers)
    rest = logs - _medians_of(logs, codes)[codes]
    low, high = np.quantile(along, (1 / 3, 2 / 3))
    change = math.expm1(float(np.median(rest[along >= high]) - np.median(rest[along <= low])))
    p = _trend_p(_ranks(rest), _ranks(along), codes, seed)
    return (change, p, len(numbers)) if p < CERTAIN and abs(change) >= NOTICED else None


def _trend_p(rest: Floats, along: Floats, codes: Any, seed: int) -> float:
    """Returns the two-sided p-value of Spearman's correlation, from shuffles within groups."""
    draw = np.random.default_rng(seed)
    centred = along - along.mean()
    seen = abs(float(rest @ centred))
    order = np.argsort(codes, kind="stable")
    rest, centred, codes = rest[order], centred[order], codes[order]
    middle = float(rest.mean() * centred.sum())
    found = 0
    for _ in range(SHUFFLES):
        shuffled = rest[np.lexsort((draw.random(len(rest)), codes))]
        found += abs(float(shuffled @ centred) - middle) >= seen - 1e-9
    return (1 + found) / (1 + SHUFFLES)


def _known(values: Any, groups: Any, by: Any) -> tuple[Floats, Any, Floats]:
    numbers, along = np.asarray(values, dtype=np.float64), np.asarray(by, dtype=np.float64)
    labels = np.asarray([str(group) for group in groups], dtype=str)
    usable = np.isfinite(numbers) & np.isfinite(along) & (numbers > 0)
    _, codes = np.unique(labels[usable], return_inverse=True)
    return numbers[usable], codes, along[usable]


def _drawn(numbers: Floats, codes: Any, along: Floats, seed: int) -> tuple[Floats, Any, Floats]:
    if len(numbers) <= MAX_TREND:
        return numbers, codes, along
    sizes = np.bincount(codes)
    order = np.random.default_rng(seed).permutation(len(sizes))
    kept = np.isin(codes, order[: max(1, int(np.searchsorted(np.cumsum(sizes[order]), MAX_TREND)))])
    return numbers[kept], np.unique(codes[kept], return_inverse=True)[1], along[kept]


def _group_medians(values: Floats, codes: Any, wanted: Any) -> Floats:
    inside = np.isin(codes, wanted)
    return by_prompt(values[inside], np.searchsorted(wanted, codes[inside]).astype(np.intp), len(wanted))


def _medians_of(values: Floats, codes: Any) -> Floats:
    return by_prompt(values, codes.astype(np.intp), int(codes.max()) + 1)


def _ranks(values: Floats) -> Floats:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks


def _rose(change: float) -> str:
    return f"{'rose' if change > 0 else 'fell'} by {percent(abs(change))}"


def _p(p: float) -> str:
    return f"p={p:.3f}" if p >= 0.001 else "p<0.001"

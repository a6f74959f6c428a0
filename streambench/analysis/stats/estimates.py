"""Means and percentiles with 95 % intervals clustered by prompt, and shares with Wilson's interval.

Repeats of a prompt are correlated, so the sampling unit is the prompt: `Sample` keeps the prompt of each value.
`benchmarks/coverage.py` decided which interval is used for which statistic and from which sample size;
docs/statistics.md explains why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from streambench.analysis.stats.normal import normal_quantile, normal_share, t_quantile
from streambench.metrics.quantiles import STATISTICS, Statistic, at_position, quantile

Floats: TypeAlias = npt.NDArray[np.float64]
Singles: TypeAlias = npt.NDArray[np.float32]
FloatT = TypeVar("FloatT", np.float32, np.float64)
NEEDED: Mapping[Statistic, int] = {"mean": 1, "p50": 1, "p90": 10, "p95": 20, "p99": 100}
"""Number of values that each statistic needs: with fewer, a percentile would be one of the largest values."""

INTERVAL_NEEDED: Mapping[Statistic, tuple[int, int]] = {
    "mean": (10, 10),
    "p50": (10, 10),
    "p90": (30, 10),
    "p95": (40, 20),
    "p99": (300, 150),
}
"""(values, prompts) that the interval of each statistic needs: with fewer, simulated coverage was below 95 %."""

LEVEL = 0.95
OPEN_BELOW = 0.045
"""Allowed share of intervals without an upper end that lie wholly above the true value."""
RESAMPLES = 4_000
MAX_CUTS = 4_096
"""Largest number of cut values for resampled quantiles; a larger sample is cut at this many equally spaced ranks."""
LEAST_ERROR = 0.1
"""Lower bound of a resample's standard error, as a share of the sample's standard error."""
_BATCH = 1_000
_BLOCK = 64
_ONE_THREAD = 1 << 18
"""Multiplications up to which OpenBLAS, which numpy bundles, uses one thread."""
_FEWEST_ROWS = 4
"""Fewest rows per batch. If fewer fit into _ONE_THREAD, the product is large enough to profit from threads."""
_NOTHING = 1e-12
"""Relative size below which a standard error is taken as rounding."""


@dataclass(frozen=True, slots=True)
class Share:
    """The share `k` of `n` with Wilson's 95 % interval; `value`, `low` and `high` are None if `n` is 0."""

    k: int
    n: int
    value: float | None
    low: float | None
    high: float | None


def share(k: int, n: int) -> Share:
    """Returns the share with Wilson's score interval. Raises ValueError unless 0 <= k <= n.

    Wilson 1927; Brown, Cai and DasGupta 2001 recommend it.
    """
    if not 0 <= k <= n:
        raise ValueError(f"a share needs 0 <= k <= n: {k} of {n}")
    if n == 0:
        return Share(0, 0, None, None, None)
    z2 = normal_quantile((1 + LEVEL) / 2) ** 2
    middle = (k + z2 / 2) / (n + z2)
    reach = math.sqrt(z2 * (k * (n - k) / n + z2 / 4)) / (n + z2)
    low = 0.0 if k == 0 else max(0.0, middle - reach)
    high = 1.0 if k == n else min(1.0, middle + reach)
    return Share(k, n, k / n, low, high)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval, over `n` values of `clusters` prompts, in the unit of the values.

    `value` is None if there are fewer than `needs` values. `low` and `high` are None if the sample is too small for an
    interval; `interval_needs` then says what it needs. `high` is infinite if the sample gives no upper end, and only
    `low` is known. If failures count as infinite, `value` may be infinite too.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int
    needs: int
    interval_needs: str = ""

    @property
    def bounded(self) -> bool:
        """True if the interval has two finite ends."""
        return self.low is not None and self.high is not None and math.isfinite(self.high)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Values in ascending order, shape (n,), and the prompt number of each (`clusters`), 0 to `prompts` - 1."""

    values: Floats
    clusters: npt.NDArray[np.intp]
    prompts: int

    @property
    def n(self) -> int:
        return len(self.values)


def sample(values: Any, clusters: Any, failed: Any = None) -> Sample:
    """Returns a sample of `values` (n,) whose prompts are `clusters` (n,), in any order; NaN values are left out.

    `failed` (n,), if given, marks failed requests: they count as infinite and their value is ignored. Raises ValueError
    if shapes differ or a value is -inf.
    """
    numbers = np.array(values, dtype=np.float64)
    labels = np.asarray(clusters)
    if failed is not None:
        numbers[np.asarray(failed, dtype=bool)] = np.inf
    if numbers.ndim != 1 or numbers.shape != labels.shape:
        raise ValueError(
            f"values {numbers.shape} and clusters {labels.shape} must be one-dimensional and of equal length"
        )
    known = ~np.isnan(numbers)
    names, codes = np.unique(labels[known], return_inverse=True)
    numbers = numbers[known]
    if np.isneginf(numbers).any():
        raise ValueError("a value is -inf")
    order = np.lexsort((codes, numbers))
    return Sample(numbers[order], codes.astype(np.intp)[order], len(names))


def estimates(of: Sample, seed: int = 0) -> dict[Statistic, Estimate]:
    """Returns the estimate of every statistic in STATISTICS."""
    return {statistic: estimate(of, statistic, seed) for statistic in STATISTICS}


def estimate(of: Sample, statistic: Statistic, seed: int = 0) -> Estimate:
    """Returns one statistic with its interval. Percentiles are linear (type 7), as in pandas and numpy.

    mean: studentised bootstrap over prompts (Efron and Tibshirani 1993, 12.5). p50: percentile bootstrap over prompts,
    expanded for few prompts (Hesterberg 2015). p90 and above: the ranks between which the percentile lies (Woodruff
    1952), with the variance between prompts. The same sample and seed give the same result. Cost: 4,000 resamples of
    the prompts, each min(n, 4,096) additions; all five of STATISTICS took 20 ms for 180 values, 0.4 s for a million.
    """
    needs = NEEDED[statistic]
    if of.n < needs:
        return Estimate(None, None, None, of.n, of.prompts, needs, _interval_needs(statistic))
    level = STATISTICS[statistic]
    value = float(of.values.mean()) if level is None else quantile(of.values, level)
    values, prompts = INTERVAL_NEEDED[statistic]
    if of.n < values or of.prompts < prompts or (level is None and math.isinf(value)):
        return Estimate(value, None, None, of.n, of.prompts, needs, _interval_needs(statistic))
    low, high = _interval(of, level, value, seed)
    return Estimate(value, min(low, value), max(high, value), of.n, of.prompts, needs)


@lru_cache(maxsize=8)
def resampled(prompts: int, seed: int) -> Floats:
    """Returns how often each prompt is drawn in each resample, shape (RESAMPLES, prompts); cached, so read-only."""
    draw = np.random.default_rng([seed, prompts])
    found = draw.multinomial(prompts, np.full(prompts, 1 / prompts), size=RESAMPLES).astype(np.float64)
    found.flags.writeable = False
    return found


def expanded(prompts: int, level: float = LEVEL) -> tuple[float, float]:
    """Returns the two shares of the resamples that bound a percentile interval.

    They are widened for few prompts, as Student's t is wider than the normal distribution. Hesterberg 2015 (The
    American Statistician 69:371), "expanded percentile interval".
    """
    beyond = normal_share(-math.sqrt(prompts / (prompts - 1)) * t_quantile((1 + level) / 2, prompts - 1))
    return beyond, 1 - beyond


def ordered_ends(draws: Floats, shares: tuple[float, float]) -> tuple[float, float]:
    """Returns the quantiles of `draws` (B,) at both shares; infinite draws are allowed."""
    ordered = np.sort(draws)
    return quantile(ordered, shares[0]), quantile(ordered, shares[1])


def resampled_quantiles(of: Sample, level: float, drawn: Floats) -> Floats:
    """Returns the linear quantile of each resample, shape (B,). `drawn` comes from `resampled`."""
    cuts, up_to = _cut(of)
    batches = [drawn[at : at + _BATCH].astype(np.float32) for at in range(0, len(drawn), _BATCH)]
    return np.concatenate([_quantiles(cuts, up_to, batch, level) for batch in batches])


def share_parts(of: Sample, value: float) -> Floats:
    """Returns each prompt's contribution to the error of the share of values up to `value`, shape (prompts,).

    The contributions sum to 0.
    """
    up_to = of.values < value if math.isinf(value) else of.values <= value
    sizes = np.bincount(of.clusters, minlength=of.prompts)
    found = np.bincount(of.clusters, up_to.astype(np.float64), minlength=of.prompts)
    parts: Floats = (found - float(up_to.mean()) * sizes) / of.n
    return parts


def spread(parts: npt.NDArray[Any]) -> float:
    """Returns the variance of a sum over prompts from each prompt's part, shape (prompts,); the parts must sum to 0."""
    return float(np.sum(parts**2)) * len(parts) / (len(parts) - 1)


def _interval(of: Sample, level: float | None, value: float, seed: int) -> tuple[float, float]:
    if level is None:
        return _mean_interval(of, value, resampled(of.prompts, seed))
    if level == STATISTICS["p50"]:
        return ordered_ends(resampled_quantiles(of, level, resampled(of.prompts, seed)), expanded(of.prompts))
    return _rank_interval(of, level, value)


def _interval_needs(statistic: Statistic) -> str:
    values, prompts = INTERVAL_NEEDED[statistic]
    return f"{prompts} prompts" if values == prompts else f"{values} values of {prompts} prompts"


# --- the mean


def _mean_interval(of: Sample, mean: float, drawn: Floats) -> tuple[float, float]:
    sizes = np.bincount(of.clusters, minlength=of.prompts).astype(np.float64)
    excess = np.bincount(of.clusters, of.values - mean, minlength=of.prompts)
    error = math.sqrt(spread(excess) / of.n**2)
    if error <= _NOTHING * abs(mean):
        return mean, mean
    columns: Floats = np.stack((sizes, excess, excess**2, excess * sizes, sizes**2), axis=1)
    totals, moved, squares, crossed, sizes_squared = _counted(drawn, columns).T
    moved = moved / totals
    # The same formula for each resample: the sum over its prompts of (excess - moved * size) squared.
    squares = squares - 2 * moved * crossed + moved**2 * sizes_squared
    errors = np.sqrt(np.maximum(squares, 0) * of.prompts / (of.prompts - 1)) / totals
    # A resample without the prompt that causes most of the spread has far too small an error, so bound it below.
    errors = np.maximum(errors, LEAST_ERROR * error)
    low, high = ordered_ends(moved / errors, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return mean - high * error, mean - low * error


# --- resampled percentiles


def _cut(of: Sample) -> tuple[Floats, Singles]:
    """Returns the cut values (K,), ascending, and how many values each prompt has up to each cut (prompts, K)."""
    k = min(of.n, MAX_CUTS)
    ends = np.arange(1, k + 1) * of.n // k
    bins = np.searchsorted(ends, np.arange(of.n), side="right")
    counts = np.zeros((of.prompts, k), dtype=np.float32)
    np.add.at(counts, (of.clusters, bins), 1)
    return of.values[ends - 1], np.cumsum(counts, axis=1, out=counts)  # exact in float32: whole numbers


def _quantiles(cuts: Floats, up_to: Singles, drawn: Singles, level: float) -> Floats:
    position = (np.einsum("ij,j->i", drawn, up_to[:, -1]).astype(np.float64) - 1) * level
    lower = np.floor(position + 1e-9)
    part = np.maximum(0.0, position - lower)
    band = _band(up_to, drawn, lower)
    counted = _counted(drawn, up_to[:, band])
    places = [band.start + np.sum(counted < (lower + step)[:, None], axis=1) for step in (1, 2)]
    first, second = (cuts[np.minimum(place, len(cuts) - 1)] for place in places)
    # Interpolate only between different values, so that infinity - infinity never occurs.
    moves = (part > 1e-9) & (first != second)
    found: Floats = np.where(moves, np.where(moves, first, 0) * (1 - part) + np.where(moves, second, 0) * part, first)
    return found


def _band(up_to: Singles, drawn: Singles, lower: Floats) -> slice:
    """Returns the range of cuts that contains the quantiles of all resamples, so that only these cuts are counted.

    The counts at the last cut of each block of _BLOCK cuts are enough to find it.
    """
    counted = _counted(drawn, up_to[:, _BLOCK - 1 :: _BLOCK])
    below, up_to_next = (np.sum(counted < (lower + step)[:, None], axis=1) for step in (1, 2))
    return slice(int(below.min()) * _BLOCK, (int(up_to_next.max()) + 1) * _BLOCK)


def _counted(drawn: npt.NDArray[FloatT], of_prompts: npt.NDArray[FloatT]) -> npt.NDArray[FloatT]:
    """Returns `drawn` @ `of_prompts`, computed in batches of rows so small that BLAS starts no threads.

    On a busy machine the threads of BLAS spend their time waiting for each other.
    """
    rows = _ONE_THREAD // max(1, of_prompts.size)
    if rows < _FEWEST_ROWS:
        return drawn @ of_prompts
    of_prompts = np.ascontiguousarray(of_prompts)
    return np.concatenate([drawn[at : at + rows] @ of_prompts for at in range(0, len(drawn), rows)])


# --- the upper percentiles


def _rank_interval(of: Sample, level: float, value: float) -> tuple[float, float]:
    """Woodruff 1952 (JASA 47:635) with the variance between prompts, Student's t, and a correction for skewness.

    The share of values up to the percentile has the standard error `error`; the sample's values at the shares `level`
    -+ t errors bound the percentile. A small count is skewed, so both ends move down by (2 level - 1)(z^2 - 1)/6 values
    (Cornish and Fisher 1938), times the design effect (Kish 1965), which is (error / random)^2. `high` is infinite if
    its share lies beyond the largest value.
    """
    random = math.sqrt(level * (1 - level) / of.n)
    error = math.sqrt(spread(share_parts(of, value))) or random
    skew = (2 * level - 1) * (normal_quantile((1 + LEVEL) / 2) ** 2 - 1) / 6 * (error / random) ** 2 / of.n
    top = level - skew + t_quantile((1 + LEVEL) / 2, of.prompts - 1) * error
    is_open = top >= of.n / (of.n + 1)
    down = t_quantile(1 - OPEN_BELOW if is_open else (1 + LEVEL) / 2, of.prompts - 1)
    low = at_position((of.n + 1) * (level - skew - down * error) - 1, of.values)
    return low, math.inf if is_open else at_position((of.n + 1) * top - 1, of.values)

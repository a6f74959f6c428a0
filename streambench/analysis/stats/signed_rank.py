"""Wilcoxon's signed-rank test over prompts, and the Hodges-Lehmann estimate with the interval that inverts the test.

The input is one number per prompt (a median difference, a log ratio). The interval excludes 0 exactly if the test gives
p < 0.05, so the two never contradict each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from streambench.analysis.stats.estimates import LEVEL, Floats
from streambench.analysis.stats.normal import normal_quantile, normal_share
from streambench.metrics.quantiles import quantile

MIN_PROMPTS = 10
"""Fewest prompts for a test: with fewer, the exact test's steps are so coarse that its false positive rate falls
below 4 %.
"""
EXACT_UP_TO = 200
"""Number of prompts up to which the test is exact; above it the normal approximation is good enough."""


@dataclass(frozen=True, slots=True)
class Typical:
    """The typical value over prompts, its 95 % interval, and the p-value of "it is 0".

    The typical value is the median of the averages of all pairs of prompts. `low`, `high` and `p` are None below
    MIN_PROMPTS prompts.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    prompts: int


def typical(values: Floats) -> Typical | None:
    """Returns the typical value of one finite value per prompt, shape (prompts,); None if there are no values.

    Hodges and Lehmann 1963; interval by Tukey 1949 (Hollander, Wolfe and Chicken 2014, sections 3.2 and 3.3). Memory
    and time grow as prompts^2.
    """
    n = len(values)
    if n == 0:
        return None
    averages = walsh(values)
    value = quantile(averages, 0.5)
    if n < MIN_PROMPTS:
        return Typical(value, None, None, None, n)
    cut = critical(n)
    return Typical(value, float(averages[cut]), float(averages[-1 - cut]), signed_rank_p(values), n)


def walsh(values: Floats) -> Floats:
    """Returns the averages of all pairs of values, including each value with itself, ascending: (n (n + 1) / 2,)."""
    one, other = np.triu_indices(len(values))
    # Halve before adding: the sum of two huge values would be infinite.
    return np.sort(values[one] / 2 + values[other] / 2)


def signed_rank_p(values: Floats) -> float:
    """Returns the two-sided p-value of "the values are symmetric about 0".

    Wilcoxon 1945: zeros are left out. It is exact up to EXACT_UP_TO values, also with ties of size. If two models are
    alike, the labels of a prompt's pair are interchangeable, so the null distribution is that of random signs.
    """
    kept = values[values != 0]
    n = len(kept)
    if n == 0:
        return 1.0
    doubled = _doubled_ranks(np.abs(kept))
    above = int(doubled[kept > 0].sum())
    smaller = min(above, int(doubled.sum()) - above)
    if n > EXACT_UP_TO:
        return _normal_p(smaller / 2, doubled / 2)
    return min(1.0, 2 * float(_tail(tuple(sorted(doubled.tolist())))[smaller]))


@cache
def critical(n: int) -> int:
    """Returns the largest rank sum c with P(sum <= c) <= 2.5 % for n prompts without ties; -1 if there is none."""
    beyond = (1 - LEVEL) / 2
    if n > EXACT_UP_TO:
        mean, spread = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return math.floor(mean + normal_quantile(beyond) * spread - 0.5)
    tail = _tail(tuple(range(2, 2 * n + 1, 2)))[::2]
    return int(np.searchsorted(tail, beyond, side="right")) - 1


def _doubled_ranks(sizes: Floats) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Returns twice the mid-ranks: mid-ranks may end in .5, their doubles are whole numbers."""
    _, place, count = np.unique(sizes, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = (2 * last - count + 1)[place]
    return found


@lru_cache(maxsize=256)
def _tail(doubled: tuple[int, ...]) -> Floats:
    """Returns P(doubled rank sum <= s) for s = 0, 1, ...; each rank is in the sum with probability 1/2."""
    chance = np.zeros(sum(doubled) + 1)
    chance[0] = 1.0
    for rank in doubled:
        moved = np.zeros_like(chance)
        moved[rank:] = chance[: len(chance) - rank]
        chance = (chance + moved) / 2
    return np.cumsum(chance)


def _normal_p(smaller: float, ranks: Floats) -> float:
    mean, spread = float(ranks.sum()) / 2, math.sqrt(float(np.sum(ranks**2)) / 4)
    return min(1.0, 2 * normal_share((smaller - mean + 0.5) / spread))

"""Wilcoxon's signed-rank test over prompts, and the Hodges-Lehmann estimate with the interval that inverts it.

One number a prompt comes in (a median difference, a log ratio). The interval excludes 0 exactly where the test says
p < 0.05, so the two never contradict each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from streambench.quantiles import quantile
from streambench.stats.estimates import LEVEL, Floats
from streambench.stats.normal import normal_quantile, normal_share

MIN_PROMPTS = 10
"""With fewer, the exact test's false-alarm rate falls below 4 %: its steps are too coarse."""
EXACT_UP_TO = 200
"""Prompts; above it the rank sum is as good as normal."""


@dataclass(frozen=True, slots=True)
class Typical:
    """The typical value over prompts, its 95 % interval, and the p-value of "it is 0".

    The typical value is the median of all averages of two prompts. `low`, `high` and `p` are None below MIN_PROMPTS.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    prompts: int


def typical(values: Floats) -> Typical | None:
    """Of one finite value a prompt, shape (prompts,); None where there is none. Memory and time grow as prompts^2.

    Hodges and Lehmann 1963; interval by Tukey 1949 (Hollander, Wolfe and Chicken 2014, sections 3.2 and 3.3).
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
    """The averages of any two values, each with itself included, in ascending order: (n (n + 1) / 2,)."""
    one, other = np.triu_indices(len(values))
    # halves first: the sum of two huge values would be infinite
    return np.sort(values[one] / 2 + values[other] / 2)


def signed_rank_p(values: Floats) -> float:
    """Two-sided p of "the values are symmetric about 0"; exact up to EXACT_UP_TO values, ties of size included.

    Wilcoxon 1945: zeros are left out. A prompt's two labels are interchangeable if two models are alike, so the null
    distribution is that of random signs.
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
    """The largest rank sum c with P(sum <= c) <= 2.5 % for n prompts without ties; -1 where there is none."""
    beyond = (1 - LEVEL) / 2
    if n > EXACT_UP_TO:
        mean, spread = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return math.floor(mean + normal_quantile(beyond) * spread - 0.5)
    tail = _tail(tuple(range(2, 2 * n + 1, 2)))[::2]
    return int(np.searchsorted(tail, beyond, side="right")) - 1


def _doubled_ranks(sizes: Floats) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Twice the mid-ranks, which are whole numbers."""
    _, place, count = np.unique(sizes, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = (2 * last - count + 1)[place]
    return found


@lru_cache(maxsize=256)
def _tail(doubled: tuple[int, ...]) -> Floats:
    """P(doubled rank sum <= s) for s = 0, 1, ... under random signs: each rank is in the sum or not."""
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

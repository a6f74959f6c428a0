"""Quantiles and tails of the normal and Student's t distributions, so that streambench does not need scipy."""

from __future__ import annotations

from functools import cache
from statistics import NormalDist

_STANDARD = NormalDist()


def normal_quantile(share: float) -> float:
    """Returns the quantile of the standard normal distribution at `share` (0 to 1, both excluded)."""
    return _STANDARD.inv_cdf(share)


def normal_share(value: float) -> float:
    """Returns the share of the standard normal distribution below `value`."""
    return _STANDARD.cdf(value)


@cache
def t_quantile(share: float, freedom: int) -> float:
    """Returns the quantile of Student's t with `freedom` degrees of freedom; accurate to 0.001 from 7 degrees on.

    Abramowitz and Stegun 26.7.5: four terms in powers of 1/freedom around the normal quantile.
    """
    x = normal_quantile(share)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92_160,
    )
    return x + sum((term / float(freedom) ** power for power, term in enumerate(terms, 1)), 0.0)

"""Shares, means and percentiles with their intervals: against scipy, known answers, and what must never change."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats  # type: ignore[import-untyped]  # it ships no types
from sentences import numbers_in

from streambench.analysis.stats.estimates import (
    INTERVAL_NEEDED,
    NEEDED,
    Estimate,
    Sample,
    estimate,
    estimates,
    resampled,
    resampled_quantiles,
    sample,
    share,
)
from streambench.analysis.stats.normal import normal_quantile, normal_share, t_quantile
from streambench.analysis.summary import NEEDED as SUMMARY_NEEDED
from streambench.metrics.quantiles import STATISTICS, Statistic, quantile

times = st.floats(min_value=0.01, max_value=1e6)
many_times = st.lists(times, min_size=30, max_size=60)


def of_prompts(values: list[float], prompts: int = 12) -> Sample:
    return sample(values, [f"p{place % prompts:02}" for place in range(len(values))])


def numbers(found: Estimate) -> tuple[float | None, float | None, float | None]:
    return found.value, found.low, found.high


def lognormal(prompts: int, repeats: int, seed: int = 0, noise: float = 0.2) -> Sample:
    draw = np.random.default_rng(seed)
    logs = 6 + 0.3 * draw.standard_normal((prompts, 1)) + noise * draw.standard_normal((prompts, repeats))
    return sample(np.exp(logs).ravel(), np.repeat(np.arange(prompts), repeats))


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 20), (3, 20), (20, 20), (499, 1000)])
def test_a_share_has_wilsons_interval(k: int, n: int) -> None:
    """scipy's proportion_ci is the same formula."""
    found = share(k, n)
    expected = scipy_stats.binomtest(k, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.value == k / n


def test_a_share_of_nothing_is_unknown() -> None:
    """0 of 0 is neither 0 nor 1."""
    found = share(0, 0)
    assert (found.value, found.low, found.high) == (None, None, None)


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3)])
def test_an_impossible_share_is_refused(k: int, n: int) -> None:
    """More hits than tries is a fault of the caller."""
    with pytest.raises(ValueError, match="0 <= k <= n"):
        share(k, n)


def test_normal_and_t_are_scipys() -> None:
    """The series for t is right to 0.001 from 7 degrees of freedom on, at the shares that we use."""
    assert normal_quantile(0.975) == pytest.approx(scipy_stats.norm.ppf(0.975))
    assert normal_share(-1.3) == pytest.approx(scipy_stats.norm.cdf(-1.3))
    for freedom in (7, 9, 11, 35, 400):
        for at in (0.95, 0.96, 0.975):
            assert t_quantile(at, freedom) == pytest.approx(scipy_stats.t.ppf(at, freedom), abs=1e-3)


def test_what_a_percentile_needs_is_the_summarys_rule() -> None:
    """One rule in both views: a number that the table shows is not a dash here."""
    assert {name: n for name, n in NEEDED.items() if name != "mean"} == dict(SUMMARY_NEEDED)


@pytest.mark.parametrize("statistic", ["p50", "p90", "p95", "p99"])
def test_percentiles_are_pandas_linear_ones(statistic: Statistic) -> None:
    """The summary's numbers come from pandas; these must be the same."""
    values = np.random.default_rng(1).exponential(300, 137)
    found = estimate(sample(values, range(137)), statistic)
    assert found.value == pytest.approx(pd.Series(values).quantile(float(statistic[1:]) / 100))


@pytest.mark.parametrize(("statistic", "needs"), [("p90", 10), ("p95", 20), ("p99", 100)])
def test_a_percentile_is_a_dash_until_the_sample_carries_it(statistic: Statistic, needs: int) -> None:
    """One value short, and it says how many it needs."""
    assert numbers(estimate(of_prompts([1.0] * (needs - 1)), statistic)) == (None, None, None)
    assert estimate(of_prompts([1.0] * (needs - 1)), statistic).needs == needs
    assert estimate(of_prompts([1.0] * needs), statistic).value == 1.0


@pytest.mark.parametrize("statistic", list(STATISTICS))
def test_an_interval_is_a_dash_until_its_prompts_are_there(statistic: Statistic) -> None:
    """One prompt short of INTERVAL_NEEDED with values enough: a number, no interval, and what it takes."""
    values, prompts = INTERVAL_NEEDED[statistic]
    row = np.random.default_rng(2).exponential(1, 2 * values)
    short = estimate(of_prompts(list(row), prompts - 1), statistic)
    assert short.value is not None
    assert (short.low, short.high) == (None, None)
    assert prompts in numbers_in(short.interval_needs)
    assert estimate(of_prompts(list(row), prompts), statistic).low is not None


def test_repeats_of_a_prompt_are_no_new_evidence() -> None:
    """Each value five times over: the mean's interval is as wide as with one of each."""
    once = lognormal(20, 1)
    five = sample(np.repeat(once.values, 5), np.repeat(once.clusters, 5))
    assert numbers(estimate(five, "mean")) == pytest.approx(numbers(estimate(once, "mean")))
    assert five.n == 5 * once.n


def test_a_mean_over_equal_prompts_has_an_interval_of_no_width() -> None:
    """Nothing varies, so nothing is uncertain; and nothing is divided by 0."""
    assert numbers(estimate(of_prompts([5.0] * 30), "mean")) == (5.0, 5.0, 5.0)


def test_an_upper_percentile_of_few_has_no_upper_end() -> None:
    """Of 20 prompts x 2 none need lie above the true p95 (0.95^20 = 36 %): the interval is open."""
    found = estimate(lognormal(20, 2), "p95")
    assert found.high == math.inf
    assert not found.bounded
    assert found.low is not None
    assert found.value is not None
    assert 0 < found.low <= found.value


def test_failures_count_as_infinite() -> None:
    """8 of 60 failed: p50 is finite and higher than without them, p90 lies among the failures."""
    values = np.arange(1.0, 61.0)
    failed = values > 52
    with_failures = sample(values, range(60), failed)
    # of 60, p50 is the middle of the 30th and the 31st; of the 52 that were answered, of the 26th and the 27th
    assert estimate(with_failures, "p50").value == 30.5
    assert estimate(sample(values[~failed], range(52)), "p50").value == 26.5
    assert estimate(with_failures, "p90").value == math.inf
    low = estimate(with_failures, "p90").low
    assert low is not None
    assert low < math.inf


def test_an_interval_may_reach_infinity() -> None:
    """29 of 60 failed: the median is known, its upper end is a failure."""
    values = np.arange(1.0, 61.0)
    found = estimate(sample(values, range(60), values > 31), "p50")
    assert found.value == 30.5
    assert found.high == math.inf


def test_the_mean_with_failures_is_infinite_and_has_no_interval() -> None:
    """There is nothing to say about how infinite it is."""
    found = estimate(sample([1.0] * 20, range(20), [True, *[False] * 19]), "mean")
    assert numbers(found) == (math.inf, None, None)


def test_an_unknown_value_is_left_out() -> None:
    """NaN is what a frame holds where a metric is unknown."""
    found = sample([3.0, math.nan, 1.0], ["a", "b", "c"])
    assert (found.n, found.prompts) == (2, 2)


def test_rows_that_do_not_fit_are_refused() -> None:
    """Two values of one prompt name."""
    with pytest.raises(ValueError, match="of equal length"):
        sample([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="-inf"):
        sample([-math.inf], ["a"])


def test_an_empty_sample_has_no_numbers() -> None:
    """All unknown is a row of dashes."""
    assert all(numbers(found) == (None, None, None) for found in estimates(sample([], [])).values())


@given(st.lists(st.integers(1, 40), min_size=1, max_size=25), st.integers(0, 99), st.floats(0.02, 0.98))
@settings(max_examples=60, deadline=None)
def test_a_resamples_quantile_is_that_of_its_values(values: list[int], seed: int, level: float) -> None:
    """Drawing prompts with all their values and sorting them gives the same; ties, uneven prompts, few values."""
    of = sample(values, [place % 4 for place in range(len(values))])
    drawn = np.random.default_rng(seed).multinomial(of.prompts, [1 / of.prompts] * of.prompts, size=8).astype(float)
    expected = []
    for row in drawn:
        picked = np.concatenate([np.repeat(of.values[of.clusters == p], int(k)) for p, k in enumerate(row)])
        expected.append(np.quantile(picked, level))
    assert resampled_quantiles(of, level, drawn) == pytest.approx(np.array(expected))


def test_a_large_sample_is_cut_without_moving_its_median() -> None:
    """20,000 values are counted at 4,096 ranks: the median of the sample itself moves by at most 5 ranks."""
    values = np.arange(20_000.0)
    of = sample(values, np.arange(20_000) % 10)
    assert resampled_quantiles(of, 0.5, np.ones((1, 10)))[0] == pytest.approx(quantile(values, 0.5), abs=5)


def test_resamples_draw_as_many_prompts_as_there_are() -> None:
    """Each row of counts sums to the number of prompts."""
    assert set(resampled(12, 3).sum(axis=1)) == {12.0}


@given(many_times, st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_rows_does_not_matter(values: list[float], shuffle: object) -> None:
    """The same requests in another order are the same sample."""
    rows = list(zip(values, [place % 12 for place in range(len(values))], strict=True))
    before = estimates(sample(*zip(*rows, strict=True)))
    shuffle.shuffle(rows)  # type: ignore[attr-defined]
    assert estimates(sample(*zip(*rows, strict=True))) == before


@given(many_times, st.sampled_from([0.001, 0.5, 1000.0]))
@settings(max_examples=25, deadline=None)
def test_another_unit_gives_the_same_estimates(values: list[float], factor: float) -> None:
    """Seconds or milliseconds: everything scales."""
    for statistic in STATISTICS:
        one, other = (
            estimate(of_prompts(values), statistic),
            estimate(of_prompts([value * factor for value in values]), statistic),
        )
        for left, right in zip(numbers(one), numbers(other), strict=True):
            assert (left is None) == (right is None)
            assert left is None or right == pytest.approx(left * factor, rel=1e-6, abs=1e-9)


@given(many_times)
@settings(max_examples=25, deadline=None)
def test_a_shift_moves_median_and_ranks_with_it(values: list[float]) -> None:
    """100 ms more for everybody is 100 ms more at each end."""
    for statistic in ("p50", "p90"):
        one = numbers(estimate(of_prompts(values), statistic))
        other = numbers(estimate(of_prompts([value + 100 for value in values]), statistic))
        for left, right in zip(one, other, strict=True):
            assert left is None or right == pytest.approx(left + 100, rel=1e-6)


@given(st.lists(st.floats(min_value=0, allow_nan=False), max_size=60), st.integers(1, 25))
@settings(max_examples=60, deadline=None)
def test_no_number_is_ever_nan_and_ends_are_in_order(values: list[float], prompts: int) -> None:
    """Infinite, huge, equal or no values."""
    bounded = [min(value, 1e150) if value < math.inf else value for value in values]
    for found in estimates(of_prompts(bounded, prompts)).values():
        known = [number for number in (found.low, found.value, found.high) if number is not None]
        assert not any(math.isnan(number) for number in known)
        assert known == sorted(known)


def test_a_seed_decides_everything() -> None:
    """The same seed gives the same interval; another one a slightly different."""
    of = lognormal(20, 3)
    assert estimates(of, seed=5) == estimates(of, seed=5)
    assert estimate(of, "mean", seed=5) != estimate(of, "mean", seed=6)


@pytest.mark.parametrize("statistic", ["mean", "p50", "p90"])
def test_intervals_cover(statistic: Statistic) -> None:
    """150 runs of 20 x 3, nominal 95 %: fewer than 88 % would be chance once in 2,000 suites, and the seed is fixed.

    The true spread is the root of 0.3^2 + 0.2^2 = 0.36; the full simulation is benchmarks/coverage.py.
    """
    spread = math.hypot(0.3, 0.2)
    level = STATISTICS[statistic]
    truth = math.exp(6 + (spread**2 / 2 if level is None else spread * normal_quantile(level)))
    found = [estimate(lognormal(20, 3, seed), statistic) for seed in range(150)]
    covered = np.mean([(each.low or 0) <= truth <= (each.high or 0) for each in found])
    assert 0.88 <= covered <= 1.0


def test_one_huge_value_does_not_make_the_mean_boundless() -> None:
    """11 prompts at 1 and one at 400,000: the mean is 33,334, and no end is beyond ten times its distance to 1."""
    found = estimate(sample([1.0] * 11 + [400_000.0], range(12)), "mean")
    assert found.value == pytest.approx(400_011 / 12)
    assert found.high is not None
    assert found.high < 11 * 400_011 / 12


@pytest.mark.parametrize("values", [3, 64, 65, 700, 9_000])
def test_a_resamples_median_is_that_of_its_values(values: int) -> None:
    """However many cuts there are: each prompt's values, as often as it was drawn, and numpy's median of them all."""
    draw = np.random.default_rng(values)
    of = sample(draw.lognormal(5, 1, values), draw.integers(0, 3, values))
    drawn = resampled(of.prompts, 0)[:40]
    found = resampled_quantiles(of, 0.5, np.array(drawn))
    whole = [np.median(np.repeat(of.values, counts[of.clusters].astype(int))) for counts in drawn]
    # beyond 4,096 values a resample is counted in that many cuts
    assert found == pytest.approx(whole, rel=1e-12 if values <= 4_096 else 0.01)

"""The signed-rank test and its estimate: scipy's p, a worked example, and one verdict in two forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats  # type: ignore[import-untyped]  # it ships no types

from streambench.analysis.stats.signed_rank import MIN_PROMPTS, critical, signed_rank_p, typical, walsh

rows = st.lists(st.floats(-1e3, 1e3).filter(lambda value: abs(value) > 1e-6), min_size=10, max_size=40, unique_by=abs)


@given(rows)
@settings(max_examples=60, deadline=None)
def test_p_is_scipys_exact_one(values: list[float]) -> None:
    """Without ties, up to 40 prompts."""
    expected = scipy_stats.wilcoxon(values, method="exact").pvalue
    assert signed_rank_p(np.array(values)) == pytest.approx(expected)


def test_p_with_ties_counts_every_sign() -> None:
    """Sizes 1, 1, 2, 2, 3: ranks 1.5, 1.5, 3.5, 3.5, 5. A sum up to 1.5: none, or one of two: 3 of 32, twice."""
    assert signed_rank_p(np.array([-1.0, 1, 2, 2, 3])) == pytest.approx(2 * 3 / 32)


def test_p_of_many_prompts_is_scipys_normal_one() -> None:
    """300 prompts: the rank sum is normal, with its continuity correction."""
    values = np.random.default_rng(3).normal(0.1, 1, 300)
    expected = scipy_stats.wilcoxon(values, method="asymptotic", correction=True).pvalue
    assert signed_rank_p(values) == pytest.approx(expected, rel=1e-6)


def test_the_exact_and_the_normal_test_meet() -> None:
    """At 200 and 201 prompts the critical rank sums lie on one curve: within 1 % of each other."""
    assert critical(201) == pytest.approx(critical(200), rel=0.02)


@pytest.mark.parametrize(("n", "cut"), [(10, 8), (12, 13), (15, 25), (20, 52), (25, 89)])
def test_critical_sums_are_the_printed_tables(n: int, cut: int) -> None:
    """Wilcoxon's table, two-sided 5 % (Hollander, Wolfe and Chicken 2014, table A.4)."""
    assert critical(n) == cut


@given(rows, st.floats(-50, 50))
@settings(max_examples=80, deadline=None)
def test_the_interval_excludes_0_exactly_where_the_test_does(values: list[float], shift: float) -> None:
    """One verdict in two forms; unless zeros or ties make the ranks others than 1 to n."""
    moved = np.array(values) + shift
    if len(np.unique(np.abs(moved))) < len(moved) or not moved.all():
        return
    found = typical(moved)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    if found.low and found.high:
        assert (found.p is not None and found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_the_estimate_is_the_median_of_all_averages() -> None:
    """1, 2, 6: averages 1, 1.5, 2, 3.5, 4, 6; their middle is (2 + 3.5) / 2."""
    assert list(walsh(np.array([6.0, 1, 2]))) == [1, 1.5, 2, 3.5, 4, 6]
    found = typical(np.array([6.0, 1, 2]))
    assert found is not None
    assert (found.value, found.low, found.p) == (2.75, None, None)


def test_few_prompts_have_no_interval_and_none_have_no_estimate() -> None:
    """Below MIN_PROMPTS the steps of the exact test are too coarse."""
    few = typical(np.arange(MIN_PROMPTS - 1.0))
    assert few is not None
    assert (few.low, few.high, few.p) == (None, None, None)
    assert typical(np.array([])) is None


def test_all_zero_is_no_difference() -> None:
    """Both models answered from the same cache, say."""
    found = typical(np.zeros(12))
    assert found is not None
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1.0)


@given(rows, st.sampled_from([0.125, 2.0, 1024.0]))
@settings(max_examples=30, deadline=None)
def test_scale_and_order_do_not_matter(values: list[float], factor: float) -> None:
    """Another unit, another order: the same p; by powers of 2, which round nothing."""
    row = np.array(values)
    assert signed_rank_p(row[::-1] * factor) == pytest.approx(signed_rank_p(row))


def test_the_false_alarm_rate_is_close_to_5_percent() -> None:
    """1,000 runs of 12 prompts with nothing between them: 4.25 % exactly; 2 to 7 % is 3.5 standard errors wide."""
    draw = np.random.default_rng(8)
    alarms = np.mean([signed_rank_p(draw.standard_normal(12)) < 0.05 for _ in range(1_000)])
    assert 0.02 <= alarms <= 0.07

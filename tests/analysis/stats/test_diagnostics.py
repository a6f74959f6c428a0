"""Each danger is named where it is planted, with its numbers, and not where it is not; one test keeps the words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sentences import numbers_in

from streambench.analysis.stats.diagnostics import (
    drift,
    in_flight,
    lag_too_large,
    saturation,
    too_few,
    uneven_failures,
    warming,
)
from streambench.analysis.stats.estimates import sample
from streambench.analysis.stats.paired import compare, pair

PROMPTS, REPEATS = 12, 5
GROUPS = [f"p{prompt}" for _ in range(REPEATS) for prompt in range(PROMPTS)]
"""In the plan's order: each round all prompts."""
REPEAT = np.repeat(np.arange(REPEATS), PROMPTS)
AT_MS = np.arange(PROMPTS * REPEATS) * 2_000.0


def times(seed: int = 0, noise: float = 0.1) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    draw = np.random.default_rng(seed)
    prompts = np.tile(np.exp(6 + 0.4 * draw.standard_normal(PROMPTS)), REPEATS)
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = prompts * np.exp(noise * draw.standard_normal(len(prompts)))
    return found


def found_in(warning: str | None) -> list[float]:
    """The numbers of a warning; fails if there is none."""
    assert warning is not None
    return numbers_in(warning)


def test_each_warning_in_words() -> None:
    """The only test of them: the others read the numbers."""
    forty_slower = [100.0 + k for k in range(12)], [140.0 + k for k in range(12)]
    load = np.random.default_rng(1).integers(0, 8, 60)
    assert [
        too_few(sample(range(12), range(12)), "p95", "sim-swift TTFT"),
        too_few(sample(range(60), [k % 6 for k in range(60)]), "p50", "TTFT"),
        lag_too_large(compare(pair(*forty_slower, list(range(12)), ("a", "b")), "ttft_ms"), 30.0),
        drift(times() * np.linspace(1, 1.4, 60), GROUPS, AT_MS, "TTFT"),
        saturation(times() * 1.08**load, GROUPS, load, "response time"),
        warming(times() * np.where(REPEAT == 0, 1.5, 1.0), GROUPS, REPEAT, "TTFT"),
        uneven_failures({"a": (30, 100), "b": (1, 100), "c": (2, 100)}),
    ] == [
        "sim-swift TTFT: p95 needs 20 answers, but there are 12",
        "TTFT: an interval of p50 needs 10 answers of 10 prompts, but there are 60 of 6",
        "a and b differ by 40.0 ms in ttft_ms, but the client lag was 30.0 ms",
        "TTFT rose by 27 % from the first to the last third of 2.0 minutes (60 answers, p<0.001)",
        "response time rose by 31 % from the third with the fewest requests in flight to the third with the most "
        "(60 answers, p<0.001)",
        "TTFT: first repeats are 45 % slower than later ones (12 prompts, p<0.001)",
        "failures are uneven: a 30 of 100 (95 % interval 22 % to 40 %), b 1 of 100 (95 % interval 0.2 % to 5.4 %) "
        "(p<0.001)",
    ]


def test_too_few_answers_for_a_percentile() -> None:
    """12 answers carry no p95, which needs 20."""
    assert found_in(too_few(sample(range(12), range(12)), "p95", "TTFT")) == [20, 12]


def test_too_few_prompts_for_an_interval() -> None:
    """10 answers of 10 prompts are needed, and there are 60 answers of 6 prompts."""
    assert found_in(too_few(sample(range(60), [k % 6 for k in range(60)]), "p50", "TTFT")) == [10, 10, 60, 6]
    assert too_few(sample(range(60), [k % 12 for k in range(60)]), "p50", "TTFT") is None


def test_a_lag_near_the_difference_is_named() -> None:
    """A lag of 30 ms against a difference of about 40; of 3 ms it is nothing."""
    values = [100.0 + k for k in range(12)]
    found = compare(pair(values, [value + 40 for value in values], list(range(12)), ("a", "b")), "ttft_ms")
    assert found_in(lag_too_large(found, 30.0)) == [40, 30]
    assert lag_too_large(found, 3.0) is None
    assert lag_too_large(found, None) is None


def test_no_difference_needs_no_lag() -> None:
    """Where nothing is claimed, nothing is spoiled."""
    found = compare(pair([5.0] * 12, [5.0] * 12, list(range(12)), ("a", "b")), "ttft_ms")
    assert lag_too_large(found, 30.0) is None


def test_drift_is_named_with_its_size() -> None:
    """40 % slower at the end than at the start: 1.33 / 1.07 between the thirds, and the noise. 60 answers in 118 s."""
    rise, minutes, answers, p = found_in(drift(times() * np.linspace(1, 1.4, 60), GROUPS, AT_MS, "TTFT"))
    assert rise == pytest.approx(24, abs=6)
    assert (minutes, answers, p) == (2.0, 60, 0.001)


def test_steady_runs_have_no_drift() -> None:
    """30 seeds with nothing planted, at p < 0.01: two false ones would be chance in 4 of 100."""
    assert sum(drift(times(seed), GROUPS, AT_MS, "TTFT") is not None for seed in range(30)) <= 2


def test_a_small_drift_is_not_worth_a_word() -> None:
    """2 % is certain without noise, and no reason for anything."""
    assert drift(times(noise=0.0) * np.linspace(1, 1.02, 60), GROUPS, AT_MS, "TTFT") is None


def test_prompts_of_other_lengths_are_no_drift() -> None:
    """Short prompts first, then long ones: each prompt is only compared with itself."""
    groups = [f"p{k // 5}" for k in range(60)]
    values = np.repeat(np.exp(np.linspace(5, 7, 12)), 5) * np.exp(0.05 * np.random.default_rng(0).standard_normal(60))
    assert drift(values, groups, AT_MS, "TTFT") is None


def test_saturation_is_named() -> None:
    """Each request under way adds 8 %."""
    load = np.random.default_rng(1).integers(0, 8, 60)
    rise, answers, p = found_in(saturation(times() * 1.08**load, GROUPS, load, "response time"))
    assert rise == pytest.approx(35, abs=15)  # some four requests between the thirds: 1.08^4 = 1.36
    assert (answers, p) == (60, 0.001)
    assert saturation(times(), GROUPS, load, "response time") is None
    assert saturation(times() * 1.08**-load, GROUPS, load, "response time") is None


def test_a_constant_load_shows_nothing() -> None:
    """Closed loop, always eight under way."""
    assert saturation(times(), GROUPS, np.full(60, 8), "response time") is None


def test_slow_first_repeats_are_named() -> None:
    """The first of each prompt takes half as long again: a cache."""
    slower, prompts, p = found_in(warming(times() * np.where(REPEAT == 0, 1.5, 1.0), GROUPS, REPEAT, "TTFT"))
    assert slower == pytest.approx(50, abs=10)
    assert (prompts, p) == (12, 0.001)
    assert warming(times(), GROUPS, REPEAT, "TTFT") is None


@pytest.mark.parametrize("repeats", [np.zeros(60), np.full(60, math.nan)])
def test_one_repeat_says_nothing_of_caches(repeats: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """There is no later one to compare with."""
    assert warming(times(), GROUPS, repeats, "TTFT") is None


def test_uneven_failures_are_named() -> None:
    """30 of 100 against 1 of 100 and 2 of 100."""
    found = found_in(uneven_failures({"a": (30, 100), "b": (1, 100), "c": (2, 100)}))
    assert found == [30, 100, 22, 40, 1, 100, 0.2, 5.4, 0.001]  # the most and the fewest, with their intervals, and p


@pytest.mark.parametrize(
    "failed",
    [{}, {"a": (5, 10)}, {"a": (0, 10), "b": (0, 10)}, {"a": (3, 100), "b": (5, 100)}, {"a": (4, 4), "b": (0, 0)}],
)
def test_even_failures_are_not(failed: dict[str, tuple[int, int]]) -> None:
    """None, one model, no failures, a small difference, a model that was not asked."""
    assert uneven_failures(failed) is None


def test_requests_under_way_at_each_start() -> None:
    """0-100, 50-150, 100-200 and 120-: when each starts, 0, 1, 1 (the first has just ended) and 2 are under way."""
    assert in_flight([0, 50, 100, 120], [100, 150, 200, math.nan]).tolist() == [0, 1, 1, 2]


def test_a_trend_is_the_same_each_time() -> None:
    """Shuffles have a seed."""
    values = times() * np.linspace(1, 1.4, 60)
    assert drift(values, GROUPS, AT_MS, "x") == drift(values, GROUPS, AT_MS, "x")


def test_a_large_run_is_looked_at_in_part() -> None:
    """5,000 answers of 250 prompts: 2,000 at most, in whole prompts."""
    groups = np.tile(np.arange(250), 20)
    values = np.exp(0.1 * np.random.default_rng(2).standard_normal(5_000)) * np.linspace(1, 1.5, 5_000)
    _, _, answers, _ = found_in(drift(values, groups, np.arange(5_000) * 10.0, "TTFT"))
    assert answers in (1980, 2000)

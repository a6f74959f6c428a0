"""Two runs of a model: the change, the three-valued gate, and shifts over many runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import numbers_in

from streambench.analysis.stats.changes import CHANGE_NEEDED, Change, change, corrected_changes, decide, shifts, within
from streambench.analysis.stats.estimates import Estimate
from streambench.metrics.quantiles import Statistic

MODELS = ("alpha", "beta", "gamma", "delta")


def a_change(value: float, low: float | None, high: float | None, p: float | None = 0.001) -> Change:
    return Change("m", "ttft_ms", "p50", "lower", 100.0, 100.0 * value, Estimate(value, low, high, 72, 12, 1), p, p)


def two_runs(seed: int, slowed: str | None, prompts: int = 36, repeats: int = 5, noise: float = 0.15) -> list[Change]:
    """Four models in two runs, lognormal noise, prompts' own lengths 0.3; one may be 15 % slower in the second."""
    draw = np.random.default_rng([seed, prompts, repeats])
    names = [f"p{prompt}" for prompt in range(prompts) for _ in range(repeats)]
    found = []
    for model in MODELS:
        steady = np.repeat(np.exp(6 + 0.3 * draw.standard_normal(prompts)), repeats)
        base, new = steady * np.exp(noise * draw.standard_normal((2, len(names))))
        found.append(change((base, names), (new * (1.15 if model == slowed else 1), names), model, "ttft_ms"))
    return corrected_changes(found)


def test_a_change_of_known_answer() -> None:
    """Each prompt's median twice as long, repeats in another number: the ratio is 2 and certain."""
    prompts = list("abcdefghijkl")
    values = [100.0 * 1.2**k for k in range(12)]
    found = change((values, prompts), ([2 * value for value in values] * 2, prompts * 2))
    for end in (found.ratio.value, found.ratio.low, found.ratio.high):
        assert end == pytest.approx(2.0)
    assert found.p == pytest.approx(2 / 2**12)
    assert found.base is not None
    assert found.new == pytest.approx(2 * found.base)


@pytest.mark.parametrize("statistic", ["mean", "p90", "p95"])
def test_twice_as_slow_is_a_ratio_of_2_in_every_statistic(statistic: Statistic) -> None:
    """The very same answers times 2: nothing is uncertain about the ratio."""
    draw = np.random.default_rng(5)
    names, values = np.repeat(np.arange(40), 5), draw.exponential(100, 200)
    found = change((values, names), (2 * values, names), statistic=statistic)
    for end in (found.ratio.value, found.ratio.low, found.ratio.high):
        assert end == pytest.approx(2.0)


def test_only_prompts_of_both_runs_count() -> None:
    """Prompt z is in the second run only, and very slow; y in the first only."""
    found = change(([100.0, 7.0], ["a", "y"]), ([110.0, 9e9], ["a", "z"]))
    assert found.ratio.value == pytest.approx(1.1)
    assert found.ratio.clusters == 1
    assert found.base == 100.0
    assert found.new == pytest.approx(110.0)


@pytest.mark.parametrize("statistic", list(CHANGE_NEEDED))
def test_a_change_has_no_interval_until_its_prompts_are_there(statistic: Statistic) -> None:
    """One prompt short: a ratio without an interval, and what it takes; with it, an interval."""
    draw = np.random.default_rng(3)
    values, needed = CHANGE_NEEDED[statistic]
    for prompts, carried in ((needed - 1, False), (needed, True)):
        names = np.resize(np.arange(prompts), values)
        base, new = draw.exponential(100, (2, values))
        found = change((base, names), (new, names), statistic=statistic)
        assert found.ratio.value is not None
        assert ((found.ratio.low is not None), (found.p is not None)) == (carried, carried)
        assert (found.ratio.interval_needs == "") is carried


@pytest.mark.parametrize(("base", "new"), [([], []), ([1.0], []), ([0.0], [1.0]), ([math.nan], [1.0])])
def test_nothing_to_compare_is_undecided(base: list[float], new: list[float]) -> None:
    """No prompt in both, a value of 0, or all unknown: no ratio, and no verdict."""
    found = change((base, ["a"] * len(base)), (new, ["a"] * len(new)), "m", "ttft_ms")
    assert found.ratio.value is None
    assert decide(found, 0.1).decision == "undecided"


@pytest.mark.parametrize(
    ("value", "low", "high", "p", "decision", "strict"),
    [
        (1.02, 0.98, 1.06, 0.4, "held", "held"),  # at most 6 % worse
        (0.80, 0.75, 0.85, 0.001, "held", "held"),  # better
        (1.15, 1.08, 1.22, 0.001, "failed", "undecided"),  # slower for certain, by 15 % as far as can be seen
        (1.20, 1.12, 1.28, 0.001, "failed", "failed"),  # at least 12 %
        (1.08, 1.03, 1.13, 0.01, "undecided", "undecided"),  # slower, perhaps by more than 10 %
        (1.15, 0.95, 1.40, 0.2, "undecided", "undecided"),  # may be no slower at all
        (1.15, 1.01, 1.30, 0.08, "undecided", "undecided"),  # not certain once corrected for the other models
        (1.15, None, None, None, "undecided", "undecided"),
    ],
)
def test_a_decision_has_three_values(
    value: float, low: float | None, high: float | None, p: float | None, decision: str, strict: str
) -> None:
    """Limit 10 %."""
    found = a_change(value, low, high, p)
    assert decide(found, 0.10).decision == decision
    assert decide(found, 0.10, strict=True).decision == strict


def test_a_decision_says_its_numbers() -> None:
    """Model, metric, change, interval, limit."""
    text = decide(a_change(1.15, 1.08, 1.22), 0.10).why
    assert text == "m: ttft_ms p50 changed by +15 % (95 % interval +8 to +22), limit 10 %"


def test_less_is_worse_where_higher_is_better() -> None:
    """20 % fewer tokens per second fail a limit of 10 %; 20 % more hold it."""
    draw = np.random.default_rng(2)
    names = np.arange(20)
    base = np.exp(3 + 0.1 * draw.standard_normal(20))
    less = change((base, names), (0.8 * base, names), "m", "output_tok_s", better="higher")
    more = change((base, names), (1.2 * base, names), "m", "output_tok_s", better="higher")
    assert (decide(less, 0.10).decision, decide(more, 0.10).decision) == ("failed", "held")
    assert numbers_in(decide(less, 0.10).why)[0] == -20


@pytest.mark.parametrize(
    ("ends", "at_most", "decision"),
    [
        ((700.0, 650.0, 780.0), 800, "held"),
        ((700.0, 650.0, 820.0), 800, "undecided"),
        ((900.0, 810.0, math.inf), 800, "failed"),
        ((700.0, 650.0, math.inf), 800, "undecided"),
        ((700.0, None, None), 800, "undecided"),
    ],
)
def test_a_fixed_limit_is_kept_or_broken_by_the_whole_interval(
    ends: tuple[float | None, float | None, float | None], at_most: float, decision: str
) -> None:
    """`ttft_p95_ms: "< 800"`."""
    assert within(ends, at_most=at_most) == decision


def test_a_lower_limit_works_the_other_way() -> None:
    """`goodput: "> 5"`."""
    assert [within((6, low, high), at_least=5) for low, high in ((5.5, 6.5), (4, 6.5), (3, 4.5))] == [
        "held",
        "undecided",
        "failed",
    ]


def test_a_planted_slowdown_fails_its_model_alone() -> None:
    """15 % in one of four models, 36 prompts x 5, limit 10 %: named, and no other, in 19 of 20 seeds."""
    named = 0
    for seed in range(20):
        slowed = MODELS[seed % 4]
        failed = [each.model for each in two_runs(seed, slowed) if decide(each, 0.10).decision == "failed"]
        named += failed == [slowed]
    assert named >= 19


def test_without_a_slowdown_the_gate_holds() -> None:
    """The same runs with nothing planted: all four models hold in 19 of 20 seeds."""
    held = [{decide(each, 0.10).decision for each in two_runs(seed, None)} == {"held"} for seed in range(20)]
    assert sum(held) >= 19


def test_a_small_sample_does_not_guess() -> None:
    """10 prompts x 2 with nothing planted: undecided is allowed, failed is not."""
    found = [decide(each, 0.10).decision for seed in range(20) for each in two_runs(seed, None, 10, 2)]
    assert found.count("failed") <= 1


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 25)), max_size=60), st.sampled_from(list(CHANGE_NEEDED)))
@settings(max_examples=50, deadline=None)
def test_no_number_of_a_change_is_nan(rows: list[tuple[float, int]], statistic: Statistic) -> None:
    """Zeros, few, equal."""
    values, prompts = [row[0] for row in rows], [row[1] for row in rows]
    found = change((values, prompts), (values[::-1], prompts), statistic=statistic)
    numbers = (found.ratio.value, found.ratio.low, found.ratio.high, found.p, found.base, found.new)
    assert not any(number is not None and math.isnan(number) for number in numbers)


def test_a_shift_is_marked_where_it_is() -> None:
    """Five runs about 100, six about 130."""
    (found,) = shifts([100, 101, 99, 102, 98, 130, 131, 128, 133, 129, 130])
    assert (found.at, found.before, found.after) == (5, 100, 130)
    assert found.p < 0.05


def test_two_shifts_are_both_marked() -> None:
    """Up after eight runs, down again after another eight."""
    wobble = [0, 2, -1, 1, -2, 0.5, -0.5, 1.5]
    series = [level + step for level in (100, 150, 90) for step in wobble]
    assert [shift.at for shift in shifts(series)] == [8, 16]


def test_seven_runs_show_no_shift() -> None:
    """3 | 4 in order is too likely by chance: 4 of 35 orders at the least."""
    assert shifts([1, 2, 3, 100, 101, 102, 103]) == []


@pytest.mark.parametrize("series", [[], [5.0], [5.0] * 30])
def test_a_level_series_has_no_shift(series: list[float]) -> None:
    """None, one, or all equal."""
    assert shifts(series) == []


def test_noise_seldom_looks_like_a_shift() -> None:
    """200 series of 12 runs: 5 % have one; more than 11 % would be 4 standard errors."""
    draw = np.random.default_rng(4)
    assert np.mean([bool(shifts(draw.standard_normal(12).tolist(), permutations=199)) for _ in range(200)]) <= 0.11

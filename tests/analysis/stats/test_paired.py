"""Two models on the same prompts: pairing, differences, Holm's correction, plans and the sentence."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats  # type: ignore[import-untyped]  # it ships no types
from sentences import numbers_in

from streambench.analysis.leaderboard import RANKED
from streambench.analysis.stats.estimates import Estimate, share
from streambench.analysis.stats.paired import (
    Comparison,
    Pairs,
    by_prompt,
    compare,
    compare_all,
    holm,
    more_requests,
    pair,
    pairs_of,
    sample_of_prompts,
)
from streambench.analysis.stats.signed_rank import typical
from streambench.analysis.stats.wording import in_words
from streambench.metrics.definitions import BY_COLUMN, METRICS


def rows(model: str, ttft_ms: list[float], outcome: str = "ok") -> pd.DataFrame:
    """Prompts a, b, c, ..., one repeat each."""
    return pd.DataFrame(
        {
            "run_id": "r",
            "model": model,
            "prompt_id": [chr(97 + place) for place in range(len(ttft_ms))],
            "repeat": 0,
            "turn": pd.array([pd.NA] * len(ttft_ms), dtype="Int64"),
            "phase": "measure",
            "outcome": outcome,
            "ttft_ms": ttft_ms,
        }
    )


def simulated(slower: float = 1.0, prompts: int = 20, repeats: int = 3, seed: int = 0, noise: float = 0.2) -> Pairs:
    draw = np.random.default_rng(seed)
    base = 6 + 0.3 * draw.standard_normal((prompts, 1))
    one, other = np.exp(base + noise * draw.standard_normal((2, prompts, repeats)))
    names = [f"p{prompt}" for prompt in range(prompts) for _ in range(repeats)]
    return pair(list(slower * one.ravel()), list(other.ravel()), names, ("slow", "quick"))


def a_comparison(**changed: object) -> Comparison:
    """The issue's own example: 212 ms faster (180 to 251), on 46 of 50 prompts."""
    known = Comparison(
        a="gpt-4o",
        b="deepseek-chat",
        metric="ttft_ms",
        better="lower",
        pairs=150,
        prompts=50,
        left_out=0,
        difference=Estimate(212.4, 180.2, 251.3, 150, 50, 1),
        ratio=Estimate(1.4, 1.3, 1.5, 150, 50, 1),
        won=share(4, 50),
        lost=share(46, 50),
        p=1e-9,
        p_holm=1e-8,
        more=0,
    )
    return replace(known, **changed)  # type: ignore[arg-type]


def test_pairs_are_by_prompt_and_repeat() -> None:
    """c has no partner, d is unknown in one: two pairs, and three requests left out."""
    found = pairs_of(rows("x", [1, 2, 3]), rows("y", [10, math.nan]), "ttft_ms", ("x", "y"))
    assert (found.values_a.tolist(), found.values_b.tolist(), found.prompts) == ([1], [10], 1)
    assert found.left_out == 3


def test_a_turn_pairs_with_its_own_turn() -> None:
    """A session's turns are requests of their own."""
    one, other = (rows(model, [1.0, 2.0]).assign(prompt_id="a") for model in "xy")
    one["turn"], other["turn"] = [0, 1], [1, 0]
    found = pairs_of(one, other, "ttft_ms", ("x", "y"))
    assert sorted(zip(found.values_a, found.values_b, strict=True)) == [(1.0, 2.0), (2.0, 1.0)]


def test_two_requests_of_one_key_are_refused() -> None:
    """Frames with warm-up left in, say: which is the partner?"""
    twice = pd.concat([rows("x", [1.0]), rows("x", [2.0])])
    with pytest.raises(ValueError, match="x: two requests have the same"):
        pairs_of(twice, rows("y", [1.0]), "ttft_ms", ("x", "y"))


def test_a_prompt_counts_once_by_its_median() -> None:
    """Differences 1, 2, 90 of the one prompt and 4 of the other: 2 and 4."""
    assert by_prompt(np.array([90.0, 4, 1, 2]), np.array([0, 1, 0, 0]), 2).tolist() == [2, 4]


def test_a_comparison_of_known_answer() -> None:
    """b is a times 2 on 12 prompts: the ratio is 0.5 exactly, a wins all, p is 2 of 2^12 signs."""
    values = [100.0 * 1.1**k for k in range(12)]
    found = compare(pair(values, [2 * value for value in values], list(range(12)), ("a", "b")), "ttft_ms")
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(0.5)
    assert (found.won.k, found.lost.k) == (12, 0)
    assert found.p == pytest.approx(2 / 2**12)
    assert found.winner == "a"


def test_higher_is_better_turns_the_winner_round() -> None:
    """The same numbers as tokens per second."""
    pairs = simulated(2.0)
    assert compare(pairs, "ttft_ms").winner == "quick"
    assert compare(pairs, "output_tok_s", "higher").winner == "slow"
    assert compare(pairs, "output_tok_s", "higher").won.k == compare(pairs, "ttft_ms").lost.k


def test_a_value_of_0_has_no_ratio_but_a_difference() -> None:
    """A start lag may be 0."""
    found = compare(pair([0.0] * 12, [float(k + 1) for k in range(12)], list(range(12)), ("a", "b")), "start_lag_ms")
    assert found.ratio is None
    assert found.winner == "a"


def test_equal_models_are_not_told_apart() -> None:
    """The very same answers: p is 1, nobody won a prompt."""
    found = compare(pair([5.0] * 12, [5.0] * 12, list(range(12)), ("a", "b")), "ttft_ms")
    assert (found.p, found.won.k, found.lost.k, found.winner) == (1.0, 0, 0, None)


@pytest.mark.parametrize("prompts", [0, 1, 9])
def test_few_prompts_show_nothing(prompts: int) -> None:
    """However far apart they are; and the sentence says that it takes 10."""
    values = [100.0 + k for k in range(prompts)]
    found = compare(pair(values, [9 * value for value in values], list(range(prompts)), ("a", "b")), "ttft_ms")
    assert (found.p, found.winner, found.more) == (None, None, None)
    assert numbers_in(in_words(found)) == [prompts, 10]


def test_swapping_the_models_swaps_the_signs() -> None:
    """a against b and b against a are one fact."""
    pairs = simulated(1.2)
    swapped = Pairs(pairs.b, pairs.a, pairs.values_b, pairs.values_a, pairs.clusters, pairs.prompts)
    one, other = compare(pairs, "ttft_ms"), compare(swapped, "ttft_ms")
    assert one.difference.low is not None
    assert other.difference.high == pytest.approx(-one.difference.low)
    assert other.p == one.p
    assert in_words(one) == in_words(other)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_the_textbooks(p_values: list[float]) -> None:
    """By hand: the k-th smallest of m times m - k + 1, never below the one before, at most 1; order is kept."""
    found = holm(p_values)
    before, m = 0.0, len(p_values)
    for step, place in enumerate(sorted(range(m), key=lambda at: (p_values[at], at))):
        before = min(1.0, max(before, p_values[place] * (m - step)))
        assert found[place] == pytest.approx(before)


def test_holm_refuses_what_is_no_p() -> None:
    """NaN among them would spoil all."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.1, math.nan])


def test_all_comparisons_are_corrected_together() -> None:
    """Three models: three pairs, and each p is Holm's over the three; failed and warm-up rows are left out."""
    draw = np.random.default_rng(1)
    frames = [rows(name, list(draw.exponential(100, 14))) for name in "xyz"]
    frame = pd.concat([*frames, rows("x", [1.0] * 14, "timeout")])
    found = compare_all(frame, {"ttft_ms": "lower"})
    assert [(each.a, each.b) for each in found] == [("x", "y"), ("x", "z"), ("y", "z")]
    assert [each.p_holm for each in found] == pytest.approx(holm([each.p or 0.0 for each in found]))
    assert {each.pairs for each in found} == {14}


def test_the_plan_is_the_formula() -> None:
    """A log interval 0.4 wide has the error 0.4 / 3.92 = 0.102; for 10 % it must be log 1.1 / 2.80 = 0.0340.

    So (0.102 / 0.0340)^2 = 8.99 times the 12 prompts: 95.9 more, of 3 pairs each, for two models.
    """
    logs = typical(np.zeros(12))
    assert logs is not None
    wide = replace(logs, low=-0.2, high=0.2)
    factor = (0.4 / (2 * scipy_stats.norm.ppf(0.975)) * (scipy_stats.norm.ppf([0.975, 0.8]).sum()) / math.log(1.1)) ** 2
    assert more_requests(wide, pairs=36) == 2 * math.ceil(12 * (factor - 1) * 3)
    assert more_requests(replace(logs, low=-0.01, high=0.01), pairs=36) == 0
    assert more_requests(replace(logs, low=None), pairs=36) is None


def test_a_plan_for_many_tests_asks_for_more() -> None:
    """Holm's worst case divides 5 % by their number."""
    logs = typical(np.linspace(-0.3, 0.3, 12))
    few, many = more_requests(logs, 36), more_requests(logs, 36, tests=10)
    assert few is not None
    assert many is not None
    assert many > few > 0


@pytest.mark.parametrize(
    ("comparison", "text"),
    [
        (
            a_comparison(),
            "deepseek-chat starts 212 ms faster than gpt-4o (95 % interval 180 to 251), on 46 of 50 prompts",
        ),
        (
            a_comparison(metric="longest_gap_ms"),
            "deepseek-chat has a 212 ms shorter longest gap than gpt-4o (95 % interval 180 to 251), "
            "on 46 of 50 prompts",
        ),
        (
            a_comparison(metric="output_tok_s", better="higher"),
            "gpt-4o writes 212 tok/s faster than deepseek-chat (95 % interval 180 to 251), on 4 of 50 prompts",
        ),
        (
            a_comparison(metric="e2e_ms", difference=Estimate(-5120.0, -6300.0, -4200.0, 150, 50, 1)),
            "gpt-4o ends 5,100 ms faster than deepseek-chat (95 % interval 4,200 to 6,300), on 4 of 50 prompts",
        ),
        (
            a_comparison(p_holm=0.2, more=140),
            "no significant difference between gpt-4o and deepseek-chat; "
            "a difference of 10 % needs about 140 more requests to be found",
        ),
        (
            a_comparison(p_holm=0.2, more=1_334),
            "no significant difference between gpt-4o and deepseek-chat; "
            "a difference of 10 % needs about 1,300 more requests to be found",
        ),
        (
            a_comparison(p_holm=0.2, more=0),
            "no significant difference between gpt-4o and deepseek-chat; "
            "a difference of 10 % would most likely have been found",
        ),
        (a_comparison(p_holm=0.2, more=None), "no significant difference between gpt-4o and deepseek-chat"),
        (
            a_comparison(metric="shininess"),
            "deepseek-chat has 212 less than gpt-4o (95 % interval 180 to 251), on 46 of 50 prompts",
        ),
    ],
)
def test_in_words(comparison: Comparison, text: str) -> None:
    """Who, how much, how sure, on how many prompts; or what it would take."""
    assert in_words(comparison) == text


def test_a_lag_takes_digits_from_the_sentence() -> None:
    """Timed to 20 ms, 212 ms is 210."""
    assert numbers_in(in_words(a_comparison(), client_lag_ms=20.0))[0] == 210


def test_every_metric_has_its_verb() -> None:
    """That of its row in METRICS."""
    for metric in METRICS:
        comparison = replace(a_comparison(), metric=metric.column, better=metric.better or "lower")
        said = in_words(comparison)
        assert f" {metric.phrase.does} " in said, metric.name
        assert f" {metric.phrase.how} than " in said, metric.name


@pytest.mark.parametrize("column", RANKED)
def test_a_ranked_metric_has_words_for_the_first_and_the_last_model(column: str) -> None:
    """`starts first`, `starts last`."""
    phrase = BY_COLUMN[column].phrase
    assert phrase.first
    assert phrase.last


@pytest.mark.parametrize(("most", "kept"), [(3, ["a", "c", "e"]), (6, list("abcdef")), (7, list("abcdef"))])
def test_prompts_are_thinned_evenly(most: int, kept: list[str]) -> None:
    """3 of 6 prompts: those at 0, 2 and 4 in the order of their ids."""
    rows = pd.DataFrame({"model": "m", "run_id": "r", "prompt_id": list("fedcba"), "repeat": 0, "turn": 0})
    assert sorted(sample_of_prompts(rows, most)["prompt_id"]) == kept


def test_a_pairing_key_that_occurs_twice_is_kept_once() -> None:
    """Two equal rows of one model."""
    rows = pd.DataFrame({"model": ["m", "m"], "run_id": "r", "prompt_id": "p", "repeat": 0, "turn": 0})
    assert len(sample_of_prompts(rows, 9)) == 1


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 14)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_number_of_a_comparison_is_nan(found: list[tuple[float, float, int]]) -> None:
    """Zeros, equal values, one prompt, none; and there is always a sentence."""
    a, b, prompts = ([row[place] for row in found] for place in range(3))
    comparison = compare(pair(a, b, prompts, ("a", "b")), "ttft_ms")
    ends = (comparison.difference, comparison.ratio or comparison.difference)
    for number in (comparison.p, *(end for each in ends for end in (each.value, each.low, each.high))):
        assert number is None or not math.isnan(number)
    assert "nan" not in in_words(comparison)


def test_differences_cover() -> None:
    """200 runs of 12 x 3 with 15 % between: the ratio's interval holds 1.15; 88 % would be 4.5 standard errors low."""
    found = [compare(simulated(1.15, 12, 3, seed), "ttft_ms").ratio for seed in range(200)]
    assert np.mean([each is not None and (each.low or 0) <= 1.15 <= (each.high or 0) for each in found]) >= 0.88


def test_a_difference_of_30_percent_is_found() -> None:
    """20 x 3 with little noise: in all of ten runs, and for the right model."""
    assert {compare(simulated(1.3, seed=seed), "ttft_ms").winner for seed in range(10)} == {"quick"}

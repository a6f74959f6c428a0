"""When an open loop's requests are due: rates that hold, and the same draw for the same seed."""

from __future__ import annotations

from itertools import pairwise
from math import exp, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.config.sections import OPEN_LOOPS, Load, LoadMode
from streambench.runner.arrivals import ARRIVALS, offsets_ns

NS = 1_000_000_000


def drawn(mode: LoadMode, rate: float, count: int, seed: int = 7) -> tuple[int, ...]:
    offsets = offsets_ns(Load(mode, rate=rate), count, seed)
    assert offsets is not None
    return offsets


def gaps_s(offsets: tuple[int, ...]) -> list[float]:
    """The wait before each request; before the first it is counted from the start."""
    return [(last - first) / NS for first, last in pairwise((0, *offsets))]


def test_a_closed_loop_has_no_schedule() -> None:
    """Its requests are due when a lane is free."""
    assert offsets_ns(Load(), 5, 7) is None


def test_every_open_loop_has_its_arrivals() -> None:
    """Each mode that a config accepts."""
    assert tuple(ARRIVALS) == OPEN_LOOPS


def test_constant_is_exact() -> None:
    """4 a second: every 250 ms, the first at once."""
    assert drawn("constant", 4, 5) == (0, 250_000_000, 500_000_000, 750_000_000, 1_000_000_000)


def test_constant_does_not_drift() -> None:
    """3 a second: the 300,000th is due after 100,000 s, although a third has no end in decimals."""
    assert drawn("constant", 3, 300_001)[-1] == 100_000 * NS


def test_the_seed_does_not_move_a_constant_schedule() -> None:
    """There is nothing to draw."""
    assert drawn("constant", 4, 5, seed=1) == drawn("constant", 4, 5, seed=2)


@pytest.mark.parametrize("seed", [7, 8, 9])
@pytest.mark.parametrize("rate", [0.5, 50.0, 2_000.0])
def test_poisson_keeps_its_rate(rate: float, seed: int) -> None:
    """The mean gap is 1/rate; of 10,000 exponential gaps its standard error is 1/rate/100: 4 of them are allowed."""
    gaps = gaps_s(drawn("poisson", rate, 10_000, seed))
    assert abs(sum(gaps) / len(gaps) - 1 / rate) < 4 * (1 / rate) / sqrt(10_000)


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_poisson_gaps_are_exponential(seed: int) -> None:
    """A share of 1/e is longer than the mean, with a standard error of sqrt(p (1 - p) / n) = 0.0048."""
    gaps = gaps_s(drawn("poisson", 10, 10_000, seed))
    share = sum(gap > 1 / 10 for gap in gaps) / len(gaps)
    assert abs(share - exp(-1)) < 4 * sqrt(exp(-1) * (1 - exp(-1)) / 10_000)


def test_poisson_does_not_start_with_a_burst() -> None:
    """The first gap is drawn as any other: its mean over 1,000 seeds is 1/rate = 0.1 s, standard error 0.0032."""
    firsts = [drawn("poisson", 10, 1, seed)[0] / NS for seed in range(1_000)]
    assert abs(sum(firsts) / 1_000 - 0.1) < 4 * 0.1 / sqrt(1_000)


def test_an_open_loop_without_a_rate_is_refused() -> None:
    """By name, before anything is sent."""
    with pytest.raises(ValueError, match="poisson"):
        offsets_ns(Load("poisson"), 5, 7)


modes = st.sampled_from(sorted(ARRIVALS))
rates = st.floats(0.01, 10_000)
counts = st.integers(0, 50)


@given(mode=modes, rate=rates, count=counts, seed=st.integers())
def test_offsets_never_go_back(mode: LoadMode, rate: float, count: int, seed: int) -> None:
    """As many as asked for, ascending, none before the start."""
    offsets = drawn(mode, rate, count, seed)
    assert len(offsets) == count
    assert list(offsets) == sorted(offsets)
    assert all(offset >= 0 for offset in offsets)


@given(mode=modes, rate=rates, count=counts, seed=st.integers())
def test_same_seed_same_offsets(mode: LoadMode, rate: float, count: int, seed: int) -> None:
    """A run can be repeated."""
    assert drawn(mode, rate, count, seed) == drawn(mode, rate, count, seed)


@given(mode=modes, rate=rates, count=counts, seed=st.integers())
def test_a_longer_schedule_begins_with_the_shorter(mode: LoadMode, rate: float, count: int, seed: int) -> None:
    """A limit cuts a plan's end and moves nothing else."""
    assert drawn(mode, rate, count + 5, seed)[:count] == drawn(mode, rate, count, seed)


@given(rate=rates, seeds=st.sets(st.integers(), min_size=2, max_size=2))
def test_other_seed_other_offsets(rate: float, seeds: set[int]) -> None:
    """Ten gaps do not agree by chance."""
    one, other = seeds
    assert drawn("poisson", rate, 10, one) != drawn("poisson", rate, 10, other)

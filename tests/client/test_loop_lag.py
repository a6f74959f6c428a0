"""The event loop's own lateness: every period that passed has its sample, and the percentiles are real samples."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from streambench.client.loop_lag import LagSampler
from streambench.clock import MonotonicClock
from streambench.testing import FakeClock

MS = 1_000_000
AGES = 10**18


def sampled(*ticks_ms: float) -> LagSampler:
    """A sampler that was started at 0, with a period of 10 ms, and whose timer's turn came at these instants."""

    async def tick() -> LagSampler:
        clock = FakeClock(autojump=False)
        sampler = LagSampler(clock, 10 * MS)
        sampler.start()
        for tick_ms in ticks_ms:  # the loop gets no turn: its timer, on the real clock, can't add to them
            clock.jump_to(round(tick_ms * MS))
            sampler._tick()
        sampler.stop()
        return sampler

    return asyncio.run(tick())


def worst(sampler: LagSampler, start_ms: float, end_ms: float) -> int | None:
    return sampler.worst(round(start_ms * MS), round(end_ms * MS))


def test_a_punctual_loop_has_no_lag() -> None:
    """Due at 10, 20, 30; came at 10, 20, 30."""
    assert sampled(10, 20, 30).summary(0, AGES) == {"n": 3, "p50": 0, "p90": 0, "p99": 0, "max": 0}


def test_lateness_is_since_the_instant_it_was_due() -> None:
    """Due at 10, came at 13; the next is due at 20 all the same, and came at 21."""
    sampler = sampled(13, 21)
    assert worst(sampler, 10, 10) == 3 * MS
    assert worst(sampler, 20, 20) == MS


def test_a_long_stop_makes_every_period_in_it_late() -> None:
    """Stopped from 10 to 45: those due at 10, 20, 30 and 40 were 35, 25, 15 and 5 ms late."""
    sampler = sampled(45)
    assert [worst(sampler, due, due) for due in (10, 20, 30, 40)] == [35 * MS, 25 * MS, 15 * MS, 5 * MS]
    assert sampler.summary(0, AGES)["n"] == 4


def test_after_a_stop_the_rhythm_is_kept() -> None:
    """45 is past 40; the next is due at 50, not at 55."""
    assert worst(sampled(45, 52), 50, 50) == 2 * MS


def test_a_timer_that_rings_early_counts_nothing() -> None:
    """A loop's own timer may, by its resolution; the sample is taken when it is due."""
    assert sampled(9.9, 10).summary(0, AGES) == {"n": 1, "p50": 0, "p90": 0, "p99": 0, "max": 0}


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 100, 7),
        (10, 20, 7),
        (10, 19.9, 1),
        (20.1, 30, 3),
        (20, 20, 7),
        (0, 9.9, None),
        (30.1, 100, None),
        (25, 21, None),
    ],
)
def test_the_worst_is_of_the_samples_due_between(start: float, end: float, expected: int | None) -> None:
    """Due at 10, 20, 30, late by 1, 7, 3; both ends belong to it, and where nothing was due it is unknown."""
    assert worst(sampled(11, 27, 33), start, end) == (None if expected is None else expected * MS)


@pytest.mark.parametrize(
    ("late_ms", "expected"),
    [
        ([4], (4, 4, 4, 4)),
        ([1, 2], (1, 2, 2, 2)),  # ceil(2 x 0.5) = 1st
        ([1, 2, 3], (2, 3, 3, 3)),  # ceil(1.5) = 2nd: the median; ceil(2.7) = 3rd
        ([5, 4, 3, 2, 1], (3, 5, 5, 5)),  # ceil(2.5) = 3rd: the median, in whatever order they came
        (range(10), (4, 8, 9, 9)),  # 5th, 9th, ceil(9.9) = 10th, 10th of 0 to 9
        ([k * 0.01 for k in range(100)], (0.49, 0.89, 0.98, 0.99)),  # 50th, 90th, 99th, 100th of 0 to 0.99
    ],
)
def test_percentiles_are_by_nearest_rank(late_ms: Sequence[float], expected: tuple[float, ...]) -> None:
    """The smallest sample that at least that share does not exceed: always one that was seen."""
    sampler = sampled(*(10 * (k + 1) + late for k, late in enumerate(late_ms)))
    summary = sampler.summary(0, AGES)
    assert summary.pop("n") == len(late_ms)
    assert tuple(summary.values()) == tuple(round(value * MS) for value in expected)


def test_a_summary_is_of_its_own_window() -> None:
    """Of 10, 20 and 30 the first is left out: 7 and 3 remain."""
    summary = sampled(11, 27, 33).summary(15 * MS, 30 * MS)
    assert summary == {"n": 2, "p50": 3 * MS, "p90": 7 * MS, "p99": 7 * MS, "max": 7 * MS}


def test_no_sample_is_unknown() -> None:
    """A run of less than a period; None, not zero."""
    assert sampled().summary(0, AGES) == {"n": 0, "p50": None, "p90": None, "p99": None, "max": None}


# --- on the real clock ------------------------------------------------------------------------------------------------


def on_a_real_loop(work: Callable[[LagSampler], None]) -> LagSampler:
    """A sampler of 1 ms periods on a loop that did this work and was then left alone until five samples were there."""

    async def run() -> LagSampler:
        sampler = LagSampler(MonotonicClock(), MS)
        sampler.start()
        work(sampler)
        while (sampler.summary(0, AGES)["n"] or 0) < 5:  # noqa: ASYNC110  # its timer has no event to wait for
            await asyncio.sleep(0)
        sampler.stop()
        return sampler

    return asyncio.run(run())


def test_samples_come_by_themselves() -> None:
    """Nobody but the timer asks for them."""
    assert (on_a_real_loop(lambda _: None).summary(0, AGES)["max"] or 0) >= 0


def test_a_blocked_loop_is_seen() -> None:
    """Kept busy for 20 ms, the sample due after the first of them was at least 18 ms late."""

    def block(_: LagSampler) -> None:
        until = MonotonicClock().now_ns() + 20 * MS
        while MonotonicClock().now_ns() < until:
            pass

    assert (on_a_real_loop(block).summary(0, AGES)["max"] or 0) >= 18 * MS


def test_stopping_twice_is_once() -> None:
    """Whoever tears a run down need not know how far it came."""

    async def twice() -> None:
        sampler = LagSampler(MonotonicClock())
        sampler.stop()
        sampler.start()
        sampler.stop()
        sampler.stop()

    asyncio.run(twice())

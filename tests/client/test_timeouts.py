"""When an attempt has waited long enough."""

from __future__ import annotations

import pytest

from streambench.client.timeouts import Deadlines
from streambench.config.sections import Timeouts

NS = 1_000_000_000
LIMITS = Deadlines(Timeouts(first_chunk=60, idle=30, total=600))


@pytest.mark.parametrize(
    ("progress_s", "expected"),
    [
        (None, ("first_chunk", 1_060)),  # 1000 + 60
        (1_005, ("idle", 1_035)),  # 1005 + 30
        (1_569, ("idle", 1_599)),  # 1569 + 30, before 1000 + 600
        (1_571, ("total", 1_600)),  # 1571 + 30 would be later
    ],
)
def test_the_earliest_deadline_is_next(progress_s: int | None, expected: tuple[str, int]) -> None:
    """Of a request that started at 1,000 s, by when something generated last came."""
    which, due_ns = LIMITS.next(1_000 * NS, None if progress_s is None else progress_s * NS)
    assert (which, due_ns / NS) == expected


def test_a_total_shorter_than_the_first_chunk_wins() -> None:
    """0.25 s in all: half a second for the first chunk is never reached."""
    assert Deadlines(Timeouts(first_chunk=0.5, idle=0.5, total=0.25)).next(0, None) == ("total", 250_000_000)


@pytest.mark.parametrize(
    ("which", "told"),
    [
        ("first_chunk", "no output within 60 s"),
        ("idle", "no further output for 30 s"),
        ("total", "not finished within 600 s"),
    ],
)
def test_a_deadline_that_passed_is_told_with_its_limit(which: str, told: str) -> None:
    """So that a reader knows which key to raise."""
    assert LIMITS.message(which) == told


def test_the_next_look_is_never_further_off_than_the_idle_limit() -> None:
    """At 1,000 s with the first chunk due by 1,060: one that comes at once would be idle from 1,030 on."""
    assert LIMITS.next_look(1_000 * NS, 1_060 * NS) == 1_030 * NS


def test_the_next_look_is_at_the_deadline_where_that_is_sooner() -> None:
    """5 s are left."""
    assert LIMITS.next_look(1_055 * NS, 1_060 * NS) == 1_060 * NS

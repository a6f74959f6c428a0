"""Rates over a window: what counts, and what is not good."""

from __future__ import annotations

import math

import pytest

from streambench.analysis.stats.throughput import good_requests, throughput


def test_rates_over_the_whole_run() -> None:
    """Four requests and 30 known tokens in the 2 s from the first start to the last end; two were good."""
    found = throughput([0, 0, 500, 1000], [400, 900, 1500, 2000], [10, 20, math.nan, 0], [True, False, True, False])
    assert (found.window_s, found.requests, found.request_s) == (2.0, 4, 2.0)
    assert (found.system_tok_s, found.tokens_unknown) == (15.0, 1)
    assert (found.good, found.goodput) == (2, 1.0)


def test_only_what_ends_inside_the_window_counts() -> None:
    """Of ends at 400, 900, 1,500 and 2,000 two lie in 500 to 1,500: 2 requests and 20 tokens in 1 s."""
    found = throughput([0, 0, 500, 1000], [400, 900, 1500, 2000], [10, 20, 0, 0], window_ms=(500, 1500))
    assert (found.requests, found.request_s, found.system_tok_s) == (2, 2.0, 20.0)
    assert found.goodput is None


def test_a_request_without_an_end_is_not_counted() -> None:
    """It was cut off with the run."""
    assert throughput([0, 0], [100, math.nan], [1, 1]).requests == 1


@pytest.mark.parametrize("ends", [[], [math.nan]])
def test_nothing_has_no_rate(ends: list[float]) -> None:
    """No window, no rate: unknown, not 0."""
    found = throughput([0.0] * len(ends), ends, [1.0] * len(ends))
    assert (found.requests, found.request_s, found.system_tok_s) == (0, None, None)


def test_rows_of_other_lengths_are_refused() -> None:
    """A frame's columns are as long as each other."""
    with pytest.raises(ValueError, match="one entry per request"):
        throughput([0, 1], [1], [1])


def test_good_is_ok_and_within_every_limit() -> None:
    """Good; too slow; TPOT unknown; failed; at the limit."""
    values = {"ttft_ms": [100, 900, 100, 100, 500], "tpot_ms": [20, 20, math.nan, 20, 50]}
    ok = [True, True, True, False, True]
    assert good_requests(ok, values, {"ttft_ms": 500, "tpot_ms": 50}).tolist() == [True, False, False, False, True]


def test_without_limits_ok_is_good() -> None:
    """No SLO was asked for."""
    assert good_requests([True, False], {}, {}).tolist() == [True, False]

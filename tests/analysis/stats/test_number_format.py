"""No digit is printed that the interval or the client's lag takes back."""

from __future__ import annotations

import math

import pytest

from streambench.analysis.stats.estimates import Estimate
from streambench.analysis.stats.number_format import digits, shown


def an(value: float | None, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(value, low, high, n=36, clusters=12, needs=20)


@pytest.mark.parametrize(
    ("value", "low", "high", "lag", "places"),
    [
        (212.4, 180.2, 251.3, None, 0),  # half width 35.6: two digits of it are whole ms
        (212.4, 211.9, 212.9, None, 2),  # half width 0.5
        (212.4, 211.9, 212.9, 3.0, 0),  # but the lag's first digit is whole ms
        (4.02, 3.9, 4.1, 19.7, 0),  # and the number keeps its own first digit, or it would be 0
        (212.4, 180.2, 251.3, 14.0, -1),  # tens
        (5120.0, 4200.0, 6300.0, None, -2),  # half width 1,050: hundreds
        (812.3, 730.0, math.inf, None, 0),  # from the number down: 82
        (812.3, None, None, None, 0),  # three digits where nothing says better
        (8.123, None, None, None, 2),
        (8.123, None, None, 0.4, 1),
        (0.0, 0.0, 0.0, None, 0),
    ],
)
def test_digits(value: float, low: float | None, high: float | None, lag: float | None, places: int) -> None:
    """Two digits of the half width, none below the first digit of the lag."""
    assert digits(value, low, high, lag) == places


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (an(212.4, 180.2, 251.3), "212 ms (180 to 251)"),
        (an(5120.0, 4200.0, 6300.0), "5,100 ms (4,200 to 6,300)"),
        (an(812.3, 730.4, math.inf), "812 ms (730 or more)"),
        (an(812.3), "812 ms"),
        (an(None), "- (needs n=20, has n=36)"),
        (an(math.inf, 640.0, math.inf), "inf ms (640 or more)"),
        (an(math.inf), "inf ms"),
        (an(-0.04, -3.0, 2.9), "0.0 ms (-3.0 to 2.9)"),
    ],
)
def test_shown(estimate: Estimate, text: str) -> None:
    """The number, its unit, and the interval to the same place."""
    assert shown(estimate, "ms") == text

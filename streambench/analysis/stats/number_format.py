"""Formats numbers with no more digits than their interval and the run's client lag justify."""

from __future__ import annotations

import math

from streambench.analysis.stats.estimates import Estimate, Share
from streambench.text import DASH, percent, percent_change

PLAIN_DIGITS = 3
"""Significant digits of a number that has no interval."""


def digits(value: float, low: float | None, high: float | None, client_lag_ms: float | None = None) -> int:
    """Returns the number of decimals to print; negative for tens, hundreds. All four arguments have the same unit.

    Two digits of the interval's half width (GUM, JCGM 100:2008, 7.2.6), but none below the first digit of the client
    lag, because smaller differences were not measured. The first digit of the number is always kept, so that it does
    not become zero.
    """
    places = [max(_decimals(client_lag_ms, 1), _decimals(value, 1))] if client_lag_ms and client_lag_ms > 0 else []
    reach = _reach(value, low, high)
    places.append(_decimals(reach, 2) if reach else _decimals(value, PLAIN_DIGITS))
    return min(places)


def shown(estimate: Estimate, unit: str, client_lag_ms: float | None = None) -> str:
    """Returns `212 ms (180 to 251)`, `812 ms (730 or more)` if there is no upper end, `812 ms` without an interval, or
    `- (needs n=20, has n=12)` without a value.
    """
    if estimate.value is None:
        return f"{DASH} (needs n={estimate.needs}, has n={estimate.n})"
    places = digits(estimate.value, estimate.low, estimate.high, client_lag_ms)
    text = f"{rounded(estimate.value, places)} {unit}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({between(estimate.low, estimate.high, places)})"


def between(low: float, high: float, places: int) -> str:
    """Returns `180 to 251`, or `730 or more` if `high` is infinite."""
    if math.isinf(high):
        return f"{rounded(low, places)} or more"
    return f"{rounded(low, places)} to {rounded(high, places)}"


def change_interval(change: float, low: float, high: float) -> str:
    """Returns a relative change with its interval: `+15.2 % (95 % interval +12.3 to +18.0)`, 0.152 for 15.2 % more."""
    places = change_places(low, high)
    ends = (percent_change(end, places).removesuffix(" %") for end in (low, high))
    return f"{percent_change(change, places)} (95 % interval {' to '.join(ends)})"


def change_places(low: float, high: float) -> int:
    """Returns the decimals of a change in percent: 1 if its interval is narrower than 10 %, else 0."""
    return 1 if high - low < 0.1 else 0


def share_interval(found: Share) -> str:
    """Returns `95 % interval 47 % to 91 %`."""
    return f"95 % interval {percent(found.low)} to {percent(found.high)}"


def rounded(value: float, places: int) -> str:
    """Returns the number rounded to `places` decimals: `1,240` for 1,237 and -1; `inf` for infinity; never `-0`."""
    if math.isinf(value):
        return "inf"
    text = f"{round(value, places):,.{max(0, places)}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def _reach(value: float, low: float | None, high: float | None) -> float:
    """Returns half the interval's width, `value` - `low` if it has no upper end, or 0 if it has no interval."""
    if low is None or high is None or math.isinf(low):
        return 0.0
    if math.isfinite(high):
        return (high - low) / 2
    return value - low if math.isfinite(value) else 0.0


def _decimals(size: float, wanted: int) -> int:
    """Returns the number of decimals that show `wanted` significant digits of `size`; 0 for 0 and infinity."""
    if size == 0 or math.isinf(size):
        return 0
    return wanted - 1 - math.floor(math.log10(abs(size)))

"""A number as text, with no more digits than its interval and the run's own client lag justify."""

from __future__ import annotations

import math

from streambench.stats.estimates import Estimate, Share
from streambench.words import DASH, percent

PLAIN_DIGITS = 3
"""Digits of a number that has neither an interval nor a lag to say better."""


def digits(value: float, low: float | None, high: float | None, client_lag_ms: float | None = None) -> int:
    """Decimals to print; below 0 for tens, hundreds. `value`, `low`, `high` in ms if a lag is given.

    Two digits of the interval's half width (GUM, JCGM 100:2008, 7.2.6), but none below the first digit of the client
    lag: what is smaller than that was not measured. The number's own first digit stays, or it would look like zero.
    """
    places = [max(_decimals(client_lag_ms, 1), _decimals(value, 1))] if client_lag_ms and client_lag_ms > 0 else []
    reach = _reach(value, low, high)
    places.append(_decimals(reach, 2) if reach else _decimals(value, PLAIN_DIGITS))
    return min(places)


def shown(estimate: Estimate, unit: str, client_lag_ms: float | None = None) -> str:
    """`212 ms (180 to 251)`; `812 ms (730 or more)`; `812 ms` without an interval; `- (needs n=20, has n=12)`."""
    if estimate.value is None:
        return f"{DASH} (needs n={estimate.needs}, has n={estimate.n})"
    places = digits(estimate.value, estimate.low, estimate.high, client_lag_ms)
    text = f"{rounded(estimate.value, places)} {unit}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({between(estimate.low, estimate.high, places)})"


def between(low: float, high: float, places: int) -> str:
    """`180 to 251`, or `730 or more` where there is no upper end."""
    if math.isinf(high):
        return f"{rounded(low, places)} or more"
    return f"{rounded(low, places)} to {rounded(high, places)}"


def share_interval(found: Share) -> str:
    """`95 % interval 47 % to 91 %`."""
    return f"95 % interval {percent(found.low)} to {percent(found.high)}"


def rounded(value: float, places: int) -> str:
    """`1,240` for 1,237 and -1 places; `inf` for infinity; never `-0`."""
    if math.isinf(value):
        return "inf"
    text = f"{round(value, places):,.{max(0, places)}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def _reach(value: float, low: float | None, high: float | None) -> float:
    """Half the interval's width; where it has no upper end, from the number down to the lower one."""
    if low is None or high is None or math.isinf(low):
        return 0.0
    if math.isfinite(high):
        return (high - low) / 2
    return value - low if math.isfinite(value) else 0.0


def _decimals(size: float, wanted: int) -> int:
    """Decimals that leave `wanted` digits of a size; none for 0 and infinity."""
    if size == 0 or math.isinf(size):
        return 0
    return wanted - 1 - math.floor(math.log10(abs(size)))

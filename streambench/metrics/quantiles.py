"""Linear quantiles: type 7 of Hyndman and Fan 1996, the default of numpy and pandas. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Protocol

Statistic = Literal["mean", "p50", "p90", "p95", "p99"]

STATISTICS: Mapping[Statistic, float | None] = {"mean": None, "p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
"""Each statistic and its quantile's level; None is the mean."""


class QuantileRow(Protocol):
    """Numbers in ascending order: a list, or an array of one dimension."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Any: ...


def quantile(ordered: QuantileRow, level: float) -> float:
    """Returns the quantile at `level` (0 to 1). `ordered` needs at least one number; infinite numbers are allowed."""
    return at_position((len(ordered) - 1) * level, ordered)


def at_position(position: float, ordered: QuantileRow) -> float:
    """Returns the value at a position (0 is the first), interpolated linearly between its two neighbours.

    A position outside the row gives the first or the last number.
    """
    position = min(max(position, 0.0), len(ordered) - 1.0)
    lower = math.floor(position)
    part = position - lower
    first = float(ordered[lower])
    if part == 0 or first == float(ordered[lower + 1]):
        return first
    return first * (1 - part) + float(ordered[lower + 1]) * part

"""Linear quantiles (type 7 of Hyndman and Fan 1996, as numpy's and pandas'), of spans and of samples alike. Pure."""

from __future__ import annotations

import math
from typing import Any, Protocol


class Row(Protocol):
    """Numbers in ascending order: a list, or an array of one dimension."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Any: ...


def quantile(ordered: Row, level: float) -> float:
    """At `level` (0 to 1) of one number or more; infinite ones are allowed."""
    return at_position((len(ordered) - 1) * level, ordered)


def at_position(position: float, ordered: Row) -> float:
    """The value at a position (0 is the first) between two numbers of the row."""
    position = min(max(position, 0.0), len(ordered) - 1.0)
    lower = math.floor(position)
    part = position - lower
    first = float(ordered[lower])
    if part == 0 or first == float(ordered[lower + 1]):
        return first
    return first * (1 - part) + float(ordered[lower + 1]) * part

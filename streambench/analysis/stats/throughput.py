"""Requests, tokens and good requests per second over the measured window."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MS_PER_S = 1_000.0


@dataclass(frozen=True, slots=True)
class Throughput:
    """Rates per second over a window of `window_s` seconds; the rates are None if the window has no length.

    `tokens_unknown` is the number of requests that ended in the window without a token count: if it is not 0,
    `system_tok_s` is a lower bound, and it is None if no count is known. `good` and `goodput` are None if the caller
    did not say which requests are good.
    """

    window_s: float
    requests: int
    request_s: float | None
    system_tok_s: float | None
    tokens_unknown: int
    good: int | None
    goodput: float | None


def throughput(
    start_ms: Any, end_ms: Any, tokens: Any, good: Any = None, window_ms: tuple[float, float] | None = None
) -> Throughput:
    """Returns the rates of the requests, answered or failed, that ended inside the window (both ends included).

    `start_ms`, `end_ms`, `tokens` and `good` have one entry per request, shape (n,), with times on one clock. NaN
    tokens are unknown; a request without an end is not counted. A request counts fully even if it started before the
    window. The default window goes from the first start to the last end. Raises ValueError if lengths differ.
    """
    starts, ends, counts = (np.asarray(row, dtype=np.float64) for row in (start_ms, end_ms, tokens))
    is_good = None if good is None else np.asarray(good, dtype=bool)
    if len({len(row) for row in (starts, ends, counts, *(() if is_good is None else (is_good,)))}) > 1:
        raise ValueError("starts, ends, tokens and good must have one entry per request")
    opened, closed = window_ms or _span(starts, ends)
    inside = (ends >= opened) & (ends <= closed)
    seconds = max(0.0, closed - opened) / MS_PER_S
    known = counts[inside & ~np.isnan(counts)]
    good_ones = None if is_good is None else int(np.sum(is_good & inside))
    return Throughput(
        window_s=seconds,
        requests=int(inside.sum()),
        request_s=_rate(float(inside.sum()), seconds),
        system_tok_s=_rate(float(known.sum()), seconds) if len(known) else None,
        tokens_unknown=int(inside.sum()) - len(known),
        good=good_ones,
        goodput=None if good_ones is None else _rate(good_ones, seconds),
    )


def good_requests(ok: Any, values: Mapping[str, Any], at_most: Mapping[str, float]) -> npt.NDArray[np.bool_]:
    """Returns which requests are `ok` and meet every limit, shape (n,). An unknown value does not meet a limit.

    `values` has a column (n,) for each name in `at_most`, in the limit's unit. Raises KeyError if one is missing.
    """
    is_ok = np.array(ok, dtype=bool)
    for name, limit in at_most.items():
        # A comparison with NaN is false, so an unknown value is not good.
        is_ok &= np.asarray(values[name], dtype=np.float64) <= limit
    return is_ok


def _span(starts: npt.NDArray[np.float64], ends: npt.NDArray[np.float64]) -> tuple[float, float]:
    opened, closed = starts[~np.isnan(starts)], ends[~np.isnan(ends)]
    return (float(opened.min()), float(closed.max())) if len(opened) and len(closed) else (0.0, 0.0)


def _rate(count: float, seconds: float) -> float | None:
    return count / seconds if seconds > 0 and math.isfinite(seconds) else None

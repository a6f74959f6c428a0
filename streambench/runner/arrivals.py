"""Computes when requests are due in an open loop, from a load and a seed. A closed loop has no schedule. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

from streambench.clock import NS
from streambench.config.sections import Load, LoadMode


def offsets_ns(load: Load, count: int, seed: int) -> tuple[int, ...] | None:
    """Returns the offsets of `count` requests from the phase's start, in ns, ascending; None in a closed loop.

    The same seed gives the same offsets. Raises ValueError if an open loop has no rate.
    """
    if load.closed:
        return None
    process = ARRIVALS[load.mode](load, random.Random(f"{seed}:arrivals"))
    return tuple(round(next(process) * NS) for _ in range(count))


def _constant(load: Load, _: random.Random) -> Iterator[float]:
    """Yields one request every 1/rate seconds, the first at 0."""
    rate, k = load.per_second, 0
    while True:
        yield k / rate
        k += 1


def _poisson(load: Load, draw: random.Random) -> Iterator[float]:
    """Yields requests with exponential gaps of mean 1/rate, also before the first."""
    rate, now = load.per_second, 0.0
    while True:
        now += draw.expovariate(rate)
        yield now


ARRIVALS: Mapping[LoadMode, Callable[[Load, random.Random], Iterator[float]]] = {
    "constant": _constant,
    "poisson": _poisson,
}
"""For each open-loop mode, a function that yields the arrivals without end, in seconds since the phase's start."""

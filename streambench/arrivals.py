"""When requests are due in an open loop: pure, from a load and a seed to offsets. A closed loop has no schedule."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

NS = 1_000_000_000


def offsets_ns(mode: str, rate: float | None, count: int, seed: int) -> tuple[int, ...] | None:
    """Offsets of `count` requests from the phase's start in nanoseconds, ascending; None for `closed`.

    `rate` is in requests per second. `poisson` draws exponential gaps of mean 1/rate; same seed, same offsets.
    """
    if mode == "closed":
        return None
    if rate is None:
        raise ValueError(f"an open loop needs a rate, mode {mode}")
    process = ARRIVALS[mode](rate, random.Random(f"{seed}:arrivals"))
    return tuple(round(next(process) * NS) for _ in range(count))


def _constant(rate: float, _: random.Random) -> Iterator[float]:
    k = 0
    while True:
        yield k / rate
        k += 1


def _poisson(rate: float, draw: random.Random) -> Iterator[float]:
    now = 0.0
    while True:
        now += draw.expovariate(rate)
        yield now


ARRIVALS: dict[str, Callable[[float, random.Random], Iterator[float]]] = {"constant": _constant, "poisson": _poisson}
"""Seconds of each arrival since the start, without end."""

"""Measures the client's own timing error: how late the event loop runs, sampled during the whole run.

A timer is due every 100 ms; its delay is how long any other callback would have waited too. A shorter interval would
cost more than the streams: at one stream of 50 chunks/s, a 10 ms timer took half of all the CPU time.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left, bisect_right

from streambench.clock import Clock, Timer, make_timer

INTERVAL_NS = 100_000_000


class LagSampler:
    """Keeps every sample: when it was due and how late it was, in monotonic nanoseconds."""

    def __init__(self, clock: Clock, interval_ns: int = INTERVAL_NS) -> None:
        self._clock = clock
        self._interval_ns = interval_ns
        self._due = array("q")
        self._late = array("q")
        self._timer: Timer | None = None
        self._next = 0

    def start(self) -> None:
        self._timer = make_timer(asyncio.get_running_loop(), self._tick)
        self._next = self._clock.now_ns() + self._interval_ns
        self._timer.arm(self._next)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def worst(self, start_ns: int, end_ns: int) -> int | None:
        """Returns the largest lateness (ns) of the samples due between two instants; None if there are no samples."""
        return max(self.between(start_ns, end_ns), default=None)

    def summary(self, start_ns: int, end_ns: int) -> dict[str, int | None]:
        """Returns n, p50, p90, p99 and max of the samples due between two instants, in nanoseconds; nearest rank."""
        late = sorted(self.between(start_ns, end_ns))
        ranks = {"p50": 50, "p90": 90, "p99": 99, "max": 100}
        # nearest rank: the sample at rank ceil(n * percent / 100), counted from 1
        picked = {name: late[-(-len(late) * percent // 100) - 1] if late else None for name, percent in ranks.items()}
        return {"n": len(late), **picked}

    def between(self, start_ns: int, end_ns: int) -> array[int]:
        """Returns the lateness (ns) of each sample due between two instants."""
        return self._late[bisect_left(self._due, start_ns) : bisect_right(self._due, end_ns)]

    def _tick(self) -> None:
        # One sample for every interval that passed: a long stall delayed all of them, not only the first.
        now = self._clock.now_ns()
        while self._next <= now:
            self._due.append(self._next)
            self._late.append(now - self._next)
            self._next += self._interval_ns
        if self._timer is not None:
            self._timer.arm(self._next)

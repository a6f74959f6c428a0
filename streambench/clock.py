"""The only caller of `time`. All durations come from one monotonic clock, in integer nanoseconds.

`KernelClock` maps the kernel's receive stamps (wall clock) onto it; `Anchor` lets a reader map it back to dates.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

NS = 1_000_000_000
STEP_NS = 1_000_000  # the wall clock was set, not slewed, if the offset moves by more than this between two readings


class Clock(Protocol):
    """Monotonic nanoseconds, and a way to wait for an instant of them. Tests replace it."""

    def now_ns(self) -> int: ...

    async def sleep_until(self, when_ns: int) -> None: ...


class MonotonicClock:
    """The machine's monotonic clock, the one that `asyncio` loops use too."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    async def sleep_until(self, when_ns: int) -> None:
        left = when_ns - time.monotonic_ns()
        if left > 0:
            await asyncio.sleep(left / NS)


@dataclass(frozen=True, slots=True)
class Anchor:
    """One instant read on both clocks: `wall_ns` since 1970 (UTC) and `monotonic_ns`."""

    wall_ns: int
    monotonic_ns: int

    def wall_of(self, run_ns: int) -> int:
        """Wall-clock nanoseconds of an instant given as nanoseconds since the anchor."""
        return self.wall_ns + run_ns


def take_anchor() -> Anchor:
    monotonic_ns, offset = _best_reading()
    return Anchor(wall_ns=monotonic_ns + offset, monotonic_ns=monotonic_ns)


class KernelClock:
    """Turns CLOCK_REALTIME stamps into monotonic ones by an offset that `measure` renews through the run.

    `error_ns` is half the width of the tightest bracket: the mapping's own uncertainty. `steps` counts how often the
    wall clock was set while we ran; stamps taken between a step and the next `measure` are off by that step.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.error_ns = 0
        self.offset_ns = 0
        self.measure()
        self.steps = 0

    def measure(self, tries: int = 5) -> None:
        before = self.offset_ns
        brackets = [_bracket() for _ in range(tries)]
        width, offset = min(brackets)
        if abs(offset - before) > STEP_NS:
            self.steps += 1
        self.offset_ns = offset
        self.error_ns = width // 2


def _bracket() -> tuple[int, int]:
    """(width, realtime minus monotonic) with the wall clock read between two readings of the monotonic one."""
    first = time.monotonic_ns()
    wall = time.time_ns()
    last = time.monotonic_ns()
    return last - first, wall - (first + last) // 2


def _best_reading() -> tuple[int, int]:
    _, offset = min(_bracket() for _ in range(5))
    return time.monotonic_ns(), offset


def utc_stamp(wall_ns: int) -> str:
    """`20261122T203659Z` for a wall-clock instant: sorts, and is safe in a file name."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(wall_ns // NS))


def process_cpu_ns() -> int:
    """CPU time this process has used, user and system."""
    return time.process_time_ns()


def iso_utc(wall_ns: int) -> str:
    """`2026-11-22T20:36:59.123456Z` for a wall-clock instant; what is finer than a microsecond is cut."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(wall_ns // NS))}.{wall_ns % NS // 1000:06d}Z"

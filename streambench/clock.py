"""Clocks and timers. The only module that calls `time`. Durations are integer nanoseconds of one monotonic clock.

`KernelClock` converts the kernel's receive timestamps (wall clock) to that clock; `Anchor` converts it to dates.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Protocol

NS = 1_000_000_000
STEP_NS = 1_000_000
"""If the offset changes by more than this between two readings, the wall clock was set, not slewed."""


class Clock(Protocol):
    """A monotonic clock in nanoseconds that can also wait. Tests replace it."""

    def now_ns(self) -> int: ...

    async def sleep_until(self, when_ns: int) -> None: ...


class MonotonicClock:
    """The machine's monotonic clock, which `asyncio` loops use as well."""

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
        """Returns the wall-clock nanoseconds (since 1970, UTC) of an instant given in nanoseconds since the anchor."""
        return self.wall_ns + run_ns


def take_anchor() -> Anchor:
    """Reads both clocks now."""
    monotonic_ns, offset = _best_reading()
    return Anchor(wall_ns=monotonic_ns + offset, monotonic_ns=monotonic_ns)


class KernelClock:
    """Converts CLOCK_REALTIME timestamps to monotonic ones by an offset, which `measure` renews during the run.

    `error_ns` is the uncertainty of the offset: half the width of the narrowest bracket. `steps` counts how often the
    wall clock was set during the run; timestamps between a step and the next `measure` are wrong by that step.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.error_ns = 0
        self.offset_ns = 0
        self.measure()
        self.steps = 0

    def measure(self, tries: int = 5) -> None:
        """Renews the offset from the narrowest of `tries` brackets, and counts a step if it changed too much."""
        before = self.offset_ns
        brackets = [_bracket() for _ in range(tries)]
        width, offset = min(brackets)
        if abs(offset - before) > STEP_NS:
            self.steps += 1
        self.offset_ns = offset
        self.error_ns = width // 2


def _bracket() -> tuple[int, int]:
    """Returns (width, realtime minus monotonic) in ns; the wall clock is read between two monotonic readings."""
    first = time.monotonic_ns()
    wall = time.time_ns()
    last = time.monotonic_ns()
    return last - first, wall - (first + last) // 2


def _best_reading() -> tuple[int, int]:
    _, offset = min(_bracket() for _ in range(5))
    return time.monotonic_ns(), offset


def utc_stamp(wall_ns: int) -> str:
    """Returns a wall-clock instant as `20261122T203659Z`, which sorts by time and is safe in a file name."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(wall_ns // NS))


def process_cpu_ns() -> int:
    """Returns the CPU time that this process has used (user and system), in nanoseconds."""
    return time.process_time_ns()


def iso_utc(wall_ns: int) -> str:
    """Returns a wall-clock instant as `2026-11-22T20:36:59.123456Z`, truncated to microseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(wall_ns // NS))}.{wall_ns % NS // 1000:06d}Z"


_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1


class Timer(Protocol):
    """Calls `wake` once, at an instant of the monotonic clock. Arming it again replaces the instant."""

    def arm(self, when_ns: int) -> None: ...

    def disarm(self) -> None: ...

    def close(self) -> None: ...


class TimerFd:
    """A Linux timerfd. Setting it again clears its readiness, so it is never read. Raises OSError if not permitted."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._settime = libc.timerfd_settime
        self._settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        # struct itimerspec: interval (s, ns), then first expiry (s, ns); an interval of 0 fires once
        self._spec = (ctypes.c_long * 4)()
        self._spec_at = ctypes.addressof(self._spec)
        self._loop = loop
        loop.add_reader(self._fd, wake)

    def arm(self, when_ns: int) -> None:
        self._spec[2], self._spec[3] = divmod(when_ns, NS)
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._spec_at, None)

    def disarm(self) -> None:
        self._spec[2] = self._spec[3] = 0
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._spec_at, None)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)


class LoopTimer:
    """The event loop's own timer, for other systems; its resolution is that of the loop's selector."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._wake = wake
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, when_ns: int) -> None:
        self.disarm()
        self._handle = self._loop.call_at(when_ns / NS, self._wake)

    def disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def close(self) -> None:
        self.disarm()


def make_timer(loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> Timer:
    """Returns a `TimerFd` if the system permits it, else a `LoopTimer`."""
    if sys.platform == "linux":
        with suppress(OSError):  # some sandboxes forbid timerfd
            return TimerFd(loop, wake)
    return LoopTimer(loop, wake)


class LoopClock(MonotonicClock):
    """The monotonic clock of a running event loop. One `Timer` wakes all its sleepers."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._serial = count()
        self._timer = make_timer(self._loop, self._wake)

    async def sleep_until(self, when_ns: int) -> None:
        if when_ns <= self.now_ns():
            return
        future: asyncio.Future[None] = self._loop.create_future()
        heapq.heappush(self._sleepers, (when_ns, next(self._serial), future))
        self._timer.arm(self._sleepers[0][0])
        await future

    def close(self) -> None:
        self._timer.close()

    def _wake(self) -> None:
        now = self.now_ns()
        while self._sleepers and self._sleepers[0][0] <= now:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
        if self._sleepers:
            self._timer.arm(self._sleepers[0][0])
        else:
            self._timer.disarm()

"""Timers that wake the event loop to some 0.05 ms: Linux's timerfd, else the loop's own, which round to milliseconds.

Beside `clock`: the instants are its monotonic nanoseconds.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Protocol

from streambench.clock import NS, MonotonicClock

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1


class Timer(Protocol):
    """Calls its `wake` once, at an instant of the monotonic clock; arming anew replaces the instant."""

    def arm(self, when_ns: int) -> None: ...

    def disarm(self) -> None: ...

    def close(self) -> None: ...


class TimerFd:
    """Linux. Setting the timer anew also clears its readiness, so it is never read. Raises OSError where refused."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._settime = libc.timerfd_settime
        self._settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        # struct itimerspec: interval seconds and nanoseconds, then the first expiry's; an interval of 0 fires once
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
    """Everywhere else: the loop's own timer, as fine as its selector is."""

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
    if sys.platform == "linux":
        with suppress(OSError):  # some sandboxes refuse
            return TimerFd(loop, wake)
    return LoopTimer(loop, wake)


class LoopClock(MonotonicClock):
    """The monotonic clock of a running event loop, whose sleepers are woken by one fine timer."""

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

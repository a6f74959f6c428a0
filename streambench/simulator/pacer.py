"""One timer for all streams: a heap of due times, and on Linux a timerfd in the event loop.

asyncio's own timers are rounded up to a millisecond by epoll; a timerfd wakes within some 0.05 ms.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import sys
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Protocol

from streambench.clock import NS, MonotonicClock

NEVER = 0
"""What a `Timed` returns that needs no further turn."""

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1


class Timed(Protocol):
    """Something with a next due time."""

    def step(self, now_ns: int) -> int:
        """Does what is due by now; returns when it wants its next turn (monotonic ns), or NEVER."""


class Timer(Protocol):
    """Wakes the pacer once, at an instant of the monotonic clock."""

    def arm(self, when_ns: int) -> None: ...

    def disarm(self) -> None: ...


class TimerFd:
    """Linux. Setting the timer anew also clears its readiness, so it is never read."""

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
        loop.add_reader(self._fd, wake)

    def arm(self, when_ns: int) -> None:
        self._spec[2], self._spec[3] = divmod(when_ns, NS)
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._spec_at, None)

    def disarm(self) -> None:
        self._spec[2] = self._spec[3] = 0
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._spec_at, None)


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


class Pacer:
    """Gives every `Timed` its turns when they are due, and does queued work in the time between."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._now_ns = MonotonicClock().now_ns
        self._heap: list[tuple[int, int, Timed]] = []
        self._serial = count()
        self._armed_ns = NEVER
        self._queued: deque[Callable[[], None]] = deque()
        self._timer: Timer = (TimerFd if sys.platform == "linux" else LoopTimer)(loop, self._wake)

    @property
    def idle(self) -> bool:
        return not self._heap and not self._queued

    def schedule(self, item: Timed, due_ns: int) -> None:
        heapq.heappush(self._heap, (due_ns, next(self._serial), item))
        if self._armed_ns == NEVER or due_ns < self._armed_ns:
            self._arm(due_ns)

    def when_free(self, work: Callable[[], None]) -> None:
        """Does the work soon, one piece of it per turn of the loop, so that no burst of it holds up what is due."""
        self._queued.append(work)
        if len(self._queued) == 1:
            self._loop.call_soon(self._do_queued)

    def _do_queued(self) -> None:
        try:
            self._queued[0]()
        finally:
            self._queued.popleft()
            if self._queued:
                self._loop.call_soon(self._do_queued)

    def _wake(self) -> None:
        """The hot path. What falls due meanwhile waits for the next turn of the loop, so that reading never starves."""
        heap, now_ns = self._heap, self._now_ns()
        while heap and heap[0][0] <= now_ns:
            _, serial, item = heap[0]
            next_ns = item.step(now_ns)
            # a step never schedules or drops another item, so the root is still this one
            if next_ns == NEVER:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (next_ns, serial, item))
        if heap:
            self._arm(heap[0][0])
        else:
            self._armed_ns = NEVER
            self._timer.disarm()

    def _arm(self, due_ns: int) -> None:
        self._armed_ns = due_ns
        self._timer.arm(due_ns)

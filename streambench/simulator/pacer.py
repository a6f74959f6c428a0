"""One timer for all streams: a heap of due times, woken by `timers`' finest timer.

asyncio's own timers are rounded up to a millisecond by epoll; with 500 streams at 20 ms that would be a twentieth.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Protocol

from streambench.clock import MonotonicClock
from streambench.timers import make_timer

NEVER = 0
"""What a `Timed` returns that needs no further turn."""


class Timed(Protocol):
    """Something with a next due time."""

    def step(self, now_ns: int) -> int:
        """Does what is due by now; returns when it wants its next turn (monotonic ns), or NEVER."""


class Pacer:
    """Gives every `Timed` its turns when they are due, and does queued work in the time between."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._now_ns = MonotonicClock().now_ns
        self._heap: list[tuple[int, int, Timed]] = []
        self._serial = count()
        self._armed_ns = NEVER
        self._queued: deque[Callable[[], None]] = deque()
        self._timer = make_timer(loop, self._wake)

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

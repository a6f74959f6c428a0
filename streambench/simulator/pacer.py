"""One timer for all streams: a heap of due times and the timer of `clock.make_timer`.

epoll rounds asyncio's own timers up to a millisecond, which is a twentieth of a chunk interval of 20 ms.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Protocol

from streambench.clock import MonotonicClock, make_timer

NEVER = 0
"""`Timed.step` returns this if it need not be called again."""


class Timed(Protocol):
    """An object that the pacer calls when it is due."""

    def step(self, now_ns: int) -> int:
        """Does what is due by now. Returns the next due time (monotonic ns), or NEVER."""


class Pacer:
    """Calls each `Timed` when it is due, and does queued work in between."""

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
        """Queues `work`. One queued call runs per iteration of the event loop, so that many do not delay due writes."""
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
        """Calls every item that is due. This is the hot path.

        Items that become due meanwhile wait for the next iteration of the event loop, so that reads are not starved.
        """
        heap, now_ns = self._heap, self._now_ns()
        while heap and heap[0][0] <= now_ns:
            _, serial, item = heap[0]
            next_ns = item.step(now_ns)
            # `step` never schedules or removes another item, so this item is still the heap's root
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

"""A bounded queue whose thread sends the items in batches and counts what became of each.

The SDK's batch processor drops its oldest items without counting them, flushes without a deadline and reports that as a
success. This queue counts every item, keeps those that a collector could not take yet, and `put` never blocks. This
module does not import OpenTelemetry.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from streambench.clock import NS, MonotonicClock

T = TypeVar("T")

BACKLOG_BATCHES = 8
PATIENCE_S = 3.0
"""How long `close` waits for a collector that has accepted nothing so far and whose last reply was a failure."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Sizes of the queue and its batches, in items. `batch_bytes` is an estimate; a batch fills for `delay_s` at most.

    A slow collector takes one batch per reply, so only larger batches can shorten a long queue: once eight batches wait
    (or `backlog_batch` items, if that is fewer), and during `close`, a batch holds up to `backlog_batch` items.
    """

    queue: int
    failing_queue: int
    """The limit of the queue while sending fails: if the collector is gone, a longer queue only uses memory."""
    batch: int
    backlog_batch: int
    batch_bytes: int
    delay_s: float
    drain_s: float
    """The time that `close` will have to send what is still queued."""

    @property
    def backlog(self) -> int:
        """The number of queued items from which batches are larger."""
        return min(self.backlog_batch, BACKLOG_BATCHES * self.batch)


@dataclass(frozen=True, slots=True)
class ExportReply:
    """The reply to one batch. `rejected`: refused items of a batch that was `taken`. `again`: retry, if not taken."""

    taken: bool
    rejected: int = 0
    again: bool = False


@dataclass(frozen=True, slots=True)
class QueueCounters:
    """Items so far. Items in none of the last three were pushed out of a full queue, or came after `close`."""

    ended: int
    delivered: int
    failed: int
    waiting: int


class BatchQueue(Generic[T]):
    """`put` may be called from any thread. `send` is called in one thread only, and must not raise.

    A batch to retry goes back to the head of the queue and is sent again after `delay_s`. A full queue drops its oldest
    items.
    """

    def __init__(
        self,
        send: Callable[[Sequence[T]], ExportReply],
        size_of: Callable[[T], int],
        limits: QueueLimits,
        name: str,
    ) -> None:
        self._send = send
        self._size_of = size_of
        self._limits = limits
        self._queue: deque[tuple[T, int]] = deque()
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._closing = False
        self._failing = False
        self._resting = False
        self._under_way = 0
        self._rate: float | None = None
        self._ended = self._delivered = self._failed = 0
        self._worker = threading.Thread(target=self._work, name=name, daemon=True)
        self._worker.start()

    def put(self, item: T) -> None:
        """Adds an item; never blocks. After `close` the item is counted in `ended` and dropped."""
        size = self._size_of(item)
        with self._changed:
            self._ended += 1
            if self._closing:
                return
            most = self._limits.failing_queue if self._failing else self._limits.queue
            if self._waiting() >= most and self._queue:
                self._queue.popleft()
            self._queue.append((item, size))
            if len(self._queue) >= self._limits.batch:
                self._changed.notify_all()

    @property
    def counters(self) -> QueueCounters:
        with self._changed:
            return QueueCounters(self._ended, self._delivered, self._failed, self._waiting())

    @property
    def pressure(self) -> float:
        """How close the queue is to losing items: 1 is the limit.

        The larger of two shares: of the queue in use, and of `drain_s` that sending the queued items would take at the
        current rate, since a queue that fits in memory may take longer to send than `close` has time for. 0 while
        sending fails, because waiting for a collector that is down does not help.
        """
        if self._failing:
            return 0.0
        waiting = self._waiting()
        time_needed = 0.0 if self._rate is None else waiting / self._rate / self._limits.drain_s
        return max(waiting / self._limits.queue, time_needed)

    @property
    def failing(self) -> bool:
        """True if the newest batch was not taken."""
        return self._failing

    @property
    def busy(self) -> bool:
        """True if the thread is still alive, perhaps in a request that it cannot cancel."""
        return self._worker.is_alive()

    def join(self) -> None:
        """Waits for the thread to end, without a time limit."""
        self._worker.join()

    def close(self, deadline_s: float) -> None:
        """Sends what is queued, for at most `deadline_s`; what is left then counts as failed.

        That count is an upper bound: a batch in flight at the deadline may still arrive, but its reply is ignored.
        """
        clock = MonotonicClock()
        until_ns = clock.now_ns() + int(deadline_s * NS)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(self._is_empty, min(deadline_s, PATIENCE_S))
            self._changed.wait_for(self._is_done, max(0.0, (until_ns - clock.now_ns()) / NS))
            self._over.set()
            self._failed += self._waiting()
            self._queue.clear()
            self._under_way = 0
            self._changed.notify_all()

    # --- the thread; `_take`, `_pace`, `_put_back`, `_is_due`, `_is_empty` and `_is_done` need the lock held

    def _work(self) -> None:
        clock = MonotonicClock()
        while not self._over.is_set():
            if self._resting:
                self._over.wait(self._limits.delay_s)
            batch = self._await_batch()
            if batch:
                began_ns = clock.now_ns()
                answer = self._send([item for item, _ in batch])
                self._settle(batch, answer, (clock.now_ns() - began_ns) / NS)
            elif self._closing:
                return

    def _await_batch(self) -> list[tuple[T, int]]:
        with self._changed:
            self._changed.wait_for(self._is_due, self._limits.delay_s)
            batch = self._take()
            self._under_way = len(batch)
            return batch

    def _take(self) -> list[tuple[T, int]]:
        """Removes and returns as many of the oldest items as fit one request; the first even if it is too large."""
        batch: list[tuple[T, int]] = []
        limits = self._limits
        room = limits.batch_bytes
        large = self._closing or len(self._queue) >= limits.backlog
        most = limits.backlog_batch if large else limits.batch
        while self._queue and len(batch) < most:
            room -= self._queue[0][1]
            if room < 0 and batch:
                break
            batch.append(self._queue.popleft())
        return batch

    def _settle(self, batch: list[tuple[T, int]], answer: ExportReply, took_s: float) -> None:
        with self._changed:
            if self._over.is_set():
                return
            self._under_way = 0
            self._failing = not answer.taken
            self._resting = answer.again and not answer.taken
            if answer.taken:
                self._pace(len(batch), max(took_s, 1e-6))
                self._delivered += len(batch) - answer.rejected
                self._failed += answer.rejected
            elif answer.again:
                self._put_back(batch)
            else:
                self._failed += len(batch)
            self._changed.notify_all()

    def _pace(self, items: int, took_s: float) -> None:
        """Updates the measured rate, in items per second.

        The time of a batch that was not full is mostly network latency, so it counts as `backlog` items. A full batch
        of the normal size gives too low a rate until larger ones have been sent.
        """
        rate = (items if items >= self._limits.batch else self._limits.backlog) / took_s
        self._rate = rate if self._rate is None else (self._rate + rate) / 2

    def _put_back(self, batch: list[tuple[T, int]]) -> None:
        room = max(0, self._limits.queue - len(self._queue))
        self._queue.extendleft(reversed(batch[len(batch) - room :] if room < len(batch) else batch))

    def _waiting(self) -> int:
        return len(self._queue) + self._under_way

    def _is_due(self) -> bool:
        return self._closing or self._over.is_set() or len(self._queue) >= self._limits.batch

    def _is_empty(self) -> bool:
        return self._waiting() == 0

    def _is_done(self) -> bool:
        return self._is_empty() or (self._failing and self._delivered == 0)

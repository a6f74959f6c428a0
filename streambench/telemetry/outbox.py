"""A bounded queue with a thread that sends it in batches, and that knows what became of every item.

The SDK's own batch processor drops its oldest items unseen, flushes without a deadline and calls that a success. This
one counts, keeps what a collector could not take yet, and never blocks who puts something in. No OpenTelemetry here.
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
"""How long `close` waits for a collector that has never taken anything and whose last answer was a failure."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Queues and batches in items, `batch_bytes` estimated, `delay_s` at most between an item and its batch.

    A slow collector takes one batch per answer, so that nothing but larger ones can shorten a long queue: once eight
    batches wait (or `backlog_batch` items, if that is fewer), and at the end, batches are of up to `backlog_batch`.
    """

    queue: int
    failing_queue: int
    """Beyond this the queue does not grow while sending fails: behind a collector that is gone it is only memory."""
    batch: int
    backlog_batch: int
    batch_bytes: int
    delay_s: float
    drain_s: float
    """How long `close` will have for what still waits then."""

    @property
    def backlog(self) -> int:
        """So many waiting items are a long queue."""
        return min(self.backlog_batch, BACKLOG_BATCHES * self.batch)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one batch: taken, but for `rejected` items of it; or not, and `again` says whether to retry."""

    taken: bool
    rejected: int = 0
    again: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """Items so far. Those in none of the last three were pushed out of a full queue, or came after the end."""

    ended: int
    delivered: int
    failed: int
    waiting: int


class Outbox(Generic[T]):
    """`put` from any thread; `send` is called in one thread only, and must not raise.

    A batch that may be sent again goes back to the head of the queue and is tried once per `delay_s`. A full queue
    loses its oldest items.
    """

    def __init__(
        self,
        send: Callable[[Sequence[T]], Answer],
        size_of: Callable[[T], int],
        limits: Limits,
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
        """Takes an item; never blocks. After `close` it is counted as ended, and is lost."""
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
    def tally(self) -> Tally:
        with self._changed:
            return Tally(self._ended, self._delivered, self._failed, self._waiting())

    @property
    def pressure(self) -> float:
        """How near the outbox is to losing something: 1 is at the edge.

        It is the share of the queue in use or, if that is more, of `drain_s` that sending what waits would take at the
        present rate: a queue that fits memory may be more than the end has time for. 0 while sending fails, as
        waiting for a dead collector helps nobody.
        """
        if self._failing:
            return 0.0
        waiting = self._waiting()
        time_needed = 0.0 if self._rate is None else waiting / self._rate / self._limits.drain_s
        return max(waiting / self._limits.queue, time_needed)

    @property
    def failing(self) -> bool:
        """Whether the newest batch was not taken."""
        return self._failing

    @property
    def busy(self) -> bool:
        """Whether the thread is still there, perhaps in a request that it cannot break off."""
        return self._worker.is_alive()

    def join(self) -> None:
        """Waits for the thread, without limit."""
        self._worker.join()

    def close(self, deadline_s: float) -> None:
        """Sends what waits, for `deadline_s` at most; what is left then has failed.

        That is an upper bound: a batch whose answer is still out may yet arrive, and nobody will hear of it.
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

    # --- all below: with the lock held, but for _work and _send

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
        """As many of the oldest items as fit one request; at least one, however large."""
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

    def _settle(self, batch: list[tuple[T, int]], answer: Answer, took_s: float) -> None:
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
        """Items per second, as measured. What a batch took that was not full was mostly the way there, so that it
        counts as the largest; a full one of the usual size is an under-estimate, until larger ones have been sent.
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

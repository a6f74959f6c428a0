"""The queue by itself, with a sender that the test holds in its hand."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from streambench.telemetry.batch_queue import BatchQueue, ExportReply, QueueCounters, QueueLimits

TAKEN = ExportReply(taken=True)
AGAIN = ExportReply(taken=False, again=True)
REFUSED = ExportReply(taken=False)


class Sender:
    """Answers each batch with the next of `answers`, the last one for ever; `gate` holds every answer back."""

    def __init__(self, *answers: ExportReply) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self._answers = list(answers)

    def __call__(self, batch: Sequence[int]) -> ExportReply:
        self.batches.append(list(batch))
        self.gate.wait()
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def outbox(
    sender: Sender,
    *,
    queue: int = 100,
    failing_queue: int = 100,
    batch: int = 10,
    batch_bytes: int = 1000,
    drain_s: float = 1e9,
) -> BatchQueue[int]:
    limits = QueueLimits(queue, failing_queue, batch, max(batch, 50), batch_bytes, 0.01, drain_s)
    return BatchQueue(sender, lambda size: size, limits, "test")


def test_everything_is_delivered_in_order() -> None:
    """25 items, in batches that are bounded."""
    sender = Sender(TAKEN)
    box = outbox(sender)
    for item in range(25):
        box.put(item)
    box.close(10)
    assert box.counters == QueueCounters(25, 25, 0, 0)
    assert [item for batch in sender.batches for item in batch] == list(range(25))
    assert max(map(len, sender.batches)) <= 50


def test_a_batch_stays_under_its_size_but_one_item_always_goes() -> None:
    """400 + 400 fit 1,000 bytes, a third does not; 5,000 goes alone."""
    sender = Sender(TAKEN)
    sender.gate.clear()
    box = outbox(sender)
    box.put(1)  # holds the thread, so that the others are taken together
    while not sender.batches:
        pass
    for size in (400, 400, 400, 5000, 7):
        box.put(size)
    sender.gate.set()
    box.close(10)
    assert sender.batches == [[1], [400, 400], [400], [5000], [7]]


def test_a_long_queue_goes_out_in_larger_batches() -> None:
    """120 wait: 50, 50, and the 20 that are no backlog any more in tens."""
    sender = Sender(TAKEN)
    sender.gate.clear()
    box = outbox(sender, queue=200, batch_bytes=100_000)
    box.put(1)
    while not sender.batches:
        pass
    for _ in range(120):
        box.put(1)
    sender.gate.set()
    while box.counters.delivered < 121:
        pass
    assert [len(batch) for batch in sender.batches] == [1, 50, 50, 10, 10]
    box.close(10)


def test_the_end_sends_what_is_left_in_one() -> None:
    """20 wait, and no more are coming: one batch, where two of ten would take two answers."""
    sender = Sender(TAKEN)
    sender.gate.clear()
    box = outbox(sender)
    box.put(1)
    while not sender.batches:
        pass
    for _ in range(20):
        box.put(1)
    end = threading.Thread(target=box.close, args=(10,))
    end.start()
    while not box._closing:
        pass
    sender.gate.set()
    end.join()
    assert [len(batch) for batch in sender.batches] == [1, 20]


def test_a_batch_that_may_be_sent_again_loses_nothing() -> None:
    """Two failures, then success: the same items in the same order."""
    sender = Sender(AGAIN, AGAIN, TAKEN)
    box = outbox(sender)
    for item in range(10):
        box.put(item)
    box.close(10)
    assert box.counters == QueueCounters(10, 10, 0, 0)
    assert sender.batches[-1][: len(sender.batches[0])] == sender.batches[0]


def test_what_is_refused_for_good_has_failed_and_is_not_sent_again() -> None:
    """A key that is wrong is as wrong the second time."""
    sender = Sender(REFUSED)
    box = outbox(sender)
    for item in range(30):
        box.put(item)
    box.close(10)
    assert box.counters == QueueCounters(30, 0, 30, 0)
    assert sum(map(len, sender.batches)) == 30


def test_rejected_items_of_a_taken_batch_have_failed() -> None:
    """5 sent as one batch, 2 of them rejected: 3 delivered."""
    sender = Sender(ExportReply(taken=True, rejected=2))
    box = outbox(sender, batch=5)
    for item in range(5):
        box.put(item)
    box.close(10)
    delivered = 5 - 2 * len(sender.batches)
    assert box.counters == QueueCounters(5, delivered, 5 - delivered, 0)


def test_a_full_queue_loses_its_oldest_and_counts_them() -> None:
    """One item is under way and 10 fit with it: of 21, ten are pushed out, and the newest ten survive."""
    sender = Sender(TAKEN)
    sender.gate.clear()
    box = outbox(sender, queue=11)
    box.put(0)
    while not sender.batches:
        pass
    for item in range(1, 21):
        box.put(item)
    assert box.counters == QueueCounters(21, 0, 0, 11)
    sender.gate.set()
    box.close(10)
    assert box.counters == QueueCounters(21, 11, 0, 0)
    assert [item for batch in sender.batches for item in batch] == [0, *range(11, 21)]


def test_a_queue_that_nobody_takes_from_does_not_grow() -> None:
    """Five at most while sending fails: of the 40 after that 35 are lost, each one counted."""
    sender = Sender(AGAIN)
    box = outbox(sender, failing_queue=5)
    box.put(0)
    while not sender.batches or not box.failing:
        pass
    sender.gate.clear()
    for item in range(1, 40):
        box.put(item)
    assert box.counters == QueueCounters(40, 0, 0, 5)
    sender.gate.set()
    box.close(0.1)
    assert box.counters == QueueCounters(40, 0, 5, 0)


def test_pressure_is_the_share_in_use_and_nothing_while_sending_fails() -> None:
    """50 of 100 wait; when the first answer is a failure, nobody is held back any more."""
    sender = Sender(AGAIN)
    sender.gate.clear()
    box = outbox(sender)
    for item in range(50):
        box.put(item)
    assert box.pressure == 0.5
    sender.gate.set()
    while len(sender.batches) < 2:
        pass
    assert box.pressure == 0.0
    box.close(0.01)


def test_pressure_counts_the_time_that_the_end_will_have() -> None:
    """Whatever the first batch took, a nanosecond is too short for the one that waits."""
    sender = Sender(TAKEN)
    box = outbox(sender, drain_s=1e-9)
    box.put(1)
    while not box.counters.delivered:
        pass
    assert box.pressure == 0
    sender.gate.clear()
    box.put(2)
    assert box.pressure > 1
    sender.gate.set()
    box.close(10)


def test_the_end_does_not_wait_for_a_sender_that_hangs() -> None:
    """What is left at the deadline has failed; an answer that comes later changes no count."""
    sender = Sender(TAKEN)
    sender.gate.clear()
    box = outbox(sender)
    for item in range(30):
        box.put(item)
    box.close(0.05)
    assert box.counters == QueueCounters(30, 0, 30, 0)
    assert box.busy
    sender.gate.set()
    box.join()
    assert box.counters == QueueCounters(30, 0, 30, 0)


def test_what_comes_after_the_end_is_lost_and_counted() -> None:
    """Ended, and nothing else."""
    box = outbox(Sender(TAKEN))
    box.close(10)
    box.put(1)
    assert box.counters == QueueCounters(1, 0, 0, 0)

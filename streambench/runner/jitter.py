"""Reduces delays of the event loop during a run: garbage collection, and threads that hold the interpreter lock."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from streambench.records.schema import AttemptRecord
from streambench.runner.observers import RunObserver

SWITCH_S = 0.0005
"""Interval in seconds after which a thread is asked to release the interpreter lock."""

COLLECT_EVERY = 50
"""Records between two collections of the young generations; no full collection runs in the measured phase."""


class GarbageCollector(RunObserver):
    """Collects the SDK's reference cycles often and in small amounts, as Python's automatic collector is off."""

    def __init__(self) -> None:
        self._seen = 0

    def on_record(self, record: AttemptRecord) -> None:  # noqa: ARG002 - an observer's signature
        self._seen += 1
        if self._seen % COLLECT_EVERY == 0:
            gc.collect(1)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Turns the automatic collector off and freezes the existing objects: a full collection after the SDK's import
    stops the loop for 50 ms.
    """
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


@contextmanager
def short_turns() -> Iterator[None]:
    """Makes other threads (the live view, DNS look-ups) release the interpreter after 0.5 ms, not Python's 5 ms."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)

"""What keeps the event loop undisturbed while a run goes on: garbage, and threads that hold the interpreter."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streambench.records import AttemptRecord

SWITCH_S = 0.0005

COLLECT_EVERY = 50
"""Records between two collections of young garbage; a full one never falls into the measured phase."""


def young_garbage() -> Callable[[AttemptRecord], None]:
    """A sink that collects what the SDK leaves in cycles, little and often, since the collector itself is off."""
    seen = 0

    def collect(_: AttemptRecord) -> None:
        nonlocal seen
        seen += 1
        if seen % COLLECT_EVERY == 0:
            gc.collect(1)

    return collect


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """A full collection after the SDK's import stops the loop for 50 ms: what is there is frozen, the rest waits."""
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
    """Other threads (the view, name look-ups) give the interpreter back within 0.5 ms, not after Python's 5."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)

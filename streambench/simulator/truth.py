"""The truth log: one JSON line a request, with the true instants of every write. What a client is judged by."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from streambench.errors import SimulatorError


@dataclass(slots=True)
class Truth:
    """What is known of one request; instants are CLOCK_MONOTONIC nanoseconds."""

    request_id: str
    model: str
    received_ns: int
    """The request was complete."""
    fault: str | None
    ttft_ms: float
    """As drawn: what was meant; the first write of a generated chunk says what came of it."""
    status: int = 200
    headers_ns: int | None = None
    writes: Sequence[tuple[int, int, int]] = ()
    """(before, after, chunks) of every write of the body; comments and torn events are no chunks."""
    kinds: str = ""
    """A letter for every chunk written, as in the journal, and d for [DONE]."""
    end: str = "complete"
    """complete, cut, reset, or disconnected where the client went first."""
    ended_ns: int = 0
    """Nothing but the body's closing chunk, or a whole reply's body, went out after this."""


class TruthLog:
    """Appends a line for each request as it ends; each line is one write, so a killed gateway leaves whole lines."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        except OSError as exc:
            raise SimulatorError(f"{path}: the truth log cannot be written ({exc.strerror})") from exc

    def add(self, truth: Truth) -> None:
        os.write(self._fd, msgspec.json.encode(truth) + b"\n")


def as_writes(stamps: array[int], chunks: Sequence[int]) -> list[tuple[int, int, int]]:
    """Pairs the flat stamps (before, after, before, ...) with the chunks each write held."""
    return list(zip(stamps[0::2], stamps[1::2], chunks, strict=False))

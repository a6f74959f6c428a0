"""The truth log: one JSON line per request with the true time of each write, to check a client's timings against."""

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
    """One request in the truth log. Times are CLOCK_MONOTONIC nanoseconds."""

    request_id: str
    model: str
    received_ns: int
    """When the request was complete."""
    fault: str | None
    ttft_ms: float
    """The TTFT as drawn. The first write of a generated chunk shows the actual TTFT."""
    status: int = 200
    headers_ns: int | None = None
    writes: Sequence[tuple[int, int, int]] = ()
    """(time before, time after, number of chunks) of each write; comments and torn events do not count as chunks."""
    kinds: str = ""
    """One letter per chunk written: those of `records.schema.KINDS`, and `d` for [DONE]."""
    end: str = "complete"
    """`complete`, `cut` or `reset`; `disconnected` if the client disconnected first."""
    ended_ns: int = 0
    """When the request was logged. Only the body's closing chunk, or the body of a whole response, is sent later."""


class TruthLog:
    """Appends a line when a request ends. Each line is one write, so a killed simulator leaves only whole lines."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        except OSError as exc:
            raise SimulatorError(f"{path}: the truth log cannot be written ({exc.strerror})") from exc

    def add(self, truth: Truth) -> None:
        os.write(self._fd, msgspec.json.encode(truth) + b"\n")


def as_writes(stamps: array[int], chunks: Sequence[int]) -> list[tuple[int, int, int]]:
    """Returns (before, after, chunks) per write, from the flat stamps (before, after, before, ...)."""
    return list(zip(stamps[0::2], stamps[1::2], chunks, strict=False))

"""Public helpers for tests: a fake clock, and records, headers, run ends and runs with default values."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from streambench.analysis.run import Run
from streambench.records.schema import (
    GENERATED,
    SCHEMA,
    AttemptRecord,
    ChunkTimeline,
    Connection,
    Phase,
    RunEnd,
    RunHeader,
    Ticket,
    Usage,
)

MS = 1_000_000
"""Nanoseconds in a millisecond."""

# --- clocks -----------------------------------------------------------------------------------------------------------

SETTLED_TURNS = 50
"""Consecutive turns of the event loop without other work, after which `FakeClock` treats it as idle."""


class FakeClock:
    """A `clock.Clock` without real waiting: when the event loop is idle, it jumps to its earliest sleeper.

    It sees tasks and callbacks, not sockets or threads. If a test waits for those, pass `autojump=False` and move the
    clock with `jump_to`.
    """

    def __init__(self, now_ns: int = 0, *, autojump: bool = True) -> None:
        self._now_ns = now_ns
        self._autojump = autojump
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._serial = count()
        self._watched: asyncio.AbstractEventLoop | None = None
        self._quiet_turns = 0

    def now_ns(self) -> int:
        return self._now_ns

    async def sleep_until(self, when_ns: int) -> None:
        if when_ns <= self._now_ns:
            return
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        heapq.heappush(self._sleepers, (when_ns, next(self._serial), future))
        self._quiet_turns = 0
        if self._autojump and self._watched is not loop:
            self._watched = loop
            loop.call_soon(self._watch, loop)
        await future

    def jump_to(self, when_ns: int) -> None:
        """Moves the clock forward to the instant (never back) and wakes the sleepers that are due."""
        self._now_ns = max(self._now_ns, when_ns)
        while self._sleepers and self._sleepers[0][0] <= self._now_ns:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs on every turn of the loop while there are sleepers."""
        while self._sleepers and self._sleepers[0][2].done():  # cancelled sleepers
            heapq.heappop(self._sleepers)
        if not self._sleepers:
            self._watched = None
            return
        busy = getattr(loop, "_ready", ())  # callbacks that are due; only asyncio's own loop has this
        self._quiet_turns = 0 if busy else self._quiet_turns + 1
        if self._quiet_turns >= SETTLED_TURNS:
            self._quiet_turns = 0
            self.jump_to(self._sleepers[0][0])
        loop.call_soon(self._watch, loop)


# --- records ----------------------------------------------------------------------------------------------------------


def make_timeline(
    kinds: str, at_ms: Sequence[float], reads: Sequence[int] | None = None, chars: Sequence[int] | None = None
) -> ChunkTimeline:
    """Returns a timeline from one letter of `records.schema.KINDS` and one arrival (ms) per chunk.

    By default each chunk came in its own read, and each generated chunk has 4 characters.
    """
    return ChunkTimeline(
        offset_ns=tuple(round(at * MS) for at in at_ms),
        kind=kinds,
        chars=tuple(chars) if chars is not None else tuple(4 if kind in GENERATED else 0 for kind in kinds),
        read=tuple(reads) if reads is not None else tuple(range(len(kinds))),
    )


def make_record(
    *,
    seq: int = 0,
    model: str = "alpha",
    phase: Phase = "measure",
    attempt: int = 1,
    kinds: str = "rcccu",
    at_ms: Sequence[float] = (90, 100, 120, 140, 141),
    reads: Sequence[int] | None = None,
    **changes: Any,
) -> AttemptRecord:
    """Returns a record with its fields replaced by `changes`.

    By default it is an `ok` attempt with a TTFT of 100 ms and two gaps of 20 ms.
    """
    ticket = Ticket(seq=seq, gateway="demo", model=model, prompt_id=f"p{seq}", repeat=0, block=seq, phase=phase)
    timeline = make_timeline(kinds, at_ms, reads)
    last_ns = max(timeline.offset_ns, default=90 * MS)
    record = AttemptRecord(
        ticket=ticket,
        attempt=attempt,
        trace_id=f"{seq + 1:032x}",
        span_id=f"{attempt:04x}{seq + 1:012x}",
        request_span_id=f"f{seq + 1:015x}",
        scheduled_at_ns=1_000 * MS,
        queue_ns=0,
        start_at_ns=1_000 * MS,
        ended_ns=last_ns + 2 * MS,
        connection=Connection(new=False),
        stamps="kernel",
        sent_ns=MS,
        headers_ns=80 * MS,
        first_byte_ns=min(timeline.offset_ns, default=90 * MS),
        last_byte_ns=last_ns + MS,
        status=200,
        content_type="text/event-stream",
        body_bytes=1_000,
        reads=len(set(timeline.read)),
        timeline=timeline,
        finish_reason="stop",
        done=True,
        usage=Usage(input=10, output=3, total=13, source="gateway"),
        model_served=model,
        client_lag_ns=MS // 10,
    )
    return replace(record, **changes)


def make_header(*models: str | Mapping[str, Any], **changes: Any) -> RunHeader:
    """Returns a header whose config has these models, given as aliases or as entries of a resolved config."""
    entries = [{"model": model, "alias": model} if isinstance(model, str) else dict(model) for model in models]
    header = RunHeader(
        schema=SCHEMA,
        run_id="test-run",
        name="test",
        wall_ns=1_800_000_000_000_000_000,
        seed=7,
        config={"models": entries},
        suite={"hash": "0" * 16},
        requests_planned=1,
        simulated=(),
        stamps="kernel",
        versions={"streambench": "0"},
        host={},
    )
    return replace(header, **changes)


def make_end(**changes: Any) -> RunEnd:
    """Returns the end of a complete run whose measured phase took 10 s, with its fields replaced by `changes`."""
    end = RunEnd(
        status="complete",
        ended_at_ns=12_000 * MS,
        measure_started_at_ns=1_000 * MS,
        measure_ended_at_ns=11_000 * MS,
        client_lag_ns={"n": 100, "p50": MS // 20, "p90": MS // 10, "p99": MS // 5, "max": MS},
        clock_steps=0,
        clock_error_ns=50,
    )
    return replace(end, **changes)


def run_of(records: Iterable[AttemptRecord], header: RunHeader | None = None, *, name: str = "run", **end: Any) -> Run:
    """Returns a complete run in memory, as `streambench.load` would return it from a folder called `name`.

    By default its header has the models of the records. `end` replaces fields of its end.
    """
    kept = tuple(records)
    models = dict.fromkeys(record.ticket.model for record in kept)
    return Run(Path(name), header or make_header(*models), kept, make_end(**end), ())

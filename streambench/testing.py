"""Public helpers for tests of streambench and of what is built on it: records, headers and ends from a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from streambench.records import (
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


# --- records ----------------------------------------------------------------------------------------------------------


def make_timeline(
    kinds: str, at_ms: Sequence[float], reads: Sequence[int] | None = None, chars: Sequence[int] | None = None
) -> ChunkTimeline:
    """A timeline from one letter of `records.KINDS` and one arrival per chunk; by default each came in its own read."""
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
    """An `ok` attempt, unless `changes` (fields of AttemptRecord) say otherwise: TTFT 100 ms, two gaps of 20 ms."""
    ticket = Ticket(seq=seq, gateway="demo", model=model, prompt_id=f"p{seq}", repeat=0, block=seq, phase=phase)
    timeline = make_timeline(kinds, at_ms, reads)
    last_ns = max(timeline.offset_ns, default=90 * MS)
    record = AttemptRecord(
        ticket=ticket,
        attempt=attempt,
        trace_id=f"{seq + 1:032x}",
        span_id=f"{seq + 1:016x}",
        scheduled_at_ns=1_000 * MS,
        queue_ns=0,
        start_at_ns=1_000 * MS,
        ended_ns=last_ns + 2 * MS,
        connection=Connection(new=False),
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
    """A header whose config names these models, by alias or as entries of a resolved config."""
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
    """The end of a complete run whose measured phase took 10 s."""
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

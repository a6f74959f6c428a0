"""What must hold for any bytes that a gateway may send as a stream, however the network cuts them.

One function, `check`, for three callers: test_fuzz.py replays the corpus and lets hypothesis draw bodies and cuts,
run.py lets a coverage-guided fuzzer search for them.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from streambench.client.decode.chunk_json import LARGEST_NUMBER
from streambench.client.decode.error_body import MESSAGE_LIMIT, failure_from_body
from streambench.client.decode.sse import Event, SseReader
from streambench.client.prompt_redaction import PromptMask
from streambench.client.record_builder import AttemptContext, record_of
from streambench.client.tape_reader import TapeReader
from streambench.client.transport.tape import Tape
from streambench.clock import Anchor
from streambench.config.sections import Bounds
from streambench.metrics.findings import FINDINGS, findings
from streambench.metrics.outcomes import evidence, outcome_of
from streambench.records.schema import GENERATED, KINDS, AttemptRecord, Ticket, Usage, as_plain, from_line, to_line
from streambench.redaction import Secrets
from streambench.workload.api_formats import STREAMED_CHAT, ApiMode
from streambench.workload.request_params import declared_schemas

START_NS = 1_000
READ_NS = 10
"""Between two reads."""
SINGLY_UP_TO = 128
"""Bytes of a body that is also read byte by byte; of a longer one, seventeen at a time, for the fuzzer's sake."""

OUTCOMES_OF_A_BODY = frozenset({"not_a_stream", "stream_error", "malformed", "truncated", "empty", "ok"})
"""The body of an event stream that came whole, with a success status, can end in these and no other."""
TOLD_BY_THE_CUT = frozenset({"reads", "first_byte_ns", "last_byte_ns", "ended_ns"})
"""Fields of a record that say when the body came, not what it said."""
FOUND_BY_THE_CUT = frozenset({"buffered", "coalesced", "stalled"})
"""Findings likewise."""

WIDE = Bounds()
NARROW = Bounds(line_bytes=120, stream_bytes=1_000, chunks=6, text_chars=24)
"""Limits that nearly every body passes one of."""

PARAMETERS = {
    "type": "object",
    "properties": {"a": {"type": ["integer", "null"]}, "b": {"type": "array", "items": {"enum": ["x", 1]}}},
    "required": ["a"],
}
SCHEMAS = declared_schemas({"tools": [{"type": "function", "function": {"name": "f", "parameters": PARAMETERS}}]})

ABOUT = AttemptContext(
    ticket=Ticket(seq=0, gateway="hub", model="m", prompt_id="p", repeat=0, block=0),
    attempt=1,
    trace_id="0" * 32,
    span_id="0" * 16,
    request_span_id="1" * 16,
    scheduled_ns=START_NS,
    queue_ns=0,
    anchor=Anchor(wall_ns=0, monotonic_ns=0),
    usage_refused=False,
    lag_ns=None,
    model_asked="m",
    secrets=Secrets(["key-0123456789abcdef"]),
    prompt_mask=lambda: PromptMask(["Tell me of the sea, and of the ships that sail on it."]),
)


def check(body: bytes, places: Sequence[int] | None = None, ask: ApiMode = STREAMED_CHAT) -> None:
    """Reads the body whole, in small pieces and cut at `places` (modulo its length; without them, drawn from it).

    Raises AssertionError where a fact does not hold, and lets out whatever escapes the code under test.
    """
    cuts = [in_pieces(body, 1 if len(body) <= SINGLY_UP_TO else 17), cut(body, drawn_from(body, places))]
    check_error_body(body)
    for pieces in cuts:
        assert events(pieces) == events([body]), "the events depend on the cut"
    for limits in (WIDE, NARROW):
        whole = record([body], limits, ask)
        check_record(whole)
        for pieces in cuts:
            again = record(pieces, limits, ask)
            check_record(again)
            assert facts(again) == facts(whole), "the facts depend on the cut"


def check_record(seen: AttemptRecord) -> None:
    """The timeline's columns, the outcome with its evidence, and the line of the journal."""
    line = seen.timeline
    assert {len(line.offset_ns), len(line.chars), len(line.read)} == {len(line.kind)}, "columns of different lengths"
    assert set(line.kind) <= KINDS.keys(), "a kind that is not in KINDS"
    assert all(first <= then for first, then in pairwise(line.offset_ns)), "offsets go back"
    assert all(first <= then for first, then in pairwise(line.read)), "reads go back"
    carried = [chars > 0 for chars in line.chars]
    assert carried == [kind in GENERATED for kind in line.kind], "characters without generation, or the reverse"
    check_usage(seen.usage)
    check_outcome(seen)
    check_findings(seen)
    assert from_line(to_line(seen)) == seen, "the journal's line gives another record"


def check_usage(usage: Usage | None) -> None:
    if usage is not None:
        counts = (usage.input, usage.output, usage.total, usage.reasoning, usage.cached)
        assert all(count is None or 0 <= count <= LARGEST_NUMBER for count in counts), "a count that is none"


def check_outcome(seen: AttemptRecord) -> None:
    outcome = outcome_of(seen)
    assert outcome in OUTCOMES_OF_A_BODY or (outcome == "too_large" and seen.failure is not None), outcome
    assert evidence(seen).startswith(outcome), "the evidence is of another outcome"
    if outcome == "ok":
        assert seen.finish_reason, "ok without a finish_reason"
        assert not GENERATED.isdisjoint(seen.timeline.kind), "ok with nothing generated"


def check_findings(seen: AttemptRecord) -> None:
    """Each at most once, of those declared, with a fact on one short line."""
    found = findings(seen)
    assert len({each.name for each in found}) == len(found), "a finding twice"
    assert {each.name for each in found} <= FINDINGS.keys(), "a finding that is not in FINDINGS"
    assert all(each.fact and len(each.fact.splitlines()) == 1 for each in found), "a fact that is not one line"
    assert all(len(each.fact) <= MESSAGE_LIMIT for each in found), "a fact without bound"


def check_error_body(body: bytes) -> None:
    """The same bytes as the body of an error status: something is said of it, within bounds."""
    failure = failure_from_body("http_error", body, status=500)
    assert (failure.kind, failure.status) == ("http_error", 500)
    assert len(failure.message) <= MESSAGE_LIMIT
    assert len(failure.code or "") <= MESSAGE_LIMIT


# --- reading ----------------------------------------------------------------------------------------------------------


def events(pieces: Iterable[bytes]) -> tuple[list[Event], int]:
    """The events of a whole body and how many keep-alives it held."""
    reader = SseReader()
    found = [event for piece in pieces for event in reader.feed(piece)]
    found += reader.close()
    assert reader.held == 0, "bytes are held after the end"
    return found, reader.comments


def record(pieces: Iterable[bytes], limits: Bounds, ask: ApiMode = STREAMED_CHAT) -> AttemptRecord:
    """What is kept of a stream that came in these pieces, two to a read."""
    tape = Tape()
    tape.start = START_NS
    tape.status, tape.headers_at = 200, START_NS + 1
    tape.headers = [("content-type", "text/event-stream")]
    for number, piece in enumerate(filter(None, pieces)):
        tape.read_count = 1 + number // 2
        tape.add(piece, START_NS + READ_NS * tape.read_count)
    tape.ended = START_NS + READ_NS * (tape.read_count + 1)
    reader = TapeReader(tape, keep_text=True, schemas=SCHEMAS, limits=limits, ask=ask)
    reader.close()
    return record_of(reader, ABOUT)


def facts(seen: AttemptRecord) -> Mapping[str, Any]:
    """All that a record says but for when it came."""
    plain = {name: value for name, value in as_plain(seen).items() if name not in TOLD_BY_THE_CUT}
    found = [each for each in findings(seen) if each.name not in FOUND_BY_THE_CUT]
    calls = [(call.name, call.arguments_valid, call.why, call.choice) for call in seen.tool_calls]
    parts = {"timeline": (seen.timeline.kind, seen.timeline.chars), "tool_calls": calls}
    return {**plain, **parts, "outcome": outcome_of(seen), "findings": found}


# --- cutting ----------------------------------------------------------------------------------------------------------


def in_pieces(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    """A place given twice makes an empty piece."""
    marks = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[first:last] for first, last in pairwise(marks)]


def drawn_from(body: bytes, places: Sequence[int] | None) -> Sequence[int]:
    """The places given, or up to eight that always are the same for the same body: a crash is replayed by its bytes."""
    if places is not None:
        return places
    draw = random.Random(zlib.crc32(body))
    return [draw.randrange(len(body) + 1) for _ in range(draw.randint(1, 8))]

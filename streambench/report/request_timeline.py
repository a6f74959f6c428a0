"""One request as plain text: each attempt's times, its chunks along a time line, its outcome and its findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from streambench.analysis.measured import RunFacts
from streambench.clock import NS
from streambench.metrics.definitions import METRICS, NS_PER_MS
from streambench.metrics.outcomes import evidence
from streambench.records.schema import KINDS, AttemptRecord, RunHeader
from streambench.report.text_table import folded
from streambench.text import for_terminal, number

NARROWEST = 40
_WAITED, _THOUGHT, _QUIET = "-", "~", "."
_MIXED = "#"
_WORDS = {_WAITED: "until the headers", _THOUGHT: "until the first chunk", _QUIET: "nothing came"}
_NAME_LIMIT = 80


def lane_text(facts: RunFacts, attempts: Sequence[AttemptRecord], width: int) -> str:
    """Returns the attempts of one request as text; no line is wider than the larger of `width` and 40.

    `attempts` are in order, at least one.
    """
    width = max(NARROWEST, width)
    parts = [folded(line, width) for line in _head(facts.header, attempts)]
    for record in attempts:
        parts += ["\n", *(folded(line, width) for line in _attempt_head(facts, record, len(attempts)))]
        parts += [f"{line}\n" for line in _lane(record, width)]
        parts += [folded(line, width) for line in _facts(facts, record)]
    return "".join(parts)


def _head(header: RunHeader, attempts: Sequence[AttemptRecord]) -> Iterator[str]:
    ticket = attempts[-1].ticket
    simulated = " (simulated)" if ticket.model in header.simulated else ""
    warmup = ", warm-up" if ticket.phase == "warmup" else ""
    text = f"{_short(ticket.model)}{simulated} on gateway {_short(ticket.gateway)}{_output_request(attempts[-1])}"
    yield f"Request {ticket.seq}{warmup}: {text}"
    session = f", session {_short(ticket.session_id)} turn {ticket.turn + 1}" if ticket.session_id else ""
    yield f"Prompt {_short(ticket.prompt_id)}, repeat {ticket.repeat}{session}, of run {_short(header.run_id)}"


def _output_request(record: AttemptRecord) -> str:
    """Returns how the answer was requested (API, whole answer); "" for a streamed chat completion."""
    api = "" if record.api == "chat" else f", {_short(record.api)} API"
    return api if record.streamed else f"{api}, not streamed"


def _attempt_head(facts: RunFacts, record: AttemptRecord, count: int) -> Iterator[str]:
    started = datetime.fromtimestamp(facts.header.started_wall_ns(record) / NS, UTC)
    status = "no status" if record.status is None else f"status {record.status}"
    yield f"Attempt {record.attempt} of {count}, started {started:%Y-%m-%d %H:%M:%S} UTC: {status}{_link(record)}"
    outcome = facts.outcome(record)
    yield "Outcome: ok" if outcome == "ok" else f"Outcome: {evidence(record, outcome)}"


def _link(record: AttemptRecord) -> str:
    link = record.connection
    if link is None:
        return ", no connection"
    return f", HTTP/{link.http_version} on a {'new' if link.new else 'reused'} connection"


# --- the line


def _lane(record: AttemptRecord, width: int) -> Iterator[str]:
    """Yields the time line, its scale, and the meanings of its marks."""
    end_ns = max(record.last_byte_ns or 0, record.ended_ns, *record.timeline.offset_ns, 1)
    cells = _cells(record, end_ns, width - 2)
    yield f"|{''.join(cells)}|"
    yield _scale(end_ns, width)
    used = dict.fromkeys(cells)
    known = {**_WORDS, **KINDS, _MIXED: "several kinds"}
    words = [f"{mark} {known[mark]}" for mark in used if mark in known]
    words += [f"{mark} several {KINDS[mark.lower()]} chunks" for mark in used if mark.isalpha() and mark.isupper()]
    yield from folded(", ".join(words), width).rstrip("\n").split("\n")


def _cells(record: AttemptRecord, end_ns: int, room: int) -> list[str]:
    def place(at_ns: int) -> int:
        return min(room - 1, max(0, at_ns * room // end_ns))

    first = record.timeline.offset_ns[0] if record.timeline.offset_ns else end_ns
    headers = first if record.headers_ns is None else min(record.headers_ns, first)
    cells = [_WAITED if at < place(headers) else _THOUGHT if at < place(first) else _QUIET for at in range(room)]
    came: dict[int, list[str]] = {}
    for at_ns, kind in zip(record.timeline.offset_ns, record.timeline.kind, strict=True):
        came.setdefault(place(at_ns), []).append(kind)
    for at, kinds in came.items():
        cells[at] = kinds[0] if len(kinds) == 1 else kinds[0].upper() if len(set(kinds)) == 1 else _MIXED
    return cells


def _scale(end_ns: int, width: int) -> str:
    """Returns the scale in ms: 0 at the left, the end at the right, and the middle if there is enough width."""
    end, middle = f"{number(end_ns / NS_PER_MS)} ms", number(end_ns / NS_PER_MS / 2)
    half = width // 2
    left = f"0{middle:>{half - 1 + len(middle) // 2}}"
    return left + f"{end:>{width - len(left)}}" if width - len(left) > len(end) else f"0{end:>{width - 1}}"


# --- numbers


def _facts(facts: RunFacts, record: AttemptRecord) -> Iterator[str]:
    values = [(metric, metric.value(record)) for metric in METRICS]
    yield "Times: " + ", ".join(
        f"{metric.label} {number(value)} {metric.unit}" for metric, value in values if value is not None
    )
    line = record.timeline
    kinds = ", ".join(f"{count} {KINDS.get(kind, kind)}" for kind, count in Counter(line.kind).items())
    by_kind = f": {kinds}" if kinds else ""
    yield f"Chunks: {len(line.kind)} in {record.reads} reads, {sum(line.chars)} characters{by_kind}"
    usage = record.usage
    if usage is not None and usage.source:
        counts = [(getattr(usage, name), name) for name in ("input", "output", "reasoning", "cached")]
        yield "Tokens: " + ", ".join(f"{count} {name}" for count, name in counts if count is not None)
    if record.finish_reason is not None:
        yield f"Finish reason: {_short(record.finish_reason)}{', [DONE] seen' if record.done else ''}"
    for found in facts.findings(record):
        yield f"Finding {found.name}: {found.fact}"


def _short(text: str) -> str:
    return for_terminal(text, _NAME_LIMIT)

"""The METRICS table: each number's name, unit, direction, formula and meaning, derived from a record when it is read.

One read's stamp is the arrival of its last segment. So a chunk's stamp is never early, and it is exact only where no
other generated chunk follows in the same read. `docs/glossary.md` is made from this table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import is_, sub
from typing import Any, Literal, ParamSpec, TypeVar

from streambench.clock import NS
from streambench.records import ANSWER, GENERATED, AttemptRecord, ChunkTimeline

NS_PER_MS = 1_000_000

MIN_CHARACTERS_PER_TOKEN = 0.25
"""A token has a byte at least, and a character four at most."""
UNSEEN_TOKENS = 16
"""Tokens that may be billed and leave no character: a template's, a tool call's frame, the end's."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of an attempt. `of` gives the one, `each` a distribution's many; in ns where `unit` is ms."""

    name: str
    label: str
    unit: Literal["ms", "tok/s"]
    better: Literal["lower", "higher"] | None
    formula: str
    doc: str
    of: Callable[[AttemptRecord], float | None] | None = None
    each: Callable[[AttemptRecord], Sequence[float]] | None = None

    @property
    def column(self) -> str:
        """The name in views, with its unit: `ttft_ms`, `output_tok_s`."""
        return f"{self.name}_ms" if self.unit == "ms" else self.name

    def value(self, record: AttemptRecord) -> float | None:
        """The attempt's number in `unit`; None where it is unknown, and for a distribution."""
        found = self.of(record) if self.of else None
        return None if found is None else self._in_unit(found)

    def values(self, record: AttemptRecord) -> Sequence[float]:
        """All the attempt adds to a sample, in `unit`: one number or none, or a distribution's many."""
        if self.each:
            return [self._in_unit(found) for found in self.each(record)]
        found = self.value(record)
        return [] if found is None else [found]

    def _in_unit(self, found: float) -> float:
        return found / NS_PER_MS if self.unit == "ms" else found


P = ParamSpec("P")
T = TypeVar("T")


def of_the_last(find: Callable[P, T]) -> Callable[P, T]:
    """Keeps the answer for what it was asked of last: a reader asks many things of one record before the next.

    Told apart by identity, so for what never changes; called without keywords.
    """
    kept: tuple[tuple[Any, ...], T] | None = None

    def found(*asked: P.args, **_: P.kwargs) -> T:
        nonlocal kept
        last = kept
        if last is None or not all(map(is_, last[0], asked)):
            last = kept = (asked, find(*asked))  # type: ignore[call-arg]  # there are no keywords
        return last[1]

    return found


@dataclass(frozen=True, slots=True)
class Output:
    """The generated chunks of a timeline, in order; `steps` is the time from each to the next, known or not."""

    at_ns: tuple[int, ...]
    read: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def shares_reads(self) -> bool:
        return len(set(self.read)) < len(self.read)


_MARKS = bytes(chr(code) in GENERATED for code in range(256))


@of_the_last
def output_of(timeline: ChunkTimeline) -> Output:
    """What the metrics and findings of a stream are made of. Raises ValueError where the columns differ in length."""
    if not len(timeline.offset_ns) == len(timeline.kind) == len(timeline.read):
        raise ValueError("the timeline's columns differ in length")
    # In C throughout: a run may have thirty million chunks.
    marks = timeline.kind.encode("ascii", "replace").translate(_MARKS)
    at = tuple(compress(timeline.offset_ns, marks))
    return Output(at, tuple(compress(timeline.read, marks)), tuple(map(sub, at[1:], at)))


def first_arrival_ns(timeline: ChunkTimeline, kinds: frozenset[str]) -> int | None:
    """Offset of the first chunk of these kinds; an upper bound where later chunks share its read."""
    return next((at for at, kind in zip(timeline.offset_ns, timeline.kind, strict=True) if kind in kinds), None)


def last_arrival_ns(timeline: ChunkTimeline, kinds: frozenset[str]) -> int | None:
    """Offset of the last chunk of these kinds."""
    backwards = zip(reversed(timeline.offset_ns), reversed(timeline.kind), strict=True)
    return next((at for at, kind in backwards if kind in kinds), None)


@of_the_last
def chunk_gaps(timeline: ChunkTimeline) -> list[int | None]:
    """Time since the generated chunk before, one entry for each but the first; None where it was not observed.

    A gap is observed only where the later chunk is the only generated one of its read. In a read of several, all but
    the last arrived at some unknown moment before the stamp, so neither the gap into that read nor those inside it are
    known; the gap out of it is, as its last chunk's stamp is exact.
    """
    output = output_of(timeline)
    if not output.shares_reads:
        return list(output.steps)
    in_read = Counter(output.read)
    counts = map(in_read.__getitem__, output.read[1:])
    return [step if count == 1 else None for step, count in zip(output.steps, counts, strict=True)]


@of_the_last
def known_gaps(timeline: ChunkTimeline) -> list[int]:
    """The gaps that were observed."""
    return [gap for gap in chunk_gaps(timeline) if gap is not None]


def streamed_tokens(record: AttemptRecord) -> int | None:
    """Output tokens that came as chunks: reasoning that was billed but never streamed is not among them.

    None where nobody can tell how much of it was.
    """
    usage = record.usage
    if usage is None or usage.output is None:
        return None
    if not usage.reasoning:
        return usage.output
    hidden = hidden_tokens(record)
    return None if hidden is None else usage.output - hidden


def hidden_tokens(record: AttemptRecord) -> int | None:
    """Reasoning tokens billed and never streamed; None where nobody can tell, as where a summary was streamed."""
    billed = record.usage.reasoning if record.usage else None
    if billed is None:
        return None
    if "t" not in record.timeline.kind:
        return billed
    shown = reasoning_chars(record)
    return None if record.summarised or (billed - UNSEEN_TOKENS) * MIN_CHARACTERS_PER_TOKEN > shown else 0


def answer_tokens(record: AttemptRecord) -> int | None:
    """Output tokens that are no reasoning; None where the gateway does not tell the two apart."""
    usage = record.usage
    if usage is None or usage.output is None or usage.reasoning is None or usage.reasoning > usage.output:
        return None
    return usage.output - usage.reasoning


def reasoning_chars(record: AttemptRecord) -> int:
    """Characters of reasoning that were streamed, of the chunks that carried nothing else."""
    line = record.timeline
    return sum(count for kind, count in zip(line.kind, line.chars, strict=True) if kind == "t")


def parallel_calls(record: AttemptRecord) -> int:
    """Tool calls of the choice that had the most of them."""
    return max(Counter(call.choice for call in record.tool_calls).values(), default=0)


def _first_chunk(record: AttemptRecord) -> int | None:
    return record.timeline.offset_ns[0] if record.timeline.offset_ns else None


def _last_generated(record: AttemptRecord) -> int | None:
    return last_arrival_ns(record.timeline, GENERATED)


def _start_lag(record: AttemptRecord) -> int:
    return record.start_at_ns - record.scheduled_at_ns


def _response_time(record: AttemptRecord) -> int | None:
    last = _last_generated(record)
    return None if last is None else _start_lag(record) + last


def _pace(record: AttemptRecord) -> tuple[int, int] | None:
    """(ns from the first generated chunk to the last, tokens after the first); None where either is unknown."""
    output, tokens = output_of(record.timeline), streamed_tokens(record)
    if tokens is None or tokens < 2 or not output.at_ns or _more_than_came(tokens, record):
        return None
    took_ns = output.at_ns[-1] - output.at_ns[0]
    return (took_ns, tokens - 1) if took_ns > 0 and output.read[0] != output.read[-1] else None


def _more_than_came(tokens: int, record: AttemptRecord) -> bool:
    """Whether so many tokens cannot be in the text that came: a speed made of them would be the gateway's invention."""
    return (tokens - UNSEEN_TOKENS) * MIN_CHARACTERS_PER_TOKEN > sum(record.timeline.chars)


def _tpot(record: AttemptRecord) -> float | None:
    pace = _pace(record)
    return None if pace is None else pace[0] / pace[1]


def _output_tok_s(record: AttemptRecord) -> float | None:
    pace = _pace(record)
    return None if pace is None else pace[1] * NS / pace[0]


def _longest_gap(record: AttemptRecord) -> int | None:
    output = output_of(record.timeline)
    ends = tuple(dict(zip(output.read, output.at_ns, strict=True)).values())  # of each read, its last chunk's
    return max(map(sub, ends[1:], ends), default=None)


def _connect(record: AttemptRecord) -> int | None:
    link = record.connection
    if link is None or not link.new:
        return None
    known = [part for part in (link.dns_ns, link.connect_ns, link.tls_ns) if part is not None]
    return sum(known) if known else None


def _tool_name(record: AttemptRecord) -> int | None:
    return record.tool_calls[0].named_ns if record.tool_calls else None


def _tool_call(record: AttemptRecord) -> int | None:
    ends = [call.complete_ns for call in record.tool_calls]
    return None if None in ends else max((end for end in ends if end is not None), default=None)


def _json(record: AttemptRecord) -> int | None:
    return record.json_answer.complete_ns if record.json_answer else None


def _thinking(record: AttemptRecord) -> int | None:
    line = record.timeline
    first_thought, first_answer = line.kind.find("t"), next((at for at, k in enumerate(line.kind) if k in ANSWER), -1)
    if not 0 <= first_thought < first_answer or line.read[first_thought] == line.read[first_answer]:
        return None
    return line.offset_ns[first_answer] - line.offset_ns[first_thought]


METRICS: tuple[Metric, ...] = (
    Metric(
        name="ttfb",
        label="TTFB",
        unit="ms",
        better="lower",
        formula="first body byte - start",
        doc="Time to the first byte of the body, connection set-up included.",
        of=lambda record: record.first_byte_ns,
    ),
    Metric(
        name="ttfc",
        label="TTFC",
        unit="ms",
        better="lower",
        formula="first chunk of any kind - start",
        doc="A role-only chunk counts: OpenTelemetry's time_to_first_chunk.",
        of=_first_chunk,
    ),
    Metric(
        name="ttft",
        label="TTFT",
        unit="ms",
        better="lower",
        formula="first chunk with generated output - start",
        doc="Generated output is content, reasoning, a tool call or a refusal. Same as AIPerf's. An upper bound where "
        "later chunks came in the same read.",
        of=lambda record: first_arrival_ns(record.timeline, GENERATED),
    ),
    Metric(
        name="ttfa",
        label="TTFA",
        unit="ms",
        better="lower",
        formula="first chunk of the visible answer - start",
        doc="The visible answer is content or a tool call. AIPerf calls it TTFO, Artificial Analysis TTFAT.",
        of=lambda record: first_arrival_ns(record.timeline, ANSWER),
    ),
    Metric(
        name="thinking",
        label="thinking time",
        unit="ms",
        better="lower",
        formula="first chunk of the visible answer - first chunk of reasoning",
        doc="Of streamed reasoning. Unknown where none was streamed (hidden reasoning is inside TTFT), where no answer "
        "followed, and where both came in one read; too short where more reasoning came in the first one's read.",
        of=_thinking,
    ),
    Metric(
        name="tool_name",
        label="time to tool name",
        unit="ms",
        better="lower",
        formula="the read that completed the name of the first tool call - start",
        doc="From here on an agent can say what it is about to do. Unknown where no tool was called, or where the "
        "stream broke off and more of the name could have come. An upper bound as TTFT is.",
        of=_tool_name,
    ),
    Metric(
        name="tool_call",
        label="time to tool calls",
        unit="ms",
        better="lower",
        formula="the read that completed the arguments of the last tool call - start",
        doc="When every call of the answer could be carried out. Unknown where none came, and where any has no "
        "arguments, or such as are no JSON from end to end: those never were complete. JSON that breaks the declared "
        "schema was, and is the finding `tool_arguments_invalid`.",
        of=_tool_call,
    ),
    Metric(
        name="json",
        label="time to JSON",
        unit="ms",
        better="lower",
        formula="the read that completed the JSON answer - start",
        doc="Where the request asked for JSON by `response_format`. Unknown where what came is no JSON from end to "
        "end; JSON that breaks the schema has its time, and the finding `json_invalid`.",
        of=_json,
    ),
    Metric(
        name="chunk_gap",
        label="chunk gap",
        unit="ms",
        better="lower",
        formula="generated chunk - the generated chunk before it",
        doc="A distribution over all chunks, not a mean per request; vLLM calls it ITL, AIPerf ICL. Observed only "
        "where the later chunk is the only generated one of its read; other gaps are unknown, not zero, and their "
        "share is shown.",
        each=lambda record: known_gaps(record.timeline),
    ),
    Metric(
        name="longest_gap",
        label="longest gap",
        unit="ms",
        better="lower",
        formula="longest time between two consecutive reads that carried generated chunks",
        doc="What a reader sees as the worst stall, also one that ends in a burst (whose chunk gaps are unknown). Too "
        "long by at most the client lag.",
        of=_longest_gap,
    ),
    Metric(
        name="tpot",
        label="TPOT",
        unit="ms",
        better="lower",
        formula="(last - first generated chunk) / (streamed output tokens - 1)",
        doc="Time per output token after the first. Unknown with fewer than 2 streamed tokens, without usage, where "
        "the first and the last chunk came in one read, or where more tokens are billed than the text that came can "
        "hold (over 16 and four a character; finding `usage_inconsistent`). Reasoning tokens that were billed but "
        "never streamed are not streamed tokens; unknown where only a summary of them came, or too little text.",
        of=_tpot,
    ),
    Metric(
        name="output_tok_s",
        label="output speed",
        unit="tok/s",
        better="higher",
        formula="(streamed output tokens - 1) / (last - first generated chunk)",
        doc="Of one attempt: the inverse of TPOT, unknown where that is.",
        of=_output_tok_s,
    ),
    Metric(
        name="e2e",
        label="E2E",
        unit="ms",
        better="lower",
        formula="last generated chunk - start",
        doc="End-to-end latency: until the last output has come, not until the trailing usage or [DONE].",
        of=_last_generated,
    ),
    Metric(
        name="stream_end",
        label="stream end",
        unit="ms",
        better="lower",
        formula="last byte - start",
        doc="With the trailing usage and [DONE].",
        of=lambda record: record.last_byte_ns,
    ),
    Metric(
        name="response_time",
        label="response time",
        unit="ms",
        better="lower",
        formula="last generated chunk - scheduled time",
        doc="Includes our own queueing, so it is free of coordinated omission.",
        of=_response_time,
    ),
    Metric(
        name="start_lag",
        label="start lag",
        unit="ms",
        better="lower",
        formula="start - scheduled time",
        doc="Large means that we, not the gateway, were late. Includes the queue wait.",
        of=_start_lag,
    ),
    Metric(
        name="queue_wait",
        label="queue wait",
        unit="ms",
        better="lower",
        formula="time spent waiting for a throttle or a free slot before the start",
        doc="Never inside TTFT or any other time counted from the start.",
        of=lambda record: record.queue_ns,
    ),
    Metric(
        name="connect",
        label="connect",
        unit="ms",
        better="lower",
        formula="DNS + connect + TLS of a new connection",
        doc="Inside TTFT and shown apart. Unknown on a reused connection, and where nobody can tell.",
        of=_connect,
    ),
    Metric(
        name="client_lag",
        label="client lag",
        unit="ms",
        better="lower",
        formula="largest lateness of the client's own event loop while the attempt ran",
        doc="The instrument's own error.",
        of=lambda record: record.client_lag_ns,
    ),
)

_GLOSSARY_HEAD = """\
# Glossary

Made from the METRICS table in `streambench/metrics.py`; a test compares the two.

A **read** is the bytes of one socket read, a **chunk** is one server-sent event, a **token** is a model's token: a
chunk may carry several tokens or none. **Start** is when the attempt starts, after any queueing and before any
connection set-up. **Generated** chunks carry content, reasoning, a tool call or a refusal. An unknown number is left
out, never counted as zero.

| name | column | unit | better | formula | meaning |
|---|---|---|---|---|---|
"""


def glossary_markdown() -> str:
    """The whole of `docs/glossary.md`."""
    return _GLOSSARY_HEAD + "".join(f"{_glossary_row(metric)}\n" for metric in METRICS)


def _glossary_row(metric: Metric) -> str:
    cells = (metric.label, f"`{metric.column}`", metric.unit, metric.better or "-", metric.formula, metric.doc)
    return f"| {' | '.join(cells)} |"

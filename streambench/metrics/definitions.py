"""The METRICS table: name, unit, direction, formula and meaning of each metric. Metrics are computed from a record.

The timestamp of a read is the arrival of its last TCP segment. So a chunk's timestamp is never too early, and it is
exact only if no other generated chunk follows in the same read. `docs/glossary.md` is generated from this table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import is_, sub
from typing import Any, Literal, ParamSpec, TypeVar

from streambench.clock import NS
from streambench.records.schema import ANSWER, GENERATED, AttemptRecord, ChunkTimeline

NS_PER_MS = 1_000_000

MIN_CHARACTERS_PER_TOKEN = 0.25
"""The fewest characters per token: a token has at least one byte, and a character at most four."""
UNSEEN_TOKENS = 16
"""Tokens that may be billed without any visible character: of a template, a tool call's frame, the end token."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """The words around a difference: `does`, the number, `how`. "starts 212 ms faster", "writes 12 tok/s faster".

    `does` with `first` or `last` says which model is best or worst: "starts first", "writes slowest". They are "" if no
    view says this of the metric.
    """

    does: str
    how: str
    first: str = ""
    last: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of an attempt. `of` computes one number, `each` all numbers of a distribution; in ns if `unit` is ms.

    `phrase` has the words of a sentence that says that one model is better than another. `attribute` is the name on
    spans; None for a distribution, which has a number for each chunk. `from_start` is True if the time counts from the
    attempt's start; a request's span then adds the time of the attempts before the last. `one_stamp` is True if the
    metric ends at a single timestamp, which the client's lag can shift; in TPOT the lag is spread over all tokens.
    `short` is the label where there is little room; "" if it is `label`.
    """

    name: str
    label: str
    unit: Literal["ms", "tok/s"]
    better: Literal["lower", "higher"] | None
    formula: str
    doc: str
    phrase: Phrase
    attribute: str | None = None
    from_start: bool = False
    one_stamp: bool = False
    short: str = ""
    of: Callable[[AttemptRecord], float | None] | None = None
    each: Callable[[AttemptRecord], Sequence[float]] | None = None

    @property
    def column(self) -> str:
        """The name with its unit, as tables and files use it: `ttft_ms`, `output_tok_s`."""
        return f"{self.name}_ms" if self.unit == "ms" else self.name

    def head(self, statistic: str) -> str:
        """Returns the heading of a statistic in a table: `TTFT p50, ms`."""
        return f"{self.label} {statistic}, {self.unit}"

    def value(self, record: AttemptRecord) -> float | None:
        """Returns the attempt's number in `unit`; None if it is unknown, or for a distribution."""
        found = self.of(record) if self.of else None
        return None if found is None else self._in_unit(found)

    def values(self, record: AttemptRecord) -> Sequence[float]:
        """Returns all numbers that the attempt adds to a sample, in `unit`: at most one, or those of a distribution."""
        if self.each:
            return [self._in_unit(found) for found in self.each(record)]
        found = self.value(record)
        return [] if found is None else [found]

    def _in_unit(self, found: float) -> float:
        return found / NS_PER_MS if self.unit == "ms" else found


P = ParamSpec("P")
T = TypeVar("T")


def of_the_last(find: Callable[P, T]) -> Callable[P, T]:
    """Caches the result for the most recent arguments: readers compute many metrics of a record before the next one.

    Arguments are compared by identity, so use it only for immutable arguments, and pass no keyword arguments.
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
    """The generated chunks of a timeline, in order.

    `steps` holds the differences between neighbouring timestamps, including those that are no observed gap.
    """

    at_ns: tuple[int, ...]
    read: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def shares_reads(self) -> bool:
        """True if two or more generated chunks came in one read."""
        return len(set(self.read)) < len(self.read)


_MARKS = bytes(chr(code) in GENERATED for code in range(256))


@of_the_last
def output_of(timeline: ChunkTimeline) -> Output:
    """Returns the generated chunks of a timeline. Raises ValueError if the columns differ in length."""
    if not len(timeline.offset_ns) == len(timeline.kind) == len(timeline.read):
        raise ValueError("the timeline's columns differ in length")
    # These functions all run in C, because a run may have thirty million chunks.
    marks = timeline.kind.encode("ascii", "replace").translate(_MARKS)
    at = tuple(compress(timeline.offset_ns, marks))
    return Output(at, tuple(compress(timeline.read, marks)), tuple(map(sub, at[1:], at)))


def first_arrival_ns(timeline: ChunkTimeline, kinds: frozenset[str]) -> int | None:
    """Returns the offset in ns of the first chunk of these kinds; None if there is none.

    It is an upper bound if later chunks came in the same read.
    """
    return next((at for at, kind in zip(timeline.offset_ns, timeline.kind, strict=True) if kind in kinds), None)


def last_arrival_ns(timeline: ChunkTimeline, kinds: frozenset[str]) -> int | None:
    """Returns the offset in ns of the last chunk of these kinds; None if there is none."""
    backwards = zip(reversed(timeline.offset_ns), reversed(timeline.kind), strict=True)
    return next((at for at, kind in backwards if kind in kinds), None)


@of_the_last
def chunk_gaps(timeline: ChunkTimeline) -> list[int | None]:
    """Returns the ns between each generated chunk and the one before it; None if the gap was not observed.

    The list has one entry for each generated chunk but the first. A gap is observed only if the later chunk is the only
    generated one of its read. In a read of several, all chunks but the last arrived at an unknown time before the
    read's timestamp, so the gap before that read and the gaps inside it are unknown. The gap after it is known, because
    the timestamp of its last chunk is exact.
    """
    output = output_of(timeline)
    if not output.shares_reads:
        return list(output.steps)
    in_read = Counter(output.read)
    counts = map(in_read.__getitem__, output.read[1:])
    return [step if count == 1 else None for step, count in zip(output.steps, counts, strict=True)]


@of_the_last
def known_gaps(timeline: ChunkTimeline) -> list[int]:
    """Returns the observed gaps, in ns."""
    return [gap for gap in chunk_gaps(timeline) if gap is not None]


def streamed_tokens(record: AttemptRecord) -> int | None:
    """Returns the output tokens that were streamed: without reasoning that was billed but not streamed.

    None if the output or the number of hidden reasoning tokens is unknown.
    """
    usage = record.usage
    if usage is None or usage.output is None:
        return None
    if not usage.reasoning:
        return usage.output
    hidden = hidden_tokens(record)
    return None if hidden is None else usage.output - hidden


def hidden_tokens(record: AttemptRecord) -> int | None:
    """Returns the reasoning tokens that were billed but not streamed.

    None if unknown: no reasoning tokens were stated, only a summary was streamed, or the streamed reasoning is too
    short for the billed tokens.
    """
    billed = record.usage.reasoning if record.usage else None
    if billed is None:
        return None
    if "t" not in record.timeline.kind:
        return billed
    shown = reasoning_chars(record)
    return None if record.summarised or (billed - UNSEEN_TOKENS) * MIN_CHARACTERS_PER_TOKEN > shown else 0


def answer_tokens(record: AttemptRecord) -> int | None:
    """Returns the output tokens without reasoning; None if the gateway does not state both."""
    usage = record.usage
    if usage is None or usage.output is None or usage.reasoning is None or usage.reasoning > usage.output:
        return None
    return usage.output - usage.reasoning


def reasoning_chars(record: AttemptRecord) -> int:
    """Returns the streamed characters of reasoning, counted in chunks of the kind `reasoning`."""
    line = record.timeline
    return sum(count for kind, count in zip(line.kind, line.chars, strict=True) if kind == "t")


def parallel_calls(record: AttemptRecord) -> int:
    """Returns the number of tool calls of the choice with the most tool calls."""
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
    """Returns (ns from the first generated chunk to the last, tokens after the first); None if either is unknown."""
    output, tokens = output_of(record.timeline), streamed_tokens(record)
    if tokens is None or tokens < 2 or not output.at_ns or _more_than_came(tokens, record):
        return None
    took_ns = output.at_ns[-1] - output.at_ns[0]
    return (took_ns, tokens - 1) if took_ns > 0 and output.read[0] != output.read[-1] else None


def _more_than_came(tokens: int, record: AttemptRecord) -> bool:
    """True if the text that came is too short for so many tokens, so that a speed computed from them would be wrong."""
    return (tokens - UNSEEN_TOKENS) * MIN_CHARACTERS_PER_TOKEN > sum(record.timeline.chars)


def _tpot(record: AttemptRecord) -> float | None:
    pace = _pace(record)
    return None if pace is None else pace[0] / pace[1]


def _output_tok_s(record: AttemptRecord) -> float | None:
    pace = _pace(record)
    return None if pace is None else pace[1] * NS / pace[0]


def _longest_gap(record: AttemptRecord) -> int | None:
    output = output_of(record.timeline)
    ends = tuple(dict(zip(output.read, output.at_ns, strict=True)).values())  # one timestamp per read
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
        doc="Time to the first byte of the body, including connection set-up.",
        phrase=Phrase("sends its first byte", "faster"),
        attribute="streambench.time_to_first_byte_s",
        from_start=True,
        one_stamp=True,
        of=lambda record: record.first_byte_ns,
    ),
    Metric(
        name="ttfc",
        label="TTFC",
        unit="ms",
        better="lower",
        formula="first chunk of any kind - start",
        doc="A role-only chunk counts: OpenTelemetry's time_to_first_chunk.",
        phrase=Phrase("sends its first chunk", "faster"),
        attribute="streambench.time_to_first_chunk_s",
        from_start=True,
        one_stamp=True,
        of=_first_chunk,
    ),
    Metric(
        name="ttft",
        label="TTFT",
        unit="ms",
        better="lower",
        formula="first chunk with generated output - start",
        doc="Generated output is content, reasoning, a tool call or a refusal. AIPerf uses the same definition. An "
        "upper bound if later chunks came in the same read.",
        phrase=Phrase("starts", "faster", "first", "last"),
        attribute="streambench.time_to_first_token_s",
        from_start=True,
        one_stamp=True,
        of=lambda record: first_arrival_ns(record.timeline, GENERATED),
    ),
    Metric(
        name="ttfa",
        label="TTFA",
        unit="ms",
        better="lower",
        formula="first chunk of the visible answer - start",
        doc="The visible answer is content or a tool call. AIPerf calls it TTFO, Artificial Analysis TTFAT.",
        phrase=Phrase("starts its answer", "faster", "first", "last"),
        attribute="streambench.time_to_first_answer_s",
        from_start=True,
        one_stamp=True,
        of=lambda record: first_arrival_ns(record.timeline, ANSWER),
    ),
    Metric(
        name="thinking",
        label="thinking time",
        unit="ms",
        better="lower",
        formula="first chunk of the visible answer - first chunk of reasoning",
        doc="Counts streamed reasoning only. Unknown if no reasoning was streamed (hidden reasoning is part of TTFT), "
        "if no answer followed, or if both came in one read. Too short if more reasoning came in the same read as its "
        "first chunk.",
        phrase=Phrase("thinks", "less"),
        attribute="streambench.thinking_s",
        of=_thinking,
    ),
    Metric(
        name="tool_name",
        label="time to tool name",
        unit="ms",
        better="lower",
        formula="the read that completed the name of the first tool call - start",
        doc="From this time on, an agent can show which tool it is about to call. Unknown if no tool was called, or if "
        "the stream broke off while more of the name could still come. An upper bound, like TTFT.",
        phrase=Phrase("names its call", "faster"),
        attribute="streambench.time_to_tool_name_s",
        from_start=True,
        one_stamp=True,
        of=_tool_name,
    ),
    Metric(
        name="tool_call",
        label="time to tool calls",
        unit="ms",
        better="lower",
        formula="the read that completed the arguments of the last tool call - start",
        doc="The time at which every call of the answer could be executed. Unknown if there was no call, or if a call "
        "has no arguments or arguments that are not valid JSON from beginning to end: such a call was never complete. "
        "JSON that breaks the declared schema is complete, and is the finding `tool_arguments_invalid`.",
        phrase=Phrase("completes its calls", "faster", "first", "last"),
        attribute="streambench.time_to_tool_calls_s",
        from_start=True,
        one_stamp=True,
        of=_tool_call,
    ),
    Metric(
        name="json",
        label="time to JSON",
        unit="ms",
        better="lower",
        formula="the read that completed the JSON answer - start",
        doc="Only for requests that ask for JSON with `response_format`. Unknown if the answer is not valid JSON from "
        "beginning to end. JSON that breaks the schema has a time, and the finding `json_invalid`.",
        phrase=Phrase("completes its JSON", "faster", "first", "last"),
        attribute="streambench.time_to_json_s",
        from_start=True,
        one_stamp=True,
        of=_json,
    ),
    Metric(
        name="chunk_gap",
        label="chunk gap",
        unit="ms",
        better="lower",
        formula="generated chunk - the generated chunk before it",
        doc="A distribution over all chunks, not a mean per request; vLLM calls it ITL, AIPerf ICL. Observed only if "
        "the later chunk is the only generated chunk in its read. Other gaps are unknown, not zero; their share is "
        "shown.",
        phrase=Phrase("has a", "shorter gap"),
        short="gap",
        each=lambda record: known_gaps(record.timeline),
    ),
    Metric(
        name="longest_gap",
        label="longest gap",
        unit="ms",
        better="lower",
        formula="longest time between two consecutive reads that carried generated chunks",
        doc="The worst stall that a reader sees, including one that ends in a burst (whose chunk gaps are unknown). "
        "Too long by at most the client lag.",
        phrase=Phrase("has a", "shorter longest gap"),
        attribute="streambench.longest_gap_s",
        of=_longest_gap,
    ),
    Metric(
        name="tpot",
        label="TPOT",
        unit="ms",
        better="lower",
        formula="(last - first generated chunk) / (streamed output tokens - 1)",
        doc="Time per output token after the first. Unknown with fewer than 2 streamed tokens, without usage, if the "
        "first and the last chunk came in one read, or if more tokens are billed than the streamed text can hold (more "
        "than 16 plus four per character; finding `usage_inconsistent`). Reasoning tokens that were billed but not "
        "streamed do not count; if only a summary of the reasoning was streamed, or too little text for the billed "
        "tokens, the metric is unknown.",
        phrase=Phrase("takes", "less per token"),
        attribute="streambench.time_per_output_token_s",
        of=_tpot,
    ),
    Metric(
        name="output_tok_s",
        label="output speed",
        unit="tok/s",
        better="higher",
        formula="(streamed output tokens - 1) / (last - first generated chunk)",
        doc="The inverse of TPOT for one attempt; unknown if TPOT is unknown.",
        phrase=Phrase("writes", "faster", "fastest", "slowest"),
        attribute="streambench.output_tokens_per_s",
        short="output",
        of=_output_tok_s,
    ),
    Metric(
        name="e2e",
        label="E2E",
        unit="ms",
        better="lower",
        formula="last generated chunk - start",
        doc="End-to-end latency: the time until the last output, not until the trailing usage or [DONE].",
        phrase=Phrase("ends", "faster", "first", "last"),
        attribute="streambench.e2e_s",
        from_start=True,
        one_stamp=True,
        of=_last_generated,
    ),
    Metric(
        name="stream_end",
        label="stream end",
        unit="ms",
        better="lower",
        formula="last byte - start",
        doc="Includes the trailing usage and [DONE].",
        phrase=Phrase("closes its stream", "faster"),
        attribute="streambench.stream_end_s",
        from_start=True,
        one_stamp=True,
        of=lambda record: record.last_byte_ns,
    ),
    Metric(
        name="response_time",
        label="response time",
        unit="ms",
        better="lower",
        formula="last generated chunk - scheduled time",
        doc="Includes the wait before the start, so it is free of coordinated omission.",
        phrase=Phrase("ends", "faster, including the wait before the start,"),
        attribute="streambench.response_time_s",
        one_stamp=True,
        of=_response_time,
    ),
    Metric(
        name="start_lag",
        label="start lag",
        unit="ms",
        better="lower",
        formula="start - scheduled time",
        doc="A large value means that streambench, not the gateway, was late. Includes the queue wait.",
        phrase=Phrase("was sent", "less late"),
        attribute="streambench.start_lag_s",
        of=_start_lag,
    ),
    Metric(
        name="queue_wait",
        label="queue wait",
        unit="ms",
        better="lower",
        formula="time spent waiting for a throttle or a free slot before the start",
        doc="Never part of TTFT or any other time counted from the start.",
        phrase=Phrase("waited", "less"),
        attribute="streambench.queue_wait_s",
        of=lambda record: record.queue_ns,
    ),
    Metric(
        name="connect",
        label="connect",
        unit="ms",
        better="lower",
        formula="DNS + connect + TLS of a new connection",
        doc="Part of TTFT, and also shown separately. Unknown for a reused connection, or if no part is reported.",
        phrase=Phrase("connects", "faster"),
        attribute="streambench.connect_s",
        of=_connect,
    ),
    Metric(
        name="client_lag",
        label="client lag",
        unit="ms",
        better="lower",
        formula="largest delay of the client's event loop while the attempt ran",
        doc="The measurement error of streambench itself.",
        phrase=Phrase("has a", "smaller client lag"),
        attribute="streambench.client_lag_s",
        of=lambda record: record.client_lag_ns,
    ),
)

BY_COLUMN: Mapping[str, Metric] = {metric.column: metric for metric in METRICS}
"""The metrics by the name of their column."""

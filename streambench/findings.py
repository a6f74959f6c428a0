"""What a reader should know of a stream, whatever its outcome: pure functions of the facts of an attempt's record.

Each rule gives the fact that shows its finding, or nothing. `docs/health.md` is made from the tables OUTCOMES, FINDINGS
and THRESHOLDS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from streambench.dialects import shown_name
from streambench.health import OUTCOMES, ended_by
from streambench.metrics import MIN_CHARACTERS_PER_TOKEN, NS_PER_MS, UNSEEN_TOKENS, output_of, streamed_tokens
from streambench.model_names import same_model
from streambench.records import GENERATED, AttemptRecord, ChunkTimeline, Usage
from streambench.words import of_count


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a reader should know of an attempt, and the fact that shows it: one sentence with its numbers."""

    name: str
    fact: str


@dataclass(frozen=True, slots=True, order=True)
class Stall:
    """A pause between two reads with output; in order of length, of two alike the later is more."""

    gap_ns: int
    before: int
    """Chunks of output before it."""
    end_ns: int
    """Since the attempt's start."""
    index: int
    """Of the chunk that ended it, among all of the stream."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From when on a fact is a finding: the config's `health` section. THRESHOLDS says what each means."""

    stall_ms: float = 500.0
    min_chunks: int = 8
    buffered_reads: int = 2
    buffered_share: float = 0.05
    buffered_chunk_ms: float = 1.0
    coalesced_share: float = 0.2
    max_characters_per_token: float = 16.0
    min_characters_per_token: float = MIN_CHARACTERS_PER_TOKEN
    unseen_tokens: int = UNSEEN_TOKENS
    invented_tokens_per_chunk: float = 2.0


THRESHOLDS: Mapping[str, str] = {
    "stall_ms": "a longer gap between two reads with output is a stall",
    "min_chunks": "with fewer chunks of output nobody can tell a buffered stream from a short one",
    "buffered_reads": "all output in so many reads or fewer is buffered",
    "buffered_share": "so is output that came within this last share of the wait, from start to last output, ...",
    "buffered_chunk_ms": "... and faster than a chunk in this time, as a slow start may precede a true stream",
    "coalesced_share": "a larger share of output chunks that shared a read is coalesced",
    "max_characters_per_token": "more than this, of 32 characters up, is more than the billed tokens can carry",
    "min_characters_per_token": "fewer than this is far too few: a token has a byte at least, a character four at most",
    "unseen_tokens": "tokens that may be billed and leave no character: a template's, a tool call's frame, the end's",
    "invented_tokens_per_chunk": "from so many billed tokens a chunk on, in chunks as small as a token, the count is "
    "held for invented",
}
"""What each threshold means; the defaults are those of `Thresholds`."""


def thresholds_of(config: Mapping[str, Any]) -> Thresholds:
    """Those of a resolved config, as a run's header has it; the defaults for what it does not say."""
    stated = config.get("health") or {}
    return Thresholds(**{one.name: stated[one.name] for one in fields(Thresholds) if one.name in stated})


def findings(record: AttemptRecord, thresholds: Thresholds = Thresholds()) -> tuple[Finding, ...]:
    """All findings of an attempt, in the order of FINDINGS, whatever its outcome."""
    facts = ((rule.name, rule.find(record, thresholds)) for rule in _RULES)
    return tuple(Finding(name, fact) for name, fact in facts if fact is not None)


_SMALLEST_TEXT = 32
"""Characters below which a single odd token decides how many there are of each."""
_TOKEN_CHARACTERS = (2, 6)
"""Mean characters of a chunk that can be taken for one token: with fewer, one character may be several tokens."""
_FEWEST_CHUNKS = 4
"""Of a stream whose chunks are compared with its tokens."""

_LENGTH = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
_FILTERED = frozenset(
    {"content_filter", "content_filtered", "safety", "recitation", "blocklist", "prohibited_content", "sensitive"}
)


def _no_done(record: AttemptRecord, _: Thresholds) -> str | None:
    if record.done or not _awaits_done(record) or not _ended_itself(record):
        return None
    return f"the body ended after {len(record.timeline.kind)} chunks without [DONE]"


def _no_usage(record: AttemptRecord, _: Thresholds) -> str | None:
    if record.finish_reason is None or not _ended_itself(record) or _stated(record) is not None:
        return None
    if record.usage_refused:
        return "the gateway refuses stream_options, so the request could not ask for usage"
    return "usage was asked for, and the finished stream stated none" if record.usage_asked else None


def _usage_inconsistent(record: AttemptRecord, thresholds: Thresholds) -> str | None:
    usage = _stated(record)
    if usage is None:
        return None
    return _wrong_sum(usage) or (_against_text(record, thresholds) if record.finish_reason is not None else None)


def _wrong_sum(usage: Usage) -> str | None:
    """Counts that contradict one another."""
    got, out, total, thought, cached = usage.input, usage.output, usage.total, usage.reasoning, usage.cached
    if total is not None and got is not None and out is not None and total != got + out:
        beside = (
            f" (the {thought} of reasoning stand outside the output)" if total == got + out + (thought or 0) else ""
        )
        return f"{got} input and {out} output tokens make {got + out}, the usage says {total} in all{beside}"
    if thought is not None and out is not None and thought > out:
        return f"{thought} tokens of reasoning are more than the {out} output tokens that should hold them"
    if cached is not None and got is not None and cached > got:
        return f"{cached} cached tokens are more than the {got} input tokens that should hold them"
    return None


def _against_text(record: AttemptRecord, thresholds: Thresholds) -> str | None:
    """Counts that the generated text contradicts."""
    tokens, chars = streamed_tokens(record), sum(record.timeline.chars)
    if tokens is None:
        return None
    if tokens <= 0:
        return f"{chars} characters came, and no output token is billed for them" if chars else None
    if chars >= _SMALLEST_TEXT and chars > thresholds.max_characters_per_token * tokens:
        return (
            f"{chars} characters came for {tokens} output tokens: {chars / tokens:.1f} a token is more than one carries"
        )
    if (tokens - thresholds.unseen_tokens) * thresholds.min_characters_per_token > chars:
        return f"{tokens} output tokens are billed for {chars} characters, and no hidden reasoning is told"
    return _against_chunks(record, tokens, chars, thresholds)


def _against_chunks(record: AttemptRecord, tokens: int, chars: int, thresholds: Thresholds) -> str | None:
    """A token never spans two chunks but where a gateway cuts the text anew, in pieces of a character or two."""
    chunks = _chunks(record.timeline)
    if chunks < thresholds.min_chunks or chunks < 2 * tokens or chars < 3 * chunks:
        return None
    return f"{chunks} chunks of {chars / chunks:.1f} characters came for {tokens} output tokens"


def _usage_invented(record: AttemptRecord, thresholds: Thresholds) -> str | None:
    """Output counted that did not come, in a stream of plain text whose chunks are as small as a token."""
    usage, chunks = _stated(record), _chunks(record.timeline)
    if not record.streamed or usage is None or usage.output is None or usage.reasoning:
        return None
    if record.finish_reason != "stop":
        return None
    if chunks < _FEWEST_CHUNKS or set(record.timeline.kind) & GENERATED != {"c"}:
        return None
    chars = sum(record.timeline.chars) / chunks
    least, most = _TOKEN_CHARACTERS
    if usage.output < thresholds.invented_tokens_per_chunk * chunks or not least <= chars <= most:
        return None
    return f"{usage.output} output tokens are billed for {chunks} chunks of {chars:.1f} characters, the size of a token"


def _length_limited(record: AttemptRecord, _: Thresholds) -> str | None:
    return _finished_by(record, _LENGTH, "the answer was cut off by a token limit")


def _content_filtered(record: AttemptRecord, _: Thresholds) -> str | None:
    return _finished_by(record, _FILTERED, "a filter stopped the answer")


def _refused(record: AttemptRecord, _: Thresholds) -> str | None:
    pieces = zip(record.timeline.kind, record.timeline.chars, strict=True)
    chars = sum(count for kind, count in pieces if kind == "x") if "x" in record.timeline.kind else 0
    if chars:
        return f"the model declined in {chars} characters of refusal"
    return _finished_by(record, frozenset({"refusal"}), "the model declined")


def _buffered(record: AttemptRecord, thresholds: Thresholds) -> str | None:
    output = output_of(record.timeline)
    at = output.at_ns
    if len(at) < thresholds.min_chunks or not record.streamed or not _ended_itself(record):
        return None
    reads = len(set(output.read))
    if reads <= thresholds.buffered_reads:
        return f"{len(at)} chunks of output came in {of_count(reads, 'read')}, so the gaps between them are unknown"
    span, wait = (at[-1] - at[0]) / NS_PER_MS, at[-1] / NS_PER_MS
    if span <= thresholds.buffered_share * wait and span < thresholds.buffered_chunk_ms * (len(at) - 1):
        return f"{len(at)} chunks of output came in the last {span:.1f} ms of a wait of {wait:.1f} ms"
    return None


def _coalesced(record: AttemptRecord, thresholds: Thresholds) -> str | None:
    """Not told of a buffered stream, which is the same and worse."""
    output = output_of(record.timeline)
    chunks = len(output.read)
    shared = sum(count for count in Counter(output.read).values() if count > 1) if output.shares_reads else 0
    if not record.streamed or chunks < thresholds.min_chunks or shared <= thresholds.coalesced_share * chunks:
        return None
    if _buffered(record, thresholds) is not None:
        return None
    return f"{shared} of {chunks} chunks of output shared a read with another ({100 * shared / chunks:.0f} %)"


def _stalled(record: AttemptRecord, thresholds: Thresholds) -> str | None:
    found = stalls(record, thresholds)
    if not found:
        return None
    longest = max(found)
    began_ms, gap_ms = (longest.end_ns - longest.gap_ns) / NS_PER_MS, longest.gap_ns / NS_PER_MS
    told = f"{of_count(len(found), 'gap')} over {thresholds.stall_ms:g} ms; the longest, {gap_ms:.0f} ms,"
    whole = _chunks(record.timeline)
    return f"{told} after {longest.before} of {whole} chunks of output, {began_ms:.0f} ms from the start"


def _model_substituted(record: AttemptRecord, _: Thresholds) -> str | None:
    asked, served = record.model_asked, record.model_served
    if not asked or not served or same_model(asked, served):
        return None
    provider = next((value for name, value in record.headers.items() if name in _PROVIDER_HEADERS), None)
    return f"asked for {asked}, served by {served}{f' (provider {provider})' if provider else ''}"


def _id_changed(record: AttemptRecord, _: Thresholds) -> str | None:
    return f"{record.ids} response ids in one stream of {len(record.timeline.kind)} chunks" if record.ids > 1 else None


def _after_finish(record: AttemptRecord, _: Thresholds) -> str | None:
    late = record.after_finish
    return f"{of_count(late, 'chunk')} of output came after the finish_reason" if late else None


def _duplicate_role(record: AttemptRecord, _: Thresholds) -> str | None:
    return f"{record.roles} deltas of one choice carried a role" if record.roles > 1 else None


def _tool_arguments_invalid(record: AttemptRecord, _: Thresholds) -> str | None:
    """Not told of a stream that broke off, whose arguments never had a chance."""
    bad = [call for call in record.tool_calls if call.arguments_valid is False]
    if not bad or record.finish_reason is None:
        return None
    told = f"{len(bad)} of {of_count(len(record.tool_calls), 'tool call')}"
    return f"{told}; `{bad[0].name or '?'}`: {bad[0].why or 'unusable'}"


def _tool_not_called(record: AttemptRecord, _: Thresholds) -> str | None:
    """Not told of an answer that broke off, nor of one whose call has no name that could be told from another."""
    asked, calls = record.asked, record.tool_calls
    if asked is None or asked.tool_choice not in ("required", "function") or record.finish_reason is None:
        return None
    if not calls:
        chars = sum(record.timeline.chars)
        return f"a call was required; {chars} characters and finish_reason {record.finish_reason} came instead"
    names = [call.name for call in calls]
    wanted = shown_name(asked.function) if asked.function else None
    if wanted is None or None in names or wanted in names:
        return None
    return f"`{wanted}` was to be called; `{names[0]}` was"


def _json_invalid(record: AttemptRecord, _: Thresholds) -> str | None:
    """Not told of a stream that broke off, whose JSON never had a chance."""
    answer = record.json_answer
    if answer is None or answer.valid is not False or record.finish_reason is None:
        return None
    kind = record.asked.json if record.asked and record.asked.json else "JSON"
    return f"{kind} was asked for; the answer: {answer.why or 'unusable'}"


def _unknown_fields(record: AttemptRecord, _: Thresholds) -> str | None:
    names = record.unknown_fields
    return f"{of_count(len(names), 'field')} of no known dialect: {', '.join(names)}" if names else None


def _keepalives(record: AttemptRecord, _: Thresholds) -> str | None:
    return f"{of_count(record.comments, 'keep-alive')} (comments or empty events)" if record.comments else None


def _truncated_utf8(record: AttemptRecord, _: Thresholds) -> str | None:
    broken = record.broken_utf8
    return f"{of_count(broken, 'frame')} with half a character or bytes that are no UTF-8" if broken else None


def _retried(record: AttemptRecord, _: Thresholds) -> str | None:
    if record.attempt < 2:
        return None
    return (
        f"this is attempt {record.attempt}, {record.retry_wait_ns / NS_PER_MS:.0f} ms of waiting after the one before"
    )


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    meaning: str
    find: Callable[[AttemptRecord, Thresholds], str | None]


_RULES = (
    _Rule(
        "no_done",
        "the body ended of itself and no [DONE] had come; told neither of Responses, which has none, nor of a whole "
        "answer",
        _no_done,
    ),
    _Rule("no_usage", "the stream finished without token counts, so tokens and cost are unknown", _no_usage),
    _Rule(
        "usage_inconsistent",
        "token counts that contradict one another or the text: the total is not the sum, nothing is billed for text "
        "that came, or the text is too long or far too short for the billed tokens (which hidden reasoning causes too, "
        "where the gateway does not tell of it)",
        _usage_inconsistent,
    ),
    _Rule(
        "usage_invented",
        "far more tokens than chunks, in a finished stream of plain text whose chunks are as small as one token (2 to "
        "6 characters): the gateway counted what it did not send, as LiteLLM does when its upstream ends early. A "
        "guess: hidden reasoning that nobody tells of looks the same, and so do several tokens a chunk in a script of "
        "few characters a token; larger chunks, tools, and under 4 chunks are not judged. And it has a blind side: "
        "LiteLLM closes a stream whose upstream ended early with a finish_reason `stop`, [DONE] and a usage of its own "
        "count; where that count happens to be right, nothing in the bytes tells the stream from a short answer",
        _usage_invented,
    ),
    _Rule("length_limited", "finish_reason says that a token limit cut the answer", _length_limited),
    _Rule("content_filtered", "finish_reason says that a filter stopped the answer", _content_filtered),
    _Rule("refused", "the model declined, in a refusal instead of content", _refused),
    _Rule(
        "buffered",
        "the output came in one or two reads, or all at once at the end of the wait: the gateway, or something before "
        "it, did not stream. The gaps are unknown, not zero",
        _buffered,
    ),
    _Rule("coalesced", "many chunks shared a read; the gaps between those are unknown, not zero", _coalesced),
    _Rule("stalled", "a pause between two reads with output: how many, the longest, and where", _stalled),
    _Rule(
        "model_substituted",
        "the stream names another model than was asked for. A date or version at its end, a provider before it, a tag "
        "after a colon and other punctuation make no other model; a gateway that repeats what it was asked hides one",
        _model_substituted,
    ),
    _Rule("id_changed", "the response id changed within the stream", _id_changed),
    _Rule("after_finish", "output came after the finish_reason of its choice", _after_finish),
    _Rule("duplicate_role", "more than one delta of a choice carried a role", _duplicate_role),
    _Rule(
        "tool_arguments_invalid",
        "a finished tool call has arguments that are no JSON object, or break the function's declared JSON schema in "
        "the draft that it names (else 2020-12). `pattern` and `format` are not looked at; a schema that cannot be "
        "used, or takes too long, is not checked; nothing is fetched for one",
        _tool_arguments_invalid,
    ),
    _Rule(
        "tool_not_called",
        "`tool_choice` required a call, or one of a named function, and the finished answer has none. With `auto` a "
        "model may answer as it likes",
        _tool_not_called,
    ),
    _Rule(
        "json_invalid",
        "`response_format` asked for JSON, and the finished answer is none from end to end (text around it, or a code "
        "fence, makes it none), no object, or breaks the schema that was sent, as far as for tool_arguments_invalid. "
        "Not judged: an answer that is a tool call or a refusal, or longer than 262,144 characters",
        _json_invalid,
    ),
    _Rule(
        "unknown_fields",
        "fields that no gateway known to streambench sends; only some frames are looked at",
        _unknown_fields,
    ),
    _Rule("keepalives", "comments or empty events came", _keepalives),
    _Rule("truncated_utf8", "frames with half a character, or bytes that are no UTF-8", _truncated_utf8),
    _Rule("retried", "the attempt is a further try of its request", _retried),
)

FINDINGS: Mapping[str, str] = {rule.name: rule.meaning for rule in _RULES}
"""What each finding means; any number of them goes with any outcome."""


# --- what the rules ask of a record -----------------------------------------------------------------------------------


def _ended_itself(record: AttemptRecord) -> bool:
    """The body came to an end of its own, be it early: nothing broke it off, and it was a stream."""
    return ended_by(record) is None and record.error_frame is None and bool(record.timeline.kind or record.done)


def _awaits_done(record: AttemptRecord) -> bool:
    """Responses ends with an event that says how it ended, and a whole answer with its body."""
    return record.streamed and record.api != "responses"


def _stated(record: AttemptRecord) -> Usage | None:
    """The gateway's own counts."""
    usage = record.usage
    return usage if usage is not None and usage.source == "gateway" else None


def _chunks(line: ChunkTimeline) -> int:
    return sum(map(line.kind.count, GENERATED))


def stalls(record: AttemptRecord, thresholds: Thresholds) -> list[Stall]:
    """The attempt's, in order of time; our own lag is no stall, where it can be in a stamp."""
    line = record.timeline
    lag = 0 if record.stamps == "kernel" else record.client_lag_ns or 0
    limit = thresholds.stall_ms * NS_PER_MS
    if max(output_of(line).steps, default=0) - lag <= limit:
        return []
    rows = enumerate(zip(line.offset_ns, line.kind, line.read, strict=True))
    generated = [(at, read, index) for index, (at, kind, read) in rows if kind in GENERATED]
    return [
        Stall(later - earlier, before, later, index)
        for before, ((earlier, read, _), (later, next_read, index)) in enumerate(pairwise(generated), start=1)
        if read != next_read and later - earlier - lag > limit
    ]


def _finished_by(record: AttemptRecord, reasons: frozenset[str], told: str) -> str | None:
    reason = record.finish_reason
    if reason is None or reason.lower() not in reasons:
        return None
    return f"{told}: finish_reason {reason} after {sum(record.timeline.chars)} characters"


_PROVIDER_HEADERS = frozenset({"x-provider", "x-openrouter-provider", "x-portkey-provider", "x-served-by"})


# --- the page ---------------------------------------------------------------------------------------------------------

_HEALTH_HEAD = """\
# Stream health

Made from the tables in `streambench/health.py` and `findings.py`; a test compares the two.

Each attempt gets one **outcome** and any number of **findings**, both from its record alone: an old run is judged anew
whenever it is read. Only `ok` requests enter latencies; what was left out is counted beside them.

## Outcomes

In order of precedence: the first that fits.

| outcome | meaning |
|---|---|
"""
_FINDINGS_HEAD = """
## Findings

Each comes with the fact that shows it.

| finding | meaning |
|---|---|
"""
_THRESHOLDS_HEAD = """
## Thresholds

The keys of the config's `health` section. They count when a run is read, not when it is made.

| key | default | meaning |
|---|---|---|
"""


def health_markdown() -> str:
    """The whole of `docs/health.md`."""
    defaults = Thresholds()
    rows = [(f"`{name}`", f"{getattr(defaults, name):g}", meaning) for name, meaning in THRESHOLDS.items()]
    return (
        _HEALTH_HEAD
        + _rows((f"`{name}`", meaning) for name, meaning in OUTCOMES.items())
        + _FINDINGS_HEAD
        + _rows((f"`{name}`", meaning) for name, meaning in FINDINGS.items())
        + _THRESHOLDS_HEAD
        + _rows(rows)
    )


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)

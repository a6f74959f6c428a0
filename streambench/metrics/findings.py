"""Finds things in an attempt's record that a reader should know, with any outcome: a stall, missing usage. Pure.

Each rule returns the fact that shows its finding, or None. `docs/health.md` is generated from the tables OUTCOMES,
FINDINGS and THRESHOLDS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from streambench.metrics.definitions import (
    MIN_CHARACTERS_PER_TOKEN,
    NS_PER_MS,
    UNSEEN_TOKENS,
    output_of,
    streamed_tokens,
)
from streambench.metrics.finish_reasons import FinishMeaning, meaning_of
from streambench.metrics.model_names import same_model
from streambench.metrics.outcomes import ended_by
from streambench.quantities import COUNT, NO_OTHER_KEYS, Number, Whole, setting
from streambench.records.schema import GENERATED, AttemptRecord, ChunkTimeline, Usage
from streambench.text import counted, percent, shown_name


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding of an attempt: its name in FINDINGS, and the fact that shows it as one sentence with its numbers."""

    name: str
    fact: str


@dataclass(frozen=True, slots=True, order=True)
class StreamStall:
    """A long gap between two reads with output. Stalls sort by length, those of equal length by position."""

    gap_ns: int
    before: int
    """The number of output chunks before it."""
    end_ns: int
    """The end of the gap, in ns since the attempt's start."""
    index: int
    """The index of the chunk that ended it, among all chunks of the stream."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of findings: the config's `health` section. docs/health.md explains each."""

    __pydantic_config__ = NO_OTHER_KEYS

    stall_ms: Number = setting(500.0, "milliseconds, a number above 0", gt=0)
    min_chunks: Whole = setting(8, "a whole number, 2 or more", ge=2)
    buffered_reads: Whole = setting(2, COUNT, ge=1)
    buffered_share: Number = setting(0.05, "a share from 0 to 1", ge=0, le=1)
    buffered_chunk_ms: Number = setting(1.0, "milliseconds, 0 or more", ge=0)
    coalesced_share: Number = setting(0.2, "a share from 0 to 1", ge=0, le=1)
    max_characters_per_token: Number = setting(16.0, "a number above 0", gt=0)
    min_characters_per_token: Number = setting(MIN_CHARACTERS_PER_TOKEN, "a number, 0 or more", ge=0)
    unseen_tokens: Whole = setting(UNSEEN_TOKENS, "a whole number, 0 or more", ge=0)
    invented_tokens_per_chunk: Number = setting(2.0, "a number, 1 or more", ge=1)


THRESHOLDS: Mapping[str, str] = {
    "stall_ms": "a gap between two reads with output is a stall if it is longer than this",
    "min_chunks": "a stream with fewer chunks of output is never `buffered` or `coalesced`, because a short stream "
    "looks the same",
    "buffered_reads": "a stream is `buffered` if all its output came in this many reads or fewer",
    "buffered_share": "a stream is also `buffered` if all its output came within this last share of the wait (start to "
    "last output), at less than `buffered_chunk_ms` per chunk",
    "buffered_chunk_ms": "the limit for `buffered_share`: slower output was streamed after a slow start",
    "coalesced_share": "a stream is `coalesced` if a larger share of its output chunks shared a read",
    "max_characters_per_token": "more characters per token than this, in texts of 32 characters or more, are more than "
    "the billed tokens can carry",
    "min_characters_per_token": "fewer characters per token than this are far too few: a token has at least one byte, "
    "and a character at most four",
    "unseen_tokens": "tokens that may be billed without any visible character: a template, the frame of a tool call, "
    "the end token",
    "invented_tokens_per_chunk": "with this many billed tokens per chunk or more, in chunks as small as a token, the "
    "count is considered invented",
}
"""The meaning of each threshold. The defaults are those of `Thresholds`."""


def thresholds_of(config: Mapping[str, Any]) -> Thresholds:
    """Returns the thresholds of a resolved config, such as that of a run's header; defaults for missing keys."""
    stated = config.get("health") or {}
    return Thresholds(**{one.name: stated[one.name] for one in fields(Thresholds) if one.name in stated})


def findings(record: AttemptRecord, thresholds: Thresholds = Thresholds()) -> tuple[Finding, ...]:
    """Returns all findings of an attempt, in the order of FINDINGS, for any outcome."""
    facts = ((rule.name, rule.find(record, thresholds)) for rule in _RULES)
    return tuple(Finding(name, fact) for name, fact in facts if fact is not None)


_SMALLEST_TEXT = 32
"""The fewest characters for a check of characters per token: in shorter texts a single odd token decides the ratio."""
_TOKEN_CHARACTERS = (2, 6)
"""The range of mean characters per chunk in which a chunk is assumed to be one token. Below it, one character may be
several tokens.
"""
_FEWEST_CHUNKS = 4
"""The fewest chunks for a comparison of chunks with tokens."""


def _no_done(record: AttemptRecord, _: Thresholds) -> str | None:
    if record.done or not _awaits_done(record) or not _ended_itself(record):
        return None
    return f"the body ended after {len(record.timeline.kind)} chunks without [DONE]"


def _no_usage(record: AttemptRecord, _: Thresholds) -> str | None:
    if record.finish_reason is None or not _ended_itself(record) or _stated(record) is not None:
        return None
    if record.usage_refused:
        return "the gateway refuses stream_options, so the request could not ask for usage"
    return "usage was requested, but the finished stream has none" if record.usage_asked else None


def _usage_inconsistent(record: AttemptRecord, thresholds: Thresholds) -> str | None:
    usage = _stated(record)
    if usage is None:
        return None
    return _wrong_sum(usage) or (_against_text(record, thresholds) if record.finish_reason is not None else None)


def _wrong_sum(usage: Usage) -> str | None:
    """Returns a fact if the token counts contradict each other."""
    got, out, total, thought, cached = usage.input, usage.output, usage.total, usage.reasoning, usage.cached
    if total is not None and got is not None and out is not None and total != got + out:
        beside = (
            f" (the {thought} reasoning tokens are not part of the output)"
            if total == got + out + (thought or 0)
            else ""
        )
        return f"{got} input and {out} output tokens make {got + out}, but the usage says {total} in total{beside}"
    if thought is not None and out is not None and thought > out:
        return f"{thought} reasoning tokens are more than the {out} output tokens that should include them"
    if cached is not None and got is not None and cached > got:
        return f"{cached} cached tokens are more than the {got} input tokens that should include them"
    return None


def _against_text(record: AttemptRecord, thresholds: Thresholds) -> str | None:
    """Returns a fact if the token counts contradict the generated text."""
    tokens, chars = streamed_tokens(record), sum(record.timeline.chars)
    if tokens is None:
        return None
    if tokens <= 0:
        return f"{chars} characters came, but no output token is billed for them" if chars else None
    if chars >= _SMALLEST_TEXT and chars > thresholds.max_characters_per_token * tokens:
        return (
            f"{chars} characters came for {tokens} output tokens: {chars / tokens:.1f} per token are more than a token "
            "can carry"
        )
    if (tokens - thresholds.unseen_tokens) * thresholds.min_characters_per_token > chars:
        return f"{tokens} output tokens are billed for {chars} characters, and no hidden reasoning is reported"
    return _against_chunks(record, tokens, chars, thresholds)


def _against_chunks(record: AttemptRecord, tokens: int, chars: int, thresholds: Thresholds) -> str | None:
    """Returns a fact if there are far more chunks than tokens.

    A token spans two chunks only if the gateway splits the text again, into pieces of one or two characters; such
    streams are not checked.
    """
    chunks = _chunks(record.timeline)
    if chunks < thresholds.min_chunks or chunks < 2 * tokens or chars < 3 * chunks:
        return None
    return f"{chunks} chunks of {chars / chunks:.1f} characters came for {tokens} output tokens"


def _usage_invented(record: AttemptRecord, thresholds: Thresholds) -> str | None:
    """Returns a fact if many more tokens are billed than chunks came, in plain text with chunks as small as a token."""
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
    return _finished_by(record, "length", "the answer was cut off by a token limit")


def _content_filtered(record: AttemptRecord, _: Thresholds) -> str | None:
    return _finished_by(record, "filter", "a filter stopped the answer")


def _refused(record: AttemptRecord, _: Thresholds) -> str | None:
    pieces = zip(record.timeline.kind, record.timeline.chars, strict=True)
    chars = sum(count for kind, count in pieces if kind == "x") if "x" in record.timeline.kind else 0
    if chars:
        return f"the model declined with a refusal of {counted(chars, 'character')}"
    return _finished_by(record, "refusal", "the model declined")


def _buffered(record: AttemptRecord, thresholds: Thresholds) -> str | None:
    output = output_of(record.timeline)
    at = output.at_ns
    if len(at) < thresholds.min_chunks or not record.streamed or not _ended_itself(record):
        return None
    reads = len(set(output.read))
    if reads <= thresholds.buffered_reads:
        return f"{len(at)} chunks of output came in {counted(reads, 'read')}, so the gaps between them are unknown"
    span, wait = (at[-1] - at[0]) / NS_PER_MS, at[-1] / NS_PER_MS
    if span <= thresholds.buffered_share * wait and span < thresholds.buffered_chunk_ms * (len(at) - 1):
        return f"{len(at)} chunks of output came in the last {span:.1f} ms of a {wait:.1f} ms wait"
    return None


def _coalesced(record: AttemptRecord, thresholds: Thresholds) -> str | None:
    """Returns a fact if many chunks shared a read. A buffered stream is left out, as that finding includes this one."""
    output = output_of(record.timeline)
    chunks = len(output.read)
    shared = sum(count for count in Counter(output.read).values() if count > 1) if output.shares_reads else 0
    if not record.streamed or chunks < thresholds.min_chunks or shared <= thresholds.coalesced_share * chunks:
        return None
    if _buffered(record, thresholds) is not None:
        return None
    return f"{shared} of {chunks} chunks of output shared a read with another ({percent(shared / chunks)})"


def _stalled(record: AttemptRecord, thresholds: Thresholds) -> str | None:
    found = stalls(record, thresholds)
    if not found:
        return None
    longest = max(found)
    began_ms, gap_ms = (longest.end_ns - longest.gap_ns) / NS_PER_MS, longest.gap_ns / NS_PER_MS
    text = f"{counted(len(found), 'gap')} over {thresholds.stall_ms:g} ms; the longest ({gap_ms:.0f} ms) came"
    whole = _chunks(record.timeline)
    return f"{text} after {longest.before} of {whole} chunks of output, {began_ms:.0f} ms after the start"


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
    return f"{counted(late, 'chunk')} of output came after the finish_reason" if late else None


def _duplicate_role(record: AttemptRecord, _: Thresholds) -> str | None:
    return f"{record.roles} deltas of one choice carried a role" if record.roles > 1 else None


def _tool_arguments_invalid(record: AttemptRecord, _: Thresholds) -> str | None:
    """Returns a fact if a tool call has invalid arguments. Streams that broke off are left out: theirs are cut."""
    bad = [call for call in record.tool_calls if call.arguments_valid is False]
    if not bad or record.finish_reason is None:
        return None
    text = f"{len(bad)} of {counted(len(record.tool_calls), 'tool call')}"
    return f"{text}; `{bad[0].name or '?'}`: {bad[0].why or 'unusable'}"


def _tool_not_called(record: AttemptRecord, _: Thresholds) -> str | None:
    """Returns a fact if a required tool call is missing.

    Answers that broke off are left out, and those with a call without a name, which cannot be compared.
    """
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
    return f"`{wanted}` was required; `{names[0]}` was called"


def _json_invalid(record: AttemptRecord, _: Thresholds) -> str | None:
    """Returns a fact if the JSON answer is invalid. Streams that broke off are left out: their JSON is cut."""
    answer = record.json_answer
    if answer is None or answer.valid is not False or record.finish_reason is None:
        return None
    kind = record.asked.json if record.asked and record.asked.json else "JSON"
    return f"{kind} was requested; the answer: {answer.why or 'unusable'}"


def _unknown_fields(record: AttemptRecord, _: Thresholds) -> str | None:
    names = record.unknown_fields
    return f"{counted(len(names), 'field')} that no known gateway sends: {', '.join(names)}" if names else None


def _keepalives(record: AttemptRecord, _: Thresholds) -> str | None:
    return f"{counted(record.comments, 'keep-alive')} (comments or empty events)" if record.comments else None


def _truncated_utf8(record: AttemptRecord, _: Thresholds) -> str | None:
    broken = record.broken_utf8
    return f"{counted(broken, 'frame')} with half a character or bytes that are not UTF-8" if broken else None


def _retried(record: AttemptRecord, _: Thresholds) -> str | None:
    if record.attempt < 2:
        return None
    wait_ms = record.retry_wait_ns / NS_PER_MS
    return f"this is attempt {record.attempt}, sent after a wait of {wait_ms:.0f} ms since the previous attempt"


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    meaning: str
    find: Callable[[AttemptRecord, Thresholds], str | None]


_RULES = (
    _Rule(
        "no_done",
        "the body ended without an error, but also without [DONE]. Not reported for the Responses API, which has no "
        "[DONE], or for a non-streamed answer",
        _no_done,
    ),
    _Rule("no_usage", "the stream finished without token counts, so tokens and cost are unknown", _no_usage),
    _Rule(
        "usage_inconsistent",
        "token counts that contradict each other or the text: the total is not the sum, nothing is billed for text "
        "that came, or the text is too long or far too short for the billed tokens (hidden reasoning that the gateway "
        "does not report has the same effect)",
        _usage_inconsistent,
    ),
    _Rule(
        "usage_invented",
        "far more tokens than chunks, in a finished stream of plain text whose chunks are as small as one token (2 to "
        "6 characters): the gateway counted tokens that it did not send, as LiteLLM does when its upstream ends early. "
        "This is a guess: hidden reasoning that the gateway does not report looks the same, and so do several tokens "
        "per chunk in a script with few characters per token. Larger chunks, tool calls, and streams of fewer than 4 "
        "chunks are not judged. One case is not found: LiteLLM closes a stream whose upstream ended early with a "
        "finish_reason `stop`, [DONE] and its own usage count; if that count happens to be right, the bytes look the "
        "same as those of a short answer",
        _usage_invented,
    ),
    _Rule("length_limited", "finish_reason says that a token limit cut the answer", _length_limited),
    _Rule("content_filtered", "finish_reason says that a filter stopped the answer", _content_filtered),
    _Rule("refused", "the model declined, with a refusal instead of content", _refused),
    _Rule(
        "buffered",
        "the output came in one or two reads, or all at once at the end of the wait: the gateway, or something in "
        "front of it, did not stream. The gaps are unknown, not zero",
        _buffered,
    ),
    _Rule("coalesced", "many chunks shared a read; the gaps between them are unknown, not zero", _coalesced),
    _Rule(
        "stalled",
        "long pauses between two reads with output; the fact says how many, and the length and place of the longest",
        _stalled,
    ),
    _Rule(
        "model_substituted",
        "the stream names a different model than the requested one. A date or version at the end, a provider prefix, a "
        "tag after a colon and other punctuation do not count as different. A gateway that repeats the requested name "
        "hides a substitution",
        _model_substituted,
    ),
    _Rule("id_changed", "the response id changed within the stream", _id_changed),
    _Rule("after_finish", "output came after the finish_reason of its choice", _after_finish),
    _Rule("duplicate_role", "more than one delta of a choice carried a role", _duplicate_role),
    _Rule(
        "tool_arguments_invalid",
        "a finished tool call has arguments that are not a JSON object, or that break the function's declared JSON "
        "schema, by the draft that the schema names (else 2020-12). `pattern` and `format` are ignored. A schema that "
        "cannot be used, or takes too long, is not checked. Nothing is fetched for a schema",
        _tool_arguments_invalid,
    ),
    _Rule(
        "tool_not_called",
        "`tool_choice` required a call, or a call of a named function, but the finished answer has none. With `auto` a "
        "model may answer without a call",
        _tool_not_called,
    ),
    _Rule(
        "json_invalid",
        "`response_format` asked for JSON, but the finished answer is not valid JSON from beginning to end (text "
        "around it, or a code fence, makes it invalid), is not an object, or breaks the schema that was sent. The "
        "schema is checked as for tool_arguments_invalid. Not judged: an answer that is a tool call or a refusal, or "
        "longer than 262,144 characters",
        _json_invalid,
    ),
    _Rule(
        "unknown_fields",
        "fields that no gateway known to streambench sends; only some frames are checked",
        _unknown_fields,
    ),
    _Rule("keepalives", "comments or empty events came", _keepalives),
    _Rule("truncated_utf8", "frames with half a character, or bytes that are not UTF-8", _truncated_utf8),
    _Rule("retried", "the attempt is a retry of its request", _retried),
)

FINDINGS: Mapping[str, str] = {rule.name: rule.meaning for rule in _RULES}
"""The meaning of each finding. An attempt can have any number of findings with any outcome."""


# --- helpers of the rules ---------------------------------------------------------------------------------------------


def _ended_itself(record: AttemptRecord) -> bool:
    """True if the attempt had a stream whose body ended without a failure or error, even if it ended early."""
    return ended_by(record) is None and record.error_frame is None and bool(record.timeline.kind or record.done)


def _awaits_done(record: AttemptRecord) -> bool:
    """True if the stream should end with [DONE]. The Responses API ends with an event, a non-streamed answer with its
    body.
    """
    return record.streamed and record.api != "responses"


def _stated(record: AttemptRecord) -> Usage | None:
    """Returns the usage if the gateway stated it, else None."""
    usage = record.usage
    return usage if usage is not None and usage.source == "gateway" else None


def _chunks(line: ChunkTimeline) -> int:
    return sum(map(line.kind.count, GENERATED))


def stalls(record: AttemptRecord, thresholds: Thresholds) -> list[StreamStall]:
    """Returns the attempt's stalls, in order of time.

    Unless timestamps come from the kernel, the client's lag can be inside them, so it is subtracted from each gap
    before the comparison with the threshold.
    """
    line = record.timeline
    lag = 0 if record.stamps == "kernel" else record.client_lag_ns or 0
    limit = thresholds.stall_ms * NS_PER_MS
    if max(output_of(line).steps, default=0) - lag <= limit:
        return []
    rows = enumerate(zip(line.offset_ns, line.kind, line.read, strict=True))
    generated = [(at, read, index) for index, (at, kind, read) in rows if kind in GENERATED]
    return [
        StreamStall(later - earlier, before, later, index)
        for before, ((earlier, read, _), (later, next_read, index)) in enumerate(pairwise(generated), start=1)
        if read != next_read and later - earlier - lag > limit
    ]


def _finished_by(record: AttemptRecord, meaning: FinishMeaning, text: str) -> str | None:
    if meaning_of(record.finish_reason) != meaning:
        return None
    return f"{text}: finish_reason {record.finish_reason} after {sum(record.timeline.chars)} characters"


_PROVIDER_HEADERS = frozenset({"x-provider", "x-openrouter-provider", "x-portkey-provider", "x-served-by"})

"""One verdict a stream: a pure function of the facts that an attempt's record holds.

A stream that breaks looks short and fast, so only `ok` ones may enter a latency; every reader asks here which are.
What else there is to know of a stream: `findings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from streambench.records import GENERATED, AttemptRecord, Failure
from streambench.words import of_count

Outcome = Literal[
    "cancelled",
    "client_error",
    "connect_error",
    "http_error",
    "not_a_stream",
    "stream_error",
    "timeout",
    "too_large",
    "disconnected",
    "malformed",
    "truncated",
    "empty",
    "ok",
]

OUTCOMES: Mapping[Outcome, str] = {
    "cancelled": "we stopped it: an interrupt, or the run's own limit",
    "client_error": "our own side failed: the request could not be sent, or the failure is of no kind known here",
    "connect_error": "no connection: DNS, refused or TLS",
    "http_error": "the gateway answered with an error status",
    "not_a_stream": "success status, but the body is no event stream, or no JSON where a whole answer was asked for",
    "stream_error": "an error came inside the stream, or its finish_reason says that it broke off",
    "timeout": "a time limit passed: connect, first chunk, idle or total",
    "too_large": "the answer passed a size limit of ours",
    "disconnected": "the connection was reset or the body cut",
    "malformed": "a frame was no JSON, or no chunk; or a whole answer was none",
    "truncated": "the stream ended without a finish_reason, or without that of one of its choices",
    "empty": "the stream finished with nothing generated",
    "ok": "finished, with a finish_reason and output",
}
"""What each outcome means, in order of precedence: the first that fits is the verdict."""

_BEFORE_THE_STREAM = frozenset({"cancelled", "client_error", "connect_error", "http_error", "not_a_stream"})
_KNOWN = frozenset(get_args(Outcome))

_BROKE_OFF = frozenset(
    {"error", "abort", "aborted", "cancelled", "canceled", "failed", "interrupted", "incomplete"}
    | {"network_error", "insufficient_system_resource"}
)
"""Finish reasons by which a gateway owns that this is no answer: those of OpenRouter, vLLM, SGLang, Zhipu and DeepSeek,
and a response that is incomplete and does not say why.
"""


def judge(record: AttemptRecord) -> Outcome:
    """The attempt's one outcome: the first of `OUTCOMES` that its facts fit."""
    end = ended_by(record)
    if end in _BEFORE_THE_STREAM:
        return end
    if record.error_frame is not None or (end is None and _says_it_broke(record)):
        return "stream_error"
    return end or _of_the_stream(record)


def evidence(record: AttemptRecord, outcome: Outcome | None = None) -> str:
    """One line that says why the attempt has its outcome, as the record's (masked, bounded) facts tell it."""
    outcome = outcome or judge(record)
    failure = _failure_of(record, outcome)
    status = failure.status or (record.status if outcome == "http_error" else None)
    marks = (str(mark) for mark in (status, failure.detail, failure.code) if mark not in (None, ""))
    return f"{' '.join([outcome, *marks])}: {failure.message or _shown(record, outcome)}"


def _failure_of(record: AttemptRecord, outcome: Outcome) -> Failure:
    """What the record holds of this outcome; without words where its numbers must tell."""
    failure = record.error_frame if outcome == "stream_error" else record.failure
    return failure if failure is not None and _kind(failure) == outcome else Failure(outcome)


def _shown(record: AttemptRecord, outcome: Outcome) -> str:
    """The outcome's meaning, with the numbers that show it."""
    chunks = of_count(len(record.timeline.kind), "chunk")
    if outcome == "malformed":
        which = "1 frame" if record.malformed == 1 else f"{record.malformed} frames, the first"
        return f"{which}: {record.malformed_why or 'no JSON, or no chunk'}"
    if outcome == "stream_error":
        return f"finish_reason {record.finish_reason} after {chunks}"
    if outcome == "truncated" and record.finish_reason is not None:
        cut = of_count(record.unfinished, "choice")
        return f"{cut} with output never got a finish_reason, though another did, in {chunks}"
    if outcome == "truncated":
        characters = of_count(sum(record.timeline.chars), "character")
        return f"the stream ended without a finish_reason, after {chunks} with {characters}"
    if outcome == "empty":
        return f"{OUTCOMES[outcome]}: {record.finish_reason} after {chunks}"
    return OUTCOMES[outcome]


def ended_by(record: AttemptRecord) -> Outcome | None:
    """What ended it from outside the stream; an error status says more than how its body ended."""
    kind = _kind(record.failure) if record.failure is not None else None
    if kind not in _BEFORE_THE_STREAM and record.status is not None and not 200 <= record.status < 300:
        return "http_error"
    return kind


def _says_it_broke(record: AttemptRecord) -> bool:
    return record.finish_reason is not None and record.finish_reason.lower() in _BROKE_OFF


def _kind(failure: Failure) -> Outcome:
    # A kind that only a newer streambench knows, or a slip of ours, must never read as a success.
    kind: Outcome = failure.kind if failure.kind in _KNOWN - {"ok"} else "client_error"  # type: ignore[assignment]
    return kind


def _of_the_stream(record: AttemptRecord) -> Outcome:
    if record.malformed:
        return "malformed"
    if record.finish_reason is None or record.unfinished:
        return "truncated"
    if GENERATED.isdisjoint(record.timeline.kind):
        return "empty"
    return "ok"

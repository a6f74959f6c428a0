"""Determines the one outcome of an attempt from its record. Pure.

A stream that breaks off looks short and fast, so latencies include only attempts whose outcome is `ok`. All readers of
records use this module. Further facts about a stream are in `findings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from streambench.metrics.finish_reasons import meaning_of
from streambench.records.schema import GENERATED, AttemptRecord, Failure
from streambench.text import counted

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
    "cancelled": "streambench stopped the attempt: an interrupt, or a limit of the run",
    "client_error": "the client failed: the request could not be sent, or the kind of the failure is unknown",
    "connect_error": "no connection: a DNS error, connection refused or a TLS error",
    "http_error": "the gateway answered with an error status",
    "not_a_stream": "success status, but the body is not an event stream, or not JSON for a non-streamed request",
    "stream_error": "an error came inside the stream, or its finish_reason says that it broke off",
    "timeout": "a time limit passed: connect, first chunk, idle or total",
    "too_large": "the answer exceeded a size limit of streambench",
    "disconnected": "the connection was reset or the body was cut off",
    "malformed": "a frame was not JSON or not a chunk, or a non-streamed body was not a valid answer",
    "truncated": "the stream ended without a finish_reason, or a choice with output got none",
    "empty": "the stream finished without generated output",
    "ok": "finished, with a finish_reason and output",
}
"""The meaning of each outcome, in order of precedence: the first that fits is the attempt's outcome."""

_BEFORE_THE_STREAM = frozenset({"cancelled", "client_error", "connect_error", "http_error", "not_a_stream"})
_KNOWN = frozenset(get_args(Outcome))


def outcome_of(record: AttemptRecord) -> Outcome:
    """Returns the attempt's outcome: the first of `OUTCOMES` that fits its record."""
    end = ended_by(record)
    if end in _BEFORE_THE_STREAM:
        return end
    if record.error_frame is not None or (end is None and _says_it_broke(record)):
        return "stream_error"
    return end or _of_the_stream(record)


def evidence(record: AttemptRecord, outcome: Outcome | None = None) -> str:
    """Returns one line that says why the attempt has this outcome, from the record's masked and length-limited texts.

    `outcome` avoids computing it again if it is known.
    """
    outcome = outcome or outcome_of(record)
    failure = _failure_of(record, outcome)
    status = failure.status or (record.status if outcome == "http_error" else None)
    marks = (str(mark) for mark in (status, failure.detail, failure.code) if mark not in (None, ""))
    return f"{' '.join([outcome, *marks])}: {failure.message or _evidence_text(record, outcome)}"


def _failure_of(record: AttemptRecord, outcome: Outcome) -> Failure:
    """Returns the record's failure if it is of this outcome, else a failure without a message."""
    failure = record.error_frame if outcome == "stream_error" else record.failure
    return failure if failure is not None and _kind(failure) == outcome else Failure(outcome)


def _evidence_text(record: AttemptRecord, outcome: Outcome) -> str:
    """Returns the outcome's meaning with numbers of the record, for an outcome without a failure message."""
    chunks = counted(len(record.timeline.kind), "chunk")
    if outcome == "malformed":
        which = "1 frame" if record.malformed == 1 else f"{record.malformed} frames, the first"
        return f"{which}: {record.malformed_why or 'not JSON, or not a chunk'}"
    if outcome == "stream_error":
        return f"finish_reason {record.finish_reason} after {chunks}"
    if outcome == "truncated" and record.finish_reason is not None:
        cut = counted(record.unfinished, "choice")
        return f"{cut} with output got no finish_reason, although another choice did, in {chunks}"
    if outcome == "truncated":
        characters = counted(sum(record.timeline.chars), "character")
        return f"the stream ended without a finish_reason, after {chunks} with {characters}"
    if outcome == "empty":
        return f"{OUTCOMES[outcome]}: {record.finish_reason} after {chunks}"
    return OUTCOMES[outcome]


def ended_by(record: AttemptRecord) -> Outcome | None:
    """Returns the failure outside the stream that ended the attempt; None if there was none.

    An error status takes precedence over how the body ended.
    """
    kind = _kind(record.failure) if record.failure is not None else None
    if kind not in _BEFORE_THE_STREAM and record.status is not None and not 200 <= record.status < 300:
        return "http_error"
    return kind


def _says_it_broke(record: AttemptRecord) -> bool:
    return meaning_of(record.finish_reason) == "failure"


def _kind(failure: Failure) -> Outcome:
    # An unknown kind (from a newer streambench, or a bug) must never count as a success.
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

"""One verdict a stream: a pure function of the facts that an attempt's record holds.

A stream that breaks looks short and fast, so only `ok` ones may enter a latency; every reader asks here which are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from streambench.records import GENERATED, AttemptRecord, Failure

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
    "not_a_stream": "success status, but the body is no event stream",
    "stream_error": "an error came inside the stream",
    "timeout": "a time limit passed: connect, first chunk, idle or total",
    "too_large": "the answer passed a size limit of ours",
    "disconnected": "the connection was reset or the body cut",
    "malformed": "a frame was no JSON, or no chunk",
    "truncated": "the stream ended without a finish_reason",
    "empty": "the stream finished with nothing generated",
    "ok": "finished, with a finish_reason and output",
}
"""What each outcome means, in order of precedence: the first that fits is the verdict."""

_BEFORE_THE_STREAM = frozenset({"cancelled", "client_error", "connect_error", "http_error", "not_a_stream"})
_KNOWN = frozenset(get_args(Outcome))


def judge(record: AttemptRecord) -> Outcome:
    """The attempt's one outcome: the first of `OUTCOMES` that its facts fit."""
    ended_by = _ended_by(record)
    if ended_by in _BEFORE_THE_STREAM:
        return ended_by
    if record.error_frame is not None:
        return "stream_error"
    return ended_by or _of_the_stream(record)


def evidence(record: AttemptRecord, outcome: Outcome | None = None) -> str:
    """One line that says why the attempt has its outcome, as the record's (masked, bounded) facts tell it."""
    outcome = outcome or judge(record)
    failure = record.error_frame if outcome == "stream_error" and record.error_frame else record.failure
    if failure is None:
        why = record.malformed_why if outcome == "malformed" and record.malformed_why else OUTCOMES[outcome]
        return f"{outcome}: {why}"
    status = failure.status or (record.status if outcome == "http_error" else None)
    marks = (str(mark) for mark in (status, failure.detail, failure.code) if mark not in (None, ""))
    return f"{' '.join([outcome, *marks])}: {failure.message or OUTCOMES[outcome]}"


def _ended_by(record: AttemptRecord) -> Outcome | None:
    if record.failure is not None:
        return _kind(record.failure)
    if record.status is not None and not 200 <= record.status < 300:
        return "http_error"
    return None


def _kind(failure: Failure) -> Outcome:
    # A kind that only a newer streambench knows, or a slip of ours, must never read as a success.
    kind: Outcome = failure.kind if failure.kind in _KNOWN - {"ok"} else "client_error"  # type: ignore[assignment]
    return kind


def _of_the_stream(record: AttemptRecord) -> Outcome:
    if record.malformed:
        return "malformed"
    if record.finish_reason is None:
        return "truncated"
    if GENERATED.isdisjoint(record.timeline.kind):
        return "empty"
    return "ok"

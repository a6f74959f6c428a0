"""One outcome an attempt, by a stated precedence."""

from __future__ import annotations

from itertools import combinations
from typing import Any, get_args

import pytest
from sentences import numbers_in

from streambench.metrics.outcomes import OUTCOMES, Outcome, evidence, outcome_of
from streambench.records.schema import ChunkTimeline, Failure
from streambench.testing import make_record

EMPTY = ChunkTimeline()

FACTS: dict[Outcome, dict[str, Any]] = {
    "cancelled": {"failure": Failure("cancelled")},
    "client_error": {"failure": Failure("client_error")},
    "connect_error": {"failure": Failure("connect_error", detail="refused")},
    "http_error": {"failure": Failure("http_error", status=429)},
    "not_a_stream": {"failure": Failure("not_a_stream")},
    "stream_error": {"error_frame": Failure("stream_error", "overloaded")},
    "timeout": {"failure": Failure("timeout", detail="idle")},
    "too_large": {"failure": Failure("too_large")},
    "disconnected": {"failure": Failure("disconnected", detail="reset")},
    "malformed": {"malformed": 1},
    "truncated": {"finish_reason": None},
    "empty": {"timeline": EMPTY},
    "ok": {},
}
"""For each outcome, the one fact that makes it."""


def test_the_table_names_every_outcome_once() -> None:
    """The type and the table agree, and so does their order, which is the precedence."""
    assert tuple(OUTCOMES) == get_args(Outcome) == tuple(FACTS)


@pytest.mark.parametrize("outcome", FACTS)
def test_each_fact_has_its_outcome(outcome: Outcome) -> None:
    """One fact alone, in a record that is fine but for it."""
    assert outcome_of(make_record(**FACTS[outcome])) == outcome


@pytest.mark.parametrize(
    ("first", "second"), [pair for pair in combinations(FACTS, 2) if not set(FACTS[pair[0]]) & set(FACTS[pair[1]])]
)
def test_of_two_facts_the_earlier_outcome_wins(first: Outcome, second: Outcome) -> None:
    """Every pair of facts that one record can hold."""
    assert outcome_of(make_record(**{**FACTS[second], **FACTS[first]})) == first


def test_a_failure_of_an_unknown_kind_is_never_ok() -> None:
    """A newer streambench may write kinds that this one does not know; a failure called ok is none either."""
    assert outcome_of(make_record(failure=Failure("gremlins"))) == "client_error"
    assert outcome_of(make_record(failure=Failure("ok"))) == "client_error"


def test_an_error_status_without_a_failure_is_an_http_error() -> None:
    """The status alone is enough, and it is told."""
    assert outcome_of(make_record(status=503)) == "http_error"
    assert evidence(make_record(status=503)) == "http_error 503: the gateway answered with an error status"


@pytest.mark.parametrize("kind", ["timeout", "too_large", "disconnected"])
def test_an_error_status_is_an_http_error_however_its_body_ended(kind: str) -> None:
    """A 503 whose body never came to an end; the evidence is the status, not that end."""
    record = make_record(status=503, failure=Failure(kind, "it went on", detail="body"))
    assert outcome_of(record) == "http_error"
    assert evidence(record) == evidence(make_record(status=503))


@pytest.mark.parametrize("kind", ["cancelled", "client_error", "connect_error"])
def test_what_goes_before_a_status_is_told_before_it(kind: str) -> None:
    """We stopped while the 503 came."""
    assert outcome_of(make_record(status=503, failure=Failure(kind))) == kind


def test_a_role_chunk_is_no_output() -> None:
    """Role, usage and finish without a generated chunk is an empty answer."""
    assert outcome_of(make_record(kinds="rou", at_ms=(1, 2, 3))) == "empty"


@pytest.mark.parametrize("kind", "tcfx")
def test_any_generated_kind_is_output(kind: str) -> None:
    """Reasoning, content, a tool call and a refusal each count."""
    assert outcome_of(make_record(kinds=f"r{kind}", at_ms=(1, 2))) == "ok"


def test_evidence_tells_status_detail_code_and_message() -> None:
    """One line, the outcome first."""
    failure = Failure("http_error", "slow down", status=429, code="rate_limit")
    assert evidence(make_record(failure=failure)) == "http_error 429 rate_limit: slow down"


def test_evidence_of_a_stream_error_is_the_frames_own_message() -> None:
    """Not that of the disconnect which followed it."""
    record = make_record(error_frame=Failure("stream_error", "overloaded"), failure=Failure("disconnected", "reset"))
    assert evidence(record) == "stream_error: overloaded"


def test_evidence_without_a_message_is_the_outcomes_meaning() -> None:
    """A truncated stream has no message of its own, but it has its numbers: 5 chunks with 12 characters."""
    found = evidence(make_record(finish_reason=None))
    assert found.startswith("truncated: ")
    assert numbers_in(found) == [5, 12]


@pytest.mark.parametrize("reason", ["error", "abort", "network_error", "insufficient_system_resource", "Cancelled"])
def test_a_finish_reason_may_say_that_it_broke_off(reason: str) -> None:
    """A gateway's own word, after text and with [DONE] behind it: no success."""
    found = evidence(make_record(finish_reason=reason))
    assert found.startswith("stream_error: ")
    assert reason in found
    assert numbers_in(found) == [5]


def test_a_choice_without_its_end_is_no_success() -> None:
    """Of two answers asked for at once, one is cut, in 5 chunks."""
    found = evidence(make_record(unfinished=1))
    assert found.startswith("truncated: ")
    assert numbers_in(found) == [1, 5]


def test_evidence_of_an_empty_answer_says_how_it_ended() -> None:
    """A filter and an early stop are two things."""
    record = make_record(kinds="ro", at_ms=(1, 2), finish_reason="content_filter")
    found = evidence(record)
    assert found.startswith(f"empty: {OUTCOMES['empty']}: ")
    assert "content_filter" in found
    assert numbers_in(found) == [2]


def test_evidence_of_a_malformed_frame_says_what_was_wrong_with_it() -> None:
    """The decoder's reason for the first one is kept in the record."""
    assert evidence(make_record(malformed=1, malformed_why="no JSON")) == "malformed: 1 frame: no JSON"
    assert evidence(make_record(malformed=2, malformed_why="no JSON")) == "malformed: 2 frames, the first: no JSON"
    assert evidence(make_record(malformed=2)) == "malformed: 2 frames, the first: not JSON, or not a chunk"

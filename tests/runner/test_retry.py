"""Which failures are tried again and after how long, and how long a rate limit holds whom: tables over records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.config.sections import Retry, RetryOn
from streambench.metrics.outcomes import OUTCOMES, outcome_of
from streambench.records.schema import AttemptRecord, Failure, Phase
from streambench.runner.retry import (
    Backoff,
    Pauses,
    decide,
    draw_of,
    rate_limited,
)
from streambench.testing import MS, make_record

THREE = Retry(attempts=3, jitter=0)
ALL = replace(THREE, on=get_args(RetryOn))
S = 1_000 * MS


def refused(status: int = 503, after_s: float | None = None, code: str | None = None, **changes: Any) -> AttemptRecord:
    failure = Failure("http_error", status=status, retry_after_s=after_s, code=code)
    return make_record(kinds="", at_ms=(), usage=None, status=status, failure=failure, **changes)


def broken(kind: str, **changes: Any) -> AttemptRecord:
    return make_record(failure=Failure(kind), **changes)


def in_band(**facts: Any) -> AttemptRecord:
    """An error frame in a stream that began well."""
    return make_record(error_frame=Failure("stream_error", **facts), finish_reason=None)


def wait_s(policy: Retry, record: AttemptRecord, draw: float = 0.5) -> float | None:
    return decide(policy, record, outcome_of(record), draw).wait_s


# --- which

AGAIN = {
    "refused for now": refused(503),
    "too many requests": refused(429),
    "overloaded": refused(529),
    "no connection": broken("connect_error"),
    "silence": broken("timeout"),
    "cut": broken("disconnected"),
    "an error inside the stream": in_band(code="overloaded_error"),
    "a server's error inside the stream": in_band(status=500),
}

NEVER = {
    "fine": make_record(),
    "stopped by us": broken("cancelled"),
    "refused by our own side": broken("client_error"),
    "too large for us": broken("too_large"),
    "of a kind not known here": broken("quantum_error"),
    "a bad request": refused(400),
    "a wrong key": refused(401),
    "a forbidden model": refused(403),
    "an unknown model": refused(404),
    "a request that cannot be processed": refused(422),
    "a status that is not in the list": refused(501),
    "a redirect": refused(307),
    "a bad request, told inside the stream": in_band(status=400),
    "filtered, told inside the stream": in_band(code="content_filter"),
    "filtered, with a status that is retried": refused(500, code="content_policy_violation"),
}


@pytest.mark.parametrize("record", AGAIN.values(), ids=AGAIN)
def test_what_another_attempt_may_mend_is_tried_again(record: AttemptRecord) -> None:
    """After half a second, the first wait."""
    assert wait_s(THREE, record) == 0.5


@pytest.mark.parametrize("record", NEVER.values(), ids=NEVER)
def test_what_would_fail_again_is_not(record: AttemptRecord) -> None:
    """Not even by a policy that takes every outcome it may."""
    decision = decide(ALL, record, outcome_of(record), 0.5)
    assert decision.wait_s is None
    assert decision.why


def test_what_is_not_asked_for_is_not_retried() -> None:
    """An empty answer is, where the policy names it; filtered content is an empty answer that is not."""
    empty = make_record(kinds="r", at_ms=(90,))
    assert (wait_s(THREE, empty), wait_s(ALL, empty)) == (None, 0.5)
    assert wait_s(ALL, replace(empty, finish_reason="content_filter")) is None


@pytest.mark.parametrize(("attempts", "tried"), [(1, 1), (2, 2), (5, 5)])
def test_there_are_so_many_attempts_and_no_more(attempts: int, tried: int) -> None:
    """One is no retries."""
    policy = replace(THREE, attempts=attempts)
    waits = [wait_s(policy, refused(attempt=attempt)) for attempt in range(1, 7)]
    assert [wait is None for wait in waits].index(True) + 1 == tried


@pytest.mark.parametrize(("phases", "again"), [(("warmup",), (True, False)), (("measure",), (False, True))])
def test_only_requests_of_its_phases_are_retried(phases: tuple[Phase, ...], again: tuple[bool, bool]) -> None:
    """As where the warm-up may be patient and the measured phase not."""
    policy = replace(THREE, phases=phases)
    both: tuple[Phase, Phase] = ("warmup", "measure")
    assert tuple(wait_s(policy, refused(phase=phase)) is not None for phase in both) == again
    assert (policy.covers("warmup"), policy.covers("measure")) == again


def test_it_is_off_by_default() -> None:
    """In the policy as in the config."""
    assert not Retry().covers("measure")
    assert not Retry().covers("warmup")


# --- how long


def test_waits_grow_up_to_a_limit() -> None:
    """0.5, doubled each time: 1, 2, 4, and then the limit of 5."""
    policy = replace(THREE, attempts=9, backoff=0.5, factor=2.0, max_backoff=5.0)
    assert [wait_s(policy, refused(attempt=nth)) for nth in range(1, 7)] == [0.5, 1, 2, 4, 5, 5]


def test_the_wait_is_the_longest_however_often_it_grew() -> None:
    """2 to the 5,000th is no number any more; a rate limit of an hour comes to that."""
    assert Backoff(0.5, 2.0, 30.0).wait_s(5_000) == 30


@pytest.mark.parametrize(("draw", "wait"), [(0.0, 0.75), (0.5, 1.0), (1.0, 1.25)])
def test_jitter_spreads_a_wait(draw: float, wait: float) -> None:
    """A quarter of 1 s to either side."""
    policy = replace(THREE, jitter=0.25, backoff=1.0)
    assert wait_s(policy, refused(), draw) == wait


@pytest.mark.parametrize("asked", [0.02, 3.0, 120.0])
def test_what_the_gateway_asks_for_is_waited(asked: float) -> None:
    """Be it shorter than the back-off or longer, up to the cap."""
    assert wait_s(THREE, refused(429, asked)) == asked


@given(draw=st.floats(0, 1, exclude_max=True), asked=st.floats(0.001, 120))
def test_jitter_never_shortens_what_was_asked_for(draw: float, asked: float) -> None:
    """At most a quarter of the back-off of 0.5 s comes on top, so that not all come back together."""
    waited = wait_s(Retry(attempts=2), refused(429, asked), draw)
    assert waited is not None
    assert asked <= waited <= asked + 0.125


def test_no_wait_asked_for_is_a_back_off() -> None:
    """`retry-after: 0` says when it may be, not that it should be at once."""
    assert wait_s(THREE, refused(429, 0.0)) == 0.5


def test_a_wait_over_the_cap_is_not_waited() -> None:
    """It is not tried again, and the reason names the key to change."""
    decision = decide(THREE, refused(429, 121.0), "http_error", 0.5)
    assert (decision.wait_s, decision.refused_wait) == (None, True)
    assert "retry.max_retry_after (120 s)" in decision.why


def test_a_wait_told_inside_the_stream_counts() -> None:
    """An error frame may carry it."""
    assert wait_s(THREE, in_band(retry_after_s=7.0)) == 7


def test_the_draw_is_the_seeds() -> None:
    """The same for the same seed, request and attempt; another for any other of them."""
    draws = [
        draw_of(seed, make_record(seq=seq, attempt=attempt))
        for seed in range(3)
        for seq in range(3)
        for attempt in (1, 2)
    ]
    again = draw_of(2, make_record(seq=2, attempt=2))
    assert again == draws[-1]
    assert len(set(draws)) == len(draws)
    assert all(0 <= draw < 1 for draw in draws)


# --- the outcomes


def test_every_outcome_is_either_retriable_or_not() -> None:
    """A new outcome has to be put on one side."""
    assert set(OUTCOMES) - set(get_args(RetryOn)) == {"ok", "cancelled", "client_error", "too_large"}


# --- rate limits

PAUSING = Pauses({"demo": frozenset({"alpha", "beta"})}, Backoff(1.0, 2.0, 30.0), most_s=60.0)


def limited(model: str = "alpha", start_s: float = 1, after_s: float | None = None) -> AttemptRecord:
    """Refused for its rate limit, at once."""
    record = refused(429, after_s, model=model)
    return replace(record, start_at_ns=round(start_s * S), ended_ns=0)


def fine(model: str = "alpha", start_s: float = 1) -> AttemptRecord:
    return make_record(model=model, start_at_ns=round(start_s * S))


def after(*records: AttemptRecord) -> Pauses:
    pauses = PAUSING
    for record in records:
        pauses = pauses.after(record)
    return pauses


def until_s(pauses: Pauses, model: str) -> float:
    return pauses.until_ns("demo", model) / S


@pytest.mark.parametrize(
    ("record", "is_limit"),
    [
        (refused(429), True),
        (in_band(status=429), True),
        (refused(503, 3.0), False),
        (make_record(), False),
        (broken("timeout"), False),
    ],
    ids=["429", "429 inside the stream", "503 with a wait", "ok", "timeout"],
)
def test_a_rate_limit_is_a_429(record: AttemptRecord, is_limit: bool) -> None:  # noqa: FBT001 - a column of a table
    """Wherever it is told."""
    assert rate_limited(record) is is_limit


def test_a_429_holds_its_model() -> None:
    """Refused at 1 s and asked to wait 5: until 6. The other model is not held."""
    pauses = after(limited(after_s=5))
    assert (until_s(pauses, "alpha"), until_s(pauses, "beta")) == (6, 0)
    assert not pauses.whole("demo")


def test_without_a_wait_asked_for_it_backs_off() -> None:
    """1 s after the first; refused again once that is over, 2 s, then 4: 2, 2 + 2, 4 + 4."""
    assert until_s(after(limited()), "alpha") == 2
    assert until_s(after(limited(), limited(start_s=2)), "alpha") == 4
    assert until_s(after(limited(), limited(start_s=2), limited(start_s=4)), "alpha") == 8


def test_requests_refused_together_are_one_step() -> None:
    """Five were under way when the first was refused; none of them is a refusal after a wait."""
    assert until_s(after(*[limited()] * 5), "alpha") == 2


def test_the_longest_wait_asked_for_holds() -> None:
    """A shorter one that comes later does not end it."""
    assert until_s(after(limited(after_s=9), limited(after_s=2)), "alpha") == 10


def test_a_wait_is_capped() -> None:
    """An hour was asked for; 60 s is waited, and then it is seen."""
    assert until_s(after(limited(after_s=3_600)), "alpha") == 61


def test_an_answer_ends_the_hold() -> None:
    """Of a request that was sent after it; one that was under way says nothing of it."""
    held = after(limited(after_s=5))
    assert held.after(fine(start_s=0.9)) is held
    assert until_s(held.after(fine(start_s=6)), "alpha") == 0


def test_no_answer_is_no_sign() -> None:
    """A connection that failed tells nothing of the limit."""
    held = after(limited(after_s=5))
    assert held.after(broken("connect_error", status=None, start_at_ns=7 * S)) is held


def test_where_all_models_are_refused_it_is_the_keys_limit() -> None:
    """alpha until 6 s, beta until 9: both wait until 9."""
    pauses = after(limited(after_s=5), limited("beta", after_s=8))
    assert pauses.whole("demo")
    assert (until_s(pauses, "alpha"), until_s(pauses, "beta")) == (9, 9)


def test_the_first_answer_frees_the_key() -> None:
    """alpha is answered at 10 s: beta's own hold is over as well."""
    pauses = after(limited(after_s=5), limited("beta", after_s=8), fine(start_s=10))
    assert not pauses.whole("demo")
    assert (until_s(pauses, "alpha"), until_s(pauses, "beta")) == (0, 9)


def test_a_gateway_that_counts_is_never_held() -> None:
    """`on_rate_limit: count` leaves it out of the table."""
    pauses = Pauses({}, Backoff(1.0, 2.0, 30.0), most_s=60.0)
    assert pauses.after(limited()) is pauses
    assert pauses.until_ns("demo", "alpha") == 0
    assert not pauses.whole("demo")

"""When a run stops early and what it says then: tables over tallies of records."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.config.sections import Breakers, Budget, FailureShare
from streambench.metrics.cost import Price
from streambench.records.schema import AttemptRecord, Failure, Usage
from streambench.runner.breakers import (
    Amount,
    RunCounters,
    StopReason,
    UsageBound,
    must_wait,
    out_of_time,
    refused_key,
    set_aside,
    spent,
    spent_before,
    too_many_failed,
)
from streambench.testing import make_record

PRICE = Price(input=1.0, output=10.0)


def failed(model: str = "alpha", message: str = "no more", **changes: Any) -> AttemptRecord:
    return make_record(model=model, kinds="", at_ms=(), usage=None, failure=Failure("timeout", message), **changes)


def http(status: int) -> AttemptRecord:
    return make_record(kinds="", at_ms=(), usage=None, status=status, failure=Failure("http_error", status=status))


def used(tokens_in: int = 100, tokens_out: int = 50, model: str = "alpha", **changes: Any) -> AttemptRecord:
    usage = Usage(input=tokens_in, output=tokens_out, total=tokens_in + tokens_out, source="gateway", **changes)
    return make_record(model=model, usage=usage)


def over(*records: AttemptRecord) -> RunCounters:
    """Each sent, landed and over."""
    counters = RunCounters()
    for record in records:
        counters = counters.after_send(record.ticket).after_attempt(record, PRICE).after_request(record)
    return counters


def in_flight(counters: RunCounters, *models: str) -> RunCounters:
    for model in models:
        counters = counters.after_send(make_record(model=model).ticket)
    return counters


# --- a refused key


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_its_variable(status: int) -> None:
    """And the gateway."""
    told = f"gateway demo rejected the key in HUB_API_KEY ({status}): check that variable"
    assert refused_key(Breakers(), http(status), "HUB_API_KEY") == StopReason("key_refused", told)


def test_a_missing_key_is_told_as_one() -> None:
    """`api_key: none` where the gateway wants one."""
    told = "gateway demo requires a key (401), but its api_key is none"
    assert refused_key(Breakers(), http(401), None, has_key=False) == StopReason("key_refused", told)


def test_a_key_from_nowhere_is_no_variable() -> None:
    """A config made by hand."""
    assert refused_key(Breakers(), http(401), None) == StopReason("key_refused", "gateway demo rejected its key (401)")


@pytest.mark.parametrize("record", [make_record(), http(400), http(404), http(429), http(500), failed()])
def test_nothing_else_is_a_refused_key(record: AttemptRecord) -> None:
    """An unknown model, for one, is that model's failure."""
    assert refused_key(Breakers(), record, "HUB_API_KEY") is None


def test_a_refused_key_may_be_a_failure_like_any_other() -> None:
    """`key_refused: false`."""
    assert refused_key(Breakers(key_refused=False), http(401), "HUB_API_KEY") is None


# --- failures in a row


def aside(records: Iterable[AttemptRecord], limit: int | None = 3) -> str | None:
    rows = list(records)
    return set_aside(Breakers(failures_in_a_row=limit), over(*rows), rows[-1])


def test_a_model_that_fails_in_a_row_is_set_aside() -> None:
    """Three of three; the reason holds the last failure's evidence."""
    assert aside([failed(), failed(), failed(message="silence")]) == (
        "alpha was set aside after 3 failures in a row; last failure: timeout: silence"
    )
    assert aside([failed(), failed()]) is None


def test_one_failure_is_a_row_of_one() -> None:
    """A limit of 1."""
    assert re.findall(r"\d+", aside([failed()], 1) or "") == ["1"]


def test_a_good_answer_ends_the_row() -> None:
    """Two, one good, two: never three in a row."""
    assert aside([failed(), failed(), make_record(), failed(), failed()]) is None


def test_rows_are_counted_model_by_model() -> None:
    """beta's good answers between do not help alpha, nor do its failures harm it."""
    assert aside([failed(), make_record(model="beta"), failed(), make_record(model="beta"), failed()]) is not None
    assert aside([failed(), failed("beta"), failed(), failed("beta")]) is None


def test_what_we_cancelled_is_no_failure_and_no_success() -> None:
    """It neither adds to the row nor ends it."""
    cancelled = make_record(failure=Failure("cancelled"))
    assert aside([failed(), failed(), cancelled]) is None
    assert aside([failed(), failed(), cancelled, failed()]) is not None


def test_without_a_limit_nothing_is_set_aside() -> None:
    """The default."""
    assert aside([failed()] * 100, None) is None


# --- the share of failures


@pytest.mark.parametrize(
    ("good", "bad", "stops"),
    [(0, 19, False), (0, 20, True), (10, 10, False), (10, 11, True), (30, 29, False), (30, 31, True)],
)
def test_the_share_counts_after_the_twentieth(good: int, bad: int, stops: bool) -> None:  # noqa: FBT001 - a column
    """More than half of at least twenty."""
    counters = over(*[make_record()] * good, *[failed()] * bad)
    assert (too_many_failed(Breakers(failure_share=FailureShare(0.5)), counters) is not None) is stops


def test_the_share_is_told() -> None:
    """In requests and by the key that allows more."""
    counters = over(*[make_record()] * 7, *[failed()] * 3)
    told = "3 of 10 requests failed, more than breakers.failure_share allows (20 %)"
    assert too_many_failed(Breakers(failure_share=FailureShare(0.2, 10)), counters) == StopReason("failure_share", told)


def test_no_share_is_no_limit() -> None:
    """The default."""
    assert too_many_failed(Breakers(), over(*[failed()] * 100)) is None


# --- the budget


def key_of(budget: Budget, counters: RunCounters) -> str | None:
    """The key of the budget that is spent."""
    stop_reason = spent(budget, counters)
    return stop_reason.key if stop_reason else None


def test_a_budget_of_requests_counts_what_was_sent() -> None:
    """Landed or not, retries too: two over and one in flight are three."""
    counters = in_flight(over(failed(), make_record(attempt=2)), "alpha")
    assert spent(Budget(requests=4), counters) is None
    told = "the budget of 3 requests is spent"
    assert spent(Budget(requests=3), counters) == StopReason("budget", told, "budget.requests")


def test_a_budget_of_tokens_counts_input_and_output() -> None:
    """Two answers of 100 + 50."""
    counters = over(used(), used())
    assert key_of(Budget(tokens=301), counters) is None
    assert key_of(Budget(tokens=300), counters) == "budget.tokens"


def held(*worsts: UsageBound, after: RunCounters | None = None) -> RunCounters:
    """One in flight for each."""
    counters = after or RunCounters()
    for worst in worsts:
        counters = counters.after_send(make_record().ticket, worst)
    return counters


def test_what_is_in_flight_counts_at_its_worst() -> None:
    """150 spent, 2 x 200 in flight, and 250 for the next: 800."""
    counters = held(UsageBound(200), UsageBound(200), after=over(used()))
    assert spent(Budget(tokens=800), counters, UsageBound(250)) is None
    stop_reason = spent(Budget(tokens=799), counters, UsageBound(250))
    assert stop_reason is not None
    assert stop_reason.key == "budget.tokens"
    assert re.findall(r"\d+", stop_reason.reason) == ["799", "150", "400", "250"]


def test_what_is_assumed_of_the_next_request_is_told() -> None:
    """Nothing bounds its output."""
    stop_reason = spent(Budget(usd=1.0), RunCounters(), UsageBound(10, 2.0, "so it is guessed"))
    assert stop_reason is not None
    assert stop_reason.key == "budget.usd"
    assert [float(number) for number in re.findall(r"\d+\.?\d*", stop_reason.reason)] == [1, 0, 2]
    assert stop_reason.reason.endswith("(so it is guessed)")


def test_spent_to_the_last_is_not_passed() -> None:
    """0.1 ten times is no more than 1, whatever binary says; and then nothing is left."""
    counters = over(*[used(cost_usd=0.1)] * 9)
    assert spent(Budget(usd=1.0), counters, UsageBound(1, 0.1)) is None
    assert spent(Budget(usd=1.0), over(*[used(cost_usd=0.1)] * 10)) is not None


def test_a_request_waits_where_it_may_fit_once_others_have_landed() -> None:
    """150 of 400 spent, 200 in flight: one of 200 fits if those take 50 or less. One of 300 never does."""
    counters = held(UsageBound(200), after=over(used()))
    assert must_wait(Budget(tokens=400), counters, UsageBound(200))
    assert not must_wait(Budget(tokens=400), counters, UsageBound(300))
    assert not must_wait(Budget(tokens=600), counters, UsageBound(200))
    assert not must_wait(Budget(), counters, UsageBound(200))


def test_one_of_which_nothing_is_known_goes_alone() -> None:
    """Neither max_tokens nor an answer bounds it."""
    assert must_wait(Budget(tokens=10_000), held(UsageBound(1)), UsageBound(blind=True))
    assert not must_wait(Budget(tokens=10_000), RunCounters(), UsageBound(blind=True))


def test_text_without_usage_counts_at_its_worst() -> None:
    """A stream that broke off was generated and will be billed; a refused one was not. 150 + 90."""
    counters = over(used(), http(500))
    cut = make_record(finish_reason=None, usage=None)
    after = counters.after_send(cut.ticket, UsageBound(90)).after_attempt(cut, PRICE, UsageBound(90))
    assert (after.spent.tokens, after.held.tokens) == (240, 0)


def test_silence_may_be_billed_too() -> None:
    """A request that timed out before its first chunk may have been answered all the same."""
    record = failed()
    assert RunCounters().recorded(record, PRICE, UsageBound(90, 0.5)).spent == Amount(90, 0.5)


def test_a_budget_in_dollars_is_priced() -> None:
    """100 in at 1, 50 out at 10 per million: 0.0006 each."""
    counters = over(used(), used())
    assert key_of(Budget(usd=0.0013), counters) is None
    assert key_of(Budget(usd=0.0012), counters) == "budget.usd"


def test_a_stated_cost_wins_over_the_price() -> None:
    """The gateway knows better."""
    assert over(used(cost_usd=0.25)).spent.usd == 0.25


def test_time_is_told() -> None:
    """In seconds."""
    stop_reason = out_of_time(Budget(duration_s=90))
    assert (stop_reason.status, stop_reason.key) == ("budget", "budget.duration")
    assert " 90 s " in stop_reason.reason


@pytest.mark.parametrize(
    ("budget", "key"),
    [
        (Budget(requests=2), "budget.requests"),
        (Budget(tokens=300), "budget.tokens"),
        (Budget(usd=0.0012), "budget.usd"),
        (Budget(duration_s=60), "budget.duration"),
    ],
)
def test_what_earlier_parts_spent_stays_spent(budget: Budget, key: str) -> None:
    """Two answers of 150 tokens at 0.0006 dollars each, in a minute; the trip names the key that is to be raised."""
    counters = RunCounters().recorded(used(), PRICE).recorded(used(), PRICE)
    stop_reason = spent_before(budget, counters, took_s=60)
    assert stop_reason is not None
    assert (stop_reason.status, stop_reason.key) == ("budget", key)
    assert spent_before(Budget(requests=3, tokens=301, usd=0.0013, duration_s=61), counters, took_s=60) is None


def test_earlier_failures_are_of_the_past() -> None:
    """A run is taken up again because what was wrong is thought to be mended: rows and shares begin anew."""
    counters = RunCounters()
    for _ in range(30):
        counters = counters.recorded(failed())
    assert (counters.sent, counters.ended, counters.failed, counters.account("alpha").failed_in_a_row) == (30, 0, 0, 0)
    assert counters.account("alpha").in_flight == 0


def test_no_budget_is_never_spent() -> None:
    """The default."""
    assert spent(Budget(), over(*[used()] * 50)) is None


@given(st.lists(st.sampled_from(["ok", "cut", "refused"]), max_size=30))
def test_what_landed_is_not_in_flight(ends: list[str]) -> None:
    """However it ended: spent grows with each that may be billed, and nothing is left over."""
    records = {"ok": used(), "cut": make_record(usage=None, finish_reason=None), "refused": http(503)}
    counters = RunCounters()
    for end in ends:
        counters = counters.recorded(records[end], PRICE, UsageBound(150, 0.1))
    assert (counters.in_flight, counters.account("alpha").in_flight, counters.held) == (0, 0, Amount())
    assert counters.sent == len(ends)
    assert counters.spent.tokens == 150 * len([end for end in ends if end != "refused"])

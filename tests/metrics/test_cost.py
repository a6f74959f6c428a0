"""What an attempt cost: by price, as a gateway states it, and what many cost together."""

from __future__ import annotations

from typing import Any

import pytest

from streambench.analysis.costs import Cost
from streambench.analysis.costs import cost_of as cost_in
from streambench.analysis.frames import attempts_frame, requests_frame
from streambench.analysis.measured import RunFacts
from streambench.client.decode.chunk_json import read_usage
from streambench.metrics.cost import Price, alike, paid_usd, price_in, priced_usd, stated_usd, total, usd
from streambench.records.schema import AttemptRecord, Failure, Ticket, Usage
from streambench.testing import make_header, make_record

FULL = Price(input=2.0, output=10.0, cached=0.5, reasoning=30.0, per_request=0.001)
PLAIN = {"input": 0.27, "output": 1.10}


# --- by price


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(input=1_000, output=200), 0.001 + (2_000 + 2_000) / 1e6),
        (Usage(input=1_000, output=200, cached=400), 0.001 + (600 * 2 + 400 * 0.5 + 2_000) / 1e6),
        (Usage(input=1_000, output=200, reasoning=150), 0.001 + (2_000 + 50 * 10 + 150 * 30) / 1e6),
        # the total says that the reasoning is not in the output
        (Usage(input=1_000, output=200, reasoning=150, total=1_350), 0.001 + (2_000 + 200 * 10 + 150 * 30) / 1e6),
        # more cached than came in, more thought than was written: no negative rest
        (Usage(input=10, output=20, cached=99, reasoning=99), 0.001 + (10 * 0.5 + 20 * 30) / 1e6),
        (Usage(input=0, output=0), 0.001),
    ],
)
def test_each_kind_of_token_has_its_price(usage: Usage, cost: float) -> None:
    """USD per million tokens, and one of each request."""
    assert FULL.of(usage) == pytest.approx(cost)


def test_what_has_no_price_of_its_own_costs_as_the_rest() -> None:
    """1,000 x 0.27 / 1e6 + 200 x 1.10 / 1e6 = 0.00049, however much of it was cached or thought."""
    record = make_record(usage=Usage(input=1_000, output=200, cached=900, reasoning=100, source="gateway"))
    assert priced_usd(record, Price(**PLAIN)) == pytest.approx(0.00049)


@pytest.mark.parametrize("usage", [None, Usage(input=5), Usage(output=5), Usage(total=5)])
def test_cost_without_both_counts_is_unknown(usage: Usage | None) -> None:
    """Half a bill would look like a cheap model; and per_request alone would be one too."""
    assert FULL.of(usage) is None


def test_bounds_take_the_dearest_and_the_cheapest() -> None:
    """Whatever kinds the tokens turn out to be: 2 in and 30 out at most, 0.5 in and nothing out at least."""
    assert FULL.at_most(1_000, 100) == pytest.approx(0.001 + (2_000 + 3_000) / 1e6)
    assert FULL.at_least(1_000) == pytest.approx(0.001 + 500 / 1e6)


def test_a_price_is_found_by_alias() -> None:
    """As a header has it, also one of before there were cached prices; None where there is none."""
    config = {"models": [{"model": "m", "alias": "a", "price": PLAIN}, {"model": "n", "price": None}]}
    assert price_in(config, "a") == Price(**PLAIN)
    assert [price_in(config, name) for name in ("m", "n", "x")] == [None, None, None]


# --- as stated


@pytest.mark.parametrize(
    ("fields", "stated"),
    [
        ({"cost": 0.25}, 0.25),
        ({"cost": 0}, 0.0),
        ({"cost": {"total_cost": 0.125, "request_cost": 0.1}}, 0.125),
        ({"cost_usd_total": 0.5}, 0.5),
        ({"cost": -1}, None),
        ({"cost": True}, None),
        ({"cost": "0.25"}, None),
        ({"cost": {"total_cost": None}}, None),
        ({}, None),
    ],
)
def test_gateways_state_their_cost_in_the_usage(fields: dict[str, Any], stated: float | None) -> None:
    """OpenRouter and LiteLLM, Perplexity, LLM Gateway; nothing else is a cost."""
    usage = read_usage({"prompt_tokens": 1, "completion_tokens": 1, **fields})
    assert usage is not None
    assert usage.cost_usd == stated


@pytest.mark.parametrize(
    ("headers", "stated"),
    [
        ({"x-litellm-response-cost": "0.0025"}, 0.0025),
        ({"x-litellm-response-cost": "1e-05"}, 0.00001),
        ({"x-litellm-response-cost": "0.0"}, None),
        ({"x-litellm-response-cost-original": "0.7"}, None),
        ({"x-litellm-response-cost": "-1", "x-gammainfra-cost-usd": "0.1"}, 0.1),
        ({"x-litellm-response-cost": "nan"}, None),
        ({"x-litellm-response-cost": "inf"}, None),
        ({"x-litellm-response-cost": "free"}, None),
        ({}, None),
    ],
)
def test_or_in_a_header(headers: dict[str, str], stated: float | None) -> None:
    """A 0 that came before the stream did is no count, and a part of the cost is not the cost."""
    assert stated_usd(make_record(headers=headers)) == stated


def test_the_usage_wins_over_a_header_and_a_budget_counts_what_is_stated() -> None:
    """The usage came last. 10 in and 3 out at 1 and 2 would be 0.000016."""
    record = make_record(usage=Usage(input=10, output=3, cost_usd=0.5), headers={"x-litellm-response-cost": "0.1"})
    price = Price(input=1, output=2)
    assert stated_usd(record) == paid_usd(record, price) == 0.5
    assert paid_usd(make_record(), price) == pytest.approx(0.000016)
    assert paid_usd(make_record(), None) is None


def test_sums_and_likeness() -> None:
    """Unknown is left out, all unknown is unknown; a hundredth apart is alike."""
    assert (total([None, 1, 2]), total([None]), total([])) == (3, None, None)
    assert alike(1.0, 1.009)
    assert alike(0, 0)
    assert not alike(1.0, 1.02)
    assert not alike(0.0, 1e-9)
    assert (usd(None), usd(0), usd(0.00049)) == ("-", "0.00", "0.00049")


# --- many together


def of_session(seq: int, session: str | None, **changes: Any) -> AttemptRecord:
    ticket = Ticket(seq=seq, gateway="demo", model="alpha", prompt_id="p", repeat=0, block=0, session_id=session)
    return make_record(seq=seq, ticket=ticket, **changes)


def used(tokens_in: int, tokens_out: int, cost: float | None = None) -> Usage:
    return Usage(input=tokens_in, output=tokens_out, cost_usd=cost, source="gateway")


def cost_of(records: list[AttemptRecord], price: Price | None) -> Cost:
    return cost_in(records, price, RunFacts(make_header("alpha")))


def test_costs_of_a_request_of_text_and_of_a_session() -> None:
    """At 1 and 10 per million. Request 0: a failed try of 1,000 + 100 (0.002) and one of 1,000 + 200 (0.003). Request
    1: 0.001 + 0.001. Request 2 is unknown, and with it session b. Text: 0.007 for 400 tokens."""
    failed = Failure("disconnected")
    records = [
        of_session(0, "a", usage=used(1_000, 100), failure=failed),
        of_session(0, "a", attempt=2, usage=used(1_000, 200)),
        of_session(1, "a", usage=used(1_000, 100)),
        of_session(2, "b", usage=None),
        of_session(3, None, usage=used(0, 0)),
    ]
    cost = cost_of(records, Price(input=1, output=10))
    assert (cost.by, cost.attempts, cost.attempts_unpriced) == ("price", 5, 1)
    assert cost.priced == pytest.approx(0.007)
    assert cost.failed == pytest.approx(0.002)
    assert cost.per_request == pytest.approx(0.007 / 3)
    assert cost.requests_known == 3
    assert cost.per_1k_output_tok == pytest.approx(0.0175)
    assert cost.per_session == pytest.approx(0.007)
    assert (cost.sessions, cost.sessions_known) == (2, 1)


def test_both_figures_are_held_against_each_other_on_the_same_attempts() -> None:
    """Priced 0.002 each; stated 0.003 for the first and nothing for the second."""
    records = [make_record(seq=0, usage=used(1_000, 100, 0.003)), make_record(seq=1, usage=used(1_000, 100))]
    cost = cost_of(records, Price(input=1, output=10))
    assert cost.both_priced == pytest.approx(0.002)
    assert (cost.both_stated, cost.attempts_both) == (0.003, 1)
    assert cost.differs
    assert not cost_of(records, Price(input=2, output=10)).differs
    assert not cost_of(records[1:], Price(input=1, output=10)).differs


def test_without_a_price_what_is_stated_counts() -> None:
    """And without either nothing is known."""
    cost = cost_of([make_record(usage=used(10, 100, 0.5))], None)
    assert (cost.by, cost.priced, cost.per_request, cost.per_1k_output_tok) == ("gateway", None, 0.5, 5.0)
    unknown = cost_of([make_record()], None)
    assert (unknown.by, unknown.known, unknown.per_request, unknown.failed) == (None, None, None, None)


# --- in the frames


def test_a_requests_row_has_the_cost_of_all_its_attempts() -> None:
    """0.002 + 0.003; of the other one attempt is unknown, so the sum is. Text by the attempt: 0.003 for 200."""
    header = make_header({"model": "alpha", "alias": "alpha", "price": {"input": 1, "output": 10}})
    headers = {"x-litellm-response-cost": "0.25"}
    records = [
        make_record(seq=0, usage=used(1_000, 100), headers=headers),
        make_record(seq=0, attempt=2, usage=used(1_000, 200), headers=headers),
        make_record(seq=1, usage=None),
        make_record(seq=1, attempt=2, usage=used(1_000, 100)),
    ]
    attempts, requests = attempts_frame(records, header), requests_frame(records, header)
    assert attempts["cost_usd"].tolist()[:2] == pytest.approx([0.002, 0.003])
    assert attempts["cost_usd"].isna().tolist() == [False, False, True, False]
    assert attempts["cost_usd_per_1k_output_tok"].tolist()[1] == pytest.approx(0.015)
    assert requests["cost_usd"][0] == pytest.approx(0.005)
    assert requests["cost_stated_usd"][0] == 0.5
    assert requests[["cost_usd", "cost_stated_usd"]].isna().loc[1].all()


@pytest.mark.parametrize("text", ["1e308", "1_000", "\uff11\uff12", "inf", "-1", "0x10", "9" * 30, ""])
def test_a_header_that_states_no_amount_says_nothing(text: str) -> None:
    """Not even what Python would read as a number: two of 1e308 would make an infinite sum."""
    assert stated_usd(make_record(headers={"x-litellm-response-cost": text})) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0019999, "0.002"), (0.99999, "1.00"), (0.0001, "0.0001"), (4e-11, "0.00000000004"), (5e-324, "4.94e-324")],
)
def test_amounts_are_rounded_not_cut(value: float, shown: str) -> None:
    """Cut ones would all be told as less than they are, and the smallest as nothing."""
    assert usd(value) == shown

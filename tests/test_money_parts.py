"""What a gateway adds and what the money bought, in words, over made runs whose numbers are in the comments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streambench.parts import Part
from streambench.parts.gateways import gateways
from streambench.parts.money import money
from streambench.records import AttemptRecord, Failure, Ticket, Usage
from streambench.results import Run
from streambench.testing import make_end, make_header, make_record

PRICE = {"input": 1, "output": 10}


def record(model: str, seq: int, ttft: float = 100, gap: float = 20, **changes: Any) -> AttemptRecord:
    """10 tokens in and 3 out, in three chunks; `seq` is its prompt's number."""
    of_its_own = 100 * ord(model[0]) + seq
    ticket = Ticket(seq=of_its_own, gateway="g", model=model, prompt_id=f"p{seq:02}", repeat=0, block=seq)
    at = (ttft - 10, ttft, ttft + gap, ttft + 2 * gap, ttft + 2 * gap + 1)
    return make_record(seq=seq, model=model, ticket=ticket, at_ms=at, **changes)


def run_of(records: list[AttemptRecord], *models: dict[str, Any]) -> Run:
    return Run(Path("run"), make_header(*models), tuple(records), make_end(), ())


def entry(alias: str, gateway: str, model: str = "m", **keys: Any) -> dict[str, Any]:
    return {"model": model, "alias": alias, "gateway": gateway, "params": {}, **keys}


def answers(parts: Any) -> dict[str, str]:
    found: list[Part] = list(parts)
    assert len({part.question for part in found}) == len(found)
    return {part.question: part.answer for part in found}


# --- gateways


def test_a_gateway_that_fails_the_dear_prompts_is_not_cheaper() -> None:
    """10 tokens in, or 1,000 of every other prompt, which the hub does not answer: 8e-5 USD either way."""
    dear = Usage(input=1000, output=3)
    models = entry("a", "direct", price=PRICE), entry("b", "hub", price=PRICE)
    direct = [record("a", seq, 100, usage=dear) if seq % 2 else record("a", seq, 100) for seq in range(24)]
    through = [record("b", seq, 100) for seq in range(0, 24, 2)]
    broken = [record("b", seq, finish_reason=None, failure=Failure("disconnected")) for seq in range(1, 24, 2)]
    (answer,) = answers(gateways(run_of([*direct, *through, *broken], *models), {"a": "a", "b": "b"})).values()
    assert "answered both ways took 0.00004 USD through hub and 0.00004 USD direct." in answer


def two_ways(extra_ms: float, failed: int = 0) -> list[AttemptRecord]:
    """Twelve prompts both ways; every other one takes 2 ms more, directly and not."""
    direct = [record("a", seq, 100 + seq) for seq in range(12)]
    through = [record("b", seq, 100 + seq + extra_ms + seq % 2 * 2) for seq in range(12)]
    broken = [record("b", seq, finish_reason=None, failure=Failure("disconnected")) for seq in range(failed)]
    return [*direct, *through[failed:], *broken]


def test_what_a_gateway_adds_is_told_with_its_interval() -> None:
    """38 or 40 ms more on each of twelve prompts."""
    models = entry("a", "direct", price=PRICE), entry("b", "hub", price={"input": 2, "output": 20})
    told = answers(gateways(run_of(two_ways(38), *models), {"a": "a", "b": "b"}))
    (answer,) = told.values()
    assert list(told) == ["Gateways, m: through hub against direct"]
    assert answer.startswith("Through hub m starts 39")
    assert "later than direct (95 % interval 38" in answer
    assert "12 pairs on 12 prompts" in answer
    assert "No request failed either way." in answer
    assert (
        "A request that was answered both ways took 0.00008 USD through hub and 0.00004 USD direct." in answer
    )  # (10 x 2 + 3 x 20) / 1e6


def test_the_first_gateway_is_the_base_where_none_is_called_direct() -> None:
    """A gateway that is quicker is told as that."""
    models = entry("a", "one"), entry("b", "two")
    (answer,) = answers(gateways(run_of(two_ways(-38), *models), {"a": "a", "b": "b"})).values()
    assert answer.startswith("Through two m starts 37")
    assert "sooner than through one" in answer
    assert "A request that" not in answer


def test_no_difference_is_told_as_none_shown() -> None:
    """1 ms to and fro."""
    records = [record("a", seq) for seq in range(12)] + [record("b", seq, 99 + seq % 2 * 2) for seq in range(12)]
    (answer,) = answers(
        gateways(run_of(records, entry("a", "direct"), entry("b", "hub")), {"a": "a", "b": "b"})
    ).values()
    assert answer.startswith("No difference can be shown in when it starts (95 % interval of the difference: ")


def test_too_few_prompts_are_told_and_failures_counted() -> None:
    """Nine answers both ways, and it takes ten; three of twelve broke."""
    models = entry("a", "direct"), entry("b", "hub")
    (answer,) = answers(gateways(run_of(two_ways(38, failed=3), *models), {"a": "a", "b": "b"})).values()
    assert answer.startswith(
        "When it starts cannot be compared: 9 prompts have an answer in both ways, and it takes 10"
    )
    assert "Failed: 3 of 12 through hub and 0 of 12 direct; that they differ may be chance." in answer


def test_models_are_tied_by_name_or_by_hand() -> None:
    """Other params are another question; `compare_as` ties what is spelled unlike; one gateway is no comparison."""
    hot = {"temperature": 1}
    names = {alias: alias for alias in "abcdef"}
    models = (
        entry("a", "direct", "m"),
        entry("b", "hub", "vendor/m"),
        entry("c", "hub", "m", params=hot),
        entry("d", "direct", "n", compare_as="N"),
        entry("e", "hub", "vendor/n", compare_as="N"),
        entry("f", "direct", "m"),
    )
    records = [record(alias, seq) for alias in names for seq in range(2)]
    assert list(answers(gateways(run_of(records, *models), names))) == ["Gateways, N: through hub against direct"]


def test_most_runs_have_no_gateways_to_compare() -> None:
    """Silent."""
    run = run_of([record("a", 0)], entry("a", "hub"), entry("b", "hub", "n"))
    assert list(gateways(run, {"a": "a", "b": "b"})) == []


# --- money


def test_the_cheapest_text_and_what_speed_costs() -> None:
    """At 1 and 10 a request is 40e-6 for 3 tokens: 0.0133 per 1,000. beta: three times as dear, twice as fast. gamma:
    dearer than alpha and no faster."""
    models = [
        entry("alpha", "g", price=PRICE),
        entry("beta", "g", price={"input": 3, "output": 30}),
        entry("gamma", "g", price={"input": 2, "output": 20}),
    ]
    records = [
        record(name, seq, gap=gap) for name, gap in (("alpha", 20), ("beta", 10), ("gamma", 20)) for seq in (0, 1)
    ]
    told = answers(money(run_of(records, *models), {"alpha": "alpha", "beta": "beta", "gamma": "gamma"}))
    assert told == {
        "Cost of text": "1,000 output tokens took 0.0133 USD of alpha, the least, and 0.04 USD of beta, 3.0 times as "
        "much; their input is included.",
        "Cost against speed": "alpha is the cheapest for its text; in the median beta writes 2.0 times as fast for 3.0 "
        "times the money. Another one costs more than one that is about as fast.",
    }


def test_failures_disagreements_and_unknown_costs_are_told() -> None:
    """Priced 40e-6 each. One failed; two state 80e-6; one has no usage."""
    stated = Usage(input=10, output=3, cost_usd=0.00008, source="gateway")
    records = [
        record("alpha", 0, usage=stated),
        record("alpha", 1, usage=stated, finish_reason=None, failure=Failure("disconnected")),
        record("alpha", 2, usage=None),
    ]
    told = answers(money(run_of(records, entry("alpha", "g", price=PRICE)), {"alpha": "alpha"}))
    assert told["Paid for failures"] == "Attempts that failed are paid for too: 0.00004 of 0.00008 USD of alpha."
    assert told["Price and gateway"].startswith(
        "Of alpha the gateway states 0.00016 USD where the config's price gives 0.00008 (2.00 times), over the 2 "
    )
    assert told["Unknown costs"] == (
        "Of alpha 1 of 3 attempts have no known cost, so its sum is the least that it can be."
    )


def test_a_conversation_has_a_cost() -> None:
    """Two turns of 40e-6."""
    ticket = Ticket(seq=0, gateway="g", model="alpha", prompt_id="p", repeat=0, block=0, session_id="s", turn=0)
    records = [make_record(seq=seq, model="alpha", ticket=ticket) for seq in range(2)]
    told = answers(money(run_of(records, entry("alpha", "g", price=PRICE)), {"alpha": "alpha"}))
    assert told["Cost of a conversation"] == "A conversation, as far as it came, took 0.00008 USD of alpha on average."


def test_where_nobody_knows_a_cost_nothing_is_said() -> None:
    """No price, and none stated."""
    assert list(money(run_of([record("alpha", 0)], entry("alpha", "g")), {"alpha": "alpha"})) == []

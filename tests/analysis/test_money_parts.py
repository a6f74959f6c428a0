"""Insights on gateways and on cost, over runs whose numbers are in the comments.

One test of each kind keeps the words; the others read the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sentences import numbers_in, words_of

from streambench.analysis.insights.costs import money
from streambench.analysis.insights.gateway_overhead import gateways
from streambench.analysis.insights.insight import Insight
from streambench.records.schema import AttemptRecord, Failure, Ticket, Usage
from streambench.testing import make_header, make_record, run_of

PRICE = {"input": 1, "output": 10}


def record(model: str, seq: int, ttft: float = 100, gap: float = 20, **changes: Any) -> AttemptRecord:
    """10 tokens in and 3 out, in three chunks; `seq` is its prompt's number."""
    of_its_own = 100 * ord(model[0]) + seq
    ticket = Ticket(seq=of_its_own, gateway="g", model=model, prompt_id=f"p{seq:02}", repeat=0, block=seq)
    at = (ttft - 10, ttft, ttft + gap, ttft + 2 * gap, ttft + 2 * gap + 1)
    return make_record(seq=seq, model=model, ticket=ticket, at_ms=at, **changes)


def entry(alias: str, gateway: str, model: str = "m", **keys: Any) -> dict[str, Any]:
    return {"model": model, "alias": alias, "gateway": gateway, "params": {}, **keys}


def by_question(insights: Iterable[Insight]) -> dict[str, str]:
    """Each question with its answer; none is asked twice."""
    found = list(insights)
    assert len({insight.question for insight in found}) == len(found)
    return {insight.question: insight.answer for insight in found}


def gateway_answers(records: Sequence[AttemptRecord], *models: dict[str, Any]) -> dict[str, str]:
    names = {model["alias"]: model["alias"] for model in models}
    return by_question(gateways(run_of(records, make_header(*models)), names))


def gateway_answer(records: Sequence[AttemptRecord], *models: dict[str, Any]) -> str:
    (found,) = gateway_answers(records, *models).values()
    return found


def cost_answers(records: Sequence[AttemptRecord], *models: dict[str, Any]) -> dict[str, str]:
    names = {model["alias"]: model["alias"] for model in models}
    return by_question(money(run_of(records, make_header(*models)), names))


# --- gateways


def test_a_gateway_that_fails_the_dear_prompts_is_not_cheaper() -> None:
    """10 tokens in, or 1,000 of every other prompt, which the hub does not answer: (10 + 3 x 10) / 1e6 either way."""
    dear = Usage(input=1000, output=3)
    models = entry("a", "direct", price=PRICE), entry("b", "hub", price=PRICE)
    direct = [record("a", seq, 100, usage=dear) if seq % 2 else record("a", seq, 100) for seq in range(24)]
    through = [record("b", seq, 100) for seq in range(0, 24, 2)]
    broken = [record("b", seq, finish_reason=None, failure=Failure("disconnected")) for seq in range(1, 24, 2)]
    answer = gateway_answer([*direct, *through, *broken], *models)
    assert numbers_in(answer)[-2:] == [0.00004, 0.00004]


def two_ways(extra_ms: float, failed: int = 0) -> list[AttemptRecord]:
    """Twelve prompts both ways; every other one takes 2 ms more, directly and not."""
    direct = [record("a", seq, 100 + seq) for seq in range(12)]
    through = [record("b", seq, 100 + seq + extra_ms + seq % 2 * 2) for seq in range(12)]
    broken = [record("b", seq, finish_reason=None, failure=Failure("disconnected")) for seq in range(failed)]
    return [*direct, *through[failed:], *broken]


def test_what_a_gateway_adds_is_told_with_its_interval() -> None:
    """38 or 40 ms more on each of twelve prompts; (10 x 2 + 3 x 20) / 1e6 USD against half of it. In words."""
    models = entry("a", "direct", price=PRICE), entry("b", "hub", price={"input": 2, "output": 20})
    assert gateway_answers(two_ways(38), *models) == {
        "Gateways, m: through hub against direct": "Through hub, m starts 39.0 ms later than direct (95 % interval "
        "38.0 to 40.0; 12 pairs on 12 prompts). Through hub, m ends 39.0 ms later than direct (95 % interval 38.0 to "
        "40.0; 12 pairs on 12 prompts). No request failed either way. A request that was answered both ways cost "
        "0.00008 USD through hub and 0.00004 USD direct on average."
    }


def test_the_first_gateway_is_the_base_where_none_is_called_direct() -> None:
    """The question names the base last."""
    assert list(gateway_answers(two_ways(-38), entry("a", "one"), entry("b", "two"))) == [
        "Gateways, m: through two against through one"
    ]


def test_a_quicker_gateway_is_told_in_other_words_than_a_slower_one() -> None:
    """36 or 38 ms less (median 37, of the start and of the end); without a price nothing on cost."""
    models = entry("a", "one"), entry("b", "two")
    quicker, slower = (gateway_answer(two_ways(extra_ms), *models) for extra_ms in (-38, 38))
    assert numbers_in(quicker) == [37, 36, 38, 12, 12] * 2
    assert words_of(quicker) != words_of(slower)


def test_no_difference_is_told_as_none_shown() -> None:
    """1 ms to and fro: an interval on both sides of 0, of the start and of the end."""
    records = [record("a", seq) for seq in range(12)] + [record("b", seq, 99 + seq % 2 * 2) for seq in range(12)]
    assert numbers_in(gateway_answer(records, entry("a", "direct"), entry("b", "hub"))) == [-1, 1] * 2


def test_too_few_prompts_are_told_and_failures_counted() -> None:
    """Nine answers both ways, and it takes ten; three of twelve broke."""
    answer = gateway_answer(two_ways(38, failed=3), entry("a", "direct"), entry("b", "hub"))
    assert numbers_in(answer) == [9, 10] * 2 + [3, 12, 0, 12]


def test_models_are_tied_by_name_or_by_hand() -> None:
    """Other params are another question; `compare_as` ties what is spelled unlike; one gateway is no comparison."""
    hot = {"temperature": 1}
    models = (
        entry("a", "direct", "m"),
        entry("b", "hub", "vendor/m"),
        entry("c", "hub", "m", params=hot),
        entry("d", "direct", "n", compare_as="N"),
        entry("e", "hub", "vendor/n", compare_as="N"),
        entry("f", "direct", "m"),
    )
    records = [record(alias, seq) for alias in "abcdef" for seq in range(2)]
    assert list(gateway_answers(records, *models)) == ["Gateways, N: through hub against direct"]


def test_most_runs_have_no_gateways_to_compare() -> None:
    """Silent."""
    assert gateway_answers([record("a", 0)], entry("a", "hub"), entry("b", "hub", "n")) == {}


# --- money


def priced(alias: str) -> dict[str, Any]:
    return entry(alias, "g", price=PRICE)


def test_the_cheapest_text_and_what_speed_costs() -> None:
    """At 1 and 10 a request is 40e-6 for 3 tokens: 0.0133 per 1,000. beta: three times as dear, twice as fast. gamma:
    dearer than alpha and no faster. In words."""
    models = [
        entry("alpha", "g", price=PRICE),
        entry("beta", "g", price={"input": 3, "output": 30}),
        entry("gamma", "g", price={"input": 2, "output": 20}),
    ]
    records = [
        record(name, seq, gap=gap) for name, gap in (("alpha", 20), ("beta", 10), ("gamma", 20)) for seq in (0, 1)
    ]
    assert cost_answers(records, *models) == {
        "Cost of output tokens": "1,000 output tokens cost 0.0133 USD with alpha (the lowest) and 0.04 USD with beta, "
        "3.0 times as much; input included.",
        "Cost against speed": "alpha has the cheapest output tokens; by median speed, beta is 2.0 times as fast for "
        "3.0 times the cost. One other model costs more than a model that is at least about as fast.",
    }


def test_failures_disagreements_and_unknown_costs_are_told() -> None:
    """Priced 40e-6 each. One failed; two state 80e-6; one has no usage."""
    stated = Usage(input=10, output=3, cost_usd=0.00008, source="gateway")
    records = [
        record("alpha", 0, usage=stated),
        record("alpha", 1, usage=stated, finish_reason=None, failure=Failure("disconnected")),
        record("alpha", 2, usage=None),
    ]
    found = {question: numbers_in(answer) for question, answer in cost_answers(records, priced("alpha")).items()}
    assert found["Cost of failures"] == [0.00004, 0.00008]
    assert found["Config's price and gateway's cost"] == [0.00016, 0.00008, 2, 2]  # twice as much, over two attempts
    assert found["Unknown costs"] == [1, 3]


def test_a_conversation_has_a_cost() -> None:
    """Two turns of 40e-6."""
    ticket = Ticket(seq=0, gateway="g", model="alpha", prompt_id="p", repeat=0, block=0, session_id="s", turn=0)
    records = [make_record(seq=seq, model="alpha", ticket=ticket) for seq in range(2)]
    assert numbers_in(cost_answers(records, priced("alpha"))["Cost of a conversation"]) == [0.00008]


def test_where_nobody_knows_a_cost_nothing_is_said() -> None:
    """No price, and none stated."""
    assert cost_answers([record("alpha", 0)], entry("alpha", "g")) == {}

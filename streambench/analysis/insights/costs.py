"""Insights on cost: the cheapest model per token, cost against speed, cost of failures, price against stated cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from streambench.analysis.costs import Cost, cost_of
from streambench.analysis.insights.insight import Insight
from streambench.metrics.cost import price_in, times_as_much, usd
from streambench.text import TOLD

if TYPE_CHECKING:
    from streambench.analysis.run import Run
    from streambench.records.schema import AttemptRecord

FASTER = 1.05
"""A more expensive model counts as faster only if its median speed is more than this factor higher."""


def money(run: Run, names: Mapping[str, str]) -> Iterator[Insight]:
    """Yields the insights on cost; none if no cost is known."""
    bills = {names[model]: bill for model, bill in _bills(run, names).items() if bill.by is not None}
    if not bills:
        return
    known = {name: bill.per_1k_output_tok for name, bill in bills.items() if bill.per_1k_output_tok is not None}
    if known:
        yield Insight("Cost of output tokens", _cheapest(known))
    if front := _cost_against_speed(run, names, known):
        yield Insight("Cost against speed", front)
    sessions = {name: bill for name, bill in bills.items() if bill.per_session is not None}
    if sessions:
        yield Insight("Cost of a conversation", _sessions(sessions))
    failed = {name: bill for name, bill in bills.items() if bill.failed}
    if failed:
        yield Insight("Cost of failures", _failures(failed))
    if lines := list(_disagreements(bills)):
        yield Insight("Config's price and gateway's cost", " ".join(lines[:TOLD]))
    if lines := list(_unknown(bills)):
        yield Insight("Unknown costs", " ".join(lines[:TOLD]))


def _bills(run: Run, names: Mapping[str, str]) -> dict[str, Cost]:
    groups: dict[str, list[AttemptRecord]] = {model: [] for model in names}
    for record in run.records:
        if record.ticket.phase == "measure" and record.ticket.model in groups:
            groups[record.ticket.model].append(record)
    prices = {model: price_in(run.header.config, model) for model in groups}
    return {model: cost_of(records, prices[model], run.facts) for model, records in groups.items()}


def _cheapest(known: Mapping[str, float]) -> str:
    order = sorted(known, key=lambda name: (known[name], name))
    first, last = order[0], order[-1]
    alone = f"1,000 output tokens cost {usd(known[first])} USD with {first}"
    if len(order) == 1:
        return f"{alone}, input included."
    times = times_as_much(known[first], known[last])
    return f"{alone} (the lowest) and {usd(known[last])} USD with {last}{times}; input included."


def _cost_against_speed(run: Run, names: Mapping[str, str], costs: Mapping[str, float]) -> str:
    """Returns a sentence on the Pareto front of cost and speed; "" if fewer than two models have both figures.

    A model is on the front if it is more than FASTER times as fast as every cheaper model on the front.
    """
    rows = run.requests
    ok = rows[(rows["outcome"] == "ok") & (rows["phase"] == "measure")]
    medians = ok.groupby("model", observed=True)["output_tok_s"].median().dropna()
    speeds = {names[str(model)]: float(speed) for model, speed in medians.items() if str(model) in names}
    both = sorted((name for name in costs if name in speeds), key=lambda name: (costs[name], -speeds[name]))
    if len(both) < 2:
        return ""
    front = both[:1]
    for name in both[1:]:
        if speeds[name] > FASTER * speeds[front[-1]]:
            front.append(name)
    cheapest = front[0]
    if len(front) == 1:
        return f"{cheapest} has the cheapest output tokens, and no other model's median speed is over 5 % higher."
    dearer = [
        f"{name} is {speeds[name] / speeds[cheapest]:.1f} times as fast for {_times(costs[name], costs[cheapest])}"
        for name in front[1 : TOLD + 1]
    ]
    beaten = len(both) - len(front)
    others = "One other model costs" if beaten == 1 else f"{beaten} other models cost"
    rest = f" {others} more than a model that is at least about as fast." if beaten else ""
    return f"{cheapest} has the cheapest output tokens; by median speed, {'; '.join(dearer)}.{rest}"


def _times(cost: float, cheapest: float) -> str:
    return f"{cost / cheapest:.1f} times the cost" if cheapest > 0 else f"{usd(cost)} USD more per 1,000 output tokens"


def _sessions(bills: Mapping[str, Cost]) -> str:
    order = sorted(bills, key=lambda name: bills[name].per_session or 0.0)
    parts = [f"{usd(bills[name].per_session)} USD with {name}" for name in order[:TOLD]]
    return f"A conversation, including those that ended early, cost {', '.join(parts)} on average."


def _failures(bills: Mapping[str, Cost]) -> str:
    order = sorted(bills, key=lambda name: -(bills[name].failed or 0.0))
    parts = [f"{usd(bills[name].failed)} of {usd(bills[name].known)} USD with {name}" for name in order[:TOLD]]
    return f"Failed attempts cost {', '.join(parts)}."


def _disagreements(bills: Mapping[str, Cost]) -> Iterator[str]:
    for name, bill in bills.items():
        if bill.differs and bill.both_priced is not None and bill.both_stated is not None:
            by = f" ({bill.both_stated / bill.both_priced:.2f} times)" if bill.both_priced > 0 else ""
            yield (
                f"For {name} the gateway states {usd(bill.both_stated)} USD, but the config's price gives "
                f"{usd(bill.both_priced)} USD{by}, over the {bill.attempts_both} attempts that have both: "
                "check the price, and what the gateway counts."
            )


def _unknown(bills: Mapping[str, Cost]) -> Iterator[str]:
    for name, bill in bills.items():
        missing = bill.attempts_unpriced if bill.by == "price" else bill.attempts - bill.attempts_stated
        if missing:
            yield f"{missing} of {bill.attempts} attempts of {name} have no known cost, so its total is a lower bound."

"""What the money bought: the cheapest text, cost against speed, what failures took, and where gateways disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from streambench.bills import Cost, cost_of
from streambench.money import price_in, times_as_much, usd
from streambench.parts.part import Part
from streambench.words import TOLD

if TYPE_CHECKING:
    from streambench.records import AttemptRecord
    from streambench.results import Run

FASTER = 1.05
"""Medians that lie closer are no reason to pay more."""


def money(run: Run, names: Mapping[str, str]) -> Iterator[Part]:
    """Silent in a run whose costs nobody knows."""
    bills = {names[model]: bill for model, bill in _bills(run, names).items() if bill.by is not None}
    if not bills:
        return
    known = {name: bill.per_1k_output_tok for name, bill in bills.items() if bill.per_1k_output_tok is not None}
    if known:
        yield Part("Cost of text", _cheapest(known))
    if front := _cost_against_speed(run, names, known):
        yield Part("Cost against speed", front)
    sessions = {name: bill for name, bill in bills.items() if bill.per_session is not None}
    if sessions:
        yield Part("Cost of a conversation", _sessions(sessions))
    failed = {name: bill for name, bill in bills.items() if bill.failed}
    if failed:
        yield Part("Paid for failures", _failures(failed))
    if told := list(_disagreements(bills)):
        yield Part("Price and gateway", " ".join(told[:TOLD]))
    if told := list(_unknown(bills)):
        yield Part("Unknown costs", " ".join(told[:TOLD]))


def _bills(run: Run, names: Mapping[str, str]) -> dict[str, Cost]:
    groups: dict[str, list[AttemptRecord]] = {model: [] for model in names}
    for record in run.records:
        if record.ticket.phase == "measure" and record.ticket.model in groups:
            groups[record.ticket.model].append(record)
    return {model: cost_of(records, price_in(run.header.config, model)) for model, records in groups.items()}


def _cheapest(known: Mapping[str, float]) -> str:
    order = sorted(known, key=lambda name: (known[name], name))
    first, last = order[0], order[-1]
    alone = f"1,000 output tokens took {usd(known[first])} USD of {first}"
    if len(order) == 1:
        return f"{alone}, their input included."
    times = times_as_much(known[first], known[last])
    return f"{alone}, the least, and {usd(known[last])} USD of {last}{times}; their input is included."


def _cost_against_speed(run: Run, names: Mapping[str, str], costs: Mapping[str, float]) -> str:
    """Who is beaten in neither: of all others each costs more for the text or writes it more slowly."""
    rows = run.requests
    fine = rows[(rows["outcome"] == "ok") & (rows["phase"] == "measure")]
    medians = fine.groupby("model", observed=True)["output_tok_s"].median().dropna()
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
        return f"{cheapest} is the cheapest for its text, and no other writes over 5 % faster in the median."
    dearer = [
        f"{name} writes {speeds[name] / speeds[cheapest]:.1f} times as fast for {_times(costs[name], costs[cheapest])}"
        for name in front[1 : TOLD + 1]
    ]
    beaten = len(both) - len(front)
    others = "Another one costs" if beaten == 1 else f"{beaten} others cost"
    rest = f" {others} more than one that is about as fast." if beaten else ""
    return f"{cheapest} is the cheapest for its text; in the median {'; '.join(dearer)}.{rest}"


def _times(cost: float, cheapest: float) -> str:
    return f"{cost / cheapest:.1f} times the money" if cheapest > 0 else f"{usd(cost)} USD more per 1,000 output tokens"


def _sessions(bills: Mapping[str, Cost]) -> str:
    order = sorted(bills, key=lambda name: bills[name].per_session or 0.0)
    told = [f"{usd(bills[name].per_session)} USD of {name}" for name in order[:TOLD]]
    return f"A conversation, as far as it came, took {', '.join(told)} on average."


def _failures(bills: Mapping[str, Cost]) -> str:
    order = sorted(bills, key=lambda name: -(bills[name].failed or 0.0))
    told = [f"{usd(bills[name].failed)} of {usd(bills[name].known)} USD of {name}" for name in order[:TOLD]]
    return f"Attempts that failed are paid for too: {', '.join(told)}."


def _disagreements(bills: Mapping[str, Cost]) -> Iterator[str]:
    for name, bill in bills.items():
        if bill.differs and bill.both_priced is not None and bill.both_stated is not None:
            by = f" ({bill.both_stated / bill.both_priced:.2f} times)" if bill.both_priced > 0 else ""
            yield (
                f"Of {name} the gateway states {usd(bill.both_stated)} USD where the config's price gives "
                f"{usd(bill.both_priced)}{by}, over the {bill.attempts_both} attempts that have both: "
                "check the price, and what the gateway counts."
            )


def _unknown(bills: Mapping[str, Cost]) -> Iterator[str]:
    for name, bill in bills.items():
        missing = bill.attempts_unpriced if bill.by == "price" else bill.attempts - bill.attempts_stated
        if missing:
            told = f"{missing} of {bill.attempts} attempts have no known cost"
            yield f"Of {name} {told}, so its sum is the least that it can be."

"""What a gateway adds: one model through several gateways, or directly and through one, paired by prompt and repeat."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from streambench import stats
from streambench.bills import Cost, cost_of
from streambench.model_names import alias_of
from streambench.money import price_in, usd
from streambench.parts.part import Part
from streambench.stats import Comparison
from streambench.words import of_count

if TYPE_CHECKING:
    from streambench.frames import Frame
    from streambench.records import AttemptRecord
    from streambench.results import Run

_TOPIC = "Gateways"
DIRECT = "direct"
"""A gateway of this name is none: it is what the others are held against."""
MOST = 24
"""Comparisons that are told, at most."""
_Key = tuple[str, int, int]
"""A prompt, its repeat, its turn."""
_LATER = {"ttft_ms": "starts", "e2e_ms": "ends"}
_ONE_MODEL = ("model", "params", "api", "stream")


@dataclass(frozen=True, slots=True)
class _Lane:
    """One of the ways to a model. `way` is inert: `direct`, or `through hub`."""

    alias: str
    way: str
    rows: Frame
    """Its measured requests."""

    @property
    def fine(self) -> Frame:
        keys = [key for key in ("run_id", "prompt_id", "repeat", "turn") if key in self.rows]
        return self.rows[self.rows["outcome"] == "ok"].drop_duplicates(keys)

    @property
    def answered(self) -> set[_Key]:
        rows = self.fine[["prompt_id", "repeat", "turn"]].itertuples(index=False, name=None)
        return {(str(prompt_id), int(str(repeat)), int(str(turn))) for prompt_id, repeat, turn in rows}

    @property
    def asked(self) -> int:
        return int((self.rows["outcome"] != "cancelled").sum())

    @property
    def failed(self) -> int:
        return self.asked - int((self.rows["outcome"] == "ok").sum())


@dataclass(frozen=True, slots=True)
class _Two:
    """A model, the way to it that the other is held against, and the other. `lag_ms` is what the client cannot tell."""

    model: str
    base: _Lane
    other: _Lane
    lag_ms: float | None


def gateways(run: Run, names: Mapping[str, str]) -> Iterator[Part]:
    """One part for each model and each further gateway that it was asked through."""
    twos = _twos(run, names, run.lag_ms())
    for two in islice(twos, MOST):
        question = f"{_TOPIC}, {two.model}: {two.other.way} against {two.base.way}"
        yield Part(question, " ".join(_told(run, two)), topic=_TOPIC)
    if more := sum(1 for _ in twos):
        untold = f"{of_count(more, 'comparison')} more, which this does not tell."
        yield Part(f"{_TOPIC}, the others", untold, topic=_TOPIC)


def _twos(run: Run, names: Mapping[str, str], lag_ms: float | None) -> Iterator[_Two]:
    entries = [entry for entry in run.header.config.get("models", ()) if alias_of(entry) in names]
    for model, group in _groups(entries):
        base, *others = sorted((_lane(run, entry) for entry in group), key=lambda lane: lane.way != DIRECT)
        for other in others:
            yield _Two(model, base, other, lag_ms)


def _groups(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """The entries that are one model on more than one gateway, the first for each gateway, and what it is called."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for entry in entries:
        tied = entry.get("compare_as")
        alike = json.dumps([entry.get(part) for part in _ONE_MODEL], sort_keys=True, default=str)
        found.setdefault(f"as {tied}" if tied else alike, {}).setdefault(str(entry.get("gateway")), entry)
    for group in (list(lanes.values()) for lanes in found.values() if len(lanes) > 1):
        yield str(group[0].get("compare_as") or group[0].get("model")), group


def _lane(run: Run, entry: Mapping[str, Any]) -> _Lane:
    rows, gateway = run.requests, str(entry.get("gateway"))
    mine = rows[(rows["model"] == alias_of(entry)) & (rows["phase"] == "measure")]
    return _Lane(alias_of(entry), DIRECT if gateway == DIRECT else f"through {gateway}", mine)


def _told(run: Run, two: _Two) -> Iterator[str]:
    found = [
        stats.compare(stats.pairs_of(two.other.fine, two.base.fine, column, (two.other.way, two.base.way)), column)
        for column in _LATER
    ]
    yield from (f"{_later(each, two)}." for each in stats.corrected(found))
    yield _failures(two)
    if cost := _cost(run, two):
        yield cost


def _later(each: Comparison, two: _Two) -> str:
    """`through hub` less `direct`, in the words of who comes later."""
    difference, does = each.difference, _LATER[each.metric]
    low, high, value = difference.low, difference.high, difference.value
    if value is None or low is None or high is None:
        have = "has" if each.prompts == 1 else "have"
        told = f"{of_count(each.prompts, 'prompt')} {have} an answer in both ways, and it takes {stats.MIN_PROMPTS}"
        return f"When it {does} cannot be compared: {told}"
    places = stats.digits(value, low, high, two.lag_ms)
    if each.winner is None:
        between = stats.between(low, high, places)
        return f"No difference can be shown in when it {does} (95 % interval of the difference: {between} ms)"
    ends = sorted(abs(end) for end in (low, high))
    how = "later" if value > 0 else "sooner"
    size, interval = stats.rounded(abs(value), places), stats.between(ends[0], ends[1], places)
    return (
        f"{two.other.way[0].upper()}{two.other.way[1:]} {two.model} {does} {size} ms {how} than {two.base.way} "
        f"(95 % interval {interval}; {each.pairs} pairs on {each.prompts} prompts)"
    )


def _failures(two: _Two) -> str:
    lanes = (two.other, two.base)
    if not any(lane.failed for lane in lanes):
        return "No request failed either way."
    told = " and ".join(f"{lane.failed} of {lane.asked} {lane.way}" for lane in lanes)
    uneven = stats.uneven_failures({lane.way: (lane.failed, lane.asked) for lane in lanes})
    return f"Failed: {told}; {'that is no chance' if uneven else 'that they differ may be chance'}."


def _cost(run: Run, two: _Two) -> str:
    """What a request took each way, nothing where neither is known. Of those alone that were answered both ways: who
    fails the dear ones is not cheaper.
    """
    lanes = (two.other, two.base)
    bills = [_bills(run, lane, two.other.answered & two.base.answered) for lane in lanes]
    if not any(bills):
        return ""
    both = set.intersection(*map(set, bills)) if all(bills) else set()
    told = [_told_cost(lane, bill, both or set(bill)) for lane, bill in zip(lanes, bills, strict=True)]
    return f"A request that was answered both ways took {' and '.join(told)}."


def _told_cost(lane: _Lane, bill: Mapping[_Key, Cost], keys: Collection[_Key]) -> str:
    costs = [bill[key] for key in keys if key in bill]
    if not costs:
        return f"an unknown amount {lane.way}"
    mean = sum(cost.per_request or 0.0 for cost in costs) / len(costs)
    return f"{usd(mean)} USD {lane.way}{' as stated' if costs[0].by == 'gateway' else ''}"


def _bills(run: Run, lane: _Lane, keys: Collection[_Key]) -> dict[_Key, Cost]:
    """Of each of these requests, with all its attempts, whose cost is known by the figure that is known most widely."""
    groups: dict[_Key, list[AttemptRecord]] = {}
    for one in run.records:
        key = (one.ticket.prompt_id, one.ticket.repeat, one.ticket.turn)
        if one.ticket.model == lane.alias and one.ticket.phase == "measure" and key in keys:
            groups.setdefault(key, []).append(one)
    price = price_in(run.header.config, lane.alias)
    bills = {key: cost_of(group, price) for key, group in groups.items()}
    by = "price" if any(bill.by == "price" for bill in bills.values()) else "gateway"
    return {key: bill for key, bill in bills.items() if bill.by == by and bill.per_request is not None}

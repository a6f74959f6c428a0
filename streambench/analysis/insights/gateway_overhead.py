"""Insights on gateway overhead: a model over several gateways, or direct and over one, paired by prompt and repeat."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from streambench.analysis.costs import Cost, cost_of
from streambench.analysis.insights.insight import Insight
from streambench.analysis.stats import number_format
from streambench.analysis.stats.diagnostics import uneven_failures
from streambench.analysis.stats.number_format import digits, rounded
from streambench.analysis.stats.paired import Comparison, compare, corrected, pairs_of
from streambench.analysis.stats.signed_rank import MIN_PROMPTS
from streambench.metrics.cost import price_in, usd
from streambench.metrics.definitions import METRICS
from streambench.metrics.model_names import alias_of
from streambench.text import counted

if TYPE_CHECKING:
    from streambench.analysis.frames import Frame
    from streambench.analysis.run import Run
    from streambench.records.schema import AttemptRecord

_TOPIC = "Gateways"
DIRECT = "direct"
"""Gateway name that means a direct connection: the baseline of the comparison."""
MOST = 24
"""Largest number of comparisons shown."""
_Key = tuple[str, int, int]
"""(prompt id, repeat, turn)."""
_LATER = {metric.column: metric.phrase.does for metric in METRICS if metric.name in ("ttft", "e2e")}
_ONE_MODEL = ("model", "params", "api", "stream")


@dataclass(frozen=True, slots=True)
class _GatewayRows:
    """The measured requests of one model over one gateway. `way` is safe to print: `direct` or `through hub`."""

    alias: str
    way: str
    rows: Frame
    """Rows of the requests frame."""

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
class _GatewayPair:
    """One model over two gateways: `other` is compared with `base`. `lag_ms` is the client lag (p99)."""

    model: str
    base: _GatewayRows
    other: _GatewayRows
    lag_ms: float | None


def gateways(run: Run, names: Mapping[str, str]) -> Iterator[Insight]:
    """Yields one insight per model and further gateway; comparisons beyond MOST are only counted."""
    twos = _twos(run, names, run.lag_ms())
    for two in islice(twos, MOST):
        question = f"{_TOPIC}, {two.model}: {two.other.way} against {two.base.way}"
        yield Insight(question, " ".join(_sentences(run, two)), topic=_TOPIC)
    if more := sum(1 for _ in twos):
        untold = f"{counted(more, 'more comparison')} not shown."
        yield Insight(f"{_TOPIC}, the others", untold, topic=_TOPIC)


def _twos(run: Run, names: Mapping[str, str], lag_ms: float | None) -> Iterator[_GatewayPair]:
    entries = [entry for entry in run.header.config.get("models", ()) if alias_of(entry) in names]
    for model, group in _groups(entries):
        base, *others = sorted((_lane(run, entry) for entry in group), key=lambda lane: lane.way != DIRECT)
        for other in others:
            yield _GatewayPair(model, base, other, lag_ms)


def _groups(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Yields (name, entries) of each model that the config has on several gateways, with one entry per gateway.

    Entries belong together if their `compare_as` is equal, else if the fields in _ONE_MODEL are.
    """
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for entry in entries:
        tied = entry.get("compare_as")
        alike = json.dumps([entry.get(part) for part in _ONE_MODEL], sort_keys=True, default=str)
        found.setdefault(f"as {tied}" if tied else alike, {}).setdefault(str(entry.get("gateway")), entry)
    for group in (list(lanes.values()) for lanes in found.values() if len(lanes) > 1):
        yield str(group[0].get("compare_as") or group[0].get("model")), group


def _lane(run: Run, entry: Mapping[str, Any]) -> _GatewayRows:
    rows, gateway = run.requests, str(entry.get("gateway"))
    mine = rows[(rows["model"] == alias_of(entry)) & (rows["phase"] == "measure")]
    return _GatewayRows(alias_of(entry), DIRECT if gateway == DIRECT else f"through {gateway}", mine)


def _sentences(run: Run, two: _GatewayPair) -> Iterator[str]:
    found = [
        compare(pairs_of(two.other.fine, two.base.fine, column, (two.other.way, two.base.way)), column)
        for column in _LATER
    ]
    yield from (f"{_later(each, two)}." for each in corrected(found))
    yield _failures(two)
    if cost := _cost(run, two):
        yield cost


def _later(each: Comparison, two: _GatewayPair) -> str:
    """Returns a sentence on one metric: whether, and by how much, `other` is later or earlier than `base`."""
    difference, does = each.difference, _LATER[each.metric]
    low, high, value = difference.low, difference.high, difference.value
    if value is None or low is None or high is None:
        have = "has" if each.prompts == 1 else "have"
        text = f"{counted(each.prompts, 'prompt')} {have} an answer both ways, but {MIN_PROMPTS} are needed"
        return f"When it {does} cannot be compared: {text}"
    places = digits(value, low, high, two.lag_ms)
    if each.winner is None:
        between = number_format.between(low, high, places)
        return f"No significant difference in when it {does} (95 % interval of the difference: {between} ms)"
    ends = sorted(abs(end) for end in (low, high))
    how = "later" if value > 0 else "earlier"
    size, interval = rounded(abs(value), places), number_format.between(ends[0], ends[1], places)
    return (
        f"{two.other.way[0].upper()}{two.other.way[1:]}, {two.model} {does} {size} ms {how} than {two.base.way} "
        f"(95 % interval {interval}; {each.pairs} pairs on {each.prompts} prompts)"
    )


def _failures(two: _GatewayPair) -> str:
    lanes = (two.other, two.base)
    if not any(lane.failed for lane in lanes):
        return "No request failed either way."
    text = " and ".join(f"{lane.failed} of {lane.asked} {lane.way}" for lane in lanes)
    uneven = uneven_failures({lane.way: (lane.failed, lane.asked) for lane in lanes})
    return f"Failed: {text}; the difference {'is significant' if uneven else 'may be chance'}."


def _cost(run: Run, two: _GatewayPair) -> str:
    """Returns a sentence on the mean cost per request over each gateway, or "" if both are unknown.

    Only requests that both gateways answered count, so that failing on the expensive ones does not look cheap.
    """
    lanes = (two.other, two.base)
    bills = [_bills(run, lane, two.other.answered & two.base.answered) for lane in lanes]
    if not any(bills):
        return ""
    both = set.intersection(*map(set, bills)) if all(bills) else set()
    texts = [_cost_sentence(lane, bill, both or set(bill)) for lane, bill in zip(lanes, bills, strict=True)]
    return f"A request that was answered both ways cost {' and '.join(texts)} on average."


def _cost_sentence(lane: _GatewayRows, bill: Mapping[_Key, Cost], keys: Collection[_Key]) -> str:
    costs = [bill[key] for key in keys if key in bill]
    if not costs:
        return f"an unknown amount {lane.way}"
    mean = sum(cost.per_request or 0.0 for cost in costs) / len(costs)
    return f"{usd(mean)} USD {lane.way}{' as stated' if costs[0].by == 'gateway' else ''}"


def _bills(run: Run, lane: _GatewayRows, keys: Collection[_Key]) -> dict[_Key, Cost]:
    """Returns the cost of each of these requests, over all its attempts, if it is known.

    All costs use one figure: the config's price if it gives any cost, else the cost stated by the gateway.
    """
    groups: dict[_Key, list[AttemptRecord]] = {}
    for one in run.records:
        key = (one.ticket.prompt_id, one.ticket.repeat, one.ticket.turn)
        if one.ticket.model == lane.alias and one.ticket.phase == "measure" and key in keys:
            groups.setdefault(key, []).append(one)
    price = price_in(run.header.config, lane.alias)
    bills = {key: cost_of(group, price, run.facts) for key, group in groups.items()}
    by = "price" if any(bill.by == "price" for bill in bills.values()) else "gateway"
    return {key: bill for key, bill in bills.items() if bill.by == by and bill.per_request is not None}

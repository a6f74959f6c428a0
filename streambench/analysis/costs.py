"""Sums the cost of attempts: in total, per request, per 1,000 output tokens, per session. Pure.

Two figures are kept: by the config's price, and as the gateway stated it. Attempts with unknown cost are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from streambench.analysis.measured import RunFacts
from streambench.metrics.cost import Price, alike, priced_usd, stated_usd, total
from streambench.records.schema import AttemptRecord


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost in USD of the measured attempts, including failed ones, which are paid for too.

    `priced` uses the config's price, `stated` is what the gateway stated; each is None if unknown for every attempt.
    `attempts_unpriced` counts attempts whose cost is unknown although the config has a price: if it is not 0, `priced`
    is a lower bound. `by` names the figure used for `failed` and the `per_` fields: the price if it gives any cost,
    else the stated cost. `per_request` and `per_session` are means over the requests and sessions all of whose attempts
    have a known cost; `requests_known` and `sessions_known` are their numbers.
    """

    priced: float | None
    stated: float | None
    attempts_unpriced: int
    attempts_stated: int = 0
    attempts: int = 0
    both_priced: float | None = None
    """Priced cost of the attempts that have both figures; `both_stated` is their stated cost, `attempts_both` their
    number.
    """
    both_stated: float | None = None
    attempts_both: int = 0
    by: Literal["price", "gateway"] | None = None
    failed: float | None = None
    """Cost of the attempts that were not ok; None if it is unknown for all of them."""
    per_request: float | None = None
    requests_known: int = 0
    per_1k_output_tok: float | None = None
    per_session: float | None = None
    sessions: int = 0
    sessions_known: int = 0

    @property
    def differs(self) -> bool:
        """True if the stated and the priced cost of the same attempts differ by more than `metrics.cost.ALIKE`."""
        if self.both_priced is None or self.both_stated is None:
            return False
        return not alike(self.both_priced, self.both_stated)

    @property
    def known(self) -> float | None:
        """Total known cost, by the figure that `by` names."""
        return self.priced if self.by == "price" else self.stated


def cost_of(records: Sequence[AttemptRecord], price: Price | None, facts: RunFacts) -> Cost:
    """Returns the cost of these attempts of one model. `price` is the model's in the config; None if it has none.

    `facts` has the outcomes of the run's attempts.
    """
    priced = [priced_usd(record, price) for record in records] if price else []
    stated = [stated_usd(record) for record in records]
    both = [(one, other) for one, other in zip(priced, stated, strict=False) if one is not None and other is not None]
    by: Literal["price", "gateway"] | None = None
    if total(priced) is not None:
        by = "price"
    elif total(stated) is not None:
        by = "gateway"
    paid = priced if by == "price" else stated
    requests = _paid_together(records, paid, lambda record: record.ticket.seq)
    sessions = _paid_together(records, paid, lambda record: record.ticket.session_id)
    return Cost(
        priced=total(priced),
        stated=total(stated),
        attempts_unpriced=priced.count(None),
        attempts_stated=len(stated) - stated.count(None),
        attempts=len(records),
        both_priced=total(one for one, _ in both),
        both_stated=total(other for _, other in both),
        attempts_both=len(both),
        by=by,
        failed=total(usd for record, usd in zip(records, paid, strict=True) if facts.outcome(record) != "ok")
        if by
        else None,
        per_request=_mean(requests),
        requests_known=_known(requests),
        per_1k_output_tok=_per_1k(records, paid),
        per_session=_mean(sessions),
        sessions=len(sessions),
        sessions_known=_known(sessions),
    )


def _paid_together(
    records: Sequence[AttemptRecord], paid: Sequence[float | None], key_of: Callable[[AttemptRecord], Hashable | None]
) -> list[float | None]:
    """Returns the cost of each group of attempts with the same key; None if the cost of one attempt is unknown.

    Attempts whose key is None are left out.
    """
    groups: dict[Hashable, list[float | None]] = {}
    for record, usd in zip(records, paid, strict=True):
        if (key := key_of(record)) is not None:
            groups.setdefault(key, []).append(usd)
    return [None if None in group else total(group) for group in groups.values()]


def _known(costs: Sequence[float | None]) -> int:
    return len(costs) - costs.count(None)


def _mean(costs: Sequence[float | None]) -> float | None:
    whole = total(costs)
    return None if whole is None else whole / _known(costs)


def _per_1k(records: Sequence[AttemptRecord], paid: Sequence[float | None]) -> float | None:
    """Cost per 1,000 output tokens, input included, over the attempts with known cost and output; None if there are
    none or they have no output.
    """
    known = [
        (usd, record.usage.output)
        for record, usd in zip(records, paid, strict=True)
        if usd is not None and record.usage is not None and record.usage.output is not None
    ]
    tokens = sum(output for _, output in known)
    return 1000 * sum(usd for usd, _ in known) / tokens if tokens else None

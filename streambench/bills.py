"""What many attempts cost together: in all, for a request, for a thousand tokens, for a session. Pure.

Both figures stand beside each other, by the config's price and as the gateway stated it; unknown costs are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from streambench.health import judge
from streambench.money import Price, alike, priced_usd, stated_usd, total
from streambench.records import AttemptRecord


@dataclass(frozen=True, slots=True)
class Cost:
    """USD over the measured attempts, failed ones included: they are paid for too. By the config's price, and as the
    gateway stated it; None where neither did.

    `attempts_unpriced` could not be priced although a price is known, so `priced` is a lower bound if it is not 0. The
    figures `per_` are by price where there is one, else as stated (`by`), over those whose every attempt's cost is
    known: `requests_known` and `sessions_known` of them.
    """

    priced: float | None
    stated: float | None
    attempts_unpriced: int
    attempts_stated: int = 0
    attempts: int = 0
    both_priced: float | None = None
    """Over the attempts that have both figures; `both_stated` is theirs as stated, and `attempts_both` their number."""
    both_stated: float | None = None
    attempts_both: int = 0
    by: Literal["price", "gateway"] | None = None
    failed: float | None = None
    """The part that went to attempts that were not ok; None where theirs is unknown."""
    per_request: float | None = None
    requests_known: int = 0
    per_1k_output_tok: float | None = None
    per_session: float | None = None
    sessions: int = 0
    sessions_known: int = 0

    @property
    def differs(self) -> bool:
        """Whether what the gateway states is another figure than the config's price gives, on the same attempts."""
        if self.both_priced is None or self.both_stated is None:
            return False
        return not alike(self.both_priced, self.both_stated)

    @property
    def known(self) -> float | None:
        """All that is known to have been paid, by the figure that `by` names."""
        return self.priced if self.by == "price" else self.stated


def cost_of(records: Sequence[AttemptRecord], price: Price | None) -> Cost:
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
        failed=total(usd for record, usd in zip(records, paid, strict=True) if judge(record) != "ok") if by else None,
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
    """The cost of each group of attempts that share a key; None where one of its attempts' is unknown."""
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
    """Over the attempts whose cost and output are known: what all of it cost, input too, for what was written."""
    known = [
        (usd, record.usage.output)
        for record, usd in zip(records, paid, strict=True)
        if usd is not None and record.usage is not None and record.usage.output is not None
    ]
    tokens = sum(output for _, output in known)
    return 1000 * sum(usd for usd, _ in known) / tokens if tokens else None

"""When a run ends before its plan does: too many failures, a refused key, a spent budget. Each end has its reason.

Pure: a `Tally` is what happened so far, the functions judge it; whoever runs the run does what they say.
Why: docs/design/008-retries-and-breakers.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from streambench.health import evidence, judge
from streambench.metrics import Price, cost_usd
from streambench.records import GENERATED, AttemptRecord, Ticket

KEY_REFUSED = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may spend, warm-up and retries included; None is no limit."""

    requests: int | None = None
    """Sent: each attempt is one."""
    tokens: int | None = None
    """Input and output."""
    usd: float | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What ends a run, or a model's part of it; None is never."""

    failures_in_a_row: int | None = None
    share_limit: float | None = None
    share_after: int = 20
    key_refused: bool = True
    budget: Budget = Budget()


@dataclass(frozen=True, slots=True)
class Trip:
    """Why a run stops: its status, and the reason in words."""

    status: Literal["key_refused", "failure_share", "budget"]
    reason: str
    key: str | None = None
    """Of a spent budget: its key in the config, which is to be raised."""


@dataclass(frozen=True, slots=True)
class Account:
    """One model's part of the tally. An attempt is `known` if its usage was stated, in the sums below then."""

    failed_in_a_row: int = 0
    in_flight: int = 0
    known: int = 0
    unknown: int = 0
    """Attempts that generated something, and nobody said how much."""
    tokens: int = 0
    usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Tally:
    """What happened so far. `sent` counts attempts; `ended` and `failed` count requests, by their last attempt."""

    sent: int = 0
    ended: int = 0
    failed: int = 0
    accounts: Mapping[str, Account] = field(default_factory=dict)

    def account(self, model: str) -> Account:
        return self.accounts.get(model) or Account()

    def fired(self, ticket: Ticket) -> Tally:
        """An attempt was sent."""
        own = self.account(ticket.model)
        return replace(self._with(ticket.model, replace(own, in_flight=own.in_flight + 1)), sent=self.sent + 1)

    def landed(self, record: AttemptRecord, price: Price | None = None) -> Tally:
        """An attempt has its record. Its cost is what the gateway stated, or its tokens by their price."""
        own = self.account(record.ticket.model)
        return self._with(record.ticket.model, _spent(replace(own, in_flight=own.in_flight - 1), record, price))

    def recorded(self, record: AttemptRecord, price: Price | None = None) -> Tally:
        """An attempt of an earlier part of the run: sent and paid for. Failures are counted anew in each part."""
        return self.fired(record.ticket).landed(record, price)

    def over(self, record: AttemptRecord) -> Tally:
        """A request is over, with this as its last attempt. One that we cancelled ourselves is no failure."""
        outcome = judge(record)
        if outcome == "cancelled":
            return self
        own, failed = self.account(record.ticket.model), outcome != "ok"
        in_a_row = own.failed_in_a_row + 1 if failed else 0
        after = self._with(record.ticket.model, replace(own, failed_in_a_row=in_a_row))
        return replace(after, ended=self.ended + 1, failed=self.failed + failed)

    def tokens(self) -> tuple[float, float]:
        """Spent, and about how many more by what is in flight."""
        return self._sums({model: float(own.tokens) for model, own in self.accounts.items()})

    def usd(self) -> tuple[float, float]:
        """Spent, and about how much more by what is in flight."""
        return self._sums({model: own.usd for model, own in self.accounts.items()})

    def _sums(self, sums: Mapping[str, float]) -> tuple[float, float]:
        """An attempt in flight, or of unknown usage, counts as the mean of its model's known ones; without any, of
        all models' known ones; without any at all, as nothing."""
        known = sum(own.known for own in self.accounts.values())
        usual = sum(sums.values()) / known if known else 0.0
        means = {model: sums[model] / own.known if own.known else usual for model, own in self.accounts.items()}
        spent = sum(sums[model] + own.unknown * means[model] for model, own in self.accounts.items())
        return spent, sum(own.in_flight * means[model] for model, own in self.accounts.items())

    def _with(self, model: str, own: Account) -> Tally:
        return replace(self, accounts={**self.accounts, model: own})


def _spent(own: Account, record: AttemptRecord, price: Price | None) -> Account:
    usage = record.usage
    if usage is None or (usage.input is None and usage.output is None and usage.total is None):
        began = not GENERATED.isdisjoint(record.timeline.kind)
        return replace(own, unknown=own.unknown + began)
    total = usage.total if usage.total is not None else (usage.input or 0) + (usage.output or 0)
    cost = usage.cost_usd if usage.cost_usd is not None else (cost_usd(record, price) if price else None)
    return replace(own, known=own.known + 1, tokens=own.tokens + total, usd=own.usd + (cost or 0.0))


# --- the breakers -----------------------------------------------------------------------------------------------------


def refused_key(rules: Rules, record: AttemptRecord, source: str | None, *, has_key: bool = True) -> Trip | None:
    """The key was refused. `source` is the variable that it came from."""
    if not rules.key_refused or judge(record) != "http_error" or record.status not in KEY_REFUSED:
        return None
    gateway, status = record.ticket.gateway, record.status
    if not has_key:
        told = f"gateway {gateway} asks for a key ({status}), and its api_key is none"
    elif source is None:
        told = f"gateway {gateway} refused its key ({status})"
    else:
        told = f"gateway {gateway} refused the key in {source} ({status}): check that variable"
    return Trip("key_refused", told)


def set_aside(rules: Rules, tally: Tally, record: AttemptRecord) -> str | None:
    """Why the model of this record, the last of its request, is asked no more."""
    model = record.ticket.model
    count = tally.account(model).failed_in_a_row
    if rules.failures_in_a_row is None or count < rules.failures_in_a_row:
        return None
    times = "its first failure" if count == 1 else f"{count} failures in a row"
    return f"{model} was set aside after {times}, the last: {evidence(record)}"


def too_many_failed(rules: Rules, tally: Tally) -> Trip | None:
    """More than the allowed share of all requests so far failed."""
    limit = rules.share_limit
    if limit is None or tally.ended < rules.share_after or tally.failed <= limit * tally.ended:
        return None
    told = f"{tally.failed} of {tally.ended} requests failed, more than breakers.failure_share allows ({limit:.0%})"
    return Trip("failure_share", told)


def spent(budget: Budget, tally: Tally) -> Trip | None:
    """Nothing is left for another request, once what is in flight is counted."""
    if budget.requests is not None and tally.sent >= budget.requests:
        return Trip("budget", f"the budget of {budget.requests:,} requests is spent", "budget.requests")
    if budget.tokens is not None:
        now, coming = tally.tokens()
        if now + coming >= budget.tokens:
            return _out_of("tokens", f"{budget.tokens:,} tokens", f"{now:,.0f}", f"{coming:,.0f}" if coming else None)
    if budget.usd is not None:
        now, coming = tally.usd()
        if now + coming >= budget.usd:
            return _out_of("usd", f"{budget.usd:g} USD", f"{now:.4g}", f"{coming:.4g}" if coming else None)
    return None


def spent_before(budget: Budget, tally: Tally, took_s: float) -> Trip | None:
    """Nothing is left for a run to go on with, after what its earlier parts sent and the seconds they took."""
    if budget.duration_s is not None and took_s >= budget.duration_s:
        return out_of_time(budget)
    return spent(budget, tally)


def out_of_time(budget: Budget) -> Trip:
    return Trip("budget", f"the budget of {budget.duration_s or 0:g} s is spent", "budget.duration")


def _out_of(key: str, budget: str, now: str, coming: str | None) -> Trip:
    in_flight = f", and about {coming} in flight" if coming else ""
    return Trip("budget", f"the budget of {budget} is spent: {now} so far{in_flight}", f"budget.{key}")

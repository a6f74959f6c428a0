"""When a run ends before its plan does: too many failures, a refused key, a spent budget. Each end has its reason.

Pure: a `Tally` is what happened so far, the functions judge it; whoever runs the run does what they say.
Why: docs/design/008-retries-and-breakers.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from streambench.health import evidence, judge
from streambench.money import Price, paid_usd
from streambench.records import AttemptRecord, Ticket

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

    @property
    def counts(self) -> bool:
        """Whether it has to be known what a request takes."""
        return self.tokens is not None or self.usd is not None


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
class Amount:
    """What a budget is about."""

    tokens: float = 0
    """Input and output."""
    usd: float = 0.0

    def plus(self, other: Amount, times: int = 1) -> Amount:
        return Amount(self.tokens + times * other.tokens, self.usd + times * other.usd)


@dataclass(frozen=True, slots=True)
class Worst(Amount):
    """The most that an attempt is expected to take: `reserve.Reserves` says how much that is."""

    assumed: str | None = None
    """What that rests on, where no `max_tokens` bounds the output; None where one does."""
    blind: bool = False
    """Nothing bounds it and nothing like it was answered yet, so that it is no number at all."""


NOTHING, NO_REQUEST = Amount(), Worst()


@dataclass(frozen=True, slots=True)
class Account:
    """One model's part of the tally."""

    failed_in_a_row: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """What happened so far. `sent` counts attempts; `ended` and `failed` count requests, by their last attempt."""

    sent: int = 0
    ended: int = 0
    failed: int = 0
    accounts: Mapping[str, Account] = field(default_factory=dict)
    in_flight: int = 0
    spent: Amount = NOTHING
    """By what has landed: as stated; an attempt that may be billed and states no usage counts as its worst."""
    held: Amount = NOTHING
    """By what is in flight, each attempt at its worst."""

    def account(self, model: str) -> Account:
        return self.accounts.get(model) or Account()

    def fired(self, ticket: Ticket, worst: Amount = NOTHING) -> Tally:
        """An attempt was sent, and as much as `worst` is held for it until it lands."""
        own = self.account(ticket.model)
        after = self._with(ticket.model, replace(own, in_flight=own.in_flight + 1))
        return replace(after, sent=self.sent + 1, in_flight=self.in_flight + 1, held=self.held.plus(worst))

    def landed(self, record: AttemptRecord, price: Price | None = None, worst: Amount = NOTHING) -> Tally:
        """An attempt has its record. Its cost is what the gateway stated, or its tokens by their price."""
        own = self.account(record.ticket.model)
        after = self._with(record.ticket.model, replace(own, in_flight=own.in_flight - 1))
        left = self.in_flight - 1
        held = self.held.plus(worst, -1) if left else NOTHING
        return replace(after, in_flight=left, held=held, spent=self.spent.plus(_took(record, price, worst)))

    def recorded(self, record: AttemptRecord, price: Price | None = None, worst: Amount = NOTHING) -> Tally:
        """An attempt of an earlier part of the run: sent and paid for. Failures are counted anew in each part."""
        return self.fired(record.ticket, worst).landed(record, price, worst)

    def over(self, record: AttemptRecord) -> Tally:
        """A request is over, with this as its last attempt. One that we cancelled ourselves is no failure."""
        outcome = judge(record)
        if outcome == "cancelled":
            return self
        own, failed = self.account(record.ticket.model), outcome != "ok"
        in_a_row = own.failed_in_a_row + 1 if failed else 0
        after = self._with(record.ticket.model, replace(own, failed_in_a_row=in_a_row))
        return replace(after, ended=self.ended + 1, failed=self.failed + failed)

    def _with(self, model: str, own: Account) -> Tally:
        return replace(self, accounts={**self.accounts, model: own})


def _took(record: AttemptRecord, price: Price | None, worst: Amount) -> Amount:
    """What an attempt took. Without a word from the gateway: its worst, or nothing where it was surely not answered."""
    usage, usd = record.usage, paid_usd(record, price)
    if not _may_be_billed(record):
        return Amount(0, usd or 0.0)
    came = float(sum(record.timeline.chars))  # each character a token, at worst
    tokens: float | None = None
    if usage is not None:
        both = None if usage.input is None or usage.output is None else usage.input + usage.output
        tokens = max((count for count in (both, usage.total) if count is not None), default=None)
    if usd is None:
        usd = 0.0 if price is None else max(worst.usd, price.at_most(0, came))
    return Amount(max(worst.tokens, came) if tokens is None else tokens, usd)


def _may_be_billed(record: AttemptRecord) -> bool:
    """Not what never arrived or was refused: a request that fell silent may have been answered all the same."""
    return bool(record.timeline.kind) or judge(record) not in ("connect_error", "http_error", "client_error")


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


def spent(budget: Budget, tally: Tally, next_one: Worst = NO_REQUEST) -> Trip | None:
    """Why the next request may not be sent: with it and what is in flight, each at its worst, a budget is passed."""
    if budget.requests is not None and tally.sent >= budget.requests:
        return Trip("budget", f"the budget of {budget.requests:,} requests is spent", "budget.requests")
    if budget.tokens is not None:
        parts = (float(tally.spent.tokens), float(tally.held.tokens), float(next_one.tokens))
        if _passes(budget.tokens, parts):
            return _out_of("tokens", f"{budget.tokens:,} tokens", [f"{part:,.0f}" for part in parts], parts, next_one)
    if budget.usd is not None:
        parts = (tally.spent.usd, tally.held.usd, next_one.usd)
        if _passes(budget.usd, parts):
            return _out_of("usd", f"{budget.usd:g} USD", [f"{part:.4g}" for part in parts], parts, next_one)
    return None


def must_wait(budget: Budget, tally: Tally, next_one: Worst) -> bool:
    """Whether a request that may not be sent now may be once what is in flight has landed for less than its worst.

    One of which nothing is known waits until it is alone: of many at once nobody could say what they take together.
    """
    if not tally.in_flight or not budget.counts:
        return False
    if next_one.blind:
        return True
    alone = replace(tally, held=NOTHING, in_flight=0)
    return spent(budget, tally, next_one) is not None and spent(budget, alone, next_one) is None


def spent_before(budget: Budget, tally: Tally, took_s: float, next_one: Worst = NO_REQUEST) -> Trip | None:
    """Nothing is left for a run to go on with, after what its earlier parts sent and the seconds they took."""
    if budget.duration_s is not None and took_s >= budget.duration_s:
        return out_of_time(budget)
    return spent(budget, tally, next_one)


def out_of_time(budget: Budget) -> Trip:
    return Trip("budget", f"the budget of {budget.duration_s or 0:g} s is spent", "budget.duration")


def _passes(budget: float, parts: tuple[float, float, float]) -> bool:
    """Spent to the last is not passed, but leaves nothing for one more; and ten sums of 0.1 are no more than 1."""
    now, _, _ = parts
    return now >= budget * (1 - 1e-9) or sum(parts) > budget * (1 + 1e-9)


def _out_of(key: str, budget: str, told: Sequence[str], parts: tuple[float, float, float], next_one: Worst) -> Trip:
    now, held, coming = told
    flying = f", up to {held} in flight" if parts[1] > 0 else ""
    coming = f", and the next request may take {coming}" if parts[2] > 0 else ""
    why = f" ({next_one.assumed})" if coming and next_one.assumed else ""
    return Trip("budget", f"the budget of {budget} is spent: {now} so far{flying}{coming}{why}", f"budget.{key}")

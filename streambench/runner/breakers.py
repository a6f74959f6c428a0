"""Decides when a run ends before its plan does: too many failures, a refused key, a spent budget. Each has a reason.

Pure: `RunCounters` holds what happened so far, and the functions judge it; `run_policy` acts on their results.
Why: docs/design/008-retries-and-breakers.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from streambench.config.sections import Breakers, Budget
from streambench.metrics.cost import Price, paid_usd, usd
from streambench.metrics.outcomes import evidence, outcome_of
from streambench.records.schema import AttemptRecord, Ticket
from streambench.text import count, percent

KEY_REFUSED = frozenset({401, 403})
"""Statuses that mean that the gateway refused the key."""


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why a run stops: its status, and the reason as a sentence."""

    status: Literal["key_refused", "failure_share", "budget"]
    reason: str
    key: str | None = None
    """If a budget is spent: its config key, which the user can raise."""


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens and cost, as a budget counts them."""

    tokens: float = 0
    """Input and output tokens together."""
    usd: float = 0.0

    def plus(self, other: Amount, times: int = 1) -> Amount:
        """Returns this amount plus `times` the other one."""
        return Amount(self.tokens + times * other.tokens, self.usd + times * other.usd)


@dataclass(frozen=True, slots=True)
class UsageBound(Amount):
    """The most that an attempt is expected to use, as `cost_bounds.CostBounds` estimates it."""

    assumed: str | None = None
    """What the estimate is based on, if no `max_tokens` limits the output; None if one does."""
    blind: bool = False
    """True if no `max_tokens` limits the output and its model has not answered yet, so that the output is unknown."""


NOTHING, NO_REQUEST = Amount(), UsageBound()


@dataclass(frozen=True, slots=True)
class ModelCounters:
    """One model's part of `RunCounters`."""

    failed_in_a_row: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class RunCounters:
    """What happened so far. `sent` counts attempts; `ended` and `failed` count requests, by their last attempt."""

    sent: int = 0
    ended: int = 0
    failed: int = 0
    accounts: Mapping[str, ModelCounters] = field(default_factory=dict)
    in_flight: int = 0
    spent: Amount = NOTHING
    """Used by recorded attempts, as stated. An attempt that may be billed and states no usage counts its bound."""
    held: Amount = NOTHING
    """Reserved for attempts in flight: the sum of their bounds."""

    def account(self, model: str) -> ModelCounters:
        """Returns the model's counters; zeros if nothing was sent to it yet."""
        return self.accounts.get(model) or ModelCounters()

    def after_send(self, ticket: Ticket, worst: Amount = NOTHING) -> RunCounters:
        """Returns the counters after an attempt was sent. `worst` is reserved for it until it is recorded."""
        own = self.account(ticket.model)
        after = self._with(ticket.model, replace(own, in_flight=own.in_flight + 1))
        return replace(after, sent=self.sent + 1, in_flight=self.in_flight + 1, held=self.held.plus(worst))

    def after_attempt(self, record: AttemptRecord, price: Price | None = None, worst: Amount = NOTHING) -> RunCounters:
        """Returns the counters after an attempt was recorded; `worst` is no longer reserved.

        Its cost is what the gateway stated, else its tokens times their price.
        """
        own = self.account(record.ticket.model)
        after = self._with(record.ticket.model, replace(own, in_flight=own.in_flight - 1))
        left = self.in_flight - 1
        held = self.held.plus(worst, -1) if left else NOTHING
        return replace(after, in_flight=left, held=held, spent=self.spent.plus(_used(record, price, worst)))

    def recorded(self, record: AttemptRecord, price: Price | None = None, worst: Amount = NOTHING) -> RunCounters:
        """Returns the counters after an attempt of an earlier part of a resumed run: it was sent and paid for.

        Its failures do not count, as each part counts its own.
        """
        return self.after_send(record.ticket, worst).after_attempt(record, price, worst)

    def after_request(self, record: AttemptRecord) -> RunCounters:
        """Returns the counters after a request ended; `record` is its last attempt.

        A request that streambench cancelled counts neither as ended nor as failed.
        """
        outcome = outcome_of(record)
        if outcome == "cancelled":
            return self
        own, failed = self.account(record.ticket.model), outcome != "ok"
        in_a_row = own.failed_in_a_row + 1 if failed else 0
        after = self._with(record.ticket.model, replace(own, failed_in_a_row=in_a_row))
        return replace(after, ended=self.ended + 1, failed=self.failed + failed)

    def _with(self, model: str, own: ModelCounters) -> RunCounters:
        return replace(self, accounts={**self.accounts, model: own})


def _used(record: AttemptRecord, price: Price | None, worst: Amount) -> Amount:
    """Returns what an attempt used: what the gateway stated, else the attempt's bound.

    An attempt that cannot be billed used no tokens.
    """
    usage, usd = record.usage, paid_usd(record, price)
    if not _may_be_billed(record):
        return Amount(0, usd or 0.0)
    came = float(sum(record.timeline.chars))  # counts each character as one token
    tokens: float | None = None
    if usage is not None:
        both = None if usage.input is None or usage.output is None else usage.input + usage.output
        tokens = max((count for count in (both, usage.total) if count is not None), default=None)
    if usd is None:
        usd = 0.0 if price is None else max(worst.usd, price.at_most(0, came))
    return Amount(max(worst.tokens, came) if tokens is None else tokens, usd)


def _may_be_billed(record: AttemptRecord) -> bool:
    """True unless the attempt was not sent or was refused: a request that timed out may still have been answered."""
    return bool(record.timeline.kind) or outcome_of(record) not in ("connect_error", "http_error", "client_error")


# --- the breakers -----------------------------------------------------------------------------------------------------


def refused_key(
    breakers: Breakers, record: AttemptRecord, source: str | None, *, has_key: bool = True
) -> StopReason | None:
    """Returns why the run stops if the gateway refused the key, else None.

    `source` is the variable that the key came from; None if it is unknown.
    """
    if not breakers.key_refused or outcome_of(record) != "http_error" or record.status not in KEY_REFUSED:
        return None
    gateway, status = record.ticket.gateway, record.status
    if not has_key:
        reason = f"gateway {gateway} requires a key ({status}), but its api_key is none"
    elif source is None:
        reason = f"gateway {gateway} rejected its key ({status})"
    else:
        reason = f"gateway {gateway} rejected the key in {source} ({status}): check that variable"
    return StopReason("key_refused", reason)


def set_aside(breakers: Breakers, counters: RunCounters, record: AttemptRecord) -> str | None:
    """Returns why the record's model gets no more requests, else None. `record` is the last one of its request."""
    model = record.ticket.model
    count = counters.account(model).failed_in_a_row
    if breakers.failures_in_a_row is None or count < breakers.failures_in_a_row:
        return None
    times = "1 failure" if count == 1 else f"{count} failures in a row"
    return f"{model} was set aside after {times}; last failure: {evidence(record)}"


def too_many_failed(breakers: Breakers, counters: RunCounters) -> StopReason | None:
    """Returns why the run stops if more than the allowed share of its ended requests failed, else None."""
    share = breakers.failure_share
    if share is None or counters.ended < share.after or counters.failed <= share.limit * counters.ended:
        return None
    allowed = f"breakers.failure_share allows ({percent(share.limit)})"
    reason = f"{counters.failed} of {counters.ended} requests failed, more than {allowed}"
    return StopReason("failure_share", reason)


def spent(budget: Budget, counters: RunCounters, next_one: UsageBound = NO_REQUEST) -> StopReason | None:
    """Returns why the next request may not be sent, else None.

    It may not if it and the attempts in flight, each at its bound, could exceed the budget.
    """
    if budget.requests is not None and counters.sent >= budget.requests:
        return StopReason("budget", f"the budget of {count(budget.requests)} requests is spent", "budget.requests")
    if budget.tokens is not None:
        parts = (float(counters.spent.tokens), float(counters.held.tokens), float(next_one.tokens))
        if _passes(budget.tokens, parts):
            return _out_of(
                "tokens", f"{count(budget.tokens)} tokens", [count(round(part)) for part in parts], parts, next_one
            )
    if budget.usd is not None:
        parts = (counters.spent.usd, counters.held.usd, next_one.usd)
        if _passes(budget.usd, parts):
            return _out_of("usd", f"{usd(budget.usd)} USD", [usd(part) for part in parts], parts, next_one)
    return None


def must_wait(budget: Budget, counters: RunCounters, next_one: UsageBound) -> bool:
    """True if a request that may not be sent now could be sent once attempts in flight have used less than their bound.

    A request of unknown size (`blind`) waits until nothing is in flight, because the sum of several such requests has
    no bound.
    """
    if not counters.in_flight or not budget.counts:
        return False
    if next_one.blind:
        return True
    alone = replace(counters, held=NOTHING, in_flight=0)
    return spent(budget, counters, next_one) is not None and spent(budget, alone, next_one) is None


def spent_before(
    budget: Budget, counters: RunCounters, took_s: float, next_one: UsageBound = NO_REQUEST
) -> StopReason | None:
    """Returns why a run cannot be resumed within its budget, else None. Its earlier parts took `took_s` seconds."""
    if budget.duration_s is not None and took_s >= budget.duration_s:
        return out_of_time(budget)
    return spent(budget, counters, next_one)


def out_of_time(budget: Budget) -> StopReason:
    """Returns the reason for a run that has used up `budget.duration`."""
    return StopReason("budget", f"the budget of {budget.duration_s or 0:g} s is spent", "budget.duration")


def _passes(budget: float, parts: tuple[float, float, float]) -> bool:
    """True if the budget is used up or the next request could exceed it. `parts`: spent, in flight, next request.

    A relative tolerance of 1e-9 absorbs float rounding: ten times 0.1 must not exceed a budget of 1.
    """
    now, _, _ = parts
    return now >= budget * (1 - 1e-9) or sum(parts) > budget * (1 + 1e-9)


def _out_of(
    key: str, budget: str, texts: Sequence[str], parts: tuple[float, float, float], next_one: UsageBound
) -> StopReason:
    now, held, coming = texts
    flying = f", up to {held} in flight" if parts[1] > 0 else ""
    coming = f", and the next request may use up to {coming}" if parts[2] > 0 else ""
    why = f" ({next_one.assumed})" if coming and next_one.assumed else ""
    return StopReason(
        "budget",
        f"the budget of {budget} allows no further request: {now} used so far{flying}{coming}{why}",
        f"budget.{key}",
    )

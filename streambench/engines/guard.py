"""The rules of a run, held beside what happened so far: what the runner asks before and after each attempt.

The rules themselves are pure, in `retries` and `breakers`; here is only their state, and what is said of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from streambench.breakers import (
    NO_REQUEST,
    Budget,
    Rules,
    Tally,
    Trip,
    Worst,
    must_wait,
    out_of_time,
    refused_key,
    set_aside,
    spent,
    spent_before,
    too_many_failed,
)
from streambench.clock import NS, Anchor
from streambench.config import Config
from streambench.health import judge
from streambench.money import Price, price_of
from streambench.records import AttemptRecord, Phase, Ticket
from streambench.reserve import Reserves
from streambench.resume import Continued
from streambench.retries import Backoff, Pauses, RetryPolicy, draw_of
from streambench.runner import Policy, Stop


@dataclass(frozen=True, slots=True)
class Voice:
    """Whom the guard tells."""

    stop: Callable[[Stop], None]
    """The run is to send nothing more."""
    notice: Callable[[str], None]
    """For a person at the terminal, at once."""
    paused: Callable[[str, float], None]
    """What waits for a rate limit, and for how many seconds."""


@dataclass(slots=True)
class _Waited:
    """How often something was paused, and how long in all."""

    times: int = 0
    ns: int = 0
    until_ns: int = 0


class Guard:
    """Told of each attempt and each request, on the event loop; answers the runner as its `policy`.

    Of a run that goes on it knows what the earlier parts spent, and how often they tried a request.
    """

    def __init__(self, config: Config, anchor: Anchor, voice: Voice, continued: Continued | None = None) -> None:
        self.trip: Trip | None = None
        self._config = config
        self._anchor = anchor
        self._voice = voice
        self._retries = retry_policy(config)
        self._rules = rules(config)
        self._prices = _prices(config)
        self._left = continued.left if continued else None
        self._reserves = Reserves(config, self._prices) if self._rules.budget.counts else None
        self._held: dict[tuple[Phase, int], Worst] = {}
        self._tally = _spent_by(continued, self._prices, self._reserves) if continued else Tally()
        self._pauses = pauses(config)
        self._waited: dict[str, _Waited] = {}
        self._aside: dict[str, str] = {}
        self._accepted: set[str] = set()
        self._told: set[str] = set()

    @property
    def policy(self) -> Policy:
        return Policy(
            retry=self._retry,
            wants_record=self._wants_record,
            may_send=self._may_send,
            must_wait=self._must_wait,
            held_until=self._held_until,
        )

    @property
    def aside(self) -> str | None:
        """Why models were set aside, if any was."""
        return "; ".join(self._aside.values()) or None

    def fired(self, ticket: Ticket) -> None:
        worst = self._held[ticket.phase, ticket.seq] = self._worst(ticket)
        self._tally = self._tally.fired(ticket, worst)

    def attempt(self, record: AttemptRecord) -> None:
        """A sink: each attempt as it ends."""
        worst = self._held.pop((record.ticket.phase, record.ticket.seq), NO_REQUEST)
        self._tally = self._tally.landed(record, self._prices.get(record.ticket.model), worst)
        if self._reserves is not None:
            self._reserves.learn(record)
        gateway = self._config.gateways[record.ticket.gateway]
        trip = refused_key(self._rules, record, gateway.api_key_source, has_key=gateway.api_key is not None)
        if trip is not None:
            self._stop(trip)
        elif record.status is not None:
            self._accepted.add(record.ticket.gateway)
        self._pause(record)

    def over(self, record: AttemptRecord) -> None:
        """Each request, with its last attempt."""
        self._tally = self._tally.over(record)
        why = set_aside(self._rules, self._tally, record)
        if why is not None and record.ticket.model not in self._aside:
            self._aside[record.ticket.model] = why
            self._voice.notice(why)
        if trip := too_many_failed(self._rules, self._tally):
            self._stop(trip)

    def out_of_time(self) -> None:
        """`budget.duration` is over."""
        self._stop(out_of_time(self._rules.budget))

    def pauses_told(self) -> list[str]:
        """What waited for rate limits in this run, a line each."""
        return [
            f"{key} was paused {_times(waited.times)} for its rate limit (429), {waited.ns / NS:.1f} s in all"
            for key, waited in self._waited.items()
        ]

    def _stop(self, trip: Trip) -> None:
        if self.trip is None:
            self.trip = trip
            self._voice.notice(f"stopping: {trip.reason}")
            self._voice.stop(trip.status)

    # What the runner asks.

    def _retry(self, record: AttemptRecord) -> float | None:
        if self._left is not None:
            record = replace(record, attempt=record.attempt + self._left.tries(record.ticket))
        decision = self._retries.after(record, judge(record), draw_of(self._config.seed, record))
        if decision.refused_wait:
            self._say_once(f"{record.ticket.model}: not tried again: {decision.why}")
        return decision.wait_s

    def _wants_record(self, ticket: Ticket) -> bool:
        """Where it decides what is next: with retries and pauses, before the failure that may be a model's last, and
        until a key is known to be good. Else a lane is on its way again before the record is read.
        """
        decisive = self._rules.key_refused and ticket.gateway not in self._accepted
        if self._rules.failures_in_a_row is not None:
            decisive |= self._tally.account(ticket.model).failed_in_a_row + 1 >= self._rules.failures_in_a_row
        return decisive or self._retries.rules(ticket.phase) or ticket.gateway in self._pauses.models

    def _may_send(self, ticket: Ticket) -> bool:
        if self.trip is not None or ticket.model in self._aside:
            return False
        next_one = self._worst(ticket)
        if must_wait(self._rules.budget, self._tally, next_one):
            return True  # it is asked again before it goes out
        if trip := spent(self._rules.budget, self._tally, next_one):
            self._stop(trip)
        return self.trip is None

    def _must_wait(self, ticket: Ticket) -> bool:
        """So that a request is held back, not dropped, while what is in flight may yet leave room for it."""
        if self.trip is not None:
            return False
        return must_wait(self._rules.budget, self._tally, self._worst(ticket))

    def _worst(self, ticket: Ticket) -> Worst:
        return NO_REQUEST if self._reserves is None else self._reserves.of(ticket)

    def _held_until(self, ticket: Ticket) -> int:
        until_ns = self._pauses.until_ns(ticket.gateway, ticket.model)
        return until_ns + self._anchor.monotonic_ns if until_ns else 0

    # Pauses.

    def _pause(self, record: AttemptRecord) -> None:
        before, self._pauses = self._pauses, self._pauses.after(record)
        if self._pauses is before:
            return
        gateway, model = record.ticket.gateway, record.ticket.model
        whole = self._pauses.whole(gateway) and len(self._pauses.models[gateway]) > 1
        key = f"gateway {gateway}" if whole else model
        refused_ns = record.start_at_ns + record.ended_ns
        waited = self._waited.get(key, _Waited())
        until_ns = self._pauses.until_ns(gateway, model)
        if until_ns <= max(refused_ns, waited.until_ns):
            return
        self._waited[key] = _Waited(
            times=waited.times + (waited.until_ns <= refused_ns),
            ns=waited.ns + until_ns - max(refused_ns, waited.until_ns),
            until_ns=until_ns,
        )
        self._voice.paused(key, (until_ns - refused_ns) / NS)

    def _say_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._voice.notice(text)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


# --- a run that goes on


def spent_already(config: Config, continued: Continued) -> Trip | None:
    """Why nothing may be sent any more: the budget is the whole run's, and its earlier parts spent it."""
    prices = _prices(config)
    reserves = Reserves(config, prices)
    tally = _spent_by(continued, prices, reserves)
    plan = continued.left.plan
    next_one = next((reserves.of(ticket) for ticket in (*plan.warmup, *plan.measure)), NO_REQUEST)
    return spent_before(rules(config).budget, tally, continued.took_ns / NS, next_one)


def _spent_by(continued: Continued, prices: Mapping[str, Price], reserves: Reserves | None) -> Tally:
    tally = Tally()
    for record in continued.records:
        worst = NO_REQUEST if reserves is None else reserves.of(record.ticket)
        tally = tally.recorded(record, prices.get(record.ticket.model), worst)
        if reserves is not None:
            reserves.learn(record)
    return tally


# --- from the config


def retry_policy(config: Config) -> RetryPolicy:
    retry = config.retry
    return RetryPolicy(
        attempts=retry.attempts,
        on=frozenset(retry.on),
        statuses=frozenset(retry.statuses),
        backoff=_backoff(config),
        jitter=retry.jitter,
        max_retry_after_s=retry.max_retry_after,
        phases=frozenset(retry.phases),
    )


def pauses(config: Config) -> Pauses:
    models = {
        name: frozenset(model.alias for model in config.models if model.gateway == name)
        for name, gateway in config.gateways.items()
        if gateway.on_rate_limit == "pause"
    }
    return Pauses(models, _backoff(config), config.retry.max_retry_after)


def rules(config: Config) -> Rules:
    breakers, budget = config.breakers, config.budget
    share = breakers.failure_share
    return Rules(
        failures_in_a_row=breakers.failures_in_a_row,
        share_limit=share.limit if share else None,
        share_after=share.after if share else 0,
        key_refused=breakers.key_refused,
        budget=Budget(budget.requests, budget.tokens, budget.usd, budget.duration_s),
    )


def _backoff(config: Config) -> Backoff:
    return Backoff(config.retry.backoff, config.retry.factor, config.retry.max_backoff)


def _prices(config: Config) -> dict[str, Price]:
    found = {model.alias: price_of(model.price.model_dump() if model.price else None) for model in config.models}
    return {alias: price for alias, price in found.items() if price is not None}

"""Applies a run's rules to what happened so far: answers the scheduler's questions before and after each attempt.

The rules themselves are pure functions in `retry` and `breakers`. This module holds their state and their messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from streambench.clock import NS, Anchor
from streambench.config.config import Config
from streambench.metrics.cost import Price
from streambench.metrics.outcomes import outcome_of
from streambench.records.schema import AttemptRecord, Phase, Ticket
from streambench.runner.breakers import (
    NO_REQUEST,
    RunCounters,
    StopReason,
    UsageBound,
    must_wait,
    out_of_time,
    refused_key,
    set_aside,
    spent,
    spent_before,
    too_many_failed,
)
from streambench.runner.cost_bounds import CostBounds
from streambench.runner.observers import RunObserver
from streambench.runner.resume import Continued
from streambench.runner.retry import Pauses, backoff_of, decide, draw_of
from streambench.runner.scheduler import SchedulingPolicy, Stop


@dataclass(frozen=True, slots=True)
class PolicyListener:
    """Functions that `RunPolicy` calls."""

    stop: Callable[[Stop], None]
    """Called when the run must send nothing more."""
    notice: Callable[[str], None]
    """Called with a message that the user should see at once."""
    paused: Callable[[str, float], None]
    """Called with what is paused for a rate limit (a model or a gateway), and for how many seconds."""


@dataclass(slots=True)
class _Waited:
    """How often a model or gateway was paused, for how long in all, and until when (ns since the run's anchor)."""

    times: int = 0
    ns: int = 0
    until_ns: int = 0


class RunPolicy(RunObserver):
    """Observes each attempt and request, and gives the scheduler its `policy`.

    `stop_reason` says why the run was stopped; None if it was not. In a resumed run the spending and the attempts of
    the earlier parts count.
    """

    def __init__(
        self, config: Config, anchor: Anchor, listener: PolicyListener, continued: Continued | None = None
    ) -> None:
        self.stop_reason: StopReason | None = None
        self._config = config
        self._anchor = anchor
        self._listener = listener
        self._prices = _prices(config)
        self._left = continued.left if continued else None
        self._cost_bounds = CostBounds(config, self._prices) if config.budget.counts else None
        self._held: dict[tuple[Phase, int], UsageBound] = {}
        self._counters = _spent_by(continued, self._prices, self._cost_bounds) if continued else RunCounters()
        self._pauses = pauses(config)
        self._waited: dict[str, _Waited] = {}
        self._aside: dict[str, str] = {}
        self._accepted: set[str] = set()
        self._told: set[str] = set()

    @property
    def policy(self) -> SchedulingPolicy:
        """The answers to the scheduler's questions."""
        return SchedulingPolicy(
            retry=self._retry,
            wants_record=self._wants_record,
            may_send=self._may_send,
            must_wait=self._must_wait,
            held_until=self._held_until,
        )

    @property
    def aside(self) -> str | None:
        """Why models were set aside; None if none was."""
        return "; ".join(self._aside.values()) or None

    def on_attempt_start(self, ticket: Ticket) -> None:
        worst = self._held[ticket.phase, ticket.seq] = self._worst(ticket)
        self._counters = self._counters.after_send(ticket, worst)

    def on_record(self, record: AttemptRecord) -> None:
        worst = self._held.pop((record.ticket.phase, record.ticket.seq), NO_REQUEST)
        self._counters = self._counters.after_attempt(record, self._prices.get(record.ticket.model), worst)
        if self._cost_bounds is not None:
            self._cost_bounds.learn(record)
        gateway = self._config.gateways[record.ticket.gateway]
        stop_reason = refused_key(
            self._config.breakers, record, gateway.api_key_source, has_key=gateway.api_key is not None
        )
        if stop_reason is not None:
            self._stop(stop_reason)
        elif record.status is not None:
            self._accepted.add(record.ticket.gateway)
        self._pause(record)

    def on_request_end(self, record: AttemptRecord) -> None:
        self._counters = self._counters.after_request(record)
        why = set_aside(self._config.breakers, self._counters, record)
        if why is not None and record.ticket.model not in self._aside:
            self._aside[record.ticket.model] = why
            self._listener.notice(why)
        if stop_reason := too_many_failed(self._config.breakers, self._counters):
            self._stop(stop_reason)

    def out_of_time(self) -> None:
        """Stops the run because `budget.duration` has passed."""
        self._stop(out_of_time(self._config.budget))

    def pause_notices(self) -> list[str]:
        """Returns one line for each model or gateway that was paused for its rate limit."""
        return [
            f"{key} was paused {_times(waited.times)} for its rate limit (429), {waited.ns / NS:.1f} s in total"
            for key, waited in self._waited.items()
        ]

    def _stop(self, stop_reason: StopReason) -> None:
        if self.stop_reason is None:
            self.stop_reason = stop_reason
            self._listener.notice(f"stopping: {stop_reason.reason}")
            self._listener.stop(stop_reason.status)

    # The functions of `policy`.

    def _retry(self, record: AttemptRecord) -> float | None:
        if self._left is not None:
            record = replace(record, attempt=record.attempt + self._left.tries(record.ticket))
        decision = decide(self._config.retry, record, outcome_of(record), draw_of(self._config.seed, record))
        if decision.refused_wait:
            self._say_once(f"{record.ticket.model}: not retried: {decision.why}")
        return decision.wait_s

    def _wants_record(self, ticket: Ticket) -> bool:
        """True if the record decides what is sent next: with retries or pauses, if one more failure would set the model
        aside, and until the gateway has answered without refusing the key. Otherwise the lane goes on before the record
        is read.
        """
        decisive = self._config.breakers.key_refused and ticket.gateway not in self._accepted
        if self._config.breakers.failures_in_a_row is not None:
            decisive |= (
                self._counters.account(ticket.model).failed_in_a_row + 1 >= self._config.breakers.failures_in_a_row
            )
        return decisive or self._config.retry.covers(ticket.phase) or ticket.gateway in self._pauses.models

    def _may_send(self, ticket: Ticket) -> bool:
        if self.stop_reason is not None or ticket.model in self._aside:
            return False
        next_one = self._worst(ticket)
        if must_wait(self._config.budget, self._counters, next_one):
            return True  # the scheduler asks again before it sends the request
        if stop_reason := spent(self._config.budget, self._counters, next_one):
            self._stop(stop_reason)
        return self.stop_reason is None

    def _must_wait(self, ticket: Ticket) -> bool:
        """True if the request must be held back, not dropped: attempts in flight may still leave budget for it."""
        if self.stop_reason is not None:
            return False
        return must_wait(self._config.budget, self._counters, self._worst(ticket))

    def _worst(self, ticket: Ticket) -> UsageBound:
        return NO_REQUEST if self._cost_bounds is None else self._cost_bounds.of(ticket)

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
        self._listener.paused(key, (until_ns - refused_ns) / NS)

    def _say_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._listener.notice(text)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


# --- a resumed run


def spent_already(config: Config, continued: Continued) -> StopReason | None:
    """Returns why a resumed run may send nothing: its earlier parts spent the budget, which is for the whole run.

    None if budget is left.
    """
    prices = _prices(config)
    cost_bounds = CostBounds(config, prices)
    counters = _spent_by(continued, prices, cost_bounds)
    plan = continued.left.plan
    next_one = next((cost_bounds.of(ticket) for ticket in (*plan.warmup, *plan.measure)), NO_REQUEST)
    return spent_before(config.budget, counters, continued.took_ns / NS, next_one)


def _spent_by(continued: Continued, prices: Mapping[str, Price], cost_bounds: CostBounds | None) -> RunCounters:
    counters = RunCounters()
    for record in continued.records:
        worst = NO_REQUEST if cost_bounds is None else cost_bounds.of(record.ticket)
        counters = counters.recorded(record, prices.get(record.ticket.model), worst)
        if cost_bounds is not None:
            cost_bounds.learn(record)
    return counters


# --- from the config


def pauses(config: Config) -> Pauses:
    """Returns the initial pauses: none yet, for the models of each gateway with `on_rate_limit: pause`."""
    models = {
        name: frozenset(model.alias for model in config.models if model.gateway == name)
        for name, gateway in config.gateways.items()
        if gateway.on_rate_limit == "pause"
    }
    return Pauses(models, backoff_of(config.retry), config.retry.max_retry_after)


def _prices(config: Config) -> dict[str, Price]:
    return {model.alias: model.price for model in config.models if model.price is not None}

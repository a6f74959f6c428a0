"""Decides whether and when a failed attempt is retried, and how long a rate limit (429) pauses a model.

Pure: takes records and returns waits; the scheduler does the waiting. Why: docs/design/008-retries-and-breakers.md.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from streambench.clock import NS
from streambench.config.sections import NEVER_RETRIED, Retry
from streambench.metrics.outcomes import Outcome
from streambench.records.schema import AttemptRecord, Failure

RATE_LIMITED = 429

_FILTERED = ("content_filter", "content_policy")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off: `first_s`, then each wait `factor` times the one before, at most `most_s`. In seconds."""

    first_s: float
    factor: float
    most_s: float

    def wait_s(self, nth: int) -> float:
        """Returns the seconds to wait before the `nth` retry, counted from 1."""
        try:
            return float(min(self.most_s, self.first_s * self.factor ** (nth - 1)))
        except OverflowError:  # `nth` is very large, as for a model that is rate-limited for hours
            return self.most_s


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """Whether an attempt is retried: after `wait_s` seconds, or not at all if it is None. `why` is shown to users."""

    wait_s: float | None
    why: str
    refused_wait: bool = False
    """True if there is no retry only because the gateway asked for too long a wait."""


def backoff_of(retry: Retry) -> Backoff:
    """Returns the back-off that the `retry` section describes."""
    return Backoff(retry.backoff, retry.factor, retry.max_backoff)


def decide(retry: Retry, record: AttemptRecord, outcome: Outcome, draw: float) -> RetryDecision:
    """Returns whether this attempt is retried, and when. `draw` is a random number in [0, 1) for the jitter."""
    why_not = _why_not(retry, record, outcome)
    return RetryDecision(None, why_not) if why_not else _wait(retry, record, draw)


def _why_not(retry: Retry, record: AttemptRecord, outcome: Outcome) -> str | None:
    if outcome not in retry.on:
        return f"{outcome} is not retried"
    if not retry.covers(record.ticket.phase):
        return f"requests of this phase are not retried ({record.ticket.phase})"
    status = _status(record)
    if status in NEVER_RETRIED or (outcome == "http_error" and status not in retry.statuses):
        return f"status {status} is not retried"
    if _filtered(record):
        return "filtered content is not retried"
    if record.attempt >= retry.attempts:
        return f"all {retry.attempts} attempts are used"
    return None


def _wait(retry: Retry, record: AttemptRecord, draw: float) -> RetryDecision:
    asked_s, usual_s = retry_after_s(record), backoff_of(retry).wait_s(record.attempt)
    if not asked_s:
        return RetryDecision(usual_s * (1 + retry.jitter * (2 * draw - 1)), "back-off")
    if asked_s > retry.max_retry_after:
        limit = f"retry.max_retry_after ({retry.max_retry_after:g} s)"
        return RetryDecision(None, f"the gateway asked for a wait longer than {limit}", refused_wait=True)
    # Jitter also lengthens a wait that the gateway asked for: else all refused requests would return at once.
    return RetryDecision(asked_s + usual_s * retry.jitter * draw, "the wait that the gateway asked for")


def draw_of(seed: int, record: AttemptRecord) -> float:
    """Returns a random number in [0, 1) for the retry after this attempt.

    It depends on the seed, the request and the attempt only, not on the order in which requests are sent.
    """
    return random.Random(f"{seed}:retry:{record.ticket.seq}:{record.attempt}").random()


def retry_after_s(record: AttemptRecord) -> float | None:
    """Returns the seconds that the gateway asked to wait; None if it did not ask."""
    return next((each.retry_after_s for each in _failures(record) if each.retry_after_s is not None), None)


def rate_limited(record: AttemptRecord) -> bool:
    """True if the attempt failed with status 429, of the response or inside the stream."""
    return _status(record) == RATE_LIMITED


def _status(record: AttemptRecord) -> int | None:
    """Returns the failure's status: that of an error inside the stream if it has one, else that of the response."""
    return next((each.status for each in _failures(record) if each.status is not None), record.status)


def _failures(record: AttemptRecord) -> tuple[Failure, ...]:
    return tuple(each for each in (record.error_frame, record.failure) if each is not None)


def _filtered(record: AttemptRecord) -> bool:
    codes = (record.finish_reason, *(each.code for each in _failures(record)))
    return any(code.lower().startswith(_FILTERED) for code in codes if code)


# --- rate limits ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelPause:
    """The pause of a model that got a 429. `until_ns` counts from the run's anchor; `in_a_row` is the number of
    consecutive 429s, where those of requests sent before the pause ended count as one.
    """

    until_ns: int
    in_a_row: int = 1


@dataclass(frozen=True, slots=True)
class Pauses:
    """The models that wait for a rate limit. `models` holds the aliases of each gateway that pauses on a 429; models of
    other gateways never wait.

    If the last answer of every model of a gateway was a 429, the limit is assumed to be that of the key, and all its
    models wait together.
    """

    models: Mapping[str, frozenset[str]]
    backoff: Backoff
    most_s: float
    """The longest pause, in seconds; if a gateway asks for more, the pause is cut to this."""
    holds: Mapping[str, ModelPause] = field(default_factory=dict)

    def after(self, record: AttemptRecord) -> Pauses:
        """Returns the pauses after this attempt has ended: the same object if nothing changed."""
        model = record.ticket.model
        if record.ticket.gateway not in self.models:
            return self
        if rate_limited(record):
            return replace(self, holds={**self.holds, model: self._held(record, self.holds.get(model))})
        if _tells_of_its_end(record, self.holds.get(model)):
            return replace(self, holds={name: hold for name, hold in self.holds.items() if name != model})
        return self

    def until_ns(self, gateway: str, model: str) -> int:
        """Returns when the model may be sent requests again, in ns since the run's anchor; 0 if it has no pause."""
        if self.whole(gateway):
            return max(self.holds[each].until_ns for each in self.models[gateway])
        held = self.holds.get(model)
        return held.until_ns if held else 0

    def whole(self, gateway: str) -> bool:
        """True if all models of the gateway are paused."""
        models = self.models.get(gateway)
        return bool(models) and all(each in self.holds for each in models or ())

    def _held(self, record: AttemptRecord, before: ModelPause | None) -> ModelPause:
        """Returns the pause after a 429. Requests sent before the pause ended were in flight together, so their 429s
        count as one step of the back-off.
        """
        in_a_row = 1 if before is None else before.in_a_row + (record.start_at_ns >= before.until_ns)
        wait_s = min(self.most_s, retry_after_s(record) or self.backoff.wait_s(in_a_row))
        until_ns = record.start_at_ns + record.ended_ns + round(wait_s * NS)
        return ModelPause(max(until_ns, before.until_ns if before else 0), in_a_row)


def _tells_of_its_end(record: AttemptRecord, held: ModelPause | None) -> bool:
    """True if the gateway answered a request that started after the pause ended."""
    return held is not None and record.status is not None and record.start_at_ns >= held.until_ns

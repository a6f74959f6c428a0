"""Whether a failed attempt is followed by another, and how long after; how long a rate limit holds a model back.

Pure: records in, waits out. The runner does the waiting. Why: docs/design/008-retries-and-breakers.md.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from streambench.clock import NS
from streambench.health import Outcome
from streambench.records import AttemptRecord, Failure, Phase

RETRIABLE: tuple[Outcome, ...] = (
    "connect_error",
    "http_error",
    "not_a_stream",
    "stream_error",
    "timeout",
    "disconnected",
    "malformed",
    "truncated",
    "empty",
)
"""Outcomes that another attempt may mend. Not among them: `ok`, `cancelled`, and what our own side refused."""

NEVER_RETRIED = frozenset({400, 401, 403, 404, 422})
"""Statuses that the same request would get again."""

RATE_LIMITED = 429

_FILTERED = ("content_filter", "content_policy")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that grow: `first_s`, then each `factor` times the one before, none over `most_s`."""

    first_s: float = 0.5
    factor: float = 2.0
    most_s: float = 30.0

    def wait_s(self, nth: int) -> float:
        """Before the `nth` try after the first, from 1."""
        try:
            return float(min(self.most_s, self.first_s * self.factor ** (nth - 1)))
        except OverflowError:  # a model that is refused for hours
            return self.most_s


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows an attempt: another after `wait_s`, or none (None). `why` is for people."""

    wait_s: float | None
    why: str
    refused_wait: bool = False
    """There would be another, but the gateway asked for too long a wait."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`attempts` is how often a request is tried at most: 1 is no retries."""

    attempts: int = 1
    on: frozenset[Outcome] = frozenset({"connect_error", "http_error", "stream_error", "timeout", "disconnected"})
    statuses: frozenset[int] = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
    """Of an http_error, those that are tried again."""
    backoff: Backoff = Backoff()
    jitter: float = 0.25
    """The share by which a wait is drawn longer or shorter. A wait the gateway asked for is never shortened."""
    max_retry_after_s: float = 120.0
    phases: frozenset[Phase] = frozenset({"warmup", "measure"})

    def rules(self, phase: Phase) -> bool:
        """Whether any request of this phase may be tried again."""
        return self.attempts > 1 and phase in self.phases

    def after(self, record: AttemptRecord, outcome: Outcome, draw: float) -> Decision:
        """What follows this attempt. `draw`, from 0 up to 1, is chance's part."""
        why_not = self._why_not(record, outcome)
        return Decision(None, why_not) if why_not else self._wait(record, draw)

    def _why_not(self, record: AttemptRecord, outcome: Outcome) -> str | None:
        if outcome not in self.on or outcome not in RETRIABLE:
            return f"{outcome} is not retried"
        if not self.rules(record.ticket.phase):
            return f"requests of this phase are not retried ({record.ticket.phase})"
        status = _status(record)
        if status in NEVER_RETRIED or (outcome == "http_error" and status not in self.statuses):
            return f"status {status} is not retried"
        if _filtered(record):
            return "filtered content is not retried"
        if record.attempt >= self.attempts:
            return f"all {self.attempts} attempts are used"
        return None

    def _wait(self, record: AttemptRecord, draw: float) -> Decision:
        asked_s, usual_s = retry_after_s(record), self.backoff.wait_s(record.attempt)
        if not asked_s:
            return Decision(usual_s * (1 + self.jitter * (2 * draw - 1)), "back-off")
        if asked_s > self.max_retry_after_s:
            limit = f"retry.max_retry_after of {self.max_retry_after_s:g} s"
            return Decision(None, f"the gateway asked for a wait over the {limit}", refused_wait=True)
        # Spread out all the same: else all that were refused together come back together.
        return Decision(asked_s + usual_s * self.jitter * draw, "as long as the gateway asked for")


def draw_of(seed: int, record: AttemptRecord) -> float:
    """Chance's part after this attempt, from 0 up to 1: the same for the same seed, whatever the order of the run."""
    return random.Random(f"{seed}:retry:{record.ticket.seq}:{record.attempt}").random()


def retry_after_s(record: AttemptRecord) -> float | None:
    """How long the gateway asked us to wait; None where it did not."""
    return next((each.retry_after_s for each in _failures(record) if each.retry_after_s is not None), None)


def rate_limited(record: AttemptRecord) -> bool:
    return _status(record) == RATE_LIMITED


def _status(record: AttemptRecord) -> int | None:
    """The status that tells of the failure: of the reply, or as an error inside the stream states it."""
    return next((each.status for each in _failures(record) if each.status is not None), record.status)


def _failures(record: AttemptRecord) -> tuple[Failure, ...]:
    return tuple(each for each in (record.error_frame, record.failure) if each is not None)


def _filtered(record: AttemptRecord) -> bool:
    codes = (record.finish_reason, *(each.code for each in _failures(record)))
    return any(code.lower().startswith(_FILTERED) for code in codes if code)


# --- rate limits ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hold:
    """A model that was answered 429. `until_ns` is since the run's anchor; `in_a_row` counts refusals after a wait."""

    until_ns: int
    in_a_row: int = 1


@dataclass(frozen=True, slots=True)
class Pauses:
    """Which models wait for their rate limit. `models` are those of each gateway that pauses; others never wait.

    Where every model of a gateway was refused last, the limit is taken for its key's, and they wait together.
    """

    models: Mapping[str, frozenset[str]]
    backoff: Backoff = Backoff()
    most_s: float = 120.0
    """The longest wait that a gateway may ask for; of a longer one, this much is waited."""
    holds: Mapping[str, Hold] = field(default_factory=dict)

    def after(self, record: AttemptRecord) -> Pauses:
        """As they are once this attempt has ended."""
        model = record.ticket.model
        if record.ticket.gateway not in self.models:
            return self
        if rate_limited(record):
            return replace(self, holds={**self.holds, model: self._held(record, self.holds.get(model))})
        if _tells_of_its_end(record, self.holds.get(model)):
            return replace(self, holds={name: hold for name, hold in self.holds.items() if name != model})
        return self

    def until_ns(self, gateway: str, model: str) -> int:
        """When the model may be asked again, since the run's anchor; in the past where nothing holds it."""
        if self.whole(gateway):
            return max(self.holds[each].until_ns for each in self.models[gateway])
        held = self.holds.get(model)
        return held.until_ns if held else 0

    def whole(self, gateway: str) -> bool:
        """Whether all models of the gateway wait."""
        models = self.models.get(gateway)
        return bool(models) and all(each in self.holds for each in models or ())

    def _held(self, record: AttemptRecord, before: Hold | None) -> Hold:
        """Requests that were under way together are refused together: that is one step of the back-off, not many."""
        in_a_row = 1 if before is None else before.in_a_row + (record.start_at_ns >= before.until_ns)
        wait_s = min(self.most_s, retry_after_s(record) or self.backoff.wait_s(in_a_row))
        until_ns = record.start_at_ns + record.ended_ns + round(wait_s * NS)
        return Hold(max(until_ns, before.until_ns if before else 0), in_a_row)


def _tells_of_its_end(record: AttemptRecord, held: Hold | None) -> bool:
    """An answer, to a request that was sent since."""
    return held is not None and record.status is not None and record.start_at_ns >= held.until_ns

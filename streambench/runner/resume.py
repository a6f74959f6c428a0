"""Computes which requests of an unfinished run are still to be sent. Pure.

The same config and seed give the same plan, so the parts of a run fit together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from streambench.errors import ResultsError
from streambench.records.schema import AttemptRecord, Phase, Ticket, final_attempts, in_one_part
from streambench.runner.plan import Plan
from streambench.text import shown

RequestKey = tuple[Phase, int]
"""A request's phase and seq."""


@dataclass(frozen=True, slots=True)
class Remainder:
    """The requests still to be sent, and how many attempts each request has had so far."""

    plan: Plan
    attempts: Mapping[RequestKey, int]
    """Attempts so far. Those that streambench cancelled or whose key was refused do not count."""
    unsent: int = 0
    """Turns that will not be sent, because their conversations ended before them."""

    def tries(self, ticket: Ticket) -> int:
        """Returns how many attempts of the request are used; 0 for the warm-up, which is repeated with all attempts."""
        return self.attempts.get(_key(ticket), 0) if ticket.phase == "measure" else 0

    def mark(self, record: AttemptRecord, segment: int) -> AttemptRecord:
        """Returns the record with its `segment` set and its attempt number continued from the earlier parts."""
        earlier = self.attempts.get(_key(record.ticket), 0)
        return replace(record, attempt=earlier + record.attempt, segment=segment)


@dataclass(frozen=True, slots=True)
class Continued:
    """A run that is resumed: its records so far, and the requests that are left."""

    segment: int
    """The number of its next part."""
    records: tuple[AttemptRecord, ...]
    left: Remainder
    took_ns: int = 0
    """The time that its parts took so far, in ns."""


# --- the plan


Judge = Callable[[AttemptRecord], bool]


def left_of(
    plan: Plan,
    records: Iterable[AttemptRecord],
    is_retried: Judge = lambda _: False,
    is_refused: Judge = lambda _: False,
    is_end: Judge = lambda _: False,
) -> Remainder:
    """Returns the requests without a final record, in the plan's order. The whole warm-up is repeated if any are left.

    An attempt that streambench cancelled, or whose key was refused (`is_refused`), says nothing about its model and
    does not count. The last attempt that counts is final unless `is_retried` is true, which means that a retry was to
    follow. A conversation with a missing turn is sent again from its first turn; one that its last record ended
    (`is_end`) is complete. Raises ResultsError if the records do not belong to this plan.
    """
    recorded = list(records)
    _refuse_another_plan(plan, recorded)
    counted = [record for record in in_one_part(recorded) if not (_is_cancelled(record) or is_refused(record))]
    last = {_key(record.ticket): record for record in final_attempts(counted)}
    final = {key for key, record in last.items() if not is_retried(record)}
    ended = {last[key].ticket.session_id for key in final if is_end(last[key])}
    open_turns = [ticket for ticket in plan.measure if _key(ticket) not in final]
    cut = {ticket.session_id for ticket in open_turns} - ended - {None}
    measure = tuple(ticket for ticket in plan.measure if ticket.session_id in cut or _lacks(ticket, final))
    left = Plan(plan.warmup if measure else (), _rescheduled(measure, plan.measure), plan.cut)
    tried = {key: record.attempt for key, record in last.items() if record.ticket.session_id not in cut}
    unsent = sum(ticket.session_id in ended for ticket in open_turns)
    return Remainder(left, tried, unsent)


def _lacks(ticket: Ticket, final: Collection[RequestKey]) -> bool:
    """True if the ticket is outside any conversation and has no final record."""
    return ticket.session_id is None and _key(ticket) not in final


def _key(ticket: Ticket) -> RequestKey:
    return ticket.phase, ticket.seq


def _is_cancelled(record: AttemptRecord) -> bool:
    return record.failure is not None and record.failure.kind == "cancelled"


def _rescheduled(measure: tuple[Ticket, ...], planned: tuple[Ticket, ...]) -> tuple[Ticket, ...]:
    """In an open loop, gives the remaining requests the last offsets of the schedule, shifted to begin at zero.

    This keeps the gaps of the schedule's end and avoids waiting through the part that was already sent.
    """
    firsts = [ticket for ticket in measure if ticket.scheduled_ns is not None]
    instants = [ticket.scheduled_ns for ticket in planned if ticket.scheduled_ns is not None]
    known = instants[len(instants) - len(firsts) :]
    due = {ticket.seq: at - known[0] for ticket, at in zip(firsts, known, strict=True)}
    return tuple(replace(ticket, scheduled_ns=due.get(ticket.seq)) for ticket in measure)


def _refuse_another_plan(plan: Plan, records: Iterable[AttemptRecord]) -> None:
    """Raises ResultsError if a record is not in the plan.

    The suite's hash ignores the order of its prompts, and another version of streambench may shuffle differently.
    """
    planned = {_key(ticket): _work(ticket) for ticket in (*plan.warmup, *plan.measure)}
    for record in records:
        ticket = record.ticket
        if planned.get(_key(ticket)) != _work(ticket):
            raise ResultsError(
                f"its records do not match this plan: the recorded request {ticket.seq} is of {ticket.model} with "
                f"prompt {shown(ticket.prompt_id)}; check whether the order of the suite's prompts or the version of "
                "streambench has changed"
            )


def _work(ticket: Ticket) -> tuple[str, str, int, int]:
    return ticket.model, ticket.prompt_id, ticket.repeat, ticket.turn

"""The runner on a clock where nothing waits: when each request goes out, and that none is lost however a run ends.

A `Wire` stands in for client and gateway. Times are milliseconds since the phase's start unless a name says otherwise.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streambench.config.sections import RateLimits
from streambench.records.schema import AttemptRecord, Failure, Ticket
from streambench.runner.observers import RecordWriter, RunObserver
from streambench.runner.scheduler import AHEAD, Pace, PhaseEnd, Scheduler, SchedulingPolicy
from streambench.testing import MS, FakeClock, make_record

START = 5_000 * MS
"""The clock does not begin at zero, as a real one does not."""

NEVER = -1
"""How long a request takes whose gateway does not answer."""


def tickets(count: int, every_ms: float | None = None, model: str = "alpha", first: int = 0) -> list[Ticket]:
    """This many, for one model; due one after the other, or on no schedule."""
    return [
        Ticket(
            seq=first + k,
            gateway="hub",
            model=model,
            prompt_id="p",
            repeat=0,
            block=k,
            scheduled_ns=None if every_ms is None else round(k * every_ms * MS),
        )
        for k in range(count)
    ]


class Wire:
    """Builds and carries requests, each as long as `takes` says, and keeps account of what became of each."""

    def __init__(self, clock: FakeClock, takes: Callable[[Ticket], float]) -> None:
        self.clock = clock
        self.takes = takes
        self.building_takes = 0.0
        self.unbuildable: int | None = None
        self.unsendable: int | None = None
        self.unreadable: int | None = None
        self.held = 0
        self.most_held = 0
        self.fails: dict[int, int] = {}
        """By number: how many of its attempts fail before one is fine."""
        self.did: dict[int, str] = {}
        """By number: a letter for each call. b(uilt), f(ired), a(borted), r(ecord taken), d(iscarded)."""

    async def prepare(self, ticket: Ticket) -> Request:
        if self.building_takes:
            await self.clock.sleep_until(self.clock.now_ns() + round(self.building_takes * MS))
        if ticket.seq == self.unbuildable:
            raise ZeroDivisionError("building")
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        self.did[ticket.seq] = "b"
        return Request(ticket, self)


class Request:
    """What the runner holds and fires."""

    def __init__(self, ticket: Ticket, wire: Wire, attempt: int = 1) -> None:
        self.ticket = ticket
        self.attempt = attempt
        self._wire = wire
        self._cut = asyncio.Event()
        self.scheduled_ns = self.queue_ns = self.start_ns = self.end_ns = 0

    def _note(self, letter: str) -> None:
        self._wire.did[self.ticket.seq] += letter

    async def fire(self, scheduled_ns: int, queue_ns: int) -> None:
        self._note("f")
        self._wire.held -= 1
        self.scheduled_ns, self.queue_ns, self.start_ns = scheduled_ns, queue_ns, self._wire.clock.now_ns()
        if self.ticket.seq == self._wire.unsendable:
            raise ZeroDivisionError("sending")
        waits = [asyncio.create_task(self._cut.wait()), asyncio.create_task(self._answer())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        self.end_ns = self._wire.clock.now_ns()

    async def _answer(self) -> None:
        takes = self._wire.takes(self.ticket)
        if takes == NEVER:
            await asyncio.Event().wait()
        await self._wire.clock.sleep_until(self.start_ns + round(takes * MS))

    def abort(self) -> None:
        self._note("a")
        self._cut.set()

    async def record(self) -> AttemptRecord:
        await asyncio.sleep(0)
        self._note("r")
        if self.ticket.seq == self._wire.unreadable:
            raise ZeroDivisionError("reading")
        broken = None if self.attempt > self._wire.fails.get(self.ticket.seq, 0) else Failure("disconnected")
        return make_record(
            attempt=self.attempt,
            ticket=self.ticket,
            scheduled_at_ns=self.scheduled_ns - START,
            queue_ns=self.queue_ns,
            start_at_ns=self.start_ns - START,
            ended_ns=self.end_ns - self.start_ns,
            failure=Failure("cancelled") if self._cut.is_set() else broken,
        )

    async def again(self) -> Request:
        assert self._wire.did[self.ticket.seq].endswith("r"), "before its record was taken"
        self._wire.held += 1
        self._note("b")
        return Request(self.ticket, self._wire, self.attempt + 1)

    async def follow(self, record: AttemptRecord, ticket: Ticket) -> Request | None:
        return None if record.failure else await self._wire.prepare(ticket)

    async def discard(self) -> None:
        if self._wire.did[self.ticket.seq].endswith("b"):
            self._wire.held -= 1
        self._note("d")


class Seen(RunObserver):
    """Hands on records, and the last attempt of each request as it is over."""

    def __init__(self, record: Callable[[AttemptRecord], None], over: Callable[[AttemptRecord], None]) -> None:
        self._record = record
        self._over = over

    def on_record(self, record: AttemptRecord) -> None:
        self._record(record)

    def on_request_end(self, record: AttemptRecord) -> None:
        self._over(record)


class Alternating(RunObserver):
    """Notes each attempt's start and end."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    def on_attempt_start(self, ticket: Ticket) -> None:
        self._told.append(f"+{ticket.seq}")

    def on_attempt_end(self, ticket: Ticket) -> None:
        self._told.append(f"-{ticket.seq}")


@dataclass
class Bench:
    """A runner on a wire; `play` runs a phase, with anything beside it, and sees that nothing is left behind."""

    takes: Callable[[Ticket], float] = lambda _: 10.0
    caps: dict[str, RateLimits] = field(default_factory=dict)
    records: list[AttemptRecord] = field(default_factory=list)
    policy: SchedulingPolicy | None = None
    over: list[AttemptRecord] = field(default_factory=list)
    """The last attempt of each request, as it was over."""
    unsent: list[Ticket] = field(default_factory=list)
    """Turns that were told to be left out."""

    def __post_init__(self) -> None:
        self.clock = FakeClock(START)
        self.wire = Wire(self.clock, self.takes)
        self.runner = Scheduler(
            self.wire.prepare,
            self.clock,
            [Seen(self.sink, self.over.append)],
            self.caps,
            policy=self.policy,
            on_turn_dropped=self.unsent.append,
        )
        self.broken_at: int | None = None

    def sink(self, record: AttemptRecord) -> None:
        if record.ticket.seq == self.broken_at:
            raise ZeroDivisionError("writing")
        self.records.append(record)

    def play(self, plan: Sequence[Ticket], pace: Pace, *beside: Callable[[], Awaitable[None]]) -> PhaseEnd:
        return self.play_all([(plan, pace)], *beside)[-1]

    def play_all(
        self, phases: Sequence[tuple[Sequence[Ticket], Pace]], *beside: Callable[[], Awaitable[None]]
    ) -> list[PhaseEnd]:
        async def all_of_it() -> list[PhaseEnd]:
            others = [asyncio.ensure_future(each()) for each in beside]
            try:
                return [await self.runner.run(plan, pace) for plan, pace in phases]
            finally:
                for other in others:
                    other.cancel()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert asyncio.all_tasks() == {asyncio.current_task()}, "a task outlived the run"

        return asyncio.run(all_of_it())

    def at(self, when_ms: float, call: Callable[[], object]) -> Callable[[], Awaitable[None]]:
        """To be played beside a run: this call, at this instant."""

        async def wait_and_call() -> None:
            await self.clock.sleep_until(START + round(when_ms * MS))
            call()

        return wait_and_call

    def starts_ms(self) -> list[float]:
        return sorted(record.start_at_ns / MS for record in self.records)

    def by_number(self) -> list[AttemptRecord]:
        return sorted(self.records, key=lambda record: record.ticket.seq)


def under_way(records: Sequence[AttemptRecord], at_ns: int) -> int:
    return sum(record.start_at_ns <= at_ns < record.start_at_ns + record.ended_ns for record in records)


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=25)


# --- the closed loop --------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(lengths=lengths, lanes=st.integers(1, 6))
def test_exactly_as_many_as_there_are_lanes_are_under_way(lengths: list[int], lanes: int) -> None:
    """At every start but the last, when the plan may have fewer left: not one less, not one more."""
    bench = Bench(takes=lambda ticket: lengths[ticket.seq])
    bench.play(tickets(len(lengths)), Pace(lanes))
    starts = {record.start_at_ns for record in bench.records}
    assert {under_way(bench.records, start) for start in starts - {max(starts)}} <= {lanes}
    assert under_way(bench.records, max(starts)) <= lanes


@settings(max_examples=50)
@given(lengths=lengths, lanes=st.integers(1, 6))
def test_each_is_sent_once_in_the_plans_order(lengths: list[int], lanes: int) -> None:
    """However long each takes."""
    bench = Bench(takes=lambda ticket: lengths[ticket.seq])
    end = bench.play(tickets(len(lengths)), Pace(lanes))
    starts = [record.start_at_ns for record in bench.by_number()]
    assert starts == sorted(starts)
    assert bench.wire.did == dict.fromkeys(range(len(lengths)), "bfr")
    assert (end.sent, end.stopped) == (len(lengths), None)


def test_a_request_is_due_when_its_lane_is_free() -> None:
    """Two lanes, 10 and 25 ms: the lanes are free at 0, 0, then 10, 20 (10 + 10), 25."""
    bench = Bench(takes=lambda ticket: 25 if ticket.seq == 1 else 10)
    bench.play(tickets(5), Pace(2))
    assert [record.scheduled_at_ns / MS for record in bench.by_number()] == [0, 0, 10, 20, 25]
    assert [record.start_at_ns / MS for record in bench.by_number()] == [0, 0, 10, 20, 25]
    assert {record.queue_ns for record in bench.records} == {0}


def test_late_building_is_start_lag_not_queue() -> None:
    """One lane; building takes 30 ms, a reply 10. One is built beforehand; the next is built from 0 to 30, so that the
    lane, free at 10, can fire it at 30 only; the next from 30 to 60.
    """
    bench = Bench()
    bench.wire.building_takes = 30
    bench.play(tickets(3), Pace(1))
    first, *rest = bench.by_number()
    since = first.start_at_ns
    assert [(record.scheduled_at_ns - since) / MS for record in rest] == [10, 40]
    assert [(record.start_at_ns - since) / MS for record in rest] == [30, 60]
    assert [record.queue_ns for record in rest] == [0, 0]


def test_a_request_is_in_hand_for_every_lane_before_the_first_goes_out() -> None:
    """Building takes 5 ms: with four lanes the phase starts at 20, and all four go at once."""
    bench = Bench()
    bench.wire.building_takes = 5
    end = bench.play(tickets(4), Pace(4))
    assert (end.started_ns - START) / MS == 20
    assert bench.starts_ms() == [20, 20, 20, 20]


@pytest.mark.parametrize(("lanes", "count"), [(1, 10), (4, 10), (300, 600)])
def test_no_more_are_built_ahead_than_there_are_lanes(lanes: int, count: int) -> None:
    """Nor more than AHEAD, for a held request costs memory."""
    bench = Bench()
    bench.play(tickets(count), Pace(lanes))
    assert bench.wire.most_held == min(lanes, AHEAD)


def test_more_lanes_than_requests_do_no_harm() -> None:
    """All three at once."""
    bench = Bench()
    assert bench.play(tickets(3), Pace(50)).sent == 3
    assert bench.starts_ms() == [0, 0, 0]


def test_a_phase_lasts_from_its_start_to_the_last_landing() -> None:
    """Two lanes, three of 10 ms: 0 to 20."""
    end = Bench().play(tickets(3), Pace(2))
    assert ((end.started_ns - START) / MS, (end.ended_ns - START) / MS) == (0, 20)


# --- the open loop ----------------------------------------------------------------------------------------------------

OPEN = Pace(None)


@pytest.mark.parametrize("takes", [0.0, 1.0, 500.0])
def test_each_goes_out_at_its_instant_whether_replies_come_or_not(takes: float) -> None:
    """Every 7 ms, be the replies quick or slow."""
    bench = Bench(takes=lambda _: takes)
    bench.play(tickets(20, every_ms=7), OPEN)
    assert [record.start_at_ns / MS for record in bench.by_number()] == [7 * k for k in range(20)]
    assert [record.scheduled_at_ns / MS for record in bench.by_number()] == [7 * k for k in range(20)]
    assert {record.queue_ns for record in bench.records} == {0}


def test_lateness_is_in_the_numbers() -> None:
    """Due at 0, 10, 20; building takes 30 ms each: sent at 30, 60, 90. Late by start minus scheduled, not by queue."""
    bench = Bench()
    bench.wire.building_takes = 30
    bench.play(tickets(3, every_ms=10), OPEN)
    assert [record.scheduled_at_ns / MS for record in bench.by_number()] == [0, 10, 20]
    assert [record.start_at_ns / MS for record in bench.by_number()] == [30, 60, 90]
    assert {record.queue_ns for record in bench.records} == {0}


def test_at_most_so_many_are_built_ahead_of_a_schedule() -> None:
    """300 due in an hour: besides the one whose turn it is AHEAD are built at once, the others as these go out."""
    bench = Bench()
    plan = [Ticket(k, "hub", "alpha", "p", 0, k, scheduled_ns=3_600_000 * MS) for k in range(AHEAD + 44)]
    bench.play(plan, OPEN)
    assert bench.wire.most_held == 1 + AHEAD
    assert len(bench.records) == AHEAD + 44


@pytest.mark.parametrize("pace", [Pace(3), OPEN], ids=["closed", "open"])
def test_an_empty_plan_ends_at_once(pace: Pace) -> None:
    """Nothing sent, nothing recorded, no reason to stop."""
    bench = Bench()
    assert bench.play([], pace) == PhaseEnd(START, START, 0, None)
    assert bench.records == []


# --- caps -------------------------------------------------------------------------------------------------------------


def test_waiting_at_a_cap_is_queue_time() -> None:
    """Six due at 0, two at a time, 10 ms each: they start at 0, 0, 10, 10, 20, 20, were due at 0 and queued since."""
    bench = Bench(caps={"gateway:hub": RateLimits(max_concurrency=2)})
    bench.play(tickets(6, every_ms=0), OPEN)
    assert [record.start_at_ns / MS for record in bench.by_number()] == [0, 0, 10, 10, 20, 20]
    assert [record.queue_ns / MS for record in bench.by_number()] == [0, 0, 10, 10, 20, 20]
    assert {record.scheduled_at_ns for record in bench.records} == {0}


@settings(max_examples=50)
@given(lengths=lengths, cap=st.integers(1, 4), lanes=st.none() | st.integers(1, 6), every=st.integers(0, 12))
def test_a_cap_is_kept_whatever_the_load(lengths: list[int], cap: int, lanes: int | None, every: int) -> None:
    """Never more under way than it allows, the plan's order kept, all sent."""
    bench = Bench(takes=lambda ticket: lengths[ticket.seq], caps={"gateway:hub": RateLimits(max_concurrency=cap)})
    bench.play(tickets(len(lengths), every_ms=every), Pace(lanes))
    assert max(under_way(bench.records, record.start_at_ns) for record in bench.records) <= cap
    starts = [record.start_at_ns for record in bench.by_number()]
    assert starts == sorted(starts)
    assert len(starts) == len(lengths)


def test_a_capped_model_does_not_hold_up_the_others() -> None:
    """alpha takes one at a time, the hub two. Three of alpha and one of beta, due at 0: beta goes at once, as alpha's
    second waits for alpha, not in the hub's second place.
    """
    bench = Bench(caps={"gateway:hub": RateLimits(max_concurrency=2), "model:alpha": RateLimits(max_concurrency=1)})
    bench.play(tickets(3, every_ms=0) + tickets(1, every_ms=0, model="beta", first=3), OPEN)
    assert [record.start_at_ns / MS for record in bench.by_number()] == [0, 10, 20, 0]


# --- stopping ---------------------------------------------------------------------------------------------------------


def test_stop_waits_for_what_is_under_way() -> None:
    """Two lanes, 10 ms each, stopped at 15: four were sent, and all four ended well, at 20."""
    bench = Bench()
    end = bench.play(tickets(100), Pace(2), bench.at(15, bench.runner.stop))
    assert (end.sent, end.stopped, (end.ended_ns - START) / MS) == (4, "interrupted", 20)
    assert [record.failure for record in bench.records] == [None] * 4


def test_abort_breaks_off_what_is_under_way() -> None:
    """Two lanes that nobody answers, aborted at 15: both are recorded, as cancelled, and the phase ends there."""
    bench = Bench(takes=lambda _: NEVER)
    end = bench.play(tickets(100), Pace(2), bench.at(15, bench.runner.abort))
    assert (end.sent, end.stopped, (end.ended_ns - START) / MS) == (2, "interrupted", 15)
    assert [record.failure for record in bench.records] == [Failure("cancelled")] * 2


def test_abort_after_stop_breaks_off() -> None:
    """Ctrl-C once, then again."""
    bench = Bench(takes=lambda _: NEVER)
    beside = (bench.at(5, bench.runner.stop), bench.at(15, bench.runner.abort))
    assert (bench.play(tickets(9), Pace(2), *beside).ended_ns - START) / MS == 15
    assert [record.failure for record in bench.records] == [Failure("cancelled")] * 2


def test_what_is_broken_off_is_unfinished() -> None:
    """Two lanes, 10 ms and never. The limit stops all at 5; the one that does not end is broken off at 20."""
    bench = Bench(takes=lambda ticket: 10 if ticket.seq == 0 else NEVER)
    end = bench.play(tickets(2), Pace(2, stop_after_ns=5 * MS), bench.at(20, bench.runner.abort))
    assert (end.sent, end.stopped, end.unfinished) == (2, "duration_limit", 1)


def test_stop_ends_the_wait_for_an_instant() -> None:
    """The next request is due in an hour; nobody waits for it."""
    bench = Bench()
    end = bench.play(tickets(2, every_ms=3_600_000), OPEN, bench.at(15, bench.runner.stop))
    assert (end.sent, (end.ended_ns - START) / MS) == (1, 15)


@pytest.mark.parametrize("pace", [Pace(3), OPEN], ids=["closed", "open"])
def test_stop_ends_the_wait_at_a_cap(pace: Pace) -> None:
    """One at a time, 100 ms; stopped at 15. The first is waited for, those in line are not sent."""
    bench = Bench(takes=lambda _: 100, caps={"gateway:hub": RateLimits(max_concurrency=1)})
    end = bench.play(tickets(5, every_ms=0), pace, bench.at(15, bench.runner.stop))
    assert (end.sent, (end.ended_ns - START) / MS) == (1, 100)


@pytest.mark.parametrize("pace", [Pace(3), OPEN], ids=["closed", "open"])
def test_stopped_before_it_began_nothing_is_sent(pace: Pace) -> None:
    """A Ctrl-C in the warm-up ends what would follow, too."""
    bench = Bench()
    bench.runner.stop()
    assert bench.play(tickets(5, every_ms=0), pace) == PhaseEnd(START, START, 0, "interrupted")


def test_stop_while_the_first_are_built() -> None:
    """Each takes 30 ms to build; stopped at 45, in the midst of the second."""
    bench = Bench()
    bench.wire.building_takes = 30
    assert bench.play(tickets(9), Pace(4), bench.at(45, bench.runner.stop)).sent == 0
    assert bench.wire.did == {0: "bd", 1: "bd"}


def test_the_duration_limit_stops_sending() -> None:
    """35 ms, one lane, 10 ms each: sent at 0, 10, 20, 30; the last ends at 40."""
    bench = Bench()
    end = bench.play(tickets(100), Pace(1, stop_after_ns=35 * MS))
    assert (end.sent, end.stopped, (end.ended_ns - START) / MS) == (4, "duration_limit", 40)
    assert [record.failure for record in bench.records] == [None] * 4


def test_the_duration_limit_counts_from_the_phases_start() -> None:
    """Building for two lanes takes 60 ms, before the phase: the limit of 25 leaves time for both."""
    bench = Bench()
    bench.wire.building_takes = 30
    end = bench.play(tickets(2), Pace(2, stop_after_ns=25 * MS))
    assert (end.stopped, bench.starts_ms()) == (None, [60, 60])


def test_a_limit_that_is_not_reached_stops_nothing() -> None:
    """Neither this phase nor the next."""
    bench = Bench()
    limited, following = bench.play_all([(tickets(2), Pace(1, stop_after_ns=50 * MS)), (tickets(9, first=2), Pace(1))])
    assert (limited.stopped, following.stopped, following.sent) == (None, None, 9)


def test_phases_share_their_caps() -> None:
    """What the first phase took at the gates it has given back for the second."""
    bench = Bench(caps={"gateway:hub": RateLimits(max_concurrency=1)})
    first, second = bench.play_all([(tickets(3), Pace(2)), (tickets(3, every_ms=0, first=3), OPEN)])
    assert (first.sent, second.sent) == (3, 3)


@settings(max_examples=100)
@given(
    lengths=lengths,
    lanes=st.none() | st.integers(1, 5),
    cap=st.none() | st.integers(1, 3),
    every=st.integers(0, 15),
    stop=st.integers(0, 200),
    abort=st.none() | st.integers(0, 200),
)
def test_a_stop_at_any_moment_loses_nothing(
    lengths: list[int], lanes: int | None, cap: int | None, every: int, stop: int, abort: int | None
) -> None:
    """What was fired is recorded, what was not is discarded; each once; what is recorded is a beginning of the plan."""
    bench = Bench(takes=lambda ticket: lengths[ticket.seq], caps={"gateway:hub": RateLimits(max_concurrency=cap)})
    beside = [bench.at(stop, bench.runner.stop)]
    if abort is not None:
        beside.append(bench.at(abort, bench.runner.abort))
    end = bench.play(tickets(len(lengths), every_ms=every), Pace(lanes), *beside)
    assert set(bench.wire.did.values()) <= {"bfr", "bfar", "bd"}
    sent = [seq for seq, did in sorted(bench.wire.did.items()) if "f" in did]
    assert [record.ticket.seq for record in bench.by_number()] == sent == list(range(end.sent))


# --- records ----------------------------------------------------------------------------------------------------------


def test_every_observer_gets_every_record_as_it_lands() -> None:
    """Four at once, of 40, 10, 30 and 20 ms: in the order of their ends."""
    bench, more = Bench(takes=lambda ticket: (40, 10, 30, 20)[ticket.seq]), list[AttemptRecord]()
    bench.runner = Scheduler(bench.wire.prepare, bench.clock, [RecordWriter(bench.sink), RecordWriter(more.append)])
    bench.play(tickets(4), Pace(4))
    assert [record.ticket.seq for record in bench.records] == [1, 3, 2, 0]
    assert more == bench.records


def test_an_observer_is_told_of_each_start_and_landing() -> None:
    """One lane: they alternate."""
    told: list[str] = []
    bench = Bench()
    bench.runner = Scheduler(
        bench.wire.prepare,
        bench.clock,
        [Alternating(told)],
    )
    bench.play(tickets(3), Pace(1))
    assert told == ["+0", "-0", "+1", "-1", "+2", "-2"]


# --- retries ----------------------------------------------------------------------------------------------------------


def retrying(wait_ms: float, attempts: int = 3) -> SchedulingPolicy:
    """After each failed attempt this long, up to so many."""

    def retry(record: AttemptRecord) -> float | None:
        return wait_ms / 1_000 if record.failure is not None and record.attempt < attempts else None

    return SchedulingPolicy(retry=retry, wants_record=lambda _: True)


def attempts_ms(bench: Bench) -> list[tuple[int, int, float]]:
    """(request, attempt, start) in order of their starts."""
    rows = sorted(bench.records, key=lambda record: record.start_at_ns)
    return [(record.ticket.seq, record.attempt, record.start_at_ns / MS) for record in rows]


def test_a_failed_attempt_is_followed_by_another_in_the_same_lane() -> None:
    """One lane, 10 ms each. The first fails twice: at 0, 10 + 20 = 30, 40 + 20 = 60; only then the second, at 70."""
    bench = Bench(policy=retrying(20))
    bench.wire.fails[0] = 2
    end = bench.play(tickets(2), Pace(1))
    assert attempts_ms(bench) == [(0, 1, 0), (0, 2, 30), (0, 3, 60), (1, 1, 70)]
    assert (end.sent, end.skipped, end.stopped, end.unfinished) == (2, 0, None, 0)


def test_the_other_lanes_go_on_meanwhile() -> None:
    """Two lanes: the second takes all others, one each 10 ms, while the first waits from 10 to 60."""
    bench = Bench(policy=retrying(50))
    bench.wire.fails[0] = 1
    bench.play(tickets(5), Pace(2))
    assert attempts_ms(bench) == [(0, 1, 0), (1, 1, 0), (2, 1, 10), (3, 1, 20), (4, 1, 30), (0, 2, 60)]


def test_in_an_open_loop_a_retry_holds_up_nobody() -> None:
    """Every 7 ms; the first comes again at 10 + 20 = 30."""
    bench = Bench(policy=retrying(20))
    bench.wire.fails[0] = 1
    bench.play(tickets(4, every_ms=7), OPEN)
    assert attempts_ms(bench) == [(0, 1, 0), (1, 1, 7), (2, 1, 14), (3, 1, 21), (0, 2, 30)]


def test_all_attempts_are_due_when_their_request_was() -> None:
    """At 7: so the time until a good answer counts from there."""
    bench = Bench(policy=retrying(20))
    bench.wire.fails[1] = 2
    bench.play(tickets(2, every_ms=7), OPEN)
    assert [record.scheduled_at_ns / MS for record in bench.records if record.ticket.seq == 1] == [7, 7, 7]


def test_a_request_is_over_with_its_last_attempt() -> None:
    """0 is fine at once, 1 at the second, 2 never."""
    bench = Bench(policy=retrying(20))
    bench.wire.fails |= {1: 1, 2: 9}
    bench.play(tickets(3), Pace(3))
    assert sorted((record.ticket.seq, record.attempt) for record in bench.over) == [(0, 1), (1, 2), (2, 3)]
    assert [record.failure for record in bench.over if record.ticket.seq == 2] == [Failure("disconnected")]


def test_who_waits_for_a_retry_is_at_no_gate() -> None:
    """One at a time: the second request uses the place from 10 to 20; the retry is ready at 15, goes at 20, and has
    queued 5.
    """
    bench = Bench(caps={"gateway:hub": RateLimits(max_concurrency=1)}, policy=retrying(5))
    bench.wire.fails[0] = 1
    bench.play(tickets(2, every_ms=0), OPEN)
    assert attempts_ms(bench) == [(0, 1, 0), (1, 1, 10), (0, 2, 20)]
    assert [record.queue_ns / MS for record in bench.records if record.attempt == 2] == [5]


@pytest.mark.parametrize("pace", [Pace(2), OPEN], ids=["closed", "open"])
def test_stop_ends_the_wait_for_a_retry(pace: Pace) -> None:
    """It would come again in an hour; stopped at 15 it is over, with the attempt it had."""
    bench = Bench(policy=retrying(3_600_000))
    bench.wire.fails[0] = 1
    end = bench.play(tickets(1, every_ms=0), pace, bench.at(15, bench.runner.stop))
    assert (end.sent, end.stopped, (end.ended_ns - START) / MS) == (1, "interrupted", 15)
    assert end.unfinished == 1
    assert [(record.attempt, record.failure) for record in bench.over] == [(1, Failure("disconnected"))]


def test_without_a_policy_nobody_waits_for_a_record() -> None:
    """Reading it takes the collector until all six of one lane are fired: the lane does not see it."""
    bench = Bench()
    bench.wire.fails |= dict.fromkeys(range(6), 9)
    bench.play(tickets(6), Pace(1))
    assert bench.starts_ms() == [0, 10, 20, 30, 40, 50]
    assert bench.wire.did == dict.fromkeys(range(6), "bfr")
    assert bench.over == bench.records


@settings(max_examples=100)
@given(
    lengths=lengths,
    fails=st.lists(st.integers(0, 3), min_size=25, max_size=25),
    lanes=st.none() | st.integers(1, 5),
    cap=st.none() | st.integers(1, 3),
    stop=st.none() | st.integers(0, 200),
    abort=st.none() | st.integers(0, 200),
)
def test_a_stop_amid_retries_loses_nothing(
    lengths: list[int], fails: list[int], lanes: int | None, cap: int | None, stop: int | None, abort: int | None
) -> None:
    """Every attempt that was fired is recorded, every request that was is over once, with its last attempt."""
    caps = {"gateway:hub": RateLimits(max_concurrency=cap)}
    bench = Bench(takes=lambda ticket: lengths[ticket.seq], caps=caps, policy=retrying(15))
    bench.wire.fails |= dict(enumerate(fails))
    moments = ((stop, bench.runner.stop), (abort, bench.runner.abort))
    beside = [bench.at(moment, call) for moment, call in moments if moment is not None]
    end = bench.play(tickets(len(lengths), every_ms=5), Pace(lanes), *beside)
    assert [did for did in bench.wire.did.values() if not re.fullmatch("(bfa?r)+(bd)?|bd", did)] == []
    last = {record.ticket.seq: record.attempt for record in sorted(bench.records, key=lambda one: one.attempt)}
    assert {record.ticket.seq: record.attempt for record in bench.over} == last
    assert len(bench.over) == len(last) == end.sent
    assert bench.wire.held == 0


# --- holds and breakers -----------------------------------------------------------------------------------------------


def test_a_hold_is_queue_time() -> None:
    """alpha is held until 25 and beta is not: both were due at 0."""
    held = SchedulingPolicy(held_until=lambda ticket: START + 25 * MS if ticket.model == "alpha" else 0)
    bench = Bench(policy=held)
    bench.play(tickets(1, every_ms=0) + tickets(1, every_ms=0, model="beta", first=1), OPEN)
    assert [record.start_at_ns / MS for record in bench.by_number()] == [25, 0]
    assert [record.queue_ns / MS for record in bench.by_number()] == [25, 0]


def test_a_hold_that_comes_while_waiting_at_a_gate_is_kept() -> None:
    """One at a time. alpha's second is at the gate when, at 5, alpha is held until 100: it leaves its place to beta."""
    until: dict[str, int] = {}
    bench = Bench(
        caps={"gateway:hub": RateLimits(max_concurrency=1)},
        policy=SchedulingPolicy(held_until=lambda ticket: until.get(ticket.model, 0)),
    )
    plan = tickets(2, every_ms=0) + tickets(1, every_ms=0, model="beta", first=2)
    bench.play(plan, OPEN, bench.at(5, lambda: until.update(alpha=START + 100 * MS)))
    assert [record.start_at_ns / MS for record in bench.by_number()] == [0, 100, 10]
    assert [record.queue_ns / MS for record in bench.by_number()] == [0, 100, 10]


@pytest.mark.parametrize("pace", [Pace(3), OPEN], ids=["closed", "open"])
def test_stop_ends_a_hold(pace: Pace) -> None:
    """Held for an hour, stopped at 15: nothing was sent."""
    bench = Bench(policy=SchedulingPolicy(held_until=lambda _: START + 3_600_000 * MS))
    end = bench.play(tickets(5, every_ms=0), pace, bench.at(15, bench.runner.stop))
    assert (end.sent, end.skipped, (end.ended_ns - START) / MS) == (0, 0, 15)


@pytest.mark.parametrize("pace", [Pace(2), OPEN], ids=["closed", "open"])
def test_what_may_not_be_sent_is_skipped_and_the_rest_goes_on(pace: Pace) -> None:
    """alpha's three are dropped unsent; beta's three are sent."""
    bench = Bench(policy=SchedulingPolicy(may_send=lambda ticket: ticket.model == "beta"))
    end = bench.play(tickets(3, every_ms=1) + tickets(3, every_ms=1, model="beta", first=3), pace)
    assert (end.sent, end.skipped, end.stopped) == (3, 3, None)
    assert bench.wire.did == dict.fromkeys(range(3), "bd") | dict.fromkeys(range(3, 6), "bfr")


def test_what_may_be_sent_is_asked_again_behind_the_gates() -> None:
    """One at a time. What is forbidden at 5, while it waits there, is not sent at 10; its place is given back."""
    allowed = {"alpha", "beta"}
    bench = Bench(
        caps={"gateway:hub": RateLimits(max_concurrency=1)},
        policy=SchedulingPolicy(may_send=lambda ticket: ticket.model in allowed),
    )
    plan = tickets(2, every_ms=0) + tickets(1, every_ms=0, model="beta", first=2)
    end = bench.play(plan, OPEN, bench.at(5, lambda: allowed.discard("alpha")))
    assert (end.sent, end.skipped) == (2, 1)
    assert [(record.ticket.seq, record.start_at_ns / MS) for record in bench.by_number()] == [(0, 0), (2, 10)]


def test_a_retry_that_may_not_be_sent_ends_its_request() -> None:
    """It was sent once, so it is not skipped; it is over with that attempt, and unfinished."""
    fine = retrying(20)
    bench = Bench(policy=fine)
    bench.runner = Scheduler(
        bench.wire.prepare,
        bench.clock,
        [Seen(bench.sink, bench.over.append)],
        policy=SchedulingPolicy(fine.retry, fine.wants_record, may_send=lambda _: not bench.records),
    )
    bench.wire.fails[0] = 1
    end = bench.play(tickets(1), Pace(1))
    assert (end.sent, end.skipped, end.unfinished, bench.wire.did) == (1, 0, 1, {0: "bfrbd"})
    assert [record.attempt for record in bench.over] == [1]


def test_a_breaker_may_stop_the_run_when_it_is_asked() -> None:
    """A budget of two, one lane: the third is not sent, and the phase says what stopped it."""
    bench = Bench()

    def within_budget(_: Ticket) -> bool:
        if len(bench.records) >= 2:
            bench.runner.stop("budget")
        return len(bench.records) < 2

    policy = SchedulingPolicy(may_send=within_budget, wants_record=lambda _: True)
    bench.runner = Scheduler(bench.wire.prepare, bench.clock, [RecordWriter(bench.sink)], policy=policy)
    end = bench.play(tickets(9), Pace(1))
    assert (end.sent, end.skipped, end.stopped) == (2, 0, "budget")


# --- faults of our own ------------------------------------------------------------------------------------------------

PACES = pytest.mark.parametrize("pace", [Pace(3), OPEN], ids=["closed", "open"])


@PACES
def test_a_sink_that_raises_ends_the_run(pace: Pace) -> None:
    """A full disk: its own error comes out, no group of errors; nobody answers the others, which are broken off."""
    bench = Bench(takes=lambda ticket: 10 if ticket.seq == 1 else NEVER)
    bench.broken_at = 1
    with pytest.raises(ZeroDivisionError, match="writing"):
        bench.play(tickets(50, every_ms=0), pace)
    assert bench.runner.under_way == 0
    assert bench.clock.now_ns() == START + 10 * MS


@PACES
def test_after_a_broken_sink_everything_is_at_rest(pace: Pace) -> None:
    """What was built is recorded or discarded, what was fired was broken off first."""
    bench = Bench(takes=lambda ticket: 10 if ticket.seq == 1 else NEVER)
    bench.broken_at = 1
    with pytest.raises(ZeroDivisionError):
        bench.play(tickets(50, every_ms=0), pace)
    assert bench.wire.did[1] == "bfr"
    assert set(bench.wire.did.values()) <= {"bfr", "bfad", "bd"}
    assert bench.wire.held == 0


@PACES
def test_a_request_that_cannot_be_read_ends_the_run_alike(pace: Pace) -> None:
    """A fault in decoding is one of ours: it must be seen, not hang."""
    bench = Bench(takes=lambda ticket: 10 if ticket.seq == 1 else NEVER)
    bench.wire.unreadable = 1
    with pytest.raises(ZeroDivisionError, match="reading"):
        bench.play(tickets(50, every_ms=0), pace)
    assert set(bench.wire.did.values()) <= {"bfr", "bfad", "bd"}


@PACES
@pytest.mark.parametrize("fault", ["writing", "reading"])
def test_nobody_waits_for_a_record_that_will_not_come(pace: Pace, fault: str) -> None:
    """The collector dies while lanes wait for their records: the error comes out, and nothing hangs."""
    bench = Bench(policy=retrying(10))
    bench.broken_at = 1 if fault == "writing" else None
    bench.wire.unreadable = 1 if fault == "reading" else None
    with pytest.raises(ZeroDivisionError, match=fault):
        bench.play(tickets(50, every_ms=0), pace)
    assert bench.runner.under_way == 0
    assert bench.clock.now_ns() == START + 10 * MS


@PACES
@pytest.mark.parametrize("broken", [0, 2, 7, 49])
def test_a_request_that_cannot_be_built_ends_the_run(pace: Pace, broken: int) -> None:
    """Those before it are sent and recorded; the error comes out once they are."""
    bench = Bench()
    bench.wire.unbuildable = broken
    with pytest.raises(ZeroDivisionError, match="building"):
        bench.play(tickets(50, every_ms=3), pace)
    assert bench.wire.did == dict.fromkeys(range(broken), "bfr")
    assert len(bench.records) == broken


@PACES
def test_a_request_that_cannot_be_sent_ends_the_run(pace: Pace) -> None:
    """The others under way are broken off and recorded, the error comes out by itself; 50 are planned, no more built
    than the three lanes and three ahead need.
    """
    bench = Bench(takes=lambda _: NEVER)
    bench.wire.unsendable = 2
    with pytest.raises(ZeroDivisionError, match="sending"):
        bench.play(tickets(50, every_ms=3), pace)
    assert {record.ticket.seq for record in bench.records} == {0, 1, 2}
    assert set(bench.wire.did.values()) <= {"bfar", "bfr", "bd"}


@PACES
def test_a_run_that_is_cancelled_keeps_what_it_has(pace: Pace) -> None:
    """As when its program ends around it: what is under way is broken off and recorded, then it ends as cancelled."""
    bench = Bench(takes=lambda _: NEVER)

    async def play() -> None:
        running = asyncio.create_task(bench.runner.run(tickets(50, every_ms=3), pace))
        await bench.at(10, running.cancel)()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(play())
    assert Counter(bench.wire.did.values())["bfar"] == len(bench.records) > 0
    assert set(bench.wire.did.values()) <= {"bfar", "bd"}


# --- conversations ----------------------------------------------------------------------------------------------------


def turns(*lengths: int) -> list[Ticket]:
    """A conversation of so many turns each, one after another in the plan."""
    plan: list[Ticket] = []
    for length in lengths:
        name = f"s{len(plan)}"
        plan += [
            replace(ticket, session_id=name, turn=turn) for turn, ticket in enumerate(tickets(length, first=len(plan)))
        ]
    return plan


THINKS = SchedulingPolicy(think_s=lambda _: 0.05)


def test_a_turn_is_due_once_its_user_has_thought() -> None:
    """Turns of 10 ms, 50 ms of thought between them: 0, 60, 120. The lane is kept, so the next session waits for it."""
    bench = Bench(policy=THINKS)
    end = bench.play(turns(3, 1), Pace(1))
    assert bench.starts_ms() == [0, 60, 120, 130]
    assert [r.start_at_ns - r.scheduled_at_ns for r in bench.records] == [0] * 4
    assert (end.sent, end.unsent, end.skipped) == (4, 0, 0)


def test_a_turn_that_fails_leaves_the_others_out() -> None:
    """The second of four fails: two are told to be left out, and the next session begins."""
    bench = Bench()
    bench.wire.fails = {1: 1}
    end = bench.play(turns(4, 2), Pace(1))
    assert [record.ticket.seq for record in bench.records] == [0, 1, 4, 5]
    assert [ticket.seq for ticket in bench.unsent] == [2, 3]
    assert (end.sent, end.unsent, end.skipped, end.unfinished) == (4, 2, 0, 0)


def test_a_stop_while_a_user_thinks_sends_nothing_more() -> None:
    """The turn was built already, and is dropped; it was not left out by its session."""
    bench = Bench(policy=THINKS)
    end = bench.play(turns(2), Pace(1), bench.at(30, bench.runner.stop))
    assert bench.wire.did == {0: "bfr", 1: "bd"}
    assert (end.sent, end.unsent, end.stopped) == (1, 0, "interrupted")


def test_what_may_not_be_sent_is_skipped_with_its_session() -> None:
    """Refused before its second turn: that one and the third are left for another time."""
    bench = Bench(policy=SchedulingPolicy(may_send=lambda ticket: ticket.turn == 0))
    end = bench.play(turns(3), Pace(1))
    assert (end.sent, end.skipped, end.unsent) == (1, 2, 0)


def test_an_open_loop_waits_for_no_session() -> None:
    """Starts at 0 and 5 ms, whatever their turns do; a later turn follows its answer."""
    plan = [replace(t, scheduled_ns=None if t.turn else 5 * MS * (t.seq // 2)) for t in turns(2, 2)]
    bench = Bench()
    bench.play(plan, Pace(None))
    assert bench.starts_ms() == [0, 5, 10, 15]


@settings(max_examples=50)
@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=8), lanes=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_session_has_one_turn_under_way(lengths: list[int], lanes: int, seed: int) -> None:
    """And no more sessions are open than there are lanes; none that fails is gone on with; each turn has one fate."""
    plan = turns(*lengths)
    bench = Bench(takes=lambda ticket: 1 + (ticket.seq * 7 + seed) % 20)
    bench.wire.fails = {ticket.seq: 1 for ticket in plan if (ticket.seq + seed) % 5 == 0}
    end = bench.play(plan, Pace(lanes))
    assert end.sent + end.unsent == len(plan)
    for earlier, later in pairwise(bench.by_number()):
        if earlier.ticket.session_id == later.ticket.session_id:
            assert earlier.start_at_ns + earlier.ended_ns <= later.start_at_ns
            assert earlier.failure is None
    for record in bench.records:
        assert under_way(bench.records, record.start_at_ns) <= lanes

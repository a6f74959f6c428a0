"""When each ticket of the plan goes out, and what becomes of it. Knows neither the SDK nor the disk.

It is handed `arm(ticket)`, which builds a request ahead of its instant, and sinks that take the finished records.
Closed loop: lanes take the armed requests in the plan's order. Open loop: each is fired at its instant, come what may.
Whether a request is tried again, held back or left out it asks a `Policy`. A conversation is served by one lane, turn
after turn: only its first is in the armoury, as what the others send is not known yet.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from streambench.armoury import Arm, Armed, Armoury
from streambench.clock import NS, Clock
from streambench.gates import Caps, Gate, Gates, leave
from streambench.records import AttemptRecord, Ticket

AHEAD = 256
"""Requests that are built ahead of their turn, at most."""

Sink = Callable[[AttemptRecord], None]
"""Takes each record as it ends, on the event loop, so it must be quick. One that raises ends the run."""
Stop = Literal["interrupted", "duration_limit", "key_refused", "failure_share", "budget"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What the runner asks of others. By default all is sent, at once, and once."""

    retry: Callable[[AttemptRecord], float | None] = lambda _: None
    """Seconds until the request of this attempt is tried again; None, never. Asked where its record is waited for."""
    wants_record: Callable[[Ticket], bool] = lambda _: False
    """Whether who sends this waits for its record before going on, rather than only for a quiet wire."""
    may_send: Callable[[Ticket], bool] = lambda _: True
    """Asked right before each attempt; what may not be sent is dropped."""
    must_wait: Callable[[Ticket], bool] = lambda _: False
    """Whether it may be sent only once something has landed. Asked anew after each record; the wait is queue time."""
    held_until: Callable[[Ticket], int] = lambda _: 0
    """The monotonic instant before which this must not be sent. The wait is queue time."""
    think_s: Callable[[Ticket], float] = lambda _: 0.0
    """Seconds between the answer before a conversation's turn and the moment that the turn is due."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a phase is run. `concurrency` is the number of lanes of a closed loop; None is an open loop.

    `stop_after_ns` is how long new requests are sent; those under way are waited for.
    """

    concurrency: int | None
    stop_after_ns: int | None = None

    @property
    def ahead(self) -> int:
        return min(AHEAD, self.concurrency or AHEAD)


@dataclass(frozen=True, slots=True)
class PhaseEnd:
    """Instants are monotonic; `fired` counts requests, however often each was tried. `stopped` says why the plan was
    left before its end, `skipped` how many requests of it were left out although it went on, `unfinished` how many of
    those fired were broken off, or were to be tried again and were not. `unsent` counts the turns of conversations that
    had ended before them.
    """

    started_ns: int
    ended_ns: int
    fired: int
    stopped: Stop | None
    skipped: int = 0
    unfinished: int = 0
    unsent: int = 0


@dataclass(frozen=True, slots=True)
class _Entry:
    """What an attempt passed, and how long it waited there."""

    gates: list[Gate]
    queue_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class _Quiet:
    """An attempt, its wire quiet since `at_ns`. `taken` is where its record is waited for; None where nobody waits."""

    armed: Armed
    taken: asyncio.Future[AttemptRecord] | None
    at_ns: int


@dataclass(frozen=True, slots=True)
class _Served:
    """A request that is over: its last attempt, that one's record, and when its wire was quiet."""

    armed: Armed
    record: AttemptRecord
    quiet_ns: int


class Runner:
    """Runs one phase after another over the same gates and sinks. `stop` drains, `abort` breaks off."""

    def __init__(
        self,
        arm: Arm,
        clock: Clock,
        sinks: Sequence[Sink],
        caps: dict[str, Caps] | None = None,
        on_fire: Callable[[Ticket], None] = lambda _: None,
        on_quiet: Callable[[Ticket], None] = lambda _: None,
        on_end: Callable[[AttemptRecord], None] = lambda _: None,
        policy: Policy | None = None,
        on_unsent: Callable[[Ticket], None] = lambda _: None,
    ) -> None:
        """`on_fire` and `on_quiet` are told of each attempt, `on_end` of each request, with its last attempt, and
        `on_unsent` of each turn whose conversation has ended before it.
        """
        self._arm = arm
        self._clock = clock
        self._sinks = sinks
        self._gates = Gates(caps or {})
        self._on_fire = on_fire
        self._on_quiet = on_quiet
        self._on_end = on_end
        self._on_unsent = on_unsent
        self._policy = policy or Policy()
        self._stopped: Stop | None = None
        self._stopping = asyncio.Event()
        self._recorded = asyncio.Event()
        self._under_way: set[Armed] = set()
        self._broken_off = 0

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    @property
    def stopped(self) -> Stop | None:
        return self._stopped

    async def unless_stopped(self, work: Coroutine[object, object, object]) -> bool:
        """Does the work; drops it and returns False if the run is stopped first."""
        return await self._unless_stopped(asyncio.create_task(work))

    def stop(self, why: Stop = "interrupted") -> None:
        """No new request is sent; those under way are waited for."""
        if self._stopped is None:
            self._stopped = why
            self._stopping.set()

    def abort(self) -> None:
        """As `stop`, and those under way are broken off: recorded as cancelled."""
        self.stop()
        for armed in tuple(self._under_way):
            armed.abort()

    async def run(self, tickets: Sequence[Ticket], pace: Pace) -> PhaseEnd:
        """Runs the tickets to the end, or until stopped. Raises what a sink raised, once everything is at rest."""
        armoury = Armoury(self._arm, [each for each in tickets if not each.turn], pace.ahead, self._stopping)
        arming = asyncio.create_task(armoury.fill())
        try:
            if pace.concurrency is not None:  # the first burst is the hard part: have a request in hand for every lane
                await armoury.filled.wait()
            return await self._run_armed(armoury, pace, _later_turns(tickets))
        finally:
            await armoury.empty(arming)

    async def _run_armed(self, armoury: Armoury, pace: Pace, later: Mapping[str, Sequence[Ticket]]) -> PhaseEnd:
        quiet: asyncio.Queue[_Quiet | None] = asyncio.Queue()
        started = self._clock.now_ns()
        limit = asyncio.create_task(self._stop_in_time(started, pace))
        collecting = asyncio.create_task(self._collect(quiet))
        line = _Line(self, armoury, quiet, collecting, later)
        sending = asyncio.create_task(self._send(line, pace, started))
        try:
            await self._until_sent(sending, collecting)
            ended = self._clock.now_ns()
        finally:
            limit.cancel()
            await self._collected(collecting, quiet)
        unfinished = line.unfinished + self._broken_off
        return PhaseEnd(started, ended, line.fired, self._stopped, line.skipped, unfinished, line.unsent)

    async def _until_sent(self, sending: asyncio.Task[None], collecting: asyncio.Task[None]) -> None:
        """A collector that dies can keep nothing more: what is under way is broken off rather than paid for in vain."""
        try:
            await asyncio.wait((sending, collecting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not sending.done():
                self.abort()
                await asyncio.wait((sending,))
        await sending

    async def _send(self, line: _Line, pace: Pace, started: int) -> None:
        if pace.concurrency is None:
            await line.keep_schedule(started)
        else:
            await line.run_lanes(pace.concurrency)
        if line.fault is not None:
            raise line.fault

    async def _collect(self, quiet: asyncio.Queue[_Quiet | None]) -> None:
        """Takes the records of quiet attempts one by one, a turn of the loop each, so that reading comes first."""
        while (each := await quiet.get()) is not None:
            record = await each.armed.record()
            for sink in self._sinks:
                sink(record)
            self._recorded.set()
            self._recorded = asyncio.Event()
            self._broken_off += record.failure is not None and record.failure.kind == "cancelled"
            if each.taken is None:
                self._on_end(record)
            elif not each.taken.done():
                each.taken.set_result(record)
            await asyncio.sleep(0)

    async def _collected(self, collecting: asyncio.Task[None], quiet: asyncio.Queue[_Quiet | None]) -> None:
        """Waits until the last record is taken; what a collector that died left behind is dropped."""
        quiet.put_nowait(None)
        try:
            await collecting
        finally:
            while not quiet.empty():
                if (each := quiet.get_nowait()) is not None:
                    await each.armed.discard()

    async def _stop_in_time(self, started: int, pace: Pace) -> None:
        if pace.stop_after_ns is not None:
            await self._clock.sleep_until(started + pace.stop_after_ns)
            self.stop("duration_limit")

    # What a line asks of its runner.

    def now_ns(self) -> int:
        return self._clock.now_ns()

    def took_off(self, armed: Armed) -> None:
        self._under_way.add(armed)
        self._on_fire(armed.ticket)

    def landed(self, armed: Armed) -> None:
        self._under_way.discard(armed)
        self._on_quiet(armed.ticket)

    def wants_record(self, ticket: Ticket) -> bool:
        return self._policy.wants_record(ticket)

    def over(self, record: AttemptRecord) -> None:
        self._on_end(record)

    def leave_out(self, ticket: Ticket) -> None:
        self._on_unsent(ticket)

    def think_ns(self, ticket: Ticket) -> int:
        return round(self._policy.think_s(ticket) * NS)

    def retry_wait_s(self, record: AttemptRecord) -> float | None:
        return self._policy.retry(record)

    async def again(self, armed: Armed, wait_s: float) -> Armed | None:
        """The request's next attempt, once its wait is over; None if the run was stopped first."""
        if not await self.sleep_until(self._clock.now_ns() + round(wait_s * NS)):
            return None
        return await armed.again()

    async def enter(self, ticket: Ticket) -> _Entry | None:
        """Past the holds and gates, which must be left again; None if it is not to be sent, or the run was stopped.

        A hold may come while it waits at the gates: it then leaves them, for others, until the hold is over.
        """
        came, held_until, waited = self._clock.now_ns(), self._policy.held_until, False
        while True:
            until = held_until(ticket)
            waited |= until > self._clock.now_ns()
            if not await self.sleep_until(until) or not self._policy.may_send(ticket):
                return None
            gates = await self._pass_gates(ticket)
            if gates is None:
                return None
            if self._policy.must_wait(ticket):
                leave(gates)
                waited = True
                if not await self._unless_stopped(asyncio.create_task(self._recorded.wait())):
                    return None
            elif held_until(ticket) <= self._clock.now_ns():
                break
            else:
                leave(gates)
        if not self._policy.may_send(ticket):
            leave(gates)
            return None
        return _Entry(gates, self._clock.now_ns() - came if gates or waited else 0)

    async def _pass_gates(self, ticket: Ticket) -> list[Gate] | None:
        """The gates to leave again; None if the run was stopped while waiting."""
        keys = (f"model:{ticket.model}", f"gateway:{ticket.gateway}")
        if self._gates.free(keys):
            return None if self._stopped else []
        entering = asyncio.create_task(self._gates.enter(keys))
        if await self._unless_stopped(entering):
            return entering.result()
        if not entering.cancelled():
            leave(entering.result())
        return None

    async def sleep_until(self, due: int) -> bool:
        """False if the run was stopped before the instant came."""
        if due <= self._clock.now_ns():
            return self._stopped is None
        return await self._unless_stopped(asyncio.create_task(self._clock.sleep_until(due)))

    async def _unless_stopped(self, work: asyncio.Task[object]) -> bool:
        """Waits for the work; cancels it and returns False if the run is stopped first."""
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._stopped is None:
            return True
        work.cancel()
        await asyncio.wait((work,))
        return False


class _Line:
    """From the armoury to the wire: by lanes or by the schedule. What has gone quiet is handed on for its record.

    `fault` is the first error that no request should raise. It breaks the run off by `abort`, so that what is under
    way is still recorded; the task group would cancel it.
    """

    def __init__(
        self,
        runner: Runner,
        armoury: Armoury,
        quiet: asyncio.Queue[_Quiet | None],
        collecting: asyncio.Task[None],
        later: Mapping[str, Sequence[Ticket]],
    ) -> None:
        self.fired = 0
        self.skipped = 0
        self.unfinished = 0
        self.unsent = 0
        self.fault: Exception | None = None
        self._runner = runner
        self._armoury = armoury
        self._quiet = quiet
        self._collecting = collecting
        self._later = later

    async def run_lanes(self, concurrency: int) -> None:
        async with asyncio.TaskGroup() as lanes:
            for _ in range(concurrency):
                lanes.create_task(self._guarded(self._run_lane()))

    async def keep_schedule(self, started: int) -> None:
        async with asyncio.TaskGroup() as requests:
            while (armed := await self._armoury.take()) is not None:
                due = started + (armed.ticket.scheduled_ns or 0)
                if not await self._runner.sleep_until(due):
                    await armed.discard()
                    return
                requests.create_task(self._guarded(self._serve(armed, due)))

    async def _guarded(self, work: Awaitable[object]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  # raised again once everything is at rest
            self.fault = self.fault or error
            self._runner.abort()

    async def _run_lane(self) -> None:
        """One request after another; the next is due at the moment the lane is free."""
        while True:
            due = self._runner.now_ns()
            armed = await self._armoury.take()
            if armed is None:
                return
            await self._serve(armed, due)
            if self._runner.stopped:
                return

    async def _serve(self, armed: Armed, due: int) -> None:
        """One request, or a conversation turn after turn."""
        served = await self._serve_request(armed, due)
        later = self._later.get(armed.ticket.session_id or "", ())
        for place, ticket in enumerate(later):
            if self._runner.stopped:
                return
            if served is None:  # left out, or not tried again as it should be
                self.skipped += len(later) - place
                return
            following = await served.armed.follow(served.record, ticket)
            if following is None:
                self._leave_out(later[place:])
                return
            served = await self._take_turn(following, served.quiet_ns + self._runner.think_ns(ticket))

    async def _take_turn(self, armed: Armed, due: int) -> _Served | None:
        """Thinks first; the request is built meanwhile."""
        if await self._runner.sleep_until(due):
            return await self._serve_request(armed, due)
        await armed.discard()
        return None

    def _leave_out(self, turns: Sequence[Ticket]) -> None:
        self.unsent += len(turns)
        for ticket in turns:
            self._runner.leave_out(ticket)

    async def _serve_request(self, armed: Armed, due: int) -> _Served | None:
        """One request, from its first attempt to its last; whoever serves it waits between them. None where that is not
        known, or was not the last.
        """
        quiet = await self._dispatch(armed, due)
        if quiet is not None:
            self.fired += 1
        elif not self._runner.stopped:
            self.skipped += 1
        served: _Served | None = None
        cut_short = False
        while quiet is not None and (record := await self._record_of(quiet)) is not None:
            served = _Served(quiet.armed, record, quiet.at_ns)
            wait_s = self._runner.retry_wait_s(record)
            again = None if wait_s is None else await self._runner.again(quiet.armed, wait_s)
            quiet = None if again is None else await self._dispatch(again, due)
            cut_short = wait_s is not None and quiet is None
            self.unfinished += cut_short
        if served is None or quiet is not None:
            return None
        self._runner.over(served.record)
        return None if cut_short else served

    async def _record_of(self, quiet: _Quiet) -> AttemptRecord | None:
        """None where nobody waits for it, or a collector that died will not give it."""
        if quiet.taken is None:
            return None
        await asyncio.wait((quiet.taken, self._collecting), return_when=asyncio.FIRST_COMPLETED)
        return quiet.taken.result() if quiet.taken.done() else None

    async def _dispatch(self, armed: Armed, due: int) -> _Quiet | None:
        """Through the gates and onto the wire; back when the wire is quiet. None if it was not sent."""
        entry = await self._runner.enter(armed.ticket)
        if entry is None:
            await armed.discard()
            return None
        wants_record = self._runner.wants_record(armed.ticket) or armed.ticket.session_id in self._later
        taken = asyncio.get_running_loop().create_future() if wants_record else None
        self._runner.took_off(armed)
        try:
            await armed.fire(due, entry.queue_ns)
        finally:
            leave(entry.gates)
            quiet = _Quiet(armed, taken, self._runner.now_ns())
            self._quiet.put_nowait(quiet)
            self._runner.landed(armed)
        return quiet


def _later_turns(tickets: Sequence[Ticket]) -> Mapping[str, Sequence[Ticket]]:
    """By conversation, all turns but the first."""
    later: defaultdict[str, list[Ticket]] = defaultdict(list)
    for ticket in tickets:
        if ticket.session_id is not None and ticket.turn:
            later[ticket.session_id].append(ticket)
    return later

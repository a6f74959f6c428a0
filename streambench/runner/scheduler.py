"""Sends each ticket of the plan when it is due, and passes its records to observers. Imports neither SDK nor file code.

`prepare(ticket)` builds a request ahead of time. In a closed loop, lanes take prepared requests in the plan's order; in
an open loop each request is sent at its scheduled time. A `SchedulingPolicy` decides whether a request is retried, held
back or left out. One lane sends a whole conversation, turn after turn. Only its first turn is prepared ahead, because
the content of later turns depends on the answers before them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from streambench.clock import NS, Clock
from streambench.config.sections import RateLimits
from streambench.records.schema import AttemptRecord, Ticket
from streambench.runner.observers import RunObserver
from streambench.runner.prefetch import Prefetcher, Prepare, PreparedRequest
from streambench.runner.rate_limits import Limiter, Limiters, leave

AHEAD = 256
"""The most requests that are built ahead of time."""

Stop = Literal["interrupted", "duration_limit", "key_refused", "failure_share", "budget"]


@dataclass(frozen=True, slots=True)
class SchedulingPolicy:
    """Decisions that the scheduler leaves to its caller. By default each request is sent at once, and only once."""

    retry: Callable[[AttemptRecord], float | None] = lambda _: None
    """Returns the seconds until the request is retried; None for no retry. Called only if the record is waited for."""
    wants_record: Callable[[Ticket], bool] = lambda _: False
    """True if the lane must wait for the attempt's record before it goes on, not only for the end of the response."""
    may_send: Callable[[Ticket], bool] = lambda _: True
    """Called right before each attempt. If False, the attempt is dropped."""
    must_wait: Callable[[Ticket], bool] = lambda _: False
    """True if the attempt must wait for another record. Called again after each record; the wait is queue time."""
    held_until: Callable[[Ticket], int] = lambda _: 0
    """Returns the monotonic instant (ns) before which the request must not be sent. The wait is queue time."""
    think_s: Callable[[Ticket], float] = lambda _: 0.0
    """Returns the think time in seconds: from the end of the previous answer until the conversation's turn is due."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a phase is run. `concurrency` is the number of lanes of a closed loop; None is an open loop.

    After `stop_after_ns` no new requests are sent; those in flight are waited for. None is no limit.
    """

    concurrency: int | None
    stop_after_ns: int | None = None

    @property
    def ahead(self) -> int:
        """How many requests are built ahead of time."""
        return min(AHEAD, self.concurrency or AHEAD)


@dataclass(frozen=True, slots=True)
class PhaseEnd:
    """How a phase ended. Instants are monotonic, in ns.

    `sent` counts the requests that were sent, each once however often it was retried. `stopped` says why the phase
    ended before its plan; None if it did not. `skipped` counts requests that were left out although the phase went on.
    `unfinished` counts sent requests that were cancelled, or whose retry was due but not sent. `unsent` counts the
    turns of conversations that had ended before them.
    """

    started_ns: int
    ended_ns: int
    sent: int
    stopped: Stop | None
    skipped: int = 0
    unfinished: int = 0
    unsent: int = 0


@dataclass(frozen=True, slots=True)
class _Admission:
    """The limiters that an attempt entered, which must be left again, and how long it waited, in ns."""

    limiters: list[Limiter]
    queue_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class _EndedAttempt:
    """An attempt whose response ended at `at_ns`. `taken` receives its record; None if no lane waits for it."""

    prepared: PreparedRequest
    taken: asyncio.Future[AttemptRecord] | None
    at_ns: int


@dataclass(frozen=True, slots=True)
class _Served:
    """A request that has ended: its last attempt, the record of that attempt, and when its response ended."""

    prepared: PreparedRequest
    record: AttemptRecord
    quiet_ns: int


class Scheduler:
    """Runs phases one after another with the same limits and observers.

    `stop` sends nothing more and waits for requests in flight; `abort` also cancels those.
    """

    def __init__(
        self,
        prepare: Prepare,
        clock: Clock,
        observers: Sequence[RunObserver],
        caps: dict[str, RateLimits] | None = None,
        policy: SchedulingPolicy | None = None,
        on_turn_dropped: Callable[[Ticket], None] = lambda _: None,
    ) -> None:
        """Each event is passed to `observers` in this order; if one raises, the run ends. `on_turn_dropped` is called
        for each turn whose conversation ended before it.
        """
        self._prepare = prepare
        self._clock = clock
        self._observers = observers
        self._limiters = Limiters(caps or {})
        self._on_turn_dropped = on_turn_dropped
        self._policy = policy or SchedulingPolicy()
        self._stopped: Stop | None = None
        self._stopping = asyncio.Event()
        self._recorded = asyncio.Event()
        self._under_way: set[PreparedRequest] = set()
        self._broken_off = 0

    @property
    def under_way(self) -> int:
        """The number of attempts in flight."""
        return len(self._under_way)

    @property
    def stopped(self) -> Stop | None:
        """Why the run was stopped; None if it was not."""
        return self._stopped

    async def unless_stopped(self, work: Coroutine[object, object, object]) -> bool:
        """Waits for the work. If the run is stopped first, cancels it and returns False."""
        return await self._unless_stopped(asyncio.create_task(work))

    def stop(self, why: Stop = "interrupted") -> None:
        """Sends no new requests and waits for those in flight. Only the first call has an effect."""
        if self._stopped is None:
            self._stopped = why
            self._stopping.set()

    def abort(self) -> None:
        """Stops, and cancels the requests in flight, which are recorded as cancelled."""
        self.stop()
        for prepared in tuple(self._under_way):
            prepared.abort()

    async def run(self, tickets: Sequence[Ticket], pace: Pace) -> PhaseEnd:
        """Sends the tickets until all are done or the run is stopped.

        Raises what an observer raised, after all requests in flight have ended.
        """
        prefetcher = Prefetcher(self._prepare, [each for each in tickets if not each.turn], pace.ahead, self._stopping)
        preparing = asyncio.create_task(prefetcher.fill())
        try:
            if pace.concurrency is not None:  # all lanes start at once: each needs a prepared request
                await prefetcher.filled.wait()
            return await self._run_prepared(prefetcher, pace, _later_turns(tickets))
        finally:
            await prefetcher.empty(preparing)

    async def _run_prepared(
        self, prefetcher: Prefetcher, pace: Pace, later: Mapping[str, Sequence[Ticket]]
    ) -> PhaseEnd:
        quiet: asyncio.Queue[_EndedAttempt | None] = asyncio.Queue()
        started = self._clock.now_ns()
        limit = asyncio.create_task(self._stop_in_time(started, pace))
        collecting = asyncio.create_task(self._collect(quiet))
        line = _Dispatcher(self, prefetcher, quiet, collecting, later)
        sending = asyncio.create_task(self._send(line, pace, started))
        try:
            await self._until_sent(sending, collecting)
            ended = self._clock.now_ns()
        finally:
            limit.cancel()
            await self._collected(collecting, quiet)
        unfinished = line.unfinished + self._broken_off
        return PhaseEnd(started, ended, line.sent, self._stopped, line.skipped, unfinished, line.unsent)

    async def _until_sent(self, sending: asyncio.Task[None], collecting: asyncio.Task[None]) -> None:
        """Waits until all is sent. If collecting fails first, no more records can be kept, so the requests in flight
        are cancelled to save their cost.
        """
        try:
            await asyncio.wait((sending, collecting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not sending.done():
                self.abort()
                await asyncio.wait((sending,))
        await sending

    async def _send(self, line: _Dispatcher, pace: Pace, started: int) -> None:
        if pace.concurrency is None:
            await line.keep_schedule(started)
        else:
            await line.run_lanes(pace.concurrency)
        if line.fault is not None:
            raise line.fault

    async def _collect(self, quiet: asyncio.Queue[_EndedAttempt | None]) -> None:
        """Takes the records of ended attempts, one per turn of the loop, so that socket reads are not delayed."""
        while (each := await quiet.get()) is not None:
            record = await each.prepared.record()
            for observer in self._observers:
                observer.on_record(record)
            self._recorded.set()
            self._recorded = asyncio.Event()
            self._broken_off += record.failure is not None and record.failure.kind == "cancelled"
            if each.taken is None:
                self.over(record)
            elif not each.taken.done():
                each.taken.set_result(record)
            await asyncio.sleep(0)

    async def _collected(self, collecting: asyncio.Task[None], quiet: asyncio.Queue[_EndedAttempt | None]) -> None:
        """Waits until the last record is taken. Discards the attempts that are left if collecting failed."""
        quiet.put_nowait(None)
        try:
            await collecting
        finally:
            while not quiet.empty():
                if (each := quiet.get_nowait()) is not None:
                    await each.prepared.discard()

    async def _stop_in_time(self, started: int, pace: Pace) -> None:
        if pace.stop_after_ns is not None:
            await self._clock.sleep_until(started + pace.stop_after_ns)
            self.stop("duration_limit")

    # Called by `_Dispatcher`.

    def now_ns(self) -> int:
        return self._clock.now_ns()

    def on_send(self, prepared: PreparedRequest) -> None:
        self._under_way.add(prepared)
        for observer in self._observers:
            observer.on_attempt_start(prepared.ticket)

    def on_end(self, prepared: PreparedRequest) -> None:
        self._under_way.discard(prepared)
        for observer in self._observers:
            observer.on_attempt_end(prepared.ticket)

    def wants_record(self, ticket: Ticket) -> bool:
        return self._policy.wants_record(ticket)

    def over(self, record: AttemptRecord) -> None:
        for observer in self._observers:
            observer.on_request_end(record)

    def leave_out(self, ticket: Ticket) -> None:
        self._on_turn_dropped(ticket)

    def think_ns(self, ticket: Ticket) -> int:
        return round(self._policy.think_s(ticket) * NS)

    def retry_wait_s(self, record: AttemptRecord) -> float | None:
        return self._policy.retry(record)

    async def again(self, prepared: PreparedRequest, wait_s: float) -> PreparedRequest | None:
        """Returns the request's next attempt after waiting `wait_s`; None if the run was stopped first."""
        if not await self.sleep_until(self._clock.now_ns() + round(wait_s * NS)):
            return None
        return await prepared.again()

    async def enter(self, ticket: Ticket) -> _Admission | None:
        """Waits for pauses and limiters; None if the attempt must not be sent, or the run was stopped.

        The limiters must be left afterwards. If a pause begins while the attempt waits for a limiter, it leaves the
        limiters to others until the pause is over.
        """
        came, held_until, waited = self._clock.now_ns(), self._policy.held_until, False
        while True:
            until = held_until(ticket)
            waited |= until > self._clock.now_ns()
            if not await self.sleep_until(until) or not self._policy.may_send(ticket):
                return None
            limiters = await self._pass_limiters(ticket)
            if limiters is None:
                return None
            if self._policy.must_wait(ticket):
                leave(limiters)
                waited = True
                if not await self._unless_stopped(asyncio.create_task(self._recorded.wait())):
                    return None
            elif held_until(ticket) <= self._clock.now_ns():
                break
            else:
                leave(limiters)
        if not self._policy.may_send(ticket):
            leave(limiters)
            return None
        return _Admission(limiters, self._clock.now_ns() - came if limiters or waited else 0)

    async def _pass_limiters(self, ticket: Ticket) -> list[Limiter] | None:
        """Returns the limiters that were entered; None if the run was stopped before."""
        keys = (f"model:{ticket.model}", f"gateway:{ticket.gateway}")
        if self._limiters.free(keys):
            return None if self._stopped else []
        entering = asyncio.create_task(self._limiters.enter(keys))
        if await self._unless_stopped(entering):
            return entering.result()
        if not entering.cancelled():
            leave(entering.result())
        return None

    async def sleep_until(self, due: int) -> bool:
        """Waits until the monotonic instant `due` (ns). Returns False if the run was stopped before it."""
        if due <= self._clock.now_ns():
            return self._stopped is None
        return await self._unless_stopped(asyncio.create_task(self._clock.sleep_until(due)))

    async def _unless_stopped(self, work: asyncio.Task[object]) -> bool:
        """Waits for the work. If the run is stopped first, cancels it and returns False."""
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._stopped is None:
            return True
        work.cancel()
        await asyncio.wait((work,))
        return False


class _Dispatcher:
    """Takes requests from the prefetcher and sends them, by lanes or by the schedule. Queues ended ones for recording.

    `fault` is the first unexpected error of a request. It ends the run by `abort`, so that requests in flight are still
    recorded; the task group would cancel their tasks.
    """

    def __init__(
        self,
        runner: Scheduler,
        prefetcher: Prefetcher,
        quiet: asyncio.Queue[_EndedAttempt | None],
        collecting: asyncio.Task[None],
        later: Mapping[str, Sequence[Ticket]],
    ) -> None:
        self.sent = 0
        self.skipped = 0
        self.unfinished = 0
        self.unsent = 0
        self.fault: Exception | None = None
        self._runner = runner
        self._prefetcher = prefetcher
        self._quiet = quiet
        self._collecting = collecting
        self._later = later

    async def run_lanes(self, concurrency: int) -> None:
        async with asyncio.TaskGroup() as lanes:
            for _ in range(concurrency):
                lanes.create_task(self._guarded(self._run_lane()))

    async def keep_schedule(self, started: int) -> None:
        async with asyncio.TaskGroup() as requests:
            while (prepared := await self._prefetcher.take()) is not None:
                due = started + (prepared.ticket.scheduled_ns or 0)
                if not await self._runner.sleep_until(due):
                    await prepared.discard()
                    return
                requests.create_task(self._guarded(self._serve(prepared, due)))

    async def _guarded(self, work: Awaitable[object]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  # raised again after all requests in flight have ended
            self.fault = self.fault or error
            self._runner.abort()

    async def _run_lane(self) -> None:
        """Sends one request after another. Each is due at the moment when the lane is free."""
        while True:
            due = self._runner.now_ns()
            prepared = await self._prefetcher.take()
            if prepared is None:
                return
            await self._serve(prepared, due)
            if self._runner.stopped:
                return

    async def _serve(self, prepared: PreparedRequest, due: int) -> None:
        """Sends one request, or all turns of a conversation in order."""
        served = await self._serve_request(prepared, due)
        later = self._later.get(prepared.ticket.session_id or "", ())
        for place, ticket in enumerate(later):
            if self._runner.stopped:
                return
            if served is None:  # left out, or its retry was not sent
                self.skipped += len(later) - place
                return
            following = await served.prepared.follow(served.record, ticket)
            if following is None:
                self._leave_out(later[place:])
                return
            served = await self._take_turn(following, served.quiet_ns + self._runner.think_ns(ticket))

    async def _take_turn(self, prepared: PreparedRequest, due: int) -> _Served | None:
        """Waits for the rest of the think time, in which the turn was built, and sends it; None if stopped first."""
        if await self._runner.sleep_until(due):
            return await self._serve_request(prepared, due)
        await prepared.discard()
        return None

    def _leave_out(self, turns: Sequence[Ticket]) -> None:
        self.unsent += len(turns)
        for ticket in turns:
            self._runner.leave_out(ticket)

    async def _serve_request(self, prepared: PreparedRequest, due: int) -> _Served | None:
        """Sends one request, from its first attempt to its last, and waits between attempts.

        None if its record is not waited for, or if a retry was due but not sent.
        """
        quiet = await self._dispatch(prepared, due)
        if quiet is not None:
            self.sent += 1
        elif not self._runner.stopped:
            self.skipped += 1
        served: _Served | None = None
        cut_short = False
        while quiet is not None and (record := await self._record_of(quiet)) is not None:
            served = _Served(quiet.prepared, record, quiet.at_ns)
            wait_s = self._runner.retry_wait_s(record)
            again = None if wait_s is None else await self._runner.again(quiet.prepared, wait_s)
            quiet = None if again is None else await self._dispatch(again, due)
            cut_short = wait_s is not None and quiet is None
            self.unfinished += cut_short
        if served is None or quiet is not None:
            return None
        self._runner.over(served.record)
        return None if cut_short else served

    async def _record_of(self, quiet: _EndedAttempt) -> AttemptRecord | None:
        """Waits for the attempt's record; None if it is not waited for, or if collecting has failed."""
        if quiet.taken is None:
            return None
        await asyncio.wait((quiet.taken, self._collecting), return_when=asyncio.FIRST_COMPLETED)
        return quiet.taken.result() if quiet.taken.done() else None

    async def _dispatch(self, prepared: PreparedRequest, due: int) -> _EndedAttempt | None:
        """Waits for the limiters, sends the attempt, returns when its response has ended. None if it was not sent."""
        entry = await self._runner.enter(prepared.ticket)
        if entry is None:
            await prepared.discard()
            return None
        wants_record = self._runner.wants_record(prepared.ticket) or prepared.ticket.session_id in self._later
        taken = asyncio.get_running_loop().create_future() if wants_record else None
        self._runner.on_send(prepared)
        try:
            await prepared.fire(due, entry.queue_ns)
        finally:
            leave(entry.limiters)
            quiet = _EndedAttempt(prepared, taken, self._runner.now_ns())
            self._quiet.put_nowait(quiet)
            self._runner.on_end(prepared)
        return quiet


def _later_turns(tickets: Sequence[Ticket]) -> Mapping[str, Sequence[Ticket]]:
    """Returns all turns but the first of each conversation, by session id."""
    later: defaultdict[str, list[Ticket]] = defaultdict(list)
    for ticket in tickets:
        if ticket.session_id is not None and ticket.turn:
            later[ticket.session_id].append(ticket)
    return later

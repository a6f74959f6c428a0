"""Runs a job on one event loop of this process: connects instruments, client, journal and scheduler.

The measured phase starts with open connections, prepared requests and frozen garbage: little else uses the loop.
"""

from __future__ import annotations

import asyncio
import gc
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from streambench.client.client import Client, TraceContext
from streambench.client.instruments import Instruments
from streambench.client.loop_lag import LagSampler
from streambench.client.transport.socket_hub import SocketHub
from streambench.clock import NS, Anchor, LoopClock, take_anchor
from streambench.config.config import Config
from streambench.config.origin import Origin
from streambench.config.sections import RateLimits
from streambench.errors import DiskError
from streambench.records.journal import Journal
from streambench.records.schema import AttemptRecord, RunEnd, RunTrace, Ticket
from streambench.runner.jitter import GarbageCollector, no_garbage_collection, short_turns
from streambench.runner.job import Job, Measured, RunStatus
from streambench.runner.observers import ProgressObserver, RecordWriter, RunObserver, RunTelemetry
from streambench.runner.resume import Continued, Remainder
from streambench.runner.run_header import header_of, resumption_of
from streambench.runner.run_policy import PolicyListener, RunPolicy
from streambench.runner.scheduler import Pace, PhaseEnd, Scheduler, SchedulingPolicy
from streambench.text import counted

WARMUP_LANES = 8
"""Lanes of the warm-up before an open loop, which has no `concurrency` setting."""

OPEN_LOOP_CONNECTIONS = 64
"""The most idle connections that are kept open for an open loop."""


class LocalEngine:
    """Runs jobs on the event loop of this process.

    `progress` also receives the phases. `notify` is called with lines that the user should see at once. `journal` is
    the reopened journal of a resumed run; without one, each job gets a new results folder.
    """

    def __init__(
        self,
        *,
        progress: ProgressObserver | None = None,
        telemetry: RunTelemetry | None = None,
        notify: Callable[[str], None] = lambda _: None,
        journal: Journal | None = None,
    ) -> None:
        self.progress = progress or ProgressObserver()
        self.telemetry = telemetry or RunTelemetry()
        self.notify = notify
        self.journal = journal

    async def measure(self, job: Job, observers: Sequence[RunObserver] = ()) -> Measured:
        """Runs the job to its end, or until it is interrupted.

        Raises ResultsError if no results folder can be made, DiskError if the journal of a resumed run cannot be
        written.
        """
        clock = LoopClock()
        anchor = take_anchor()
        instruments = Instruments(clock, anchor, LagSampler(clock), SocketHub(clock))
        traced = TraceContext(self._trace_of(job), self.telemetry.carrier, self.telemetry.wants_text)
        client = Client(job.config, job.base_urls, instruments, traced)
        journal = self._open_journal(job, client, anchor)
        instruments.lag.start()
        try:
            self.telemetry.opened(journal.header)
            return await _LocalRun(self, job, observers, instruments, client, journal).run()
        finally:
            journal.close()
            instruments.lag.stop()
            await client.close()
            instruments.hub.close()
            clock.close()

    def _trace_of(self, job: Job) -> RunTrace:
        before = self.journal.header.trace if self.journal else None
        return before or job.trace

    def _open_journal(self, job: Job, client: Client, anchor: Anchor) -> Journal:
        """Returns a new journal, or begins the next part of a resumed one. Raises ResultsError, DiskError."""
        if self.journal is None or job.continued is None:
            return Journal.create(job.config.output, header_of(job, client, anchor))
        part = resumption_of(job.continued, job.origin, client.stamps, anchor)
        if cut := self.journal.begin(part, len(job.continued.records)):
            self.notify(f"removed an incomplete last line of {cut} bytes from the journal")
        return self.journal


def conclude(
    journal: Journal, continued: Continued, origin: Origin, status: RunStatus, reason: str | None = None
) -> Measured:
    """Writes one more part that sends nothing, to record the status of a run whose last end does not state it.

    Raises DiskError.
    """
    journal.begin(resumption_of(continued, origin, journal.header.stamps, take_anchor()), len(continued.records))
    journal.close(RunEnd(status, 0, None, None, client_lag_ns={}, clock_steps=0, clock_error_ns=0, reason=reason))
    return Measured(journal.folder, status, None, frozenset())


class _LocalRun:
    """One run, from its opened journal to its end."""

    def __init__(
        self,
        engine: LocalEngine,
        job: Job,
        observers: Sequence[RunObserver],
        instruments: Instruments,
        client: Client,
        journal: Journal,
    ) -> None:
        self._job = job
        self._progress = engine.progress
        self._notify = engine.notify
        self._instruments = instruments
        self._client = client
        self._journal = journal
        self._phase = self._shown = "starting"
        self._telemetry = engine.telemetry
        listener = PolicyListener(lambda why: self._runner.stop(why), engine.notify, self._paused)
        self._run_policy = RunPolicy(job.config, instruments.anchor, listener, job.continued)
        self._runner = Scheduler(
            prepare=client.prepare,
            clock=instruments.clock,
            observers=_observers(
                engine, job, journal, (self._run_policy, engine.telemetry, engine.progress, *observers)
            ),
            caps=_caps(job.config),
            policy=self._policy(),
            on_turn_dropped=engine.progress.on_turn_dropped,
        )

    async def run(self) -> Measured:
        """Runs all phases and writes the run's end.

        If its task is cancelled, or an observer raises, the run ends as interrupted, and the error goes on.
        """
        measured: PhaseEnd | None = None
        lost: DiskError | None = None
        with self._signals(), self._time_budget(), no_garbage_collection(), short_turns():
            try:
                measured = await self._phases()
            except DiskError as error:
                lost = error
            except BaseException:
                with suppress(DiskError):
                    self._journal.close(self._end("interrupted", None))
                raise
            status = self._status(measured, lost)
            try:
                self._journal.close(self._end(status, measured))
            except DiskError as error:
                lost = lost or error
                status = "disk_error"
        for line in self._run_policy.pause_notices():
            self._notify(line)
        return Measured(self._journal.folder, status, lost, self._client.refuses_usage, self._reason(status))

    async def _phases(self) -> PhaseEnd:
        config, plan = self._job.config, self._job.plan
        closed = config.load.closed
        lanes = config.load.concurrency if closed else None
        await self._runner.unless_stopped(self._open_connections(lanes))
        if plan.warmup:
            self._enter("warmup")
            await self._runner.run(plan.warmup, Pace(concurrency=lanes or WARMUP_LANES))
            gc.collect()
            gc.freeze()
        if not self._runner.stopped:
            self._enter("measure")
        limit_s = config.limits.duration_s
        limit_ns = None if limit_s is None else round(limit_s * NS)
        return await self._runner.run(plan.measure, Pace(concurrency=lanes, stop_after_ns=limit_ns))

    def _policy(self) -> SchedulingPolicy:
        """Returns the policy of `RunPolicy`, extended by think times and by waits for telemetry that is behind."""
        policy, now_ns = self._run_policy.policy, self._instruments.clock.now_ns

        def held_until(ticket: Ticket) -> int:
            held_ns = self._telemetry.held_ns()
            until = policy.held_until(ticket)
            return max(until, now_ns() + held_ns) if held_ns else until

        turns = {prompt.id: prompt.turns for prompt in self._job.config.suite.prompts if prompt.turns}
        return replace(
            policy,
            held_until=held_until,
            think_s=lambda ticket: turns[ticket.prompt_id][ticket.turn].think_s,
        )

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._progress.on_phase(phase)

    def _paused(self, what: str, seconds: float) -> None:
        """Shows the pause until it ends, or until something else is shown."""
        shown = f"{self._phase}, {what} paused {seconds:.1f} s for its rate limit"
        self._progress.on_phase(shown)
        self._shown = shown

        def over() -> None:
            if self._shown == shown:
                self._progress.on_phase(self._phase)

        asyncio.get_running_loop().call_later(seconds, over)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Handles Ctrl-C and SIGTERM: the first waits for requests in flight; the second cancels them, as does the end
        of `limits.drain`.
        """
        loop = asyncio.get_running_loop()
        patience: list[asyncio.TimerHandle] = []

        def interrupt() -> None:
            if patience:
                self._runner.abort()
                return
            patience.append(loop.call_later(self._job.config.limits.drain_s, self._break_off))
            self._runner.stop()
            self._enter("draining")
            self._notify(_stopping(self._runner.under_way, self._job.config.limits.drain_s))

        handled = [number for number in (signal.SIGINT, signal.SIGTERM) if _handle(loop, number, interrupt)]
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)
            for handle in patience:
                handle.cancel()

    def _break_off(self) -> None:
        if under_way := self._runner.under_way:
            drain_s = self._job.config.limits.drain_s
            self._notify(f"cancelling {counted(under_way, 'request')} still in flight after {drain_s:g} s")
        self._runner.abort()

    @contextmanager
    def _time_budget(self) -> Iterator[None]:
        seconds, continued = self._job.config.budget.duration_s, self._job.continued
        if seconds is None:
            yield
            return
        left_s = seconds - (continued.took_ns / NS if continued else 0)
        handle = asyncio.get_running_loop().call_later(left_s, self._run_policy.out_of_time)
        try:
            yield
        finally:
            handle.cancel()

    async def _open_connections(self, lanes: int | None) -> None:
        """Opens one connection per lane; for an open loop, one per request of a second, and keeps as many idle."""
        if lanes is not None:
            await self._client.warm(lanes)
        else:
            spare = min(
                OPEN_LOOP_CONNECTIONS, len(self._job.plan.measure), math.ceil(self._job.config.load.rate or 1) + 1
            )
            await self._client.warm(spare, spare)

    def _status(self, measured: PhaseEnd | None, lost: DiskError | None) -> RunStatus:
        if lost is not None or measured is None:
            return "disk_error"
        if self._is_complete(measured):
            return "complete"
        return measured.stopped or ("set_aside" if self._run_policy.aside else "interrupted")

    def _is_complete(self, measured: PhaseEnd) -> bool:
        """True if a resumed run would have nothing to send. A run that was interrupted is never complete."""
        done = measured.sent + measured.unsent
        whole = done == len(self._job.plan.measure) and not measured.unfinished
        return whole and measured.stopped not in ("interrupted", "key_refused")

    def _reason(self, status: RunStatus) -> str | None:
        if status == "set_aside":
            return self._run_policy.aside
        return (
            self._run_policy.stop_reason.reason
            if self._run_policy.stop_reason and status == self._run_policy.stop_reason.status
            else None
        )

    def _end(self, status: RunStatus, measured: PhaseEnd | None) -> RunEnd:
        anchor_ns, kernel = self._instruments.anchor.monotonic_ns, self._instruments.hub.kernel_clock
        return RunEnd(
            status=status,
            ended_at_ns=self._instruments.clock.now_ns() - anchor_ns,
            measure_started_at_ns=measured.started_ns - anchor_ns if measured else None,
            measure_ended_at_ns=measured.ended_ns - anchor_ns if measured else None,
            client_lag_ns=self._client_lag(measured),
            clock_steps=kernel.steps,
            clock_error_ns=kernel.error_ns,
            reason=self._reason(status),
        )

    def _client_lag(self, measured: PhaseEnd | None) -> dict[str, int | None]:
        """Returns the loop's lag in the measured phase. Set-up and warm-up may block the loop and do not count."""
        now = self._instruments.clock.now_ns()
        start, end = (measured.started_ns, measured.ended_ns) if measured else (0, now)
        return self._instruments.lag.summary(start, end)


def _observers(engine: LocalEngine, job: Job, journal: Journal, others: Sequence[RunObserver]) -> Sequence[RunObserver]:
    """Returns the run's observers. The journal is first, so that a record is on disk before others process it."""
    observers = (_writer(engine, job, journal), *others, GarbageCollector())
    if job.continued is None:
        return observers
    return (_NextPart(observers, job.continued.left, journal.segment),)


def _writer(engine: LocalEngine, job: Job, journal: Journal) -> RunObserver:
    """Returns the journal's observer. It drops the text of a record if only telemetry wants it."""
    if job.config.keep_text or not engine.telemetry.wants_text:
        return RecordWriter(journal.append)
    return RecordWriter(lambda record: journal.append(replace(record, text=None, reasoning_text=None)))


class _NextPart(RunObserver):
    """Passes events on, and sets the part and the continued attempt number in each record of a resumed run."""

    def __init__(self, observers: Sequence[RunObserver], left: Remainder, segment: int) -> None:
        self._observers = observers
        self._left = left
        self._segment = segment

    def on_attempt_start(self, ticket: Ticket) -> None:
        for observer in self._observers:
            observer.on_attempt_start(ticket)

    def on_attempt_end(self, ticket: Ticket) -> None:
        for observer in self._observers:
            observer.on_attempt_end(ticket)

    def on_record(self, record: AttemptRecord) -> None:
        marked = self._left.mark(record, self._segment)
        for observer in self._observers:
            observer.on_record(marked)

    def on_request_end(self, record: AttemptRecord) -> None:
        for observer in self._observers:
            observer.on_request_end(record)


def _caps(config: Config) -> dict[str, RateLimits]:
    gateways = {f"gateway:{name}": gateway.limits for name, gateway in config.gateways.items()}
    models = {f"model:{model.alias}": model.limits for model in config.models}
    return {**gateways, **models}


def _stopping(under_way: int, drain_s: float) -> str:
    if not under_way:
        return "stopping: no requests in flight"
    return (
        f"stopping: waiting up to {drain_s:g} s for {counted(under_way, 'request')} in flight; Ctrl-C again to cancel"
    )


def _handle(loop: asyncio.AbstractEventLoop, number: signal.Signals, call: Callable[[], None]) -> bool:
    try:
        loop.add_signal_handler(number, call)
    except (NotImplementedError, RuntimeError, ValueError):  # on Windows, or if the loop is not on the main thread
        return False
    return True

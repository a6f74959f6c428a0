"""A whole run on one event loop of this process: instruments, client, journal and runner wired together.

Around the measured phase nothing else is let onto the loop: connections stand, requests are built, garbage is frozen.
"""

from __future__ import annotations

import asyncio
import gc
import math
import platform
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from streambench.client import Client, Instruments, Traced
from streambench.clock import NS, Anchor, take_anchor
from streambench.config import Config
from streambench.engines.calm import no_garbage_collection, short_turns, young_garbage
from streambench.engines.guard import Guard, Voice
from streambench.engines.listeners import NoTelemetry, Telemetry, Watcher
from streambench.errors import DiskError
from streambench.gates import Caps
from streambench.lag import LagSampler
from streambench.plan import Plan
from streambench.records import SCHEMA, AttemptRecord, Resumption, RunEnd, RunHeader, RunTrace, Stamps, Ticket
from streambench.results import Journal
from streambench.resume import Continued, Origin
from streambench.runner import Pace, PhaseEnd, Policy, Runner, Sink
from streambench.timers import LoopClock
from streambench.trace_ids import new_run_trace
from streambench.transport import Hub

WARMUP_LANES = 8
"""Lanes of the warm-up before an open loop, which has no concurrency of its own."""

OPEN_LOOP_CONNECTIONS = 64
"""Connections kept in hand for an open loop, at most."""

PACKAGES = ("openai", "httpx2", "httptools", "msgspec", "asyncio-throttle", "pandas", "pydantic")

Status = Literal[
    "complete", "interrupted", "duration_limit", "disk_error", "key_refused", "failure_share", "budget", "set_aside"
]


@dataclass(frozen=True, slots=True)
class Job:
    """What to measure: the resolved config, its plan, the gateways' addresses, and where the results go."""

    config: Config
    plan: Plan
    base_urls: Mapping[str, str]
    simulated: tuple[str, ...]
    """Aliases of the models that the embedded gateway serves."""
    watcher: Watcher
    on_journal: Callable[[Path], None] = lambda _: None
    """Told the run's folder as soon as it is there."""
    on_notice: Callable[[str], None] = lambda _: None
    """Told what a person at the terminal should know at once."""
    origin: Origin = field(default_factory=Origin)
    continued: Continued | None = None
    """None is a new run in a folder of its own."""
    trace: RunTrace = field(default_factory=new_run_trace)
    """Of a new run; one that goes on keeps that of its header."""
    telemetry: Telemetry = field(default_factory=NoTelemetry)


@dataclass(frozen=True, slots=True)
class Measured:
    folder: Path
    status: Status
    disk_error: DiskError | None
    refuses_usage: frozenset[str]
    reason: str | None = None
    """What stopped it, where the status does not say it all."""


async def measure(job: Job) -> Measured:
    """Runs the job to its end or until it is interrupted. Raises ResultsError if there is nowhere to write."""
    clock = LoopClock()
    anchor = take_anchor()
    instruments = Instruments(clock, anchor, LagSampler(clock), Hub(clock))
    trace = _trace_of(job)
    traced = Traced(trace, job.telemetry.carrier, job.telemetry.wants_text)
    client = Client(job.config, job.base_urls, instruments, traced)
    journal = _open_journal(job, client, anchor)
    job.on_journal(journal.folder)
    instruments.lag.start()
    try:
        job.telemetry.opened(journal.header)
        return await _Session(job, instruments, client, journal).run()
    finally:
        instruments.lag.stop()
        await client.close()
        instruments.hub.close()
        clock.close()


def conclude(continued: Continued, origin: Origin, status: Status, reason: str | None = None) -> Measured:
    """Ends a run by a part that sends nothing, where its last end does not say how it stands. Raises DiskError."""
    journal = continued.journal
    journal.begin(_resumption(continued, origin, journal.header.stamps, take_anchor()), len(continued.records))
    journal.close(RunEnd(status, 0, None, None, client_lag_ns={}, clock_steps=0, clock_error_ns=0, reason=reason))
    return Measured(journal.folder, status, None, frozenset())


class _Session:
    """One run from its open journal to its end."""

    def __init__(self, job: Job, instruments: Instruments, client: Client, journal: Journal) -> None:
        self._job = job
        self._instruments = instruments
        self._client = client
        self._journal = journal
        self._phase = self._shown = "starting"
        self._telemetry = job.telemetry
        voice = Voice(lambda why: self._runner.stop(why), job.on_notice, self._paused)
        self._guard = Guard(job.config, instruments.anchor, voice, job.continued)
        self._runner = Runner(
            arm=client.arm,
            clock=instruments.clock,
            sinks=_marked((_kept(journal, job), self._guard.attempt, job.telemetry.attempt, young_garbage()), job),
            caps=_caps(job.config),
            on_fire=self._fired,
            on_quiet=self._landed,
            on_end=self._ended,
            policy=self._policy(),
            on_unsent=job.watcher.unsent,
        )

    async def run(self) -> Measured:
        measured: PhaseEnd | None = None
        lost: DiskError | None = None
        with self._signals(), self._time_budget(), no_garbage_collection(), short_turns():
            try:
                measured = await self._phases()
            except DiskError as error:
                lost = error
            status = self._status(measured, lost)
            try:
                self._journal.close(self._end(status, measured))
            except DiskError as error:
                lost = lost or error
                status = "disk_error"
        for told in self._guard.pauses_told():
            self._job.on_notice(told)
        return Measured(self._journal.folder, status, lost, self._client.refuses_usage, self._reason(status))

    async def _phases(self) -> PhaseEnd:
        config, plan = self._job.config, self._job.plan
        closed = config.load.mode == "closed"
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

    def _fired(self, ticket: Ticket) -> None:
        self._guard.fired(ticket)
        self._telemetry.begun(ticket)
        self._job.watcher.begin(ticket)

    def _landed(self, ticket: Ticket) -> None:
        self._telemetry.landed(ticket)
        self._job.watcher.landed(ticket)

    def _ended(self, record: AttemptRecord) -> None:
        self._guard.over(record)
        self._telemetry.over(record)
        self._job.watcher.end(record)

    def _policy(self) -> Policy:
        """The guard's; and new requests wait where telemetry could not keep up."""
        policy, now_ns = self._guard.policy, self._instruments.clock.now_ns

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
        self._job.watcher.phase(phase)

    def _paused(self, what: str, seconds: float) -> None:
        """Shown as long as it lasts, or until something else is to be shown."""
        shown = f"{self._phase}, {what} paused {seconds:.1f} s for its rate limit"
        self._job.watcher.phase(shown)
        self._shown = shown

        def over() -> None:
            if self._shown == shown:
                self._job.watcher.phase(self._phase)

        asyncio.get_running_loop().call_later(seconds, over)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C or SIGTERM once drains and keeps everything; twice, or after `limits.drain`, breaks off."""
        loop = asyncio.get_running_loop()
        patience: list[asyncio.TimerHandle] = []

        def interrupt() -> None:
            if patience:
                self._runner.abort()
                return
            patience.append(loop.call_later(self._job.config.limits.drain_s, self._break_off))
            self._runner.stop()
            self._enter("draining")
            self._job.on_notice(_stopping(self._runner.under_way, self._job.config.limits.drain_s))

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
            self._job.on_notice(f"breaking off {under_way} still under way after {self._job.config.limits.drain_s:g} s")
        self._runner.abort()

    @contextmanager
    def _time_budget(self) -> Iterator[None]:
        seconds, continued = self._job.config.budget.duration_s, self._job.continued
        if seconds is None:
            yield
            return
        left_s = seconds - (continued.took_ns / NS if continued else 0)
        handle = asyncio.get_running_loop().call_later(left_s, self._guard.out_of_time)
        try:
            yield
        finally:
            handle.cancel()

    async def _open_connections(self, lanes: int | None) -> None:
        """One a lane. An open loop starts with a second's worth, and keeps as many in hand."""
        if lanes is not None:
            await self._client.warm(lanes)
        else:
            spare = min(
                OPEN_LOOP_CONNECTIONS, len(self._job.plan.measure), math.ceil(self._job.config.load.rate or 1) + 1
            )
            await self._client.warm(spare, spare)

    def _status(self, measured: PhaseEnd | None, lost: DiskError | None) -> Status:
        if lost is not None or measured is None:
            return "disk_error"
        if self._is_complete(measured):
            return "complete"
        return measured.stopped or ("set_aside" if self._guard.aside else "interrupted")

    def _is_complete(self, measured: PhaseEnd) -> bool:
        """Nothing is left that a resumption would send; whoever interrupted it is told that it was."""
        done = measured.fired + measured.unsent
        whole = done == len(self._job.plan.measure) and not measured.unfinished
        return whole and measured.stopped not in ("interrupted", "key_refused")

    def _reason(self, status: Status) -> str | None:
        if status == "set_aside":
            return self._guard.aside
        return self._guard.trip.reason if self._guard.trip and status == self._guard.trip.status else None

    def _end(self, status: Status, measured: PhaseEnd | None) -> RunEnd:
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
        """Of the measured phase: set-up and warm-up are late on purpose."""
        now = self._instruments.clock.now_ns()
        start, end = (measured.started_ns, measured.ended_ns) if measured else (0, now)
        return self._instruments.lag.summary(start, end)


def _open_journal(job: Job, client: Client, anchor: Anchor) -> Journal:
    """A new one, or the next part of the one that goes on. Raises ResultsError, DiskError."""
    if job.continued is None:
        return Journal.create(job.config.output, _header(job, client, anchor))
    resumption = _resumption(job.continued, job.origin, client.stamps, anchor)
    journal = job.continued.journal
    if cut := journal.begin(resumption, len(job.continued.records)):
        job.on_notice(f"a torn last line of {cut} bytes was cut off the journal")
    return journal


def _trace_of(job: Job) -> RunTrace:
    before = job.continued.journal.header.trace if job.continued else None
    return before or job.trace


def _kept(journal: Journal, job: Job) -> Sink:
    """The journal, without the text that only telemetry asked for."""
    if job.config.keep_text or not job.telemetry.wants_text:
        return journal.append
    return lambda record: journal.append(replace(record, text=None, reasoning_text=None))


def _resumption(continued: Continued, origin: Origin, stamps: Stamps, anchor: Anchor) -> Resumption:
    return Resumption(
        segment=continued.journal.segment,
        wall_ns=anchor.wall_ns,
        monotonic_ns=anchor.monotonic_ns,
        requests_missing=len(continued.left.plan.measure),
        stamps=stamps,
        versions=_versions(),
        host=_host(),
        config_file=origin.config_file,
        overrides=origin.overrides,
        changed=origin.changed,
    )


def _marked(sinks: Sequence[Sink], job: Job) -> Sequence[Sink]:
    """In a run that goes on every sink gets the record as the part that it belongs to."""
    if job.continued is None:
        return sinks
    left, segment = job.continued.left, job.continued.journal.segment

    def take(record: AttemptRecord) -> None:
        marked = left.mark(record, segment)
        for sink in sinks:
            sink(marked)

    return (take,)


def _header(job: Job, client: Client, anchor: Anchor) -> RunHeader:
    config = job.config
    return RunHeader(
        schema=SCHEMA,
        run_id="",  # the journal gives it, with the folder's name
        name=config.name,
        wall_ns=anchor.wall_ns,
        monotonic_ns=anchor.monotonic_ns,
        seed=config.seed,
        config=config.masked(),
        suite={
            "name": config.suite.name,
            "hash": config.suite.hash,
            "prompts": len(config.suite.prompts),
            "catalogue": config.catalogue(),
        },
        requests_planned=len(job.plan.measure),
        simulated=job.simulated,
        stamps=client.stamps,
        versions=_versions(),
        host=_host(),
        config_file=job.origin.config_file,
        overrides=job.origin.overrides,
        trace=job.trace,
        folder=job.origin.folder,
    )


def _versions() -> dict[str, str]:
    ours = {"streambench": version("streambench"), "python": platform.python_version()}
    return ours | {package: version(package) for package in PACKAGES}


def _host() -> dict[str, str]:
    return {"system": platform.system(), "release": platform.release(), "machine": platform.machine()}


def _caps(config: Config) -> dict[str, Caps]:
    gateways = {f"gateway:{name}": gateway.limits for name, gateway in config.gateways.items()}
    models = {f"model:{model.alias}": model.limits for model in config.models}
    return {
        key: Caps(limits.requests_per_minute, limits.max_concurrency) for key, limits in {**gateways, **models}.items()
    }


def _stopping(under_way: int, drain_s: float) -> str:
    if not under_way:
        return "stopping: nothing is under way"
    return f"stopping: waiting for {under_way} under way, {drain_s:g} s at most; once more to break off"


def _handle(loop: asyncio.AbstractEventLoop, number: signal.Signals, call: Callable[[], None]) -> bool:
    try:
        loop.add_signal_handler(number, call)
    except (NotImplementedError, RuntimeError, ValueError):  # Windows; a loop that is not on the main thread
        return False
    return True
